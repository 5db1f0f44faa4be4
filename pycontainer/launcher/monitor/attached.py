"""Those who are attached to a container: each sees the output, and some write the input.

What one of them does not read waits in a bounded queue of its own. When one falls further behind, the
container's output is held up a moment, for a reader may only be waiting for a processor. Who has not caught
up by then is dropped, with an error as the last thing it reads: nobody waits longer for it. Frames are those
of `launcher.frames`.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from pycontainer import errors
from pycontainer.launcher import frames
from pycontainer.launcher.monitor.loop import READ, WRITE, Loop, Timer

__all__ = ["BEHIND_BYTES", "Attached", "Clients", "Input"]

BEHIND_BYTES = 1 << 20
"""How far behind the output one may be."""

MAX_CLIENTS = 64

_CAUGHT_UP_BYTES = BEHIND_BYTES // 2
_CATCH_UP_S = 5.0
"""How long the output is held up for one to catch up: a busy host may not give it a turn for seconds."""

_PATIENCE_S = 5.0
"""How long the end of a container waits for one that reads nothing; for the same reason."""


class Input(Protocol):
    """The container's input, as far as clients use it."""

    @property
    def has_room(self) -> bool:
        """Whether it takes more now."""

    def write(self, content: bytes) -> None:
        """Pass on to the container."""

    def end(self) -> None:
        """Let the container's input end."""

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the container's terminal."""


