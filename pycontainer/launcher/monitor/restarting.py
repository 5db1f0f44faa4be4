"""Starting a container again when it has ended: Docker's restart policies, and the wait between two runs.

The policy is a value that is asked once at the end of each run; the monitor then tears the run down as it
always does, waits on its loop, and starts anew with the same request: fresh namespaces, cgroups and mounts
over the same writable layer. While it waits the state is "restarting". Whoever stops the container says so
here first, before any signal; that beats the policy, whenever it comes.

Source: moby, restartmanager/restartmanager.go; daemon/monitor.go, handleContainerExit.
"""

from __future__ import annotations

import marshal
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pycontainer import errors
from pycontainer.checkpoints import reached
from pycontainer.launcher.monitor import starting

if TYPE_CHECKING:
    from pycontainer.launcher.monitor.control import Client
    from pycontainer.launcher.monitor.core import Monitor

__all__ = ["OPS", "Policy", "begin_again", "change", "decide"]

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 60.0
_STABLE_S = 10.0
"""A run of this length, however it ended, makes the next delay the first again."""


class Policy:
    """When to start again, and after how long.

    described: {"name": "no", "always", "unless-stopped" or "on-failure", "max_retries": 0 for no limit,
    "when_unhealthy": whether a run that was ended for its health is followed by another one}.
    """

    __slots__ = ("count", "delay_s", "is_unhealthy", "max_retries", "name", "when_unhealthy")

    def __init__(self, described: Mapping[str, Any]) -> None:
        self.count: int = 0
        """How often it was started again since it was started by somebody."""
        self.delay_s: float = 0.0
        self.when_unhealthy: bool = bool(described.get("when_unhealthy"))
        self.is_unhealthy: bool = False
        """Whether this run is being ended for its health."""
        self.set(described)

    def set(self, described: Mapping[str, Any]) -> None:
        """Have another policy; counts and delays go on."""
        self.name: str = described["name"]
        self.max_retries: int = described.get("max_retries") or 0

    @property
    def shown(self) -> str:
        """What the record says: who stops the container has to tell the monitor unless it is "no"."""
        return "when-unhealthy" if self.name == "no" and self.when_unhealthy else self.name

    def allows(self, exit_code: int) -> bool:
        """Whether a run that ended so is followed by another one."""
        if self.is_unhealthy and self.when_unhealthy:
            return True
        if self.name == "on-failure":
            return exit_code != 0 and (not self.max_retries or self.count < self.max_retries)
        return self.name in ("always", "unless-stopped")

    def again(self, exit_code: int, ran_s: float) -> bool:
        """Take note of the end of a run; whether it is to be started again, when `delay_s` has passed."""
        if ran_s >= _STABLE_S:
            self.delay_s = 0.0
        self.delay_s = min(self.delay_s * 2 or _FIRST_DELAY_S, _LONGEST_DELAY_S)
        is_allowed = self.allows(exit_code)
        self.is_unhealthy = False
        if not is_allowed:
            return False
        self.count += 1
        return True


def decide(monitor: Monitor, exit_code: int, ended_ns: int) -> bool:
    """At the end of a run: whether another one follows."""
    policy = monitor.policy
    if policy is None or monitor.is_halted:
        return False
    return policy.again(exit_code, max(0, ended_ns - monitor.fields["started_at_ns"]) / 1e9)


def begin_again(monitor: Monitor) -> bool:
    """Wait, and start; False when somebody has stopped the container meanwhile, or it cannot be started.

    The record of its end is written then.
    """
    policy = monitor.policy
    assert policy is not None
    monitor.forget_process()
    monitor.is_between = True
    monitor.is_hurried = False
    reached("restart.wait.begun")
    due = monitor.loop.at(time.monotonic() + policy.delay_s, monitor.hurry)
    monitor.watch_caller()
    monitor.loop.run_until(lambda: monitor.is_hurried or monitor.is_halted)
    monitor.loop.cancel(due)
    problem: BaseException | None = None
    if not monitor.is_halted:
        reached("restart.wait.over")
        if monitor.packed_spec:
            monitor.params["spec"] = marshal.loads(monitor.packed_spec)
        try:
            starting.start(monitor)
            monitor.is_between = False
            reached("restart.run.begun")
            return True
        except BaseException as error:  # the edge of the process: the record is all who is left to tell
            problem = error
            monitor.undo_start()
    _stay_ended(monitor, None if monitor.is_halted else problem)
    return False


def _stay_ended(monitor: Monitor, problem: BaseException | None) -> None:
    """There is no further run: what the last one left is how the container ended, or why it cannot start."""
    monitor.fields.update(state="exited")
    if problem is not None:
        code = problem.exit_code if isinstance(problem, errors.LaunchError) else 125
        monitor.fields.update(exit_code=code, error=str(problem), finished_at_ns=time.time_ns())
    monitor.leave_networks()
    monitor.write_status()


def change(monitor: Monitor, described: Mapping[str, Any]) -> None:
    """Have another policy from now on; one that would not start again ends the wait."""
    if monitor.policy is None:
        monitor.policy = Policy(described)
    else:
        monitor.policy.set(described)
    monitor.note(restart=monitor.policy.shown)
    if monitor.is_between and monitor.pid < 0 and described["name"] == "no":
        monitor.halt()


def _halt(monitor: Monitor, client: Client, request: dict[str, Any]) -> dict[str, Any]:
    """Do not start again: somebody stops the container. Answered first; then whoever asked sends a signal.

    request["is_shutdown"]: the host goes down, so that "unless-stopped" starts it after the reboot.
    """
    monitor.halt(is_by_hand=not request.get("is_shutdown"))
    return {"monitor_pid": os.getpid()}


def _hurry(monitor: Monitor, client: Client, request: dict[str, Any]) -> dict[str, Any]:
    """Start at once instead of waiting; without effect on a container that runs. Answered first."""
    monitor.hurry()
    return {"monitor_pid": os.getpid()}


OPS = {"halt": _halt, "hurry": _hurry}
