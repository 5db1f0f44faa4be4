"""Control groups: which the host has, what a container's limits become, and how they are used afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    "USUAL_DEVICES": "devices",
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
    "systemd_limit_changes": "systemd",
    "systemd_limits": "systemd",
}
_NAMES = {"USUAL_DEVICES": "USUAL", "systemd_limit_changes": "limit_changes", "systemd_limits": "limits"}
"""Where a name is another one at home."""


def __getattr__(name: str) -> object:
    from importlib import import_module

    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{home}"), _NAMES.get(name, name))
    globals()[name] = value
    return value
