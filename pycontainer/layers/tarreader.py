"""A strict streaming tar reader: ustar, PAX, GNU long names, every kind of sparse file.

Theory of operation: the archive arrives as a sequence of slots (memory views) of which all but the last
hold whole 512-byte blocks, so a header never crosses a slot and is parsed by slicing at fixed offsets.
`next()` skips what is left of the last entry and returns the next one; `piece()` hands out its content as
views into the slot, without a copy. A view is valid until the next call of either.

Where implementations differ, this one does as Go's archive/tar, since Docker, containerd and podman read
with it: a GNU long name beats a PAX path; types without content have size 0 whatever they say; one zero
block at the very end is enough of an end mark. It is stricter in refusing what Go ignores: unknown types
and global headers that would name every file.
Source: POSIX.1-2024 pax; GNU tar manual; Go archive/tar reader.go.
"""

from __future__ import annotations

from typing import Protocol

from pycontainer.errors import InvalidImage
from pycontainer.layers import pax
from pycontainer.layers.entry import Entry
from pycontainer.layers.limits import Limits
from pycontainer.layers.tarheader import BLOCK, HEADER, ZERO_BLOCK, checksum_ok, number, text

__all__ = ["Blocks", "FileBlocks", "TarReader"]

_KIND = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",  # contiguous, which no file system of today tells apart
    b"S": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "char",
    b"4": "block",
    b"5": "dir",
    b"6": "fifo",
}
_META = b"xgLK"
_LARGEST_ID = (1 << 32) - 2  # 2^32-1 is -1, "do not change", to chown(2)
_GLOBAL_REFUSED = (b"path", b"linkpath", b"size")
_EMPTY = memoryview(b"")


class Blocks(Protocol):
    """Where the archive comes from."""

    def next(self) -> memoryview:
        """The next slot, not empty and, but for the last, whole blocks; empty at the end.

        The slot given before may be overwritten from now on.
        """


