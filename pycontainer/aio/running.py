"""Blocking calls in threads of their own, awaited; and what they give back, as its asynchronous mirror.

Theory of operation. Each call has a thread, which is gone when the call is: none is kept, so none is left,
and as many can wait at once as one likes. When the awaiting task is cancelled the call's `Interrupt` is set,
which ends what it waits for; the task waits until the call has cleaned up after itself, and only then is it
cancelled. An iterator has one thread for as long as it is iterated, a few items ahead of its reader.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, ClassVar, Generic, Self, TypeVar

from pycontainer.kernel.interrupts import Interrupt, Interrupted

__all__ = ["Mirror", "Stream", "call", "ending", "mirrored", "streamed", "undoing", "unwrap", "wrap"]

T = TypeVar("T")
_AHEAD = 64


async def call(
    function: Callable[[], T], *, undo: Callable[[T], object] | None = None, shielded: bool = False
) -> T:
    """Call a blocking function in a thread and wait for what it gives or raises.

    undo: called with what it gave, in a thread, if the waiting task was cancelled before that was seen.
    shielded: cancelling waits for its end and does not hasten it; for what ends and removes things.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    interrupt = Interrupt()
    context = contextvars.copy_context()

    def run() -> None:
        error: BaseException | None = None
        value: Any = None
        try:
            with interrupt.entered():
                value = context.run(function)
        except BaseException as caught:  # handed to the task
            error = caught
        loop.call_soon_threadsafe(_settle, done, value, error)

    thread = threading.Thread(target=run, name="pycontainer-aio", daemon=True)
    thread.start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        if not shielded:
            interrupt.set()
        await _finish(done)
        if undo is not None and not done.cancelled() and done.exception() is None:
            await _finish(asyncio.ensure_future(call(partial(undo, done.result()), shielded=True)))
        raise
    finally:
        # It has nothing left to do but to end.
        thread.join()
        interrupt.close()


