"""The published ports of a container: its monitor holds them, and serves what the kernel does not translate.

params["ports"]: {"bound": [{"protocol", "host_address", "host_port", "address", "port"} each, with address ""
for one that leads nowhere, and host_port 0 for one that is reached at that address alone],
"withdrawal": messages that take the container's rules away, in base64}. fds: "port 0" and so on for those of
the host, bound and, if of streams, listening. They are held from before the start until the container has
ended for good.
"""

from __future__ import annotations

import binascii
import socket
from typing import TYPE_CHECKING, Any

from pycontainer import errors
from pycontainer.kernel import nfnetlink

if TYPE_CHECKING:
    from pycontainer.launcher.monitor.core import Monitor
    from pycontainer.launcher.portproxy import Datagrams, Streams

__all__ = ["Ports"]


class Ports:
    """The ports of one container."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        given = {
            f"port {number}": bound
            for number, bound in enumerate(monitor.params["ports"]["bound"])
            if bound["host_port"]
        }
        self._names = tuple(given)
        self._sockets = [
            (bound, socket.socket(fileno=monitor.fds.pop(name))) for name, bound in given.items()
        ]
        self._served: dict[tuple[str, socket.socket], Streams | Datagrams] = {}

    def shown(self) -> list[dict[str, Any]]:
        """What the status says of them."""
        shown: list[dict[str, Any]] = self._monitor.params["ports"]["bound"]
        return shown

    def descriptors(self) -> dict[str, int]:
        """Their sockets by name, for another process that serves them."""
        return {name: sock.fileno() for name, (_, sock) in zip(self._names, self._sockets, strict=True)}

    def serve(self) -> None:
        """Serve them from now on; idempotent."""
        if self._served:
            return
        # Not ahead: containers without ports do without.
        from pycontainer.launcher.portproxy import Datagrams, Streams

        kinds: dict[str, type[Streams | Datagrams]] = {"tcp": Streams, "udp": Datagrams}
        for bound, sock in self._sockets:
            kind = kinds.get(bound["protocol"])
            if kind is not None:  # whole messages on many streams are not passed on by copying bytes
                self._served[bound["protocol"], sock] = kind(self._monitor.loop, sock, _target(bound))

    def configure(self, described: dict[str, Any]) -> None:
        """Have the same ports lead to other addresses from now on; described as in params["ports"].

        Raises InvalidInput when they are not the same ones.
        """
        held = [bound for bound in described["bound"] if bound["host_port"]]
        if len(held) != len(self._sockets):
            raise errors.InvalidInput("these are not the ports of this container")
        self._monitor.params["ports"] = described
        self._sockets = [(bound, sock) for bound, (_, sock) in zip(held, self._sockets, strict=True)]
        for bound, sock in self._sockets:
            served = self._served.get((bound["protocol"], sock))
            if served is not None:
                served.target = _target(bound)
        self._monitor.note(ports=self.shown())

    def close(self) -> None:
        """Let go of them, after the rules; idempotent."""
        withdrawal = [binascii.a2b_base64(each) for each in self._monitor.params["ports"]["withdrawal"]]
        try:
            nfnetlink.withdraw(withdrawal)
            self._forget_datagrams()
        except errors.PycontainerError:
            pass  # the next process that opens the store takes them away
        for each in self._served.values():
            each.close()
        for _, sock in self._sockets:
            sock.close()
        self._served, self._sockets = {}, []

    def _forget_datagrams(self) -> None:
        """Whoever goes on sending is to reach who has the port, and maybe the address, next."""
        for bound in self.shown():
            if bound["protocol"] == "udp" and bound["address"]:
                from pycontainer.kernel import conntrack  # only those load it that have such ports

                target = (bound["address"], bound["port"])
                place = (bound["host_address"], bound["host_port"]) if bound["host_port"] else target
                conntrack.forget_datagrams(*place, *target, is_over=True)


def _target(bound: dict[str, Any]) -> tuple[str, int] | None:
    return (bound["address"], bound["port"]) if bound["address"] else None
