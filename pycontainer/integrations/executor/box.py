"""One container that runs tasks, one after another, for as long as it lives."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from pycontainer.engine import Container
from pycontainer.errors import (
    DeadlineExceeded,
    InvalidInput,
    PycontainerError,
    TaskFailed,
    Unsupported,
    WorkerDied,
)
from pycontainer.integrations.executor import sending, values, worker
from pycontainer.integrations.executor.channel import Answer, Channel, Closed
from pycontainer.integrations.executor.remote import exception_of

if TYPE_CHECKING:
    from pycontainer.engine import Engine, Image

__all__ = ["Box", "Settings", "Task"]

_START_TIMEOUT_S = 60.0
_LEAST = (3, 8)
_NAME = worker.NAME
_SOURCE = Path(worker.__file__).read_bytes()
_IDLE = "import signal\nwhile True: signal.pause()"
# The input is put aside before a task can start anything that would read it.
_BOOT = (
    'import os,sys,types;i=os.fdopen(os.dup(0),"rb");n=os.open("/dev/null",0);os.dup2(n,0);os.close(n);'
    f"m=types.ModuleType({_NAME!r});sys.modules[{_NAME!r}]=m;"
    'exec(compile(i.read(int(i.readline())),"<pycontainer>","exec"),m.__dict__);m.main(i)'
)


@attrs.frozen(kw_only=True)
class Settings:
    """What all workers of an executor have in common."""

    engine: Engine
    image: str | Image
    python: str
    options: Mapping[str, Any]
    initializer: tuple[Callable[..., object], tuple[Any, ...]] | None
    trusted: bool
    max_result_bytes: int
    on_output: Callable[[bytes], None] | None


@attrs.frozen(kw_only=True)
class Task:
    """A call, and its limits: seconds, and bytes or text as the option memory."""

    call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
    timeout_s: float | None = None
    memory: int | str | None = None

    @property
    def name(self) -> str:
        """Of the function."""
        return getattr(self.call[0], "__qualname__", None) or repr(self.call[0])


class Box:
    """A started worker. Raises on making: LaunchError, NotFound, Unsupported, WorkerDied, ..."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._memory: int | str | None = settings.options.get("memory")
        self._is_ended = False
        self.container: Container = Container.create(
            settings.image,
            ["-S", "-E", "-c", _IDLE],
            engine=settings.engine,
            owned=True,
            **{"log_driver": "none", **settings.options, "entrypoint": [settings.python]},
        )
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        settings = self._settings
        self.container.start()
        arguments = [settings.python, "-c", _BOOT]
        self._process = self.container.popen(arguments, stdin=-1, stdout=-1, stderr=-1)
        self._channel = Channel(self._process, settings.max_result_bytes, settings.on_output)
        deadline = time.monotonic() + _START_TIMEOUT_S
        setup = {"trusted": settings.trusted, "modules": sending.modules_to_send()}
        try:
            self._channel.send_raw(b"%d\n" % len(_SOURCE) + _SOURCE, deadline)
            self._channel.send(sending.plainly_pickled(setup), deadline)
            answer = self._channel.receive(deadline)
        except Closed:
            raise self._died("the worker ended before it began") from None
        except DeadlineExceeded:
            raise self._died(f"the worker did not begin within {_START_TIMEOUT_S:g} s") from None
        self._version = _version_of(answer)
        if self._version < _LEAST:
            shown = ".".join(map(str, self._version))
            raise Unsupported(f"the image has Python {shown}", "use one with Python 3.8 or newer")
        if settings.initializer is not None:
            function, arguments_given = settings.initializer
            self.run(Task(call=(function, arguments_given, {})))

    def run(self, task: Task) -> Any:
        """Run a task and give its value. Whether another one can follow, is_usable says.

        Raises: the task's exception; WorkerDied, DeadlineExceeded; InvalidInput for a forged answer.
        """
        content = sending.pickled(task.call, self._version)
        if task.memory != self._memory:
            self._limit(task.memory)
        deadline = None if task.timeout_s is None else time.monotonic() + task.timeout_s
        self.is_usable = False
        try:
            self._channel.send(content, deadline)
            del content
            answer = self._channel.receive(deadline)
        except Closed:
            raise self._died(f"the container that ran {task.name} has ended") from None
        except DeadlineExceeded:
            raise DeadlineExceeded(
                f"task {task.name} did not end within {task.timeout_s:g} s and was ended",
                timeout_s=task.timeout_s,
            ) from None
        self._channel.drain()
        found = self._value(answer, task)
        self.is_usable = True
        return found

    is_usable: bool = True
    """Whether another task can be run in it."""

    def _value(self, answer: Answer, task: Task) -> Any:
        settings = self._settings
        if answer.kind == b"r":
            return values.decode(answer.text, answer.buffers)
        if answer.kind == b"p" and settings.trusted and len(answer.buffers) == 1:
            self.is_usable = True  # whatever loading it raises
            return sending.loaded(answer.buffers[0])
        described = values.parse(answer.text)
        if answer.kind == b"e":
            error = self._raised(described, answer)
            self.is_usable = True
            raise error
        if answer.kind == b"u" and isinstance(described, dict):
            self.is_usable = True
            problem = values.shown(described.get("problem"))
            raise TaskFailed(
                f"the result of {task.name} stays in the container: {problem}. "
                "Give back numbers, text, bytes, dates, numpy arrays, and lists, tuples, dicts and sets of "
                "them; or pass trusted=True if nobody else can write what comes from this image"
            )
        raise InvalidInput("the answer is none that a worker gives")

    def _raised(self, described: Any, answer: Answer) -> BaseException:
        plain = exception_of(described)
        if self._settings.trusted and len(answer.buffers) == 1:
            loaded = sending.loaded(answer.buffers[0])
            if isinstance(loaded, Exception):
                loaded.__cause__ = plain.__cause__
                return loaded
        return plain

    def can_have(self, memory: int | str | None) -> bool:
        """Whether its limit can become this one: none is lifted from a container that has one."""
        return memory is not None or self._memory is None

    def _limit(self, memory: int | str | None) -> None:
        self.container.update(memory=memory, memory_swap=memory)
        self._memory = memory

    def end(self) -> None:
        """End what runs in it, from any thread; `run` raises WorkerDied."""
        self._is_ended = True
        process = getattr(self, "_process", None)
        if process is not None:
            process.kill()

    @property
    def has_ended(self) -> bool:
        """Whether its process has ended, or was ended."""
        return self._is_ended or self._process.poll() is not None

    def _died(self, what: str) -> WorkerDied:
        """The error for its end, with what is known of it."""
        code: int | None = None
        try:
            self._channel.drain()
            code = self._process.wait(5.0)
        except DeadlineExceeded:
            self._process.kill()
        is_oom = False
        with suppress(PycontainerError):  # it has ended already
            self.container.kill()
        with suppress(PycontainerError):
            self.container.wait(5.0)
            is_oom = self.container.oom_killed
        tail = values.shown(self._channel.tail.strip())
        why = f", killed for want of memory (limit {self._memory or 'none'})" if is_oom else ""
        code_text = f" with exit code {code}" if code is not None else ""
        message = f"{what}{code_text}{why}" + (f"; it printed last:\n{tail}" if tail else "")
        return WorkerDied(message, exit_code=code, oom_killed=is_oom, log_tail=tail)

    def close(self) -> None:
        """End and remove it."""
        process = getattr(self, "_process", None)
        if process is not None:
            process.close()
        self.container.remove(force=True, volumes=True)


def _version_of(answer: Answer) -> tuple[int, int]:
    described = values.parse(answer.text) if answer.kind == b"h" else None
    version = described.get("version") if isinstance(described, dict) else None
    if not isinstance(version, list) or len(version) < 2 or not all(type(part) is int for part in version):
        raise InvalidInput("the worker did not say which Python it is")
    return version[0], version[1]
