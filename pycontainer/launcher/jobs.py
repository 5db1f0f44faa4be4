"""What the helper can be asked to do, and where that is.

PLAIN jobs take (params, descriptors, report) and return their result; they end when the caller goes.
LIVING jobs take (params, descriptors, channel, what was made ahead, who can take over) and decide
themselves how long they live; keep is being the latter. TALKING take (params, descriptors, channel) and live
as long as the one process they start, or as the caller listens. JOINING take these and goes_on, which they
call when what they do takes time, so that there is a process for the next one; they return whether their own
may have it.

The helper imports what the launch of a container needs before it says that it is ready, and the rest when it
is first asked for it, itself: its children, some of which cannot import any more, find all of theirs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from pycontainer.launcher import monitor
from pycontainer.launcher.ahead import Ahead
from pycontainer.launcher.monitor.keeping import Keeper
from pycontainer.launcher.protocol import Channel

__all__ = ["LIVING", "TALKING", "find", "keep", "load", "warm"]

LivingJob = Callable[[dict[str, Any], list[int], Channel, Ahead, Keeper], None]

PLAIN = {
    "build_checksum": "launcher.building.checksum:checksum",
    "build_copy": "launcher.building.copying:copy",
    "build_directory": "launcher.building.directories:make_directory",
    "build_export": "launcher.building.exporting:export",
    "build_layer": "launcher.building.sealing:seal",
    "build_locate": "launcher.building.directories:locate",
    "build_missing": "launcher.building.directories:missing",
    "apply": "launcher.files.applying:apply",
    "compare": "launcher.files.comparing:compare",
    "copy_in": "launcher.files.copying:copy_in",
    "copy_out": "launcher.files.copying:copy_out",
    "export": "launcher.files.copying:export",
    "files": "launcher.files.verbs:access",
    "diff": "layers.jobs:diff",
    "unpack": "layers.jobs:unpack",
    "unpack_stacked": "layers.jobs:unpack_stacked",
    "fill_volume": "launcher.volumejobs:fill_volume",
    "kill_exec": "launcher.execs:kill",
    "make_network": "launcher.netjobs:make_network",
    "measure": "launcher.sizes:measure",
    "open_names": "launcher.netjobs:open_names",
    "open_route": "launcher.netjobs:open_route",
    "open_sockets": "launcher.netjobs:open_sockets",
    "own_tree": "launcher.volumejobs:own_tree",
    "probe": "launcher.probing:probe",
    "remove_tree": "launcher.trees:remove_tree",
    "set_links": "launcher.netjobs:set_links",
    "sweep_execs": "launcher.execs:sweep",
    "syncfs": "launcher.trees:syncfs",
}
TALKING = {
    "commit_layer": "launcher.files.committing:commit_layer",
    "make_networks": "launcher.netjobs:make_networks",
}
JOINING = {"exec": "launcher.execs:run"}
LIVING: dict[str, LivingJob] = {"launch": monitor.launch}
keep: Callable[[Channel, Callable[[Keeper], None]], None] = monitor.keep

_LATER: Mapping[str, str] = {**PLAIN, **TALKING, **JOINING}


def load(name: str) -> bool:
    """Import what the job of this name needs; whether that was still to be done."""
    module = f"pycontainer.{_LATER.get(name, '').partition(':')[0]}"
    if name not in _LATER or module in sys.modules:
        return False
    import_module(module)
    return True


def find(name: str) -> Callable[..., Any]:
    """What does the job of this name, which is in PLAIN, TALKING or JOINING and was loaded."""
    return _at(_LATER[name])


def warm() -> None:
    """Make a process ready that is forked ahead for a JOINING job, of which there was one."""
    _at("launcher.execs:warm")()


def _at(place: str) -> Callable[..., Any]:
    module, _, attribute = place.partition(":")
    found: Callable[..., Any] = getattr(import_module(f"pycontainer.{module}"), attribute)
    return found
