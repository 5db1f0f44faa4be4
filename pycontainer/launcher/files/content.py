"""The bytes of files: moved without passing through Python, holes kept."""

from __future__ import annotations

import errno
import os

__all__ = ["Extents", "data_extents", "move", "move_all", "read_view"]

_PIECE = 1 << 24
_SMALLEST_HOLE = 1 << 16  # below, looking for holes costs more than writing zeros
_MAX_VIEW = 64 << 20  # of a file of the kernel, which does not tell its size
_NO_RANGES = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.ETXTBSY)


def data_extents(fd: int, found: os.stat_result) -> list[tuple[int, int]] | None:
    """(offset, length) of where the file has data; None when it has no holes worth a name."""
    size = found.st_size
    if size - found.st_blocks * 512 < _SMALLEST_HOLE:
        return None
    extents: list[tuple[int, int]] = []
    offset = 0
    while offset < size:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole to the end
                break
            if error.errno == errno.EINVAL:  # this file system does not tell
                return None
            raise
        if start >= size:
            break
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        extents.append((start, end - start))
        offset = end
    return extents


def move(source: int, target: int, offset: int, length: int) -> int:
    """Copy a range of a file to the same place of another; the bytes moved, fewer at the file's end."""
    done = 0
    is_ranged = True
    os.lseek(target, offset, os.SEEK_SET)
    while done < length:
        piece = min(_PIECE, length - done)
        try:
            if is_ranged:
                count = os.copy_file_range(source, target, piece, offset + done)
            else:
                count = os.sendfile(target, source, offset + done, piece)
        except OSError as error:
            if not is_ranged or error.errno not in _NO_RANGES:
                raise
            is_ranged = False
            continue
        if not count and is_ranged:
            is_ranged = False  # files of the kernel say so, whatever they hold
            continue
        if not count:
            break
        done += count
    return done


def move_all(source: int, target: int, size: int, extents: list[tuple[int, int]] | None) -> int:
    """Copy a file's first `size` bytes, or only its extents; the bytes of data moved.

    A file that has become shorter meanwhile is filled up with zeros, as tar(1) does.
    """
    moved = sum(move(source, target, *extent) for extent in ([(0, size)] if extents is None else extents))
    if extents is not None or moved < size:
        os.ftruncate(target, size)
    return moved


def read_view(fd: int) -> bytes:
    """The whole of a file that does not tell its size, of the kernel's. Raises: OSError(EFBIG)."""
    parts: list[bytes] = []
    total = 0
    while part := os.read(fd, 1 << 20):
        parts.append(part)
        total += len(part)
        if total > _MAX_VIEW:
            raise OSError(errno.EFBIG, f"more than {_MAX_VIEW} bytes in a file of the kernel")
    return b"".join(parts)


class Extents:
    """The data of a file's extents, one after another, for an archive that has said their lengths."""

    def __init__(self, fd: int, extents: list[tuple[int, int]]) -> None:
        self._fd = fd
        self._extents = extents[::-1]

    def read(self, size: int) -> bytes:
        """At most `size` bytes of the next extent; zeros for what is no longer there."""
        if not self._extents:
            return b""
        offset, length = self._extents.pop()
        wanted = min(size, length)
        data = os.pread(self._fd, wanted, offset) or bytes(wanted)
        if len(data) < length:
            self._extents.append((offset + len(data), length - len(data)))
        return data
