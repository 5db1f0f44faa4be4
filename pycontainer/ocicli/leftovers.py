"""What no kernel takes away with a container: mounts in a namespace that it shares with others."""

from __future__ import annotations

import os

from pycontainer.errors import launch_failed, mapped
from pycontainer.kernel import mounts, syscalls
from pycontainer.ocicli.states import State

__all__ = ["mount_id", "unmount"]


def mount_id(fd: int) -> int:
    """The number of the mount that a descriptor is of, also before it is attached (proc_pid_fdinfo(5))."""
    with open(f"/proc/self/fdinfo/{fd}") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("mnt_id:"))


def unmount(state: State) -> None:
    """Take the container's root, with all that is mounted in it, out of our mount namespace. Idempotent.

    Raises LaunchError.
    """
    number, place = state.fields.get("root_mount"), state.fields.get("rootfs", "")
    if not number:
        return
    with open("/proc/self/mountinfo") as file:
        there = [line.split()[0] for line in file if mounts.unescaped(line.split()[4]) == place]
    if there and there[-1] == str(number):
        with mapped(OSError, to=launch_failed("rootfs", f"{place} cannot be unmounted")):
            syscalls.umount2(os.fsencode(place), syscalls.MNT_DETACH)
