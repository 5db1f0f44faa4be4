"""Drivers that send the output to a service: what waits, who waits, and what is given up.

Theory of operation. Messages are encoded and put in line; a socket that never blocks takes them as it
can. When more waits than may, a blocking driver is full: the monitor then reads no more from the
container, whose pipe fills, so that the program waits and nothing is lost. A non-blocking driver drops
new messages instead, and counts them. A service that has gone is called again, at growing intervals; what
waits is kept for PATIENCE_S, after which output is dropped and counted until the service is back: a dead
server costs a container that time once, not its life.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from pycontainer.launcher.logs.lines import Message, Splitter

__all__ = ["PATIENCE_S", "Clock", "Connection", "Remote"]

PATIENCE_S = 10.0
"""How long output is kept for a service that has gone, while the container waits."""

WAITING_BYTES = 64 << 10
"""What may wait before a container that writes on is made to wait too."""

CONNECT_S = 5.0
"""How long a start waits for the service."""

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_HANG_UP = select.POLLIN | select.POLLHUP | select.POLLERR


class Connection(Protocol):
    """What of a socket is used."""

    def fileno(self) -> int: ...
    def send(self, content: memoryview, flags: int, /) -> int: ...
    def recv(self, size: int, flags: int, /) -> bytes: ...
    def close(self) -> None: ...


class Clock(Protocol):
    """What a driver needs of the monitor's loop."""

    def add(self, fd: Connection, handler: Callable[[int], None], events: int) -> None:
        """Call the handler when the socket is ready."""

    def remove(self, fd: Connection) -> None:
        """Watch it no more."""

    def at(self, monotonic_s: float, handler: Callable[[], None]) -> Any:
        """Call the handler once."""

    def cancel(self, timer: Any) -> None:
        """Do not call it."""


