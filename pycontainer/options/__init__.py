"""Container options: each declared once in `run`, parsed and described by `derive`.

Patterns are text, which `re` compiles for the option that is given: all would take 10 ms of each command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycontainer.frontdoor import opened

if TYPE_CHECKING:
    from pycontainer.options.derive import OPTIONS, dump_run_options, parse_run_options, reference_table
    from pycontainer.options.egress import split_allowed
    from pycontainer.options.field import OptionInfo
    from pycontainer.options.given import given_seconds, given_signal, given_size
    from pycontainer.options.kinds import shared_with
    from pycontainer.options.logs import LOG_DRIVERS, LogOptions
    from pycontainer.options.mounts import MountPoint
    from pycontainer.options.naming import HOST_GATEWAY, split_link
    from pycontainer.options.network import (
        DEFAULT_NETWORK,
        Place,
        is_network,
        parse_network_name,
        parse_place,
        places,
    )
    from pycontainer.options.policies import HealthOptions, Requirement, RestartPolicy
    from pycontainer.options.ports import LOOPBACK, PortMapping, split_port
    from pycontainer.options.run import RunOptions
    from pycontainer.options.units import parse_cpus, parse_duration, parse_seconds, parse_signal, parse_size
    from pycontainer.options.volumes import parse_volume_name, split_volumes_from

__all__ = [
    "DEFAULT_NETWORK",
    "HOST_GATEWAY",
    "HealthOptions",
    "LOG_DRIVERS",
    "LOOPBACK",
    "LogOptions",
    "MountPoint",
    "OPTIONS",
    "OptionInfo",
    "Place",
    "PortMapping",
    "Requirement",
    "RestartPolicy",
    "RunOptions",
    "dump_run_options",
    "given_seconds",
    "given_signal",
    "given_size",
    "is_network",
    "parse_cpus",
    "parse_duration",
    "parse_network_name",
    "parse_place",
    "parse_run_options",
    "parse_seconds",
    "parse_signal",
    "parse_size",
    "parse_volume_name",
    "places",
    "reference_table",
    "shared_with",
    "split_allowed",
    "split_link",
    "split_port",
    "split_volumes_from",
]

_HOMES = {
    "DEFAULT_NETWORK": "network",
    "HOST_GATEWAY": "naming",
    "HealthOptions": "policies",
    "LOG_DRIVERS": "logs",
    "LOOPBACK": "ports",
    "LogOptions": "logs",
    "MountPoint": "mounts",
    "OPTIONS": "derive",
    "OptionInfo": "field",
    "Place": "network",
    "PortMapping": "ports",
    "Requirement": "policies",
    "RestartPolicy": "policies",
    "RunOptions": "run",
    "dump_run_options": "derive",
    "given_seconds": "given",
    "given_signal": "given",
    "given_size": "given",
    "is_network": "network",
    "parse_cpus": "units",
    "parse_duration": "units",
    "parse_network_name": "network",
    "parse_place": "network",
    "parse_run_options": "derive",
    "parse_seconds": "units",
    "parse_signal": "units",
    "parse_size": "units",
    "parse_volume_name": "volumes",
    "places": "network",
    "reference_table": "derive",
    "shared_with": "kinds",
    "split_allowed": "egress",
    "split_link": "naming",
    "split_port": "ports",
    "split_volumes_from": "volumes",
}


def __getattr__(name: str) -> object:
    return opened(__name__, _HOMES, name)