def _settle(done: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if error is None:
        done.set_result(value)
    elif isinstance(error, StopIteration):
        done.set_exception(RuntimeError("a blocking call raised StopIteration"))
    elif isinstance(error, Interrupted):
        done.cancel()
    else:
        done.set_exception(error)


async def _finish(future: asyncio.Future[Any]) -> None:
    """Wait until it is done, however often we are cancelled meanwhile; its error is nobody's."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()


class Stream(Generic[T]):
    """An asynchronous iterator over what a blocking one gives. Close it, or use `async with`.

    It begins when it is first read. One that nobody holds any more ends by itself.
    """

    def __init__(self, begin: Callable[[], Iterable[Any]]) -> None:
        self._begin = begin
        self._pump: _Pump | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._pump is None:
            self._pump = _Pump(self._begin)
        item: T = wrap(await self._pump.next())
        return item

    async def aclose(self) -> None:
        """End it, and whatever it waits for; idempotent."""
        if self._pump is None:
            self._pump = _Pump(tuple)
        await self._pump.aclose()

    close = aclose

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if self._pump is not None:
            self._pump.abandon()


class _Pump:
    """The thread of an iterator, and the queue between the two."""

    def __init__(self, begin: Callable[[], Iterable[Any]]) -> None:
        self._interrupt = Interrupt()
        self._begin = begin
        self._loop = asyncio.get_running_loop()
        self._items: deque[Any] = deque()
        self._has_news = asyncio.Event()
        self._room = threading.Semaphore(_AHEAD)
        self._is_over = False
        self._is_closed = False
        self._error: BaseException | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name="pycontainer-aio", daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with self._interrupt.entered():
                source = self._begin()
                try:
                    for item in source:
                        self._tell(self._items.append, item)
                        self._room.acquire()
                        if self._is_closed:
                            break
                finally:
                    close = getattr(source, "close", None)
                    if close is not None:
                        close()
        except Interrupted:
            pass
        except BaseException as caught:  # handed to the task
            error = caught
        self._tell(self._end, error)
        self._interrupt.close()

    def _tell(self, do: Callable[[Any], object], what: Any) -> None:
        def tell() -> None:
            do(what)
            self._has_news.set()

        try:
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:
            self._is_closed = True  # the loop is closed: nobody will ask

    def _end(self, error: BaseException | None) -> None:
        self._error, self._is_over = error, True

    async def next(self) -> Any:
        while not self._items:
            if self._is_over:
                await self.aclose()
                error, self._error = self._error, None
                raise error or StopAsyncIteration
            self._has_news.clear()
            await self._has_news.wait()
        self._room.release()
        return self._items.popleft()

    def abandon(self) -> None:
        """Have the thread end soon."""
        self._is_closed = True
        self._interrupt.set()
        self._room.release()

    async def aclose(self) -> None:
        self.abandon()
        while not self._is_over:
            self._has_news.clear()
            await _finish(asyncio.ensure_future(self._has_news.wait()))
        self._thread.join()


class Mirror:
    """Base of the mirrors: holds the object itself."""

    _of: ClassVar[tuple[str, str]]
    """Where the class itself is: module and name."""

    sync: Any
    """The object whose methods block, for code that runs in threads."""

    @classmethod
    def _class(cls) -> Any:
        return getattr(import_module(cls._of[0]), cls._of[1])

    @classmethod
    def _over(cls, sync: Any) -> Any:
        made = object.__new__(cls)
        made.sync = sync
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and bool(self.sync == other.sync)

    def __hash__(self) -> int:
        return hash(self.sync)

    def __repr__(self) -> str:
        return repr(self.sync)

    def _repr_html_(self) -> str | None:
        shown = getattr(self.sync, "_repr_html_", None)
        return None if shown is None else shown()

    def __reduce__(self) -> tuple[Any, ...]:
        return wrap, (self.sync,)


def wrap(value: Any) -> Any:
    """What a blocking call gave, with everything in it that has a mirror mirrored."""
    kind = type(value)
    if kind is list or kind is tuple:
        return kind(wrap(item) for item in value)
    if kind is dict:
        return {key: wrap(item) for key, item in value.items()}
    mirror = getattr(_mirrors(), kind.__name__, None) if kind.__module__.startswith("pycontainer.") else None
    if isinstance(mirror, type) and issubclass(mirror, Mirror) and mirror._class() is kind:
        return mirror._over(value)
    return value


def _mirrors() -> Any:
    return import_module("pycontainer.aio._generated")


def unwrap(value: Any) -> Any:
    """An argument for a blocking call, with mirrors replaced by what they mirror."""
    if isinstance(value, Mirror):
        return value.sync
    if isinstance(value, list | tuple) and any(isinstance(item, Mirror) for item in value):
        return [unwrap(item) for item in value]
    if isinstance(value, dict):
        return {key: unwrap(item) for key, item in value.items()}
    return value


async def mirrored(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """`call` with mirrors, giving mirrors."""
    return wrap(await call(_given(function, args, kwargs)))


async def ending(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """As `mirrored`, for what ends or removes things: cancelling does not cut it short."""
    return wrap(await call(_given(function, args, kwargs), shielded=True))


async def undoing(
    undo: Callable[[Any], object], function: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Any:
    """As `mirrored`; what a cancelled task does not get is given to `undo`."""
    return wrap(await call(_given(function, args, kwargs), undo=undo))


def _given(function: Callable[..., Any], args: Iterable[Any], kwargs: Mapping[str, Any]) -> Callable[[], Any]:
    return partial(function, *map(unwrap, args), **{name: unwrap(item) for name, item in kwargs.items()})


def streamed(function: Callable[..., Iterable[Any]], /, *args: Any, **kwargs: Any) -> Stream[Any]:
    """What the function gives, iterated when it is asked for."""
    return Stream(_given(function, args, kwargs))
