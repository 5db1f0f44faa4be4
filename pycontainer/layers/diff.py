"""The other direction: the upper directory of an overlay as a layer's tar.

Overlay form turns back into the specification's: a character device 0:0 becomes `.wh.NAME`, an opaque
directory gets `.wh..wh..opq`. Every directory comes before what is in it, names sorted as bytes, so equal
trees give equal bytes; the tar lists all parents and links only into itself, hence is self-contained.
Source: OCI image-spec layer.md; kernel Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import Any

from pycontainer.errors import InvalidInput, KernelError, Unsupported
from pycontainer.layers.attributes import is_kept
from pycontainer.layers.entry import Entry, describe, kind_of
from pycontainer.layers.limits import Limits
from pycontainer.layers.tarwriter import TarWriter

__all__ = ["Differ", "HashedOutput"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOUND = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_CLOEXEC
_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_PREFIXES = (b"trusted.overlay.", b"user.overlay.")
_SMALLEST_HOLE = 1 << 16  # below, a map costs more than the zeros


class HashedOutput:
    """Writes to a descriptor in big pieces and takes the SHA-256 of it all."""

    _SIZE = 1 << 20

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._hasher: Any = hashlib.sha256()
        self._parts: list[bytes] = []
        self._pending = 0

    def write(self, data: bytes) -> None:
        """Take these bytes; they reach the descriptor at the latest with `flush`."""
        self._parts.append(data)
        self._pending += len(data)
        if self._pending >= self._SIZE:
            self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        data = memoryview(b"".join(self._parts))
        self._parts.clear()
        self._pending = 0
        self._hasher.update(data)
        while data:
            data = data[os.write(self._fd, data) :]

    @property
    def digest(self) -> str:
        """Of everything flushed."""
        return f"sha256:{self._hasher.hexdigest()}"


class _Extents:
    """The data of a file's extents, one after another; of a live one zeros for what is no longer there."""

    def __init__(self, fd: int, extents: list[tuple[int, int]], *, is_live: bool = False) -> None:
        self._fd = fd
        self._extents = extents[::-1]
        self._is_live = is_live

    def read(self, size: int) -> bytes:
        """At most `size` bytes of the next extent."""
        if not self._extents:
            return b""
        offset, length = self._extents.pop()
        data = os.pread(self._fd, min(size, length), offset)
        if not data and self._is_live:
            data = bytes(min(size, length))
        if len(data) < length and data:
            self._extents.append((offset + len(data), length - len(data)))
        return data


