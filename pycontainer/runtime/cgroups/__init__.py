"""Control groups: which the host has, what a container's limits become, and how they are used afterwards."""

from pycontainer.runtime.cgroups.changes import changes
from pycontainer.runtime.cgroups.counters import counters, path_of, processes
from pycontainer.runtime.cgroups.detect import CgroupLayout, detect
from pycontainer.runtime.cgroups.plan import CgroupPlan, Freeze, plan
from pycontainer.runtime.cgroups.sweep import leftovers, sweep
from pycontainer.runtime.cgroups.systemd import limits as systemd_limits
from pycontainer.runtime.cgroups.systemd import scope_plan

__all__ = [
    "CgroupLayout",
    "CgroupPlan",
    "Freeze",
    "changes",
    "counters",
    "detect",
    "leftovers",
    "path_of",
    "plan",
    "processes",
    "scope_plan",
    "sweep",
    "systemd_limits",
]
