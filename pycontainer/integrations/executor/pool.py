"""`ContainerExecutor`: the interface of `concurrent.futures`, with containers as workers."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, InvalidStateError
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, final

from pycontainer.engine import current_engine
from pycontainer.errors import InvalidOption, PycontainerError, WrongState
from pycontainer.integrations.executor.box import Box, Settings, Task
from pycontainer.options import given_seconds, parse_run_options

if TYPE_CHECKING:
    from pycontainer._generated import RunKwargs
    from pycontainer.engine import Engine, Image

__all__ = ["ContainerExecutor", "TaskFuture"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
MAX_RESULT_BYTES = 256 << 20


@final
class TaskFuture(Future[_T]):
    """A task's future. Unlike that of other executors, `cancel` also ends a task that runs."""

    def __init__(self) -> None:
        super().__init__()
        self._box: Box | None = None
        # Callbacks are called within, and may look at the future, or cancel it again.
        self._guard = threading.RLock()

    def cancel(self) -> bool:
        """Take the task back, or end it with its container if it runs; False if it is done."""
        if super().cancel():
            return True
        with self._guard:
            box = self._box
            try:
                self.set_exception(CancelledError())
            except InvalidStateError:
                return False
            if box is not None:
                box.end()
        return True

    def cancelled(self) -> bool:
        """Whether it was cancelled, before it began or while it ran."""
        return super().cancelled() or (self.done() and isinstance(self.exception(), CancelledError))

    def _runs_in(self, box: Box | None) -> bool:
        """It is this container's now, or no longer; False when it was cancelled meanwhile."""
        with self._guard:
            self._box = box
            return not self.done()


