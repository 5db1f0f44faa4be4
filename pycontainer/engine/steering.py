"""The verbs that steer a container's life, below `Container`: stop, kill, pause, rename, wait for.

Theory of operation. What changes a container holds its lock, so that callers in several threads and
processes take turns, and asks the one table of states (runtime.lifecycle) whether the verb fits. Only
`stop` and `kill` do without the lock: they must be able to end a container that another caller waits for.
"""

from __future__ import annotations

import os
import select
import signal as signals
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pycontainer import runtime
from pycontainer.checkpoints import reached
from pycontainer.engine.events import emit_container
from pycontainer.engine.moments import left_ms
from pycontainer.engine.ownership import kill_stopped_monitor
from pycontainer.engine.state import Observed, await_end, await_start, monitor_of, observe
from pycontainer.engine.supervision import STOP_TIMEOUT_S
from pycontainer.errors import DeadlineExceeded, InvalidOption, NotFound, PycontainerError, WrongState
from pycontainer.kernel import inotify, interrupts, pidfd
from pycontainer.launcher import ask, control, freezer, status
from pycontainer.options import parse_run_options

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container

__all__ = [
    "Condition",
    "await_condition",
    "end",
    "exit_code_of",
    "is_live",
    "kill",
    "pause",
    "removed",
    "rename",
    "restart",
    "start",
    "stop",
    "unpause",
]

Condition = Literal["not-running", "next-exit", "removed"]

_KILL_TIMEOUT_S = 30.0
_RENAME_TIMEOUT_S = 2.0
_LIVE = (runtime.State.RUNNING, runtime.State.PAUSED, runtime.State.RESTARTING)


def is_live(observed: Observed) -> bool:
    """Whether it runs, is paused, or will run again by itself."""
    return observed.state in _LIVE


def start(container: Container, *, attach: tuple[int, dict[str, Any]] | None = None) -> None:
    """Start it; the caller holds its lock. Raises LaunchError, WrongState.

    attach: a socket to serve from the first byte on, see launching.launch.
    What a process owns stays that one's; everything else goes on when this process ends.
    """
    observed = container._observed
    runtime.after("start", str(observed.state))
    if observed.state is runtime.State.RESTARTING and _hurried(container):
        return
    if observed.is_lost:
        container._engine.sweep_cgroups()
    from pycontainer.engine import launching  # only for what starts

    options, config = container._options, container.image.config
    record = container._current
    is_owned = record.owner is not None
    launching.launch(
        container._engine, record, options, config, is_owned=is_owned, lets_go=True, attach=attach
    ).close()


def _hurried(container: Container) -> bool:
    """Have a container that waits to be started again started now; False when it has ended for good."""
    directory = container._directory

    from pycontainer.engine import launching  # see start

    def is_over() -> Observed | None:
        now = observe(directory)
        return None if now.state is runtime.State.RESTARTING else now

    try:
        ask(str(directory), {"op": "hurry"})
    except WrongState:
        return False
    found = _await_change(
        directory, is_over, launching.LAUNCH_TIMEOUT_S, "was not started", lambda: monitor_of(directory)
    )
    return is_live(found)


def restart(container: Container, timeout_s: float | None, number: int | None = None) -> None:
    """Stop it if it runs, and start it again. Raises LaunchError, WrongState."""
    with container._engine.store.container_lock(container.id):
        runtime.after("restart", container.state)
        if container._known.auto_remove and is_live(container._observed):
            raise WrongState(
                "the container removes itself when it stops, so it cannot be started again; "
                "make it without auto_remove",
                verb="restart",
                state=container.state,
            )
        stop(container, timeout_s, number=number)
        start(container)
    emit_container(container._engine, "restart", container._current)


