"""Reading a container's log while it grows, rotates and ends.

Theory of operation. The monitor appends records of a fixed header and a payload to `log`, and when that
is full renames it to `log.1` (older ones move on) and opens a new `log`. A reader therefore holds the
open file, reads records until the end, and then asks whether the name still means the same inode: if
not, the file it holds is complete and the next one is opened. To wait it watches the directory with
inotify(7) and the monitor with a pidfd, so nothing is polled. Source of the record layout:
`pycontainer.launcher.logs`.
"""

from __future__ import annotations

import os
import select
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

import attrs

from pycontainer.errors import DeadlineExceeded, InvalidOption
from pycontainer.kernel import inotify

__all__ = ["LogLine", "Logs"]

_HEADER = struct.Struct("<BBHIQ")
_Piece = tuple[int, int, bytes]  # stream, nanoseconds since the epoch, content
_STREAMS: dict[int, Literal["stdout", "stderr"]] = {1: "stdout", 2: "stderr"}


@attrs.frozen(kw_only=True)
class LogLine:
    """A piece of output: a line with its line end, or a part of one.

    stream: "stdout" or "stderr". at: when the monitor read it, UTC. content: the bytes as written.
    is_partial: the line goes on in the stream's next piece.
    """

    stream: Literal["stdout", "stderr"]
    at: datetime
    content: bytes
    is_partial: bool = False

    @property
    def text(self) -> str:
        """The content as text without its line end; bytes that are not UTF-8 become U+FFFD."""
        return self.content.decode(errors="replace").rstrip("\n")


def _nanoseconds(moment: datetime | float | int | None, name: str) -> int | None:
    if moment is None:
        return None
    if isinstance(moment, datetime):
        return int(moment.timestamp() * 1e9)
    if moment < 0:
        raise InvalidOption(f"{name}={moment!r} is before the epoch")
    return int(moment * 1e9)


@attrs.define(kw_only=True)
class Logs:
    """Output of one container: iterate for tagged, ordered pieces, or take it all at once.

    follow: go on until the container has ended. tail: only that many last lines of what is there now.
    since, until: datetime or seconds since the epoch. timeout_s: bound on the waiting of follow;
    DeadlineExceeded after it.
    """

    _directory: Path
    _monitor: Callable[[], int | None]  # a pidfd of the monitor, or None when it has ended
    stdout: bool = True
    stderr: bool = True
    follow: bool = False
    tail: int | None = None
    since: datetime | float | None = None
    until: datetime | float | None = None
    timeout_s: float | None = None

    def __iter__(self) -> Iterator[LogLine]:
        if self.tail is not None and self.tail < 0:
            raise InvalidOption(f"tail={self.tail} is negative")
        for piece in self._pieces():
            yield _log_line(piece)

    def read(self) -> bytes:
        """All of it as bytes, both streams in the order they came."""
        return b"".join(content for _, _, content in self._pieces())

    def text(self, *, timestamps: bool = False) -> str:
        """All of it as text; with timestamps each line begins with its RFC 3339 time."""
        if not timestamps:
            return self.read().decode(errors="replace")
        return "".join(
            f"{line.at.isoformat().replace('+00:00', 'Z')} {line.content.decode(errors='replace')}"
            for line in self
        )

    def growing(self) -> Growing:
        """The output so far, and later what has come since; it never waits, and follow means nothing."""
        return Growing(self)

    def _pieces(self) -> Iterator[_Piece]:
        """Lines and unfinished ends of lines, selected and in order."""
        yield from self._selected(self._all_pieces())

    def _selected(self, pieces: Iterator[_Piece]) -> Iterator[_Piece]:
        since, until = _nanoseconds(self.since, "since"), _nanoseconds(self.until, "until")
        for piece in pieces:
            if since is not None and piece[1] < since:
                continue
            if until is not None and piece[1] > until:
                return
            yield piece

    def _all_pieces(self) -> Iterator[_Piece]:
        if self.tail is not None and self.tail < 0:
            raise InvalidOption(f"tail={self.tail} is negative")
        reader = _Reader(self._directory)
        try:
            if self.tail is not None:
                yield from _last_lines(self._lines(reader.available()), self.tail)
            yield from self._lines(self._follow(reader) if self.follow else reader.available())
        finally:
            reader.close()

    def _lines(self, records: Iterator[_Piece]) -> Iterator[_Piece]:
        """Records hold what one read returned, often many lines: split them."""
        for stream, at_ns, content in records:
            if self.stdout if stream == 1 else self.stderr:
                for line in _split(content):
                    yield stream, at_ns, line

    def _follow(self, reader: _Reader) -> Iterator[_Piece]:
        deadline = None if self.timeout_s is None else time.monotonic() + self.timeout_s
        monitor = self._monitor()
        with inotify.Watch(os.fsencode(self._directory)) as watch:
            poller = select.poll()
            poller.register(watch, select.POLLIN)
            if monitor is not None:
                poller.register(monitor, select.POLLIN)
            try:
                while True:
                    # Looked at before reading: what was written before the end is then read for sure.
                    ended = monitor is None or _is_ready(monitor)
                    yield from reader.available()
                    if ended:
                        return
                    left_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
                    if not poller.poll(left_ms):
                        raise DeadlineExceeded(
                            f"the container still runs after {self.timeout_s} s", timeout_s=self.timeout_s
                        )
                    watch.drain()
            finally:
                if monitor is not None:
                    os.close(monitor)


