"""Where systemd puts a container's cgroups, and a container's limits in systemd's words.

A path for systemd is "slice:prefix:name", as runc, crun and podman take it: the scope is
prefix-name.scope in that slice. Source: systemd.slice(5); systemd.resource-control(5);
runc docs/systemd.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from pycontainer.errors import InvalidOption, Unsupported
from pycontainer.runtime.cgroups import devices, knobs
from pycontainer.runtime.cgroups.detection import CgroupLayout
from pycontainer.runtime.cgroups.planning import CgroupPlan, is_scope, plan

__all__ = [
    "limit_changes",
    "limits",
    "place_of",
    "refuse_without",
    "scope_path",
    "scope_plan",
    "scope_prefix",
]

DEFAULT_SLICE = "system.slice"
DEFAULT_PREFIX = "pycontainer"
UNLIMITED = 2**64 - 1
_UNIT = r"[A-Za-z0-9_.@-]{1,240}"
_QUOTA_STEP_US = (
    10_000  # systemd rounds to hundredths of a processor; up, as runc: never below what was asked
)


def scope_prefix(store_tag: str) -> str:
    """What tells the scopes of one store from those of others."""
    return f"{DEFAULT_PREFIX}-{store_tag}"


def place_of(cgroups_path: str) -> str:
    """The path of the cgroup below each hierarchy, for either form of linux.cgroupsPath.

    Raises: InvalidOption.
    """
    return scope_path(cgroups_path, "")[2] if is_scope(cgroups_path) else cgroups_path


def refuse_without(layout: CgroupLayout, *, is_running: bool) -> None:
    """Refuse scopes of systemd for containers of an engine where they cannot be relied on.

    Only on version 2 has systemd properties for all that is limited. is_running: whether systemd runs here.
    Raises: Unsupported.
    """
    remedy = 'use cgroup_manager="cgroupfs" on this host'
    if layout.mode != "v2":
        raise Unsupported("the cgroup manager systemd needs a host with cgroup version 2 only", remedy)
    if not is_running:
        raise Unsupported("the cgroup manager systemd needs systemd as the host's first process", remedy)


def scope_path(cgroups_path: str, name: str) -> tuple[str, str, str]:
    """The slice, the unit and the path of its cgroup, for a path as "slice:prefix:name" or an empty one.

    Raises: InvalidOption.
    """
    if not cgroups_path:
        return _placed(DEFAULT_SLICE, DEFAULT_PREFIX, name)
    parts = cgroups_path.split(":")
    if len(parts) != 3 or not parts[2]:
        raise InvalidOption(
            f'linux.cgroupsPath {cgroups_path!r}: for systemd it is "slice:prefix:name", '
            f'as "{DEFAULT_SLICE}:{DEFAULT_PREFIX}:{name}"'
        )
    return _placed(parts[0] or DEFAULT_SLICE, parts[1], parts[2])


def _placed(slice_name: str, prefix: str, name: str) -> tuple[str, str, str]:
    unit = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    if re.fullmatch(_UNIT, unit) is None:
        raise InvalidOption(
            f"linux.cgroupsPath: {unit!r} is no name of a unit of systemd; use letters and digits"
        )
    return slice_name, unit, f"{_expanded(slice_name)}/{unit}"


def _expanded(name: str) -> str:
    """The path of a slice's cgroup: "a-b.slice" lies in "a.slice"."""
    if name == "-.slice":
        return ""
    stem = name.removesuffix(".slice")
    parts = stem.split("-")
    if stem == name or "" in parts or re.fullmatch(_UNIT, name) is None:
        raise InvalidOption(
            f'linux.cgroupsPath: {name!r} is no slice; give one as "system.slice" or "a-b.slice"'
        )
    return "".join(f"/{'-'.join(parts[:count])}.slice" for count in range(1, len(parts) + 1))


def scope_plan(
    resources: Mapping[str, Any], cgroups_path: str, name: str, layout: CgroupLayout
) -> tuple[CgroupPlan, str]:
    """The plan of a container's cgroups in a scope of systemd, and their path below each hierarchy.

    Raises: InvalidOption, Unsupported.
    """
    if not layout.systemd and layout.mode != "v2":
        raise Unsupported(
            "systemd has no hierarchy of cgroups here", "let cgroups be made without it (cgroupfs)"
        )
    slice_name, unit, path = scope_path(cgroups_path, name)
    made = plan(resources, path, layout, is_whole=True)
    # The slices are systemd's: made by it, and taken away by it.
    made["dirs"] = list(made["own"])
    if layout.systemd:
        made["own"].append(f"{layout.systemd}{path}")
        made["procs"].append(f"{layout.systemd}{path}/cgroup.procs")
    properties: list[list[Any]] = [
        ["Description", "s", f"container {name}"],
        ["Slice", "s", slice_name],
        ["Delegate", "b", True],
        ["DefaultDependencies", "b", False],
        # Else a scope whose process was killed stays listed as failed.
        ["CollectMode", "s", "inactive-or-failed"],
        *([f"{name}Accounting", "b", True] for name in ("CPU", "Memory", "Tasks")),
        *limits(resources, layout),
    ]
    if "devices" in layout.v1 and resources.get("devices"):
        properties += _v1_devices(resources["devices"])
    made["scope"] = {"unit": unit, "slice": slice_name, "properties": properties}
    return made, path


