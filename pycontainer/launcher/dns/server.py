"""The name server of one container, on the monitor's loop: datagrams and connections, answers and limits.

The sockets were bound in the container's network namespace; nobody but its processes reaches them. They may
be hostile: each turn of the loop takes so many datagrams and no more, connections are few and end when they
are idle, and who does not read loses its answers. What a question costs beyond that is bounded by the
number of those that may be on their way to other servers.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pycontainer import errors
from pycontainer.launcher.dns import wire
from pycontainer.launcher.dns.permits import Permits
from pycontainer.launcher.dns.resolvconf import HostServers
from pycontainer.launcher.dns.resolver import Resolver
from pycontainer.launcher.dns.upstream import Forwarder, harmless

if TYPE_CHECKING:
    from pycontainer.launcher.monitor.loop import Loop, Timer

__all__ = ["Server"]

_BATCH = 32  # datagrams between two looks at what else there is to do
_MAX_CLIENTS = 64
_IDLE_S = 10.0
_READ, _WRITE = 1, 4  # POLLIN, POLLOUT

Reply = Callable[[bytes], None]


class Server:
    """Answers the questions of a container.

    datagrams, listener: bound sockets, which become this server's. described: see `configure`.
    """

    def __init__(
        self, loop: Loop, datagrams: socket.socket, listener: socket.socket, described: Mapping[str, Any]
    ) -> None:
        self._loop = loop
        self._datagrams = datagrams
        self._listener = listener
        self._forwarder = Forwarder(loop)
        self._host = HostServers()
        self._clients: dict[_Client, None] = {}
        self._timer: Timer | None = None
        self.configure(described)
        for bound in (datagrams, listener):
            bound.setblocking(False)
        loop.add(datagrams, harmless(self._receive))
        loop.add(listener, harmless(self._accept))

    def configure(self, described: Mapping[str, Any]) -> None:
        """Answer by this from now on.

        described: as for the Resolver; "servers", to ask instead of the host's; "permits", as for Permits,
        where only what the container was told of can be reached.
        """
        self._resolver = Resolver(described)
        self._servers = described.get("servers")
        self._permits = Permits(described["permits"]) if described.get("permits") else None

    def close(self) -> None:
        """Answer no more."""
        self._forwarder.close()
        for client in list(self._clients):
            client.close()
        self._loop.cancel(self._timer)
        for bound in (self._datagrams, self._listener):
            self._loop.remove(bound)
            bound.close()

    # -- questions ---------------------------------------------------------------------------------

    def serve(self, packet: bytes, reply: Reply, *, is_stream: bool) -> bool:
        """Answer a packet, now or later; False for one that gets no answer."""
        try:
            query = wire.parse_query(packet)
        except wire.Malformed as problem:
            code = problem.args[1]
            if code is not None:
                reply(wire.refusal(packet, code))
            return code is not None
        verdict = self._resolver.judge(query)
        limit = wire.MAX_MESSAGE if is_stream else query.udp_bytes
        if not verdict.is_forwarded:
            reply(wire.response(query, verdict.code, verdict.records, limit=limit))
            return True

        def done(body: bytes | None, answer: wire.Answer | None) -> None:
            if body is None or answer is None or not self._has_permitted(query, answer):
                reply(wire.response(query, wire.SERVFAIL))
            elif not is_stream and len(body) > max(wire.PLAIN_UDP, query.payload or 0):
                reply(wire.truncated(query))
            else:
                reply(body)

        servers = self._host.servers() if self._servers is None else self._servers
        if not self._forwarder.ask(packet, query, servers, done, is_stream=is_stream):
            reply(wire.response(query, wire.REFUSED))
        return True

    def _has_permitted(self, query: wire.Query, answer: wire.Answer) -> bool:
        """Let the container reach what it is about to hear of, if it needs a permit for that."""
        if self._permits is not None:
            try:
                self._permits.allow(query.name, answer)
            except (errors.PycontainerError, OSError):
                return False  # addresses that it cannot reach would only cost it time
        return True

    def _receive(self, _: int) -> None:
        for _ in range(_BATCH):
            try:
                packet, client = self._datagrams.recvfrom(wire.MAX_MESSAGE)
            except OSError:
                return
            self.serve(packet, lambda answer, to=client: self._send(answer, to), is_stream=False)  # type: ignore[misc]

    def _send(self, answer: bytes, client: Any) -> None:
        try:
            self._datagrams.sendto(answer, client)
        except OSError:
            pass  # it asks again, if it is still there

    # -- connections -------------------------------------------------------------------------------

    def _accept(self, _: int) -> None:
        if len(self._clients) >= _MAX_CLIENTS:
            self._close_quietest()
        try:
            connection, _peer = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._close_quietest()  # else it would be told of this one again and again
            return
        connection.setblocking(False)
        self.refresh(_Client(self, self._loop, connection))

    def _close_quietest(self) -> None:
        for client in self._clients:
            client.close()
            return

    def refresh(self, client: _Client) -> None:
        """It has said something: it is the last one to be closed for being quiet."""
        self._clients.pop(client, None)
        self._clients[client] = None
        client.due_s = time.monotonic() + _IDLE_S
        if self._timer is None:
            self._timer = self._loop.at(client.due_s, self._close_idle)

    def forget(self, client: _Client) -> None:
        """It is closed."""
        self._clients.pop(client, None)

    def _close_idle(self) -> None:
        self._timer = None
        now = time.monotonic()
        for client in list(self._clients):
            if client.due_s > now:
                self._timer = self._loop.at(client.due_s, self._close_idle)
                return
            client.close()


class _Client:
    """A connection, and the questions that come by it, one after the other."""

    def __init__(self, server: Server, loop: Loop, connection: socket.socket) -> None:
        self._server = server
        self._loop = loop
        self._connection = connection
        self._received = b""
        self._unsent = b""
        self._is_asking = False
        self._is_busy = False
        self.due_s: float = 0.0
        loop.add(connection, harmless(self._serve), _READ)

    def close(self) -> None:
        """Close the connection; idempotent."""
        if self._connection.fileno() >= 0:
            self._loop.remove(self._connection)
            self._connection.close()
            self._server.forget(self)

    def _serve(self, events: int) -> None:
        try:
            if self._unsent and events & _WRITE:
                self._unsent = self._unsent[self._connection.send(self._unsent) :]
            else:
                chunk = self._connection.recv(1 << 14)
                if not chunk:
                    self.close()
                    return
                self._received += chunk
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._server.refresh(self)
        self._go_on()

    def _go_on(self) -> None:
        """Take up the next question if the last one is answered; read on only then."""
        self._is_busy = True
        while not self._is_asking and not self._unsent and self._connection.fileno() >= 0:
            size = 2 + int.from_bytes(self._received[:2], "big")
            if len(self._received) < max(size, 2):
                break
            packet, self._received = self._received[2:size], self._received[size:]
            self._is_asking = True
            if not self._server.serve(packet, self._reply, is_stream=True):
                self.close()
        self._is_busy = False
        if self._connection.fileno() >= 0:
            self._watch()

    def _watch(self) -> None:
        if self._unsent:
            self._loop.add(self._connection, harmless(self._serve), _WRITE)
        elif self._is_asking:
            self._loop.remove(self._connection)
        else:
            self._loop.add(self._connection, harmless(self._serve), _READ)

    def _reply(self, answer: bytes) -> None:
        self._is_asking = False
        if self._connection.fileno() < 0:
            return
        framed = len(answer).to_bytes(2, "big") + answer
        try:
            sent = self._connection.send(framed)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._unsent = framed[sent:]
        if not self._is_busy:
            self._go_on()
