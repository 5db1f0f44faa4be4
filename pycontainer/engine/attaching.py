"""Attached to a container: its output as it comes, and its input, over one socket to its monitor."""

from __future__ import annotations

import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import attrs

from pycontainer.engine.moments import left_ms
from pycontainer.engine.result import Gathered
from pycontainer.errors import DeadlineExceeded, HelperDied, InvalidOption, WrongState
from pycontainer.kernel import interrupts
from pycontainer.launcher import ask, frames
from pycontainer.options import given_seconds
from pycontainer.values import Value

if TYPE_CHECKING:
    from pycontainer.engine.process import Seconds

__all__ = ["Attachment", "Chunk", "attach_running", "check_size", "request", "terminal_size"]

_READ = select.POLLIN | select.POLLHUP | select.POLLERR
_STREAMS: dict[int, Literal["stdout", "stderr"]] = {frames.STDOUT: "stdout", frames.STDERR: "stderr"}


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Chunk(Value):
    """A piece of a container's output, as it was read. With a terminal all of it is stdout."""

    stream: Literal["stdout", "stderr"]
    content: bytes


def check_size(rows: int, columns: int) -> None:
    """Raises InvalidOption for a size that no terminal has."""
    from pycontainer.launcher import pty  # only with a terminal

    if not (0 < rows <= pty.MAX_SIZE and 0 < columns <= pty.MAX_SIZE):
        raise InvalidOption(f"a terminal of {rows} by {columns}: a side is 1 to {pty.MAX_SIZE}")


def request(
    *, stdin: bool, stdout: bool, stderr: bool, stdin_once: bool, size: tuple[int, int] | None
) -> dict[str, Any]:
    """How a monitor is to serve a client. Raises InvalidOption."""
    asked: dict[str, Any] = {"stdin": stdin, "stdout": stdout, "stderr": stderr, "once": stdin_once}
    if size is not None:
        check_size(*size)
        asked["rows"], asked["columns"] = size
    return asked