class Remote:
    """Sends messages to one service.

    connect: makes a socket; it may still be connecting, unless asked to wait these seconds. encode: a
    message as it is sent. is_lossy: a network that loses messages itself, so that nothing waits for an
    answer. on_room: called when the container may write on. buffer_bytes: with a number, what may wait
    before messages are dropped; None blocks.
    lost_bytes counts output that was dropped.
    """

    def __init__(
        self,
        loop: Clock,
        *,
        connect: Callable[[float], Connection],
        encode: Callable[[Message], bytes],
        is_lossy: bool = False,
        on_room: Callable[[], None],
        buffer_bytes: int | None = None,
    ) -> None:
        self._loop = loop
        self._connect = connect
        self._encode = encode
        self._is_lossy = is_lossy
        self._on_room = on_room
        self._buffer_bytes = buffer_bytes
        self._splitter = Splitter()
        self._waiting: deque[tuple[bytes, int]] = deque()  # what is sent, and how much of it is output
        self._waiting_bytes = 0
        self._sent = 0  # of the first one, by a stream that took a part
        self._sock: Connection | None = None
        self._timer: Any = None
        self._pause_s = _FIRST_PAUSE_S
        self._gone_since: float | None = None
        self.lost_bytes: int = 0
        self.problem: str = ""
        """What the service's loss was, told with the container's state."""

    @property
    def is_full(self) -> bool:
        """Whether the container has to wait."""
        return self._buffer_bytes is None and self._waiting_bytes >= WAITING_BYTES and not self._has_given_up

    @property
    def _has_given_up(self) -> bool:
        return self._gone_since is not None and time.monotonic() - self._gone_since >= PATIENCE_S

    def open(self) -> None:
        """Call the service for the first time. Raises OSError."""
        self._sock = self._connect(CONNECT_S)
        self._loop.add(self._sock, self._look, _HANG_UP)

    def append(self, stream: int, payload: memoryview, at_ns: int) -> None:
        """Send what one read gave, or put it in line."""
        self._put(self._splitter.feed(stream, payload, at_ns))
        self._send()

    def position(self) -> tuple[int, int] | None:
        """There is no log here."""
        return None

    def held(self) -> dict[int, bytes]:
        """There is no log here."""
        return {}

    def finish(self, timeout_s: float) -> None:
        """Send all that waits; what has not gone after the time is lost."""
        self._put(self._splitter.finish(time.time_ns()))
        deadline = time.monotonic() + timeout_s
        while self._waiting:
            if self._sock is None:
                self._reconnect()
            self._send()
            left_s = deadline - time.monotonic()
            if not self._waiting or self._sock is None or left_s <= 0:
                break
            poller = select.poll()
            poller.register(self._sock, self._wanted())
            poller.poll(left_s * 1000)
        self.lost_bytes += self._waiting_bytes
        self._waiting.clear()
        self._waiting_bytes = 0

    def close(self) -> None:
        """Let go of the service; idempotent."""
        if self._timer is not None:
            self._loop.cancel(self._timer)
            self._timer = None
        self._hang_up()

    def _put(self, messages: Iterable[Message]) -> None:
        limit = self._buffer_bytes if self._buffer_bytes is not None else WAITING_BYTES
        for message in messages:
            may_drop = self._buffer_bytes is not None or self._has_given_up
            if may_drop and self._waiting and self._waiting_bytes + len(message.content) > limit:
                self.lost_bytes += len(message.content)
                continue
            self._waiting.append((self._encode(message), len(message.content)))
            self._waiting_bytes += len(message.content)

    def _send(self) -> None:
        """Send what the service takes now."""
        while self._waiting and self._sock is not None:
            packet, size = self._waiting[0]
            try:
                rest = memoryview(packet)[self._sent :]
                self._sent += self._sock.send(rest, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._loop.add(self._sock, self._look, _HANG_UP | self._wanted())
                return
            except OSError as error:
                if not self._is_lossy:
                    self._lose_service(error)
                    return
                self.problem = _describe(error)
                self.lost_bytes += size
                self._sent = len(packet)
            self._gone_since = None
            if self._sent >= len(packet):
                self._waiting.popleft()
                self._waiting_bytes -= size
                self._sent = 0

    def _wanted(self) -> int:
        """The event after which more may go out: an encrypted connection begins with the service's answer."""
        return select.POLLIN if getattr(self._sock, "waits_for_peer", False) else select.POLLOUT

    def _look(self, events: int) -> None:
        """The service takes more, or has gone."""
        assert self._sock is not None
        if events & ~select.POLLOUT and not self._is_lossy:
            try:
                if self._sock.recv(4096, socket.MSG_DONTWAIT):
                    return  # it has nothing to say that matters
                self._lose_service(ConnectionResetError(0, "it closed the connection"))
            except BlockingIOError:
                self._send()
                self._tell_room()
            except OSError as error:
                self._lose_service(error)
            return
        self._loop.add(self._sock, self._look, _HANG_UP)
        self._send()
        self._tell_room()

    def _tell_room(self) -> None:
        if not self.is_full:
            self._on_room()

    def _lose_service(self, error: OSError) -> None:
        self.problem = _describe(error)
        self._hang_up()
        if self._gone_since is None:
            self._gone_since = time.monotonic()
            self._pause_s = _FIRST_PAUSE_S
        self._timer = self._loop.at(time.monotonic() + self._pause_s, self._call_again)
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)

    def _call_again(self) -> None:
        self._timer = None
        self._reconnect()
        self._send()
        self._tell_room()

    def _reconnect(self) -> None:
        try:
            self._sock = self._connect(0)
        except OSError as error:
            self._lose_service(error)
        else:
            self._loop.add(self._sock, self._look, _HANG_UP)

    def _hang_up(self) -> None:
        self._sent = 0  # a message of which a part went is sent whole to the next one
        if self._sock is not None:
            self._loop.remove(self._sock)
            self._sock.close()
            self._sock = None


def _describe(error: OSError) -> str:
    return f"the log service cannot be reached: {error.strerror or error}"
