"""Control groups: which the host has, what a container's limits become, and how they are used afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycontainer.frontdoor import opened

if TYPE_CHECKING:
    from pycontainer.runtime.cgroups.changing import changes
    from pycontainer.runtime.cgroups.counting import counters, path_of, processes
    from pycontainer.runtime.cgroups.detection import CgroupLayout, detect
    from pycontainer.runtime.cgroups.devices import USUAL as USUAL_DEVICES
    from pycontainer.runtime.cgroups.planning import CgroupPlan, Freeze, is_scope, plan
    from pycontainer.runtime.cgroups.sweeping import homes, leftovers, sweep
    from pycontainer.runtime.cgroups.systemd import (
        DEFAULT_SLICE,
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

_HOMES = {
    "CgroupLayout": "detection",
    "CgroupPlan": "planning",
    "DEFAULT_SLICE": "systemd",
    "Freeze": "planning",
    "USUAL_DEVICES": "devices:USUAL",
    "changes": "changing",
    "counters": "counting",
    "detect": "detection",
    "homes": "sweeping",
    "is_scope": "planning",
    "leftovers": "sweeping",
    "path_of": "counting",
    "place_of": "systemd",
    "plan": "planning",
    "processes": "counting",
    "refuse_without": "systemd",
    "scope_plan": "systemd",
    "scope_prefix": "systemd",
    "sweep": "sweeping",
    "systemd_limit_changes": "systemd:limit_changes",
    "systemd_limits": "systemd:limits",
}


def __getattr__(name: str) -> object:
    return opened(__name__, _HOMES, name)
