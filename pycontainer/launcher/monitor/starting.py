"""From the request to a program that runs: the lock, the cgroups, the clone, and its report."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pycontainer import errors
from pycontainer.checkpoints import reached
from pycontainer.kernel import native, pidfd, syscalls
from pycontainer.launcher import (
    assembly,
    binding,
    births,
    cgroup,
    child,
    idmaps,
    plan,
    scopes,
    scripting,
    status,
    surroundings,
)
from pycontainer.launcher.monitor import keeping
from pycontainer.launcher.steps import identity, rootfs
from pycontainer.launcher.steps.context import Context

if TYPE_CHECKING:
    from pycontainer.launcher.monitor.core import Monitor

__all__ = ["seccomp_of", "start", "take_over"]

_MAX_REPORT = 4096
_LOCK_PAUSE_S = 0.002
_LINKS_S = 60.0


def take_over(monitor: Monitor) -> None:
    """Become the container's only monitor, until this process ends. Raises WrongState, NotFound.

    The lock tells others that a monitor lives before it has said so. The last run's monitor may
    still be tidying up; or a caller died after it had asked for a start, and that one comes first.
    """
    try:
        lock = os.open(status.LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=monitor.directory)
        while not _has_locked(monitor, lock):
            time.sleep(_LOCK_PAUSE_S)
        monitor.lock = lock
    except FileNotFoundError:
        raise errors.NotFound(f"container {monitor.params['id']} was removed") from None


def _has_locked(monitor: Monitor, lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if status.is_running(monitor.directory):
            raise errors.WrongState(
                f"container {monitor.params['id'][:12]} was started meanwhile", verb="start", state="running"
            ) from None
        return False
    return True


def start(monitor: Monitor) -> None:
    """Clone the process and wait until it executes the program. Raises LaunchError and others."""
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    outline = plan.outline(monitor.params["spec"])
    monitor.has_own_pids = outline.has_own_pids
    if monitor.streams.calls_out:
        monitor.ahead.discard()  # a log service is the host's, not that of a new network namespace
    if monitor.naming is not None:
        monitor.naming.be_known()
    lock = monitor.ahead.take_cgroups(monitor.cgroup)
    try:
        with scopes.made(monitor.cgroup):
            if lock < 0:
                lock = cgroup.make_held(monitor.cgroup)
            reached("start.cgroup.made")
            report = _clone(monitor, outline)
        _prepare_running(monitor)
        _await_exec(monitor, outline, report)
    finally:
        if lock >= 0:
            os.close(lock)  # a process is in them now
    reached("start.process.executed")
    if not monitor.is_for_keeper:
        syscalls.set_name(keeping.NAME)
    monitor.show_status()
    # They kept volumes from being restored before the container was known to run.
    for name in [name for name in monitor.fds if name.startswith("volume:")]:
        os.close(monitor.fds.pop(name))
    reached("start.status.written")
    # Told in time for those who look when they know; whoever waits for the end as well need not wait now.
    awaits_end = bool(monitor.params.get("inline_output"))
    if not awaits_end:
        monitor.events.report_uses("begin")
        monitor.events.report("start")
    if not monitor.is_between:
        monitor.send({"event": "started", "pid": monitor.pid, "pid_start": monitor.fields["pid_start"]})
    if awaits_end:
        monitor.events.report_uses("begin")
        monitor.events.report("start", time_ns=monitor.fields["started_at_ns"])
    if not monitor.is_forgotten:
        status.reserve(monitor.directory)
    if not monitor.is_owned or monitor.params.get("lets_go"):
        monitor.close_channel()
    if not monitor.is_for_keeper:
        serve(monitor)


def go_on(monitor: Monitor, told: dict[str, Any]) -> None:
    """Be the monitor of a container that another process has started, which told this of it."""
    for name, value in told["monitor"].items():
        setattr(monitor, name, value)
    monitor.packed_spec = told["spec"]
    monitor.pidfd, monitor.mount_namespace = monitor.fds.pop("pidfd"), monitor.fds.pop("mounts")
    monitor.streams.go_on(monitor.fds, is_cut_off=told["is_log_cut_off"])
    monitor.rules.watch()
    monitor.watch_caller()
    serve(monitor)


def serve(monitor: Monitor) -> None:
    """Serve the container's networks from now on."""
    if monitor.naming is not None:
        monitor.naming.serve()
    if monitor.ports is not None:
        monitor.ports.serve()