class Attached:
    """One client.

    sock: connected to it; owned. streams: which of stdout and stderr it sees. may_write: whether what it
    sends is input. is_once: whether the container's input ends with it.
    """

    __slots__ = (
        *("behind_bytes", "decoder", "has_ended", "is_dropped", "is_once", "may_write", "sock", "streams"),
        *("_queue", "_sent", "catches_up"),
    )

    def __init__(
        self, sock: socket.socket, *, streams: frozenset[int], may_write: bool, is_once: bool
    ) -> None:
        self.sock = sock
        self.streams = streams
        self.may_write = may_write
        self.is_once = is_once
        self.decoder: frames.Decoder = frames.Decoder()
        self.is_dropped: bool = False
        self.has_ended = False
        """Whether it will send no more."""
        self.behind_bytes: int = 0
        """What waits for it."""
        self.catches_up: Timer | None = None
        """The timer of its last chance, when the output is held up for it."""
        self._queue: deque[bytes] = deque()
        self._sent = 0  # of the first

    def put(self, frame: bytes) -> None:
        """Have a frame wait for it."""
        self._queue.append(frame)
        self.behind_bytes += len(frame)

    def flush(self) -> bool:
        """Send what it takes; False when it has gone."""
        while self._queue:
            try:
                rest = memoryview(self._queue[0])[self._sent :]
                sent = self.sock.send(rest, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            except OSError:
                return False
            self._sent += sent
            self.behind_bytes -= sent
            if self._sent == len(self._queue[0]):
                self._queue.popleft()
                self._sent = 0
        return True

    def drop(self, why: str) -> None:
        """Let it read the frame it has begun, then why there is no more."""
        begun = self._queue[0] if self._sent else b""
        self._queue.clear()
        self.behind_bytes = 0
        if begun:
            self._queue.append(begun)
            self.behind_bytes = len(begun) - self._sent
        text = why.encode()
        self.put(frames.header(frames.ERROR, len(text)) + text)
        self.is_dropped = True


class Clients:
    """All who are attached to one container. resume: called when none needs the output held up any more."""

    def __init__(self, loop: Loop, input_: Input, resume: Callable[[], None]) -> None:
        self._loop = loop
        self._resume = resume
        self._input = input_
        self._all: list[Attached] = []
        self._is_finishing = False

    def __bool__(self) -> bool:
        return bool(self._all)

    @property
    def is_full(self) -> bool:
        """Whether the output must be held up."""
        return any(client.catches_up is not None for client in self._all)

    def add(self, client: Attached) -> None:
        """Serve it from now on. Raises WrongState when there are too many."""
        if len(self._all) >= MAX_CLIENTS:
            client.sock.close()
            raise errors.WrongState(
                f"{MAX_CLIENTS} clients are attached already; detach one", verb="attach", state="running"
            )
        client.sock.setblocking(False)
        self._all.append(client)
        self._watch(client)

    def show(self, number: int, content: memoryview) -> None:
        """Let everybody see a piece of output."""
        frame = b""
        for client in list(self._all):
            if number not in client.streams or client.is_dropped:
                continue
            frame = frame or frames.header(number, len(content)) + content
            client.put(frame)
            if not client.flush():
                self._remove(client)
            elif client.behind_bytes:
                if client.behind_bytes > BEHIND_BYTES and client.catches_up is None:
                    client.catches_up = self._loop.at(
                        time.monotonic() + _CATCH_UP_S, partial(self._drop, client)
                    )
                self._watch(client)

    def _drop(self, client: Attached) -> None:
        client.catches_up = None
        client.drop(
            f"dropped: {client.behind_bytes} bytes of output were waiting to be read; "
            "attach again, and read faster or read the log"
        )
        self._watch(client)
        self._resume()

    def _see_caught_up(self, client: Attached) -> None:
        if client.catches_up is not None and client.behind_bytes <= _CAUGHT_UP_BYTES:
            self._end_wait(client)

    def _end_wait(self, client: Attached) -> None:
        timer, client.catches_up = client.catches_up, None
        if timer is not None:
            self._loop.cancel(timer)
            self._resume()

    def take_input(self) -> None:
        """The input has room again."""
        for client in self._all:
            self._watch(client)

    def finish(self) -> None:
        """Say that the output is whole, and let go of all; who does not read is not waited for."""
        for client in self._all:
            self._end_wait(client)
            if not client.is_dropped:
                client.put(frames.header(frames.END, 0))
        self._is_finishing = True
        for client in list(self._all):
            if not client.flush() or not client.behind_bytes:
                self._remove(client)
            else:
                self._watch(client)  # it may have had all before, and only the end finds no room
        while behind := self._behind_bytes():
            deadline = time.monotonic() + _PATIENCE_S
            timer = self._loop.at(deadline, lambda: None)
            self._loop.run_until(partial(self._has_moved, behind, deadline))
            self._loop.cancel(timer)
            if self._behind_bytes() >= behind:
                break
        for client in list(self._all):
            self._remove(client)

    def _behind_bytes(self) -> int:
        return sum(client.behind_bytes for client in self._all)

    def _has_moved(self, behind: int, deadline: float) -> bool:
        return self._behind_bytes() < behind or time.monotonic() >= deadline

    def _watch(self, client: Attached) -> None:
        reads = not client.has_ended and (not client.may_write or self._input.has_room)
        events = (READ if reads else 0) | (WRITE if client.behind_bytes else 0)
        self._loop.add(client.sock, partial(self._serve, client), events)

    def _serve(self, client: Attached, events: int) -> None:
        is_there = client.flush()
        self._see_caught_up(client)
        if is_there and events & READ:
            is_there = self._receive(client)
        is_last = client.is_dropped or self._is_finishing
        if not is_there or (is_last and not client.behind_bytes):
            self._remove(client)
        elif client in self._all:
            self._watch(client)

    def _receive(self, client: Attached) -> bool:
        """Do what it sent; False when it has gone."""
        try:
            received = client.sock.recv(frames.MAX_PAYLOAD)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not received:
            # Of one that has only shut its side down, the end shows as POLLHUP later.
            is_gone = client.has_ended
            client.has_ended = True
            return not is_gone
        try:
            for kind, payload in client.decoder.feed(received):
                self._do(client, kind, payload)
        except errors.InvalidInput:
            return False
        return True

    def _do(self, client: Attached, kind: int, payload: bytes) -> None:
        if kind == frames.STDIN and client.may_write:
            if payload:
                self._input.write(payload)
            else:
                self._input.end()
        elif kind == frames.RESIZE and len(payload) == frames.SIZE.size:
            self._input.resize(*frames.SIZE.unpack(payload))

    def _remove(self, client: Attached) -> None:
        if client not in self._all:
            return
        self._all.remove(client)
        self._loop.remove(client.sock)
        client.sock.close()
        self._end_wait(client)
        if client.is_once and client.may_write:
            self._input.end()
