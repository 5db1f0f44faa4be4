"""A file tree to become a layer: entries by path, written in sorted order.

Paths inside are bytes without a leading slash, as in the tar. Parents are made when they are missing. Above
layers that are there already, a path leads where their symbolic links lead, and parents are theirs with owner
and mode: so the layer lists all its parents, means the same to every engine, and changes no directory.
"""

from __future__ import annotations

import copy
import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import BinaryIO

from pycontainer.errors import InvalidInput
from pycontainer.image.merged import MergedTree
from pycontainer.kernel.syscalls import AT_FDCWD, RESOLVE_NO_SYMLINKS, openat2
from pycontainer.layers import Entry, TarWriter, kind_of

__all__ = ["Tree", "entry_of", "opener"]

Content = bytes | Callable[[], BinaryIO] | None
WHITEOUT_PREFIX = b".wh."
MAX_STEPS = 4096  # components walked, of a path with all its links; PATH_MAX of them is absurd
# Labels of the host's policy and of overlay mounts mean nothing elsewhere; security.capability does.
_SKIPPED_XATTRS = (
    b"trusted.overlay.",
    b"user.overlay.",
    b"security.selinux",
    b"security.ima",
    b"security.evm",
)


class Tree:
    """Entries of a layer to be; adding a path again replaces it. below: what the layers under it make."""

    def __init__(self, below: MergedTree | None = None) -> None:
        self._members: dict[bytes, tuple[Entry, Content]] = {}
        self._below = below or MergedTree()

    def __contains__(self, path: bytes) -> bool:
        return path in self._members

    def add(self, entry: Entry, content: Content = None) -> None:
        """Put one entry, and a plain directory for every parent that is missing.

        Raises: InvalidInput for a path that leaves the tree, or a name that means a whiteout.
        """
        _check_path(entry.name)
        parent = entry.name.rpartition(b"/")[0]
        missing = []
        while parent and parent not in self._members:
            missing.append(self._parent(parent))
            parent = parent.rpartition(b"/")[0]
        known = [self._members[parent][0]] if parent else []
        for above in (*missing, *known):
            if above.kind != "dir":
                shown = os.fsdecode(entry.name)
                raise InvalidInput(f"{shown}: its parent {os.fsdecode(above.name)} is not a directory")
        if entry.kind != "dir" and self._lower_kind(entry.name) == "dir":
            raise InvalidInput(f"{os.fsdecode(entry.name)}: it is a directory in the layers below")
        earlier = self._members.get(entry.name)
        if earlier is not None and earlier[0].kind == "dir" != entry.kind and self._has_children(entry.name):
            raise InvalidInput(f"{os.fsdecode(entry.name)}: it has files below it, so it must be a directory")
        for directory in missing:
            self._members[directory.name] = (directory, None)
        self._members[entry.name] = (entry, content)

    def _parent(self, path: bytes) -> Entry:
        """A directory that is to be listed for what is in it: that of the layers below, or a plain one."""
        lower = self._below.find(path)
        entry = copy.copy(lower.entry) if lower is not None else Entry(path, "dir", mode=0o755)
        entry.name = path
        return entry

    def _lower_kind(self, path: bytes) -> str | None:
        lower = self._below.find(path)
        return None if lower is None else lower.entry.kind

    def _look(self, path: bytes) -> Entry | None:
        if path in self._members:
            return self._members[path][0]
        lower = self._below.find(path)
        return None if lower is None else lower.entry

    def _has_children(self, path: bytes) -> bool:
        return any(name.startswith(path + b"/") for name in self._members)

    def resolve(self, path: bytes, *, follow: bool = False) -> bytes:
        """The path with symbolic links of its parents followed, as far as they lead within the tree.

        follow: those of its last component, too.

        Raises: InvalidInput for links in a circle, and for a path that is not plain.
        """
        _check_path(path)
        todo = path.split(b"/")[::-1]
        at: list[bytes] = []
        for _ in range(MAX_STEPS):
            part = todo.pop()
            if part == b"..":
                at = at[:-1]
            elif part not in (b"", b"."):
                entry = self._look(b"/".join([*at, part]))
                if entry is not None and entry.kind == "symlink" and (todo or follow):
                    todo += entry.linkname.split(b"/")[::-1]
                    at = [] if entry.linkname.startswith(b"/") else at
                else:
                    at.append(part)
            if not todo:
                return b"/".join(at)
        raise InvalidInput(f"{os.fsdecode(path)}: its parents link in a circle")

    def write(self, writer: TarWriter) -> None:
        """Write all entries, parents before children, in an order that depends on nothing but the names."""
        for _, (entry, content) in sorted(self._members.items(), key=lambda item: item[0].split(b"/")):
            if callable(content):
                with content() as file:
                    writer.add(entry, file)
            else:
                writer.add(entry, content)

    def add_directory(
        self, root: str | os.PathLike[str], to: bytes = b"", owner: tuple[int, int] | None = None
    ) -> None:
        """All that is below a directory, hard links kept as such; sockets are left out.

        to: where in the image it is put. owner: uid and gid of everything, else as on the host. A directory
        that the layers below have stays as it is.
        Raises: OSError; InvalidInput as `add`.
        """
        first_names: dict[tuple[int, int], bytes] = {}
        has_layers = bool(self._below.root.children)
        for path, entry, status in _walk(os.path.realpath(os.fsencode(root))):
            if to or has_layers:
                entry.name = self.resolve(to + b"/" + entry.name if to else entry.name)
            if owner is not None:
                entry.uid, entry.gid = owner
            key = (status.st_dev, status.st_ino)
            if entry.kind == "dir":
                if has_layers and self._lower_kind(self.resolve(entry.name, follow=True)) == "dir":
                    continue
            elif status.st_nlink > 1:
                if key in first_names:
                    entry.kind, entry.size, entry.linkname, entry.xattrs = "hardlink", 0, first_names[key], {}
                    self.add(entry)
                    continue
                first_names[key] = entry.name
            self.add(entry, opener(path) if entry.kind == "file" else None)