def _prepare_running(monitor: Monitor) -> None:
    """Use the time in which the clone sets itself up for what will be needed when it is done."""
    me = monitor.keeper.pid if monitor.is_for_keeper and monitor.keeper is not None else os.getpid()
    monitor.fields.update(
        state="running",
        monitor_pid=me,
        monitor_start=pidfd.start_time(me),
        started_at_ns=time.time_ns(),
        freeze=monitor.cgroup.get("freeze"),
        cgroup_manager="systemd" if monitor.cgroup.get("scope") else "cgroupfs",
    )
    if monitor.policy is not None:
        monitor.fields.update(restart=monitor.policy.shown, restart_count=monitor.policy.count)
    if monitor.ports is not None:
        monitor.fields.update(ports=monitor.ports.shown())
    if monitor.health is not None:
        monitor.health.reset()
    if monitor.is_told_often:
        status.reserve_exchange(monitor.directory)
    status.prepare(monitor.directory, monitor.fields)
    monitor.events.prepare()
    monitor.rules.watch()  # whatever happens to them once the start is told is seen


def seccomp_of(monitor: Monitor) -> bytes:
    """The container's filter, b"" without one. Raises LaunchError."""
    return child.filter_of(monitor.params, monitor.fds)


def _clone(monitor: Monitor, outline: plan.Outline) -> int:
    """Clone the first process into its namespaces and give it what only its parent can.

    Returns the reading end of its report.
    """
    given = monitor.streams.open(monitor.fds)
    outputs = [given[name] for name in ("stdout", "stderr") if name in given]
    identity.give_pipes(outputs, plan.root_on_host(monitor.params["spec"]))
    report, self_report = os.pipe2(os.O_CLOEXEC)
    context: Context | None = None
    try:
        steps = _assembling(monitor, outline) if assembly.has_such_namespaces(outline) else None
        monitor.is_for_keeper = steps is not None and keeping.suits(monitor)
        context = _context(monitor, outline, given, self_report)
        _clone_from(monitor, outline, steps, context)
    finally:
        monitor.ahead.settle()
        for fd in (self_report, *given.values(), *([context.monitor] if context is not None else ())):
            os.close(fd)
        if "shared mounts" in monitor.fds:
            os.close(monitor.fds.pop("shared mounts"))  # held longer it would keep the other's root mounted
    monitor.fields.update(pid=monitor.pid, pid_start=pidfd.start_time(monitor.pid))
    return report


def _context(monitor: Monitor, outline: plan.Outline, given: dict[str, int], report: int) -> Context:
    """What the first process needs: its root, trees, namespaces to join and cgroups to enter."""
    given.update(_open_root(monitor))
    trees = _shared(monitor, outline, given)
    if outline.has_users:
        surroundings.make_places(given["root"], outline, trees)
    surroundings.open_namespaces(outline, given)
    tasks = cgroup.open_tasks(monitor.cgroup)
    keeper = monitor.keeper if monitor.is_for_keeper else None
    parent = os.dup(keeper.pidfd) if keeper is not None else os.pidfd_open(os.getpid())
    return Context(monitor=parent, go=-1, error=report, fds=given, trees=trees, cgroups=tasks)


def _assembling(monitor: Monitor, outline: plan.Outline) -> tuple[plan.Step, ...] | None:
    """The steps by which the monitor can put the surroundings together; None for a container it cannot.

    Known before anything is mounted: a volatile overlay can be mounted but once. Raises InvalidInput.
    """
    spec, params = monitor.params["spec"], monitor.params
    steps = plan.plan(spec, params, seccomp=seccomp_of(monitor))
    return steps if assembly.can_assemble(outline, steps, monitor.cgroup.get("clone_into") or "") else None


