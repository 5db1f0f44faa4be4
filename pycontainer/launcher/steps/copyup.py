"""A tmpfs that begins with what lies below it in the image: the mount option tmpcopyup."""

from __future__ import annotations

import os
import stat

from pycontainer.kernel import mounts
from pycontainer.launcher.steps import inroot
from pycontainer.launcher.steps import mounts as mount_steps
from pycontainer.launcher.steps.context import Context

OPTION = (b"tmpcopyup", None)
_CHUNK = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
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
        _copy_directory(source, made)
        os.close(source)
    if attributes & mounts.ATTR_RDONLY:
        mounts.set_attributes(made, mounts.ATTR_RDONLY)
    mount_steps.attach_filesystem(context, made, fstype, path, propagation)


def _copy_directory(source: int, target: int) -> None:
    """Copy what is in source into target, both descriptors; links are copied, never followed."""
    for name in os.listdir(source):
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            below, made = (os.open(name, _DIRECTORY, dir_fd=parent) for parent in (source, target))
            _copy_directory(below, made)
            os.close(below)
            os.close(made)
        elif stat.S_ISREG(found.st_mode):
            _copy_file(name, source, target)
        elif stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        else:
            os.mknod(name, found.st_mode, found.st_rdev, dir_fd=target)
        os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            # After the owner, whose change takes set-user-ID away; a name in a mount that only we see.
            os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=target)


def _copy_file(name: str, source: int, target: int) -> None:
    reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=source)
    writer = os.open(name, _NEW, 0o600, dir_fd=target)
    while chunk := os.read(reader, _CHUNK):
        os.write(writer, chunk)
    os.close(reader)
    os.close(writer)
