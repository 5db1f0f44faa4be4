"""Control groups: which the host has, what a container's limits become, and how they are used afterwards."""

from pycontainer.runtime.cgroups.changes import changes
from pycontainer.runtime.cgroups.counters import counters, path_of, processes
from pycontainer.runtime.cgroups.detect import CgroupLayout, detect
from pycontainer.runtime.cgroups.devices import USUAL as USUAL_DEVICES
from pycontainer.runtime.cgroups.plan import CgroupPlan, Freeze, plan
from pycontainer.runtime.cgroups.sweep import homes, leftovers, sweep
from pycontainer.runtime.cgroups.systemd import (
    DEFAULT_SLICE,
    is_scope,
    place_of,
    refuse_without,
    scope_plan,
    scope_prefix,
)
from pycontainer.runtime.cgroups.systemd import limit_changes as systemd_limit_changes
from pycontainer.runtime.cgroups.systemd import limits as systemd_limits

__all__ = [
    "DEFAULT_SLICE",
    "USUAL_DEVICES",
    "CgroupLayout",
    "CgroupPlan",
    "Freeze",
    "changes",
    "counters",
    "detect",
    "homes",
    "is_scope",
    "leftovers",
    "path_of",
    "place_of",
    "plan",
    "processes",
    "refuse_without",
    "scope_plan",
    "scope_prefix",
    "sweep",
    "systemd_limit_changes",
    "systemd_limits",
]
