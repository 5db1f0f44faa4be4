"""The root file system: assembled detached, attached in a private namespace, pivoted into."""

from __future__ import annotations

import errno
import os

from pycontainer.kernel import mounts, syscalls
from pycontainer.kernel.script import Script
from pycontainer.launcher.steps import inroot
from pycontainer.launcher.steps.context import Context, Refused

_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_CLONE = 0x8001  # OPEN_TREE_CLONE | AT_RECURSIVE
Options = tuple[tuple[bytes, bytes | None], ...]

_NO_SUCH_API = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def isolate_mounts(context: Context) -> None:
    """Cut this mount namespace off from the host's: nothing mounted here shows there, nor the reverse."""
    syscalls.mount(None, b"/", None, mounts.MS_PRIVATE | mounts.MS_REC, None)


def assemble(layers: tuple[bytes, ...], upper: bytes, work: bytes, options: Options) -> int | None:
    """The overlay of these directories as a detached mount; None where the kernel can only mount in place.

    The monitor does this, outside of any namespace of the container: a user namespace could not use the
    layers' trusted.* attributes.
    """
    fds = [os.open(path, _DIRECTORY) for path in (*layers, upper, work)]
    try:
        return mounts.overlay(fds[:-2], fds[-2], fds[-1], options)
    except OSError as error:
        if error.errno not in _NO_SUCH_API or syscalls.kernel_version() >= (6, 5):
            raise
        return None
    finally:
        for fd in fds:
            os.close(fd)


def copy_directory(source: bytes) -> int:
    """A directory of the host, with what is mounted below it, as a detached mount to be the root."""
    root = syscalls.open_tree(syscalls.AT_FDCWD, source, _CLONE)
    mounts.set_propagation(root, mounts.MS_PRIVATE, recursive=True)
    return root


def attach_root(
    context: Context,
    layers: tuple[bytes, ...],
    upper: bytes,
    work: bytes,
    options: Options,
    place: bytes,
    is_looked_for: bool = False,
) -> None:
    """Hang the root into this namespace, where the pivot needs it; on place nobody else sees it.

    is_looked_for: hooks will look for it on place, and nowhere else.
    """
    if "root" not in context.fds:
        # Linux before 6.5 has no lowerdir+: mount in place, with names short enough for one page.
        fds = [os.open(path, _DIRECTORY) for path in (*layers, upper, work)]
        classic = [key if value is None else key + b"=" + value for key, value in options if key != b"source"]
        mounts.overlay_classic(fds[:-2], fds[-2], fds[-1], classic, place)
        for fd in fds:
            os.close(fd)
        context.root = os.open(place, _DIRECTORY)
        return
    context.root = context.fds["root"]
    spot = os.open(place if is_looked_for else b"/", _DIRECTORY)
    try:
        mounts.attach(context.root, spot)
    finally:
        os.close(spot)


def pivot(context: Context) -> None:
    """Make it the root, and let go of the host's (pivot_root(2), "pivot_root(".", ".")")."""
    pivoting(context).perform()


def pivoting(context: Context) -> Script:
    """The calls of `pivot`."""
    script = Script()
    script.fchdir(context.root)
    script.pivot_root()
    return script


def make_directory(context: Context, path: bytes) -> None:
    """Make a directory of the container if it is missing; why it cannot be, whoever enters it will say."""
    try:
        os.close(inroot.directory(context.root, path))
    except (OSError, Refused):
        pass


def make_readonly(context: Context) -> None:
    """Forbid writing to the root mount; volumes, /dev and the like are mounts of their own."""
    mounts.set_attributes(context.root, mounts.ATTR_RDONLY)
