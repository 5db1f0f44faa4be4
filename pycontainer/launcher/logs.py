"""The container's output on disk: framed records, in the order they were read, rotated by size.

A record is a header and what one read of a stream returned: up to 64 KiB, often many lines, so that bulk
output costs one system call and no splitting. Readers split lines. A record is written whole or not at
all, and never spans two files: what does not fit the current one is cut, after a line where it can be.
The newest file is `log`, then `log.1`, `log.2`.
"""

from __future__ import annotations

import os
import struct

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


class LogWriter:
    """Appends records to the log of one container; keeps going when the disk is full.

    max_size: bytes that no file exceeds (from LEAST_SIZE), None for no bound. max_files: how many there
    may be.
    lost_bytes counts output that could not be stored: the container must never wait for our disk.
    """

    __slots__ = ("_dir", "_fd", "_max_files", "_max_size", "_size", "lost_bytes")

    def __init__(self, directory_fd: int, *, max_size: int | None = None, max_files: int = 1) -> None:
        self._dir = directory_fd
        self._max_size = None if max_size is None else max(max_size, LEAST_SIZE)
        self._max_files = max(1, max_files)
        self._fd = -1
        self._size = 0
        self.lost_bytes = 0

    def append(self, stream: int, payload: memoryview, at_ns: int) -> None:
        """Store what one read gave. Never raises for want of space."""
        while payload:
            try:
                count = self._make_room(payload)
                piece = payload[:count]
                self._write(encode_header(stream, piece, at_ns), piece)
            except OSError:
                self.lost_bytes += len(payload)
                return
            payload = payload[count:]

    def close(self) -> None:
        """Close the current file; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _make_room(self, payload: memoryview) -> int:
        """How many bytes of the payload the file takes now, which is a new one if need be."""
        if self._fd < 0:
            self._open()
        if self._max_size is None:
            return len(payload)
        count = self._fitting(payload, self._max_size)
        if count == 0:
            self.close()
            self._rotate()
            self._open()
            count = self._fitting(payload, self._max_size)
        return count or self._max_size - HEADER.size

    def _fitting(self, payload: memoryview, max_size: int) -> int:
        """Bytes up to the last end of a line that fit; all if they do."""
        room = max(0, max_size - self._size - HEADER.size)
        return len(payload) if len(payload) <= room else bytes(payload[:room]).rfind(b"\n") + 1

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        self._fd = os.open(NAME, flags, 0o600, dir_fd=self._dir)
        self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        names = [NAME, *(f"{NAME}.{number}" for number in range(1, self._max_files))]
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            try:
                os.rename(newer, older, src_dir_fd=self._dir, dst_dir_fd=self._dir)
            except FileNotFoundError:
                pass
        if len(names) == 1:
            os.unlink(NAME, dir_fd=self._dir)

    def _write(self, header: bytes, payload: memoryview) -> None:
        total = len(header) + len(payload)
        written = os.writev(self._fd, (header, payload))
        try:
            while written < total:
                rest = header[written:] if written < len(header) else b""
                written += os.writev(self._fd, (rest, payload[max(0, written - len(header)) :]))
        except OSError:
            # Half a record would make all that follows unreadable.
            os.ftruncate(self._fd, self._size)
            raise
        self._size += total