def stop(
    container: Container, timeout_s: float | None, *, number: int | None = None, is_for_good: bool = True
) -> bool:
    """Ask the program to end, kill it when it has not after the timeout; False when it did not run.

    timeout_s: None is the container's own, -1 waits for ever. number: of the signal, instead of its own.
    is_for_good: False for a shutdown, after which
    the restart policy "unless-stopped" has it started again. A paused container goes on to do so.
    """
    await_start(container._directory)
    observed = container._observed
    if not is_live(observed):
        return False
    _refuse_stopped_monitor(container)
    observed = _halted(container, observed, is_for_good=is_for_good)
    options = container._options
    chosen = options.stop_timeout if timeout_s is None else timeout_s
    limit_s = STOP_TIMEOUT_S if chosen is None else chosen
    if number is None:
        number = runtime.stop_signal(options, container.image.config)
    _send(container, observed, number)
    freezer.thaw(observed.freeze)
    try:
        _await_end(container, None if limit_s < 0 else limit_s)
    except DeadlineExceeded:
        _send(container, observed, signals.SIGKILL)
        freezer.thaw(observed.freeze)
        _await_end(container, _KILL_TIMEOUT_S)
    emit_container(container._engine, "stop", container._current)
    return True


def kill(container: Container, number: int) -> None:
    """Send the first process a signal. Raises WrongState.

    As with Docker, the signals that end a container let a paused one go on to do so, and keep it from being
    started again by its policy; others reach a paused one when it is unpaused.
    """
    observed = container._observed
    runtime.after("kill", str(observed.state))
    is_end = number in (signals.SIGKILL, runtime.stop_signal(container._options, container.image.config))
    if is_end:
        observed = _halted(container, observed)
    _send(container, observed, number)
    if is_end and observed.freeze is not None:
        freezer.thaw(observed.freeze)


def end(container: Container, observed: Observed) -> None:
    """Kill a container that is live, for its removal, and wait until it has ended."""
    if kill_stopped_monitor(container._directory):
        _await_end(container, _KILL_TIMEOUT_S)
        return
    observed = _halted(container, observed)
    if observed.pid is not None:
        _send(container, observed, signals.SIGKILL)
        freezer.thaw(observed.freeze)
    _await_end(container, _KILL_TIMEOUT_S)


def _halted(container: Container, observed: Observed, *, is_for_good: bool = True) -> Observed:
    """See to it that this run is the last, whatever the restart policy says, before any signal is sent."""
    if observed.restart in ("", "no") and observed.state is not runtime.State.RESTARTING:
        return observed
    try:
        ask(str(container._directory), {"op": "halt", "is_shutdown": not is_for_good})
    except WrongState:
        return observed  # it has just ended, and its monitor with it
    # A new run may have begun before the monitor heard of it.
    return container._observed


def _send(container: Container, observed: Observed, number: int) -> None:
    process = None if observed.pid is None else pidfd.open_checked(observed.pid, observed.pid_start)
    if process is None:
        return  # it has ended since we looked
    try:
        # Told first: the monitor tells of the end that the signal makes, maybe before this process goes on.
        emit_container(container._engine, "kill", container._current, {"signal": str(int(number))})
        pidfd.send_signal(process, number)
    finally:
        os.close(process)


def _await_end(container: Container, limit_s: float | None) -> None:
    try:
        await_end(container._directory, limit_s)
    except FileNotFoundError:
        pass  # it removed itself when it ended
    except DeadlineExceeded:
        _refuse_stopped_monitor(container)
        raise


def _refuse_stopped_monitor(container: Container) -> None:
    """Raises WrongState when nobody would see the container end, since its monitor does not run."""
    directory = str(container._directory)
    if control.is_stopped(directory):
        pid = (status.read(directory) or {}).get("monitor_pid", 0)
        raise WrongState(
            f"container {container.name} cannot be seen to end: its monitor (process {pid}) is stopped; "
            f"continue it with kill -CONT {pid}, or remove the container with force",
            verb="stop",
            state=container.state,
        )


def pause(container: Container, timeout_s: float) -> None:
    """Freeze every process. Raises WrongState, DeadlineExceeded, KernelError."""
    with container._engine.store.container_lock(container.id):
        observed = container._observed
        runtime.after("pause", str(observed.state))
        if not freezer.freeze(observed.freeze, timeout_s):
            # Its cgroup went while we looked; or there is no freezer on this host at all.
            runtime.after("pause", container.state)
            raise WrongState(
                "this host has no freezer in its cgroups; mount cgroup version 2, or v1's freezer",
                verb="pause",
                state="running",
            )
        reached("pause.freeze.done")
    emit_container(container._engine, "pause", container._current)


