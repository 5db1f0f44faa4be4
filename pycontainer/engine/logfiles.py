"""A container's log files, read in order while they grow, rotate and are compressed.

Theory of operation. The monitor appends to one file, and when that is full renames it to `.1` (older
ones move on) and opens a new one; another process may compress `.1` into `.1.gz`. A reader therefore
holds the open file, reads records until the end, and then asks whether the name still means the same
inode: if not, the file it holds is complete and the next one is opened. A compressed file says in its
header from which inode it was made. File systems give the number to a new log as soon as that one is
gone, so size and checksum have to agree too: no record is read twice, nor left out, whatever moves
meanwhile.
Source of the layouts: `pycontainer.launcher.logs`.
"""

from __future__ import annotations

import gzip
import json
import os
import struct
import zlib
from calendar import timegm
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

__all__ = ["Piece", "Reader"]

_HEADER = struct.Struct("<BBHIQ")
_ORIGIN = struct.Struct("<10sH2sHQ")
_NUMBERS = {"stdout": 1, "stderr": 2}
_TRAILER = struct.Struct("<II")
"""End of a gzip file: checksum and size of the content (RFC 1952, 2.3.1)."""
_CHUNK = 1 << 20
_NOTHING: Mapping[str, str] = {}


class Piece(NamedTuple):
    """What a record holds, or a line of it."""

    stream: int
    at_ns: int
    content: bytes
    attributes: Mapping[str, str] = _NOTHING


class _File(NamedTuple):
    """An open log file, and the inode it has or was made from."""

    stream: BinaryIO | gzip.GzipFile
    device: int
    inode: int
    packed: BinaryIO | None = None
    """Of a compressed one, the file itself."""

    def is_same(self, other: _File) -> bool:
        """Whether both have the same records, one perhaps compressed meanwhile; both are open."""
        if (self.device, self.inode) != (other.device, other.inode):
            return False
        if self.packed is not None and other.packed is not None:
            return os.path.sameopenfile(self.packed.fileno(), other.packed.fileno())
        if self.packed is not None:
            return other._is_source_of(self.packed.fileno())
        # Two plain ones: an inode's number is not used again while somebody holds it.
        return other.packed is None or self._is_source_of(other.packed.fileno())

    def _is_source_of(self, packed: int) -> bool:
        """Whether what is compressed has the size and the checksum of this plain one."""
        fd = self.stream.fileno()
        trailer = os.pread(packed, _TRAILER.size, max(0, os.fstat(packed).st_size - _TRAILER.size))
        if len(trailer) != _TRAILER.size or _TRAILER.unpack(trailer)[1] != os.fstat(fd).st_size & 0xFFFFFFFF:
            return False
        checksum = offset = 0
        while chunk := os.pread(fd, _CHUNK, offset):
            checksum = zlib.crc32(chunk, checksum)
            offset += len(chunk)
        return trailer == _TRAILER.pack(checksum, offset & 0xFFFFFFFF)


def _open(path: Path) -> _File | None:
    """The file at the path, or its compressed form; None when there is neither."""
    try:
        plain = open(path, "rb")  # noqa: SIM115  (kept open)
    except FileNotFoundError:
        pass
    else:
        found = os.fstat(plain.fileno())
        return _File(plain, found.st_dev, found.st_ino)
    try:
        packed = open(f"{path}.gz", "rb")  # noqa: SIM115  (kept open)
    except FileNotFoundError:
        return None
    head = packed.read(_ORIGIN.size)
    packed.seek(0)
    origin = _ORIGIN.unpack(head)[4] if len(head) == _ORIGIN.size and head[12:14] == b"py" else 0
    return _File(gzip.GzipFile(fileobj=packed), os.fstat(packed.fileno()).st_dev, origin, packed)


