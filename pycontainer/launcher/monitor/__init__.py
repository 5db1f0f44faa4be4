"""The monitor: one small process per container, its parent from the first breath to the last record.

Theory of operation. The helper forks it; it prepares the cgroups, clones the container's first process
with all namespaces at once, and then is one poll(2) loop (`loop`) over a handful of descriptors: the
report pipe (its end means "executed"), the process's pidfd, the two output pipes, the channel to the
caller, the caller's pidfd and the control socket. Everything is written down before it is said:
status.json first, then the message.

After the exit only what the caller waits for comes first: exit code, the rest of the output, the figures.
Taking down the mount namespace, the cgroups and the files follows when the caller already knows; for
that the monitor holds the mount namespace open, else the dying process would take it down itself.

An owned container ends with its caller (its channel closes, or its pidfd fires). A detached one outlives
caller and helper; its channel is closed once it has started.

`core` is the state of the one container and what all of it is used for; `starting`, `ending` and `control`
are the parts of its life, as functions of that state; `streams` is its output. With a restart policy the
end of a run may be the beginning of another one (`restarting`); `health` and `oom` look after a container
that asks for it. What only some containers have is made for them alone: the others pay nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from pycontainer import errors
from pycontainer.checkpoints import reached
from pycontainer.kernel import syscalls
from pycontainer.launcher.ahead import Ahead
from pycontainer.launcher.monitor import ending, keeping, starting
from pycontainer.launcher.monitor.core import Monitor
from pycontainer.launcher.monitor.keeping import Keeper
from pycontainer.launcher.protocol import Channel, describe_error

__all__ = ["CHECKPOINTS", "keep", "launch"]

CHECKPOINTS = (
    "start.cgroup.made",
    "start.rootfs.mounted",
    "start.init.cloned",
    "start.process.executed",
    "start.status.written",
    "start.keeper.told",
    "stop.exit.seen",
    "stop.status.written",
    "remove.cgroup.removed",
    "remove.files.removed",
    "restart.wait.begun",
    "restart.wait.over",
    "restart.run.begun",
    "health.check.begun",
    "health.result.written",
    "detach.monitor.told",
)
"""The named steps of a container's life in this process, in order."""


def launch(params: dict[str, Any], fds: list[int], channel: Channel, ahead: Ahead, keeper: Keeper) -> None:
    """Start a container, and be its monitor until it has ended and is cleaned up or somebody takes it over.

    The messages are those of the launch job: started, exited, or an error.
    """
    syscalls.set_name(b"pycontainer-new")
    names: dict[str, int] = params.get("fd_names") or {}
    try:
        given = {name: fds[index] for name, index in names.items()}
        monitor = Monitor(params, given, channel, ahead, keeper)
        starting.take_over(monitor)
    except FileNotFoundError:
        removed = errors.NotFound(f"container {params['id']} was removed")
        channel.send({"error": describe_error(removed, "launch")})
        ahead.discard()
        return
    except errors.PycontainerError as error:
        channel.send({"error": describe_error(error, "launch")})
        ahead.discard()
        return
    try:
        starting.start(monitor)
        if monitor.is_for_keeper:
            keeper.take_over(monitor)
    except BaseException as error:  # the edge of the process: a failed start is the caller's to see
        ending.abandon(monitor, error)
        return
    if monitor.is_for_keeper:
        ahead.tell()
    else:
        _look_after(monitor)


def keep(helper: Channel, start: Callable[[Keeper], None]) -> None:
    """Have a process of its own start containers, and look after one that it hands over, if it does."""
    keeping.keep(helper, start, _take_over)


def _take_over(message: dict[str, Any], fds: list[int]) -> None:
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    given = dict(zip(message["fds"], fds, strict=True))
    channel = Channel(socket.socket(fileno=given.pop("channel"))) if "channel" in given else None
    monitor = Monitor(message["params"], given, channel, Ahead())
    try:
        starting.go_on(monitor, message)
    except BaseException as error:  # the edge of the process: nobody else is left to end the container
        ending.abandon(monitor, error)
        return
    reached("start.keeper.told")
    _look_after(monitor)


def _look_after(monitor: Monitor) -> None:
    monitor.watch()
    while ending.finish(monitor):
        monitor.watch()
