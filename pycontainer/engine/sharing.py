"""Namespaces shared with another container: opened while it provably runs, and handed on as descriptors.

A process id may be used again between a look and an open. So the other container's first process is held by
a pidfd that was checked against its start time, its namespace files are opened, and only when the pidfd says
that it still lives are they what they were asked for as. Nobody opens them by path again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from attrs import evolve

from pycontainer.engine.state import observe
from pycontainer.errors import InvalidOption, WrongState
from pycontainer.kernel import pidfd
from pycontainer.options import RunOptions, parse_run_options, shared_with
from pycontainer.runtime import State

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.store import ContainerRecord

__all__ = ["check", "is_asked", "opened", "whose_network", "with_users"]

_KINDS = (
    ("network", "network", "net"),
    ("ipc", "ipc", "ipc"),
    ("pid", "pid", "pid"),
    ("uts", "uts", "uts"),
    ("cgroupns", "cgroup", "cgroup"),
    ("userns", "user", "user"),
)
"""Option, the runtime-spec's name of the namespace, its file in /proc/PID/ns."""


def is_asked(options: RunOptions) -> bool:
    """Whether any namespace is another container's."""
    return any(shared_with(getattr(options, option)) for option, _, _ in _KINDS)


def check(engine: Engine, options: RunOptions) -> None:
    """Refuse what could never be started. Raises NotFound, InvalidOption."""
    for option, _, _ in _KINDS:
        name = shared_with(getattr(options, option))
        if name is not None:
            _check_donor(option, engine.store.state.containers.find(name))


def _check_donor(option: str, donor: ContainerRecord) -> None:
    if option != "ipc":
        return
    mode = parse_run_options(**donor.options).ipc
    if mode in ("private", "none"):
        raise InvalidOption(
            f'option ipc="container:{donor.name}": that one has ipc={mode!r} and keeps it to itself; '
            'create it with ipc="shareable"'
        )


@contextmanager
def opened(engine: Engine, options: RunOptions) -> Iterator[Mapping[str, int]]:
    """Descriptors of what is shared, by the name the launch knows them by; closed with the block.

    Raises: NotFound; InvalidOption; WrongState when the other container does not run.
    """
    with ExitStack() as held:
        found: dict[str, int] = {}
        for option, kind, file in _KINDS:
            name = shared_with(getattr(options, option))
            if name is None:
                continue
            donor = engine.store.state.containers.find(name)
            _check_donor(option, donor)
            if option == "userns" and with_users(engine, options).userns == "host":
                continue  # which is joined already
            found[f"ns:{kind}"] = _open(held, engine, donor, option, file)
            if option == "ipc":
                # Shared memory is a mount of the other's, beside the namespace.
                found["shared mounts"] = _open(held, engine, donor, option, "mnt")
        yield found


def _open(held: ExitStack, engine: Engine, donor: ContainerRecord, option: str, file: str) -> int:
    observed = observe(engine.store.container_dir(donor.id))
    process = None
    if observed.state in (State.RUNNING, State.PAUSED) and observed.pid is not None:
        process = pidfd.open_checked(observed.pid, observed.pid_start)
    if process is None:
        raise _not_running(option, donor, str(observed.state))
    try:
        namespace = os.open(f"/proc/{observed.pid}/ns/{file}", os.O_RDONLY | os.O_CLOEXEC)
        held.callback(os.close, namespace)
        if pidfd.has_ended(process):
            raise _not_running(option, donor, "exited")
    except FileNotFoundError:
        raise _not_running(option, donor, "exited") from None
    finally:
        os.close(process)
    return namespace


def _not_running(option: str, donor: ContainerRecord, state: str) -> WrongState:
    return WrongState(
        f"option {option}: container {donor.name}, whose namespace is wanted, is {state}; start it first",
        verb="join",
        state=state,
        allowed=("running", "paused"),
    )


def with_users(engine: Engine, options: RunOptions) -> RunOptions:
    """The options with the id maps of the container whose user namespace it has; "host" if that has none.

    Raises: NotFound; InvalidOption for maps of its own beside.
    """
    if shared_with(options.userns) is None:
        return options
    if options.uid_map or options.gid_map:
        raise InvalidOption(
            f"option uid_map and gid_map: the ids of {options.userns} are mapped already; leave them out"
        )
    donors, seen = options, set()
    while (name := shared_with(donors.userns)) is not None:
        donor = engine.store.state.containers.find(name)
        if donor.id in seen:
            raise InvalidOption(f"option userns={options.userns!r}: these containers share in a circle")
        seen.add(donor.id)
        donors = parse_run_options(**donor.options)
    if donors.userns == "host":
        return evolve(options, userns="host")
    return evolve(options, uid_map=donors.uid_map, gid_map=donors.gid_map)


def whose_network(engine: Engine, options: RunOptions) -> tuple[str, str, RunOptions] | None:
    """Id, host name and options of the container whose network it has in the end; None if it is its own."""
    name = shared_with(options.network)
    seen: set[str] = set()
    found = None
    while name is not None:
        donor = engine.store.state.containers.find(name)
        if donor.id in seen:
            break
        seen.add(donor.id)
        donors = parse_run_options(**donor.options)
        found = donor.id, donors.hostname or donor.id[:12], donors
        name = shared_with(donors.network)
    return found
