"""Further processes in a running container: from arguments to the helper's exec job.

What does not change in the life of a container (its specification, filter, cgroups) is worked out with its
first exec and kept with the engine.
"""

from __future__ import annotations

import base64
import os
import select
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, final

import attrs
from cachetools import LRUCache

from pycontainer import runtime
from pycontainer.engine import recipes
from pycontainer.engine.events import container_attributes
from pycontainer.engine.moments import from_nanoseconds
from pycontainer.engine.names import new_id
from pycontainer.engine.process import ExecResult, Process, Seconds
from pycontainer.engine.state import observe
from pycontainer.engine.streams import DEVNULL, PIPE, open_streams
from pycontainer.errors import DeadlineExceeded, InvalidOption, LaunchError, NotFound, PycontainerError
from pycontainer.kernel import interrupts, pidfd
from pycontainer.launcher import execrecords
from pycontainer.options import given_seconds, parse_run_options
from pycontainer.values import Value

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.launcher import Job
    from pycontainer.oci import ImageConfig
    from pycontainer.options import RunOptions
    from pycontainer.store import ContainerRecord

__all__ = ["Exec", "Request", "find", "forget_all", "list_all", "run", "start"]

_MANY = 64
"""From so many processes on that nobody closed, those that have ended are let go."""
_START_TIMEOUT_S = 60.0
_KILL_TIMEOUT_S = 30.0
_SWEEP_TIMEOUT_S = 30.0


@final
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Exec(Value):
    """One look at a further process of a container, whoever started it.

    exit_code: None while it runs; 137 when its parent was killed, and it with it.
    """

    id: str
    args: tuple[str, ...]
    pid: int | None
    is_running: bool
    exit_code: int | None
    is_detached: bool
    user: str
    tty: bool
    started_at: datetime | None
    finished_at: datetime | None
    container_id: str
    _engine: Engine = attrs.field(repr=False, eq=False)
    _parent: tuple[int, int] = attrs.field(repr=False)

    def wait(self, timeout: Seconds | None = None) -> int:
        """Wait for its end and return the exit code, also in another process than the one that started it.

        timeout: seconds; None waits for ever. Raises DeadlineExceeded; NotFound when the container, or the
        record of a process that was not detached, is gone by then.
        """
        limit_s = None if timeout is None else given_seconds(timeout)
        parent = pidfd.open_checked(*self._parent)
        if parent is not None:
            try:
                poller = interrupts.poll()
                poller.register(parent, select.POLLIN)
                if not poller.poll(None if limit_s is None else limit_s * 1000):
                    raise DeadlineExceeded(
                        f"{self.args[0]!r} in the container still runs after {limit_s:g} s", timeout_s=limit_s
                    )
            finally:
                os.close(parent)
        directory = str(self._engine.store.container_dir(self.container_id))
        fields = execrecords.read(directory, self.id)
        if fields is None:
            raise NotFound(f"exec {self.id[:12]} has ended, and nothing is known of it any more")
        return int(fields["exit_code"])

    def kill(self) -> None:
        """Kill the process and all its descendants; without effect when it has ended."""
        directory = str(self._engine.store.container_dir(self.container_id))
        params = {"container_dir": directory, "exec_id": self.id}
        self._engine.helper.run("kill_exec", params, timeout_s=_KILL_TIMEOUT_S)

    def inspect(self) -> dict[str, Any]:
        """What Docker's API shows of an exec, as far as it applies here."""
        return {
            "ID": self.id,
            "Running": self.is_running,
            "ExitCode": self.exit_code,
            "Pid": self.pid or 0,
            "ContainerID": self.container_id,
            "DetachKeys": "",
            "ProcessConfig": {
                "tty": self.tty,
                "entrypoint": self.args[0],
                "arguments": list(self.args[1:]),
                "user": self.user,
            },
        }


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Request(Value):
    """What is to be run, as the user said it."""

    args: Sequence[str] | str
    env: Mapping[str, str | None] | None = None
    user: str | None = None
    workdir: str | None = None
    tty: bool = False
    privileged: bool = False
    size: tuple[int, int] | None = None
    """Rows and columns of the terminal."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _Template(Value):
    """What every exec of a container has, as long as its record stays as it is."""

    record: ContainerRecord
    manager: str
    params: dict[str, Any]
    process: dict[str, Any]
    linux: dict[str, Any]
    user: str
    all_capabilities: tuple[str, ...]


class _State:
    """Of one engine: what is known of its containers, and which processes are its own."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.templates: LRUCache[str, _Template] = LRUCache(256)
        self.living: set[Process] = set()


