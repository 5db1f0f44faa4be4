"""Containers that belong to a process: gone with it, or handed over.

The owner stands in the record, by process id and start time; the monitor holds a pidfd of it, and ends and
removes the container when that fires. What a killed monitor, or one that was stopped, leaves undone is
completed by whoever comes across the record next.
"""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING

from pycontainer.checkpoints import reached
from pycontainer.engine.state import monitor_of
from pycontainer.errors import NotFound, WrongState
from pycontainer.kernel import pidfd
from pycontainer.launcher import ask, control, status

if TYPE_CHECKING:
    from pathlib import Path

    from pycontainer.engine.containers import Container
    from pycontainer.engine.engine import Engine
    from pycontainer.store import ContainerRecord, Owner

__all__ = [
    "KILL_POINTS",
    "detach",
    "forget_if_abandoned",
    "forget_vanished",
    "free_name",
    "kill_stopped_monitor",
    "open_owner",
    "process_owner",
    "this_process",
]

KILL_POINTS = ("detach.owner.forgotten",)

_KILL_MS = 5000
_TIDY_MS = 60_000


def this_process() -> Owner:
    """The calling process as the owner of a container."""
    return process_owner(os.getpid())


def process_owner(pid: int) -> Owner:
    """A process as the owner of a container. Raises WrongState when there is none with this id."""
    from pycontainer.store import Owner

    try:
        return Owner(pid=pid, start=pidfd.start_time(pid), boot_id=status.BOOT_ID)
    except (FileNotFoundError, ProcessLookupError):
        raise WrongState(f"no process has the id {pid}", verb="own", state="ended") from None


def open_owner(record: ContainerRecord) -> int:
    """A pidfd of the process that a container belongs to, which the caller closes. Raises WrongState."""
    owner = record.owner
    assert owner is not None
    if owner.pid == os.getpid():
        return os.pidfd_open(owner.pid)
    found = pidfd.open_checked(owner.pid, owner.start) if owner.boot_id == status.BOOT_ID else None
    if found is None:
        raise WrongState(
            f"the process {owner.pid}, which container {record.name} belongs to, has ended",
            verb="start",
            state="abandoned",
        )
    return found


def detach(container: Container) -> None:
    """Make the container nobody's. See Container.detach."""
    engine, containers = container._engine, container._engine.store.state.containers
    with engine.store.container_lock(container.id):
        owner = container._current.owner
        if owner is not None:
            # First the record: what a dead process owned would be swept away with it, even while it runs.
            containers.set_owner(container.id, None)
            reached("detach.owner.forgotten")
            try:
                ask(str(container._directory), {"op": "detach"})
            except BaseException as error:
                if not isinstance(error, WrongState) or error.verb != "ask":
                    containers.set_owner(container.id, owner)
                    raise
                # It has no monitor, so it does not run.
    engine.disown(container.id)


def forget_if_abandoned(engine: Engine, record: ContainerRecord) -> bool:
    """Remove a container whose owner has died, if its monitor has not; whether it is gone.

    Of one that was to remove itself and has, what its monitor does not reach is removed: its name, its places
    in networks and its anonymous volumes. Cheap for others.
    """
    owner = record.owner
    directory = engine.store.container_dir(record.id)
    if (directory.is_dir() or not record.auto_remove) if owner is None else _lives(owner):
        return False
    if directory.is_dir():
        kill_stopped_monitor(directory)
        monitor = monitor_of(directory)
        if monitor is not None:
            os.close(monitor)
            return True  # it is about to remove everything by itself
    with engine.store.container_lock(record.id):
        engine.forget_container(record.id)
    return True


def forget_vanished(engine: Engine) -> None:
    """Let the containers go that have removed themselves, or whose owner has died.

    For whoever asks next what is still in use.
    """
    for record in engine.store.state.containers.going_by_themselves():
        _let_go(engine, record)


def free_name(engine: Engine, name: str) -> bool:
    """Whether a name is free, now that a container which is on its way out has been waited for."""
    containers = engine.store.state.containers
    try:
        record = containers.find(name)
    except NotFound:
        return True
    return _let_go(engine, record)


def _let_go(engine: Engine, record: ContainerRecord) -> bool:
    """`forget_if_abandoned`, with a wait for a monitor that is at it; whether nothing is left of it."""
    if not forget_if_abandoned(engine, record):
        return False
    containers = engine.store.state.containers
    if containers.get(record.id) is None:
        return True
    # Not for its lock, which goes with its directory before it has ended.
    monitor = monitor_of(engine.store.container_dir(record.id))
    if monitor is not None:
        try:
            _await_end(monitor, _TIDY_MS)
        finally:
            os.close(monitor)
    return forget_if_abandoned(engine, record) and containers.get(record.id) is None


def kill_stopped_monitor(directory: Path) -> bool:
    """Kill a monitor that somebody has stopped (SIGSTOP), and its container with it; whether it was so."""
    if not control.is_stopped(str(directory)):
        return False
    monitor = monitor_of(directory)
    if monitor is None:
        return False
    try:
        pidfd.send_signal(monitor, signal.SIGKILL)
        _await_end(monitor, _KILL_MS)
    finally:
        os.close(monitor)
    return True


def _await_end(process: int, limit_ms: int) -> None:
    poller = select.poll()
    poller.register(process, select.POLLIN)
    poller.poll(limit_ms)


def _lives(owner: Owner) -> bool:
    found = pidfd.open_checked(owner.pid, owner.start) if owner.boot_id == status.BOOT_ID else None
    if found is None:
        return False
    try:
        return not pidfd.has_ended(found)  # a zombie has died already
    finally:
        os.close(found)
