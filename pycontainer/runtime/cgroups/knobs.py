"""One line per limit: the file that takes it, where the runtime-spec says it, and how it is written.

A knob's `path` starts at linux.resources. `encode` gets the value and the whole resources object and
returns the text to write, several texts for several writes, or None to leave the file alone.
Source: kernel Documentation/admin-guide/cgroup-v1/*.rst and cgroup-v2.rst; runc libcontainer/cgroups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pycontainer.errors import InvalidOption

Resources = Mapping[str, Any]
Text = str | list[str] | None


class Knob(NamedTuple):
    """One limit of one controller."""

    file: str
    path: str
    encode: Callable[[Any, Resources], Text]


def _number(value: Any, _resources: Resources) -> Text:
    return str(value)


def _number_or_max(value: Any, _resources: Resources) -> Text:
    return "max" if value == -1 else str(value)


def _if_set(value: Any, _resources: Resources) -> Text:
    """0 means "not set" in the runtime-spec."""
    return str(value) if value else None


def _flag(value: Any, _resources: Resources) -> Text:
    return "1" if value else None


def shares_to_weight(shares: int) -> int:
    """Map v1 cpu.shares (2..262144, default 1024) to v2 cpu.weight (1..10000, default 100).

    A quadratic in log2(shares) through (2, 1), (1024, 100) and (262144, 10000); 0 means "not set" and
    stays 0. Source: opencontainers/cgroups, ConvertCPUSharesToCgroupV2Value since 2025.
    """
    if shares <= 0:
        return 0
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    power = math.log2(shares)
    return math.ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34))


def blkio_to_io_weight(weight: int) -> int:
    """Map v1 blkio.weight (10..1000) to v2 io.weight (1..10000); 0 stays 0."""
    return 1 + (weight - 10) * 9999 // 990 if weight else 0


def _weight(value: Any, _resources: Resources) -> Text:
    weight = shares_to_weight(value)
    return str(weight) if weight else None


def _io_weight(value: Any, _resources: Resources) -> Text:
    weight = blkio_to_io_weight(value)
    return f"default {weight}" if weight else None


def _cpu_max(_value: Any, resources: Resources) -> Text:
    cpu = resources["cpu"]
    quota, period = cpu.get("quota"), cpu.get("period") or 100000
    return f"{quota if quota and quota > 0 else 'max'} {period}"


def _swap_difference(swap: Any, resources: Resources) -> Text:
    """The runtime-spec counts memory and swap together; v2 wants swap alone."""
    limit = resources["memory"].get("limit") or 0
    if swap == -1:
        return "max"
    if not swap:
        return None
    if limit <= 0:
        raise InvalidOption(
            f"linux.resources.memory.swap is {swap} without a memory limit; set the limit too"
        )
    if swap < limit:
        raise InvalidOption(
            f"linux.resources.memory.swap {swap} is below the memory limit {limit}; it counts both"
        )
    return str(swap - limit)


def _v2_memory(limit: Any, _resources: Resources) -> Text:
    return ("max" if limit < 0 else str(limit)) if limit else None


def _per_device(field: str) -> Callable[[Any, Resources], Text]:
    def encode(devices: Any, _resources: Resources) -> Text:
        return [
            f"{item['major']}:{item['minor']} {item[field]}"
            for item in devices
            if item.get(field) is not None
        ]

    return encode


def _io_max(name: str) -> Callable[[Any, Resources], Text]:
    def encode(devices: Any, _resources: Resources) -> Text:
        return [f"{item['major']}:{item['minor']} {name}={item['rate'] or 'max'}" for item in devices]

    return encode


_THROTTLES = (
    ("throttleReadBpsDevice", "read_bps", "rbps"),
    ("throttleWriteBpsDevice", "write_bps", "wbps"),
    ("throttleReadIOPSDevice", "read_iops", "riops"),
    ("throttleWriteIOPSDevice", "write_iops", "wiops"),
)

V1: Mapping[str, tuple[Knob, ...]] = {
    "memory": (
        Knob("memory.limit_in_bytes", "memory.limit", _if_set),
        # Memory first: a new cgroup has no limits, and the kernel wants memory <= memory and swap.
        Knob("memory.memsw.limit_in_bytes", "memory.swap", _if_set),
        Knob("memory.soft_limit_in_bytes", "memory.reservation", _if_set),
        Knob("memory.swappiness", "memory.swappiness", _number),
        Knob("memory.oom_control", "memory.disableOOMKiller", _flag),
    ),
    "cpu": (
        Knob("cpu.shares", "cpu.shares", _if_set),
        Knob("cpu.idle", "cpu.idle", _if_set),
        Knob("cpu.cfs_period_us", "cpu.period", _if_set),
        Knob("cpu.cfs_quota_us", "cpu.quota", _if_set),
        Knob("cpu.cfs_burst_us", "cpu.burst", _if_set),
        Knob("cpu.rt_period_us", "cpu.realtimePeriod", _if_set),
        Knob("cpu.rt_runtime_us", "cpu.realtimeRuntime", _if_set),
    ),
    "cpuset": (
        Knob("cpuset.cpus", "cpu.cpus", _if_set),
        Knob("cpuset.mems", "cpu.mems", _if_set),
    ),
    "pids": (Knob("pids.max", "pids.limit", _number_or_max),),
    "blkio": (
        Knob("blkio.weight", "blockIO.weight", _if_set),
        Knob("blkio.weight_device", "blockIO.weightDevice", _per_device("weight")),
        *(
            Knob(f"blkio.throttle.{file}_device", f"blockIO.{key}", _per_device("rate"))
            for key, file, _ in _THROTTLES
        ),
    ),
}

V2: Mapping[str, tuple[Knob, ...]] = {
    "memory": (
        Knob("memory.swap.max", "memory.swap", _swap_difference),
        Knob("memory.max", "memory.limit", _v2_memory),
        Knob("memory.low", "memory.reservation", _if_set),
    ),
    "cpu": (
        Knob("cpu.weight", "cpu.shares", _weight),
        Knob("cpu.idle", "cpu.idle", _if_set),
        Knob("cpu.max", "cpu.quota", _cpu_max),
        Knob("cpu.max.burst", "cpu.burst", _if_set),
    ),
    "cpuset": V1["cpuset"],
    "pids": V1["pids"],
    "io": (
        Knob("io.weight", "blockIO.weight", _io_weight),
        *(Knob("io.max", f"blockIO.{key}", _io_max(name)) for key, _, name in _THROTTLES),
    ),
}

V1_ONLY = {
    "memory.swappiness": "memory_swappiness",
    "memory.disableOOMKiller": "oom_kill_disable",
    "cpu.realtimePeriod": "cpu_rt_period",
    "cpu.realtimeRuntime": "cpu_rt_runtime",
}
"""Limits that version 2 has no file for, by path, with the option that sets them."""
