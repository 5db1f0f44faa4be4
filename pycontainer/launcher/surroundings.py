"""What a first process needs of its parent: copies of trees, namespaces to join, its ids mapped."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from pycontainer import errors
from pycontainer.kernel import namespaces, syscalls
from pycontainer.launcher import binding, netdevices, plan
from pycontainer.launcher.steps import inroot, mounts
from pycontainer.launcher.steps.context import Refused

__all__ = ["map_ids", "make_places", "move_devices", "open_namespaces", "open_trees"]


def open_trees(
    outline: plan.Outline,
    given: Mapping[str, int] | None = None,
    sources: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[int]:
    """Copies of the trees to bind, as the host has them now. Raises LaunchError.

    given: may have "shared mounts", the mount namespace of a container; sources that begin with
    "container:" are taken from there. sources: for the places of which the source is not found by its path
    but by descriptors of given, how (see binding.open_source).
    """
    given, sources = given or {}, sources or {}
    other = given.get("shared mounts", -1)
    found: list[int] = []
    try:
        for tree, place in zip(outline.trees, outline.places, strict=True):
            if place in sources:
                found.append(binding.open_source(place, sources[place], given, recursive=tree[1]))
            elif other >= 0 and tree[0].startswith(b"container:"):
                found.append(_copy_of_other(other, tree[0]))
            else:
                found += mounts.copy_trees((tree,))
    except Refused as refused:
        raise errors.LaunchError(refused.message, step="mounts", reason=refused.message) from None
    return found


def make_places(root: int, outline: plan.Outline, trees: Sequence[int]) -> None:
    """Make what trees are mounted on in a root whose owners a user namespace does not map.

    Inside, the container's own root could make nothing there. What lies below another mount is made inside.
    Raises: LaunchError.
    """
    for tree, place in zip(trees, outline.places, strict=True):
        if any(place.startswith(f"{other}/") for other in (*outline.places, "/proc", "/dev", "/sys")):
            continue
        is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        step = f"mount {place}"
        try:
            with errors.mapped(OSError, to=errors.launch_failed(step, f"{step}: there is no place for it")):
                os.close(inroot.target(root, os.fsencode(place), is_directory=is_directory))
        except Refused as refused:
            raise errors.LaunchError(refused.message, step=step, reason=refused.message) from None
        except errors.LaunchError as problem:
            # Its files' owners are shown by the container's maps, which have no id of ours: there its own
            # root makes the place.
            if getattr(problem.__cause__, "errno", None) != errno.EOVERFLOW:
                raise


def _copy_of_other(namespace: int, source: bytes) -> int:
    """A copy of a directory of another container, "container:NAME:/PATH", by its mount namespace.

    Before Linux 6.15 only mounts of one's own namespace can be copied, so this process goes there; it is
    not in the other's process namespace and executes nothing, and the path is followed through no link.
    """
    path = source.split(b":", 2)[2]
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    try:
        namespaces.enter(namespace, namespaces.NEWNS)
        try:
            return _copy_strictly(path)
        except OSError as error:
            raise Refused(f"cannot share {os.fsdecode(source)}: {error.strerror}") from None
        finally:
            namespaces.enter(home, namespaces.NEWNS)
    finally:
        os.close(home)


def _copy_strictly(path: bytes) -> int:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        spot = inroot.locate(root, path, os.O_PATH | os.O_DIRECTORY, strict=True)
    finally:
        os.close(root)
    try:
        return syscalls.open_tree(spot, b"", 1 | syscalls.AT_EMPTY_PATH)
    finally:
        os.close(spot)


def open_namespaces(outline: plan.Outline, given: dict[str, int]) -> None:
    """Open into given what the first process will join, unless it is there; enter what only its parent can.

    Raises LaunchError.
    """
    for key, kind, path in outline.joined:
        failed = errors.launch_failed("namespaces", f"the namespace {path} cannot be joined")
        with errors.mapped(OSError, to=failed):
            if key not in given:
                given[key] = os.open(path, os.O_RDONLY)
            if kind == namespaces.NEWPID:
                namespaces.enter(given[key], kind)  # for the children only (setns(2))
    if outline.new & namespaces.NEWTIME:
        # Only before the first process is in it can a time namespace be set (time_namespaces(7)).
        namespaces.leave(namespaces.NEWTIME)
    if outline.time_offsets:
        with open("/proc/self/timens_offsets", "wb", buffering=0) as file:
            file.write(b"".join(outline.time_offsets))


def move_devices(spec: Mapping[str, Any], pid: int, network: int) -> netdevices.Moved | None:
    """Move linux.netDevices to where the first process will be; network: the namespace it joins, or -1.

    None without any. Raises LaunchError.
    """
    wanted = (spec.get("linux") or {}).get("netDevices")
    if not wanted:
        return None
    namespace = os.dup(network) if network >= 0 else os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        return netdevices.move(wanted, namespace)
    finally:
        os.close(namespace)


def map_ids(pid: int, outline: plan.Outline) -> None:
    """Write the maps of the user namespace that the process was born in. Raises LaunchError."""
    for name, content in (("uid_map", outline.uid_map), ("gid_map", outline.gid_map)):
        if not content:
            continue
        failed = errors.launch_failed("user namespace", f"the ids ({name}) cannot be mapped")
        with errors.mapped(OSError, to=failed), open(f"/proc/{pid}/{name}", "wb", buffering=0) as file:
            file.write(content)
