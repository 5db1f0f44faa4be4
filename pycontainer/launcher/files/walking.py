"""A tree of files, read by descriptors while its owner may change it, given to a sink piece by piece."""

from __future__ import annotations

import errno
import os
import stat
from typing import Protocol

from pycontainer.errors import InvalidInput, KernelError
from pycontainer.launcher.files import inside
from pycontainer.launcher.files.content import data_extents
from pycontainer.launcher.files.entering import named
from pycontainer.layers import Entry, describe, is_kept

__all__ = ["Sink", "Walker", "attributes"]

MAX_DEPTH = 400  # two descriptors a level
_MAX_RACES = 8
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOATIME
_READ_ANOTHERS = os.O_RDONLY | os.O_NONBLOCK


class Sink(Protocol):
    """Where a tree goes. Names of entries are paths from the tree's top."""

    def enter(self, entry: Entry) -> None:
        """A directory; what comes until `leave` is in it."""

    def leave(self) -> None:
        """The directory is complete."""

    def file(self, entry: Entry, fd: int) -> int:
        """A regular file, open for reading; gives the bytes of data taken."""

    def other(self, entry: Entry) -> bool:
        """A hard link, symbolic link, FIFO or device; False when the sink does not take such."""


def attributes(target: int | bytes) -> dict[bytes, bytes]:
    """The extended attributes of a file that mean something elsewhere."""
    try:
        names = [os.fsencode(name) for name in os.listxattr(target)]
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EACCES):
            raise
        return {}
    found: dict[bytes, bytes] = {}
    for name in filter(is_kept, names):
        try:
            found[name] = os.getxattr(target, name)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.EACCES):
                raise
    return found


class Walker:
    """Gives one tree to a sink: what is there when it comes by, each object as one moment showed it.

    Attributes: path (where it is, for errors), entries, size (bytes of data), skipped (paths left out:
    sockets, what the sink does not take, and what lies in file systems of the kernel).
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._links: dict[tuple[int, int], bytes] = {}
        self._left_out: set[bytes] = set()
        self._device = -1
        self.path: bytes = b""
        self.entries: int = 0
        self.size: int = 0
        self.skipped: list[bytes] = []

    def run(self, top: int, name: bytes) -> None:
        """Give all of what is pinned as top; name: what to call it, "" for a directory's content alone.

        Raises: KernelError naming the path; InvalidInput for a tree too deep.
        """
        self.path = name
        try:
            if not name:
                self._run_below(top, b"", inside.listing(top))
                return
            names = self._give(top, name)
            if names is not None:
                self._run_below(top, name, names)
                self._sink.leave()
        except KernelError:
            raise
        except OSError as error:
            raise explained(error, self.path) from error

    def _run_below(self, top: int, path: bytes, names: list[bytes]) -> None:
        self._device = os.fstat(top).st_dev
        stack = [(path, os.dup(top), names[::-1])]
        try:
            while stack:
                above, fd, names = stack[-1]
                if not names:
                    os.close(stack.pop()[1])
                    if stack:
                        self._sink.leave()
                    continue
                below = self._descend(fd, names.pop(), above)
                if below is None:
                    continue
                stack.append((self.path, below[0], below[1][::-1]))
                if len(stack) > MAX_DEPTH:
                    raise InvalidInput(
                        f"{os.fsdecode(self.path[:128])}…: more than {MAX_DEPTH} directories deep; "
                        "copy a part of it at a time"
                    )
        finally:
            for _, fd, _ in stack:
                os.close(fd)

    def _descend(self, parent: int, base: bytes, above: bytes) -> tuple[int, list[bytes]] | None:
        """Give one entry; if there is more below it, the pinned directory and its names."""
        self.path = above + b"/" + base if above else base
        for attempt in range(_MAX_RACES):
            try:
                fd = inside.pinned(parent, base)
            except FileNotFoundError:
                return None  # removed since its directory was listed
            names = None
            try:
                names = self._give(fd, self.path)
            except PermissionError:
                # A mount that is taken away while it is looked at leaves our cell; what now has its place is
                # looked at instead. Nothing of it has been given: all is opened before.
                if attempt == _MAX_RACES - 1:
                    raise
                continue
            finally:
                if names is None:
                    os.close(fd)
            return None if names is None else (fd, names)
        return None

    def _give(self, fd: int, path: bytes) -> list[bytes] | None:
        """Give what is pinned; the names in a directory to go into."""
        found = os.fstat(fd)
        kind = stat.S_IFMT(found.st_mode)
        if kind != stat.S_IFDIR and found.st_nlink > 1:
            first = self._links.setdefault((found.st_dev, found.st_ino), path)
            if first != path:
                if first in self._left_out:
                    self.skipped.append(path)
                else:
                    self._give_other(Entry(path, "hardlink", linkname=first))
                return None
        if kind == stat.S_IFREG:
            self._give_file(fd, path, found)
            return None
        entry = describe(path, found, attributes(named(fd)))
        if entry is None:
            self._leave_out(path, found)
        elif kind == stat.S_IFDIR:
            return self._give_directory(fd, entry, is_elsewhere=self._device not in (-1, found.st_dev))
        else:
            if kind == stat.S_IFLNK:
                entry.linkname = os.readlink(b"", dir_fd=fd)
            if not self._give_other(entry):
                self._leave_out(path, found)
        return None

    def _leave_out(self, path: bytes, found: os.stat_result) -> None:
        self.skipped.append(path)
        if found.st_nlink > 1:
            self._left_out.add(path)  # so are its other names

    def _give_directory(self, fd: int, entry: Entry, *, is_elsewhere: bool) -> list[bytes] | None:
        is_left_out = is_elsewhere and inside.is_kernels_own(fd)
        names = [] if is_left_out else inside.listing(fd)
        self._sink.enter(entry)
        self.entries += 1
        if is_left_out:
            self.skipped.append(entry.name)
            self._sink.leave()
            return None
        return names

    def _give_other(self, entry: Entry) -> bool:
        is_taken = self._sink.other(entry)
        self.entries += is_taken
        return is_taken

    def _give_file(self, pinned: int, path: bytes, found: os.stat_result) -> None:
        fd = open_pinned(pinned)
        try:
            entry = describe(path, found, attributes(fd))
            assert entry is not None
            entry.sparse = data_extents(fd, found)
            self.size += self._sink.file(entry, fd)
            self.entries += 1
        finally:
            os.close(fd)


def open_pinned(fd: int) -> int:
    """Open a pinned regular file for reading."""
    try:
        return inside.reopen(fd, _READ)
    except PermissionError:
        return inside.reopen(fd, _READ_ANOTHERS)  # O_NOATIME is for the owner


_HINTS = {
    errno.ENOSPC: "the file system there is full (or out of inodes)",
    errno.EDQUOT: "the quota there is used up",
    errno.EROFS: "it is read-only there",
    errno.EBUSY: "something is mounted on it",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


def explained(error: OSError, path: bytes) -> KernelError:
    """The error with the path it was met at, and a remedy where there is one."""
    code = error.errno or 0
    own = error.strerror if error.strerror and error.strerror != os.strerror(code) else ""
    return KernelError(code, "copy", os.fsdecode(path), own or _HINTS.get(code, ""))
