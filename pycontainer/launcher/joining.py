"""A further process in a running container: its namespaces, cgroups and confinement, its own program.

Theory of operation. The caller of `join` is one thread, forked from the helper: an exec's own process, or
a monitor that checks health. It opens all that is needed while it is on the host, enters the container's
pid namespace for its next child only, clones that child (into the version 2 cgroup, if that has room) and
is back in its own when `join` returns, so it may clone again for whomever it likes. The child hides
itself before anything else, closes every descriptor but those it needs, moves into the cgroups, joins the
other namespaces by the pidfd, and then does what the container's first process did: the same steps for
ids, limits, keyring, labels, capabilities and filter. Nothing of the container's runs before execve, and
no library, name service or module is loaded in its root.

A caller that may be kept waiting, as one is by a container that is paused at that moment, need not fork:
where the plan allows it the child has scripts to perform and nothing else, on the caller's memory
(kernel.native). What these cannot do the caller does first, in the container's mount namespace where its
files are concerned.

It dies with the process that called `join` (PR_SET_PDEATHSIG), and with its container: by the kernel
where that has a pid namespace of its own, by its cgroup otherwise.

Source: setns(2), clone(2), pid_namespaces(7); CVE-2016-9962, CVE-2019-5736, CVE-2024-21626.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn

from pycontainer import errors
from pycontainer.kernel import namespaces, native, pidfd, syscalls
from pycontainer.kernel.script import Script
from pycontainer.launcher import cgroup, child, plan, scripting
from pycontainer.launcher.away import Away
from pycontainer.launcher.steps import entering, identity, process, security, settings
from pycontainer.launcher.steps.context import Context, Refused

_Born = tuple[int, int, tuple[str, ...]]
_Birth = Callable[[int], _Born]
"""Makes a child, in the version 2 cgroup of this descriptor: its pid, pidfd and the names of its steps."""

__all__ = ["Joined", "await_executed", "ended", "failure", "join", "read_report"]

Json = Mapping[str, Any]
_STREAMS = ("stdin", "stdout", "stderr")
_PREPARED = (identity.resolve, identity.use_ids, identity.own_output, entering.use_null)
"""Steps that are no scripts, but can be carried out from the container's mount namespace."""

_WRITTEN: dict[Callable[..., None], Callable[..., Script]] = {
    **scripting.WRITTEN,
    entering.settle: entering.settling,
    settings.enter_cgroups: Context.entering_cgroups,
    security.set_oom_score: security.setting_oom_score,
    entering.enter: lambda context, kinds, *_: entering.joining(context, kinds),
    entering.enter_directory: entering.entering_directory,
}
"""Steps with what writes them down."""
_GONE = (errno.ENOMEM, errno.ENOENT, errno.ENODEV, errno.ESRCH)
"""What clone3(2) and setns(2) answer when the namespace's first process or the cgroup has ended."""


class Joined(NamedTuple):
    """A process on its way to its program. It is the taker's, and so are the descriptors, to close."""

    pid: int
    """On the host; a child of this process, which has to reap it soon: the end of the container waits."""
    pidfd: int
    report: int
    """Its end says that the program was executed, or why not: see `read_report`."""
    steps: tuple[str, ...] = ()
    """Names of the steps, by which a failure is told."""


