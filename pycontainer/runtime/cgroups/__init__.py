"""Control groups: which the host has, what a container's limits become, and how they are used afterwards."""

from pycontainer.runtime.cgroups.actions import (
    apply,
    freeze,
    join,
    kill,
    pids,
    read_key,
    remove,
    thaw,
    usage,
    write,
)
from pycontainer.runtime.cgroups.changes import changes
from pycontainer.runtime.cgroups.counters import counters, path_of, processes
from pycontainer.runtime.cgroups.detect import CgroupLayout, detect
from pycontainer.runtime.cgroups.plan import CgroupPlan, Freeze, plan
from pycontainer.runtime.cgroups.sweep import leftovers, sweep

__all__ = [
    "CgroupLayout",
    "CgroupPlan",
    "Freeze",
    "apply",
    "changes",
    "counters",
    "detect",
    "freeze",
    "join",
    "kill",
    "leftovers",
    "path_of",
    "pids",
    "plan",
    "processes",
    "read_key",
    "remove",
    "sweep",
    "thaw",
    "usage",
    "write",
]
