"""Containers as objects: live views of one record in the store and one monitor."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Unpack, final

from pycontainer import runtime
from pycontainer.engine import steering
from pycontainer.engine.connecting import Connectable
from pycontainer.engine.engine import Engine, current_engine, engine_on
from pycontainer.engine.filemethods import FileMethods
from pycontainer.engine.images import Image, engine_for, resolve_image
from pycontainer.engine.observing import Observable
from pycontainer.engine.ownership import detach, forget_if_abandoned, process_owner, this_process
from pycontainer.engine.placement import Placed
from pycontainer.engine.state import Observed, await_start, observe
from pycontainer.engine.streams import DEVNULL, PIPE
from pycontainer.engine.supervision import Health, health_of
from pycontainer.engine.terminals import Attachable
from pycontainer.errors import NotFound, WrongState
from pycontainer.options import RunOptions, given_seconds, given_signal, parse_run_options

if TYPE_CHECKING:
    from pycontainer._generated import RunKwargs, UpdateKwargs
    from pycontainer.engine.execs import Exec
    from pycontainer.engine.filters import FilterValues
    from pycontainer.engine.process import ExecResult, Process
    from pycontainer.engine.pruning import Pruned
    from pycontainer.engine.waits import Wait
    from pycontainer.oci import runtime as model
    from pycontainer.store import ContainerRecord

__all__ = ["Container"]

_PAUSE_TIMEOUT_S = 10.0


@final
class Container(Observable, FileMethods, Attachable, Connectable, Placed):
    """A container: a handle whose attributes read the store and the kernel anew each time.

    `Container.create()` makes one that lives on until it is removed, and `Container.get()` finds it from
    any process. `with Container(image, ...) as c:` makes and starts one that is owned: it is gone when
    the block ends, and when this process dies, however that happens.

    Handles may be used from several threads, and pickled.
    """

    def __init__(
        self,
        image: str | Image,
        command: Sequence[str] | str | None = None,
        *,
        engine: Engine | None = None,
        wait: Wait | None = None,
        **options: Unpack[RunKwargs],
    ) -> None:
        """Prepare an owned container; it is created and started on entering the with block.

        wait: what the block begins with, as `pycontainer.wait.port(6379)`; see wait_until.
        """
        self._engine = engine_for(image, engine)
        self._awaited = wait
        self._wanted: tuple[str | Image, RunOptions] | None = (
            image,
            parse_run_options(command=command, **options),
        )
        self._record: ContainerRecord | None = None
        self._is_owner = True

    @classmethod
    def _attach(cls, engine: Engine, record: ContainerRecord) -> Container:
        made = object.__new__(cls)
        made._engine, made._wanted, made._record = engine, None, record
        made._awaited, made._is_owner = None, False
        return made

    @classmethod
    def create(
        cls,
        image: str | Image,
        command: Sequence[str] | str | None = None,
        *,
        engine: Engine | None = None,
        owned: bool = False,
        owner_pid: int | None = None,
        **options: Unpack[RunKwargs],
    ) -> Container:
        """Make a container without starting it; it stays until it is removed.

        owned: it belongs to this process, and is gone when that ends, however it ends. owner_pid: it belongs
        to another process in the same way, and does not go with this one.
        Raises: AlreadyExists for a taken name; NotFound; InvalidOption; TypeError; WrongState when there is
        no process with this id.
        """
        from pycontainer.engine import launching  # only for what makes or starts

        engine = engine_for(image, engine)
        asked = parse_run_options(command=command, **options)
        reference = image if isinstance(image, str) else ""
        owner = this_process() if owned else process_owner(owner_pid) if owner_pid is not None else None
        chosen = resolve_image(engine, image, asked)
        record, _ = launching.create(engine, chosen, asked, owner=owner, reference=reference)
        made = cls._attach(engine, record)
        if owned:
            made._is_owner = True
            engine.own(made)
        return made

    @classmethod
    def get(cls, key: str, *, engine: Engine | None = None) -> Container:
        """The container with this name, id or unique beginning of an id. Raises NotFound, InvalidInput."""
        engine = engine or current_engine()
        record = engine.store.state.containers.find(key)
        if forget_if_abandoned(engine, record):
            raise NotFound(
                f"container {record.name} is gone"
                + (" with the process that it belonged to" if record.owner is not None else "")
            )
        return cls._attach(engine, record)

    @classmethod
    def list(
        cls,
        *,
        all: bool = False,
        filters: FilterValues | None = None,
        limit: int | None = None,
        engine: Engine | None = None,
    ) -> list[Container]:
        """The running containers, or all of them, the newest first.

        filters: Docker's ancestor, before, exited, expose, health, id, is-task, label, name, network,
        publish, since, status and volume; of each a value or a list of alternatives, and labels that must
        all be there.
        limit: no more than that many, of all. Raises: InvalidInput, NotFound.
        """
        from pycontainer.engine.listing import select

        engine = engine or current_engine()
        records = engine.store.state.containers.list()
        # One without an image is a step of a build that goes on.
        found = [
            cls._attach(engine, record)
            for record in records
            if not forget_if_abandoned(engine, record) and record.image_id
        ]
        return select(engine, found, all=all, given=filters, limit=limit)

    @classmethod
    def prune(cls, *, filters: FilterValues | None = None, engine: Engine | None = None) -> Pruned:
        """Remove every container that does not run.

        filters: until (created before that time: a moment, or a duration that has passed), label and
        label! ("key" or "key=value"). Raises: InvalidInput for another one.
        """
        from pycontainer.engine.pruning import prune_containers

        return prune_containers(engine or current_engine(), filters)

    @classmethod
    def returning(cls, *names: str, engine: Engine | None = None) -> Sequence[Container]:
        """Those that are to run again after a reboot, the oldest first; with names, only of these.

        Which are: restart="always" if it ever ran, "unless-stopped" unless it was stopped by hand.
        Raises NotFound.
        """
        from pycontainer.engine import booting

        engine = engine or current_engine()
        table = engine.store.state.containers
        records = [table.find(name) for name in names] if names else table.list()
        return [cls._attach(engine, record) for record in booting.returning(engine, records)]

    @classmethod
    def start_all(
        cls, containers: Iterable[Container | str], *, engine: Engine | None = None
    ) -> Sequence[Container]:
        """Start those of the containers that do not run, each after the ones that it shares with or requires.

        Gives the started ones. When some fail the others are started all the same, and the first error is
        raised then, with a note for each. Raises also NotFound, InvalidOption for a circle.
        """
        from pycontainer.engine import booting

        engine = engine or current_engine()
        return booting.start_all(engine, cls._each(engine, containers))

    @classmethod
    def stop_all(
        cls,
        containers: Iterable[Container | str],
        timeout: float | str | timedelta | None = None,
        *,
        engine: Engine | None = None,
    ) -> None:
        """Stop the containers for a shutdown, in the opposite order of start_all.

        It counts as no stop by hand: "unless-stopped" has them started again. timeout: as for stop.
        """
        from pycontainer.engine import booting

        engine = engine or current_engine()
        limit_s = None if timeout is None else given_seconds(timeout, minus_one=True)
        booting.stop_all(engine, cls._each(engine, containers), limit_s)

    @classmethod
    def _each(cls, engine: Engine, containers: Iterable[Container | str]) -> Sequence[Container]:
        return [cls.get(each, engine=engine) if isinstance(each, str) else each for each in containers]

    # -- what it is ------------------------------------------------------------------------------

    @property
    def _known(self) -> ContainerRecord:
        if self._record is None:
            raise WrongState(
                "the container does not exist yet; enter its with block, or use Container.create()",
                verb="use",
                state="prepared",
            )
        return self._record

    @property
    def _current(self) -> ContainerRecord:
        """The record as it is now: others rename and update, too. Of a removed container the last known."""
        known = self._known
        found = None if self._engine._closed else self._engine.store.state.containers.get(known.id)
        return found or known

    @property
    def _directory(self) -> Path:
        return self._engine.store.container_dir(self._known.id)

    @property
    def _options(self) -> RunOptions:
        return parse_run_options(**self._current.options)

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return self._known.id

    @property
    def name(self) -> str:
        """Unique in its store."""
        return self._current.name

    @property
    def image(self) -> Image:
        """The image it was made from, which stays as long as it does, if perhaps without a name."""
        return Image.get(self._known.image_id, engine=self._engine)

    @property
    def labels(self) -> Mapping[str, str]:
        """The image's labels and its own."""
        return {**self.image.config.config.labels, **(self._options.labels or {})}

    @property
    def spec(self) -> model.Spec:
        """The runtime-spec it is started with, or was if it runs."""
        from pycontainer.engine import recipes  # few need more of it than what the store says

        manager = self._observed.cgroup_manager
        return recipes.spec_of(self._engine, self.id, self._options, self.image.config, manager=manager)

    @property
    def created_at(self) -> datetime:
        """When it was created, UTC."""
        return datetime.fromtimestamp(self._known.created_at, UTC)

    # -- how it is -------------------------------------------------------------------------------

    @property
    def _observed(self) -> Observed:
        if not self._directory.is_dir():
            raise NotFound(f"container {self.name} was removed")
        return observe(self._directory)

    @property
    def state(self) -> str:
        """One of Docker's: created, running, paused, restarting, removing, exited, dead."""
        return str(self._observed.state)

    @property
    def pid(self) -> int | None:
        """Process id of its first process on the host, while it runs."""
        return self._observed.pid

    @property
    def exit_code(self) -> int | None:
        """Of its last run: the program's code, 128+n after signal n, or Docker's 125 to 127."""
        return self._observed.exit_code

    @property
    def oom_killed(self) -> bool:
        """Whether the kernel killed one of its processes for want of memory in its last run."""
        return self._observed.oom_killed

    @property
    def restart_count(self) -> int:
        """How often its restart policy has started it again since it was last started by somebody."""
        return self._observed.restart_count

    @property
    def health(self) -> Health | None:
        """What its health checks say: status, failing_streak, log. None without a check, or never started."""
        return health_of(self._directory, self._observed)

    @property
    def started_at(self) -> datetime | None:
        """When its program was last started, UTC."""
        return self._observed.started_at

    @property
    def finished_at(self) -> datetime | None:
        """When its last run ended, UTC."""
        return self._observed.finished_at

    def inspect(self) -> dict[str, Any]:
        """What `docker inspect` shows of a container, as far as it applies here."""
        from pycontainer.engine.views import container_document

        return container_document(self._engine, self._current, self._options, self._observed, self.image)

    # -- what it does ----------------------------------------------------------------------------

    def start(self, *, wait: Wait | None = None) -> None:
        """Start its program; it goes on when this process ends.

        wait: return when this is met, see wait_until; the container stays when it is not.
        Raises LaunchError, WrongState; NotReady.
        """
        with self._engine.store.container_lock(self.id):
            steering.start(self)
        if wait is not None:
            self.wait_until(wait)

    def wait_until(self, strategy: Wait, timeout: float | str | timedelta | None = None) -> None:
        """Return when what a function of `pycontainer.wait` describes is met.

        timeout: seconds; by default the strategy's own (`within`), or else 60. Raises NotReady at once when
        it cannot be met any more, with the state, the exit code and the end of the log; ReadinessTimeout.
        """
        from pycontainer.engine.waiting import Subject, await_ready

        subject = Subject(
            name=self.name,
            directory=self._directory,
            helper=self._engine.helper,
            start_command=lambda command: self.popen(command, stdout=DEVNULL, stderr=DEVNULL),
            logs=self.logs,
        )
        await_ready(subject, strategy, None if timeout is None else given_seconds(timeout))

    def wait(
        self,
        timeout: float | str | timedelta | None = None,
        *,
        condition: steering.Condition = "not-running",
    ) -> int:
        """Wait for its end and return the exit code.

        timeout: seconds; None waits for ever. condition: "not-running" (at once when it does not run),
        "next-exit" (the end of this run, or of the next one) or "removed".
        Raises DeadlineExceeded; WrongState when never started; NotFound.
        """
        limit_s = None if timeout is None else given_seconds(timeout)
        removes_itself = self._known.auto_remove
        try:
            observed = steering.await_condition(
                self._directory, condition, limit_s, removes_itself=removes_itself
            )
        except FileNotFoundError:
            raise steering.removed(self.name) from None
        if removes_itself and condition == "removed":
            forget_if_abandoned(self._engine, self._known)
        return steering.exit_code_of(observed, self.name, condition)

    def stop(
        self, timeout: float | str | timedelta | None = None, *, signal: int | str | None = None
    ) -> None:
        """Ask its program to end, and kill it when it has not after the timeout.

        timeout: seconds, default the container's stop_timeout (10); -1 waits for ever. signal: to ask by,
        instead of its own. Stopping what does not run is no error.
        """
        limit_s = None if timeout is None else given_seconds(timeout, minus_one=True)
        steering.stop(self, limit_s, number=None if signal is None else given_signal(signal))

    def restart(
        self, timeout: float | str | timedelta | None = None, *, signal: int | str | None = None
    ) -> None:
        """Stop it, if it runs, and start it again; an owned one stays owned.

        timeout, signal: as for stop. Raises LaunchError; WrongState.
        """
        limit_s = None if timeout is None else given_seconds(timeout, minus_one=True)
        steering.restart(self, limit_s, None if signal is None else given_signal(signal))

    def kill(self, signal: int | str = "KILL") -> None:
        """Send its first process a signal, by name or number. Raises WrongState, InvalidOption."""
        steering.kill(self, given_signal(signal))

    def pause(self, *, timeout: float | str | timedelta = _PAUSE_TIMEOUT_S) -> None:
        """Stop all its processes where they are, until unpause(). Returns when none runs any more.

        timeout: seconds. Raises WrongState; DeadlineExceeded when one cannot be stopped.
        """
        steering.pause(self, given_seconds(timeout))

    def unpause(self) -> None:
        """Let its processes go on. Raises WrongState unless it is paused."""
        steering.unpause(self)

    def rename(self, name: str) -> None:
        """Give it another name. Raises AlreadyExists, InvalidOption, WrongState."""
        steering.rename(self, name)

    def update(self, **options: Unpack[UpdateKwargs]) -> None:
        """Change limits, the restart policy and what it may reach, also while it runs: all of it, or nothing.

        None gives an option its default back. Raises InvalidOption; KernelError naming the file when the
        kernel refuses a limit; TypeError for an unknown option; WrongState.
        """
        from pycontainer.engine import updating

        updating.update(self, options)

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it with its files. Raises WrongState while it runs, unless force, which kills it first.

        volumes: its anonymous volumes, too, which stay otherwise. Removing what is gone is no error.
        """
        with self._engine.store.container_lock(self.id):
            await_start(self._directory)
            try:
                observed = self._observed
            except NotFound:
                observed = Observed()
            if steering.is_live(observed):
                runtime.after("force remove" if force else "remove", str(observed.state))
                steering.end(self, observed)
            if not (volumes or self._known.auto_remove or self._is_owner):
                self._engine.store.state.volumes.keep(self.id)
            self._engine.forget_container(self.id)

    # -- further processes -----------------------------------------------------------------------

    def exec(
        self,
        args: Sequence[str] | str,
        *,
        input: bytes | IO[bytes] | None = None,
        env: Mapping[str, str | None] | None = None,
        user: str | None = None,
        workdir: str | None = None,
        tty: bool = False,
        privileged: bool = False,
        timeout: float | str | timedelta | None = None,
        check: bool = False,
    ) -> ExecResult:
        """Run a further program in it to the end, and return what it wrote.

        args: program and arguments; a string is split as a shell would. input: bytes or an open file for
        its stdin, which is empty otherwise. env: variables beside the container's own; None takes one
        away. user: name or id, with or without a group; workdir: an existing directory; default those of
        the container. tty: give it a terminal; all output is stdout then. privileged: all capabilities.
        timeout: seconds after which it is killed with all its descendants. check: raise ContainerFailed
        unless it exits with 0.

        It is over when the program has ended and nobody has its output open. Raises LaunchError with
        exit_code 125, 126 or 127 when it could not be started; WrongState; DeadlineExceeded.
        """
        from pycontainer.engine import execs

        request = execs.Request(
            args=args, env=env, user=user, workdir=workdir, tty=tty, privileged=privileged
        )
        return execs.run(self._engine, self._current, request, input=input, timeout=timeout, check=check)

    def popen(
        self,
        args: Sequence[str] | str,
        *,
        stdin: int | IO[bytes] | None = DEVNULL,
        stdout: int | IO[bytes] | None = PIPE,
        stderr: int | IO[bytes] | None = PIPE,
        env: Mapping[str, str | None] | None = None,
        user: str | None = None,
        workdir: str | None = None,
        tty: bool = False,
        size: tuple[int, int] | None = None,
        privileged: bool = False,
        detach: bool = False,
    ) -> Process:
        """Start a further program in it, with streams as `subprocess.Popen` has them. See exec.

        stdin, stdout, stderr: PIPE, DEVNULL, STDOUT (for stderr), a descriptor, a file, or None for this
        process's own. tty: one terminal instead of these, of size (rows, columns).

        The program ends with this process, however that ends. detach: it goes on, and is found again by
        its `id` with get_exec; PIPE means DEVNULL then. Raises as exec does.
        """
        from pycontainer.engine import execs

        request = execs.Request(
            args=args, env=env, user=user, workdir=workdir, tty=tty, privileged=privileged, size=size
        )
        return execs.start(
            self._engine, self._current, request, stdin=stdin, stdout=stdout, stderr=stderr, detach=detach
        )

    @property
    def execs(self) -> Sequence[Exec]:
        """Its further processes that run, whoever started them, and detached ones that have ended."""
        from pycontainer.engine import execs

        return execs.list_all(self._engine, self._known)

    def get_exec(self, key: str) -> Exec:
        """The further process with this id, or unique beginning of one. Raises NotFound, InvalidOption."""
        from pycontainer.engine import execs

        return execs.find(self._engine, self._known, key)

    # -- ownership -------------------------------------------------------------------------------

    def __enter__(self) -> Container:
        if self._wanted is None:
            return self
        from pycontainer.engine.launching import create, launch  # see create

        image, options = self._wanted
        chosen = resolve_image(self._engine, image, options)
        reference = image if isinstance(image, str) else ""
        record, made = create(self._engine, chosen, options, owner=this_process(), reference=reference)
        self._record = record
        try:
            launch(
                self._engine, record, options, chosen.config, is_owned=True, lets_go=True, made=made
            ).close()
        except BaseException:
            self.remove(force=True)  # who gave up waiting for it may not have been heard any more
            self._record = None
            raise
        self._engine.own(self)
        if self._awaited is not None:
            try:
                self.wait_until(self._awaited)
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_owner:
            self._end_owned()

    def _end_owned(self) -> None:
        """Remove it, unless it was handed over, or belongs to the process that this one was forked from."""
        owner = self._current.owner
        if owner is not None and owner.pid == os.getpid():
            self.remove(force=True)
        self._engine.disown(self.id)

    def detach(self) -> None:
        """Hand an owned container over: it goes on after the with block, and when this process ends.

        Idempotent. Raises DeadlineExceeded when its monitor does not answer; it stays owned then.
        """
        detach(self)
        self._is_owner = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _attach_by_id, (str(self._engine.root), self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Container) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def _repr_html_(self) -> str:
        from pycontainer.engine.displays import container_html  # only in notebooks

        return container_html(self)

    def __repr__(self) -> str:
        if self._record is None:
            return "Container(not entered)"
        return f"Container(name={self.name!r}, id={self.id[:12]!r})"


def _attach_by_id(root: str, container_id: str) -> Container:
    return Container.get(container_id, engine=engine_on(Path(root)))