def limits(resources: Mapping[str, Any], layout: CgroupLayout) -> list[list[Any]]:
    """The limits that systemd has properties for, as [name, signature, value] each."""
    is_v2 = not layout.v1
    found = [
        *_memory(resources.get("memory") or {}, is_v2=is_v2),
        *_cpu(resources.get("cpu") or {}, is_v2=is_v2),
    ]
    tasks = (resources.get("pids") or {}).get("limit")
    if tasks is not None:
        found.append(("TasksMax", UNLIMITED if tasks < 0 else tasks))
    weight = (resources.get("blockIO") or {}).get("weight")
    if weight:
        found.append(("IOWeight", knobs.blkio_to_io_weight(weight)) if is_v2 else ("BlockIOWeight", weight))
    made: list[list[Any]] = [[name, "t", value] for name, value in found]
    if is_v2:
        for name, key in (("AllowedCPUs", "cpus"), ("AllowedMemoryNodes", "mems")):
            text = (resources.get("cpu") or {}).get(key)
            if text:
                made.append([name, "ay", _bits(text)])
    return made


def limit_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], layout: CgroupLayout
) -> list[list[Any]]:
    """What to tell systemd when limits change: those that are, and defaults for those that are no more."""
    wanted = limits(after, layout)
    kept = {name for name, _, _ in wanted}
    lifted = [
        [name, kind, _default(name, kind)] for name, kind, _ in limits(before, layout) if name not in kept
    ]
    return [*lifted, *wanted]


def _default(name: str, kind: str) -> Any:
    """As if the property had never been set: no limit, no weight, no list; MemoryLow is nothing then."""
    if kind == "ay":
        return []
    return 0 if name == "MemoryLow" else UNLIMITED


def _memory(memory: Mapping[str, Any], *, is_v2: bool) -> list[tuple[str, int]]:
    found = []
    limit, swap, reservation = (memory.get(key) for key in ("limit", "swap", "reservation"))
    if limit:
        found.append(("MemoryMax" if is_v2 else "MemoryLimit", UNLIMITED if limit < 0 else limit))
    if is_v2 and swap:
        found.append(("MemorySwapMax", UNLIMITED if swap < 0 else swap - (limit or 0)))
    if is_v2 and reservation:
        found.append(("MemoryLow", reservation))
    return found


def _cpu(cpu: Mapping[str, Any], *, is_v2: bool) -> list[tuple[str, int]]:
    found = []
    shares, quota, period = (cpu.get(key) for key in ("shares", "quota", "period"))
    if shares:
        found.append(("CPUWeight", knobs.shares_to_weight(shares)) if is_v2 else ("CPUShares", shares))
    if quota:
        per_second_us = quota * 1_000_000 / (period or 100_000)
        steps = math.ceil(per_second_us / _QUOTA_STEP_US)
        found.append(("CPUQuotaPerSecUSec", UNLIMITED if quota < 0 else steps * _QUOTA_STEP_US))
    if period:
        found.append(("CPUQuotaPeriodUSec", period))
    return found


def _bits(text: str) -> list[int]:
    """A list of numbers as "0-3,7", as the bytes of a bit mask, the lowest first. Raises InvalidOption."""
    mask = 0
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*", part)
        if match is None:
            raise InvalidOption(f'linux.resources.cpu: {text!r} is no list of numbers as "0-3,7"')
        for number in range(int(match[1]), int(match[2] or match[1]) + 1):
            mask |= 1 << number
    return list(mask.to_bytes((mask.bit_length() + 7) // 8 or 1, "little"))


def _v1_devices(rules: Any) -> list[list[Any]]:
    """The device list as systemd keeps it: on version 1 it writes its own whenever it is reloaded."""
    allows_all, exceptions = devices.reduced(rules)
    if allows_all:
        return [["DevicePolicy", "s", "auto"]]
    allowed = []
    for (kind, major, minor), bits in exceptions.items():
        access = "".join(letter for letter, bit in (("r", 2), ("w", 4), ("m", 1)) if bits & bit)
        name = "char" if kind == "c" else "block"
        if major is not None and minor is not None:
            allowed.append([f"/dev/{name}/{major}:{minor}", access])
        elif major is None and minor is None:
            allowed.append([f"{name}-*", access])
        elif major is not None:
            allowed += [[f"{name}-{driver}", access] for driver in _drivers(name, major)]
    return [["DevicePolicy", "s", "strict"], ["DeviceAllow", "a(ss)", allowed]]


def _drivers(kind: str, major: int) -> list[str]:
    """The names of a major number in /proc/devices."""
    with open("/proc/devices") as file:
        chars, _, blocks = file.read().partition("Block devices:")
    lines = (line.split() for line in (chars if kind == "char" else blocks).splitlines())
    return [words[1] for words in lines if len(words) == 2 and words[0] == str(major)]
