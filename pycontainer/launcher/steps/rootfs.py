"""The root file system: assembled detached, attached in a private namespace, pivoted into."""

from __future__ import annotations

import errno
import os

from pycontainer.kernel import mounts, syscalls
from pycontainer.launcher.steps.context import Context

_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_NO_SUCH_API = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def isolate_mounts(context: Context) -> None:
    """Cut this mount namespace off from the host's: nothing mounted here shows there, nor the reverse."""
    syscalls.mount(None, b"/", None, mounts.MS_PRIVATE | mounts.MS_REC, None)


def mount_overlay(
    context: Context,
    lower: tuple[bytes, ...],
    upper: bytes,
    work: bytes,
    options: tuple[tuple[bytes, bytes | None], ...],
    place: bytes,
) -> None:
    """Mount the image's layers under the container's own upper directory, and attach it on place."""
    fds = [os.open(path, _DIRECTORY) for path in (*lower, upper, work)]
    try:
        context.root = mounts.overlay(fds[:-2], fds[-2], fds[-1], options)
        attach(context, place)
    except OSError as error:
        if error.errno not in _NO_SUCH_API:
            raise
        # Linux before 6.5 has no lowerdir+: mount in place, with names short enough for one page.
        classic = [key if value is None else key + b"=" + value for key, value in options if key != b"source"]
        mounts.overlay_classic(fds[:-2], fds[-2], fds[-1], classic, place)
        context.root = os.open(place, _DIRECTORY)
    finally:
        for fd in fds:
            os.close(fd)


def bind_directory(context: Context, source: bytes, place: bytes) -> None:
    """Use a directory of the host, with what is mounted below it, as the root."""
    context.root = syscalls.open_tree(syscalls.AT_FDCWD, source, 0x8001)  # OPEN_TREE_CLONE | AT_RECURSIVE
    mounts.set_propagation(context.root, mounts.MS_PRIVATE, recursive=True)
    attach(context, place)


def attach(context: Context, place: bytes) -> None:
    """Hang the root into this namespace, where the pivot needs it."""
    spot = os.open(place, _DIRECTORY)
    try:
        mounts.attach(context.root, spot)
    finally:
        os.close(spot)


def pivot(context: Context) -> None:
    """Make it the root, and let go of the host's (pivot_root(2), "pivot_root(".", ".")")."""
    os.fchdir(context.root)
    syscalls.pivot_root(b".", b".")
    syscalls.umount2(b".", mounts.MNT_DETACH)
    os.chdir(b"/")


def make_readonly(context: Context) -> None:
    """Forbid writing to the root mount; volumes, /dev and the like are mounts of their own."""
    mounts.set_attributes(context.root, mounts.ATTR_RDONLY)