class Growing:
    """Reads a container's output bit by bit, for those who wait for several things at once. Close it."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._reader = _Reader(logs._directory)

    def available(self) -> Iterator[LogLine]:
        """What has come since the last call."""
        for piece in self._logs._selected(self._logs._lines(self._reader.available())):
            yield _log_line(piece)

    def close(self) -> None:
        """Close the files; idempotent."""
        self._reader.close()


def _log_line(piece: _Piece) -> LogLine:
    stream, at_ns, content = piece
    return LogLine(
        stream=_STREAMS[stream],
        at=datetime.fromtimestamp(at_ns / 1e9, UTC),
        content=content,
        is_partial=not content.endswith(b"\n"),
    )


def _is_ready(fd: int) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))


def _split(content: bytes) -> list[bytes]:
    """Lines with their ends; what follows the last line feed stands alone."""
    lines = [line + b"\n" for line in content.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _last_lines(pieces: Iterator[_Piece], count: int) -> Iterator[_Piece]:
    """The pieces of the last `count` lines; a line may be several pieces."""
    lines: deque[list[_Piece]] = deque(maxlen=count)
    open_lines: dict[int, list[_Piece]] = {}
    for piece in pieces:
        line = open_lines.pop(piece[0], None)
        if line is None:
            line = []
            lines.append(line)
        line.append(piece)
        if not piece[2].endswith(b"\n"):
            open_lines[piece[0]] = line
    for line in lines:
        yield from line


class _Reader:
    """Goes through the log files from the oldest on, and remembers where it is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: list[BinaryIO] = []  # the one being read, then newer ones
        self._partial = b""

    def available(self) -> Iterator[_Piece]:
        """Every record that is complete by now."""
        while True:
            if not self._files:
                self._files = self._newer_than(None)
                if not self._files:
                    return
            yield from self._complete_records()
            if len(self._files) == 1:
                newer = self._newer_than(os.fstat(self._files[0].fileno()))
                if not newer:
                    return
                # The rename came after the last write to it, so one more look finds what was missed.
                yield from self._complete_records()
                self._files += newer
            self._files.pop(0).close()
            self._partial = b""

    def close(self) -> None:
        while self._files:
            self._files.pop().close()

    def _newer_than(self, held: os.stat_result | None) -> list[BinaryIO]:
        """The files begun after the held one, oldest first.

        Opened from the newest on: a rotation meanwhile then shows a file twice, never not at all.
        """
        found: dict[tuple[int, int], BinaryIO] = {}
        for name in ("log", *(f"log.{number}" for number in range(1, 10000))):
            try:
                file = open(self._directory / name, "rb")  # noqa: SIM115  (kept open)
            except FileNotFoundError:
                if name == "log":
                    continue  # between the rename and the new file
                break
            status = os.fstat(file.fileno())
            identity = (status.st_dev, status.st_ino)
            is_held = held is not None and identity == (held.st_dev, held.st_ino)
            if is_held or identity in found:
                file.close()
            else:
                found[identity] = file
            if is_held:
                break
        return list(reversed(found.values()))

    def _complete_records(self) -> Iterator[_Piece]:
        while chunk := self._files[0].read(1 << 20):
            block = self._partial + chunk
            offset = 0
            while offset + _HEADER.size <= len(block):
                stream, _, _, length, at_ns = _HEADER.unpack_from(block, offset)
                end = offset + _HEADER.size + length
                if end > len(block):
                    break
                yield stream, at_ns, block[offset + _HEADER.size : end]
                offset = end
            self._partial = block[offset:]
