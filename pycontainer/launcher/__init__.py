"""The helper process, its jobs, and the caller's client of it. Standard library only.

Names load on first use, so that the helper does not import the caller's side.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.launcher import cgroup as cgroup
    from pycontainer.launcher import control as control
    from pycontainer.launcher import dns as dns
    from pycontainer.launcher import execrecords as execrecords
    from pycontainer.launcher import freezer as freezer
    from pycontainer.launcher import healthrecord as healthrecord
    from pycontainer.launcher import held as held
    from pycontainer.launcher import hooks as hooks
    from pycontainer.launcher import joining as joining
    from pycontainer.launcher import limits as limits
    from pycontainer.launcher import mountoptions as mountoptions
    from pycontainer.launcher import pty as pty
    from pycontainer.launcher import scheduling as scheduling
    from pycontainer.launcher import scopes as scopes
    from pycontainer.launcher import sealed as sealed
    from pycontainer.launcher import status as status
    from pycontainer.launcher.client import Helper, Job
    from pycontainer.launcher.control import ask
    from pycontainer.launcher.protocol import Channel

__all__ = [
    "Channel",
    "Helper",
    "Job",
    "ask",
    "cgroup",
    "control",
    "dns",
    "execrecords",
    "frames",
    "freezer",
    "healthrecord",
    "held",
    "hooks",
    "joining",
    "limits",
    "mountoptions",
    "pty",
    "scheduling",
    "scopes",
    "sealed",
    "status",
]

_MODULES = frozenset(
    (
        *("cgroup", "control", "dns", "execrecords", "frames", "freezer", "healthrecord"),
        *(
            "held",
            "hooks",
            "joining",
            "limits",
            "mountoptions",
            "pty",
            "scheduling",
            "scopes",
            "sealed",
            "status",
        ),
    )
)


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in ("Helper", "Job"):
        return getattr(import_module("pycontainer.launcher.client"), name)
    if name == "ask":
        return import_module("pycontainer.launcher.control").ask
    if name == "Channel":
        return import_module("pycontainer.launcher.protocol").Channel
    if name in _MODULES:
        return import_module(f"pycontainer.launcher.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
