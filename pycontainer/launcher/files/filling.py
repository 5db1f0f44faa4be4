"""Files made in a directory that others may change meanwhile: whole or not at all, never through a link."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from pycontainer.checkpoints import reached
from pycontainer.errors import Conflict, InvalidInput
from pycontainer.kernel import syscalls
from pycontainer.launcher.files import inside
from pycontainer.launcher.files.content import move_all, read_view
from pycontainer.launcher.files.entering import named
from pycontainer.layers import Entry, TarReader, clamp_time, set_xattr

__all__ = ["KILL_POINTS", "Filler", "Manners", "TreeSink", "fill_from_tar"]

KILL_POINTS = ("copy.file.written",)  # all of it is there, under another name if one was there before

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BENEATH = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
_SET_IDS = stat.S_ISUID | stat.S_ISGID
_NODES = (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK)
_SOON_WHOLE = 1 << 20
_OPEN_MODE = 0o700  # of a directory while it is being filled

Fill = Callable[[int], int]


class Manners:
    """What of a file's metadata is taken over.

    owner: (uid, gid) of everything, or None for each its own. is_plain: what gives powers is left behind:
    set-id bits, file capabilities, access lists, devices; so that a file of a container cannot become a
    privileged one of the host's.
    """

    __slots__ = ("is_plain", "owner")

    def __init__(self, owner: tuple[int, int] | None, *, is_plain: bool = False) -> None:
        self.owner: tuple[int, int] | None = owner
        self.is_plain: bool = is_plain

    def mode(self, entry: Entry) -> int:
        """The permission bits it gets."""
        return entry.mode & ~_SET_IDS if self.is_plain and entry.kind != "dir" else entry.mode

    def has(self, xattr: bytes) -> bool:
        """Whether it gets this extended attribute."""
        return not self.is_plain or xattr.startswith(b"user.")


class Filler:
    """Makes entries in directories given by descriptor; an entry that is there is replaced, files at once.

    Raises: Conflict where a directory and something else would replace each other; OSError.
    """

    def __init__(self, manners: Manners) -> None:
        self._manners = manners
        os.umask(0)  # modes are as the entry says

    def file(self, parent: int, base: bytes, entry: Entry, fill: Fill) -> int:
        """A regular file with what `fill` writes; gives what that returned."""
        name, fd = self._begun(parent, base, entry)
        try:
            try:
                written = fill(fd)
                reached("copy.file.written")
                self._settle(fd, entry)
                if name != base:
                    self._exchange(parent, name, base, fd, entry)
            except BaseException:
                with suppress(OSError):
                    os.unlink(name, dir_fd=parent)
                raise
        finally:
            os.close(fd)
        return written

    def _begun(self, parent: int, base: bytes, entry: Entry) -> tuple[bytes, int]:
        """A new file, under another name where one is there, or where a kill would leave half of it."""
        if entry.size <= _SOON_WHOLE:
            with suppress(FileExistsError):
                return base, os.open(base, _CREATE, 0o600, dir_fd=parent)
        self._check_replaceable(parent, base, entry)
        name = inside.temporary_name()
        return name, os.open(name, _CREATE, 0o600, dir_fd=parent)

    def directory(self, parent: int, base: bytes, entry: Entry) -> int:
        """A descriptor of the directory, made if it is not there; `settle_directory` is to follow."""
        try:
            os.mkdir(base, _OPEN_MODE, dir_fd=parent)
        except FileExistsError:
            if inside.entry_kind(parent, base) not in (stat.S_IFDIR, None):
                raise _not_over("a non-directory", "a directory", entry) from None
        return os.open(base, _DIRECTORY, dir_fd=parent)

    def settle_directory(self, fd: int, entry: Entry) -> None:
        """Give a directory its owner, mode, attributes and time when all in it is made."""
        self._settle(fd, entry)

    def other(self, parent: int, base: bytes, entry: Entry) -> bool:
        """A symbolic link, FIFO or device; False for what good manners leave behind."""
        if entry.kind in ("char", "block") and self._manners.is_plain:
            return False
        self._put(parent, base, entry, lambda name: self._make(parent, name, entry))
        return True

    def hard_link(self, parent: int, base: bytes, entry: Entry, above: int, source: bytes) -> None:
        """Another name of what is called `source` in the directory `above`; a link itself, not its target."""

        def make(name: bytes) -> None:
            os.link(source, name, src_dir_fd=above, dst_dir_fd=parent, follow_symlinks=False)

        self._put(parent, base, entry, make)

    def _put(self, parent: int, base: bytes, entry: Entry, make: Callable[[bytes], None]) -> None:
        try:
            make(base)
            return
        except FileExistsError:
            self._check_replaceable(parent, base, entry)
        name = inside.temporary_name()
        make(name)
        try:
            os.rename(name, base, src_dir_fd=parent, dst_dir_fd=parent)
        finally:
            # Of two names of one file rename(2) leaves both.
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)

    def _check_replaceable(self, parent: int, base: bytes, entry: Entry) -> None:
        if inside.entry_kind(parent, base) == stat.S_IFDIR:
            raise _not_over("a directory", "a non-directory", entry)

    def _exchange(self, parent: int, name: bytes, base: bytes, fd: int, entry: Entry) -> None:
        try:
            os.rename(name, base, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            # It is a mount of its own, as a container's /etc/hosts: only its content can be replaced.
            overwrite(parent, base, fd)
            os.unlink(name, dir_fd=parent)

    def _make(self, parent: int, name: bytes, entry: Entry) -> None:
        if entry.kind == "symlink":
            os.symlink(entry.linkname, name, dir_fd=parent)
        elif entry.kind == "fifo":
            os.mkfifo(name, 0o600, dir_fd=parent)
        else:
            kind = stat.S_IFCHR if entry.kind == "char" else stat.S_IFBLK
            if kind == stat.S_IFCHR and not (entry.devmajor or entry.devminor):
                raise InvalidInput(f"{os.fsdecode(entry.name)}: the device 0:0 means a deleted file")
            os.mknod(name, kind | 0o600, os.makedev(entry.devmajor, entry.devminor), dir_fd=parent)
        try:
            made = inside.pinned(parent, name)
        except FileNotFoundError:
            return  # taken away by somebody: not ours to settle
        try:
            if stat.S_IFMT(os.fstat(made).st_mode) in (
                stat.S_IFLNK,
                stat.S_IFIFO,
                stat.S_IFCHR,
                stat.S_IFBLK,
            ):
                self._settle_pinned(made, entry)
        finally:
            os.close(made)

    def _settle(self, fd: int, entry: Entry) -> None:
        # The owner first: a change of it clears set-id bits and capabilities.
        os.fchown(fd, *(self._manners.owner or (entry.uid, entry.gid)))
        for name, value in entry.xattrs.items():
            if self._manners.has(name):
                set_xattr(fd, name, value)
        os.fchmod(fd, self._manners.mode(entry))
        mtime = clamp_time(entry.mtime_ns)
        os.utime(fd, ns=(mtime, mtime))

    def _settle_pinned(self, fd: int, entry: Entry) -> None:
        path = named(fd)
        os.chown(path, *(self._manners.owner or (entry.uid, entry.gid)))
        if entry.kind != "symlink":
            os.chmod(path, self._manners.mode(entry))
        for name, value in entry.xattrs.items():
            if self._manners.has(name):
                _set_on_path(path, name, value)
        mtime = clamp_time(entry.mtime_ns)
        os.utime(path, ns=(mtime, mtime))


def _set_on_path(path: bytes, name: bytes, value: bytes) -> None:
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL):
            raise


def _not_over(there: str, new: str, entry: Entry) -> Conflict:
    return Conflict(f"{os.fsdecode(entry.name)}: {there} is not replaced by {new}; remove it first")


def overwrite(parent: int, base: bytes, source: int) -> None:
    """Replace the content of a regular file that has to stay the same file by that of another.

    Room is made sure of before the first byte is lost. Raises: OSError(ENXIO) when it is no regular file.
    """
    found = inside.pinned(parent, base)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode) or inside.is_kernels_own(found):
            raise inside.refused(errno.ENXIO, "what is there is no regular file of the container")
        target = inside.reopen(found, os.O_RDWR)
    finally:
        os.close(found)
    try:
        size = os.fstat(source).st_size
        if size:
            try:
                os.posix_fallocate(target, 0, size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
        move_all(source, target, size, None)
        os.ftruncate(target, size)
    finally:
        os.close(target)


class TreeSink:
    """Makes what a Walker gives below a directory.

    top: descriptor of the directory the first entry is made in. rename: what the first component is called
    there; the others keep their names.
    """

    def __init__(self, top: int, manners: Manners) -> None:
        self._filler = Filler(manners)
        self._top = top
        self._stack: list[tuple[int, Entry]] = []

    def _place(self, entry: Entry) -> tuple[int, bytes]:
        return self._stack[-1][0] if self._stack else self._top, entry.name.rpartition(b"/")[2]

    def enter(self, entry: Entry) -> None:
        """Make the directory, or find it there."""
        parent, base = self._place(entry)
        self._stack.append((self._filler.directory(parent, base, entry), entry))

    def leave(self) -> None:
        """Complete the directory entered last."""
        fd, entry = self._stack.pop()
        try:
            self._filler.settle_directory(fd, entry)
        finally:
            os.close(fd)

    def file(self, entry: Entry, fd: int) -> int:
        """Copy a file."""
        parent, base = self._place(entry)
        if not entry.size and inside.is_kernels_own(fd):
            return self._filler.file(parent, base, entry, lambda target: _write(target, read_view(fd)))
        return self._filler.file(
            parent, base, entry, lambda target: move_all(fd, target, entry.size, entry.sparse)
        )

    def other(self, entry: Entry) -> bool:
        """Make a link or node."""
        parent, base = self._place(entry)
        if entry.kind != "hardlink":
            return self._filler.other(parent, base, entry)
        above, _, source = entry.linkname.rpartition(b"/")
        directory = syscalls.openat2(self._top, above or b".", inside.FOUND | os.O_DIRECTORY, _BENEATH)
        try:
            self._filler.hard_link(parent, base, entry, directory, source)
        finally:
            os.close(directory)
        return True


def _write(target: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
    return len(data)


def fill_from_tar(reader: TarReader, entry: Entry) -> Fill:
    """What writes the content of the entry a reader has come to."""

    def fill(fd: int) -> int:
        written = 0
        if entry.sparse is None:
            while reader.remaining:
                written += _write_view(fd, reader.piece())
            return written
        rest = memoryview(b"")
        for offset, length in entry.sparse:
            os.lseek(fd, offset, os.SEEK_SET)
            while length:
                if not len(rest):
                    rest = reader.piece()
                count = os.write(fd, rest[:length])
                rest, length, written = rest[count:], length - count, written + count
        os.ftruncate(fd, entry.size)
        return written

    return fill


def _write_view(fd: int, piece: memoryview) -> int:
    done = os.write(fd, piece)
    while done < len(piece):
        done += os.write(fd, piece[done:])
    return len(piece)
