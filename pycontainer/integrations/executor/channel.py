"""The pipes to one worker: frames in, answers out, and what tasks print, all in the thread that waits."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from pycontainer.errors import DeadlineExceeded, InvalidInput
from pycontainer.integrations.executor.worker import HEADER, LENGTH

if TYPE_CHECKING:
    from pycontainer.engine import Process

__all__ = ["Answer", "Channel", "Closed"]

_CHUNK = 1 << 16
_MAX_BUFFERS = 1 << 16
_MAX_TEXT = 64 << 20  # a byte of it may become thirty of lists
_TAIL_BYTES = 4096


class Closed(Exception):
    """The worker has gone."""


@attrs.frozen
class Answer:
    """kind: one byte, see worker. text: JSON. buffers: what the text refers to."""

    kind: bytes
    text: bytes
    buffers: tuple[bytearray, ...]


class Channel:
    """Frames to a process and back. Not for several threads, but `Process.kill` ends any waiting here."""

    def __init__(self, process: Process, limit_bytes: int, on_output: Callable[[bytes], None] | None) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._stdin, self._stdout = process.stdin.fileno(), process.stdout.fileno()
        self._stderr = process.stderr.fileno()
        for fd in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(fd, False)
        self._limit_bytes = limit_bytes
        self._on_output = on_output
        self._has_output = True
        self._tail = bytearray()

    @property
    def tail(self) -> str:
        """The end of what was printed."""
        return self._tail.decode(errors="replace")

    def send(self, content: bytes, deadline: float | None) -> None:
        """Send a frame. Raises: Closed, DeadlineExceeded."""
        self.send_raw(LENGTH.pack(len(content)) + content, deadline)

    def send_raw(self, content: bytes, deadline: float | None) -> None:
        """Send bytes as they are."""
        left = memoryview(content)
        while left:
            self._await(self._stdin, select.POLLOUT, deadline)
            try:
                left = left[os.write(self._stdin, left[: _CHUNK * 16]) :]
            except BlockingIOError:
                continue
            except OSError:
                raise Closed from None

    def receive(self, deadline: float | None) -> Answer:
        """The next answer. Raises: Closed, DeadlineExceeded; InvalidInput for a forged or too large one."""
        kind, length, count = HEADER.unpack(self._read(HEADER.size, deadline))
        if count > _MAX_BUFFERS:
            raise InvalidInput(f"the answer comes in {count} pieces")
        lengths = [LENGTH.unpack(self._read(LENGTH.size, deadline))[0] for _ in range(count)]
        total = length + sum(lengths)
        if total > self._limit_bytes or length > _MAX_TEXT:
            raise InvalidInput(
                f"the answer has {total} bytes, more than the {self._limit_bytes} of max_result_bytes, or "
                f"than {_MAX_TEXT} beside arrays and bytes; have the task write files to a volume"
            )
        text = bytes(self._read(length, deadline))
        return Answer(kind, text, tuple(self._read(size, deadline) for size in lengths))

    def _read(self, count: int, deadline: float | None) -> bytearray:
        # Room grows with what comes, not with what is announced.
        found = bytearray()
        while len(found) < count:
            self._await(self._stdout, select.POLLIN, deadline)
            try:
                chunk = os.read(self._stdout, min(count - len(found), _CHUNK * 16))
            except BlockingIOError:
                continue
            if not chunk:
                raise Closed
            found += chunk
        return found

    def drain(self) -> None:
        """Take what was printed and is there."""
        while self._has_output and self._take_output():
            pass

    def _await(self, fd: int, events: int, deadline: float | None) -> None:
        """Wait until the pipe is ready; what is printed meanwhile is taken."""
        poller = select.poll()
        poller.register(fd, events)
        if self._has_output:
            poller.register(self._stderr, select.POLLIN)
        while True:
            left_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            ready = dict(poller.poll(left_ms))
            if not ready:
                raise DeadlineExceeded("the worker did not answer in time")
            if self._stderr in ready and not self._take_output() and not self._has_output:
                poller.unregister(self._stderr)
            if fd in ready:
                return

    def _take_output(self) -> bool:
        try:
            chunk = os.read(self._stderr, _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._has_output = False
            return False
        self._tail += chunk
        del self._tail[:-_TAIL_BYTES]
        if self._on_output is not None:
            self._on_output(chunk)
        return True
