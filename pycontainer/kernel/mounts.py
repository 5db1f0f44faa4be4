"""Mounts made, changed and attached through descriptors, so that no path can be swapped underneath.

The new mount API builds a mount detached: nobody sees it before it is attached, and it dies with its
last descriptor. mount_setattr(2) is newer (Linux 5.12); before it a bind remount does the same work.
Source: fsopen(2), open_tree(2), move_mount(2), mount_setattr(2); include/uapi/linux/mount.h.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from pycontainer.kernel import syscalls

__all__ = [
    "AT_RECURSIVE",
    "ATTR_ATIME_MASK",
    "ATTR_NOATIME",
    "ATTR_NODEV",
    "ATTR_NODIRATIME",
    "ATTR_NOEXEC",
    "ATTR_NOSUID",
    "ATTR_NOSYMFOLLOW",
    "ATTR_RDONLY",
    "ATTR_STRICTATIME",
    "CREATE",
    "MS_PRIVATE",
    "MS_REC",
    "MS_SHARED",
    "MS_SLAVE",
    "MS_UNBINDABLE",
    "SET_FLAG",
    "SET_STRING",
    "attach",
    "clone",
    "create",
    "overlay",
    "overlay_classic",
    "reconfigure",
    "set_attributes",
    "set_propagation",
    "unescaped",
]

MS_RDONLY = 1
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_STRICTATIME = 1 << 24

ATTR_RDONLY = 0x1
ATTR_NOSUID = 0x2
ATTR_NODEV = 0x4
ATTR_NOEXEC = 0x8
ATTR_ATIME_MASK = 0x70
ATTR_NOATIME = 0x10
ATTR_STRICTATIME = 0x20
ATTR_NODIRATIME = 0x80
ATTR_NOSYMFOLLOW = 0x200000

SET_FLAG, SET_STRING, CREATE = 0, 1, 6
"""Commands of fsconfig(2)."""
AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_LOW_FLAGS = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC  # the same bits in both APIs


def create(fstype: bytes, options: Iterable[tuple[bytes, bytes | None]] = (), attributes: int = 0) -> int:
    """A detached mount of a new file system; options with None are flags.

    Raises OSError naming the option.
    """
    fs = syscalls.fsopen(fstype)
    key: bytes | None = None
    try:
        for key, value in options:
            syscalls.fsconfig(fs, SET_FLAG if value is None else SET_STRING, key, value)
        key = None
        syscalls.fsconfig(fs, CREATE, None, None)
        return syscalls.fsmount(fs, attributes)
    except OSError as error:
        raise _explained(fs, error, key) from None
    finally:
        os.close(fs)


def overlay(
    lower: Iterable[int],
    upper: int,
    work: int,
    options: Iterable[tuple[bytes, bytes | None]] = (),
    attributes: int = 0,
) -> int:
    """A detached overlay of directory descriptors, top layer first. For a process with one thread.

    upper, work: -1 for one that is not written to, of at least two layers.
    Given as descriptors the layers need no short names (fsconfig takes 256 bytes, mount(2) a page), and
    the container reads no path of the host in its mountinfo. Before Linux 6.5 (lowerdir+) the numbers of all
    layers must fit into 255 bytes, as those of 60 layers do.
    Raises OSError(EINVAL or ENOSYS) where only overlay_classic works.
    """
    is_added = syscalls.kernel_version() >= (6, 5)
    layers = [b"/proc/self/fd/%d" % fd if is_added else b"%d" % fd for fd in lower]
    fs = syscalls.fsopen(b"overlay")
    back = -1
    try:
        if is_added:
            for layer in layers:
                syscalls.fsconfig(fs, SET_STRING, b"lowerdir+", layer)
        else:
            # The numbers alone are names here. They are looked up when the overlay is created.
            back = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            os.chdir("/proc/self/fd")
            syscalls.fsconfig(fs, SET_STRING, b"lowerdir", b":".join(layers))
        for name, fd in ((b"upperdir", upper), (b"workdir", work)):
            if fd >= 0:
                syscalls.fsconfig(fs, SET_STRING, name, b"/proc/self/fd/%d" % fd)
        for key, value in options:
            syscalls.fsconfig(fs, SET_FLAG if value is None else SET_STRING, key, value)
        syscalls.fsconfig(fs, CREATE, None, None)
        return syscalls.fsmount(fs, attributes)
    except OSError as error:
        raise _explained(fs, error, None) from None
    finally:
        os.close(fs)
        if back >= 0:
            os.fchdir(back)
            os.close(back)


def overlay_classic(
    lower: Iterable[int], upper: int, work: int, options: Iterable[bytes], target: bytes
) -> None:
    """Mount an overlay on target with mount(2); descriptors keep the names short for its one page.

    upper, work: -1 for one that is not written to, of at least two layers.
    """
    text = b"lowerdir=" + b":".join(b"/proc/self/fd/%d" % fd for fd in lower)
    if upper >= 0:
        text += b",upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d" % (upper, work)
    syscalls.mount(b"overlay", target, b"overlay", 0, b",".join((text, *options)))


def _explained(fs: int, error: OSError, key: bytes | None) -> OSError:
    """The same error with what the kernel wrote into the context's log (fsopen(2))."""
    try:
        said = os.read(fs, 512).strip()
    except OSError:
        said = b""
    about = key or b""
    reason = error.strerror or ""
    if about or said:
        reason += f" ({(about + (b': ' if about and said else b'') + said[2:]).decode(errors='replace')})"
    return OSError(error.errno, reason)


