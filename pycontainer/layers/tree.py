"""Work below one directory through descriptors: resolve, create missing parents, remove, set attributes.

No path is ever joined to a string of the host. A directory is resolved once by openat2(2) beneath the
root and its descriptor kept for the entries that follow; what is created in it is named by a single
component with O_EXCL and O_NOFOLLOW, so a link planted by anybody, in the archive or beside it, is
either refused or replaced, never followed out of the root.
"""

from __future__ import annotations

import errno
import os
import stat

from pycontainer.errors import InvalidImage
from pycontainer.kernel import syscalls
from pycontainer.layers.limits import Limits

__all__ = ["Tree", "clean"]

_STRICT = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
# As the container itself would see it: absolute links and ".." stop at the root.
_AS_INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_LISTING = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CACHED_DIRECTORIES = 96
_NAME_MAX = 255
_MAX_HOPS = 40  # symlinks in one path, as the kernel's MAXSYMLINKS
_NO_ACCESS_LIST = (errno.ENODATA, errno.ENOTSUP, errno.EPERM)


def clean(name: bytes, limits: Limits) -> bytes:
    """The path from the root without '.', '..', doubled or leading slashes; empty for the root itself.

    '..' is taken lexically, as Go's filepath.Clean does for every other engine.
    Raises: InvalidImage for an empty name, one that leads above the root, or one beyond the limits.
    """
    if (
        len(name) <= _NAME_MAX
        and len(name) < 2 * limits.depth
        and name[0] not in b"./"
        and b"//" not in name
        and b"/." not in name
        and name[-1] != 0x2F
    ):
        return name
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise InvalidImage(f"the path {name[:128]!r} leads out of the layer")
            parts.pop()
        elif part and part != b".":
            if len(part) > _NAME_MAX:
                raise InvalidImage(f"a part of the path has {len(part)} bytes; the kernel allows {_NAME_MAX}")
            parts.append(part)
    path = b"/".join(parts)
    if len(path) > limits.path_bytes or len(parts) > limits.depth:
        raise InvalidImage(
            f"a path of {len(path)} bytes in {len(parts)} parts; "
            f"the limits are {limits.path_bytes} and {limits.depth}"
        )
    return path


class Tree:
    """Everything beneath one directory descriptor, which stays the caller's."""

    def __init__(self, root: int, limits: Limits) -> None:
        self.root = root
        self._limits = limits
        self._cache: dict[bytes, int] = {}
        self._is_stale = False

    def close(self) -> None:
        """Close the descriptors kept; the tree can still be used."""
        for fd in self._cache.values():
            os.close(fd)
        self._cache.clear()
        self._is_stale = False

    def directory(self, path: bytes, *, strict: bool = False) -> int:
        """A descriptor (O_PATH) of an existing directory, valid until the next call.

        Strict: no symbolic link anywhere in the path. Otherwise links resolve as they would inside.
        Raises: FileNotFoundError, NotADirectoryError, OSError(ELOOP).
        """
        if self._is_stale:
            self.close()
        if not path:
            return self.root
        fd = self._cache.pop(path, None)
        if fd is not None:
            self._cache[path] = fd  # the most recently used is the last to go
            return fd
        if len(self._cache) >= _CACHED_DIRECTORIES:
            os.close(self._cache.pop(next(iter(self._cache))))
        resolve = _STRICT if strict else _AS_INSIDE
        try:
            fd = syscalls.openat2(self.root, path, _DIRECTORY, resolve)
        except OSError as error:
            if error.errno != errno.EMFILE or not self._cache:
                raise
            self.close()
            fd = syscalls.openat2(self.root, path, _DIRECTORY, resolve)
        self._cache[path] = fd
        return fd

    def ensure(self, path: bytes, hops: int = 0) -> int:
        """Like `directory`, creating what is missing as 0755 root:root; follows dangling links inside.

        Raises: NotADirectoryError, OSError(ELOOP).
        """
        missing: list[bytes] = []
        current = path
        while True:
            try:
                fd = self.directory(current)
                break
            except FileNotFoundError:
                current, _, base = current.rpartition(b"/")
                missing.append(base)
        for base in reversed(missing):
            current = current + b"/" + base if current else base
            try:
                os.mkdir(base, 0o755, dir_fd=fd)
                os.chown(base, 0, 0, dir_fd=fd, follow_symlinks=False)
                # A fixed time: the layer does not say one, and the same layer must give the same tree.
                os.utime(base, ns=(0, 0), dir_fd=fd, follow_symlinks=False)
            except FileExistsError:
                self._ensure_target(current, fd, base, hops)
            fd = self.directory(current)
        return fd

    def _ensure_target(self, path: bytes, fd: int, base: bytes, hops: int) -> None:
        """Create the directory that a dangling link points to."""
        if hops >= _MAX_HOPS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = os.readlink(base, dir_fd=fd)
        start = b"" if target.startswith(b"/") else path.rpartition(b"/")[0]
        self.ensure(_inside(start + b"/" + target), hops + 1)

    def real_path(self, fd: int) -> bytes:
        """Where a directory of this tree is, links resolved, without a leading slash."""
        root = os.readlink(b"/proc/self/fd/%d" % self.root)
        return os.readlink(b"/proc/self/fd/%d" % fd)[len(root) :].strip(b"/")

    def remove(self, fd: int, base: bytes) -> int:
        """Remove a file, link or whole directory; the type of what it was (S_IFMT of its mode).

        After a directory or link, directories are resolved anew: what was below may be cached under
        any name.
        """
        kind = stat.S_IFMT(os.stat(base, dir_fd=fd, follow_symlinks=False).st_mode)
        if kind == stat.S_IFDIR:
            _remove_directory(fd, base)
        else:
            os.unlink(base, dir_fd=fd)
        if kind in (stat.S_IFDIR, stat.S_IFLNK):
            self._is_stale = True
        return kind

    def close_all_but(self, keep: int) -> None:
        """Close the descriptors kept but one, which the caller is using."""
        for path, fd in list(self._cache.items()):
            if fd != keep:
                os.close(fd)
                del self._cache[path]


def _inside(path: bytes) -> bytes:
    """Clean a link's target the way the kernel reads it in a chroot: '..' stops at the root."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part and part != b".":
            parts.append(part)
    return b"/".join(parts)


def _remove_directory(parent: int, base: bytes) -> None:
    """Remove a directory with all its content, holding one descriptor a level; never follows a link.

    Keeps its own stack, for a tree may be deeper than Python's recursion.
    """
    stack = [(parent, base, *_emptied(parent, base))]
    try:
        while stack:
            above, name, fd, directories = stack[-1]
            if directories:
                below = directories.pop()
                stack.append((fd, below, *_emptied(fd, below)))
            else:
                os.rmdir(name, dir_fd=above)
                os.close(stack.pop()[2])
    finally:
        for _, _, fd, _ in stack:
            os.close(fd)


def _emptied(parent: int, base: bytes) -> tuple[int, list[bytes]]:
    """Open a directory and unlink all in it but directories: its descriptor and their names."""
    fd = os.open(base, _LISTING, dir_fd=parent)
    try:
        with os.scandir(fd) as entries:
            found = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_directory in found:
            if not is_directory:
                os.unlink(name, dir_fd=fd)
    except BaseException:
        os.close(fd)
        raise
    return fd, [name for name, is_directory in found if is_directory]


def drop_inherited_lists(path: bytes, names: tuple[str, ...]) -> None:
    """Remove access lists that a new file got from its directory's default list."""
    for name in names:
        try:
            os.removexattr(path, name, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_ACCESS_LIST:
                raise
