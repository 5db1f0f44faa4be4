"""Which cgroup hierarchies this host has, and where.

Version 2 and version 1 may stand side by side ("hybrid"): each controller lives in exactly one of them,
so the drivers are chosen per controller. Source: cgroups(7); mountinfo format in proc(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from pycontainer.errors import Unsupported

_OCTAL = re.compile(r"\\([0-7]{3})")


class CgroupLayout(NamedTuple):
    """Where each controller is found.

    Attributes: mode ("v1", "v2" or "hybrid"); v1 (controller -> mount point); v2 (mount point or None);
    v2_controllers (what the version 2 hierarchy offers).
    """

    mode: str
    v1: Mapping[str, str] = MappingProxyType({})
    v2: str | None = None
    v2_controllers: frozenset[str] = frozenset()
    has_swap: bool = True
    """Whether swap is accounted: memory.memsw.* on v1, memory.swap.* on v2."""
    has_kill: bool = True
    """Whether cgroup.kill exists (Linux 5.14)."""
    has_bfq_weight: bool = False
    """Whether the weight of block I/O is the BFQ scheduler's."""
    all_cpus: str = ""
    all_nodes: str = ""
    """CPUs and memory nodes of the top of a v1 cpuset hierarchy, whose children start with none."""
    systemd: str = ""
    """Where systemd's own hierarchy of version 1 is mounted, which has no controller; empty without one."""

    @property
    def controllers(self) -> frozenset[str]:
        """Every controller that can be used."""
        return frozenset(self.v1) | self.v2_controllers

    def version_of(self, controller: str) -> int | None:
        """1 or 2, or None when the host does not offer the controller."""
        if controller in self.v1:
            return 1
        return 2 if controller in self.v2_controllers else None


def detect(mountinfo: str = "/proc/self/mountinfo", *, root: str = "") -> CgroupLayout:
    """Read the mount table; `root` is put before every path, so that a fake tree can stand in.

    Raises: Unsupported when no cgroup file system is mounted.
    """
    with open(mountinfo) as table:
        lines = table.read().splitlines()
    v1: dict[str, str] = {}
    v2: str | None = None
    systemd = ""
    for line in lines:
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split(" ")
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        point = root + _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
        if kind[0] == "cgroup2":
            v2 = v2 or point
            continue
        if "name=systemd" in kind[2].split(","):
            systemd = systemd or point
        for name in kind[2].split(","):
            if name in _V1_CONTROLLERS:
                v1.setdefault(name, point)
    return _layout(v1, v2)._replace(systemd=systemd)


_V1_CONTROLLERS = frozenset(
    {"blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "pids", "rdma", "misc"}
    | {"net_cls", "net_prio"}
)


def _layout(v1: dict[str, str], v2: str | None) -> CgroupLayout:
    if not v1 and v2 is None:
        raise Unsupported("no cgroup file system is mounted", "mount -t cgroup2 none /sys/fs/cgroup")
    offered = frozenset(_read(v2, "cgroup.controllers").split()) - frozenset(v1) if v2 else frozenset()
    if "memory" in v1:
        has_swap: bool | None = os.path.exists(f"{v1['memory']}/memory.memsw.limit_in_bytes")
    else:
        has_swap = _has_file(v2, "memory.swap.max")
    has_kill = _has_file(v2, "cgroup.kill")
    release = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    is_bfq = _has_file(v2, "io.bfq.weight") if "blkio" not in v1 else _has_v1_bfq(v1["blkio"])
    cpuset = v1.get("cpuset", "")
    return CgroupLayout(
        mode="v2" if not v1 else "hybrid" if v2 else "v1",
        v1=v1,
        v2=v2,
        v2_controllers=offered,
        has_swap=has_swap is not False,
        has_kill=v2 is not None and (release >= (5, 14) if has_kill is None else has_kill),
        has_bfq_weight=is_bfq is True,
        all_cpus=_read(cpuset, "cpuset.cpus").strip() if cpuset else "",
        all_nodes=_read(cpuset, "cpuset.mems").strip() if cpuset else "",
    )


def _has_file(v2: str | None, name: str) -> bool | None:
    """Whether cgroups of the hierarchy have the file; None when no cgroup below the root shows it."""
    if v2 is None:
        return False
    if os.path.exists(f"{v2}/{name}"):  # not the hierarchy's own root: inside a cgroup namespace
        return True
    with os.scandir(v2) as entries:
        children = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return any(os.path.exists(f"{child}/{name}") for child in children) if children else None


def _has_v1_bfq(blkio: str) -> bool:
    return any(name.startswith("blkio.bfq.") for name in os.listdir(blkio))


def _read(directory: str, name: str) -> str:
    try:
        with open(f"{directory}/{name}") as file:
            return file.read()
    except OSError:
        return ""
