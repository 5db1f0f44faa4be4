"""On which processors and in which memory, and by which policies, the program runs."""

from __future__ import annotations

import errno
import os
import struct

from pycontainer.kernel import syscalls
from pycontainer.launcher.steps.context import Context, Refused

_MAX_CPUS = 8192  # CONFIG_NR_CPUS of the largest kernels
_SYS_SCHED_SETATTR = 314 if syscalls.IS_X86_64 else 274
_SYS_SET_MEMPOLICY = 238 if syscalls.IS_X86_64 else 237
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")
"""The first version of struct sched_attr, which every kernel takes (linux/sched/types.h)."""


def set_affinity(context: Context, cpus: tuple[int, ...] | None) -> None:
    """Run on these processors; None is every one that the cgroup allows."""
    try:
        os.sched_setaffinity(0, range(_MAX_CPUS) if cpus is None else cpus)
    except OSError as error:
        if cpus is not None:
            raise Refused(f"execCPUAffinity: {error.strerror}; name processors that its cgroup has") from None


def set_scheduler(
    context: Context,
    policy: int,
    flags: int,
    nice: int,
    priority: int,
    runtime: int,
    deadline: int,
    period: int,
) -> None:
    """Set the scheduling policy and its parameters (sched_setattr(2)); times in nanoseconds."""
    attributes = _SCHED_ATTR.pack(_SCHED_ATTR.size, policy, flags, nice, priority, runtime, deadline, period)
    try:
        syscalls.raw(_SYS_SCHED_SETATTR, 0, attributes, 0)
    except OSError as error:
        # The kernel wants deadlines on every processor, and says so with a word that helps nobody.
        if error.errno == errno.EPERM:
            raise Refused(
                "process scheduler can't be used together with AllowedCPUs, nor without CAP_SYS_NICE"
            ) from None
        raise


def set_memory_policy(context: Context, mode: int, nodes: tuple[int, ...]) -> None:
    """Set from which nodes the memory of the process and its children comes (set_mempolicy(2))."""
    mask = sum(1 << node for node in set(nodes))
    size = (mask.bit_length() + 63) // 64 * 8
    try:
        # The kernel reads one bit less than it is told of.
        syscalls.raw(_SYS_SET_MEMPOLICY, mode, mask.to_bytes(size, "little") if size else None, size * 8 + 1)
    except OSError as error:
        raise Refused(
            f"linux.memoryPolicy: {error.strerror}; give nodes that are there, and flags the mode has"
        ) from None
