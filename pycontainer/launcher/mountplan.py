"""What is mounted or made under the root: file systems, binds, device nodes, files of the engine."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pycontainer import errors
from pycontainer.kernel import mounts, namespaces
from pycontainer.launcher import mountoptions
from pycontainer.launcher.step import Step, absolute, to_bytes
from pycontainer.launcher.steps import devices, settings
from pycontainer.launcher.steps import mounts as mount_steps

__all__ = ["DEFAULT_NODES", "plan_mounts"]

Json = Mapping[str, Any]

DEFAULT_NODES = (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9))
_LINKS = (
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
    (b"core", b"/proc/kcore"),
    (b"ptmx", b"pts/ptmx"),
)
# Files that lxcfs and its like provide (runc, libcontainer/rootfs_linux.go, checkProcMount).
_PROC_FILES = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "net/dev",
    )
)


def plan_mounts(spec: Json, params: Json, new: int) -> list[Step]:
    """The steps, in the order of the mounts; new: namespaces to make. Raises InvalidInput."""
    steps: list[Step] = []
    nodes = _nodes(spec, params, new)
    in_cgroups = not new & namespaces.NEWCGROUP
    count = 0
    for entry in spec.get("mounts") or ():
        destination = absolute(entry["destination"], "mount destination")
        if entry.get("type") in ("cgroup", "cgroup2") and not in_cgroups:
            steps.append(Step("cgroup namespace", settings.enter_cgroup_namespace))
            in_cgroups = True
        steps.append(_mount(entry, destination, params, count))
        count += mountoptions.is_bind(entry)
        if destination == "/dev" and nodes:
            steps += nodes
            nodes = []
    if not in_cgroups:
        steps.append(Step("cgroup namespace", settings.enter_cgroup_namespace))
    return steps + nodes + _files(spec, params)


def _files(spec: Json, params: Json) -> list[Step]:
    taken = {entry["destination"] for entry in spec.get("mounts") or ()}
    files = tuple(
        (to_bytes(absolute(path, "file")), text.encode("utf-8", "surrogateescape"), 0o644, 0, 0)
        for path, text in (params.get("files") or {}).items()
        if path not in taken
    )
    files += tuple(
        (to_bytes(absolute(path, "file")), text.encode("utf-8", "surrogateescape"), mode, uid, gid)
        for path, (text, mode, uid, gid) in (params.get("secrets") or {}).items()
    )
    attributes = mounts.ATTR_RDONLY if (spec.get("root") or {}).get("readonly") else 0
    return [Step("files", mount_steps.mount_files, (files, attributes))] if files else []


_USUAL = frozenset(("proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"))
"""Their options are much the same from container to container, and no secrets."""
_CGROUPS = ("cgroup", "cgroup2")
_NO_NEW_MOUNT = frozenset(("bind", "rbind", "remount"))
_parsed = lru_cache(maxsize=32)(mountoptions.parse)


def _mount(entry: Json, destination: str, params: Json, index: int) -> Step:
    fstype = entry.get("type") or ""
    words = tuple(entry.get("options") or ())
    if fstype in _USUAL and fstype not in _CGROUPS and not _NO_NEW_MOUNT.intersection(words):
        return _mount_usual(fstype, destination, entry.get("source") or "", words)
    options = _parsed(words) if fstype in _USUAL else mountoptions.parse(words)
    name = f"mount {destination}"
    _refuse_place(destination, entry)
    path = to_bytes(destination)
    if "remount" in words:
        is_alone = "bind" in words or "rbind" in words or fstype == "bind"
        return Step(
            name, mount_steps.remount, (path, options.attributes, options.cleared, options.data, is_alone)
        )
    if mountoptions.is_bind(entry) or mountoptions.INSIDE in entry:
        attributes = (options.attributes, options.cleared, options.tree_attributes, options.tree_cleared)
        propagation = (
            options.propagation or mounts.MS_PRIVATE,
            options.propagates_recursively or not options.propagation,
        )
        is_proc_file = destination in _PROC_FILES
        if mountoptions.INSIDE in entry:
            source, is_whole = to_bytes(entry[mountoptions.INSIDE]), "rbind" in words
            return Step(name, mount_steps.bind_inside, (source, is_whole, path, attributes, propagation))
        return Step(name, mount_steps.mount_bind, (index, path, attributes, propagation, is_proc_file))
    if fstype in _CGROUPS:
        return _cgroup_mount(name, path, options, params)
    if not fstype:
        raise errors.InvalidInput(f"mount {destination} has neither a type nor the option bind")
    return _filesystem(fstype, destination, entry.get("source") or "", options)


def _refuse_place(destination: str, entry: Json) -> None:
    if destination == "/":
        raise errors.InvalidInput("nothing can be mounted over the container's root; choose a directory")
    if destination == "/proc" or destination.startswith("/proc/"):
        is_procfs = entry.get("type") == "proc" or _is_bound_procfs(entry)
        if not (destination == "/proc" and is_procfs) and destination not in _PROC_FILES:
            raise errors.InvalidInput(
                f"cannot mount on {destination}: /proc is the kernel's; mount elsewhere"
            )


def _is_bound_procfs(entry: Json) -> bool:
    """Whether it is the caller's whole /proc: who shares a pid namespace may not be allowed a new one."""
    return mountoptions.is_bind(entry) and os.path.normpath(entry.get("source") or "") == "/proc"


