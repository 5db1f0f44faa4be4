"""Unpack a layer's tar into a directory, in one pass, through directory descriptors.

Theory of operation. There are two ways, one class each:

- `Applier` writes the overlay form straight into the snapshot's directory: a whiteout becomes a
  character device 0:0, an opaque directory an attribute. It needs nothing of the layers below, so layers
  unpack in parallel. That is right for a layer that is self-contained: it lists the directories above its
  entries, its hard links point into itself, and it does not replace the whole root. For any other layer
  the mode of an unlisted directory, or the file a link names, is only known with the layers below. The
  lowest layer has nothing below, so there every missing directory is simply made.
- `StackedApplier` (stacked.py) does the same on an overlay mounted over the layers below.

Order matters only in one place per file: content, then owner (which clears setuid and capabilities), then
attributes, mode, and time. Directories get their mode, attributes and time at the very end, since every
file made in them changes their time, may not be allowed by their mode, and would inherit from them.
Whiteouts are settled at the end too: they concern lower layers only, wherever they stand in the tar.
Source: OCI image-spec layer.md; containerd archive/tar.go; Docker pkg/archive/diff.go; kernel overlayfs.rst.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Any

from pycontainer.errors import InvalidImage, KernelError
from pycontainer.layers.attributes import clamp_time, set_xattr, set_xattrs
from pycontainer.layers.entry import Entry
from pycontainer.layers.limits import Limits
from pycontainer.layers.tarreader import TarReader
from pycontainer.layers.tree import Tree, clean

__all__ = ["Applied", "Applier"]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL_BITS = 0o7000
_MAX_REPLACED = 1000
_WHITEOUT = b".wh."
_META_WHITEOUT = b".wh..wh."  # aufs kept its own files under such names
_OPAQUE = b".wh..wh..opq"
_MAX_MAJOR, _MAX_MINOR = (1 << 12) - 1, (1 << 20) - 1  # of the kernel's dev_t

_INVALID = {
    errno.ENOTDIR: "something in its path is no directory",
    errno.ELOOP: "its path has a loop of symbolic links, or a link where none may be",
    errno.ENAMETOOLONG: "a name in its path is too long for the file system",
}
_HINTS = {
    errno.EPERM: "it takes CAP_CHOWN, CAP_FOWNER, CAP_MKNOD and CAP_SETFCAP; pycontainer doctor tells more",
    errno.ENOSPC: "the file system of the store is full (or out of inodes); prune images or enlarge it",
    errno.EDQUOT: "the quota of the store's owner is used up",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.ENFILE: "the system is out of file handles (fs.file-max)",
    errno.EFBIG: "the file is larger than the file system of the store allows",
    errno.EINVAL: "in a user namespace: are the owner's ids mapped (/etc/subuid, /etc/subgid)?",
}


class Applied:
    """What a layer turned out to be.

    Attributes: entries (files, directories, links, whiteouts), content_size (bytes of all files),
    is_self_contained, reason (the first thing that makes it depend on the layers below, or "").
    """

    __slots__ = ("content_size", "entries", "reason", "stubbed_devices")

    def __init__(self) -> None:
        self.entries: int = 0
        self.content_size: int = 0
        self.stubbed_devices: int = 0
        self.reason: str = ""

    @property
    def is_self_contained(self) -> bool:
        """Whether the layer means the same above any other."""
        return not self.reason


class DependsOnLower(Exception):
    """Ends the pass over a layer that is not self-contained. Never leaves this package."""


class Applier:
    """Applies one archive to one empty directory in overlay form."""

    strict = True  # directories listed in this layer can be opened without following links

    def __init__(
        self, reader: TarReader, root: int, limits: Limits, *, stop_if_not_self_contained: bool = False
    ) -> None:
        self.applied: Applied = Applied()
        self._reader = reader
        self._limits = limits
        self._stop = stop_if_not_self_contained
        self._tree = Tree(root, limits)
        self._uid, self._gid = os.geteuid(), os.getegid()
        # Directory -> whether new files in it are ours without a chown (no group is inherited).
        self._listed: dict[bytes, bool] = {b"": True}
        self._directories: dict[bytes, Entry] = {}
        self._whiteouts: dict[bytes, None] = {}
        self._opaque: dict[bytes, None] = {}
        self._repeated: set[bytes] = set()
        self._replaced = 0
        self._parent_path: bytes | None = None
        self._parent = root
        self._is_plain = False

    def run(self) -> Applied:
        """Apply all entries. What was made stays when this raises; the caller removes the directory.

        Raises: InvalidImage naming the entry; KernelError naming the entry, with a remedy where there is one.
        """
        umask = os.umask(0)
        entry: Entry | None = None
        try:
            self._prepare_root()
            while True:
                entry = None  # what the reader raises names its own place
                entry = self._reader.next()
                if entry is None:
                    break
                self._apply(entry)
                self.applied.entries += 1
            self._finish()
        except DependsOnLower as found:
            self.applied.reason = str(found)
        except InvalidImage as error:
            if entry is None:
                raise
            raise InvalidImage(f"{self._where(entry)}: {error}") from error
        except OSError as error:
            raise self._explained(error, entry) from error
        finally:
            os.umask(umask)
            self._tree.close()
        return self.applied

    def _where(self, entry: Entry) -> str:
        return f"tar entry {entry.name[:256]!r} at offset {self._reader.offset}"

    def _explained(self, error: OSError, entry: Entry | None) -> InvalidImage | KernelError:
        code = error.errno or 0
        if isinstance(error, KernelError):
            return error
        if entry is not None and code in _INVALID:
            return InvalidImage(f"{self._where(entry)}: {_INVALID[code]}")
        where = self._where(entry) if entry is not None else "the layer's directories"
        return KernelError(code, "unpack", where, _HINTS.get(code, ""))

    def _prepare_root(self) -> None:
        os.fchmod(self._tree.root, 0o755)  # also clears a setgid bit inherited from the store's directory
        os.fchown(self._tree.root, 0, 0)

    def _apply(self, entry: Entry) -> None:
        name = clean(entry.name, self._limits)
        if not name:
            self._apply_root(entry)
            return
        directory, _, base = name.rpartition(b"/")
        if _WHITEOUT in name and self._is_whiteout(entry, name):
            return
        if directory != self._parent_path:
            self._enter(directory, name)
        self._create(entry, name, base)

    def _apply_root(self, entry: Entry) -> None:
        if entry.kind != "dir":
            raise InvalidImage(f"the root of the layer is a {entry.kind}")
        self._directories[b""] = entry

    def _enter(self, directory: bytes, name: bytes) -> None:
        """Make `directory` the one that entries are created in."""
        self._parent_path = None
        is_plain = self._listed.get(directory)
        if is_plain is not None and self.strict:
            self._parent = self._tree.directory(directory, strict=True)
            self._is_plain = is_plain
        else:
            self._depend(f"{os.fsdecode(name)}: the layer does not list its directory")
            self._parent = self._tree.ensure(directory)
            self._is_plain = False
        self._parent_path = directory

    def _depend(self, reason: str) -> None:
        """Note, or stop at, what makes the layer depend on those below."""
        if not self.applied.reason:
            self.applied.reason = reason
        if self._stop:
            raise DependsOnLower(reason)

    # Entries

    def _create(self, entry: Entry, name: bytes, base: bytes) -> None:
        kind = entry.kind
        if kind == "dir":
            self._make_directory(entry, name, base)
        elif kind == "file":
            try:
                fd = os.open(base, _CREATE, entry.mode & 0o777, dir_fd=self._parent)
            except OSError as error:
                self._make_room(error, name, base)
                fd = os.open(base, _CREATE, entry.mode & 0o777, dir_fd=self._parent)
            try:
                self._fill(fd, entry)
            finally:
                os.close(fd)
        elif kind == "hardlink":
            self._make_hardlink(entry, name, base)
        else:
            self._make_node(entry, name, base)

    def _make_room(self, error: OSError, name: bytes, base: bytes) -> None:
        """Remove what stands where an entry goes (the last one wins), or raise the error that was met."""
        if error.errno == errno.EMFILE:
            self._tree.close_all_but(self._parent)
            return
        if error.errno != errno.EEXIST:
            raise error
        kind = self._tree.remove(self._parent, base)
        if kind != stat.S_IFREG:
            self._parent_path = None  # resolve the next entry's directory anew
        if kind == stat.S_IFDIR:
            self._forget(name)

    def _forget(self, name: bytes) -> None:
        """A directory is gone, with all that was noted about what is below."""
        self._replaced += 1
        if self._replaced > _MAX_REPLACED:
            # Each costs a look at all that was noted; a layer that does this is made to waste time.
            raise InvalidImage(f"the layer replaces more than {_MAX_REPLACED} of its own directories")
        below = name + b"/"
        self._listed.pop(name, None)
        self._directories.pop(name, None)
        self._opaque.pop(name, None)
        noted: dict[bytes, Any]
        for noted in (self._listed, self._directories, self._whiteouts, self._opaque):
            for path in [path for path in noted if path.startswith(below)]:
                del noted[path]

    def _fill(self, fd: int, entry: Entry) -> None:
        """Write a new file's content and attributes."""
        reader = self._reader
        if entry.sparse is None:
            while reader.remaining:
                piece = reader.piece()
                written = os.write(fd, piece)
                while written < len(piece):
                    written += os.write(fd, piece[written:])
        else:
            self._fill_sparse(fd, entry)
        self.applied.content_size += entry.size
        mode = entry.mode
        is_foreign = not self._is_plain or entry.uid != self._uid or entry.gid != self._gid
        if is_foreign:
            os.fchown(fd, entry.uid, entry.gid)
        if entry.xattrs:
            set_xattrs(fd, entry)
            os.fchmod(fd, mode)
        elif mode & _SPECIAL_BITS:
            os.fchmod(fd, mode)
        mtime = clamp_time(entry.mtime_ns)
        os.utime(fd, ns=(mtime, mtime))

    def _fill_sparse(self, fd: int, entry: Entry) -> None:
        assert entry.sparse is not None
        rest = memoryview(b"")
        for offset, length in entry.sparse:
            while length:
                if not len(rest):
                    rest = self._reader.piece()
                written = os.pwrite(fd, rest[:length], offset)
                rest = rest[written:]
                offset, length = offset + written, length - written
        os.ftruncate(fd, entry.size)

    def _make_directory(self, entry: Entry, name: bytes, base: bytes) -> None:
        """Create a directory with a mode that lets files be made in it; the rest follows at the end."""
        mode = 0o700 | entry.mode & 0o777
        is_foreign = not self._is_plain or entry.uid != self._uid or entry.gid != self._gid
        is_below_listed = self._parent_path in self._listed
        try:
            os.mkdir(base, mode, dir_fd=self._parent)
        except OSError as error:
            if error.errno == errno.EEXIST and self._is_directory(base):
                self._repeated.add(name)
                is_foreign = True
            else:
                self._make_room(error, name, base)
                os.mkdir(base, mode, dir_fd=self._parent)
        if is_foreign:
            os.chown(base, entry.uid, entry.gid, dir_fd=self._parent, follow_symlinks=False)
        if is_below_listed:
            self._listed[name] = entry.gid == self._gid
        self._directories[name] = entry

    def _is_directory(self, base: bytes) -> bool:
        return stat.S_ISDIR(os.stat(base, dir_fd=self._parent, follow_symlinks=False).st_mode)

    def _make_hardlink(self, entry: Entry, name: bytes, base: bytes) -> None:
        """Link to an earlier entry, itself and not what it may point to."""
        target = clean(entry.linkname or b"", self._limits) if entry.linkname else b""
        if not target:
            raise InvalidImage("a hard link to the root of the layer, or to nothing")
        if target == name:
            raise InvalidImage("a hard link to itself")
        if any(part.startswith(_WHITEOUT) for part in target.split(b"/")):
            raise InvalidImage(f"a hard link to the whiteout {target!r}")
        directory, _, source = target.rpartition(b"/")
        try:
            self._link(directory, source, name, base)
        except FileNotFoundError:
            self._depend(
                f"{os.fsdecode(name)}: a hard link to {os.fsdecode(target)}, which the layer has not"
            )
            raise InvalidImage(f"a hard link to {target!r}, which is not there") from None
        except PermissionError as error:
            raise InvalidImage(
                f"a hard link to {target!r}, which cannot have one: {error.strerror}"
            ) from None

    def _link(self, directory: bytes, source: bytes, name: bytes, base: bytes) -> None:
        path = self._parent_path
        assert path is not None
        above = self._source_directory(directory, path)
        try:
            os.link(source, base, src_dir_fd=above, dst_dir_fd=self._parent, follow_symlinks=False)
        except FileExistsError as error:
            self._make_room(error, name, base)
            above = self._source_directory(directory, path)
            os.link(source, base, src_dir_fd=above, dst_dir_fd=self._parent, follow_symlinks=False)

    def _source_directory(self, directory: bytes, parent: bytes) -> int:
        """Where a hard link's target is. Looks the parent up again, since this may have closed it."""
        above = self._tree.directory(directory, strict=self.strict and directory in self._listed)
        self._parent = self._tree.directory(parent)
        self._parent_path = parent
        return above

    def _make_node(self, entry: Entry, name: bytes, base: bytes) -> None:
        """Create a symlink, device or FIFO with its owner, attributes and time."""
        try:
            self._make_bare_node(entry, base)
        except FileExistsError as error:
            self._make_room(error, name, base)
            self._make_bare_node(entry, base)
        if not self._is_plain or entry.uid != self._uid or entry.gid != self._gid:
            os.chown(base, entry.uid, entry.gid, dir_fd=self._parent, follow_symlinks=False)
        path = b"/proc/self/fd/%d/%s" % (self._parent, base)
        if entry.xattrs:
            set_xattrs(path, entry)
        if entry.kind != "symlink" and entry.mode & _SPECIAL_BITS:
            self._change_mode(base, entry.mode)
        mtime = clamp_time(entry.mtime_ns)
        os.utime(base, ns=(mtime, mtime), dir_fd=self._parent, follow_symlinks=False)

    def _make_bare_node(self, entry: Entry, base: bytes) -> None:
        if entry.kind == "symlink":
            if not entry.linkname:
                raise InvalidImage("a symbolic link to nothing")
            os.symlink(entry.linkname, base, dir_fd=self._parent)
        elif entry.kind == "fifo":
            os.mkfifo(base, entry.mode & 0o777, dir_fd=self._parent)
        else:
            self._make_device(entry, base)

    def _make_device(self, entry: Entry, base: bytes) -> None:
        major, minor = entry.devmajor, entry.devminor
        if not (0 <= major <= _MAX_MAJOR and 0 <= minor <= _MAX_MINOR):
            raise InvalidImage(f"the device {major}:{minor} is out of range")
        if entry.kind == "char" and major == minor == 0:
            raise InvalidImage("the character device 0:0, which overlayfs takes for a deleted file")
        kind = stat.S_IFCHR if entry.kind == "char" else stat.S_IFBLK
        try:
            os.mknod(base, kind | entry.mode & 0o777, os.makedev(major, minor), dir_fd=self._parent)
        except PermissionError:
            # A user namespace cannot have devices. An empty file keeps the name, owner and hard links;
            # the engine mounts its own /dev.
            os.close(os.open(base, _CREATE, entry.mode & 0o777, dir_fd=self._parent))
            self.applied.stubbed_devices += 1

    def _change_mode(self, base: bytes, mode: int) -> None:
        """chmod(2) of a node that must be neither opened nor followed."""
        fd = os.open(base, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._parent)
        try:
            os.chmod(b"/proc/self/fd/%d" % fd, mode)
        finally:
            os.close(fd)

    # Whiteouts

    def _is_whiteout(self, entry: Entry, name: bytes) -> bool:
        """Handle an entry with '.wh.' in its name; False if it is an ordinary one after all."""
        *above, base = name.split(b"/")
        if any(part.startswith(_META_WHITEOUT) for part in above):
            return True  # below aufs's own directories
        if any(part.startswith(_WHITEOUT) for part in above):
            raise InvalidImage("it is below a whiteout")
        if not base.startswith(_WHITEOUT):
            return False
        if base.startswith(_META_WHITEOUT) and base != _OPAQUE:
            return True
        directory = b"/".join(above)
        if base == _OPAQUE:
            self._hide_all(directory, name)
            return True
        hidden = base[len(_WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise InvalidImage(f"the whiteout {base!r} names nothing")
        if directory != self._parent_path:
            self._enter(directory, name)
        self._hide(directory + b"/" + hidden if directory else hidden, hidden)
        return True

    def _hide(self, path: bytes, base: bytes) -> None:
        self._whiteouts[path] = None

    def _hide_all(self, directory: bytes, name: bytes) -> None:
        """Note an opaque directory."""
        if not directory:
            # overlayfs always merges roots, so this cannot be said in overlay form.
            self._depend("the layer replaces the whole root")
            return
        self._enter(directory, name)
        self._opaque[directory] = None

    # The end

    def _finish(self) -> None:
        self._parent_path = None
        holders: dict[bytes, None] = {}
        for path in self._whiteouts:
            if self._settle_whiteout(path):
                holders[path.rpartition(b"/")[0]] = None
        for path in holders:
            if path:  # the root is always taken for merged
                self._mark_as_copied(path)
        for path in self._opaque:
            self._with_directory(path, _mark_opaque)
        # Deepest first: a directory's own mode may keep this process from what is below.
        for path in sorted(self._directories, reverse=True):
            self._settle_directory(path, self._directories[path])

    def _settle_whiteout(self, path: bytes) -> bool:
        """Hide a path of the layers below; True if that took a whiteout in its directory.

        A directory that this layer has too is made to hide what it would be merged with.
        """
        above, _, base = path.rpartition(b"/")
        try:
            parent = self._tree.directory(above)
            os.mknod(base, stat.S_IFCHR, 0, dir_fd=parent)
            return True
        except FileExistsError:
            self._with_directory(path, _mark_opaque)
        except (FileNotFoundError, NotADirectoryError):
            pass  # a later entry replaced its directory, and so hides it already
        return False

    def _mark_as_copied(self, path: bytes) -> None:
        """Say "copied up, from an unknown place" of a directory with whiteouts in it.

        Otherwise, where nothing below has that directory, overlayfs lists the whiteouts as files that
        cannot be opened: it looks for them only in merged and in copied directories (fs/overlayfs/inode.c,
        ovl_get_inode).
        """
        fd = os.open(b".", _OPEN_DIRECTORY, dir_fd=self._tree.directory(path))
        try:
            _set_overlay(fd, b"origin", b"")
        finally:
            os.close(fd)

    def _with_directory(self, path: bytes, action: Callable[[int], None]) -> None:
        """Call action(fd) on the directory at path, if that is still one."""
        above, _, base = path.rpartition(b"/")
        try:
            fd = os.open(base, _OPEN_DIRECTORY, dir_fd=self._tree.directory(above))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            return
        try:
            action(fd)
        finally:
            os.close(fd)

    def _settle_directory(self, path: bytes, entry: Entry) -> None:
        """Give a directory what it could not have while files were made in it."""
        mtime = clamp_time(entry.mtime_ns)
        is_settled = self.strict and not entry.xattrs and entry.mode & 0o7700 == 0o700
        if is_settled and path and path not in self._repeated:
            above, _, base = path.rpartition(b"/")
            os.utime(base, ns=(mtime, mtime), dir_fd=self._tree.directory(above), follow_symlinks=False)
            return

        def settle(fd: int) -> None:
            os.fchown(fd, entry.uid, entry.gid)
            set_xattrs(fd, entry)
            os.fchmod(fd, entry.mode)
            os.utime(fd, ns=(mtime, mtime))

        if path:
            self._with_directory(path, settle)
        else:
            settle(self._tree.root)


def _mark_opaque(fd: int) -> None:
    """Let a directory hide those of the same name below it."""
    _set_overlay(fd, b"opaque", b"y")


def _set_overlay(fd: int, name: bytes, value: bytes) -> None:
    """Set an attribute of overlayfs; in a user namespace the overlay is mounted with `userxattr`."""
    if not set_xattr(fd, b"trusted.overlay." + name, value):
        os.setxattr(fd, b"user.overlay." + name, value)
