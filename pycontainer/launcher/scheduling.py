"""Processors and policies that a process is scheduled by, as the runtime-spec writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pycontainer import errors

__all__ = ["attributes", "cpu_list"]

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


def cpu_list(text: str) -> tuple[int, ...]:
    """The processors that a list as "0-2,4" names. Raises InvalidInput."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        ends = (first, last or first)
        if not all(end.isascii() and end.isdigit() and int(end[:5]) < _MAX_CPUS for end in ends):
            raise errors.InvalidInput(f"the list of processors {text!r} is not of the form 0-2,4")
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
