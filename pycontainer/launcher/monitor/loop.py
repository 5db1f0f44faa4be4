"""One poll(2) over descriptors and timers, each with a handler; nothing runs beside it.

A handler is called with what poll(2) reported and must not block: while one runs, all else waits.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from pycontainer.kernel.interrupts import HasFileno

__all__ = ["READ", "WRITE", "Loop", "Timer"]

READ = select.POLLIN | select.POLLHUP | select.POLLERR
WRITE = select.POLLOUT | select.POLLHUP | select.POLLERR

Handler = Callable[[int], None]


class Timer:
    """A handler that is called once, at its time."""

    __slots__ = ("at_s", "handler")

    def __init__(self, at_s: float, handler: Callable[[], None]) -> None:
        self.at_s: float = at_s
        self.handler: Callable[[], None] = handler


class Loop:
    """Calls the handler of each descriptor that is ready, and of each timer that is due."""

    def __init__(self) -> None:
        self._poller = select.poll()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[Timer] = []

    def add(self, fd: int | HasFileno, handler: Handler, events: int = READ) -> None:
        """Call handler(what is ready) whenever the descriptor is; replaces an earlier handler of it."""
        number = fd if isinstance(fd, int) else fd.fileno()
        self._poller.register(number, events)
        self._handlers[number] = handler

    def remove(self, fd: int | HasFileno) -> None:
        """Watch the descriptor no more; before it is closed. Without effect when it is not watched."""
        number = fd if isinstance(fd, int) else fd.fileno()
        if self._handlers.pop(number, None) is not None:
            self._poller.unregister(number)

    def at(self, monotonic_s: float, handler: Callable[[], None]) -> Timer:
        """Call the handler once, at this time of time.monotonic() or soon after."""
        timer = Timer(monotonic_s, handler)
        self._timers.append(timer)
        return timer

    def cancel(self, timer: Timer | None) -> None:
        """Do not call it. Without effect after it was called."""
        if timer in self._timers:
            self._timers.remove(timer)

    def run_until(self, is_done: Callable[[], bool]) -> None:
        """Serve until is_done() holds, which is asked after each handler."""
        while not is_done():
            ready = self._poller.poll(self._wait_ms() if self._timers else None)
            # A handler may close a descriptor whose number another one opens anew: not its event then.
            called = [(self._handlers.get(fd), fd, events) for fd, events in ready]
            for handler, fd, events in called:
                if handler is not None and self._handlers.get(fd) is handler:
                    handler(events)
                    if is_done():
                        return
            if self._timers:
                self._call_due(is_done)

    def _wait_ms(self) -> float:
        # poll(2) takes whole milliseconds; select.poll rounds up, so that a timer is due when it returns.
        return max(0.0, min(timer.at_s for timer in self._timers) - time.monotonic()) * 1000

    def _call_due(self, is_done: Callable[[], bool]) -> None:
        now = time.monotonic()
        for timer in sorted((timer for timer in self._timers if timer.at_s <= now), key=lambda due: due.at_s):
            if timer in self._timers and not is_done():
                self._timers.remove(timer)
                timer.handler()