def attach_running(
    directory: Path, asked: dict[str, Any], timeout_s: float
) -> tuple[socket.socket, dict[str, Any]]:
    """A socket on which the container's monitor serves us, and its answer. Raises WrongState and others."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            answer = ask(str(directory), {"op": "attach", **asked}, (theirs.fileno(),), timeout_s)
    except BaseException:
        ours.close()
        raise
    return ours, answer


@final
class Attachment:
    """One client of a container's streams, as `Container.attach()` gives it.

    Iterate for what the container writes, tagged and in order, until its end. Several may be attached;
    each sees all output from then on, and what any of them writes is the container's input. Who reads too
    slowly is dropped (WrongState), and the container goes on. For one thread at a time; a context manager.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        has_terminal: bool,
        may_write: bool,
        before: Iterator[Chunk],
        wait: Callable[[], int],
        signal: Callable[[int], None],
        was_lost: Callable[[], bool],
    ) -> None:
        self._sock = sock
        self._was_lost = was_lost
        self._before = before
        self._wait = wait
        self._signal = signal
        self._decoder = frames.Decoder()
        self._arrived: deque[tuple[int, bytes]] = deque()
        self._has_ended = False
        self.has_terminal = has_terminal
        """Whether the container has one: then there is one stream, and the input does not end."""
        self.may_write = may_write
        """Whether it has input to write to."""

    def fileno(self) -> int:
        """A descriptor that poll(2) finds readable when there is output; `read` may have some besides."""
        return self._sock.fileno()

    # -- output ----------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Chunk]:
        while (chunk := self.read()) is not None:
            yield chunk

    def read(self, timeout: Seconds | None = None) -> Chunk | None:
        """The next output; None when the container's output has ended, or on being closed.

        timeout: seconds; None waits for ever. Raises DeadlineExceeded; WrongState when we were dropped for
        reading too slowly; HelperDied when the container's monitor was killed.
        """
        for earlier in self._before:
            return earlier
        deadline = None if timeout is None else time.monotonic() + given_seconds(timeout)
        while True:
            chunk = self._next()
            if chunk is not None or self._has_ended:
                return chunk
            if not self._poll(select.POLLIN, left_ms(deadline)):
                raise DeadlineExceeded(f"the container wrote nothing within {timeout} s")
            self._fill()

    def read_all(self, timeout: Seconds | None = None) -> tuple[bytes, bytes]:
        """All that is written until the container's end: stdout and stderr. timeout: seconds for it all."""
        return self.communicate(None, timeout)

    def communicate(self, input: bytes | None = None, timeout: Seconds | None = None) -> tuple[bytes, bytes]:
        """Write the input and end it, and read all output meanwhile: stdout and stderr.

        Without input the container's is left as it is. Raises as `read` and `write` do.
        """
        deadline = None if timeout is None else time.monotonic() + given_seconds(timeout)
        gathered = Gathered()
        for chunk in self._before:
            gathered.add(chunk.stream, chunk.content)
        left = memoryview(b"" if input is None else self._framed(input) + self._end_of_input())
        while not self._has_ended:
            events = select.POLLIN | (select.POLLOUT if left else 0)
            ready = self._poll(events, left_ms(deadline))
            if not ready:
                raise DeadlineExceeded(f"the container's output did not end within {timeout} s")
            if ready & select.POLLOUT:
                try:
                    left = left[self._send_some(left) :]
                except WrongState:
                    left = left[:0]  # it ended without reading it all; what it wrote is still to come
            if ready & _READ:
                self._fill()
            while (next_chunk := self._next()) is not None:
                gathered.add(next_chunk.stream, next_chunk.content)
        return gathered.both()

    def _next(self) -> Chunk | None:
        """Of what has arrived."""
        while self._arrived:
            kind, payload = self._arrived.popleft()
            if kind in _STREAMS:
                return Chunk(stream=_STREAMS[kind], content=payload)
            if kind == frames.ERROR:
                self._has_ended = True
                raise WrongState(payload.decode(errors="replace"), verb="read", state="dropped")
            if kind == frames.END:
                self._has_ended = True
        return None

    def _fill(self) -> None:
        try:
            received = self._sock.recv(frames.MAX_PAYLOAD, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except ConnectionResetError:
            received = b""
        self._arrived += self._decoder.feed(received)
        if not received and not self._has_ended and not self._arrived:
            # The last frame says so when all is well.
            self._has_ended = True
            if not self._was_lost():
                raise WrongState(
                    "dropped: the container ended when more of its output was waiting to be read than is "
                    "kept for one; read faster, or read the log",
                    verb="read",
                    state="dropped",
                )
            raise HelperDied("the container's monitor was killed, and the container with it", job="attach")

    def _poll(self, events: int, timeout_ms: float | None) -> int:
        if self._sock.fileno() < 0:
            raise WrongState("the attachment is closed", verb="use", state="closed")
        poller = interrupts.poll()
        poller.register(self._sock, events)
        ready = poller.poll(timeout_ms)
        return ready[0][1] if ready else 0

    # -- input -----------------------------------------------------------------------------------

    def write(self, content: bytes, timeout: Seconds | None = None) -> None:
        """Pass on to the container's input, shared with others who are attached.

        Waits while the container does not read. timeout: seconds; None waits for ever. Raises
        DeadlineExceeded; WrongState when the container has no input, or has ended.
        """
        self._send(self._framed(content), timeout)

    def close_stdin(self) -> None:
        """Let the container's input end, for all who are attached; idempotent.

        A terminal's input does not end: write the character for it, b"\\x04", instead.
        """
        self._send(self._end_of_input(), None)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the container's terminal; without effect when it has none."""
        check_size(rows, columns)
        self._send(frames.header(frames.RESIZE, frames.SIZE.size) + frames.SIZE.pack(rows, columns), None)

    def _framed(self, content: bytes) -> bytes:
        if not self.may_write:
            raise WrongState(
                "the container's input is not open, or was not asked for; create it with stdin_open=True",
                verb="write",
                state="attached",
            )
        size = frames.MAX_PAYLOAD
        pieces = (content[start : start + size] for start in range(0, len(content), size))
        return b"".join(frames.header(frames.STDIN, len(piece)) + piece for piece in pieces)

    def _end_of_input(self) -> bytes:
        return frames.header(frames.STDIN, 0) if self.may_write and not self.has_terminal else b""

    def _send(self, content: bytes, timeout: Seconds | None) -> None:
        deadline = None if timeout is None else time.monotonic() + given_seconds(timeout)
        left = memoryview(content)
        while left:
            sent = self._send_some(left)
            left = left[sent:]
            if left and not sent:
                ready = self._poll(select.POLLOUT | select.POLLIN, left_ms(deadline))
                if not ready:
                    raise DeadlineExceeded(f"the container took no input within {timeout} s")
                if ready & _READ:
                    self._fill()  # else we fall behind while we write

    def _send_some(self, content: memoryview) -> int:
        try:
            return self._sock.send(content, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError:
            raise WrongState(
                "the container has ended, or the attachment is closed", verb="write", state="exited"
            ) from None

    # -- the container ---------------------------------------------------------------------------

    def wait(self) -> int:
        """Wait for the end of the container's run and return the exit code."""
        return self._wait()

    def send_signal(self, number: int) -> None:
        """Send the container's first process a signal; without effect when it has ended."""
        self._signal(number)

    def close(self) -> None:
        """Detach: the container goes on, and so does its input unless it was to end with us. Idempotent."""
        self._has_ended = True
        self._sock.close()

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Attachment({'closed' if self._sock.fileno() < 0 else 'open'})"


def terminal_size(fd: int) -> tuple[int, int] | None:
    """Rows and columns of the terminal on fd; None when it is none or does not know."""
    try:
        columns, rows = os.get_terminal_size(fd)
    except OSError:
        return None
    return (rows, columns) if rows and columns else None
