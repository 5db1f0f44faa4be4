"""Asking other servers, many questions at once, on the monitor's loop.

Theory of operation. A question goes out under a random number from a port that the kernel draws for it, by a
connected socket, so that only the server's own datagrams arrive there; an answer counts when it has the
number, repeats the question and is whole in all its parts. Anything else is passed over, and the right answer
still awaited. Beyond some ports questions share them, each with a number of its own. A server that has not
answered after 4 s, refuses or fails, is followed by the next one. What came by TCP goes out by TCP; an answer
that says it was truncated is passed on, and the client asks again by TCP.

Deadlines are all equally far away, so the queue of them is in order and needs one timer.
Source: moby, libnetwork/resolver.go, forwardExtDNS; RFC 5452, RFC 7766.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pycontainer.launcher.dns import resolvconf, wire

if TYPE_CHECKING:
    from pycontainer.launcher.monitor.loop import Loop, Timer

__all__ = ["MAX_PENDING", "TIMEOUT_S", "Forwarder", "harmless"]

TIMEOUT_S = 4.0
MAX_PENDING = 1024
_MAX_PORTS = 192  # of the 1024 descriptors that a process may have
_MAX_STREAMS = 96
_READ, _WRITE = 1, 4  # POLLIN, POLLOUT
_BATCH = 64

Done = Callable[[bytes | None, wire.Answer | None], None]


def harmless(handler: Callable[[int], None]) -> Callable[[int], None]:
    """The handler, but that no mistake in it ends the monitor, and the container with it."""

    def guarded(events: int) -> None:
        try:
            handler(events)
        except Exception:  # whatever it is, one question goes without an answer
            return

    return guarded


class _Question:
    """One that is on its way, and the servers that may still be asked."""

    __slots__ = ("body", "deadline_s", "done", "is_stream", "last", "number", "question", "servers", "way")

    def __init__(
        self, packet: bytes, query: wire.Query, servers: Sequence[str], is_stream: bool, done: Done
    ) -> None:
        self.body: bytes = packet[2:]
        self.question: bytes = query.question.lower()
        self.number: int = query.number
        self.servers: list[str] = list(servers)
        self.is_stream: bool = is_stream
        self.done: Done | None = done
        self.way: _Port | _Stream | None = None
        self.deadline_s: float = 0.0
        self.last: tuple[bytes, wire.Answer] | None = None
        """The failure that a server told, which is better than none."""


class Forwarder:
    """The questions of one container that are asked elsewhere."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._ports: dict[str, list[_Port]] = {}
        self._streams: set[_Stream] = set()
        self._due: dict[_Question, None] = {}
        """Those that wait, in the order in which their time is up."""
        self._timer: Timer | None = None
        self.pending: int = 0
        """Questions that wait for an answer."""

    def ask(
        self, packet: bytes, query: wire.Query, servers: Sequence[str], done: Done, *, is_stream: bool
    ) -> bool:
        """Ask the servers one after the other; done gets the answer for the client, None if there is none.

        False when too many are on their way already. done may be called before this returns.
        """
        if self.pending >= MAX_PENDING:
            return False
        if is_stream and len(self._streams) >= _MAX_STREAMS:
            return False
        self.pending += 1
        self._next(_Question(packet, query, servers, is_stream, done))
        return True

    def close(self) -> None:
        """Wait for none of them any more."""
        self._loop.cancel(self._timer)
        self._timer = None
        self._due.clear()
        for port in [port for ports in self._ports.values() for port in ports]:
            port.close()
        for stream in list(self._streams):
            stream.close()
        self._ports.clear()
        self.pending = 0

    # -- what a way out tells ----------------------------------------------------------------------

    def arrived(self, question: _Question, packet: bytes, answer: wire.Answer) -> None:
        """A server has answered this question."""
        body = question.number.to_bytes(2, "big") + packet[2:]
        if answer.code in (wire.SERVFAIL, wire.REFUSED):
            question.last = body, answer
            self._next(question)
        else:
            self._finish(question, body, answer)

    def failed(self, question: _Question) -> None:
        """This server will not answer it."""
        self._next(question)

    def forget(self, way: _Port | _Stream) -> None:
        """The way is closed."""
        if isinstance(way, _Stream):
            self._streams.discard(way)
        elif way in self._ports.get(way.server, ()):
            self._ports[way.server].remove(way)
            if not self._ports[way.server]:
                del self._ports[way.server]

    # -- one question --------------------------------------------------------------------------------

    def _next(self, question: _Question) -> None:
        """Send it to the next server that can be reached."""
        while question.servers:
            server = question.servers.pop(0)
            try:
                question.way = self._way_to(server, question)
            except OSError:
                continue
            question.deadline_s = time.monotonic() + TIMEOUT_S
            self._due.pop(question, None)
            self._due[question] = None
            self._set_timer()
            return
        question.way = None
        if question.last is not None:
            self._finish(question, *question.last)
        else:
            self._finish(question, None, None)

    def _finish(self, question: _Question, packet: bytes | None, answer: wire.Answer | None) -> None:
        done, question.done = question.done, None
        question.way = None
        self._due.pop(question, None)
        if done is not None:
            self.pending -= 1
            done(packet, answer)

    def _way_to(self, server: str, question: _Question) -> _Port | _Stream:
        if question.is_stream:
            stream = _Stream(self, self._loop, server, question)
            self._streams.add(stream)
            return stream
        ports = self._ports.setdefault(server, [])
        is_full = sum(map(len, self._ports.values())) >= _MAX_PORTS
        try:
            if ports and is_full:
                port = ports[int.from_bytes(os.urandom(2), "big") % len(ports)]
            else:
                port = _Port(self, self._loop, server)
                ports.append(port)
        except OSError:
            if not ports:
                del self._ports[server]
            raise
        port.send(question)
        return port

    def _set_timer(self) -> None:
        if self._timer is None and self._due:
            self._timer = self._loop.at(next(iter(self._due)).deadline_s, self._expire)

    def _expire(self) -> None:
        """Those that are due get no answer from the server they are with; the timer goes to the next."""
        self._timer = None
        now = time.monotonic()
        for question in [question for question in self._due if question.deadline_s <= now]:
            if question.deadline_s <= now and question.way is not None:
                question.way.give_up(question)
                self._next(question)
        self._set_timer()


