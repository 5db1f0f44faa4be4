"""A tmpfs that has the permissions of what it covers, or begins with its content (tmpcopyup)."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from pycontainer.kernel import mounts, syscalls
from pycontainer.launcher.files import content
from pycontainer.launcher.steps import inroot
from pycontainer.launcher.steps import mounts as mount_steps
from pycontainer.launcher.steps.context import Context

OPTION = (b"tmpcopyup", None)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_BENEATH = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


def mount_copied(
    context: Context,
    fstype: bytes,
    path: bytes,
    options: tuple[tuple[bytes, bytes | None], ...],
    attributes: int,
    propagation: int,
) -> None:
    """Mount a tmpfs on path with a copy of the directory's content, as it is in the image."""
    others = [option for option in options if option != OPTION]
    made = mounts.create(fstype, others, attributes & ~mounts.ATTR_RDONLY)
    try:
        source = inroot.locate(context.root, path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        pass  # it is made empty, like any mount point
    else:
        copy_directory(source, made)
        os.close(source)
    if attributes & mounts.ATTR_RDONLY:
        mounts.set_attributes(made, mounts.ATTR_RDONLY)
    mount_steps.attach_filesystem(context, made, fstype, path, propagation)


def mount_like_below(
    context: Context,
    fstype: bytes,
    path: bytes,
    options: tuple[tuple[bytes, bytes | None], ...],
    attributes: int,
    propagation: int,
) -> None:
    """Mount a tmpfs on path with the permissions of the directory that it covers, if there is one."""
    try:
        below = inroot.locate(context.root, path, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        pass  # it is made, or what is wrong with it is told, like any mount point
    else:
        options = (*options, (b"mode", b"%o" % stat.S_IMODE(os.fstat(below).st_mode)))
        os.close(below)
    mount_steps.mount_filesystem(context, fstype, path, options, attributes, propagation)


def copy_directory(source: int, target: int) -> None:
    """Copy what is in source into target, both descriptors; links are copied, never followed.

    What target has already of the same name, as a copy that was cut off left it, is replaced.
    """
    _Copier(target).directory(source, target, b"")


class _Copier:
    """Copies one tree; others may change it meanwhile, which leads nothing out of it."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._links: dict[tuple[int, int], bytes] = {}

    def directory(self, source: int, target: int, path: bytes) -> None:
        """Copy what is in a directory at this path from the top."""
        for name in map(os.fsencode, os.listdir(source)):
            found = os.stat(name, dir_fd=source, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=target)
                below, made = (os.open(name, _DIRECTORY, dir_fd=parent) for parent in (source, target))
                self.directory(below, made, path + name + b"/")
                copy_status(below, made)
                os.close(below)
                os.close(made)
                continue
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=target)
            if not self._is_linked(name, found, target, path + name):
                _copy_one(name, found, source, target)

    def _is_linked(self, name: bytes, found: os.stat_result, target: int, path: bytes) -> bool:
        """Make another name of a file that was copied under one; whether there was such."""
        first = self._links.setdefault((found.st_dev, found.st_ino), path) if found.st_nlink > 1 else path
        if first == path:
            return False
        above, _, base = first.rpartition(b"/")
        directory = syscalls.openat2(self._top, above or b".", os.O_PATH | os.O_DIRECTORY, _BENEATH)
        try:
            os.link(base, name, src_dir_fd=directory, dst_dir_fd=target, follow_symlinks=False)
        finally:
            os.close(directory)
        return True


def _copy_one(name: bytes, found: os.stat_result, source: int, target: int) -> None:
    if stat.S_ISREG(found.st_mode):
        _copy_file(name, source, target)
        return
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    else:
        _make_node(name, found, target)
    os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
    os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def copy_status(source: int, target: int) -> None:
    """Give target the owner, mode, attributes and times of source, both open for reading."""
    found = os.fstat(source)
    os.fchown(target, found.st_uid, found.st_gid)
    # After the owner, whose change takes set-user-ID and capabilities away.
    os.fchmod(target, stat.S_IMODE(found.st_mode))
    for name in os.listxattr(source):
        if not name.startswith("trusted.overlay."):
            try:
                os.setxattr(target, name, os.getxattr(source, name))
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EPERM, errno.ENODATA):
                    raise
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def _make_node(name: bytes, found: os.stat_result, target: int) -> None:
    """A FIFO, socket or device with its mode from the start.

    chmod(2) would follow a link that another container with the same volume may have put in its place.
    """
    mask = os.umask(0)
    try:
        os.mknod(name, found.st_mode, found.st_rdev, dir_fd=target)
    finally:
        os.umask(mask)


def _copy_file(name: bytes, source: int, target: int) -> None:
    reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=source)
    writer = os.open(name, _NEW, 0o600, dir_fd=target)
    found = os.fstat(reader)
    content.move_all(reader, writer, found.st_size, content.data_extents(reader, found))
    copy_status(reader, writer)
    os.close(reader)
    os.close(writer)