class Reader:
    """Goes through the files of one log from the oldest on, and remembers where it is.

    path: of the newest file. form: "local" (framed records) or "json-file".
    """

    def __init__(self, path: Path, form: str = "local") -> None:
        self._path = path
        self._decode: Callable[[bytes], tuple[Iterator[Piece], int]]
        self._decode = _frames if form == "local" else _JsonLines().decode
        self._files: list[_File] = []  # the one being read, then newer ones
        self._partial = b""

    def available(self) -> Iterator[Piece]:
        """Every record that is complete by now."""
        while True:
            if not self._files:
                self._files = self._newer_than(None)
                if not self._files:
                    return
            yield from self._complete_records()
            if len(self._files) == 1:
                newer = self._newer_than(self._files[0])
                if not newer:
                    return
                # The rename came after the last write to it, so one more look finds what was missed.
                yield from self._complete_records()
                self._files += newer
            self._close(self._files.pop(0))
            self._partial = b""

    def until(self, inode: int, size: int) -> Iterator[Piece]:
        """The records up to this size of the file with this inode; nothing when there is no such file."""
        self._files = self._newer_than(None)
        wanted = [file for file in self._files if file.inode == inode]
        if not wanted:
            return
        while self._files:
            file = self._files[0]
            # Older ones were made from an inode whose number the newest of them got again.
            left = size if file is wanted[-1] else None
            yield from self._complete_records(left)
            if left is not None:
                return
            self._close(self._files.pop(0))
            self._partial = b""

    def close(self) -> None:
        """Close all files; idempotent."""
        while self._files:
            self._close(self._files.pop())

    @staticmethod
    def _close(file: _File) -> None:
        file.stream.close()
        if file.packed is not None:
            file.packed.close()

    def _newer_than(self, held: _File | None) -> list[_File]:
        """The files begun after the held one, oldest first.

        Opened from the newest on, as files move to higher numbers: a rotation meanwhile then shows one
        twice, never not at all. A number may be missing: one is moving, or a monitor was killed between
        two renames.
        """
        found: list[_File] = []
        number = 0
        while True:
            file = _open(self._path.with_name(f"{self._path.name}.{number}") if number else self._path)
            number += 1
            if file is None:
                if not self._has_from(number):
                    break
                continue
            is_held = held is not None and file.is_same(held)
            if is_held or any(file.is_same(each) for each in found):
                self._close(file)
            else:
                found.append(file)
            if is_held:
                break
        return found[::-1]

    def _has_from(self, number: int) -> bool:
        """Whether a file of this or a higher number exists."""
        prefix = f"{self._path.name}."
        for name in os.listdir(self._path.parent):
            digits = name.removeprefix(prefix).removesuffix(".gz")
            if name.startswith(prefix) and digits.isdigit() and int(digits) >= number:
                return True
        return False

    def _complete_records(self, left: int | None = None) -> Iterator[Piece]:
        """Of the current file; left: bytes of it that count, None for all."""
        while chunk := self._files[0].stream.read(_CHUNK if left is None else min(left, _CHUNK)):
            left = None if left is None else left - len(chunk)
            block = self._partial + chunk
            pieces, end = self._decode(block)
            self._partial = block[end:]
            yield from pieces


def _frames(block: bytes) -> tuple[Iterator[Piece], int]:
    """The records in a block, and where the last whole one ends."""
    found: list[Piece] = []
    offset = 0
    while offset + _HEADER.size <= len(block):
        stream, _, _, length, at_ns = _HEADER.unpack_from(block, offset)
        end = offset + _HEADER.size + length
        if end > len(block):
            break
        found.append(Piece(stream, at_ns, block[offset + _HEADER.size : end]))
        offset = end
    return iter(found), offset


class _JsonLines:
    """Decodes the objects of a json-file log."""

    def __init__(self) -> None:
        self._second = ""
        self._second_ns = 0

    def decode(self, block: bytes) -> tuple[Iterator[Piece], int]:
        """The objects in a block, and where the last whole one ends."""
        end = block.rfind(b"\n") + 1
        return self._pieces(block[:end]), end

    def _pieces(self, lines: bytes) -> Iterator[Piece]:
        for line in lines.split(b"\n"):
            if not line:
                continue
            try:
                fields = json.loads(line)
                stream, at_ns = _NUMBERS[fields["stream"]], self._nanoseconds(fields["time"])
                content = fields["log"].encode("utf-8", "surrogatepass")
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # cut off when the host went down, or not ours
            yield Piece(stream, at_ns, content, fields.get("attrs") or _NOTHING)

    def _nanoseconds(self, text: str) -> int:
        """Of Go's RFC3339Nano in UTC, the only form that is written."""
        second, _, fraction = text.removesuffix("Z").partition(".")
        if second != self._second:
            date, _, clock = second.partition("T")
            parts = (*map(int, date.split("-")), *map(int, clock.split(":")))
            self._second_ns = timegm((*parts, 0, 0, 0)) * 10**9
            self._second = second
        return self._second_ns + int(fraction.ljust(9, "0")[:9])
