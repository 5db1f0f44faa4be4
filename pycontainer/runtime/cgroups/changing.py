"""From the limits that a running container has to those that it shall have: what is made and written.

Only what differs is touched, one controller's files together: memory and swap hold each other, so the plan
for a change tries the larger first (see `plan` with is_update). A limit that is asked for no more gets the
kernel's default back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pycontainer.errors import InvalidOption
from pycontainer.runtime.cgroups.detection import CgroupLayout
from pycontainer.runtime.cgroups.planning import CgroupPlan, plan

__all__ = ["changes"]

_DEFAULTS = {
    # Swap first: it is never below memory.
    "memory.memsw.limit_in_bytes": "-1",
    "memory.limit_in_bytes": "-1",
    "memory.soft_limit_in_bytes": "-1",
    "memory.swappiness": "60",
    "memory.oom_control": "0",
    "memory.swap.max": "max",
    "memory.max": "max",
    "memory.low": "0",
    "cpu.shares": "1024",
    "cpu.weight": "100",
    "cpu.max": "max 100000",
    "cpu.cfs_quota_us": "-1",
    "cpu.cfs_period_us": "100000",
    "cpu.cfs_burst_us": "0",
    "cpu.max.burst": "0",
    "cpu.idle": "0",
    # No time before the period: it is never more than that.
    "cpu.rt_runtime_us": "0",
    "cpu.rt_period_us": "1000000",
    "pids.max": "max",
    "blkio.weight": "500",
    "blkio.bfq.weight": "100",
    "io.weight": "default 100",
    "io.bfq.weight": "default 100",
}
"""What a cgroup holds that nobody limited. Source: kernel Documentation/admin-guide, cgroup-v1 and v2."""

_SHARES = ("cpu.shares", "cpu.weight")

Limits = Mapping[str, Any]


def changes(before: Limits, after: Limits, cgroup_path: str, layout: CgroupLayout) -> dict[str, Any]:
    """What `launcher.limits.change` is to do: dirs, own, procs and writes.

    before, after: linux.resources; devices are not looked at, since they cannot be updated.
    Raises: InvalidOption for a limit that cannot be lifted from a running container; Unsupported.
    """
    old = plan(_limits(before), cgroup_path, layout, is_update=True)
    new = plan(_limits(after), cgroup_path, layout, is_update=True)
    known = {(file, text) for file, text, _ in old["writes"]}
    touched = {_group(file) for file, text, _ in new["writes"] if (file, text) not in known}
    writes = [write for write in new["writes"] if _group(write[0]) in touched]
    if (after.get("cpu") or {}).get("idle") == 1:
        # The kernel refuses an idle group any share, the one that it has, too.
        writes = [w for w in writes if os.path.basename(w[0]) not in _SHARES or (w[0], w[1]) not in known]
    lifted = _lifted(old, new, layout)
    return {
        "dirs": new["dirs"],
        "own": new["own"],
        "procs": new["procs"],
        # Lifted first: what is set after it may need the room.
        "writes": [*lifted, *writes],
    }


def _limits(resources: Limits) -> Limits:
    return {name: value for name, value in resources.items() if name != "devices"}


def _group(file: str) -> tuple[str, str]:
    """The files that hold each other: those of one controller in one directory."""
    directory, _, name = file.rpartition("/")
    return directory, name.partition(".")[0]


def _lifted(old: CgroupPlan, new: CgroupPlan, layout: CgroupLayout) -> list[list[Any]]:
    kept = {_target(file, text) for file, text, _ in new["writes"]}
    gone = {_target(file, text): file for file, text, _ in old["writes"]}
    found: dict[str, list[Any]] = {}
    for (file, device), _ in gone.items():
        if (file, device) in kept or file.endswith("/cgroup.subtree_control"):
            continue
        found[f"{file} {device}"] = [file, _default(file, device, layout), True]
    order = list(_DEFAULTS)
    return sorted(found.values(), key=lambda write: _rank(order, os.path.basename(write[0])))


def _rank(order: list[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _target(file: str, text: str) -> tuple[str, str]:
    """A file of limits per device holds one for each: (file, what of it the text sets)."""
    words = text.split()
    if not words or ":" not in words[0]:
        return file, ""
    key = words[1].partition("=")[0] if len(words) > 1 and "=" in words[1] else ""
    return file, f"{words[0]} {key}".strip()


def _default(file: str, device: str, layout: CgroupLayout) -> str:
    name = os.path.basename(file)
    if device:
        number, _, key = device.partition(" ")
        return f"{number} {key}=max" if key else f"{number} 0"
    if name in ("cpuset.cpus", "cpuset.mems"):
        if "cpuset" in layout.v1:
            return layout.all_cpus if name == "cpuset.cpus" else layout.all_nodes
        return "\n"
    if name in _DEFAULTS:
        return _DEFAULTS[name]
    raise InvalidOption(
        f"update: {name} has no default to go back to; give a value, or stop the container first"
    )
