"""Paths inside a container's root, resolved by the kernel and held as descriptors.

Links are followed as the container's programs would, and end inside; the kernel's own links that lead
anywhere (those of /proc) are refused. What is found is pinned without being opened, looked at, and only
then opened by its number: a name that was exchanged in between changes nothing.
"""

from __future__ import annotations

import errno
import os
import stat

from pycontainer.kernel import syscalls
from pycontainer.launcher.files.entering import named

__all__ = [
    "FOUND",
    "NOT_A_FILE",
    "NOT_DATA",
    "entry_kind",
    "is_kernels_own",
    "listing",
    "locate",
    "open_file",
    "pinned",
    "place",
    "refused",
    "reopen",
    "temporary_name",
]

FOUND = os.O_PATH | os.O_CLOEXEC
NOT_A_FILE = "a device, FIFO or socket is not opened; only regular files are"
NOT_DATA = "a file of the kernel, not of the container, is not changed"
_INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_MAX_LINKS = 40  # as the kernel's MAXSYMLINKS
_MAX_RACES = 64
_LISTING = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CREATE = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Magic numbers of linux/magic.h: proc, sysfs, cgroup, cgroup2, devpts, mqueue (ipc/mqueue.c), debugfs,
# tracefs, securityfs, bpf, configfs (fs/configfs/mount.c), pstore, efivarfs, selinuxfs, smackfs,
# binfmt_misc, nsfs.
_KERNELS_OWN = frozenset(
    (
        *(0x9FA0, 0x62656572, 0x27E0EB, 0x63677270, 0x1CD1, 0x19800202, 0x64626720, 0x74726163, 0x73636673),
        *(0xCAFE4A11, 0x62656570, 0x6165676C, 0xDE5E81E4, 0xF97CFF8C, 0x43415D53, 0x42494E4D, 0x6E736673),
    )
)


def refused(code: int, why: str) -> OSError:
    """An error of ours, with the number the kernel would give."""
    return OSError(code, why)


def locate(root: int, path: bytes, *, follow: bool = True, flags: int = 0) -> int:
    """Pin what the path names, its last link followed or not. Raises: OSError as open(2)."""
    flags |= FOUND if follow else FOUND | os.O_NOFOLLOW
    # "/" resolves to the root itself; an empty path is none.
    return syscalls.openat2(root, path or b"/", flags, _INSIDE)


def pinned(parent: int, base: bytes) -> int:
    """Pin the directory's entry itself, a link not followed. Raises: OSError."""
    return os.open(base, FOUND | os.O_NOFOLLOW, dir_fd=parent)


def reopen(fd: int, flags: int) -> int:
    """Open what was pinned. For regular files and directories only: opening others does things."""
    return os.open(named(fd), flags | os.O_CLOEXEC)


def listing(fd: int) -> list[bytes]:
    """The names in a pinned directory, sorted."""
    opened = reopen(fd, _LISTING)
    try:
        return sorted(map(os.fsencode, os.listdir(opened)))
    finally:
        os.close(opened)


def place(root: int, path: bytes, *, follow: bool = False) -> tuple[int, bytes]:
    """The pinned directory a path's last component is, or would be made, in, and that component.

    follow: if there is a link, the place it points to, and so on. Raises: OSError.
    """
    for _ in range(_MAX_LINKS):
        above, _, base = path.rstrip(b"/").rpartition(b"/")
        if base in (b"", b".", b".."):
            raise refused(errno.EINVAL, "the path ends in no name")
        parent = locate(root, above or b"/", flags=os.O_DIRECTORY)
        target = _link(parent, base) if follow else None
        if target is None:
            return parent, base
        os.close(parent)
        # Joined as text, but resolved by the kernel from the root again: wherever it leads is inside.
        path = target if target.startswith(b"/") else above + b"/" + target
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _link(parent: int, base: bytes) -> bytes | None:
    try:
        return os.readlink(base, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
        return None  # another kind of file, or none


def entry_kind(parent: int, base: bytes) -> int | None:
    """S_IFMT of a directory's entry, a link not followed; None when there is none."""
    try:
        return stat.S_IFMT(os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return None


def is_kernels_own(fd: int) -> bool:
    """Whether the file is not data but a view of the kernel, as those of /proc and /sys are."""
    return syscalls.filesystem_type(fd) in _KERNELS_OWN


def temporary_name() -> bytes:
    """A name beside a file, until what is written there is whole."""
    return b".pycontainer-" + os.urandom(8).hex().encode()


def open_file(root: int, path: bytes, flags: int, mode: int) -> int:
    """Open a regular file as open(2) does with these flags; nothing else is ever opened.

    Raises: OSError; IsADirectoryError; OSError(ENXIO) for a device, FIFO or socket.
    """
    for _ in range(_MAX_RACES):
        try:
            found = locate(root, path)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
            try:
                return _created(root, path, flags, mode)
            except FileExistsError:
                if flags & os.O_EXCL:
                    raise
                continue  # it was made this moment
        try:
            if flags & os.O_EXCL:
                raise refused(errno.EEXIST, os.strerror(errno.EEXIST))
            return _opened(found, flags & ~os.O_CREAT)
        finally:
            os.close(found)
    raise refused(errno.EAGAIN, "the file is being made and removed all the time")


def _created(root: int, path: bytes, flags: int, mode: int) -> int:
    parent, base = place(root, path, follow=True)
    try:
        wanted = flags & ~(os.O_TRUNC | os.O_CREAT | os.O_EXCL)
        return os.open(base, wanted | _CREATE, mode, dir_fd=parent)
    finally:
        os.close(parent)


def _opened(found: int, flags: int) -> int:
    kind = os.fstat(found).st_mode
    is_writing = flags & os.O_ACCMODE != os.O_RDONLY
    if stat.S_ISDIR(kind):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(kind):
        raise refused(errno.ENXIO, NOT_A_FILE)
    if is_writing and is_kernels_own(found):
        raise refused(errno.EROFS, NOT_DATA)
    return reopen(found, flags)
