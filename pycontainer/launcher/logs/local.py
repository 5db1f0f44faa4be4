"""The container's output in framed records, in the order they were read.

A record is a header and what one read of a stream returned: up to 64 KiB, often many lines, so that bulk
output costs one system call and no splitting. Readers split lines. A record is written whole or not at
all, and never spans two files: what does not fit the current one is cut, after a line where it can be.
"""

from __future__ import annotations

import os
import struct

from pycontainer.launcher.logs.files import RotatingFile

__all__ = [
    "CHUNK",
    "HEADER",
    "LEAST_SIZE",
    "NAME",
    "PARTIAL",
    "STDERR",
    "STDOUT",
    "LogWriter",
    "encode_header",
]

HEADER = struct.Struct("<BBHIQ")
"""stream, flags, 0, length of the payload, nanoseconds since the epoch."""

STDOUT = 1
STDERR = 2
PARTIAL = 1
"""Flag: the payload does not end with a line feed."""

CHUNK = 65536
LEAST_SIZE = 64
"""Bytes a file may grow to at least: one record with a little in it."""

NAME = "log"


def encode_header(stream: int, payload: memoryview | bytes, at_ns: int) -> bytes:
    """The header of a record. at_ns: nanoseconds since the epoch."""
    is_partial = len(payload) > 0 and payload[-1] != 0x0A
    return HEADER.pack(stream, PARTIAL if is_partial else 0, 0, len(payload), at_ns)


def _whole_end(fd: int, size: int) -> int:
    """Where the last whole record of a file ends."""
    end = 0
    while end + HEADER.size <= size:
        stream, _, zero, length, _ = HEADER.unpack(os.pread(fd, HEADER.size, end))
        if stream not in (STDOUT, STDERR) or zero or end + HEADER.size + length > size:
            break
        end += HEADER.size + length
    return end


class LogWriter:
    """Appends records to the log of one container; keeps going when the disk is full.

    max_size: bytes that no file exceeds (from LEAST_SIZE), None for no bound. max_files: how many there
    may be. is_compressed: whether those that moved on are compressed. was_cut_off: whether the last monitor
    was killed, perhaps in the middle of a record.
    lost_bytes counts output that could not be stored: the container must never wait for our disk.
    """

    __slots__ = ("_file", "lost_bytes")

    def __init__(
        self,
        directory_fd: int,
        *,
        max_size: int | None = None,
        max_files: int = 1,
        is_compressed: bool = False,
        name: str = NAME,
        was_cut_off: bool = False,
    ) -> None:
        bound = None if max_size is None else max(max_size, LEAST_SIZE)
        self._file = RotatingFile(
            directory_fd,
            name,
            max_size=bound,
            max_files=max_files,
            is_compressed=is_compressed,
            whole=_whole_end if was_cut_off else None,
        )
        self.lost_bytes: int = 0

    is_full = False
    """Whether the container has to wait: never for a disk."""

    problem = ""
    """Why output was lost, where that is not the disk's want of room."""

    def append(self, stream: int, payload: memoryview, at_ns: int) -> None:
        """Store what one read gave. Never raises for want of space."""
        while payload:
            try:
                count = self._make_room(payload)
                piece = payload[:count]
                self._file.write(encode_header(stream, piece, at_ns), piece)
            except OSError:
                self.lost_bytes += len(payload)
                return
            payload = payload[count:]

    def position(self) -> tuple[int, int] | None:
        """Where the log ends now: inode and size of its newest file."""
        return self._file.position()

    def held(self) -> dict[int, bytes]:
        """What is not in the log yet, by stream: nothing here."""
        return {}

    def finish(self, timeout_s: float) -> None:
        """Store what was held back: nothing here."""

    def close(self) -> None:
        """Close the current file; idempotent."""
        self._file.close()

    def _make_room(self, payload: memoryview) -> int:
        """How many bytes of the payload the file takes now, which is a new one if need be."""
        self._file.open()
        if self._file.max_size is None:
            return len(payload)
        count = self._fitting(payload)
        if count == 0:
            self._file.rotate()
            count = self._fitting(payload)
        return count or self._file.max_size - HEADER.size

    def _fitting(self, payload: memoryview) -> int:
        """Bytes up to the last end of a line that fit; all if they do."""
        room = max(0, (self._file.room() or 0) - HEADER.size)
        return len(payload) if len(payload) <= room else bytes(payload[:room]).rfind(b"\n") + 1