def join(
    params: Json, init: int, fds: Mapping[str, int], *, seccomp: bytes = b"", can_wait: bool = False
) -> Joined:
    """Clone a process into the container whose first process the pidfd init refers to.

    params: as for a launch: "id", "spec" (of it: process, the types of linux.namespaces,
    linux.seccomp.flags), "user" and "groups" by name, "cgroup" (of it: clone_into, procs; see
    `proctree.Tree.cgroup`). keeps_owner: the streams are not given to the process's user.
    fds: "stdin", "stdout", "stderr", which stay open here; what is missing is the container's /dev/null.
    With spec.process.terminal "console" instead, a connected unix socket that the terminal's master is
    sent to. seccomp: the container's filter; "notifies" among params says that it has a listener, which
    the process tells of in its report, and waits for the answer from fds "answers" (a pipe) to be taken.
    can_wait: it may block until the program is executed.

    The working directory must exist. Needs a process of one thread; changes nothing of it.
    Raises WrongState when the container has ended, InvalidInput, LaunchError, OSError.
    """
    # All that can be worked out is worked out here: what the clone writes to, is copied for it first.
    described = params["spec"]["process"]
    steps = plan.plan_join(params["spec"], {**params, "fd_names": tuple(fds)}, seccomp=seccomp)
    env = plan.environment(params["spec"])
    born_in = -1
    me = os.pidfd_open(os.getpid())
    reader, report = os.pipe2(os.O_CLOEXEC)
    opened = [me, report]
    try:
        tasks = cgroup.open_tasks(params["cgroup"])
        opened += [fd for _, fd in tasks]
        if params["cgroup"].get("clone_into"):
            born_in = os.open(params["cgroup"]["clone_into"], os.O_RDONLY | os.O_DIRECTORY)
            opened.append(born_in)
        context = Context(monitor=me, go=-1, error=report, fds={**fds, "init": init}, cgroups=tasks)
        context.env = env
        if can_wait and _can_be_written_down(steps):
            _prepare(steps, context, opened)
            birth = partial(_perform, steps, context, described.get("cwd") or "/")
        else:
            birth = partial(_fork, steps, context)
        has_own_pids = _has_own_pids(params["spec"])
        try:
            pid, handle, names = _clone(birth, init, born_in, has_own_pids)
        except BlockingIOError:
            if born_in < 0:
                raise
            # Full: no process is born there, but one may move in, as the pids controller has it. So whoever
            # is to look at a container that forks without end gets in, with version 2 as with version 1.
            directory = params["cgroup"]["clone_into"]
            opened.append(os.open(f"{directory}/cgroup.procs", os.O_WRONLY))
            context.cgroups = [*tasks, (directory, opened[-1])]
            pid, handle, names = _clone(birth, init, -1, has_own_pids)
    except OSError as error:
        os.close(reader)
        if error.errno in _GONE:
            raise ended() from None
        raise _refused(error) from error
    except errors.LaunchError:
        os.close(reader)
        if pidfd.has_ended(init):
            raise ended() from None  # and its cgroups are gone, or its files
        raise
    except BaseException:
        os.close(reader)
        raise
    finally:
        for fd in opened:
            os.close(fd)
    return Joined(pid, handle, reader, names)


def _has_own_pids(spec: Json) -> bool:
    kinds = (spec.get("linux") or {}).get("namespaces") or ()
    return any(entry["type"] == "pid" for entry in kinds)


def _clone(birth: _Birth, init: int, born_in: int, has_own_pids: bool) -> _Born:
    """A child in the container's pid namespace; this process's later children are in its own again."""
    if not has_own_pids:
        return birth(born_in)
    home = os.open("/proc/self/ns/pid", os.O_RDONLY)
    try:
        namespaces.enter(init, namespaces.NEWPID)
        try:
            return birth(born_in)
        finally:
            namespaces.enter(home, namespaces.NEWPID)
    finally:
        os.close(home)


def _fork(steps: Sequence[plan.Step], context: Context, born_in: int) -> _Born:
    """A child that carries out the steps."""
    pid, handle = syscalls.clone3(0, cgroup_fd=born_in)
    if pid == 0:
        _become(steps, context)
    return pid, handle, tuple(step.name for step in steps)


def _perform(steps: Sequence[plan.Step], context: Context, cwd: str, born_in: int) -> _Born:
    """A child that has made the calls of the steps by now, those of them that are not `_prepare`'s."""
    left = [
        scripting.performing(step, _WRITTEN[step.function](context, *step.args))
        for step in steps[:-1]
        if step.function in _WRITTEN
    ]
    left.append(scripting.executing(steps[-1], context))
    ended = native.spawn([step.args[0] for step in left], 0, cgroup_fd=born_in)
    scripting.tell(context, left, ended, cwd)
    return ended.pid, ended.pidfd, tuple(step.name for step in left)


def _can_be_written_down(steps: Sequence[plan.Step]) -> bool:
    """Whether scripts and `_prepare` are all that the plan needs."""
    *others, last = steps
    return (
        last.function is process.execute
        and all(step.function in _WRITTEN or step.function in _PREPARED for step in others)
        and not any(step.function is entering.enter and step.args[0] & namespaces.NEWUSER for step in others)
        and not scripting.is_filtered_early(steps)
        and native.is_possible()
        and not _shows_whoever_changes_ids()
    )


