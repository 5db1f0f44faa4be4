"""Jobs on the files of containers, whether they run or not, and of volumes.

A running container's files are reached through its first process, a stopped one's through a mount that lives
as long as the job. During the latter the container's lock is held, and its monitor's: two mounts of one
writable layer at a time are one too many.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from pycontainer.engine.state import await_end, await_tidied, monitor_locked_out, observe
from pycontainer.errors import DeadlineExceeded, HelperDied, NotFound, WrongState
from pycontainer.kernel import interrupts, pidfd

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.engine.engine import Engine
    from pycontainer.launcher import Job

__all__ = [
    "Attend",
    "OnMessage",
    "Rooted",
    "at_rest",
    "await_event",
    "layers_of",
    "left",
    "run_job",
    "run_plain_job",
    "run_volume_job",
    "until",
]

_SETTLING_S = 0.5
_MAX_TURNS = 40
_MAX_RESTARTING_TURNS = 3  # the first waits of its monitor are shorter, later ones grow to a minute

OnMessage = Callable[[dict[str, Any], list[int]], None]
Attend = Callable[[], None]


class Rooted(Protocol):
    """Whose files they are, in a root of their own."""

    def _run_job(
        self,
        job: str,
        params: Mapping[str, Any],
        fds: Sequence[int] = (),
        *,
        deadline: float | None,
        on_message: OnMessage | None = None,
        attend: Attend | None = None,
    ) -> dict[str, Any]: ...


def until(timeout_s: float | None) -> float | None:
    """The moment on the monotonic clock at which the time is over."""
    return None if timeout_s is None else time.monotonic() + timeout_s


def left(deadline: float | None) -> float | None:
    """Seconds until then, 0 when it is over."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def run_job(
    container: Container,
    job: str,
    params: Mapping[str, Any],
    fds: Sequence[int] = (),
    *,
    deadline: float | None,
    on_message: OnMessage | None = None,
    attend: Attend | None = None,
) -> dict[str, Any]:
    """Have a job done in the container's root and give its result.

    on_message: gets what the job reports, with descriptors that are its own to close. attend: called when the
    job is ready, to feed it or to take what it makes.
    Raises: DeadlineExceeded, NotFound when the container is removed, WrongState while it waits long to be
    started again, and the job's errors.
    """
    for turn in range(_MAX_TURNS):
        with _root_of(container, deadline) as found:
            if found is not None:
                root, pidfds = found
                try:
                    sent = {**params, "root": root}
                    with container._engine.helper.submit(job, sent, [*pidfds, *fds]) as running:
                        return _followed(running, deadline, on_message, attend)
                except WrongState as error:
                    if error.state != "ended":
                        raise
        # It ended, or is about to run, while we looked; then its monitor is at work.
        if turn >= _MAX_RESTARTING_TURNS and container.state == "restarting":
            raise WrongState(
                f"container {container.name} waits to be started again; stop it first, or try later",
                verb="use",
                state="restarting",
                allowed=("running", "paused", "created", "exited"),
            )
        _await_settled(container, deadline)
    raise WrongState(
        f"container {container.name} ends and starts all the time; stop it first",
        verb="use",
        state=container.state,
    )


def run_volume_job(
    engine: Engine,
    directory: int,
    job: str,
    params: Mapping[str, Any],
    fds: Sequence[int] = (),
    *,
    deadline: float | None,
    on_message: OnMessage | None = None,
    attend: Attend | None = None,
) -> dict[str, Any]:
    """The same in a volume's directory, that the descriptor stands for. Raises: DeadlineExceeded."""
    sent = {**params, "root": {"is_directory": True}}
    with engine.helper.submit(job, sent, [directory, *fds]) as running:
        return _followed(running, deadline, on_message, attend)


def run_plain_job(
    engine: Engine, job: str, params: dict[str, Any], fds: Sequence[int], *, deadline: float | None
) -> dict[str, Any]:
    """The same for one that finds its directories itself. Raises: DeadlineExceeded."""
    with engine.helper.submit(job, params, fds) as running:
        return _followed(running, deadline, None, None)


def _followed(
    running: Job, deadline: float | None, on_message: OnMessage | None, attend: Attend | None
) -> dict[str, Any]:
    while True:
        message = running.receive(left(deadline))
        if message is None:
            raise HelperDied(f"the {running.name} job was killed before it answered", job=running.name)
        if "result" in message:
            result: dict[str, Any] = message["result"]
            return result
        if "ready" in message:
            if attend is not None:
                attend()
        elif on_message is not None:
            on_message(message, running.take_fds())


@contextmanager
def _root_of(
    container: Container, deadline: float | None
) -> Iterator[tuple[dict[str, Any] | None, list[int]] | None]:
    """What a job needs to enter the container's root; None when that cannot be said this moment."""
    directory = container._directory
    if not directory.is_dir():
        raise NotFound(f"container {container.name} was removed")
    observed = observe(directory)
    if observed.pid is not None:
        process = pidfd.open_checked(observed.pid, observed.pid_start)
        try:
            yield None if process is None else (None, [process])
        finally:
            if process is not None:
                os.close(process)
        return
    with container._engine.store.container_lock(container.id, left(deadline)):
        with monitor_locked_out(directory) as has_no_monitor:
            if not has_no_monitor:
                yield None
                return
            if not directory.is_dir():
                raise NotFound(f"container {container.name} was removed")
            stopped = {name: str(directory / name) for name in ("upper", "work")}
            yield {**stopped, "lower": layers_of(container)}, []


@contextmanager
def at_rest(container: Container, deadline: float | None) -> Iterator[None]:
    """Keep a container from running. Raises: WrongState when it does, or is about to; NotFound."""
    with container._engine.store.container_lock(container.id, left(deadline)):
        if not container._directory.is_dir():
            raise NotFound(f"container {container.name} was removed")
        if container.state not in ("running", "paused", "restarting"):
            with suppress(DeadlineExceeded):
                await_tidied(container._directory)  # its monitor outlives its last process by a moment
        with monitor_locked_out(container._directory) as has_no_monitor:
            if not has_no_monitor:
                raise WrongState(
                    f"container {container.name} is {container.state}; stop it first",
                    verb="use",
                    state=container.state,
                    allowed=("created", "exited"),
                )
            yield


def layers_of(container: Container) -> list[str]:
    """The read-only directories of its root, top first."""
    store = container._engine.store
    return [str(path) for path in (store.init_layer, *store.lower_dirs(container._known.snapshots))]


def _await_settled(container: Container, deadline: float | None) -> None:
    if deadline is not None and time.monotonic() >= deadline:
        raise DeadlineExceeded(f"container {container.name} neither runs nor rests in time")
    with suppress(DeadlineExceeded, FileNotFoundError):
        await_end(container._directory, _SETTLING_S)


def await_event(fd: int, event: int, deadline: float | None) -> None:
    """Wait for one of poll(2)'s events. Raises: DeadlineExceeded."""
    poller = interrupts.poll()
    poller.register(fd, event)
    rest = left(deadline)
    if not poller.poll(None if rest is None else rest * 1000):
        raise DeadlineExceeded("it took longer than it was given")