class Readable(Protocol):
    """A binary file, as far as it is needed here."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


class FileBlocks:
    """Slots from a binary file."""

    def __init__(self, file: Readable, slot_size: int = 1 << 18) -> None:
        self._file = file
        self._slot = memoryview(bytearray(slot_size - slot_size % BLOCK))

    def next(self) -> memoryview:
        """Fill the slot anew."""
        filled = 0
        while filled < len(self._slot):
            count = self._file.readinto(self._slot[filled:])
            if not count:
                break
            filled += count
        return self._slot[:filled]


class TarReader:
    """Iterates over the entries of one archive. Not for concurrent use."""

    __slots__ = (
        "_base",
        "_blocks",
        "_extents",
        "_found",
        "_globals",
        "_limits",
        "_long_link",
        "_long_name",
        "_padding",
        "_position",
        "_slot",
        "entries",
        "offset",
        "remaining",
    )

    def __init__(self, blocks: Blocks, limits: Limits | None = None) -> None:
        self._blocks = blocks
        self._limits = limits or Limits()
        self._slot = _EMPTY
        self._position = 0
        self._base = 0  # offset in the archive of the slot's first byte
        self._padding = 0
        self._globals: dict[bytes, bytes] = {}
        self._found: list[tuple[bytes, bytes]] | None = None
        self._long_name = b""
        self._long_link = b""
        self.entries: int = 0
        """Headers read so far."""
        self.offset: int = 0
        """Where the last header starts in the archive."""
        self.remaining: int = 0
        """Content of the current entry that was not handed out yet, in stored bytes."""

    def next(self) -> Entry | None:
        """The next entry, or None at the end mark or the end of the archive.

        Raises: InvalidImage, naming the place, for anything malformed, cut off or beyond the limits.
        """
        while True:
            if self.remaining or self._padding:
                self._skip()
            block = self._block()
            if block is None or (block[0] == 0 and block == ZERO_BLOCK):
                self._end(block)
                return None
            self.entries += 1
            try:
                if self.entries > self._limits.entries:
                    raise InvalidImage(f"more than {self._limits.entries} entries")
                entry = self._parse(block)
            except InvalidImage as error:
                name = text(block[:100])
                raise InvalidImage(f"tar entry {name!r} at offset {self.offset}: {error}") from None
            if entry is not None:
                return entry

    def piece(self) -> memoryview:
        """The next part of the current entry's content; empty when there is no more."""
        remaining = self.remaining
        if not remaining:
            return _EMPTY
        position = self._position
        if position >= len(self._slot):
            self._refill("the content of an entry is cut off")
            position = 0
        view = self._slot[position : position + remaining]
        self._position = position + len(view)
        self.remaining = remaining - len(view)
        return view

    def drain(self) -> None:
        """Read what follows the end mark, so that the source sees (and hashes) every byte."""
        while len(slot := self._blocks.next()):
            self._base += len(self._slot)
            self._slot = slot

    def _refill(self, cut_off: str) -> None:
        """Go to the next slot. Raises: InvalidImage(cut_off) if there is none."""
        self._base += len(self._slot)
        self._position -= len(self._slot)
        self._slot = self._blocks.next()
        if not len(self._slot):
            raise InvalidImage(f"tar is truncated at offset {self._base}: {cut_off}")

    def _skip(self) -> None:
        """Pass over the content that nobody asked for and the padding."""
        self._position += self.remaining + self._padding
        self.remaining = self._padding = 0
        while self._position > len(self._slot):
            self._refill("an entry is cut off")

    def _block(self) -> bytes | None:
        """The next 512 bytes, or None at the end of the archive."""
        position = self._position
        if position == len(self._slot):
            self._base += position
            self._slot = self._blocks.next()
            self._position = position = 0
            if not len(self._slot):
                self.offset = self._base
                return None
        block = bytes(self._slot[position : position + BLOCK])
        self.offset = self._base + position
        if len(block) != BLOCK:
            raise InvalidImage(f"tar is truncated at offset {self.offset}: {len(block)} bytes are no header")
        self._position = position + BLOCK
        return block

    def _end(self, block: bytes | None) -> None:
        """Check the end mark: two zero blocks, one at the very end, or none."""
        if self._found is not None or self._long_name or self._long_link:
            raise InvalidImage(f"tar is truncated at offset {self.offset}: a header without its entry")
        if block is not None:
            second = self._block()
            if second is not None and second != ZERO_BLOCK:
                raise InvalidImage(f"tar: a single zero block before the header at offset {self.offset}")

    def _parse(self, block: bytes) -> Entry | None:
        """Turn a header into an entry, or remember what it says about the next one."""
        (name, mode, uid, gid, size, mtime, checksum, flag, link, magic, major, minor, prefix, tail) = (
            HEADER.unpack(block)
        )
        if not checksum_ok(block, checksum):
            raise InvalidImage("the checksum of the header is wrong")
        stored = number(size, "size")
        if stored < 0:
            raise InvalidImage(f"the size is negative: {stored}")
        kind = _KIND.get(flag)
        if kind is None:
            self._meta(flag, stored)
            return None
        entry = Entry(
            text(name),
            kind,
            number(mode, "mode") & 0o7777,
            number(uid, "uid"),
            number(gid, "gid"),
            stored if kind == "file" else 0,
            number(mtime, "mtime") * 1_000_000_000,
            text(link),
        )
        if magic == b"ustar\x0000" and prefix[0]:
            entry.name = text(prefix[:131] if tail[8:] == b"tar\0" else prefix) + b"/" + entry.name
        if kind in ("char", "block"):
            entry.devmajor, entry.devminor = number(major, "major"), number(minor, "minor")
        self._finish(entry, flag, block)
        return entry

    def _finish(self, entry: Entry, flag: bytes, block: bytes) -> None:
        """Apply what earlier headers said, check the result and start its content."""
        real_size = None
        if self._found is not None or self._globals:
            real_size = self._apply_records(entry)
        if self._long_name:
            entry.name, self._long_name = self._long_name, b""
        if self._long_link:
            entry.linkname, self._long_link = self._long_link, b""
        if entry.name.endswith(b"/"):
            if flag == b"\0":  # how tars older than the type '5' say "directory"
                entry.kind = "dir"
                entry.size = 0
            entry.name = entry.name.rstrip(b"/") or b"/"
        if not entry.name:
            raise InvalidImage("the name is empty")
        if not (0 <= entry.uid <= _LARGEST_ID and 0 <= entry.gid <= _LARGEST_ID):
            raise InvalidImage(f"owner {entry.uid}:{entry.gid} is out of range")
        self.remaining = entry.size
        self._padding = -entry.size % BLOCK
        if flag == b"S":
            self._old_sparse(entry, block)
        elif self._found is not None and entry.kind == "file":
            self._pax_sparse(entry, self._found, real_size)
        self._found = None

    def _meta(self, flag: bytes, size: int) -> None:
        """Read a header that describes the next entry (or all that follow)."""
        if flag not in _META:
            raise InvalidImage(f"the type flag {flag!r} is unknown")
        if size > self._limits.metadata_bytes:
            raise InvalidImage(f"{size} bytes of metadata; the limit is {self._limits.metadata_bytes}")
        self.remaining, self._padding = size, -size % BLOCK
        body = self._body(size)
        if flag == b"L":
            self._long_name = text(body)
        elif flag == b"K":
            self._long_link = text(body)
        elif flag == b"x":
            self._found = pax.records(body)
        else:
            for key, value in pax.records(body):
                if key in _GLOBAL_REFUSED or key.startswith(b"GNU.sparse"):
                    raise InvalidImage(f"a global header sets {key!r} of every entry")
                self._globals[key] = value

    def _body(self, size: int) -> bytes:
        """`size` bytes of the current content."""
        parts = []
        while size:
            if self._position >= len(self._slot):
                self._refill("metadata is cut off")
            view = self._slot[self._position : self._position + size]
            self._position += len(view)
            self.remaining -= len(view)
            size -= len(view)
            parts.append(bytes(view))
        return b"".join(parts)

    def _apply_records(self, entry: Entry) -> int | None:
        """Let PAX records override the header; returns the real size of a sparse file if they give it."""
        found = self._found or []
        values = {**self._globals, **dict(found)} if self._globals else dict(found)
        if path := values.get(b"GNU.sparse.name") or values.get(b"path"):
            entry.name = path
        if entry.kind in ("symlink", "hardlink") and (target := values.get(b"linkpath")):
            entry.linkname = target
        if size := values.get(b"size"):
            stored = pax.decimal(size, "size")
            if stored < 0:
                raise InvalidImage(f"the size is negative: {stored}")
            entry.size = stored if entry.kind == "file" else 0
        if uid := values.get(b"uid"):
            entry.uid = pax.decimal(uid, "uid")
        if gid := values.get(b"gid"):
            entry.gid = pax.decimal(gid, "gid")
        if mtime := values.get(b"mtime"):
            entry.mtime_ns = pax.nanoseconds(mtime)
        entry.xattrs = pax.attributes(list(values.items()))
        real = values.get(b"GNU.sparse.realsize") or values.get(b"GNU.sparse.size")
        return pax.decimal(real, "GNU.sparse.size") if real else None

    def _pax_sparse(self, entry: Entry, found: list[tuple[bytes, bytes]], real_size: int | None) -> None:
        """Set the map of a sparse file in one of the three PAX forms, if it is one."""
        extents = pax.sparse_extents(found, self._limits.metadata_bytes)
        if extents is None and dict(found).get(b"GNU.sparse.major") == b"1":
            extents = self._map_in_content()
        if extents is None:
            return
        if real_size is None or real_size < 0:
            raise InvalidImage("a sparse file without its real size")
        entry.sparse = pax.check_extents(extents, real_size, self.remaining)
        entry.size = real_size

    def _map_in_content(self) -> list[tuple[int, int]]:
        """Read the map that GNU sparse 1.0 keeps in front of the data: a count, then pairs, one a line."""
        buffer = b""
        lines: list[bytes] = []
        needed = 1
        blocks = 0
        while len(lines) < needed:
            blocks += 1
            if self.remaining < BLOCK or blocks * BLOCK > self._limits.metadata_bytes:
                raise InvalidImage("the sparse map is cut off or too long")
            *complete, buffer = (buffer + self._body(BLOCK)).split(b"\n")
            lines += complete
            if lines:
                needed = 1 + 2 * pax.decimal(lines[0], "sparse map count")
                if not 0 < needed <= self._limits.metadata_bytes:
                    raise InvalidImage(f"the sparse map has {lines[0]!r} extents")
        numbers = [pax.decimal(line, "sparse map") for line in lines[1:needed]]
        return list(zip(numbers[::2], numbers[1::2], strict=True))

    def _old_sparse(self, entry: Entry, block: bytes) -> None:
        """Set the map of an old GNU sparse file: four extents in the header, 21 in each extension block."""
        real_size = number(block[483:495], "real size")
        extents = _old_extents(block[386:482], 4)
        is_extended = block[482]
        while is_extended:
            if len(extents) * 24 > self._limits.metadata_bytes:
                raise InvalidImage(f"the sparse map has more than {len(extents)} extents")
            more = self._block()
            if more is None:
                raise InvalidImage("the sparse map is cut off")
            extents += _old_extents(more, 21)
            is_extended = more[504]
        entry.sparse = pax.check_extents(extents, real_size, self.remaining)
        entry.size = real_size


def _old_extents(table: bytes, count: int) -> list[tuple[int, int]]:
    """Pairs of 12-byte numbers, up to the first unused one."""
    extents = []
    for at in range(0, count * 24, 24):
        if not table[at]:
            break
        offset, length = number(table[at : at + 12], "offset"), number(table[at + 12 : at + 24], "length")
        extents.append((offset, length))
    return extents
