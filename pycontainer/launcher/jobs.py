"""What the helper can be asked to do.

PLAIN jobs take (params, descriptors, report) and return their result; they end when the caller goes.
LIVING jobs take (params, descriptors, channel, what was made ahead, who can take over) and decide
themselves how long they live; keep is being the latter. PARENTS take (params, descriptors, channel) and live
as long as the one process they start. JOINING take these and goes_on, which they call when what they do takes
time, so that there is a process for the next one; they return whether their own may have it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pycontainer.launcher import building, execs, files, monitor, netjobs, probing, sizes, trees, volumejobs
from pycontainer.launcher.ahead import Ahead
from pycontainer.launcher.monitor.keeping import Keeper
from pycontainer.launcher.protocol import Channel
from pycontainer.layers import JOBS

Report = Callable[[dict[str, Any]], None]
PlainJob = Callable[[dict[str, Any], list[int], Report], dict[str, Any]]
ParentJob = Callable[[dict[str, Any], list[int], Channel], None]
JoiningJob = Callable[[dict[str, Any], list[int], Channel, Callable[[], None]], bool]
LivingJob = Callable[[dict[str, Any], list[int], Channel, Ahead, Keeper], None]

PLAIN: dict[str, PlainJob] = {
    **JOBS,
    "measure": sizes.measure,
    **files.JOBS,
    **building.JOBS,
    "probe": probing.probe,
    "open_sockets": netjobs.open_sockets,
    "open_names": netjobs.open_names,
    "open_route": netjobs.open_route,
    "set_links": netjobs.set_links,
    "make_network": netjobs.make_network,
    "fill_volume": volumejobs.fill_volume,
    "kill_exec": execs.kill,
    "sweep_execs": execs.sweep,
    "remove_tree": trees.remove_tree,
    "syncfs": trees.syncfs,
}
PARENTS: dict[str, ParentJob] = {**files.PARENTS}
JOINING: dict[str, JoiningJob] = {"exec": execs.run}
warm: Callable[[], None] = execs.warm
"""Makes a process ready that is forked ahead for one of these."""
LIVING: dict[str, LivingJob] = {"launch": monitor.launch}
keep: Callable[[Channel, Callable[[Keeper], None]], None] = monitor.keep
