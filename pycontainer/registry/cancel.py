"""Stopping transfers from another thread, at once, even while they wait for the network.

A `Cancellation` belongs to one group of transfers. Worker threads enter it; every wait on a socket is
announced to it, and cancelling shuts those sockets down, which wakes whoever waits on them.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pycontainer.errors import TransferFailed

__all__ = ["Cancellation", "Cancelled", "current"]


class Cancelled(TransferFailed):
    """Another transfer of the same group failed first, or the caller gave up."""


class Cancellation:
    """One group of transfers that end together."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Make every member of the group raise Cancelled soon; idempotent."""
        with self._lock:
            self._event.set()
            waiting = list(self._sockets)
        for sock in waiting:
            try:
                # Of the base class: SSLSocket.shutdown would drop TLS state another thread is using.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                pass  # it ended by itself meanwhile

    def check(self) -> None:
        """Raises: Cancelled, once cancelled."""
        if self._event.is_set():
            raise Cancelled("the transfer was cancelled", is_temporary=False)

    def wait(self, seconds: float) -> None:
        """Sleep, or raise Cancelled as soon as that happens."""
        if self._event.wait(seconds):
            self.check()

    @contextmanager
    def watching(self, sock: socket.socket | None) -> Iterator[None]:
        """Within, cancelling ends any wait on `sock`."""
        if sock is None:
            self.check()
            yield
            return
        with self._lock:
            self.check()
            self._sockets.add(sock)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.discard(sock)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Within, this thread's registry traffic belongs to the group."""
        outer = current()
        _thread.group = self
        try:
            yield
        finally:
            _thread.group = outer


_thread = threading.local()
_never = Cancellation()


def current() -> Cancellation:
    """The group this thread works for; outside of any, one that nobody cancels."""
    group: Cancellation = getattr(_thread, "group", _never)
    return group


def _after_fork() -> None:
    global _never
    _never = Cancellation()  # its lock may have been held by a thread that is not here
    _thread.__dict__.clear()


os.register_at_fork(after_in_child=_after_fork)