_states: weakref.WeakKeyDictionary[Engine, _State] = weakref.WeakKeyDictionary()


def _state(engine: Engine) -> _State:
    found = _states.get(engine)
    return found if found is not None else _states.setdefault(engine, _State())


def run(
    engine: Engine,
    record: ContainerRecord,
    request: Request,
    *,
    input: bytes | IO[bytes] | None,
    timeout: Seconds | None,
    check: bool,
) -> ExecResult:
    """Run to the end. See Container.exec."""
    limit_s = None if timeout is None else given_seconds(timeout)
    begun = time.monotonic()
    if input is not None:
        from pycontainer.engine.inputs import readable  # few pass any

        input = readable(input)
    is_fed = input is not None and not request.tty
    stdin: int | IO[bytes] | None
    if isinstance(input, bytes):
        from pycontainer.engine.launching import feed  # few pass any

        stdin = feed(input) if is_fed else PIPE
    else:
        stdin = input if is_fed and input is not None else DEVNULL
    try:
        process = start(engine, record, request, stdin=stdin, stdout=PIPE, stderr=PIPE, timeout_s=limit_s)
    finally:
        if isinstance(stdin, int) and stdin >= 0:
            os.close(stdin)
    try:
        given = input if isinstance(input, bytes) and request.tty else None
        left_s = None if limit_s is None else max(0.0, limit_s - (time.monotonic() - begun))
        try:
            stdout, stderr = process.communicate(given, left_s)
        except DeadlineExceeded:
            process.kill()
            raise DeadlineExceeded(
                f"{process.args[0]!r} in the container did not end within {limit_s:g} s; it was killed with "
                "its descendants",
                timeout_s=limit_s,
            ) from None
        code = process.wait()
    finally:
        process.close()
    result = ExecResult(
        args=process.args,
        exit_code=code,
        stdout=stdout,
        stderr=stderr,
        wall_s=time.monotonic() - begun,
    )
    return result.check() if check else result


def start(
    engine: Engine,
    record: ContainerRecord,
    request: Request,
    *,
    stdin: int | IO[bytes] | None,
    stdout: int | IO[bytes] | None,
    stderr: int | IO[bytes] | None,
    timeout_s: float | None = None,
    detach: bool = False,
) -> Process:
    """Start a process. See Container.popen."""
    if detach:
        stdin, stdout, stderr = (DEVNULL if given == PIPE else given for given in (stdin, stdout, stderr))
    params = _params(engine, record, request, is_detached=detach)
    with ExitStack() as cleanup:
        # A detached terminal is its parent's, which lets nobody wait for what is written to it.
        has_terminal = request.tty and not detach
        if request.tty and detach:
            stdin = stdout = stderr = DEVNULL
        streams = open_streams(stdin, stdout, stderr, has_terminal=has_terminal)
        cleanup.callback(streams.close_theirs)
        failed = cleanup.enter_context(ExitStack())
        failed.callback(streams.close_ours)
        params["keeps_owner"] = streams.keeps_owner
        fds = dict(streams.theirs)
        if not detach:
            fds["caller"] = os.pidfd_open(os.getpid())
            cleanup.callback(os.close, fds["caller"])
            fds["lifeline"] = engine.lifeline
        job = _submit(engine, params, fds)
        failed.callback(job.close)
        message = _await_started(job, timeout_s, params["record"]["args"])
        (handle,) = job.take_fds()
        failed.callback(os.close, handle)
        files = streams.files()
        process = Process(
            id=params["exec_id"],
            args=tuple(params["record"]["args"]),
            pid=message["pid"],
            handle=handle,
            job=job,
            stdin=files.stdin,
            stdout=files.stdout,
            stderr=files.stderr,
            has_terminal=has_terminal,
            is_detached=detach,
            forget=_forgetter(engine, record),
        )
        failed.pop_all()
    if not detach:
        _remember(engine, process)
    return process


