"""The container's name server, and what others on its networks know it by; only for one that has networks.

params["dns"]: what `launcher.dns.Server` is described by; in each of its networks besides "own", the fields
of the container's file there. The monitor is the only one that writes these files: they are there before the
program runs, count as long as the container's status says that it runs, and go before that says otherwise.
fds: "dns datagrams" and "dns listener".
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pycontainer import errors
from pycontainer.launcher import dns

if TYPE_CHECKING:
    from pycontainer.launcher.monitor.control import Client
    from pycontainer.launcher.monitor.core import Monitor

__all__ = ["OPS", "Naming"]


class Naming:
    """The server of one container and the files that name it."""

    def __init__(self, monitor: Monitor, described: Mapping[str, Any]) -> None:
        self._id: str = monitor.params["id"]
        self._described: Mapping[str, Any] = {}
        datagrams, listener = (
            socket.socket(fileno=monitor.fds.pop(name)) for name in ("dns datagrams", "dns listener")
        )
        self._server = dns.Server(monitor.loop, datagrams, listener, described)
        self.configure(described)

    def configure(self, described: Mapping[str, Any]) -> None:
        """Serve and be known by this from now on. Raises OSError."""
        before = _directories(self._described)
        for entry in described["networks"]:
            os.makedirs(entry["names"], 0o700, exist_ok=True)
            dns.write(entry["names"], self._id, entry["own"])
        self._server.configure(described)
        self._described = described
        for directory in before - _directories(described):
            dns.remove(directory, self._id)

    def withdraw(self) -> None:
        """Be known by no name any more."""
        for directory in _directories(self._described):
            dns.remove(directory, self._id)


def _directories(described: Mapping[str, Any]) -> set[str]:
    return {entry["names"] for entry in described.get("networks", ())}


def _names(monitor: Monitor, client: Client, request: dict[str, Any]) -> dict[str, Any]:
    """Serve request["dns"] instead. Raises WrongState when the container has no name server."""
    if monitor.naming is None:
        raise errors.WrongState(
            "the container was started without a network of its own and has no name server; start it again",
            verb="connect",
            state="running",
        )
    monitor.naming.configure(request["dns"])
    return {}


OPS = {"names": _names}
