"""How a container is, as the last status its monitor wrote and the kernel tell it together."""

from __future__ import annotations

import fcntl
import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs

from pycontainer.engine.moments import from_nanoseconds, left_ms
from pycontainer.engine.result import Usage
from pycontainer.errors import DeadlineExceeded
from pycontainer.kernel import inotify, interrupts, pidfd
from pycontainer.launcher import freezer, status
from pycontainer.runtime import State
from pycontainer.values import Value

__all__ = [
    "Observed",
    "await_end",
    "await_start",
    "await_tidied",
    "monitor_locked_out",
    "monitor_of",
    "observe",
    "usage_of",
]

_PATIENCE_S = 60.0
_PAUSE_S = 0.005  # a lock tells nobody that it was let go of, and its holder has said nothing yet
_KILLED = 137  # what SIGKILL leaves; a monitor that died took its container along


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Observed(Value):
    """One consistent look at a container."""

    state: State = State.CREATED
    pid: int | None = None
    pid_start: int = 0
    exit_code: int | None = None
    oom_killed: bool = False
    error: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    usage: Usage = attrs.Factory(Usage)
    freeze: dict[str, str] | None = None
    """What pauses it, while it runs; see launcher.freezer."""
    cgroup_manager: str = ""
    """Who made its cgroups, "cgroupfs" or "systemd"; empty unless it runs or will again by itself."""
    is_lost: bool = False
    """Its monitor was killed: what it would have tidied up is still there."""
    restart: str = ""
    """Name of the restart policy that its monitor carries out, if that may start it again."""
    restart_count: int = 0
    health: str | None = None
    """"starting", "healthy" or "unhealthy"; None without a health check, or before the first start."""
    ports: tuple[dict[str, Any], ...] = ()
    """What is published of it now; see engine.publishing."""


def observe(directory: Path | int) -> Observed:
    """Look at the container of this directory, given by path or descriptor."""
    fields = _read(directory)
    if fields is None:
        return Observed()
    has_run = bool(fields.get("is_lost") or fields.get("restart_count"))
    if fields["state"] == "exited" and fields.get("error") and not has_run:
        # It never ran; like Docker it stays "created", with the code of the failed start.
        return Observed(exit_code=fields.get("exit_code"), error=fields.get("error", ""))
    if fields["state"] == "exited":
        return Observed(
            state=State.EXITED,
            exit_code=fields["exit_code"],
            oom_killed=bool(fields.get("oom_killed")),
            error=fields.get("error", ""),
            started_at=_moment(fields, "started_at_ns"),
            finished_at=_moment(fields, "finished_at_ns"),
            usage=usage_of(fields),
            restart_count=fields.get("restart_count", 0),
            health=fields.get("health"),
        )
    monitor = _open_monitor(fields)
    if monitor is None:
        # Written between our two looks, or never: the monitor was killed, or the machine went down.
        return _ended_meanwhile(directory, fields)
    os.close(monitor)
    if fields["state"] == "created":
        return Observed()
    live: dict[str, Any] = {
        "started_at": _moment(fields, "started_at_ns"),
        "restart": fields.get("restart", ""),
        "restart_count": fields.get("restart_count", 0),
        "health": fields.get("health"),
        "ports": tuple(fields.get("ports", ())),
        "cgroup_manager": fields.get("cgroup_manager", "cgroupfs"),
    }
    if fields["state"] == "restarting":
        return Observed(
            state=State.RESTARTING,
            exit_code=fields["exit_code"],
            oom_killed=bool(fields.get("oom_killed")),
            finished_at=_moment(fields, "finished_at_ns"),
            usage=usage_of(fields),
            **live,
        )
    return Observed(
        state=State.PAUSED if freezer.is_frozen(fields.get("freeze")) else State.RUNNING,
        pid=fields["pid"],
        pid_start=fields["pid_start"],
        freeze=fields.get("freeze"),
        # Of the run before, if its policy has started it again.
        exit_code=fields.get("exit_code"),
        finished_at=_moment(fields, "finished_at_ns"),
        **live,
    )


def monitor_of(directory: Path | int) -> int | None:
    """A pidfd of the container's monitor, which the caller closes; None when none lives."""
    fields = _read(directory)
    return None if fields is None else _open_monitor(fields)


@contextmanager
def monitor_locked_out(directory: Path) -> Iterator[bool]:
    """Whether the container has no monitor, and gets none before the block ends."""
    try:
        lock = os.open(directory / status.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        yield True
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            has_none = True
        except BlockingIOError:
            has_none = False
        yield has_none
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)  # a process that another thread forks meanwhile would keep it
        os.close(lock)


def is_starting(directory: Path) -> bool:
    """Whether a monitor is at work that has not said yet what came of it.

    Its caller waits for that; but when the caller was killed, others may meet the container so.
    """
    with monitor_locked_out(directory) as has_none:
        monitor = None if has_none else monitor_of(directory)
    if monitor is not None:
        os.close(monitor)
    return not has_none and monitor is None


