"""What must end with a server, in which order, and what a fork of its process does not inherit."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pycontainer.registry.server.connection import Connection
from pycontainer.registry.server.limits import ServerLimits
from pycontainer.registry.server.listener import Listener
from pycontainer.registry.server.storage import Storage
from pycontainer.registry.server.uploads import Uploads

if TYPE_CHECKING:
    from pycontainer.registry.server.upstream import Upstream

# Threads end within milliseconds once their sockets are shut down; only a dead disk takes longer.
_CLOSE_TIMEOUT_S: Final = 5.0


class Running:
    """The parts of a running server; knows no Registry, so that a forgotten one can be collected.

    Owns the bound socket from the first moment, also when the constructor raises.
    root None means a temporary directory, which goes with the server.
    """

    def __init__(
        self,
        sock: socket.socket,
        root: Path | str | None,
        limits: ServerLimits,
        make_upstream: Callable[[Storage, Uploads], Upstream | None],
    ) -> None:
        self._pid = os.getpid()
        self._sock = sock
        self._limits = limits
        self._mutex = threading.Lock()
        self._is_closed = False
        self._listener: Listener | None = None
        self._temporary: Path | None = None
        self.closing: threading.Event = threading.Event()
        with ExitStack() as undo:
            undo.callback(sock.close)
            if root is None:
                self._temporary = Path(tempfile.mkdtemp(prefix="pycontainer-registry-"))
                undo.callback(shutil.rmtree, self._temporary, ignore_errors=True)
            directory = self._temporary or Path(root or ".").absolute()
            self.storage: Storage = Storage(directory, durable=self._temporary is None)
            undo.callback(self.storage.close)
            self.uploads: Uploads = Uploads(
                self.storage,
                limit_bytes=limits.blob_bytes,
                count_max=limits.uploads,
                idle_s=limits.upload_idle_s,
            )
            self.upstream: Upstream | None = make_upstream(self.storage, self.uploads)
            undo.pop_all()
        _all.add(self)

    def listen(
        self, connect: Callable[[socket.socket], Connection], serve: Callable[[Connection], bool]
    ) -> None:
        """Start the threads; see Listener. Closes everything when that fails."""
        try:
            self._listener = Listener(
                self._sock, self._limits, connect, serve, self.uploads.expire, self.closing
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the server; idempotent. In a forked child only the child's copies are closed."""
        if self._pid != os.getpid():
            self.forked()
            return
        with self._mutex:
            if not self._is_closed:
                self._is_closed = True
                self._close()

    def _close(self) -> None:
        try:
            # First, so that requests which wait for upstream end and their threads can.
            if self.upstream is not None:
                self.upstream.cancel()
            if self._listener is not None:
                self._listener.close(_CLOSE_TIMEOUT_S)
        finally:
            self._sock.close()
            if self.upstream is not None:
                self.upstream.close(_CLOSE_TIMEOUT_S)
            self.uploads.close()
            self.storage.close()
            if self._temporary is not None:
                shutil.rmtree(self._temporary, ignore_errors=True)

    def forked(self) -> None:
        """Let go of what a fork copied: the port and the directory belong to the parent alone."""
        if not self._is_closed and self._pid != os.getpid():
            self._is_closed = True
            self._sock.close()
            self.storage.close()
            if self._listener is not None:
                self._listener.abandon()


_all: weakref.WeakSet[Running] = weakref.WeakSet()


def _after_fork() -> None:
    for running in list(_all):
        running.forked()


os.register_at_fork(after_in_child=_after_fork)