class _Port:
    """A socket to one server, and the questions that wait for an answer on it."""

    def __init__(self, forwarder: Forwarder, loop: Loop, server: str) -> None:
        self.server = server
        self._forwarder = forwarder
        self._loop = loop
        self._questions: dict[int, _Question] = {}
        self._socket = _connected(server, socket.SOCK_DGRAM)
        loop.add(self._socket, harmless(self._read))

    def send(self, question: _Question) -> None:
        """Ask it. Raises OSError; without any question the socket is closed then."""
        number = _random_number()
        while number in self._questions:
            number = _random_number()
        try:
            self._socket.send(number.to_bytes(2, "big") + question.body)
        except OSError:
            self._settle()
            raise
        self._questions[number] = question

    def give_up(self, question: _Question) -> None:
        """Wait for its answer no more."""
        self._questions = {
            number: other for number, other in self._questions.items() if other is not question
        }
        self._settle()

    def close(self) -> None:
        """Close the socket."""
        self._loop.remove(self._socket)
        self._socket.close()

    def _settle(self) -> None:
        if not self._questions and self._socket.fileno() >= 0:
            self.close()
            self._forwarder.forget(self)

    def _read(self, _: int) -> None:
        for _ in range(_BATCH):
            try:
                packet = self._socket.recv(wire.MAX_MESSAGE)
            except BlockingIOError:
                return
            except OSError:  # nobody listens there
                failed, self._questions = list(self._questions.values()), {}
                self._settle()
                for question in failed:
                    self._forwarder.failed(question)
                return
            self._take(packet)
            if self._socket.fileno() < 0:
                return

    def _take(self, packet: bytes) -> None:
        question = self._questions.get(int.from_bytes(packet[:2], "big"))
        answer = None if question is None else _checked(packet, question)
        if question is None or answer is None:
            return
        del self._questions[answer.number]
        self._settle()
        self._forwarder.arrived(question, packet, answer)


class _Stream:
    """A connection to one server, for one question."""

    def __init__(self, forwarder: Forwarder, loop: Loop, server: str, question: _Question) -> None:
        self.server = server
        self._forwarder = forwarder
        self._loop = loop
        self._question = question
        self._number = _random_number()
        self._received = b""
        body = self._number.to_bytes(2, "big") + question.body
        self._unsent = len(body).to_bytes(2, "big") + body
        self._socket = _connected(server, socket.SOCK_STREAM)
        loop.add(self._socket, harmless(self._serve), _WRITE)

    def give_up(self, question: _Question) -> None:
        """Wait for its answer no more."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._loop.remove(self._socket)
        self._socket.close()
        self._forwarder.forget(self)

    def _serve(self, _: int) -> None:
        try:
            if self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
                if not self._unsent:
                    self._loop.add(self._socket, harmless(self._serve), _READ)
                return
            chunk = self._socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        self._received += chunk
        size = 2 + int.from_bytes(self._received[:2], "big")
        packet = self._received[2:size]
        answer = None
        if len(self._received) >= max(size, 2):
            if packet[:2] == self._number.to_bytes(2, "big"):
                answer = _checked(packet, self._question)
        elif chunk:
            return
        self.close()
        if answer is None:
            self._forwarder.failed(self._question)
        else:
            self._forwarder.arrived(self._question, packet, answer)


def _random_number() -> int:
    return int.from_bytes(os.urandom(2), "big")


def _connected(server: str, kind: int) -> socket.socket:
    """A socket that is connected to the server's port of DNS, or is going to be. Raises OSError."""
    place = resolvconf.address(server)
    if place is None:
        raise OSError(f"{server} is no address")
    family, where = place
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        made.connect(where)
    except BlockingIOError:
        pass  # a connection takes its time
    except BaseException:
        made.close()
        raise
    return made


def _checked(packet: bytes, question: _Question) -> wire.Answer | None:
    """The answer that the packet is, if it is one to this question."""
    try:
        answer = wire.parse_answer(packet)
    except wire.Malformed:
        return None
    return answer if answer.question.lower() == question.question else None