@final
class ContainerExecutor(Executor):
    """Runs Python functions in containers of an image, each worker one container.

        with pc.ContainerExecutor("python:3.12-slim", max_workers=4, memory="512m") as executor:
            squares = list(executor.map(lambda x: x * x, range(10)))

    image: needs an interpreter (Python 3.8 or newer) and nothing else. max_workers: most containers at once;
    default the number of processors. A container is made when a task has none to run in, is kept for the next
    task, and is replaced when it dies. python: the program in the image. options: as for `run`, for each
    container; tasks have no network unless they are given one.

    timeout: seconds for each task; one that takes longer is ended, and raises DeadlineExceeded. memory bounds
    a container, and so each task: see limited. max_tasks_per_worker: a container is replaced after so many
    tasks. initializer, initargs: called once in each container; if it raises, so do all tasks.

    Results are data: None, numbers, text, bytes, dates, Decimal, UUID, arrays of numpy, and lists, tuples,
    dicts and sets of them; nothing in what the container sends is called or imported. trusted: results and
    exceptions are pickled instead. Whoever can write in the container can then run code in this process: only
    for images whose code is as good as your own. max_result_bytes: larger ones are refused.

    on_output: called with what tasks print, as bytes, in a thread of the executor's. warm: start all
    containers now.

    Functions, their closures and globals go along by value, also into another version of Python than the
    caller's if they have source. Raises: InvalidOption, TypeError; Unsupported without cloudpickle.
    """

    def __init__(
        self,
        image: str | Image,
        max_workers: int | None = None,
        *,
        timeout: float | str | timedelta | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_worker: int | None = None,
        trusted: bool = False,
        max_result_bytes: int = MAX_RESULT_BYTES,
        on_output: Callable[[bytes], None] | None = None,
        warm: bool = False,
        python: str = "python3",
        engine: Engine | None = None,
        **options: Unpack[RunKwargs],
    ) -> None:
        from pycontainer.integrations.executor.sending import modules_to_send

        count = len(os.sched_getaffinity(0)) if max_workers is None else max_workers
        for name, number in (("max_workers", count), ("max_tasks_per_worker", max_tasks_per_worker)):
            if number is not None and number < 1:
                raise InvalidOption(f"option {name}={number}: give a number from 1")
        parse_run_options(**options)  # now, not with the first task
        modules_to_send()
        self._max_workers = count
        self._timeout_s = None if timeout is None else given_seconds(timeout)
        self._memory = options.get("memory")
        self._max_tasks = max_tasks_per_worker
        self._settings = Settings(
            engine=engine or current_engine(),
            image=image,
            python=python,
            options=dict(options),
            initializer=None if initializer is None else (initializer, initargs),
            trusted=trusted,
            max_result_bytes=max_result_bytes,
            on_output=on_output,
        )
        self._pid = os.getpid()
        self._ready = threading.Condition()
        self._waiting: deque[tuple[Task, TaskFuture[Any]]] = deque()
        self._idle = 0
        self._threads: list[threading.Thread] = []
        self._is_shut = False
        if warm:
            with self._ready:
                for _ in range(count):
                    self._add_thread(is_warm=True)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> TaskFuture[_T]:
        """Have a function called in a container. Raises WrongState after shutdown."""
        return self._submit(fn, args, kwargs, self._timeout_s, self._memory)

    def limited(
        self, *, timeout: float | str | timedelta | None = None, memory: int | str | None = None
    ) -> LimitedExecutor:
        """This executor with other limits for the tasks that are submitted through what is returned.

        timeout: seconds. memory: bytes, or as "512m". What is not given is the executor's.
        """
        parse_run_options(memory=memory)
        return LimitedExecutor(
            self,
            self._timeout_s if timeout is None else given_seconds(timeout),
            self._memory if memory is None else memory,
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks, and remove the containers when those there are have run. Idempotent.

        wait: return when that is done. cancel_futures: drop the tasks that have not begun.
        """
        with self._ready:
            self._is_shut = True
            dropped = list(self._waiting) if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
            self._ready.notify_all()
        for _, future in dropped:
            future.cancel()
        if wait and os.getpid() == self._pid:
            for thread in self._threads:
                if thread is not threading.current_thread():
                    thread.join()

    # -- inside ----------------------------------------------------------------------------------

    def _submit(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout_s: float | None,
        memory: int | str | None,
    ) -> TaskFuture[Any]:
        if os.getpid() != self._pid:
            raise WrongState("the executor is of the process that made it; make one here", verb="submit")
        task = Task(call=(fn, args, kwargs), timeout_s=timeout_s, memory=memory)
        future: TaskFuture[Any] = TaskFuture()
        with self._ready:
            if self._is_shut:
                raise WrongState("the executor was shut down", verb="submit", state="closed")
            self._waiting.append((task, future))
            if self._idle < len(self._waiting) and len(self._threads) < self._max_workers:
                self._add_thread()
            self._ready.notify()
        return future

    def _add_thread(self, *, is_warm: bool = False) -> None:
        # Daemons: who forgets shutdown can still end; the containers are owned, and end with the process.
        name = f"pycontainer-executor-{len(self._threads)}"
        thread = threading.Thread(target=self._serve, args=(is_warm,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _next(self) -> tuple[Task, TaskFuture[Any]] | None:
        with self._ready:
            while not self._waiting:
                if self._is_shut:
                    return None
                self._idle += 1
                try:
                    self._ready.wait()
                finally:
                    self._idle -= 1
            return self._waiting.popleft()

    def _serve(self, is_warm: bool) -> None:
        worker = _Worker(self._settings, self._max_tasks)
        try:
            if is_warm:
                worker.warm()
            while (entry := self._next()) is not None:
                task, future = entry
                del entry
                if future.set_running_or_notify_cancel():
                    worker.serve(task, future)
                del task, future  # lest a waiting thread holds them
        finally:
            worker.close()


class _Worker:
    """A thread's container: made, kept and replaced as tasks need it."""

    def __init__(self, settings: Settings, max_tasks: int | None) -> None:
        self._settings = settings
        self._max_tasks = max_tasks
        self._box: Box | None = None
        self._count = 0

    def warm(self) -> None:
        """Have a container; what keeps it from being made, the first task will say."""
        try:
            self._box = Box(self._settings)
        except BaseException as error:  # the initializer's own may be anything
            if not isinstance(error, Exception):
                raise

    def serve(self, task: Task, future: TaskFuture[Any]) -> None:
        """Run a task and say so."""
        try:
            value = self._run(task, future)
        except BaseException as error:
            with suppress(InvalidStateError):  # it was cancelled while it ran
                future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            with suppress(InvalidStateError):
                future.set_result(value)

    def _run(self, task: Task, future: TaskFuture[Any]) -> Any:
        if self._box is not None and (self._box.has_ended or not self._box.can_have(task.memory)):
            self.close()
        if self._box is None:
            self._box, self._count = Box(self._settings), 0
        box = self._box
        self._count += 1
        try:
            if not future._runs_in(box):
                raise CancelledError
            return box.run(task)
        finally:
            future._runs_in(None)
            if not box.is_usable or box.has_ended or self._count == self._max_tasks:
                self.close()

    def close(self) -> None:
        box, self._box = self._box, None
        if box is not None:
            with suppress(PycontainerError):  # the engine is closed, or removes it with all that is left
                box.close()


@final
class LimitedExecutor(Executor):
    """An executor's containers with limits of its own; see ContainerExecutor.limited."""

    def __init__(self, inner: ContainerExecutor, timeout_s: float | None, memory: int | str | None) -> None:
        self._inner, self._timeout_s, self._memory = inner, timeout_s, memory

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> TaskFuture[_T]:
        """Have a function called in a container."""
        return self._inner._submit(fn, args, kwargs, self._timeout_s, self._memory)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing: the containers are the executor's."""
