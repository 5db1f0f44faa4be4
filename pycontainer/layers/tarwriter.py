"""A deterministic tar writer: the same entries give the same bytes, on every machine and at every time.

Plain ustar headers; a PAX extended header in front only for what ustar cannot hold (long or non-ASCII
names, big ids and sizes, fractions of a second, extended attributes, holes). These are the choices of
Go's archive/tar, so that every container engine reads them.
Source: POSIX.1-2024 pax, "ustar Interchange Format" and "pax Interchange Format"; GNU tar manual,
"Storing Sparse Files", PAX format version 1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pycontainer.errors import InvalidInput
from pycontainer.layers.entry import Entry

__all__ = ["TarWriter"]

BLOCK = 512
COPY_SIZE = 1 << 20
OCTAL_7 = 0o7777777  # the largest number of a 8-byte field
OCTAL_11 = 0o77777777777  # ... and of a 12-byte field
TYPE_FLAGS = {
    "file": b"0",
    "hardlink": b"1",
    "symlink": b"2",
    "char": b"3",
    "block": b"4",
    "dir": b"5",
    "fifo": b"6",
}


class Output(Protocol):
    """Where the archive goes."""

    def write(self, data: bytes, /) -> object: ...


class Input(Protocol):
    """Where the content of a file comes from."""

    def read(self, size: int, /) -> bytes: ...


class TarWriter:
    """Writes entries to `out` in the order given; `close()` writes the end mark and leaves `out` open."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self.size: int = 0
        """Bytes written so far."""

    def add(self, entry: Entry, content: bytes | bytearray | memoryview | Input | None = None) -> None:
        """Append one entry; `content` gives exactly `entry.stored_size` bytes (sparse: the extents joined).

        Raises: InvalidInput if the content is longer or shorter, or a name cannot be stored.
        """
        _check(entry)
        stored = entry.stored_size if entry.kind == "file" else 0
        name = entry.name + b"/" if entry.kind == "dir" else entry.name
        prefix, short_name = _split(name)
        records = _pax_records(entry, name, fits=bool(short_name))
        sparse_map = b""
        if entry.sparse is not None and entry.kind == "file":
            sparse_map = _sparse_map(entry.sparse)
            records |= {
                b"GNU.sparse.major": b"1",
                b"GNU.sparse.minor": b"0",
                b"GNU.sparse.name": name,
                b"GNU.sparse.realsize": b"%d" % entry.size,
            }
        archived = stored + len(sparse_map)
        if archived > OCTAL_11:
            records[b"size"] = b"%d" % archived
        if records:
            self._write_pax(name, records)
        header = _header(entry, TYPE_FLAGS[entry.kind], short_name or name[:100], prefix, archived)
        self._write(header + sparse_map)
        self._copy(entry, content, stored)
        if archived % BLOCK:
            self._write(bytes(BLOCK - archived % BLOCK))

    def close(self) -> None:
        """Write the two zero blocks that end an archive."""
        self._write(bytes(2 * BLOCK))

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self.size += len(data)

    def _write_pax(self, name: bytes, records: Mapping[bytes, bytes]) -> None:
        body = b"".join(_record(key, records[key]) for key in sorted(records))
        directory, _, base = name.rstrip(b"/").rpartition(b"/")
        # Some readers show this name, so it is made of ASCII and is short; nothing depends on it.
        label = _ascii(directory + b"/PaxHeaders.0/" + base if directory else b"PaxHeaders.0/" + base)[:100]
        self._write(_header(Entry(label, mode=0), b"x", label, b"", len(body)))
        self._write(body + bytes(-len(body) % BLOCK))

    def _copy(
        self, entry: Entry, content: bytes | bytearray | memoryview | Input | None, stored: int
    ) -> None:
        if content is None or isinstance(content, (bytes, bytearray, memoryview)):
            data = bytes(content or b"")
            if len(data) != stored:
                raise InvalidInput(f"{entry.name!r}: {len(data)} bytes of content for a size of {stored}")
            self._write(data)
            return
        remaining = stored
        while remaining:
            data = content.read(min(COPY_SIZE, remaining))
            if not data:
                raise InvalidInput(
                    f"{entry.name!r}: content ends {remaining} bytes before its size of {stored}"
                )
            self._write(data)
            remaining -= len(data)