def _submit(engine: Engine, params: dict[str, Any], fds: Mapping[str, int]) -> Job:
    params["fd_names"] = {name: index for index, name in enumerate(fds)}
    return engine.helper.submit("exec", params, list(fds.values()))


def _await_started(job: Job, timeout_s: float | None, args: Sequence[str]) -> dict[str, Any]:
    limit_s = _START_TIMEOUT_S if timeout_s is None else min(timeout_s, _START_TIMEOUT_S)
    try:
        message = job.receive(limit_s)
    except DeadlineExceeded:
        raise DeadlineExceeded(
            f"{args[0]!r} was not started in the container within {limit_s:g} s", timeout_s=limit_s
        ) from None
    if message is None:
        raise LaunchError("the process was killed before it was started", step="process", reason="killed")
    return message


# -- what it takes --------------------------------------------------------------------------------


def _params(
    engine: Engine, record: ContainerRecord, request: Request, *, is_detached: bool
) -> dict[str, Any]:
    """The exec job's parameters. Raises WrongState, InvalidOption, NotFound."""
    directory = engine.store.container_dir(record.id)
    if not directory.is_dir():
        raise NotFound(f"container {record.name} was removed")
    observed = observe(directory)
    runtime.after("exec", str(observed.state))
    template = _template(engine, record, observed.cgroup_manager)
    given: dict[str, Any] = {"command": request.args}
    for name in ("env", "user", "workdir"):
        if getattr(request, name) is not None:
            given[name] = getattr(request, name)
    asked = parse_run_options(**given)
    if not asked.command:
        raise InvalidOption("exec: the command is empty")
    user = asked.user or template.user
    return {
        **template.params,
        "exec_id": new_id(),
        "pid": observed.pid,
        "pid_start": observed.pid_start,
        "spec": {"process": _process(template, request, asked), "linux": template.linux},
        "user": user,
        "is_detached": is_detached,
        "record": {
            "args": list(asked.command),
            "user": user,
            "tty": request.tty,
            "created_at_ns": time.time_ns(),
        },
    }


def _process(template: _Template, request: Request, asked: RunOptions) -> dict[str, Any]:
    made = {**template.process, "args": list(asked.command or ())}
    made["env"] = _environment(made.get("env") or (), asked.env or {}, has_terminal=request.tty)
    if asked.workdir is not None:
        made["cwd"] = asked.workdir
    if request.tty:
        made["terminal"] = True
        if request.size is not None:
            made["consoleSize"] = {"height": request.size[0], "width": request.size[1]}
    if request.privileged:
        # As Docker's: all capabilities and no profile; the filter and no_new_privs are the container's.
        held = list(template.all_capabilities)
        made["capabilities"] = {"bounding": held, "effective": held, "permitted": held}
        made.pop("apparmorProfile", None)
    return made


def _environment(own: Sequence[str], given: Mapping[str, str | None], *, has_terminal: bool) -> list[str]:
    merged: dict[str, str | None] = {"TERM": "xterm"} if has_terminal else {}
    for line in own:
        name, _, value = line.partition("=")
        merged[name] = value
    merged.update(given)
    return [f"{name}={value}" for name, value in merged.items() if value is not None]


def _template(engine: Engine, record: ContainerRecord, manager: str) -> _Template:
    state = _state(engine)
    with state.lock:
        found = state.templates.get(record.id)
    # An update may have put it into further cgroups, and an exec has to be where all of it is limited.
    if found is None or found.record != record or found.manager != manager:
        found = _make_template(engine, record, manager)
        with state.lock:
            state.templates[record.id] = found
    return found


