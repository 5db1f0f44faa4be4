"""A container that is created now and started later: its first process waits, and nobody watches it.

Theory of operation. The process that creates is single-threaded and the caller's own, so it clones the
first process itself; no helper and no monitor are involved. The first process carries out its plan up to
the last step, then waits on a listening socket that lies in the state directory; the process that
created it ends, and the first process becomes a child of whoever is the caller's subreaper. `release`
connects to that socket, says the word, and reads what went wrong until the connection closes, which it
does when the program is executed.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from pycontainer import errors
from pycontainer.kernel import namespaces, pidfd, syscalls
from pycontainer.launcher import births, cgroup, child, heldplan, idmaps, plan, surroundings
from pycontainer.launcher.plan import Step
from pycontainer.launcher.steps import held, identity, rootfs
from pycontainer.launcher.steps.context import Context

__all__ = ["Creator", "create", "listen", "release", "waits"]

_MAX_REPORT = 4096
_SYS_PIDFD_GETFD = 438

Json = Mapping[str, Any]


class Creator(Protocol):
    """What the creating process does in between."""

    def cloning(self, root: int) -> None:
        """The first process will exist; root: the detached mount that it hangs on its directory."""

    def cloned(self, pid: int, started: int) -> None:
        """The first process exists; write it down, for it to be found after a crash."""

    def run_hooks(self) -> None:
        """Run the hooks of the runtime's namespaces. Raises LaunchError."""

    def take_listener(self, fd: int) -> None:
        """Pass on the listener of the system call filter, which is closed afterwards. Raises LaunchError."""


class Held(NamedTuple):
    """The waiting first process."""

    pid: int
    pidfd: int


def create(params: Json, fds: Mapping[str, int], creator: Creator, *, seccomp: bytes = b"") -> Held:
    """Make everything of the container but the execution of its program.

    params: id, spec, rootfs.dir, cgroup (made already), and heldplan's. fds: "start", the listening
    socket, and with a terminal "console". They stay the caller's.
    Raises InvalidInput before anything is done, and LaunchError when the process is gone again.
    """
    outline = plan.outline(params["spec"], has_new_mounts=False)
    steps = heldplan.plan_held(params["spec"], params, seccomp=seccomp)
    env = plan.environment(params["spec"])
    return _clone(params, outline, dict(fds), steps, env, creator)


class _Parent(NamedTuple):
    """The creating process's ends of the pipes to the first process."""

    report: int
    go: int
    answers: int


def _clone(
    params: Json,
    outline: plan.Outline,
    fds: dict[str, int],
    steps: tuple[Step, ...],
    env: dict[bytes, bytes],
    creator: Creator,
) -> Held:
    me = os.pidfd_open(os.getpid())
    homes = _homes(outline)
    given = {"root": _copy_root(params)}
    report, self_report = os.pipe2(os.O_CLOEXEC)
    go, self_go = os.pipe2(os.O_CLOEXEC)
    given["answers"], answers = os.pipe2(os.O_CLOEXEC)
    trees = surroundings.open_trees(outline)
    idmaps.apply(params["spec"], trees)
    identity.give_pipes((1, 2), plan.root_on_host(params["spec"]))
    surroundings.open_namespaces(outline, given)
    tasks = cgroup.open_tasks(params["cgroup"])
    born_in = -1
    if params["cgroup"].get("clone_into"):
        born_in = os.open(params["cgroup"]["clone_into"], os.O_RDONLY | os.O_DIRECTORY)
    creator.cloning(given["root"])
    network = os.dup(given["ns:network"]) if "ns:network" in given else -1
    pid, fd = births.clone(outline, given, born_in)
    if pid == 0:
        os.close(self_go)
        os.close(answers)
        context = Context(
            monitor=me, go=go, error=self_report, fds={**fds, **given}, trees=trees, cgroups=tasks
        )
        context.env = env
        _be_first(steps, context)
    for number in (me, self_report, go, *given.values(), *trees, *dict(tasks).values()):
        os.close(number)
    if born_in >= 0:
        os.close(born_in)
    for home, kind in homes:
        namespaces.enter(home, kind)
        os.close(home)
    made = Held(pid, fd)
    moved = None
    try:
        creator.cloned(pid, pidfd.start_time(pid))
        moved = surroundings.move_devices(params["spec"], pid, network)
        _accompany(made, outline, steps, _Parent(report, self_go, answers), creator)
    except BaseException:
        pidfd.send_signal(fd, signal.SIGKILL)
        _reap(pid)
        if moved is not None:
            moved.undo()
        raise
    finally:
        if network >= 0:
            os.close(network)
    if moved is not None:
        moved.close()
    return made