def _shows_whoever_changes_ids() -> bool:
    """Whether a process can be traced for a moment when its ids change: it must not have our memory then.

    Source: proc_sys_fs(5), suid_dumpable.
    """
    try:
        fd = os.open("/proc/sys/fs/suid_dumpable", os.O_RDONLY)
    except OSError:
        return True
    try:
        return os.read(fd, 2) not in (b"0\n", b"2\n")
    finally:
        os.close(fd)


def _prepare(steps: Sequence[plan.Step], context: Context, opened: list[int]) -> None:
    """Do what scripts cannot, with the container's files before the eyes. Raises LaunchError, OSError.

    opened: gets what is to be closed when the child is there.
    """
    context.proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    opened.append(context.proc)
    away = Away()
    try:
        away.join(context.fds["init"], namespaces.NEWNS)
        context.root = os.open("/", os.O_PATH | os.O_DIRECTORY)
        opened.append(context.root)
        for step in steps:
            if step.function is entering.use_null:
                null = entering.open_null(context)
                opened.append(null)
                context.fds.update((_STREAMS[number], null) for number in step.args[0])
            elif step.function is identity.own_output:
                identity.give_output(context, [context.fds[name] for name in _STREAMS[1:]])
            elif step.function in _PREPARED:
                step.function(context, *step.args)
    except Refused as error:
        raise _failed_step(step.name, child.describe(0, error)) from None
    finally:
        away.come_back()
        for fd in away.descriptors:
            os.close(fd)
    if not any(step.function is security.set_oom_score for step in steps):
        context.proc = -1


def _become(steps: Sequence[plan.Step], context: Context) -> NoReturn:
    """In the clone: carry out the plan; its last step executes the program."""
    index = 0
    try:
        for index, step in enumerate(steps):
            if index == len(steps) - 1:
                child.say_ready(context.error)
            step.function(context, *step.args)
    except BaseException as error:  # the edge of the process: nobody above could tell
        child.fail(context.error, index, error)
    os._exit(125)


def read_report(joined: Joined) -> bytes:
    """Read the report to its end, which comes when the program was executed, or will not be. Blocks."""
    said = b""
    while chunk := os.read(joined.report, 4096):
        said += chunk
    return said


def failure(joined: Joined, said: bytes) -> errors.PycontainerError | None:
    """What a whole report means: None when the program runs, else the error for whoever asked.

    A LaunchError names the step, or the program with exit_code 126 or 127; WrongState says that the
    container ended meanwhile.
    """
    is_ready, failed = child.parse(said)
    if failed is None:
        if is_ready:
            return None
        return errors.LaunchError(
            "the process was killed before it executed its program, for want of memory or with its container",
            step="process",
            reason="killed",
        )
    step = joined.steps[failed.step]
    if step == "namespaces" and not failed.errno:
        return ended()
    return _failed_step(step, failed)


def _failed_step(step: str, failed: child.Failure) -> errors.LaunchError:
    reason = failed.text or os.strerror(failed.errno)
    message = reason if failed.exit_code != 125 else f"{step}: {reason}"
    return errors.LaunchError(message, step=step, reason=reason, exit_code=failed.exit_code)


def await_executed(joined: Joined, said: bytes = b"") -> None:
    """Block until the program runs. Raises what `failure` finds; the process is reaped then.

    said: what was read of the report before.
    """
    error = failure(joined, said + read_report(joined))
    if error is not None:
        os.waitpid(joined.pid, 0)
        raise error


def ended() -> errors.WrongState:
    """What is said when the container ended before the process was in it."""
    return errors.WrongState(
        "the container has ended; start it first", verb="exec", state="exited", allowed=("running",)
    )


def _refused(error: OSError) -> errors.LaunchError:
    reason = str(error)
    if error.errno == errno.EAGAIN:
        reason = "the container has as many processes as its pids_limit allows"
    return errors.LaunchError(f"no process can join the container: {reason}", step="process", reason=reason)
