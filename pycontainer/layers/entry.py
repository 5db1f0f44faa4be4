"""One member of a layer's tar, as the reader yields it and the writer takes it."""

from __future__ import annotations

import os
import stat

__all__ = ["KINDS", "Entry", "describe", "kind_of"]

KINDS = ("file", "dir", "symlink", "hardlink", "char", "block", "fifo")
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
}


class Entry:
    """A file, directory, link or node with all its metadata; names are bytes, as the kernel keeps them.

    Attributes:
        name: path inside the archive, without a trailing slash.
        kind: one of KINDS.
        mode: permission bits with setuid, setgid and sticky (0..0o7777), no type bits.
        size: logical size in bytes (of a sparse file: holes included); 0 for all but files.
        mtime_ns: nanoseconds since 1970, may be negative.
        linkname: target of a symlink, or path inside the archive that a hardlink names.
        xattrs: extended attributes, name to value.
        sparse: (offset, length) of every data extent, ascending, or None when the file has no holes.
    """

    __slots__ = (
        "devmajor",
        "devminor",
        "gid",
        "kind",
        "linkname",
        "mode",
        "mtime_ns",
        "name",
        "size",
        "sparse",
        "uid",
        "xattrs",
    )

    def __init__(
        self,
        name: bytes,
        kind: str = "file",
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        size: int = 0,
        mtime_ns: int = 0,
        linkname: bytes = b"",
        devmajor: int = 0,
        devminor: int = 0,
        xattrs: dict[bytes, bytes] | None = None,
        sparse: list[tuple[int, int]] | None = None,
    ) -> None:
        self.name: bytes = name
        self.kind: str = kind
        self.mode: int = mode
        self.uid: int = uid
        self.gid: int = gid
        self.size: int = size
        self.mtime_ns: int = mtime_ns
        self.linkname: bytes = linkname
        self.devmajor: int = devmajor
        self.devminor: int = devminor
        self.xattrs: dict[bytes, bytes] = {} if xattrs is None else xattrs
        self.sparse: list[tuple[int, int]] | None = sparse

    @property
    def stored_size(self) -> int:
        """Bytes of content in the archive: the data extents of a sparse file, the size of any other."""
        return self.size if self.sparse is None else sum(length for _, length in self.sparse)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Entry):
            return NotImplemented
        return all(getattr(self, field) == getattr(other, field) for field in self.__slots__)

    def __repr__(self) -> str:
        owner = f"uid={self.uid}, gid={self.gid}"
        return f"Entry({self.name!r}, {self.kind!r}, mode={self.mode:#o}, {owner}, size={self.size})"


def kind_of(mode: int) -> str | None:
    """The kind of a file by its st_mode; None for a socket, for which tar has no type."""
    return _KINDS.get(stat.S_IFMT(mode))


def describe(name: bytes, found: os.stat_result, xattrs: dict[bytes, bytes]) -> Entry | None:
    """A file that was looked at, as an archive describes it; None for a socket."""
    kind = kind_of(found.st_mode)
    if kind is None:
        return None
    entry = Entry(
        name,
        kind,
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        found.st_size if kind == "file" else 0,
        found.st_mtime_ns,
        xattrs=xattrs,
    )
    if kind in ("char", "block"):
        entry.devmajor, entry.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
    return entry