def _homes(outline: plan.Outline) -> list[tuple[int, int]]:
    """The namespaces that this process's children shall be born in again, once the first one is."""
    kinds = [("time", namespaces.NEWTIME)] if outline.new & namespaces.NEWTIME else []
    kinds += [("pid", kind) for _, kind, _ in outline.joined if kind == namespaces.NEWPID]
    return [(os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), kind) for name, kind in kinds]


def _copy_root(params: Json) -> int:
    failed = errors.launch_failed("rootfs", f"rootfs: {params['rootfs']['dir']} cannot be mounted")
    with errors.mapped(OSError, to=failed):
        word = (params["spec"].get("linux") or {}).get("rootfsPropagation")
        return rootfs.copy_directory(
            os.fsencode(params["rootfs"]["dir"]), is_slave=word in ("slave", "rslave")
        )


def _be_first(steps: tuple[Step, ...], context: Context) -> None:
    index = 0
    try:
        for index, step in enumerate(steps):  # noqa: B007  (the report names the step)
            step.function(context, *step.args)
    except BaseException as error:  # the edge of the process: nobody above could tell
        child.fail(context.error, index, error)


def _accompany(
    made: Held, outline: plan.Outline, steps: tuple[Step, ...], ends: _Parent, creator: Creator
) -> None:
    """Answer the first process until it waits. Raises LaunchError."""
    try:
        try:
            surroundings.map_ids(made.pid, outline)
            answer(ends.go)
        except errors.LaunchError:
            if not pidfd.has_ended(made.pidfd):
                raise
        while True:
            said = os.read(ends.report, _MAX_REPORT)
            if said == child.READY:
                return
            if not said:
                raise _killed(made)
            if said[0] == held.ASK_HOOKS:
                creator.run_hooks()
            elif (listener := listener_of(made.pidfd, said)) is not None:
                try:
                    creator.take_listener(listener)
                finally:
                    os.close(listener)
            else:
                raise failed(steps, said)
            answer(ends.answers)
    finally:
        for end in ends:
            os.close(end)


def listener_of(pidfd: int, said: bytes) -> int | None:
    """A copy of the filter's listener, if that is what the process has just told of. Raises OSError.

    The process then waits for `answer`.
    """
    if said[:1] != bytes((held.ASK_LISTENER,)):
        return None
    return syscalls.raw(_SYS_PIDFD_GETFD, pidfd, held.LISTENER.unpack(said)[1], 0)


def answer(fd: int) -> None:
    """Let the process at the other end of this pipe go on."""
    try:
        os.write(fd, held.GO_ON)
    except BrokenPipeError:
        pass  # it has failed, and reports why


def failed(steps: tuple[Step, ...] | None, said: bytes) -> errors.LaunchError:
    """What the first process reported, as an error; steps are None when they are not known any more."""
    _, failure = child.parse(said)
    assert failure is not None
    reason = failure.text or os.strerror(failure.errno)
    name = steps[failure.step].name if steps and failure.step < len(steps) else ""
    message = f"{name}: {reason}" if name and failure.exit_code == 125 else reason
    return errors.LaunchError(message, step=name, reason=reason, exit_code=failure.exit_code)


def _killed(made: Held) -> errors.LaunchError:
    status = _reap(made.pid)
    how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"code {os.WEXITSTATUS(status)}"
    return errors.LaunchError(
        f"the container's first process ended with {how} during set-up", step="process", reason=how
    )


def _reap(pid: int) -> int:
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return 0


# -- the socket


def _address(directory: int) -> str:
    # By descriptor, since a path of a state directory may be longer than an address can be (unix(7)).
    return f"/proc/self/fd/{directory}/start"


def listen(directory: int) -> socket.socket:
    """The socket that the first process will wait on, in the state directory (a descriptor)."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)
    try:
        listener.bind(_address(directory))
    finally:
        os.umask(mask)
    listener.listen(64)
    return listener


def waits(directory: int) -> bool:
    """Whether a first process still waits for its start: the socket closes as the program is executed."""
    with socket.socket(
        socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    ) as sock:
        try:
            sock.connect(_address(directory))
        except BlockingIOError:
            return True  # many ask, and it is frozen
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        return True


def release(directory: int) -> None:
    """Have the program executed. Raises LaunchError when it cannot be."""
    gone = errors.launch_failed("start", "the container's first process does not wait any more")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock,
        errors.mapped(OSError, to=gone),
    ):
        sock.connect(_address(directory))
        sock.sendall(held.START)
        said = sock.recv(_MAX_REPORT)
    if said:
        raise failed(None, said)