def _clone_from(
    monitor: Monitor, outline: plan.Outline, steps: Sequence[plan.Step] | None, context: Context
) -> None:
    """Clone the process. steps: None leaves them all to the process."""
    tasks = dict(context.cgroups).values()
    reached("start.rootfs.mounted")
    try:
        _await_links(monitor)
        if steps is None:
            _clone_bare(monitor, outline, context)
        else:
            _clone_among(monitor, outline, steps, context)
    finally:
        for fd in (*tasks, *(fd for fd in context.trees if fd >= 0)):
            os.close(fd)


def _await_links(monitor: Monitor) -> None:
    """Wait until the caller says that the network's links are made. Raises LaunchError."""
    if not monitor.params.pop("awaits_links", False):
        return
    channel = monitor.channel
    with errors.mapped(errors.DeadlineExceeded, to=errors.launch_failed("network", "network")):
        message = None if channel is None else channel.receive(_LINKS_S)
    if message is None:
        reason = "the caller ended before it had made the links"
        raise errors.LaunchError(f"network: {reason}", step="network", reason=reason, exit_code=125)


def _clone_among(
    monitor: Monitor, outline: plan.Outline, steps: Sequence[plan.Step], context: Context
) -> None:
    """Put the surroundings together and clone the process into them. Raises LaunchError."""
    cgroup_dir = monitor.cgroup.get("clone_into") or ""
    context.env = plan.environment(monitor.params["spec"])
    born_in = _open_birthplace(monitor)  # in the container's namespaces its path may be covered
    monitor.ahead.go(outline, context)
    put = assembly.Assembly(context, steps, cgroup_dir)
    try:
        left = put.put_together()
    except Exception as error:
        put.close()
        if born_in >= 0:
            os.close(born_in)
        raise _failed_step(put.step.name, child.describe(0, error)) from None
    monitor.mount_namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    monitor.steps = tuple(step.name for step in left)
    scripts = scripting.scripts_of(left) if native.is_possible() else None
    as_sibling = monitor.is_for_keeper
    if scripts is None:
        ended = None
        monitor.pid, monitor.pidfd = syscalls.clone3(
            assembly.BORN_IN, cgroup_fd=born_in, as_sibling=as_sibling
        )
        if monitor.pid == 0:
            child.carry_out(context, left)
    else:
        ended = native.spawn(scripts, assembly.BORN_IN, cgroup_fd=born_in, as_sibling=as_sibling)
        monitor.pid, monitor.pidfd = ended.pid, ended.pidfd
    # Its pivot moves the root of this process, too, which can look nothing up until it is home.
    monitor.ahead.settle()
    if ended is not None:
        scripting.tell(context, left, ended, monitor.params["spec"]["process"].get("cwd") or "/")
    put.close()
    if born_in >= 0:
        os.close(born_in)
    reached("start.init.cloned")


def _open_birthplace(monitor: Monitor) -> int:
    """The version 2 cgroup that the first process is born in, -1 for none."""
    place = monitor.cgroup.get("clone_into")
    return os.open(place, os.O_RDONLY | os.O_DIRECTORY) if place else -1


def _clone_bare(monitor: Monitor, outline: plan.Outline, context: Context) -> None:
    """Clone a first process that makes all that it needs."""
    monitor.ahead.settle()
    context.go, self_go = os.pipe2(os.O_CLOEXEC)
    born_in = _open_birthplace(monitor)
    monitor.pid, monitor.pidfd = births.clone(outline, context.fds, born_in)
    if monitor.pid == 0:
        os.close(self_go)  # else our own copy would keep the monitor's death from being seen
        child.run(monitor.params, monitor.fds, context)
    if born_in >= 0:
        os.close(born_in)
    reached("start.init.cloned")
    _hold_mounts(monitor)
    try:
        surroundings.map_ids(monitor.pid, outline)
        # Our own reading end is still open: a clone that failed already must not kill us by SIGPIPE.
        os.write(self_go, b"g")
    except errors.LaunchError:
        if not pidfd.has_ended(monitor.pidfd):
            raise
        # It failed first; what it reports is the cause.
    finally:
        os.close(context.go)
        os.close(self_go)


def _shared(monitor: Monitor, outline: plan.Outline, given: dict[str, int]) -> list[int]:
    """Copies of the trees to bind; into given go the namespaces of other containers, opened by the engine."""
    fds = monitor.fds
    for key, _, _ in outline.joined:
        if key in fds:
            given[key] = os.dup(fds[key])
    return _trees(monitor, outline)