def _make_template(engine: Engine, record: ContainerRecord, manager: str) -> _Template:
    from pycontainer.engine.images import Image

    options = parse_run_options(**record.options)
    config: ImageConfig = Image.get(record.image_id, engine=engine).config
    spec = recipes.spec_of(engine, record.id, options, config, manager=manager)
    program = runtime.seccomp_program(options, spec, engine.host)
    user, groups = runtime.identity(options, config)
    described = spec.to_dict()
    linux, process = described.get("linux") or {}, dict(described["process"])
    process.pop("terminal", None)
    process.pop("consoleSize", None)
    cgroup = runtime.plan_cgroups(spec, engine.host)
    return _Template(
        record=record,
        manager=manager,
        params={
            "id": record.id,
            "groups": recipes.groups_of(groups, spec),
            "cgroup": {name: cgroup[name] for name in ("clone_into", "procs", "freeze")},
            "container_dir": str(engine.store.container_dir(record.id)),
            "seccomp_b64": base64.b64encode(program or b"").decode(),
            "events_dir": str(engine.store.events_dir),
            "event_attributes": container_attributes(record, options, config),
        },
        process=process,
        linux={
            "namespaces": [{"type": entry["type"]} for entry in linux.get("namespaces") or ()],
            "uidMappings": linux.get("uidMappings") or [],
            "gidMappings": linux.get("gidMappings") or [],
            "seccomp": {"flags": (linux.get("seccomp") or {}).get("flags") or []},
        },
        user=user,
        all_capabilities=tuple(engine.host.capabilities),
    )


# -- what there is --------------------------------------------------------------------------------


def list_all(engine: Engine, record: ContainerRecord) -> list[Exec]:
    """The container's execs: those that run, and detached ones that have ended; the oldest first."""
    directory = str(engine.store.container_dir(record.id))
    return [
        _look(engine, record, fields)
        for fields in execrecords.read_all(directory)
        if fields["is_running"] or fields["is_detached"]
    ]


def find(engine: Engine, record: ContainerRecord, key: str) -> Exec:
    """The exec with this id, or unique beginning of one. Raises NotFound, InvalidOption."""
    found = [made for made in list_all(engine, record) if made.id.startswith(key)]
    if len(found) == 1 and key:
        return found[0]
    if found:
        raise InvalidOption(f"exec id {key!r} is the beginning of {len(found)} ids; give more of it")
    raise NotFound(f"container {record.name} has no exec {key!r}")


def _look(engine: Engine, record: ContainerRecord, fields: Mapping[str, Any]) -> Exec:
    return Exec(
        id=fields["id"],
        args=tuple(fields["args"]),
        pid=fields.get("pid") if fields["is_running"] else None,
        is_running=fields["is_running"],
        exit_code=fields.get("exit_code"),
        is_detached=fields["is_detached"],
        user=fields["user"],
        tty=fields["tty"],
        started_at=from_nanoseconds(fields.get("started_at_ns")),
        finished_at=from_nanoseconds(fields.get("finished_at_ns")),
        container_id=record.id,
        engine=engine,
        parent=tuple(fields["parent"]),
    )


# -- whose they are -------------------------------------------------------------------------------


def _remember(engine: Engine, process: Process) -> None:
    """Keep the process as long as it runs, though nobody holds it: as without us, it goes on."""
    state = _state(engine)
    with state.lock:
        earlier = list(state.living)
        state.living.add(process)
    if len(earlier) > _MANY:
        for other in earlier:
            other.poll()


def _forgetter(engine: Engine, record: ContainerRecord) -> Any:
    held = weakref.ref(engine)

    def forget(process: Process, is_lost: bool) -> None:
        engine = held()
        if engine is None:
            return
        state = _state(engine)
        with state.lock:
            state.living.discard(process)
        if is_lost:
            # What it had forked lives on: its parent can end it no more.
            directory = str(engine.store.container_dir(record.id))
            if Path(directory).is_dir():
                with suppress(PycontainerError):
                    engine.helper.run("sweep_execs", {"container_dir": directory}, timeout_s=_SWEEP_TIMEOUT_S)

    return forget


def forget_all(engine: Engine, *, is_child: bool = False) -> None:
    """End the processes of an engine that closes; in a forked child they are the parent's and go on."""
    state = _states.pop(engine, None)
    if state is None:
        return
    if is_child:
        for process in state.living:
            process._leave()
        return
    for process in list(state.living):
        process.close()