def _check(entry: Entry) -> None:
    """Refuse what no tar can hold."""
    if entry.kind not in TYPE_FLAGS:
        raise InvalidInput(f"{entry.name!r}: kind {entry.kind!r} cannot be stored in a tar")
    if not entry.name or b"\0" in entry.name or b"\0" in entry.linkname:
        raise InvalidInput(f"{entry.name!r}: a name in a tar is not empty and has no NUL byte")
    if entry.kind in ("symlink", "hardlink") and not entry.linkname:
        raise InvalidInput(f"{entry.name!r}: a link needs a target")
    if entry.uid < 0 or entry.gid < 0 or entry.size < 0:
        raise InvalidInput(f"{entry.name!r}: uid {entry.uid}, gid {entry.gid}, size {entry.size}: below 0")
    if not (0 <= entry.devmajor <= OCTAL_7 and 0 <= entry.devminor <= OCTAL_7):
        raise InvalidInput(f"{entry.name!r}: device {entry.devmajor}:{entry.devminor} is out of range")
    if any(b"=" in name or b"\0" in name for name in entry.xattrs):
        raise InvalidInput(f"{entry.name!r}: an attribute name with '=' or NUL cannot be stored in a tar")


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Split into ustar prefix (155 bytes) and name (100 bytes); the name is empty if it does not fit."""
    if not name.isascii():
        return b"", b""
    if len(name) <= 100:
        return b"", name
    cut = name.rfind(b"/", 0, 156)
    while cut > 0 and cut == len(name) - 1:
        cut = name.rfind(b"/", 0, cut)
    if cut <= 0 or len(name) - cut - 1 > 100:
        return b"", b""
    return name[:cut], name[cut + 1 :]


def _pax_records(entry: Entry, name: bytes, *, fits: bool) -> dict[bytes, bytes]:
    """The records that ustar cannot hold."""
    records: dict[bytes, bytes] = {}
    if not fits:
        records[b"path"] = name
    if len(entry.linkname) > 100 or not entry.linkname.isascii():
        records[b"linkpath"] = entry.linkname
    if entry.uid > OCTAL_7:
        records[b"uid"] = b"%d" % entry.uid
    if entry.gid > OCTAL_7:
        records[b"gid"] = b"%d" % entry.gid
    if entry.mtime_ns % 1_000_000_000 or not 0 <= entry.mtime_ns // 1_000_000_000 <= OCTAL_11:
        records[b"mtime"] = _seconds(entry.mtime_ns)
    for key, value in entry.xattrs.items():
        records[b"SCHILY.xattr." + key] = value
    return records


def _seconds(nanoseconds: int) -> bytes:
    """Decimal seconds with the shortest fraction, rounding nothing."""
    whole, fraction = divmod(abs(nanoseconds), 1_000_000_000)
    text = f"{'-' if nanoseconds < 0 else ''}{whole}"
    return (f"{text}.{fraction:09d}".rstrip("0") if fraction else text).encode()


def _record(key: bytes, value: bytes) -> bytes:
    """One PAX record; its length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _sparse_map(extents: list[tuple[int, int]]) -> bytes:
    """The map that precedes the data in GNU sparse format 1.0, padded to whole blocks."""
    lines = [b"%d\n" % len(extents)]
    lines += [b"%d\n%d\n" % extent for extent in extents]
    text = b"".join(lines)
    return text + bytes(-len(text) % BLOCK)


def _ascii(name: bytes) -> bytes:
    return bytes(byte for byte in name if 32 <= byte < 127)


def _octal(value: int, width: int) -> bytes:
    """A number field; 0 when it is out of range, which a PAX record in front then overrides."""
    if not 0 <= value < 8 ** (width - 1):
        value = 0
    return b"%0*o\0" % (width - 1, value)


def _header(entry: Entry, flag: bytes, name: bytes, prefix: bytes, size: int) -> bytes:
    """One ustar header block with its checksum."""
    is_device = entry.kind in ("char", "block")
    head = b"".join(
        (
            name.ljust(100, b"\0"),
            _octal(entry.mode & 0o7777, 8),
            _octal(entry.uid, 8),
            _octal(entry.gid, 8),
            _octal(size, 12),
            _octal(entry.mtime_ns // 1_000_000_000, 12),
            b" " * 8,
            flag,
            entry.linkname[:100].ljust(100, b"\0"),
            b"ustar\x0000",
            bytes(64),
            _octal(entry.devmajor if is_device else 0, 8),
            _octal(entry.devminor if is_device else 0, 8),
            prefix.ljust(155, b"\0"),
            bytes(12),
        )
    )
    return head[:148] + b"%06o\0 " % sum(head) + head[156:]
