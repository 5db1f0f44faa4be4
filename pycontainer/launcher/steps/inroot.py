"""Paths of the container, resolved inside its root and held by descriptor.

Nothing here is checked as a string and used later: a descriptor is opened once, under openat2(2)'s rules,
and acted on. Links of the image are followed inside the root where a user means a place (a volume on
/var/run), and refused where the engine does (/proc, /sys, /dev).
"""

from __future__ import annotations

import errno
import os
import stat

from pycontainer.kernel import syscalls
from pycontainer.launcher.steps.context import Refused

_FOLLOW = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
STRICT = _FOLLOW | syscalls.RESOLVE_NO_SYMLINKS
"""Rules of openat2(2) under which no link leads anywhere."""
_MOST_LINKS = 40  # as the kernel's (path_resolution(7))


def locate(root: int, path: bytes, flags: int = os.O_PATH, *, strict: bool = False) -> int:
    """Open path inside root; strict refuses every symbolic link on the way. Raises OSError."""
    return syscalls.openat2(root, path, flags, STRICT if strict else _FOLLOW)


def open_file(root: int, path: bytes, flags: int) -> int:
    """Open a regular file or a directory inside root for who stands outside. Raises OSError.

    Looked at before it is opened: to open a device is to have its driver do something.
    """
    spot = locate(root, path, os.O_PATH | flags & os.O_DIRECTORY)
    try:
        if flags & os.O_PATH:
            return os.dup(spot)
        if not stat.S_ISREG(os.fstat(spot).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return os.open(b"/proc/self/fd/%d" % spot, flags)
    finally:
        os.close(spot)


def target(root: int, path: bytes, *, is_directory: bool, strict: bool = False) -> int:
    """An O_PATH descriptor of a place to mount on, made with its parents if missing."""
    kind = os.O_DIRECTORY if is_directory else 0
    try:
        return locate(root, path, os.O_PATH | kind, strict=strict)
    except FileNotFoundError:
        place = path if strict else _end_of_links(root, path)
        parent, name = _parent(root, place, strict=strict)
    except OSError as error:
        raise _explained(path, error, is_directory) from None
    try:
        return _make(parent, name, is_directory=is_directory)
    except OSError as error:
        raise _explained(path, error, is_directory) from None
    finally:
        os.close(parent)


def _end_of_links(root: int, path: bytes) -> bytes:
    """Where a link leads that leads to nothing yet: what is mounted on it is to be found through it."""
    for _ in range(_MOST_LINKS):
        above, _, name = path.rstrip(b"/").rpartition(b"/")
        try:
            parent = locate(root, above or b"/", os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return path
        try:
            link = os.readlink(name, dir_fd=parent)
        except OSError:
            return path
        finally:
            os.close(parent)
        # Not made shorter: what ".." is, the kernel says, which follows the links before it.
        path = link if link.startswith(b"/") else above + b"/" + link
    return path


def directory(root: int, path: bytes, *, strict: bool = False) -> int:
    """An O_PATH descriptor of the directory, made with its parents if missing."""
    return target(root, path, is_directory=True, strict=strict) if path.strip(b"/") else os.dup(root)


def parent_of(root: int, path: bytes) -> tuple[int, bytes]:
    """The directory, made if missing, that holds path's last component, and that component."""
    return _parent(root, path, strict=False)


def _parent(root: int, path: bytes, *, strict: bool, most_links: int = _MOST_LINKS) -> tuple[int, bytes]:
    names = [name for name in path.split(b"/") if name]
    held = os.dup(root)
    for count in range(1, len(names)):
        try:
            deeper = locate(root, b"/".join(names[:count]), os.O_PATH | os.O_DIRECTORY, strict=strict)
        except FileNotFoundError:
            link = b"" if strict else _link(held, names[count - 1])
            if link and most_links:  # to what is not there yet: it is made where the link leads
                os.close(held)
                above = b"" if link.startswith(b"/") else b"/".join(names[: count - 1])
                place = b"/".join((above, link, *names[count:]))
                return _parent(root, place, strict=False, most_links=most_links - 1)
            deeper = _make(held, names[count - 1], is_directory=True)
        os.close(held)
        held = deeper
    return held, names[-1]


def _link(parent: int, name: bytes) -> bytes:
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError:
        return b""  # it is none


def _make(parent: int, name: bytes, *, is_directory: bool) -> int:
    if is_directory:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            pass  # a dangling link, or another container on the same volume: the open below tells
        return os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o644, dir_fd=parent)
    os.close(fd)
    return os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=parent)


def _explained(path: bytes, error: OSError, is_directory: bool) -> Exception:
    text = os.fsdecode(path)
    if error.errno in (errno.ELOOP, errno.EEXIST):
        return Refused(
            f"{text} must be mounted on ordinary directory or file: it is, or is reached through, "
            "a symbolic link of the image"
        )
    if error.errno == errno.ENOTDIR and is_directory:
        return Refused(f"{text} in the image is not a directory")
    return OSError(error.errno, error.strerror, text)