def _filesystem(fstype: str, destination: str, source: str, options: mountoptions.MountOptions) -> Step:
    data = ((b"source", to_bytes(source)), *options.data) if source else options.data
    args = (to_bytes(fstype), to_bytes(destination), data, options.attributes, options.propagation)
    return Step(f"mount {destination}", mount_steps.mount_filesystem, args)


@lru_cache(maxsize=32)
def _mount_usual(fstype: str, destination: str, source: str, words: tuple[str, ...]) -> Step:
    _refuse_place(destination, {"type": fstype})
    return _filesystem(fstype, destination, source, mountoptions.parse(words))


def _cgroup_mount(name: str, path: bytes, options: mountoptions.MountOptions, params: Json) -> Step:
    """Version 2 is one file system of its own; version 1 a directory for each controller."""
    view = (params.get("cgroup") or {}).get("view") or ()
    if not view:
        args = (b"cgroup2", path, options.data, options.attributes, options.propagation)
        return Step(name, mount_steps.mount_filesystem, args)
    controllers = tuple((to_bytes(hierarchy), to_bytes(directory)) for hierarchy, directory in view)
    return Step(name, mount_steps.mount_cgroups, (path, controllers, options.attributes))


def _nodes(spec: Json, params: Json, new: int) -> list[Step]:
    kinds = [entry["type"] for entry in (spec.get("linux") or {}).get("namespaces") or ()]
    by_bind = bool(new & namespaces.NEWUSER) or "user" in kinds
    nodes = {
        f"/dev/{name}": devices.Node(
            to_bytes(f"/dev/{name}"), stat.S_IFCHR | 0o666, os.makedev(1, minor), 0, 0
        )
        for name, minor in DEFAULT_NODES
    }
    nodes["/dev/tty"] = devices.Node(b"/dev/tty", stat.S_IFCHR | 0o666, os.makedev(5, 0), 0, 0)
    for entry in (spec.get("linux") or {}).get("devices") or ():
        path = absolute(entry["path"], "device")
        nodes[path] = _node(path, entry)
    steps = [
        Step("devices", devices.make_nodes, (tuple(nodes.values()), by_bind)),
        Step("devices", devices.make_links, (_LINKS,)),
    ]
    if "stdin" not in (params.get("fd_names") or ()) and not params.get("stdin_open"):
        steps.append(Step("devices", devices.use_null))
    return steps


def _node(path: str, entry: Json) -> devices.Node:
    kinds = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
    kind = kinds.get(entry["type"])
    if kind is None:
        raise errors.InvalidInput(f"device {path} has the unknown type {entry['type']!r}")
    mode = entry.get("fileMode")
    number = 0 if kind == stat.S_IFIFO else os.makedev(entry["major"], entry["minor"])
    permissions = 0o666 if mode is None else stat.S_IMODE(mode)
    return devices.Node(
        to_bytes(path), kind | permissions, number, entry.get("uid") or 0, entry.get("gid") or 0
    )