def _trees(monitor: Monitor, outline: plan.Outline) -> list[int]:
    """The trees to bind, with the ids of their files mapped where that is asked for."""
    spec, sources = monitor.params["spec"], monitor.params.get("sources")
    if sources:
        for entry in spec["mounts"]:
            described = sources.get(entry["destination"]) or {}
            if "fd" in described:
                source = monitor.fds[described["fd"]]
                binding.check_propagation(
                    entry["destination"], source, entry.get("options") or (), has_users=outline.has_users
                )
    trees = surroundings.open_trees(outline, monitor.fds, sources)
    idmaps.apply(spec, trees)
    return trees


def _open_root(monitor: Monitor) -> dict[str, int]:
    layers = plan.overlay(monitor.params)
    failed = errors.launch_failed("rootfs", "rootfs: the container's file system cannot be mounted")
    with errors.mapped(OSError, to=failed):
        if layers is None:
            return {"root": rootfs.copy_directory(os.fsencode(monitor.params["rootfs"]["dir"]))}
        return {"root": rootfs.assemble(*layers, os.fsencode(monitor.params["container_dir"]))}


def _hold_mounts(monitor: Monitor) -> None:
    try:
        monitor.mount_namespace = os.open(f"/proc/{monitor.pid}/ns/mnt", os.O_RDONLY)
    except OSError:
        monitor.mount_namespace = -1  # only the time of the take-down is lost


class _Report:
    """What the first process says until it executes the program, which ends it."""

    def __init__(self, monitor: Monitor, fd: int) -> None:
        self._loop = monitor.loop
        self._fd = fd
        self.said = b""
        self._loop.add(fd, self._read)

    def _read(self, _: int) -> None:
        chunk = os.read(self._fd, _MAX_REPORT)
        self.said += chunk
        if not chunk:
            self._loop.remove(self._fd)
            os.close(self._fd)
            self._fd = -1

    def has_ended(self) -> bool:
        """Whether all of it was read."""
        return self._fd < 0


def _await_exec(monitor: Monitor, outline: plan.Outline, fd: int) -> None:
    """Read the report to its end while the output is pumped. Raises LaunchError."""
    if not monitor.is_for_keeper:
        monitor.streams.watch()
    report = _Report(monitor, fd)
    monitor.watch_caller()
    monitor.loop.run_until(report.has_ended)
    is_ready, failure = child.parse(report.said)
    if failure is not None:
        raise _failed(monitor, failure)
    if not is_ready:
        raise _killed_early(monitor)
    monitor.ahead.learn(outline, monitor.params)


def _failed(monitor: Monitor, failure: child.Failure) -> Exception:
    """What the child reported, as the error that the caller gets."""
    params = monitor.params
    names = monitor.steps
    if not names:
        try:
            # The same steps that the child counted: with a place for the filter if it had one.
            has_filter = "seccomp" in params.get("fd_names", ()) or params.get("seccomp_b64")
            steps = plan.plan(params["spec"], params, seccomp=b"filter" if has_filter else b"")
            names = tuple(step.name for step in steps)
        except errors.InvalidInput as error:
            return error
    return _failed_step(names[failure.step] if failure.step < len(names) else "plan", failure)


def _failed_step(step: str, failure: child.Failure) -> errors.LaunchError:
    reason = failure.text or os.strerror(failure.errno)
    message = reason if failure.exit_code != 125 else f"{step}: {reason}"
    return errors.LaunchError(message, step=step, reason=reason, exit_code=failure.exit_code)


def _killed_early(monitor: Monitor) -> errors.LaunchError:
    wait_status = monitor.reap()
    monitor.pid = -1
    number = os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else 0
    reason = f"killed by signal {number}" if number else f"ended with code {os.WEXITSTATUS(wait_status)}"
    if cgroup.read(monitor.cgroup).get("oom"):
        reason += ": its memory limit is too small to start in"
    return errors.LaunchError(
        f"the container's first process was {reason} during set-up", step="process", reason=reason
    )
