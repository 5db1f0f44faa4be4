"""The container's name server, and what others on its networks know it by; only for one that has networks.

params["dns"]: what `launcher.dns.server` is described by; in each of its networks besides "own", the fields
of the container's file there. The monitor is the only one that writes these files: they are there before the
program runs, count as long as the container's status says that it runs, and go before that says otherwise.
fds: "dns datagrams" and "dns listener", where questions wait until the server has been loaded, after the
start was told.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pycontainer.launcher.dns import files

if TYPE_CHECKING:
    from pycontainer.launcher.dns.server import Server
    from pycontainer.launcher.monitor.control import Client
    from pycontainer.launcher.monitor.core import Monitor

__all__ = ["OPS", "Naming"]

_NOTHING: Mapping[str, Any] = {"networks": []}
"""What the name server of a container knows that has been disconnected from all networks with names."""


class Naming:
    """The server of one container and the files that name it."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._described: Mapping[str, Any] = monitor.params["dns"]
        self._server: Server | None = None

    def be_known(self) -> None:
        """Be known by the names of params["dns"]. Raises OSError."""
        self.configure(self._monitor.params["dns"])

    def configure(self, described: Mapping[str, Any]) -> None:
        """Serve and be known by this from now on. Raises OSError."""
        own_id = self._monitor.params["id"]
        for entry in described["networks"]:
            os.makedirs(entry["names"], 0o700, exist_ok=True)
            files.write(entry["names"], own_id, entry["own"])
        if self._server is not None:
            self._server.configure(described)
        for directory in _directories(self._described) - _directories(described):
            files.remove(directory, own_id)
        self._described = self._monitor.params["dns"] = described

    def rename(self, name: str) -> None:
        """Be known by another name of its own. Raises OSError."""
        networks = [
            {**entry, "own": {**entry["own"], "names": [name, *entry["own"]["names"][1:]]}}
            for entry in self._described["networks"]
        ]
        self.configure({**self._described, "networks": networks})

    def serve(self) -> None:
        """Answer the container's questions from now on; idempotent."""
        if self._server is not None:
            return
        # Not ahead: it is a tenth of a megabyte that containers without networks do without.
        from pycontainer.launcher.dns.server import Server

        fds = self._monitor.fds
        datagrams = socket.socket(fileno=fds.pop("dns datagrams"))
        listener = socket.socket(fileno=fds.pop("dns listener"))
        self._server = Server(self._monitor.loop, datagrams, listener, self._described)

    def withdraw(self) -> None:
        """Be known by no name any more."""
        for directory in _directories(self._described):
            files.remove(directory, self._monitor.params["id"])


def _directories(described: Mapping[str, Any]) -> set[str]:
    return {entry["names"] for entry in described.get("networks", ())}


def _names(monitor: Monitor, client: Client, request: dict[str, Any]) -> dict[str, Any]:
    """Serve request["dns"] from now on, and put request["files"] into the container at its next start.

    Answers with "files" as they were until now. A container without a name server gets one when its sockets
    come along, datagrams first; otherwise the answer is {"needs_sockets": true}, and nothing has changed.
    """
    fds = client.take_fds()
    if monitor.naming is None and request["dns"]:
        if len(fds) != 2:
            return {"needs_sockets": True}
        monitor.fds["dns datagrams"], monitor.fds["dns listener"] = fds
        monitor.params["dns"] = request["dns"]
        monitor.naming = Naming(monitor)
        monitor.naming.be_known()
        monitor.naming.serve()
    elif monitor.naming is not None:
        monitor.naming.configure(request["dns"] or _NOTHING)
    before = dict(monitor.params.get("files") or {})
    monitor.params["files"] = {**before, **request["files"]}
    return {"files": before}


OPS = {"names": _names}