def unpause(container: Container) -> None:
    """Let every process go on. Raises WrongState."""
    with container._engine.store.container_lock(container.id):
        observed = container._observed
        runtime.after("unpause", str(observed.state))
        freezer.thaw(observed.freeze)
    emit_container(container._engine, "unpause", container._current)


def rename(container: Container, name: str) -> None:
    """Give it another name. Raises AlreadyExists, InvalidOption, WrongState."""
    checked = parse_run_options(name=name).name
    if checked is None:
        raise InvalidOption("rename: give a name")
    with container._engine.store.container_lock(container.id):
        runtime.after("rename", container.state)
        before = container._current.name
        container._engine.store.state.containers.rename(container.id, checked)
        if is_live(container._observed):
            # For the log alone: a monitor that is stopped, or ends just now, is no reason to fail.
            with suppress(PycontainerError, OSError):
                ask(str(container._directory), {"op": "rename", "name": checked}, timeout_s=_RENAME_TIMEOUT_S)
    emit_container(container._engine, "rename", container._current, {"oldName": before})


# -- waiting for an end


def await_condition(
    directory: Path, condition: Condition, timeout_s: float | None, *, removes_itself: bool
) -> Observed:
    """Wait until the container does not run, has ended once more, or is gone; how it was then.

    Raises: DeadlineExceeded; FileNotFoundError when it was removed before the end could be seen.
    """
    if condition == "not-running":
        return await_end(directory, timeout_s, removes_itself=removes_itself)
    if condition == "next-exit":
        return _await_next_exit(directory, timeout_s)
    if condition == "removed":
        return _await_removal(directory, timeout_s)
    raise InvalidOption(f'wait: condition={condition!r}; give "not-running", "next-exit" or "removed"')


def _await_next_exit(directory: Path, timeout_s: float | None) -> Observed:
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        before = observe(held)

        def has_ended() -> Observed | None:
            now = observe(held)
            # A run that its monitor did not see end has no time of its end.
            is_new = now.finished_at not in (None, before.finished_at) or (now.is_lost and not before.is_lost)
            if not is_new and now.pid is None and not directory.is_dir():
                raise FileNotFoundError(directory)
            return now if is_new else None

        return _await_change(directory, has_ended, timeout_s, "has not ended", lambda: monitor_of(held))
    finally:
        os.close(held)


def _await_removal(directory: Path, timeout_s: float | None) -> Observed:
    last = observe(directory)

    def is_gone() -> Observed | None:
        nonlocal last
        now = observe(directory)
        if now.exit_code is not None:
            last = now  # what is being removed tells less and less
        return None if directory.is_dir() else last

    return _await_change(directory, is_gone, timeout_s, "was not removed", lambda: None)


def _await_change(
    directory: Path,
    seen: Callable[[], Observed | None],
    timeout_s: float | None,
    otherwise: str,
    monitor_of_it: Callable[[], int | None],
) -> Observed:
    """Ask again whenever something in the directory changes, or the monitor ends."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with inotify.Watch(os.fsencode(directory)) as watch:
        while True:
            monitor = monitor_of_it()
            try:
                found = seen()
                if found is not None:
                    return found
                poller = interrupts.poll()
                poller.register(watch, select.POLLIN)
                if monitor is not None:
                    poller.register(monitor, select.POLLIN)
                if not poller.poll(left_ms(deadline)):
                    raise DeadlineExceeded(
                        f"the container {otherwise} in {timeout_s:g} s", timeout_s=timeout_s
                    )
                watch.drain()
            finally:
                if monitor is not None:
                    os.close(monitor)


def exit_code_of(observed: Observed, name: str, condition: Condition) -> int:
    """What `wait` gives. Raises WrongState when there was no run."""
    if observed.exit_code is not None:
        return observed.exit_code
    if condition == "removed":
        return 0  # as Docker tells of a container that never ran
    raise WrongState(
        f"container {name} was never started", verb="wait", state="created", allowed=("running",)
    )


def removed(name: str) -> NotFound:
    """The error of a container that has gone."""
    return NotFound(f"container {name} was removed")
