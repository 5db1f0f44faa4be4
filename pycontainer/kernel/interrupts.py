"""Ending what a thread waits for, from another thread.

Theory of operation. Whoever runs a blocking call in a thread of its own makes an `Interrupt` and enters it
there. Waits of this library are poll(2), and get their pollers here: within an interrupt one watches an
eventfd beside what is asked for, and raises `Interrupted` when that is set, once, so that what is cleaned up
on the way out is waited for as ever. Work that is spread over threads is told by a function instead. Without
an interrupt all of it costs one look at a thread's own variable.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeAlias

__all__ = ["HasFileno", "Interrupt", "Interrupted", "Poller", "calling", "poll"]


class Interrupted(BaseException):
    """The wait was ended from outside. No error: as KeyboardInterrupt, only what cleans up catches it."""


class _Here(threading.local):
    interrupt: Interrupt | None = None


_here = _Here()


class Interrupt:
    """Ends the waits of one thread. `set` may be called from any thread; close it after that one is done."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._is_set = False

    @property
    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def set(self) -> None:
        """End what is waited for now, or next; idempotent."""
        with self._lock:
            if self._is_set or self._fd < 0:
                return
            self._is_set = True
            os.eventfd_write(self._fd, 1)
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Within, it is this thread's."""
        _here.interrupt = self
        try:
            yield
        finally:
            _here.interrupt = None

    @contextmanager
    def _calling(self, callback: Callable[[], None]) -> Iterator[None]:
        with self._lock:
            is_late = self._is_set
            self._callbacks.append(callback)
        try:
            if is_late:
                callback()
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)

    def close(self) -> None:
        """Let go of the descriptor; idempotent."""
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


@contextmanager
def calling(callback: Callable[[], None]) -> Iterator[None]:
    """Within, an interrupt of this thread calls that, in the thread that sets it: it must not block."""
    interrupt = _here.interrupt
    if interrupt is None:
        yield
        return
    with interrupt._calling(callback):
        yield


class HasFileno(Protocol):
    """A socket, a channel: what poll(2) can wait on."""

    def fileno(self) -> int:
        """The descriptor."""


_ALL = select.POLLIN | select.POLLPRI | select.POLLOUT


class _Poller:
    """A poll object that watches one more descriptor."""

    def __init__(self, interrupt: Interrupt) -> None:
        self._inner = select.poll()
        self._interrupt_fd = interrupt._fd
        self._inner.register(self._interrupt_fd, select.POLLIN)

    def register(self, fd: int | HasFileno, events: int = _ALL, /) -> None:
        self._inner.register(fd, events)

    def modify(self, fd: int | HasFileno, events: int, /) -> None:
        self._inner.modify(fd, events)

    def unregister(self, fd: int | HasFileno, /) -> None:
        self._inner.unregister(fd)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        found = self._inner.poll(timeout)
        if any(fd == self._interrupt_fd for fd, _ in found):
            self._inner.unregister(self._interrupt_fd)  # once
            _here.interrupt = None
            raise Interrupted
        return found


Poller: TypeAlias = "select.poll | _Poller"


def poll() -> Poller:
    """What select.poll() gives; within an interrupt, its `poll` raises Interrupted when that is set."""
    interrupt = _here.interrupt
    return select.poll() if interrupt is None else _Poller(interrupt)
