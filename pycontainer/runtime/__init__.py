"""Policy: what a container is allowed and limited to, worked out as data for the launcher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycontainer.frontdoor import opened

if TYPE_CHECKING:
    from pycontainer.runtime import cgroups, lifecycle, seccomp
    from pycontainer.runtime.hostfacts import HostFacts, time_zone
    from pycontainer.runtime.lifecycle import State, after
    from pycontainer.runtime.resources import plan_cgroups
    from pycontainer.runtime.security import seccomp_program
    from pycontainer.runtime.specgen import Identity, build_spec, identity, stop_signal, volumes
    from pycontainer.runtime.validate import check_spec

__all__ = [
    "HostFacts",
    "Identity",
    "State",
    "after",
    "build_spec",
    "cgroups",
    "check_spec",
    "identity",
    "lifecycle",
    "plan_cgroups",
    "seccomp",
    "seccomp_program",
    "stop_signal",
    "time_zone",
    "volumes",
]

_HOMES = {
    "HostFacts": "hostfacts",
    "Identity": "specgen",
    "State": "lifecycle",
    "after": "lifecycle",
    "build_spec": "specgen",
    "cgroups": "",
    "check_spec": "validate",
    "identity": "specgen",
    "lifecycle": "",
    "plan_cgroups": "resources",
    "seccomp": "",
    "seccomp_program": "security",
    "stop_signal": "specgen",
    "time_zone": "hostfacts",
    "volumes": "specgen",
}


def __getattr__(name: str) -> object:
    return opened(__name__, _HOMES, name)
