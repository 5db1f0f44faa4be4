"""What a container wrote over a directory of the host, carried into that directory.

Theory of operation. The upper directory stays as it is until the caller, told that all is done, takes it
away; so whatever interrupts this, the same is done again from the beginning. First every file is made
ready in a directory of our own beside the others, on the same file system: what can fail for want of room
fails there, with nothing changed. Then the tree is gone through once more, and what is ready gets its name
by rename(2), each file the old one or the new one; what is deleted or replaced is renamed into our directory,
and goes with it in the end.

Both trees are hostile: the container wrote the one, and others may change the other meanwhile. Neither is
walked but by descriptors, no link in them is followed, and Landlock keeps the process in them.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import Any

from pycontainer.checkpoints import reached
from pycontainer.errors import Conflict, InvalidInput, KernelError
from pycontainer.kernel import mounts, syscalls
from pycontainer.launcher import trees
from pycontainer.launcher.files import inside
from pycontainer.launcher.files.content import data_extents, move_all
from pycontainer.launcher.files.entering import DIRECTORY, Cell, named
from pycontainer.launcher.files.filling import Filler, Manners
from pycontainer.launcher.files.marks import is_opaque, is_whiteout, refuse_incomplete
from pycontainer.launcher.files.protocol import Report
from pycontainer.launcher.files.walking import attributes, explained, open_pinned
from pycontainer.layers import Entry, describe

__all__ = ["KILL_POINTS", "apply"]

KILL_POINTS = (
    "apply.files.staged",  # all is ready, nothing has changed
    "apply.entry.carried",  # something has changed, not all
    "apply.tree.carried",  # all has changed, and is on the disk
)

_MAX_DEPTH = 250
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ESCAPED = re.compile(rb"\\([0-7]{3})")


def apply(params: dict[str, Any], fds: list[int], report: Report) -> dict[str, Any]:
    """Carry what the upper directory says over to the directory fds[0].

    params: upper; staging (a name for a directory of our own in it); stale (such names of attempts that were
    cut off); has_powers (whether set-id bits, capabilities and devices go along).
    Returns: entries, size, skipped. Raises: Conflict, Unsupported, InvalidInput, KernelError.
    """
    upper = os.open(os.fsencode(params["upper"]), DIRECTORY)
    covered = _mounted_below(fds[0])
    # What is mounted below it did not show in the container, and is not met here.
    root = os.open(".", _OPEN, dir_fd=mounts.clone(fds[0]))
    Cell().lock([root], [upper], keep=("SYS_ADMIN",))  # which overlayfs's marks are read with
    applier = _Applier(root, covered, _Carried(has_powers=params["has_powers"]))
    try:
        for name in params["stale"]:
            trees.remove(root, name)
        applier.run(upper, params["staging"])
    except KernelError:
        raise
    except OSError as error:
        raise explained(error, applier.path) from error
    return {
        "entries": applier.entries,
        "size": applier.size,
        "skipped": [os.fsdecode(path) for path in applier.skipped],
    }


def _mounted_below(fd: int) -> list[bytes]:
    """Where something is mounted below a directory, as paths from it."""
    top = os.fsencode(os.readlink(f"/proc/self/fd/{fd}")).rstrip(b"/") + b"/"
    with open("/proc/self/mountinfo", "rb") as file:
        places = [_ESCAPED.sub(lambda match: bytes((int(match[1], 8),)), line.split()[4]) for line in file]
    return [b"/" + place.removeprefix(top) for place in places if place.startswith(top)]


class _Carried(Manners):
    """As the container had it, but for what gives powers, if that is to stay behind."""

    __slots__ = ()

    def __init__(self, *, has_powers: bool) -> None:
        super().__init__(None, is_plain=not has_powers)

    def has(self, xattr: bytes) -> bool:
        return not self.is_plain or not xattr.startswith((b"security.", b"trusted."))


class _Applier:
    """Attributes: path (where it is, for errors), entries (made, replaced or removed), size, skipped."""

    def __init__(self, root: int, covered: list[bytes], manners: Manners) -> None:
        self._root = root
        self._covered = covered
        self._manners = manners
        self._filler = Filler(manners)
        self._staging = -1
        self._own = b""
        self._gone = 0
        self.path = b""
        self.entries = 0
        self.size = 0
        self.skipped: list[bytes] = []

    def run(self, upper: int, staging: str) -> None:
        """Do all of it. When it fails, what is ready goes, and what has its name stays."""
        self._own = os.fsencode(staging)
        os.mkdir(staging, 0o700, dir_fd=self._root)
        try:
            self._staging = os.open(staging, _OPEN, dir_fd=self._root)
            self._stage(upper, b"", is_pure=is_opaque(upper))
            reached("apply.files.staged")
            self._carry(upper, self._root, b"", is_pure=is_opaque(upper))
        finally:
            trees.remove(self._root, staging)
        self._settle(upper, self._root, b"")
        syscalls.syncfs(self._root)
        reached("apply.tree.carried")

    # -- making ready ----------------------------------------------------------------------------

    def _stage(self, upper: int, path: bytes, *, is_pure: bool) -> None:
        if path.count(b"/") > _MAX_DEPTH:
            raise InvalidInput(f"{os.fsdecode(path[:128])}…: more than {_MAX_DEPTH} directories deep")
        refuse_incomplete(upper, path or b"/")
        for base in inside.listing(upper):
            self.path = place = path + b"/" + base
            fd = inside.pinned(upper, base)
            try:
                found = os.fstat(fd)
                if stat.S_ISDIR(found.st_mode):
                    is_below_pure = is_pure or is_opaque(fd)
                    if is_below_pure:
                        self._check_uncovered(place)
                    self._stage(fd, place, is_pure=is_below_pure)
                    continue
                self._check_uncovered(place)
                if not is_whiteout(fd, found):
                    self._stage_one(fd, place, found)
            finally:
                os.close(fd)

    def _check_uncovered(self, path: bytes) -> None:
        """Refuse to delete or replace what something is mounted on, or below."""
        for place in self._covered:
            if (place + b"/").startswith(path + b"/"):
                raise Conflict(
                    f"{os.fsdecode(path)} is deleted or replaced, and something is mounted on the host's "
                    f"{os.fsdecode(place)}; unmount that first"
                )

    def _stage_one(self, fd: int, path: bytes, found: os.stat_result) -> None:
        name = b"%d" % found.st_ino
        if found.st_nlink > 1 and inside.entry_kind(self._staging, name) is not None:
            return
        if stat.S_ISREG(found.st_mode):
            refuse_incomplete(fd, path)
            self._stage_file(fd, name, path, found)
            return
        entry = describe(path, found, attributes(named(fd)))
        if entry is not None and stat.S_ISLNK(found.st_mode):
            entry.linkname = os.readlink(b"", dir_fd=fd)
        if entry is None or not self._filler.other(self._staging, name, entry):
            self.skipped.append(path)

    def _stage_file(self, pinned: int, name: bytes, path: bytes, found: os.stat_result) -> None:
        fd = open_pinned(pinned)
        try:
            entry = describe(path, found, attributes(fd))
            assert entry is not None
            extents = data_extents(fd, found)
            self.size += self._filler.file(
                self._staging, name, entry, lambda target: move_all(fd, target, entry.size, extents)
            )
        finally:
            os.close(fd)

    # -- carrying --------------------------------------------------------------------------------

    def _carry(self, upper: int, target: int, path: bytes, *, is_pure: bool) -> None:
        """is_pure: nothing of what was there before is to be left, but what has the name of something new."""
        names = inside.listing(upper)
        for base in names:
            self.path = place = path + b"/" + base
            fd = inside.pinned(upper, base)
            try:
                self._carry_one(fd, target, base, place, is_pure=is_pure)
            finally:
                os.close(fd)
        if is_pure:
            for base in set(inside.listing(target)) - set(names) - {self._own}:
                self.path = path + b"/" + base
                self._discard(target, base)

    def _carry_one(self, fd: int, target: int, base: bytes, path: bytes, *, is_pure: bool) -> None:
        found = os.fstat(fd)
        if is_whiteout(fd, found):
            self._discard(target, base)
            return
        if stat.S_ISDIR(found.st_mode):
            if inside.entry_kind(target, base) not in (stat.S_IFDIR, None):
                self._discard(target, base)
            below = self._filler.directory(target, base, Entry(path, "dir"))
            try:
                self._carry(fd, below, path, is_pure=is_pure or is_opaque(fd))
                self._settle(fd, below, path)
            finally:
                os.close(below)
        elif not self._is_ready(found):
            return  # it was left out
        else:
            self._place(target, base, found)
        self.entries += 1
        reached("apply.entry.carried")

    def _is_ready(self, found: os.stat_result) -> bool:
        return inside.entry_kind(self._staging, b"%d" % found.st_ino) is not None

    def _place(self, target: int, base: bytes, found: os.stat_result) -> None:
        """Give what is ready its name, or one of its names."""
        if inside.entry_kind(target, base) == stat.S_IFDIR:
            self._discard(target, base)
        ready = b"%d" % found.st_ino
        if found.st_nlink == 1:
            os.rename(ready, base, src_dir_fd=self._staging, dst_dir_fd=target)
            return
        name = b"%d-name" % found.st_ino
        os.link(ready, name, src_dir_fd=self._staging, dst_dir_fd=self._staging, follow_symlinks=False)
        os.rename(name, base, src_dir_fd=self._staging, dst_dir_fd=target)

    def _discard(self, target: int, base: bytes) -> None:
        """Take an entry away, with all below it, to where it is deleted in the end."""
        self._gone += 1
        with suppress(FileNotFoundError):
            os.rename(base, b"gone-%d" % self._gone, src_dir_fd=target, dst_dir_fd=self._staging)
            self.entries += 1

    def _settle(self, upper: int, target: int, path: bytes) -> None:
        """Give a directory that all has been done in the owner, mode, attributes and time of the other."""
        self.path = path or b"/"
        entry = describe(path, os.fstat(upper), attributes(named(upper)))
        assert entry is not None
        for name in attributes(target):
            if name not in entry.xattrs and self._manners.has(name):
                os.removexattr(target, name)
        self._filler.settle_directory(target, entry)