class Differ:
    """Writes one upper directory as a tar.

    is_live: others may change it meanwhile. Then what vanishes is left out, and files that become shorter
    are filled up with zeros. is_compared: only what two trees from one tar have in common: no times of
    directories, which of those the tar does not list is that of unpacking, and no holes.
    """

    def __init__(
        self,
        root: int,
        writer: TarWriter,
        limits: Limits,
        *,
        is_live: bool = False,
        is_compared: bool = False,
    ) -> None:
        self._root = root
        self._writer = writer
        self._limits = limits
        self._is_live = is_live
        self._is_compared = is_compared
        self._links: dict[tuple[int, int], bytes] = {}

    def run(self) -> None:
        """Write all entries, the root's own first, without the end mark.

        Raises: InvalidInput for what no layer can hold; Unsupported for an upper directory that needs the
        layers below it to be read; KernelError naming the path.
        """
        path = b"."
        self._writer.add(self._entry(b".", os.fstat(self._root), self._directory_xattrs(self._root, b".")))
        stack = [(b"", os.dup(self._root), self._names(self._root))]
        try:
            while stack:
                above, fd, names = stack[-1]
                if not names:
                    os.close(stack.pop()[1])
                    continue
                base = names.pop()
                path = above + b"/" + base if above else base
                if (below := self._added(fd, base, path)) >= 0:
                    stack.append((path, below, self._names(below)))
                    self._check_depth(stack, path)
        except KernelError:
            raise
        except OSError as error:
            raise KernelError(error.errno or 0, "diff", os.fsdecode(path)) from error
        finally:
            for _, fd, _ in stack:
                os.close(fd)

    def _check_depth(self, stack: list[Any], path: bytes) -> None:
        if len(stack) > self._limits.depth or len(path) > self._limits.path_bytes:
            raise InvalidInput(
                f"{path[:128]!r}…: {len(stack)} directories deep; a layer may have {self._limits.depth}"
            )

    def _names(self, fd: int) -> list[bytes]:
        """What is in a directory, last first."""
        return sorted(map(os.fsencode, os.listdir(fd)), reverse=True)

    def _added(self, fd: int, base: bytes, path: bytes) -> int:
        try:
            return self._add(fd, base, path)
        except FileNotFoundError:
            # All of an entry is known before any of it is written, so nothing is half-said.
            if not self._is_live:
                raise
            return -1

    def _add(self, fd: int, base: bytes, path: bytes) -> int:
        """Write one entry; a descriptor if it is a directory to go into, else -1."""
        found = os.stat(base, dir_fd=fd, follow_symlinks=False)
        kind = kind_of(found.st_mode)
        if kind is None:
            return -1  # a socket means nothing without its process, and tar has no type for it
        if kind == "char" and found.st_rdev == 0:
            self._writer.add(_mark(path, _WHITEOUT + base))
            return -1
        if base.startswith(_WHITEOUT):
            raise InvalidInput(
                f"{os.fsdecode(path)}: in a layer, a name that begins with '.wh.' deletes files"
            )
        if kind == "dir":
            return self._add_directory(fd, base, path)
        raw = self._xattrs(b"/proc/self/fd/%d/%s" % (fd, base), path)
        if kind == "file" and _overlay(raw, b"whiteout") is not None:
            self._writer.add(_mark(path, _WHITEOUT + base))
            return -1
        if found.st_nlink > 1 and self._add_link(found, path):
            return -1
        entry = self._entry(path, found, raw)
        if kind == "symlink":
            entry.linkname = os.readlink(base, dir_fd=fd)
        if kind == "file":
            self._add_file(fd, base, entry)
        else:
            self._writer.add(entry)
        return -1

    def _add_link(self, found: os.stat_result, path: bytes) -> bool:
        """Write a hard link if another name of the file was written before."""
        key = (found.st_dev, found.st_ino)
        first = self._links.setdefault(key, path)
        if first == path:
            return False
        self._writer.add(
            Entry(
                path,
                "hardlink",
                stat.S_IMODE(found.st_mode),
                found.st_uid,
                found.st_gid,
                mtime_ns=found.st_mtime_ns,
                linkname=first,
            )
        )
        return True

    def _add_directory(self, fd: int, base: bytes, path: bytes) -> int:
        below = os.open(base, _DIRECTORY, dir_fd=fd)
        try:
            raw = self._directory_xattrs(below, path)
            self._writer.add(self._entry(path, os.fstat(below), raw))
            if _overlay(raw, b"opaque") == b"y":
                self._writer.add(_mark(path + b"/" + base, _OPAQUE))
        except BaseException:
            os.close(below)
            raise
        return below

    def _directory_xattrs(self, fd: int, path: bytes) -> dict[bytes, bytes]:
        raw = self._xattrs(fd, path)
        if _overlay(raw, b"redirect") is not None:
            raise Unsupported(
                f"{os.fsdecode(path)}: a directory renamed by overlayfs",
                "mount with redirect_dir=off, then copy it",
            )
        return raw

    def _xattrs(self, target: int | bytes, path: bytes) -> dict[bytes, bytes]:
        """All extended attributes, overlayfs's own included."""
        is_path = not isinstance(target, int)
        try:
            names = os.listxattr(target, follow_symlinks=not is_path)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
            return {}
        raw = {os.fsencode(name): os.getxattr(target, name, follow_symlinks=not is_path) for name in names}
        if raw and _overlay(raw, b"metacopy") is not None:
            raise Unsupported(
                f"{os.fsdecode(path)}: a file copied up without its content", "mount with metacopy=off"
            )
        return raw

    def _entry(self, path: bytes, found: os.stat_result, raw: dict[bytes, bytes]) -> Entry:
        entry = describe(path, found, {name: value for name, value in raw.items() if is_kept(name)})
        assert entry is not None, "sockets were passed over"
        if self._is_compared and entry.kind == "dir":
            entry.mtime_ns = 0
        return entry

    def _add_file(self, directory: int, base: bytes, entry: Entry) -> None:
        # Found before it is opened: opening a device that has taken the file's place would do things.
        pinned = os.open(base, _FOUND, dir_fd=directory)
        try:
            found = os.fstat(pinned)
            if not stat.S_ISREG(found.st_mode):
                raise InvalidInput(f"{os.fsdecode(entry.name)}: changed its type while it was read")
            fd = os.open(b"/proc/self/fd/%d" % pinned, _FILE)
        finally:
            os.close(pinned)
        try:
            entry.size = found.st_size
            if not self._is_compared and found.st_size - found.st_blocks * 512 >= _SMALLEST_HOLE:
                entry.sparse = _data_extents(fd, found.st_size)
            extents = [(0, entry.size)] if entry.sparse is None else entry.sparse
            self._writer.add(entry, _Extents(fd, list(extents), is_live=self._is_live))
        finally:
            os.close(fd)


def _mark(path: bytes, base: bytes) -> Entry:
    """An empty file beside `path` that says something about the layers below."""
    above = path.rpartition(b"/")[0]
    return Entry(above + b"/" + base if above else base, "file", 0)


def _overlay(raw: dict[bytes, bytes], name: bytes) -> bytes | None:
    """An attribute of overlayfs, as root or in a user namespace."""
    return next((raw[prefix + name] for prefix in _PREFIXES if prefix + name in raw), None)


def _data_extents(fd: int, size: int) -> list[tuple[int, int]]:
    """Where a file has data (lseek(2), SEEK_DATA)."""
    extents = []
    offset = 0
    while offset < size:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # a hole to the end
                raise
            break
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        extents.append((start, end - start))
        offset = end
    return extents