def await_start(directory: Path) -> None:
    """Wait for the end of a start that is going on. Raises DeadlineExceeded."""
    _await(lambda: not is_starting(directory), f"container {directory.name[:12]} is still being started")


def await_tidied(directory: Path) -> None:
    """Wait until the monitor of a container that has ended is done. Raises DeadlineExceeded."""

    def is_done() -> bool:
        with monitor_locked_out(directory) as has_none:
            return has_none

    _await(is_done, f"container {directory.name[:12]} is still being tidied up")


def _await(is_done: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not is_done():
        if time.monotonic() > deadline:
            raise DeadlineExceeded(f"{otherwise} after {_PATIENCE_S:g} s", timeout_s=_PATIENCE_S)
        time.sleep(_PAUSE_S)


@contextmanager
def end_held(directory: Path) -> Iterator[int]:
    """Have a container that removes itself keep its end till it is read here, or for a few seconds at most.

    Gives what await_end takes as held. Raises FileNotFoundError.
    """
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            # A monitor that removes the files waits for those who still want to read the end from them.
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # it is removing them; what is left of the status is all there is
        yield held
    finally:
        os.close(held)


def await_end(
    directory: Path, timeout_s: float | None, *, removes_itself: bool = False, held: int | None = None
) -> Observed:
    """Wait for the end of the container's run and tell how it ended; at once if it does not run.

    held: from end_held. When it returns the monitor has gone, too, and with it the files of a container that
    removes itself, unless their removal takes longer than the timeout.
    Raises DeadlineExceeded; FileNotFoundError when it is removed already.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    if held is not None:
        return _await_end(directory, held, deadline, timeout_s, removes_itself)
    if removes_itself:
        with end_held(directory) as held:
            return _await_end(directory, held, deadline, timeout_s, removes_itself)
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _await_end(directory, held, deadline, timeout_s, removes_itself)
    finally:
        os.close(held)


def _await_end(
    directory: Path, held: int, deadline: float | None, timeout_s: float | None, removes_itself: bool
) -> Observed:
    monitor = monitor_of(held)
    poller = interrupts.poll()
    last: Observed | None = None
    with inotify.Watch(os.fsencode(directory)) as watch:
        if removes_itself:
            poller.register(watch, select.POLLIN)
        if monitor is not None:
            poller.register(monitor, select.POLLIN)
        try:
            while True:
                # Looked at before the status: once the monitor is gone, nobody changes that any more.
                ended = monitor is None or pidfd.has_ended(monitor)
                observed = last or observe(held)
                if removes_itself and last is None and observed.exit_code is not None:
                    last = observed
                    poller.unregister(watch)
                    fcntl.flock(held, fcntl.LOCK_UN)
                if ended:
                    if removes_itself and observed.exit_code is None and not directory.is_dir():
                        raise FileNotFoundError(directory)
                    return observed
                if not poller.poll(left_ms(deadline)):
                    if last is not None:
                        return last
                    raise DeadlineExceeded(
                        f"the container still runs after {timeout_s:g} s", timeout_s=timeout_s
                    )
                watch.drain()
        finally:
            if monitor is not None:
                os.close(monitor)


def usage_of(fields: dict[str, Any]) -> Usage:
    """The figures of an exit, from a status or an exit message with the times in it."""
    figures = fields.get("usage") or {}
    cpu_ns = figures.get("cpu_ns")
    return Usage(
        wall_s=max(0, fields.get("finished_at_ns", 0) - fields.get("started_at_ns", 0)) / 1e9,
        cpu_s=None if cpu_ns is None else cpu_ns / 1e9,
        memory_peak_bytes=figures.get("memory_peak"),
    )


def _read(directory: Path | int) -> dict[str, Any] | None:
    return status.read(directory if isinstance(directory, int) else str(directory))


def _open_monitor(fields: dict[str, Any]) -> int | None:
    if fields["boot_id"] != status.BOOT_ID or "monitor_pid" not in fields:
        return None
    return pidfd.open_checked(fields["monitor_pid"], fields["monitor_start"])


def _ended_meanwhile(directory: Path | int, fields: dict[str, Any]) -> Observed:
    again = _read(directory)
    if again is not None and again != fields:
        return observe(directory)
    if "started_at_ns" not in fields:
        return Observed(is_lost=True)
    # Between two runs nothing of it was killed: its last end is how it ended.
    was_between = fields["state"] == "restarting"
    return Observed(
        state=State.EXITED,
        exit_code=fields["exit_code"] if was_between else _KILLED,
        error="its monitor was killed, or the host went down",
        started_at=_moment(fields, "started_at_ns"),
        finished_at=_moment(fields, "finished_at_ns") if was_between else None,
        is_lost=True,
        restart_count=fields.get("restart_count", 0),
        health=fields.get("health"),
    )


def _moment(fields: dict[str, Any], name: str) -> datetime | None:
    return from_nanoseconds(fields.get(name))
