"""From the end of the first process to nothing left: the record, the message, and the tidying."""

from __future__ import annotations

import fcntl
import os
import resource  # noqa: F401  (os.wait4 imports it when first called, which costs half a millisecond)
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pycontainer import errors
from pycontainer.checkpoints import reached
from pycontainer.launcher import cgroup, scopes, trees
from pycontainer.launcher.monitor import restarting
from pycontainer.launcher.protocol import describe_error

if TYPE_CHECKING:
    from pycontainer.launcher.monitor.core import Monitor

__all__ = ["abandon", "finish"]

_WAITERS_S = 5.0
_LOCK_PAUSE_S = 0.002


def abandon(monitor: Monitor, error: BaseException) -> None:
    """Undo a start that failed, say why, and end."""
    monitor.undo_start()
    described = describe_error(error, "launch")
    code = error.exit_code if isinstance(error, errors.LaunchError) else 125
    monitor.fields.update(state="exited", exit_code=code, error=str(error), finished_at_ns=time.time_ns())
    monitor.leave_networks()
    monitor.write_status()
    _release(monitor)
    monitor.send({"error": described})
    has_owner = _has_owner(monitor)
    monitor.ahead.tell()
    _remove_files(monitor, has_owner)


def finish(monitor: Monitor) -> bool:
    """Record the exit, tell the caller, then clean up; True if the container was started again instead."""
    reached("stop.exit.seen")
    _record_end(monitor)
    reached("stop.status.written")
    if monitor.fields["state"] == "restarting":
        _release(monitor)
        if restarting.begin_again(monitor):
            return True
    is_whole = _send_exited(monitor)
    has_owner = _has_owner(monitor)
    may_stay = is_whole and has_owner and monitor.is_plain
    monitor.ahead.tell(may_stay=may_stay)
    monitor.control.close()
    _release(monitor)
    if monitor.removes_files:
        if not is_whole:
            _await_reader(monitor)
        _remove_files(monitor, has_owner)
    if may_stay:
        monitor.ahead.stay()
    return False


def _record_end(monitor: Monitor) -> None:
    """Reap the process and write down how the run ended."""
    _, wait_status, usage = os.wait4(monitor.pid, 0)
    number = os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else None
    code = 128 + number if number is not None else os.WEXITSTATUS(wait_status)
    if not monitor.has_own_pids:
        # No kernel does it for us: what the program left running would hold its output for ever.
        cgroup.kill_all(monitor.cgroup)
    if monitor.health is not None:
        monitor.health.end()
    if monitor.oom is not None:
        monitor.oom.close()
    monitor.streams.drain()
    monitor.streams.close()
    figures = cgroup.read(monitor.cgroup)
    was_oom = bool(figures.pop("oom", 0))
    figures.update(
        user_ns=int(usage.ru_utime * 1e9),
        system_ns=int(usage.ru_stime * 1e9),
        max_rss_bytes=usage.ru_maxrss * 1024,
    )
    monitor.fields.update(
        state="exited",
        exit_code=code,
        signal=number,
        oom_killed=was_oom,
        usage=figures,
        finished_at_ns=time.time_ns(),
        log_lost_bytes=monitor.streams.lost_bytes,
        log_problem=monitor.streams.problem,
    )
    if restarting.decide(monitor, code, monitor.fields["finished_at_ns"]):
        assert monitor.policy is not None
        monitor.fields.update(state="restarting", restart_count=monitor.policy.count)
    else:
        monitor.leave_networks()
    # Before the status: who waits for that then finds the end in the log.
    _report_end(monitor, code)
    if not (monitor.is_owned and monitor.params.get("auto_remove")):
        # Others may wait for a detached one; an owned one's exit is the caller's alone.
        monitor.write_status()


def _report_end(monitor: Monitor, code: int) -> None:
    ended_ns = monitor.fields["finished_at_ns"]
    ran_s = max(0, ended_ns - monitor.fields["started_at_ns"]) // 10**9
    if monitor.fields["oom_killed"] and not (monitor.oom is not None and monitor.oom.has_told):
        monitor.events.report("oom", time_ns=ended_ns)
    monitor.events.report("die", {"exitCode": str(code), "execDuration": str(ran_s)}, time_ns=ended_ns)
    monitor.events.report_uses("end")


def _send_exited(monitor: Monitor) -> bool:
    """Tell the caller; whether the message holds the whole output."""
    message: dict[str, Any] = {
        "event": "exited",
        "exit_code": monitor.fields["exit_code"],
        "oom_killed": monitor.fields["oom_killed"],
        "usage": monitor.fields["usage"],
        "started_at_ns": monitor.fields["started_at_ns"],
        "finished_at_ns": monitor.fields["finished_at_ns"],
        "log_complete": monitor.streams.lost_bytes == 0,
    }
    is_whole = monitor.channel is None
    is_whole |= monitor.streams.tell(message)
    monitor.send(message)
    return is_whole


def _release(monitor: Monitor) -> None:
    """Let go of what the kernel holds for the container."""
    if monitor.mount_namespace >= 0:
        os.close(monitor.mount_namespace)
        monitor.mount_namespace = -1
    if monitor.cgroup:
        if cgroup.remove(monitor.cgroup) and cgroup.kill_all(monitor.cgroup):
            cgroup.remove(monitor.cgroup)
        with suppress(errors.LaunchError):
            # A scope that is empty goes without being asked; what matters is that its name is free now.
            scopes.stop(monitor.cgroup)
        reached("remove.cgroup.removed")


def _await_reader(monitor: Monitor) -> None:
    """The caller reads a long output from the log: keep the files until it has closed the channel."""
    if monitor.is_owned and "caller" in monitor.fds:
        monitor.loop.add(monitor.fds["caller"], lambda _: monitor.close_channel())
    monitor.loop.run_until(lambda: monitor.channel is None)


def _await_waiters(monitor: Monitor) -> None:
    """Let those who wait for the end read it before it goes; but not one that is itself stopped hold it up.

    They share a lock on the directory until they have. This process keeps it from then on.
    """
    deadline = time.monotonic() + _WAITERS_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(monitor.directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)


def _has_owner(monitor: Monitor) -> bool:
    """Whether somebody has heard of the end who will forget the container, and tell of that."""
    return monitor.is_owned and monitor.channel is not None


def _remove_files(monitor: Monitor, has_owner: bool) -> None:
    if not monitor.removes_files:
        return
    if not has_owner:
        monitor.events.report("destroy")
    parent, name = os.path.split(monitor.params["container_dir"])
    parent_fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    if not monitor.is_owned:
        _await_waiters(monitor)
    trees.remove(parent_fd, name)
    reached("remove.files.removed")
