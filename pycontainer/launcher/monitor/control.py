"""The control socket: how other processes speak to a monitor while its container lives.

`control` in the container's directory, for its owner alone; messages are those of `launcher.protocol`.
A request names its operation in "op" and is answered once: by what its handler returns, by the error that
it raises, or later through the client when it returns None. The socket is made when the start is told
and has settled, so that a short run pays nothing; `launcher.control` waits for it.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pycontainer import errors
from pycontainer.launcher.monitor import limits, naming, owning, restarting, rules, streams
from pycontainer.launcher.protocol import Channel, describe_error

if TYPE_CHECKING:
    from pycontainer.launcher.monitor.core import Monitor

__all__ = ["NAME", "OPS", "Client", "Control", "Handler"]

NAME = "control"
_NEW = ".control.new"
_BACKLOG = 64
_MAX_CLIENTS = 256  # of the 1024 descriptors that a process may have
_CREDENTIALS = struct.Struct("3i")


class Client:
    """One connection. The handler of a request may keep it, and answer it later.

    closed: called once when the other end has gone, if the handler sets it.
    """

    __slots__ = ("channel", "closed")

    def __init__(self, channel: Channel) -> None:
        self.channel: Channel = channel
        self.closed: Callable[[], None] | None = None

    def take_fds(self) -> list[int]:
        """The descriptors of the request that is being handled; the taker owns them."""
        return self.channel.take_fds()

    def reply(self, message: dict[str, Any], fds: Sequence[int] = ()) -> bool:
        """Send a message; False when the other end has gone or does not read what it is sent."""
        try:
            self.channel.send(message, fds)
        except OSError:
            return False
        return True


Handler = Callable[["Monitor", Client, dict[str, Any]], dict[str, Any] | None]


def _ping(monitor: Monitor, client: Client, request: dict[str, Any]) -> dict[str, Any]:
    """Answer that the monitor serves its loop."""
    return {"id": monitor.params["id"], "monitor_pid": os.getpid()}


def _rename(monitor: Monitor, client: Client, request: dict[str, Any]) -> dict[str, Any]:
    """Call the container request["name"] in what the log is told of it, and on its networks."""
    monitor.events.attributes["name"] = str(request["name"])
    if monitor.naming is not None:
        monitor.naming.rename(str(request["name"]))
    return {}


OPS: Mapping[str, Handler] = {
    "ping": _ping,
    "rename": _rename,
    **limits.OPS,
    **naming.OPS,
    **owning.OPS,
    **restarting.OPS,
    **rules.OPS,
    **streams.OPS,
}
"""What can be asked for, by the request's "op"."""


class Control:
    """The listening socket and its clients."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._listener: socket.socket | None = None
        self._clients: list[Client] = []

    def open(self) -> None:
        """Listen from now on; idempotent. A disk without room for the name leaves it closed."""
        if self._listener is not None:
            return
        # By way of the descriptor: a path of sockets has 107 bytes at most (unix(7)).
        place = f"/proc/self/fd/{self._monitor.directory}"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        mask = os.umask(0o177)
        try:
            try:
                os.unlink(_NEW, dir_fd=self._monitor.directory)
            except FileNotFoundError:
                pass
            listener.bind(f"{place}/{_NEW}")
            listener.listen(_BACKLOG)
            # Who finds the name finds somebody who listens; the name of a killed monitor is replaced.
            os.rename(f"{place}/{_NEW}", f"{place}/{NAME}")
        except OSError:
            listener.close()
            return
        finally:
            os.umask(mask)
        self._listener = listener
        self._monitor.loop.add(listener, self._accept)

    def close(self) -> None:
        """Take no more requests and let go of the clients; idempotent."""
        if self._listener is None:
            return
        self._monitor.loop.remove(self._listener)
        self._listener.close()
        self._listener = None
        try:
            os.unlink(NAME, dir_fd=self._monitor.directory)
        except OSError:
            pass  # removed with the container
        for client in list(self._clients):
            self.drop(client)

    def drop(self, client: Client) -> None:
        """Close a connection; idempotent."""
        if client not in self._clients:
            return
        self._clients.remove(client)
        self._monitor.loop.remove(client.channel)
        client.channel.close()
        if client.closed is not None:
            client.closed()
        if self._listener is not None and len(self._clients) == _MAX_CLIENTS - 1:
            self._monitor.loop.add(self._listener, self._accept)

    def _accept(self, _: int) -> None:
        assert self._listener is not None
        try:
            connection, _peer = self._listener.accept()
        except OSError:
            return  # it gave up while it waited
        size = _CREDENTIALS.size
        _, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        if uid not in (0, os.geteuid()):
            connection.close()
            return
        connection.setblocking(False)
        client = Client(Channel(connection))
        self._clients.append(client)
        self._monitor.loop.add(connection, lambda _: self._serve(client))
        if len(self._clients) >= _MAX_CLIENTS:
            self._monitor.loop.remove(self._listener)

    def _serve(self, client: Client) -> None:
        try:
            is_open = client.channel.fill()
            while is_open and client in self._clients and (request := client.channel.take()) is not None:
                is_open = self._answer(client, request)
        except BlockingIOError:
            return
        except (OSError, ValueError, errors.InvalidInput):
            is_open = False  # no message of ours
        if not is_open:
            self.drop(client)

    def _answer(self, client: Client, request: object) -> bool:
        if not isinstance(request, dict):
            return False
        try:
            handler = OPS.get(str(request.get("op")))
            if handler is None:
                raise errors.InvalidInput(f"a monitor knows no operation {request.get('op')!r}")
            answer = handler(self._monitor, client, request)
        except Exception as error:  # whatever was wrong with a request, the container does not end for it
            answer = {"error": describe_error(error, str(request.get("op")))}
        return answer is None or client.reply(answer)
