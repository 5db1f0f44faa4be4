"""`@function`: a function that can also be called in a container."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, final

from pycontainer.engine import Engine, current_engine
from pycontainer.integrations.executor.pool import ContainerExecutor, TaskFuture

if TYPE_CHECKING:
    from pycontainer.engine import Image

__all__ = ["RemoteFunction", "function"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


def function(
    *, image: str | Image, max_workers: int | None = None, engine: Engine | None = None, **options: Any
) -> Callable[[Callable[_P, _T]], RemoteFunction[_P, _T]]:
    """Make a function callable in containers of an image.

        @pc.function(image="python:3.12-slim", memory="256m", timeout=30)
        def area(radius): ...

        area(2)  # here
        area.remote(2)  # in a container
        list(area.map([1, 2, 3]))  # in several
        area.submit(2).result()

    options: as ContainerExecutor takes them. Its containers are made when they are first needed, and are gone
    after `close()`, or with this process.
    """

    def decorate(wrapped: Callable[_P, _T]) -> RemoteFunction[_P, _T]:
        return RemoteFunction(wrapped, image, max_workers, engine, options)

    return decorate


@final
class RemoteFunction(Generic[_P, _T]):
    """A function and the image that it can run in; see function. Thread-safe."""

    def __init__(
        self,
        wrapped: Callable[_P, _T],
        image: str | Image,
        max_workers: int | None,
        engine: Engine | None,
        options: dict[str, Any],
    ) -> None:
        self.wrapped = wrapped
        """The function itself."""
        self._image, self._max_workers, self._engine, self._options = image, max_workers, engine, options
        self._lock = threading.Lock()
        self._executor: ContainerExecutor | None = None
        self._pid = os.getpid()
        functools.update_wrapper(self, wrapped)

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call it here."""
        return self.wrapped(*args, **kwargs)

    def remote(self, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call it in a container and wait for its result."""
        return self.submit(*args, **kwargs).result()

    def submit(self, *args: _P.args, **kwargs: _P.kwargs) -> TaskFuture[_T]:
        """Call it in a container; its result is the future's."""
        return self._open().submit(self.wrapped, *args, **kwargs)

    def map(self, *iterables: Iterable[Any], timeout: float | None = None) -> Iterator[_T]:
        """Call it with each, in several containers at once; results come in the order of what was given.

        timeout: seconds, from this call on, until the last result.
        """
        return self._open().map(self.wrapped, *iterables, timeout=timeout)

    def task(self) -> Callable[_P, _T]:
        """What calls it in a container of whatever process and machine it is called in; can be pickled.

        It is for engines of tasks over several machines, as Dask's `client.submit(f.task(), x)`. There the
        image is pulled by its name, into the store of that process (PYCONTAINER_ROOT), and containers are
        kept for the next task. Raises TypeError for an image without a name.
        """
        if not isinstance(self._image, str):
            raise TypeError("another machine knows no object of this one: give the image as a reference")
        return _Elsewhere(self.wrapped, self._image, self._max_workers, self._options)

    def close(self) -> None:
        """Wait for the tasks there are, and remove its containers; idempotent. The next call makes others."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()

    def __enter__(self) -> RemoteFunction[_P, _T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> ContainerExecutor:
        with self._lock:
            if self._executor is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._executor = ContainerExecutor(
                    self._image, self._max_workers, engine=self._engine or current_engine(), **self._options
                )
            return self._executor

    def __reduce__(self) -> tuple[Any, ...]:
        # A task that calls it is in a container already, where nothing of this package is.
        return functools.partial, (self.wrapped,)

    def __repr__(self) -> str:
        return f"<function {getattr(self.wrapped, '__qualname__', self.wrapped)} in {self._image}>"


_executors: dict[tuple[int, str, str], ContainerExecutor] = {}
_executors_lock = threading.Lock()


class _Elsewhere(Generic[_P, _T]):
    """A function to be called in a container of another process."""

    def __init__(
        self, wrapped: Callable[_P, _T], image: str, max_workers: int | None, options: dict[str, Any]
    ) -> None:
        self._wrapped, self._image, self._max_workers, self._options = wrapped, image, max_workers, options
        self.__name__ = getattr(wrapped, "__name__", "task")

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        key = os.getpid(), self._image, repr(sorted(self._options.items()))
        with _executors_lock:
            executor = _executors.get(key)
            if executor is None:
                executor = ContainerExecutor(self._image, self._max_workers, **self._options)
                _executors[key] = executor
        return executor.submit(self._wrapped, *args, **kwargs).result()
