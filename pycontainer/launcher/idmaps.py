"""Mounts whose files have other owners than on disk: MOUNT_ATTR_IDMAP with the maps of a user namespace.

Source: mount_setattr(2), "ID-mapped mounts"; opencontainers/runtime-spec config.md, idmap and ridmap.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from pycontainer import errors
from pycontainer.kernel import namespaces, syscalls
from pycontainer.launcher import mountoptions

__all__ = ["ATTR_IDMAP", "apply", "show", "user_namespace"]

ATTR_IDMAP = 0x100000
_AT_RECURSIVE = 0x8000

Json = Mapping[str, Any]


def apply(spec: Json, trees: Sequence[int]) -> None:
    """Map the ids of those bind mounts of the specification that ask for it; trees: their copies, in order.

    Raises: LaunchError naming the mount; Unsupported naming a file system that cannot do it.
    """
    linux = spec.get("linux") or {}
    binds = [entry for entry in spec.get("mounts") or () if mountoptions.is_bind(entry)]
    for entry, tree in zip(binds, trees, strict=True):
        words = entry.get("options") or ()
        if not (entry.get("uidMappings") or "idmap" in words or "ridmap" in words):
            continue
        maps = [entry.get(kind) or linux.get(kind) or () for kind in ("uidMappings", "gidMappings")]
        flags = _AT_RECURSIVE if "ridmap" in words else 0
        step = f"mount {entry['destination']}"
        joined = _joined_namespace(linux)
        if not all(maps) and not joined:
            reason = "there are no maps for its ids: give it some, or the container a user namespace"
            raise errors.LaunchError(f"{step}: {reason}", step=step, reason=reason)
        with errors.mapped(OSError, to=errors.launch_failed(step, f"{step}: its ids cannot be mapped")):
            space = user_namespace(*maps) if all(maps) else os.open(joined, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _show_as(tree, space, flags)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                raise errors.Unsupported(
                    f"{step}: the file system of its source ({_filesystem(tree)}) cannot map ids here",
                    "bind a directory of another file system, such as ext4, xfs, btrfs or tmpfs",
                ) from None


def show(tree: int, maps: Sequence[Sequence[Json]], flags: int = 0) -> None:
    """Have a detached mount show owners by these maps, of user and of group ids. flags: AT_RECURSIVE.

    Raises OSError: EINVAL where its file system cannot.
    """
    _show_as(tree, user_namespace(*maps), flags)


def _show_as(tree: int, space: int, flags: int) -> None:
    """The same, by the maps of a user namespace, whose descriptor is closed."""
    try:
        syscalls.mount_setattr(tree, flags, set=ATTR_IDMAP, userns_fd=space)
    finally:
        os.close(space)


def _joined_namespace(linux: Json) -> str:
    """The path of the user namespace that the container joins, whose maps are then its own."""
    spaces = (entry for entry in linux.get("namespaces") or () if entry["type"] == "user")
    return next((entry.get("path") or "" for entry in spaces), "")


def _filesystem(fd: int) -> str:
    """The type of the file system, by its device, as mountinfo has it."""
    device = os.fstat(fd).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo") as file:
        for line in file:
            if line.split()[2] == wanted:
                return line.split(" - ")[1].split()[0]
    return "unknown"


def user_namespace(uids: Sequence[Json], gids: Sequence[Json]) -> int:
    """A descriptor of a user namespace with these maps, in which nobody lives. Raises OSError."""
    pid, pidfd = syscalls.clone3(namespaces.NEWUSER)
    if pid == 0:
        while True:
            signal.pause()
    try:
        for name, entries in (("uid_map", uids), ("gid_map", gids)):
            text = "".join(f"{e['containerID']} {e['hostID']} {e['size']}\n" for e in entries)
            with open(f"/proc/{pid}/{name}", "wb", buffering=0) as file:
                file.write(text.encode())
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        syscalls.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
        os.waitpid(pid, 0)
