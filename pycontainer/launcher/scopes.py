"""Cgroups that systemd makes: one transient scope for each container, asked for over D-Bus.

Theory of operation. systemd makes a scope around a process that exists, and takes it away when the last
one in it has ended. So a process that only waits is put into it first; the container's first process is
born there afterwards, as in any cgroup, and the one that waits ends. The scope is delegated: what systemd
has no property for is written into its files by us, as without systemd; the limits are given to systemd,
too, since it writes what it knows again whenever it likes (systemctl daemon-reload).

A plan's "scope" is {"unit", "slice", "properties"}, the latter [name, signature, value] each.
Source: org.freedesktop.systemd1(5), "StartTransientUnit()", "JobRemoved"; systemd, docs/CGROUP_DELEGATION.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pycontainer import errors
from pycontainer.kernel import syscalls
from pycontainer.launcher import dbus

__all__ = ["change", "made", "stop"]

SOCKETS = (("/run/systemd/private", False), ("/run/dbus/system_bus_socket", True))
"""Where systemd is spoken to, and whether that is a bus: root reaches it even when no bus runs."""
TIMEOUT_S = 30.0
_ASK_AGAIN_S = 0.1
_SYSTEMD = "org.freedesktop.systemd1"
_OBJECT = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_GONE = ("org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.systemd1.UnitNotLoaded")

Plan = Mapping[str, Any]


@contextmanager
def made(plan: Plan) -> Iterator[None]:
    """Make the plan's scope, and keep it for the block, in which the first process is put into it.

    Does nothing for a plan without a scope. When the block fails the scope is stopped again.
    Raises: LaunchError when systemd cannot be asked or refuses.
    """
    scope = plan.get("scope")
    if scope is None:
        yield
        return
    pid = _placeholder()
    try:
        with _errors(scope["unit"]):
            _start(scope, pid)
        try:
            yield
        except BaseException as error:
            try:
                stop(plan)
            except errors.LaunchError as second:
                error.add_note(f"and the scope could not be stopped: {second}")
            raise
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def change(plan: Plan, properties: Sequence[Any]) -> None:
    """Tell systemd of other limits of a scope that exists. Raises LaunchError."""
    scope = plan.get("scope")
    if scope is None or not properties:
        return
    with _errors(scope["unit"]), _connected(subscribes=False) as manager:
        manager.call("SetUnitProperties", "sba(sv)", scope["unit"], True, _variants(properties))


def stop(plan: Plan) -> None:
    """Have the scope gone, with all that is in it. Idempotent. Raises LaunchError."""
    scope = plan.get("scope")
    if scope is None:
        return
    with _errors(scope["unit"]), _connected() as manager:
        try:
            manager.call("StopUnit", "ss", scope["unit"], "replace")
            manager.await_unloaded(scope["unit"])
        except dbus.BusError as error:
            if error.name not in _GONE:
                raise


# -- the process that waits


def _placeholder() -> int:
    """A process that waits to be killed, by us or by our death; its id."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            syscalls.set_name(b"pycontainer-sc")
            while os.getppid() == parent:
                signal.pause()
        finally:
            os._exit(0)
    return pid


# -- systemd


class _Manager:
    """systemd's manager object, over one connection."""

    def __init__(self, connection: dbus.Connection) -> None:
        self._connection = connection

    def call(self, member: str, signature: str, *values: Any) -> list[Any]:
        return self._connection.call(_SYSTEMD, _OBJECT, _MANAGER, member, signature, *values)

    def subscribe(self, *, is_bus: bool) -> None:
        if is_bus:
            rule = f"type='signal',interface='{_MANAGER}',member='JobRemoved'"
            self._connection.call(*_BUS, "AddMatch", "s", rule)
        self.call("Subscribe", "")

    def await_job(self, job: str) -> str:
        """Wait for a job's end, and say how it ended: "done", if well."""
        body = self._connection.await_signal(_MANAGER, "JobRemoved", lambda body: body[1] == job)
        return str(body[3])

    def await_unloaded(self, unit: str) -> None:
        """Wait until the unit is not known any more, which ends in BusError: its name can be used again."""
        while True:
            # Asked again, since the job of a unit that ends by itself meanwhile may end without a word.
            self.call("GetUnit", "s", unit)
            self._connection.await_anything(_ASK_AGAIN_S)


@contextmanager
def _connected(*, subscribes: bool = True) -> Iterator[_Manager]:
    problem: OSError | None = None
    for address, is_bus in SOCKETS:
        try:
            connection = dbus.Connection(address, TIMEOUT_S, is_bus=is_bus)
        except OSError as error:
            problem = problem or error
            continue
        try:
            manager = _Manager(connection)
            if subscribes:
                manager.subscribe(is_bus=is_bus)
            yield manager
        finally:
            connection.close()
        return
    assert problem is not None
    raise errors.LaunchError(
        f"cgroup: systemd cannot be asked at {SOCKETS[0][0]}: {problem.strerror or problem}; "
        "let cgroups be made without it (cgroupfs)",
        step="cgroup",
        reason=str(problem),
    )


@contextmanager
def _errors(unit: str) -> Iterator[None]:
    try:
        yield
    except (dbus.BusError, OSError, errors.DeadlineExceeded) as error:
        if isinstance(error, errors.LaunchError):
            raise
        raise errors.LaunchError(
            f"cgroup: systemd, {unit}: {error}", step="cgroup", reason=str(error)
        ) from error


def _start(scope: Mapping[str, Any], pid: int) -> None:
    unit = scope["unit"]
    properties = [*_variants(scope["properties"]), ("PIDs", ("au", [pid]))]
    with _connected() as manager:
        (job,) = manager.call("StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", properties, [])
        result = manager.await_job(job)
    if result != "done":
        raise errors.LaunchError(
            f"cgroup: systemd could not start {unit}: the job ended as {result!r}; see journalctl -u {unit}",
            step="cgroup",
            reason=result,
        )


def _variants(properties: Sequence[Any]) -> list[tuple[str, tuple[str, Any]]]:
    return [(name, (signature, value)) for name, signature, value in properties]