def entry_of(path: bytes, name: bytes, status: os.stat_result) -> Entry | None:
    """The entry for a file of the host under the name given, or None for a socket."""
    kind = kind_of(status.st_mode)
    if kind is None:
        return None
    entry = _entry(name, kind, status)
    if kind == "symlink":
        entry.linkname = os.readlink(path)
    elif kind == "file":
        entry.size = status.st_size
    elif kind in ("char", "block"):
        entry.devmajor, entry.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    entry.xattrs = _xattrs(path)
    return entry


def opener(path: bytes) -> Callable[[], BinaryIO]:
    """A function that opens a regular file, should it still be one when its turn comes.

    The path has no symbolic links; one that appears in it meanwhile is refused, not followed.
    """

    def open_file() -> BinaryIO:
        fd = _open_plainly(path, os.O_RDONLY | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise InvalidInput(
                f"{os.fsdecode(path)} is no longer a regular file: it changed while it was read"
            )
        return open(fd, "rb", buffering=0)

    return open_file


def _open_plainly(path: bytes, flags: int) -> int:
    try:
        return openat2(AT_FDCWD, path, flags, RESOLVE_NO_SYMLINKS)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InvalidInput(f"{os.fsdecode(path)} became a symbolic link while it was read") from None
        raise OSError(error.errno, error.strerror, os.fsdecode(path)) from None


def _walk(top: bytes) -> Iterator[tuple[bytes, Entry, os.stat_result]]:
    """Everything below `top` as path and entry, parents first, sorted by name within a directory.

    So the first of several hard links is always the same, and is written before the others.
    """
    stack = _scan(top, top)[::-1]
    while stack:
        path, entry, status = stack.pop()
        yield path, entry, status
        if entry.kind == "dir":
            stack += _scan(top, path)[::-1]


def _scan(top: bytes, directory: bytes) -> list[tuple[bytes, Entry, os.stat_result]]:
    """The entries of one directory, read by its descriptor: a swapped parent cannot lead elsewhere."""
    found = []
    below = len(top.rstrip(b"/")) + 1
    fd = _open_plainly(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(fd) as scan:
            names = sorted(os.fsencode(child.name) for child in scan)
        for name in names:
            path = os.path.join(directory, name)
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            entry = entry_of(b"/proc/self/fd/%d/%s" % (fd, name), path[below:], status)
            if entry is not None:
                found.append((path, entry, status))
    finally:
        os.close(fd)
    return found


def _entry(name: bytes, kind: str, status: os.stat_result) -> Entry:
    entry = Entry(name, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
    entry.mtime_ns = status.st_mtime_ns
    return entry


def _xattrs(path: bytes) -> dict[bytes, bytes]:
    try:
        names = sorted(os.fsencode(name) for name in os.listxattr(path, follow_symlinks=False))
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # a file system without attributes
            return {}
        raise
    kept = [name for name in names if not name.startswith(_SKIPPED_XATTRS)]
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in kept}


def _check_path(path: bytes) -> None:
    parts = path.split(b"/")
    if any(part in (b"", b".", b"..") for part in parts):
        raise InvalidInput(f"{os.fsdecode(path)!r} is not a plain path inside an image")
    if any(part.startswith(WHITEOUT_PREFIX) for part in parts):
        raise InvalidInput(f"{os.fsdecode(path)!r}: names that start with .wh. mean removed files in a layer")
