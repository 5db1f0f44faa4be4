"""The OCI runtime-spec as data: the Linux part that this engine writes and reads.

Every property without an attribute here survives in `extra`, so a document of another engine round-trips.
None and empty collections are left out of the JSON, as the specification's "omitempty" asks.
Each model is loaded when it is first used.
Source: opencontainers/runtime-spec 1.3, config.md and config-linux.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycontainer.frontdoor import opened

if TYPE_CHECKING:
    from pycontainer.oci.runtime.blockio import BlockIO, ThrottleDevice, WeightDevice
    from pycontainer.oci.runtime.devices import Device
    from pycontainer.oci.runtime.limits import Cpu, HugepageLimit, Memory, Pids, Rlimit
    from pycontainer.oci.runtime.mappings import IdMapping
    from pycontainer.oci.runtime.model import Model
    from pycontainer.oci.runtime.process import Capabilities, Process, User
    from pycontainer.oci.runtime.resources import DeviceRule, Resources
    from pycontainer.oci.runtime.seccomp import Seccomp, SeccompArg, SeccompRule
    from pycontainer.oci.runtime.spec import VERSION, Linux, Mount, Namespace, Root, Spec

__all__ = [
    "BlockIO",
    "Capabilities",
    "Cpu",
    "Device",
    "DeviceRule",
    "HugepageLimit",
    "IdMapping",
    "Linux",
    "Memory",
    "Model",
    "Mount",
    "Namespace",
    "Pids",
    "Process",
    "Resources",
    "Rlimit",
    "Root",
    "Seccomp",
    "SeccompArg",
    "SeccompRule",
    "Spec",
    "ThrottleDevice",
    "User",
    "VERSION",
    "WeightDevice",
]

_HOMES = {
    "BlockIO": "blockio",
    "Capabilities": "process",
    "Cpu": "limits",
    "Device": "devices",
    "DeviceRule": "resources",
    "HugepageLimit": "limits",
    "IdMapping": "mappings",
    "Linux": "spec",
    "Memory": "limits",
    "Model": "model",
    "Mount": "spec",
    "Namespace": "spec",
    "Pids": "limits",
    "Process": "process",
    "Resources": "resources",
    "Rlimit": "limits",
    "Root": "spec",
    "Seccomp": "seccomp",
    "SeccompArg": "seccomp",
    "SeccompRule": "seccomp",
    "Spec": "spec",
    "ThrottleDevice": "blockio",
    "User": "process",
    "VERSION": "spec",
    "WeightDevice": "blockio",
}


def __getattr__(name: str) -> object:
    return opened(__name__, _HOMES, name)
