"""What a monitor does when its container's options change: the limits now, and for every start to come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycontainer import errors
from pycontainer.launcher import limits, scopes
from pycontainer.launcher.monitor import restarting

if TYPE_CHECKING:
    from pycontainer.launcher.monitor.control import Client
    from pycontainer.launcher.monitor.core import Monitor

__all__ = ["OPS"]


def _update(monitor: Monitor, client: Client, request: dict[str, Any]) -> dict[str, Any]:
    """Change the limits, request["changes"], and take request["cgroup"] for the plan from now on.

    request["restart"] is another restart policy. request["properties"] is what systemd is told if it made the
    cgroups, request["properties_before"] what takes that back. Each may be missing. Answers when the kernel
    has taken all of it; raises KernelError when not, LaunchError when systemd refuses.
    """
    changes, plan = request.get("changes"), request.get("cgroup")
    if changes and monitor.cgroup and not monitor.is_between:
        properties = request.get("properties") or ()
        # systemd first: it writes what it knows, and the files have the last word (rounding is its own).
        scopes.change(monitor.cgroup, properties)
        try:
            limits.change(monitor.cgroup, changes)
        except errors.PycontainerError as error:
            try:
                scopes.change(monitor.cgroup, request.get("properties_before") or ())
            except errors.LaunchError as second:
                error.add_note(f"and systemd keeps the new limits: {second}")
            raise
    if plan:
        # What was made for limits that are no more stays until the end, and is ours to remove then.
        kept = {name: list(monitor.cgroup.get(name) or ()) for name in ("dirs", "own", "procs", "view")}
        monitor.cgroup.clear()
        monitor.cgroup.update(plan)
        for name, before in kept.items():
            known = monitor.cgroup[name]
            monitor.cgroup[name] = [*known, *(entry for entry in before if entry not in known)]
    if request.get("restart"):
        restarting.change(monitor, request["restart"])
    return {}


OPS = {"update": _update}
