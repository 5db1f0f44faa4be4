"""A container's output as its log has it: lines, selected and in order, once or as they come.

Theory of operation. `logfiles` reads what is there; to wait for more, the directory is watched with
inotify(7) and the monitor with a pidfd, so nothing is polled.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Literal
from urllib.parse import quote_plus

import attrs

from pycontainer.engine.logfiles import Piece, Reader
from pycontainer.engine.moments import Moment, from_nanoseconds, to_nanoseconds
from pycontainer.errors import DeadlineExceeded, InvalidOption
from pycontainer.kernel import inotify, interrupts, pidfd
from pycontainer.values import Value

__all__ = ["LogLine", "Logs"]

_STREAMS: dict[int, Literal["stdout", "stderr"]] = {1: "stdout", 2: "stderr"}


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LogLine(Value):
    """A piece of output: a line with its line end, or a part of one.

    stream: "stdout" or "stderr". at: when the monitor read it, UTC. content: the bytes as written.
    is_partial: the line goes on in the stream's next piece. attributes: the labels, variables and tag that
    the log driver was asked to add.
    """

    stream: Literal["stdout", "stderr"]
    at: datetime
    content: bytes
    is_partial: bool = False
    attributes: Mapping[str, str] = attrs.Factory(dict)

    @property
    def text(self) -> str:
        """The content as text without its line end; bytes that are not UTF-8 become U+FFFD."""
        return self.content.decode(errors="replace").rstrip("\n")


@attrs.define(kw_only=True)
class Logs:
    """Output of one container: iterate for tagged, ordered pieces, or take it all at once.

    follow: go on until the container has ended, or until the time of `until`. tail: only that many last
    lines of what is there now. since, until: a datetime, seconds since the epoch, or how long ago ("10m", a
    timedelta). timeout_s: bound on the waiting of follow; DeadlineExceeded after it. stop_fd: a descriptor
    that ends following once it can be read.
    """

    _directory: Path
    _monitor: Callable[[], int | None]  # a pidfd of the monitor, or None when it has ended
    _name: str = "log"
    _form: str = "local"
    stdout: bool = True
    stderr: bool = True
    follow: bool = False
    tail: int | None = None
    since: Moment | None = None
    until: Moment | None = None
    timeout_s: float | None = None
    stop_fd: int | None = None

    def __iter__(self) -> Iterator[LogLine]:
        for stream, at_ns, content, attributes in self._pieces():
            yield LogLine(
                stream=_STREAMS[stream],
                at=from_nanoseconds(at_ns),
                content=content,
                is_partial=not content.endswith(b"\n"),
                attributes=attributes,
            )

    def read(self) -> bytes:
        """All of it as bytes, both streams in the order they came."""
        content = BytesIO()  # which hands out its buffer: pieces joined are twice the output
        for piece in self._pieces(splits=self.tail is not None):
            content.write(piece.content)
        return content.getvalue()

    def records_until(self, inode: int, size: int) -> Iterator[Piece]:
        """The records up to this size of the file with this inode, whatever its name is by now."""
        reader = Reader(self._directory / self._name, self._form)
        try:
            for record in reader.until(inode, size):
                if self.stdout if record.stream == 1 else self.stderr:
                    yield record
        finally:
            reader.close()

    def text(self, *, timestamps: bool = False, details: bool = False) -> str:
        """All of it as text.

        timestamps: each line begins with its RFC 3339 time, to the nanosecond. details: and with what the
        log driver was asked to add, as name=value,... (as `docker logs` shows both).
        """
        if not timestamps and not details:
            return self.read().decode(errors="replace")
        shown: list[str] = []
        goes_on: dict[int, bool] = {}
        for piece in self._pieces():
            if not goes_on.get(piece.stream):
                if timestamps:
                    shown.append(_rfc3339(piece.at_ns) + " ")
                if details:
                    pairs = (f"{quote_plus(k)}={quote_plus(v)}" for k, v in sorted(piece.attributes.items()))
                    shown.append(",".join(pairs) + " ")
            goes_on[piece.stream] = not piece.content.endswith(b"\n")
            shown.append(piece.content.decode(errors="replace"))
        return "".join(shown)

    def _pieces(self, *, splits: bool = True) -> Iterator[Piece]:
        """Lines and unfinished ends of lines, selected and in order; unless it splits, many at a time."""
        if self.tail is not None and self.tail < 0:
            raise InvalidOption(f"tail={self.tail} is negative")
        since = None if self.since is None else to_nanoseconds(self.since, "since")
        until = None if self.until is None else to_nanoseconds(self.until, "until")
        reader = Reader(self._directory / self._name, self._form)
        try:
            if self.tail is not None:
                yield from _last_lines(self._selected(reader.available(), since, until, True), self.tail)
                if not self.follow:
                    return  # what has come meanwhile is not of the last lines there were
            more = self._follow(reader, until) if self.follow else reader.available()
            yield from self._selected(more, since, until, splits)
        finally:
            reader.close()

    def _selected(
        self, records: Iterator[Piece], since: int | None, until: int | None, splits: bool
    ) -> Iterator[Piece]:
        """Records hold what one read returned, often many lines: split those that are asked for."""
        for record in records:
            if since is not None and record.at_ns < since:
                continue
            if until is not None and record.at_ns > until:
                return
            if not (self.stdout if record.stream == 1 else self.stderr):
                continue
            if not splits:
                yield record
            else:
                for line in _split(record.content):
                    yield record._replace(content=line)

    def _follow(self, reader: Reader, until: int | None) -> Iterator[Piece]:
        deadline = None if self.timeout_s is None else time.monotonic() + self.timeout_s
        monitor = self._monitor()
        with inotify.Watch(os.fsencode(self._directory)) as watch:
            poller = interrupts.poll()
            poller.register(watch, select.POLLIN)
            if monitor is not None:
                poller.register(monitor, select.POLLIN)
            if self.stop_fd is not None:
                poller.register(self.stop_fd, select.POLLIN)
            try:
                while True:
                    # Looked at before reading: what was written before the end is then read for sure.
                    ended = monitor is None or pidfd.has_ended(monitor)
                    ended = ended or (until is not None and time.time_ns() > until)
                    for piece in reader.available():
                        yield piece
                        # One that writes all the time is read all the time.
                        self._check_time(deadline, monitor)
                    if ended:
                        return
                    ready = poller.poll(_wait_ms(deadline, until))
                    if any(fd == self.stop_fd for fd, _ in ready):
                        return
                    self._check_time(deadline, monitor)
                    watch.drain()
            finally:
                if monitor is not None:
                    os.close(monitor)

    def _check_time(self, deadline: float | None, monitor: int | None) -> None:
        if _is_over(deadline) and monitor is not None and not pidfd.has_ended(monitor):
            raise DeadlineExceeded(
                f"the container still runs after {self.timeout_s} s", timeout_s=self.timeout_s
            )


def _wait_ms(deadline: float | None, until: int | None) -> float | None:
    waits = [] if deadline is None else [deadline - time.monotonic()]
    if until is not None:
        waits.append((until - time.time_ns()) / 1e9 + 0.001)
    return max(0.0, min(waits)) * 1000 if waits else None


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def _rfc3339(at_ns: int) -> str:
    seconds, nanoseconds = divmod(at_ns, 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"


def _split(content: bytes) -> list[bytes]:
    """Lines with their ends; what follows the last line feed stands alone."""
    lines = [line + b"\n" for line in content.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _last_lines(pieces: Iterator[Piece], count: int) -> Iterator[Piece]:
    """The pieces of the last `count` lines; a line may be several pieces."""
    lines: deque[list[Piece]] = deque(maxlen=min(count, sys.maxsize))
    open_lines: dict[int, list[Piece]] = {}
    for piece in pieces:
        line = open_lines.pop(piece.stream, None)
        if line is None:
            line = []
            lines.append(line)
        line.append(piece)
        if not piece.content.endswith(b"\n"):
            open_lines[piece.stream] = line
    for line in lines:
        yield from line
