"""Roots that are not pivoted into: of a container without a mount namespace of its own, or on a ramdisk.

A program with CAP_SYS_CHROOT can leave such a root (chroot(2)): only who asks for it by name gets one.
"""

from __future__ import annotations

import os

from pycontainer.kernel import mounts, syscalls
from pycontainer.launcher.steps.context import Context

_REVEALING = ("proc", "sysfs")


def attach_among_others(context: Context, place: bytes) -> None:
    """Hang the root on the directory that it is a copy of, in a mount namespace that others live in."""
    context.root = context.fds["root"]
    context.has_own_mounts = False
    spot = os.open(place, os.O_PATH | os.O_DIRECTORY)
    try:
        mounts.attach(context.root, spot)
    finally:
        os.close(spot)
    # Under a shared mount it has become one itself: what comes below would show elsewhere.
    mounts.set_propagation(context.root, mounts.MS_PRIVATE, recursive=True)


def change_root(context: Context) -> None:
    """Make it the root of this process alone."""
    os.fchdir(context.root)
    os.chroot(".")


def enter_root(context: Context) -> None:
    """Make the root of the container's first process that of this one, too, and be in it."""
    os.fchdir(context.fds["root"])
    os.chroot(".")
    os.close(context.fds["root"])
    os.close(context.root)
    context.root = os.open(b"/", os.O_PATH | os.O_DIRECTORY)


def move_root(context: Context) -> None:
    """Move it over the host's root, which cannot be pivoted from where that is a ramdisk (pivot_root(2))."""
    place = os.readlink(f"/proc/self/fd/{context.root}")
    with open("/proc/self/mountinfo") as file:
        entries = [(line.split()[4], line.split(" - ")[1].split()[0]) for line in file]
    for path, fstype in reversed(entries):
        # A full one of the host's would allow what the kernel else does not (mount_too_revealing).
        if fstype in _REVEALING and path != place and not path.startswith(f"{place}/"):
            try:
                syscalls.umount2(os.fsencode(mounts.unescaped(path)), syscalls.MNT_DETACH)
            except OSError:
                continue  # covered, or gone with the one above it
    os.fchdir(context.root)
    spot = os.open(b"/", os.O_PATH | os.O_DIRECTORY)
    mounts.attach(context.root, spot)
    os.close(spot)
    os.chroot(".")
