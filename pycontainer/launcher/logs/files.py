"""Log files: appended to whole records at a time, rotated by size, and compressed aside.

The newest file has the plain name, older ones `.1`, `.2` and so on. A file that has moved on is never
written to again; compressed it is `.1.gz`, made by a process of its own so that no output waits for it,
and shown by rename before the plain one goes. Its gzip header names the inode that it was made from:
readers who hold that one open know by it what they have read (RFC 1952, 2.3.1.1).
"""

from __future__ import annotations

import os
import signal
import struct
import zlib
from collections.abc import Callable

from pycontainer.kernel import syscalls

__all__ = ["ORIGIN", "RotatingFile"]

ORIGIN = struct.Struct("<10sH2sHQ")
"""Beginning of a compressed file: fixed header, length of the extra field, its name, its size, the inode."""

_GZIP = b"\x1f\x8b\x08\x04\0\0\0\0\0\x03"  # deflate, with an extra field, no time, Unix
_PART = ".gz.new"
_CHUNK = 1 << 18


class RotatingFile:
    """The files of one log, below a directory's descriptor.

    max_size: bytes at which the next record goes to a new file, None for no bound. max_files: how many
    there may be. is_compressed: whether those that moved on are compressed. whole: where the last whole
    record of a file (descriptor, size) ends; asked once, for the file of a monitor that was killed.
    """

    __slots__ = (
        *("_compressor", "_dir", "_fd", "_is_compressed", "_max_files", "_name", "_whole"),
        *("max_size", "size"),
    )

    def __init__(
        self,
        directory_fd: int,
        name: str,
        *,
        max_size: int | None = None,
        max_files: int = 1,
        is_compressed: bool = False,
        whole: Callable[[int, int], int] | None = None,
    ) -> None:
        self._whole = whole
        self._dir = directory_fd
        self._name = name
        self.max_size = max_size
        self._max_files = max(1, max_files)
        self._is_compressed = is_compressed and self._max_files > 1
        self._fd = -1
        self._compressor = -1
        self.size: int = 0
        """Bytes in the current file."""

    def open(self) -> None:
        """Open the current file, made if missing; idempotent. Raises OSError, for a link too."""
        if self._fd >= 0:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self._name, flags, 0o600, dir_fd=self._dir)
        self.size = os.fstat(self._fd).st_size
        if self.size and self._whole is not None:
            self._cut_off()

    def _cut_off(self) -> None:
        """Take away half a record that a killed monitor left at the end: it would hide all that follows."""
        whole, self._whole = self._whole, None
        assert whole is not None
        reader = os.open(self._name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._dir)
        try:
            end = whole(reader, self.size)
        finally:
            os.close(reader)
        if end < self.size:
            os.ftruncate(self._fd, end)
            self.size = end

    def room(self) -> int | None:
        """Bytes that the current file still takes; None without a bound."""
        return None if self.max_size is None else max(0, self.max_size - self.size)

    def write(self, *parts: bytes | memoryview) -> None:
        """Append all of it, or nothing. Raises OSError."""
        left = [memoryview(part) for part in parts if part]
        total = sum(map(len, left))
        try:
            while left:
                written = os.writev(self._fd, left)
                while left and written >= len(left[0]):
                    written -= len(left.pop(0))
                if left:
                    left[0] = left[0][written:]
        except OSError:
            # Half a record would make all that follows unreadable.
            os.ftruncate(self._fd, self.size)
            raise
        self.size += total

    def rotate(self) -> None:
        """Let the current file move on, and begin another. Raises OSError."""
        self._end_current()
        self._await_compressor()
        forms = ("", ".gz") if self._is_compressed else ("",)
        last = f"{self._name}.{self._max_files - 1}" if self._max_files > 1 else self._name
        for form in forms:
            self._unlink(last + form)
        for number in range(self._max_files - 2, -1, -1):
            newer = f"{self._name}.{number}" if number else self._name
            for form in forms:
                self._rename(newer + form, f"{self._name}.{number + 1}{form}")
        if self._is_compressed:
            try:
                self._compress(f"{self._name}.1")
            except OSError:
                pass  # it stays as it is
        self.open()

    def position(self) -> tuple[int, int] | None:
        """Inode and size of the current file; None when nothing was written yet."""
        return None if self._fd < 0 else (os.fstat(self._fd).st_ino, self.size)

    def close(self) -> None:
        """Close the current file; what is being compressed stays as it is. Idempotent."""
        self._end_current()
        if self._compressor > 0:
            os.kill(self._compressor, signal.SIGKILL)
            self._await_compressor()
            self._unlink(self._name + _PART)

    def _end_current(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _await_compressor(self) -> None:
        if self._compressor > 0:
            try:
                os.waitpid(self._compressor, 0)
            except ChildProcessError:
                pass  # reaped with the container's orphans
            self._compressor = -1

    def _unlink(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._dir)
        except FileNotFoundError:
            pass

    def _rename(self, name: str, to: str) -> None:
        try:
            os.rename(name, to, src_dir_fd=self._dir, dst_dir_fd=self._dir)
        except FileNotFoundError:
            pass

    def _compress(self, name: str) -> None:
        flags = os.O_CLOEXEC | os.O_NOFOLLOW
        source = os.open(name, os.O_RDONLY | flags, dir_fd=self._dir)
        target = os.open(
            self._name + _PART, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flags, 0o600, dir_fd=self._dir
        )
        try:
            self._compressor = os.fork()
            if self._compressor == 0:
                _be_compressor(source, target, self._dir, self._name + _PART, name)
        finally:
            os.close(source)
            os.close(target)


def _be_compressor(source: int, target: int, directory: int, part: str, name: str) -> None:
    """In the child: hold nothing else of the monitor's, compress, and end."""
    status = 1
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        syscalls.set_name(b"pycontainer-gz")
        syscalls.close_all_but((source, target, directory))
        os.nice(5)
        compress(source, target)
        os.rename(part, name + ".gz", src_dir_fd=directory, dst_dir_fd=directory)
        os.unlink(name, dir_fd=directory)
        status = 0
    finally:
        os._exit(status)


def compress(source: int, target: int) -> None:
    """Write a whole file as gzip that names the inode it comes from. Raises OSError."""
    packer = zlib.compressobj(level=1, wbits=-15)
    _write(target, ORIGIN.pack(_GZIP, 12, b"py", 8, os.fstat(source).st_ino))
    checksum, size = 0, 0
    while chunk := os.read(source, _CHUNK):
        checksum = zlib.crc32(chunk, checksum)
        size += len(chunk)
        _write(target, packer.compress(chunk))
    _write(target, packer.flush() + struct.pack("<II", checksum, size & 0xFFFFFFFF))


def _write(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