def clone(fd: int, *, recursive: bool = False, path: bytes = b"") -> int:
    """A detached copy of the mount, or tree of mounts, at path beneath fd; a link is not followed."""
    flags = _OPEN_TREE_CLONE | syscalls.AT_SYMLINK_NOFOLLOW
    if not path:
        flags |= syscalls.AT_EMPTY_PATH
    return syscalls.open_tree(fd, path, flags | (AT_RECURSIVE if recursive else 0))


def unescaped(text: str) -> str:
    """A path as mountinfo writes it, with octal codes for spaces and the like (proc_pid_mountinfo(5))."""
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text


def attach(mount_fd: int, target_fd: int) -> None:
    """Attach a detached mount on what target_fd stands for."""
    syscalls.move_mount(mount_fd, target_fd)


def set_attributes(
    fd: int, set_: int, clear: int = 0, *, recursive: bool = False, propagation: int = 0
) -> None:
    """Set and clear ATTR_* of the mount fd stands for, and its propagation if given."""
    flags = AT_RECURSIVE if recursive else 0
    try:
        syscalls.mount_setattr(fd, flags, set=set_, clear=clear, propagation=propagation)
    except OSError as error:
        # Before Linux 5.12: remount, which knows no recursion and needs the whole set of flags.
        if error.errno != errno.ENOSYS or recursive:
            raise
        _remount(fd, set_, clear)
        if propagation:
            set_propagation(fd, propagation)


def reconfigure(fd: int, attributes: int, options: Iterable[tuple[bytes, bytes | None]] = ()) -> None:
    """Give the file system that fd shows other options, and its mount these attributes instead of its own.

    Source: mount(2), "Remounting an existing mount".
    """
    data = b",".join(key if value is None else b"%s=%s" % (key, value) for key, value in options)
    syscalls.mount(None, b"/proc/self/fd/%d" % fd, None, MS_REMOUNT | _classic(attributes), data or None)


def _remount(fd: int, set_: int, clear: int) -> None:
    now = os.fstatvfs(fd).f_flag
    flags = (now & _LOW_FLAGS & ~clear) | _classic(set_)
    syscalls.mount(None, b"/proc/self/fd/%d" % fd, None, MS_REMOUNT | MS_BIND | flags, None)


def _classic(attributes: int) -> int:
    """Attributes as mount(2) has them."""
    flags = attributes & _LOW_FLAGS
    for attribute, flag in (
        (ATTR_NOATIME, MS_NOATIME),
        (ATTR_NODIRATIME, MS_NODIRATIME),
        (ATTR_STRICTATIME, MS_STRICTATIME),
        (ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW),
    ):
        if attributes & attribute:
            flags |= flag
    return flags


def set_propagation(fd: int, kind: int, *, recursive: bool = False) -> None:
    """Make the mount MS_PRIVATE, MS_SLAVE, MS_SHARED or MS_UNBINDABLE."""
    try:
        syscalls.mount_setattr(fd, AT_RECURSIVE if recursive else 0, propagation=kind)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        syscalls.mount(None, b"/proc/self/fd/%d" % fd, None, kind | (MS_REC if recursive else 0), None)
