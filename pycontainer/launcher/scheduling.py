"""Processors, memory and policies that a process is scheduled by, as the runtime-spec writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pycontainer import errors

__all__ = ["MEMORY_FLAGS", "MEMORY_MODES", "attributes", "cpu_list", "memory_policy"]

_MAX_CPUS = 8192  # CONFIG_NR_CPUS of the largest kernels
_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 1,
    "SCHED_FLAG_RECLAIM": 2,
    "SCHED_FLAG_DL_OVERRUN": 4,
    "SCHED_FLAG_KEEP_POLICY": 8,
    "SCHED_FLAG_KEEP_PARAMS": 16,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 32,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 64,
}
"""Source: sched_setattr(2); linux/sched.h."""


_MAX_NODES = 1024  # MAX_NUMNODES of the largest kernels
MEMORY_MODES = {
    f"MPOL_{name}": number
    for number, name in enumerate(
        ("DEFAULT", "PREFERRED", "BIND", "INTERLEAVE", "LOCAL", "PREFERRED_MANY", "WEIGHTED_INTERLEAVE")
    )
}
MEMORY_FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}
"""Source: set_mempolicy(2); linux/mempolicy.h."""


def cpu_list(text: str) -> tuple[int, ...]:
    """The processors that a list as "0-2,4" names. Raises InvalidInput."""
    return _number_list(text, "processors", _MAX_CPUS)


def _number_list(text: str, what: str, limit: int) -> tuple[int, ...]:
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        ends = (first, last or first)
        if not all(end.isascii() and end.isdigit() and int(end[:5]) < limit for end in ends):
            raise errors.InvalidInput(f"the list of {what} {text!r} is not of the form 0-2,4")
        found += range(int(ends[0]), int(ends[1]) + 1)
    return tuple(found)


def attributes(described: Mapping[str, Any]) -> tuple[int, ...]:
    """The arguments of steps.scheduling.set_scheduler for a process.scheduler. Raises InvalidInput."""
    names = ("OTHER", "FIFO", "RR", "BATCH", "ISO", "IDLE", "DEADLINE")
    policies = {f"SCHED_{name}": number for number, name in enumerate(names)}
    flags = 0
    for flag in described.get("flags") or ():
        if flag not in _FLAGS:
            raise errors.InvalidInput(f"process.scheduler.flags has {flag!r}; there are {tuple(_FLAGS)}")
        flags |= _FLAGS[flag]
    policy = policies.get(described["policy"])
    if policy is None:
        raise errors.InvalidInput(
            f"process.scheduler.policy {described['policy']!r} is not known; there are {tuple(policies)}"
        )
    times = (described.get(name) or 0 for name in ("runtime", "deadline", "period"))
    return (policy, flags, described.get("nice") or 0, described.get("priority") or 0, *times)


def memory_policy(described: Mapping[str, Any]) -> tuple[int, tuple[int, ...]]:
    """Mode with its flags, and nodes, of a linux.memoryPolicy. Raises InvalidInput."""
    mode = MEMORY_MODES.get(described["mode"])
    if mode is None:
        raise errors.InvalidInput(
            f"linux.memoryPolicy.mode {described['mode']!r} is not known; there are {', '.join(MEMORY_MODES)}"
        )
    for flag in described.get("flags") or ():
        if flag not in MEMORY_FLAGS:
            raise errors.InvalidInput(
                f"linux.memoryPolicy.flags has {flag!r}; there are {', '.join(MEMORY_FLAGS)}"
            )
        mode |= MEMORY_FLAGS[flag]
    nodes = described.get("nodes") or ""
    return mode, _number_list(nodes, "nodes in linux.memoryPolicy", _MAX_NODES) if nodes else ()
