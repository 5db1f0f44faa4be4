"""The server's threads: one that accepts and watches silent connections, and a bounded set that serves.

Theory of operation. A connection is either parked or served. Parked ones sit in the selector of the
"watch" thread; the first byte of a request moves one to the queue, a worker serves it, waits a moment for
the next request, and parks it again. So an idle client costs a descriptor, not a thread, and the number of
threads is bounded whatever clients do. close() shuts every socket down, which ends every wait in every
worker, then joins the threads.
"""

from __future__ import annotations

import contextlib
import os
import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from pycontainer.errors import DeadlineExceeded
from pycontainer.registry.server.connection import Connection
from pycontainer.registry.server.limits import ServerLimits

# A client in the middle of a pull sends its next request within this time; parking it would cost more.
_MOMENT_S: Final = 0.05

# The watch thread looks for expired connections at least this often.
_SWEEP_S: Final = 1.0

# Pause after accept(2) failed for want of descriptors or memory; the backlog keeps the clients meanwhile.
_ACCEPT_PAUSE_S: Final = 0.1


class Listener:
    """Accepts on a bound socket and calls serve(connection) in worker threads.

    serve handles one request and returns whether another may follow on the connection. It must not raise
    for anything a client does; when it raises, the connection is closed and threading.excepthook reports.
    """

    def __init__(
        self,
        sock: socket.socket,
        limits: ServerLimits,
        connect: Callable[[socket.socket], Connection],
        serve: Callable[[Connection], bool],
        sweep: Callable[[], None],
        closing: threading.Event,
    ) -> None:
        self._sock = sock
        self._limits = limits
        self._connect = connect
        self._serve = serve
        self._sweep = sweep
        self.closing = closing
        self._mutex = threading.Lock()
        self._open: set[Connection] = set()
        self._ready: queue.SimpleQueue[Connection | None] = queue.SimpleQueue()
        self._returned: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self._workers: set[threading.Thread] = set()
        self._busy = 0  # connections queued or served
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._selector.register(sock, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        sock.setblocking(False)
        # Daemon threads: a program that forgets close() must still be able to end.
        self._watcher = threading.Thread(target=self._watch, name="registry-watch", daemon=True)
        self._watcher.start()

    # -- the watch thread ---------------------------------------------------------------------------

    def _watch(self) -> None:
        next_sweep = time.monotonic() + _SWEEP_S
        while not self.closing.is_set():
            for key, _events in self._selector.select(_SWEEP_S):
                if key.fileobj is self._sock:
                    self._accept()
                elif key.fileobj == self._wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)
                else:
                    self._selector.unregister(key.fileobj)
                    self._submit(key.data)
            while not self._returned.empty():
                self._park(self._returned.get())
            if time.monotonic() >= next_sweep:
                self._expire()
                self._sweep()
                next_sweep = time.monotonic() + _SWEEP_S

    def _accept(self) -> None:
        try:
            accepted, _address = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:
            self.closing.wait(_ACCEPT_PAUSE_S)
            return
        if len(self._open) >= self._limits.connections and not self._evict():
            accepted.close()
            return
        try:
            connection = self._connect(accepted)
        except OSError:  # gone again already
            accepted.close()
            return
        with self._mutex:
            self._open.add(connection)
        self._park(connection)

    def _park(self, connection: Connection) -> None:
        if self.closing.is_set():
            self._drop(connection)
        elif connection.has_input():
            self._submit(connection)
        else:
            self._selector.register(connection, selectors.EVENT_READ, connection)

    def _parked(self) -> list[Connection]:
        return [key.data for key in self._selector.get_map().values() if key.data is not None]

    def _expire(self) -> None:
        oldest = time.monotonic() - self._limits.idle_s
        for connection in self._parked():
            if connection.idle_since < oldest:
                self._selector.unregister(connection)
                self._drop(connection)

    def _evict(self) -> bool:
        """Close the connection that has been idle longest, if one is."""
        idle = min(self._parked(), key=lambda connection: connection.idle_since, default=None)
        if idle is None:
            return False
        self._selector.unregister(idle)
        self._drop(idle)
        return True

    def _drop(self, connection: Connection) -> None:
        with self._mutex:
            self._open.discard(connection)
            connection.close()

    # -- the workers --------------------------------------------------------------------------------

    def _submit(self, connection: Connection) -> None:
        with self._mutex:
            self._busy += 1
            self._staff()
        self._ready.put(connection)

    def _staff(self) -> None:
        """Start a worker if connections would wait for one and there may be more. Needs the mutex."""
        if self._busy > len(self._workers) < self._limits.workers and not self.closing.is_set():
            worker = threading.Thread(target=self._work, name="registry-worker", daemon=True)
            self._workers.add(worker)
            worker.start()

    def _work(self) -> None:
        try:
            while True:
                connection = self._ready.get()
                if connection is None:
                    return
                self._work_on(connection)
        finally:
            with self._mutex:
                self._workers.discard(threading.current_thread())
                self._staff()  # in the place of this one, if it died of an error of ours

    def _work_on(self, connection: Connection) -> None:
        keep = not self.closing.is_set()
        try:
            keep = keep and self._serve(connection)
            while (
                keep
                and self._ready.empty()
                and not self.closing.is_set()
                and connection.wait_input(_MOMENT_S)
            ):
                keep = self._serve(connection)
        except BaseException:
            keep = False
            raise
        finally:
            with self._mutex:
                self._busy -= 1
            if keep and not self.closing.is_set():
                connection.idle_since = time.monotonic()
                self._returned.put(connection)
                self._wake()
            else:
                self._drop(connection)

    def _wake(self) -> None:
        # A full pipe wakes as well; a closed one belongs to a server that is gone.
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"\0")

    # -- the end ------------------------------------------------------------------------------------

    def close(self, timeout_s: float) -> None:
        """Stop accepting, end all connections, join all threads. Call it once.

        Raises: DeadlineExceeded when a thread is stuck in the kernel (a dead file system) for timeout_s.
        """
        deadline = time.monotonic() + timeout_s
        self.closing.set()
        self._wake()
        self._join([self._watcher], deadline)
        with self._mutex:
            connections, workers = list(self._open), list(self._workers)
            for connection in connections:
                # Under the lock, so that the descriptor cannot have been closed and reused meanwhile.
                connection.abort()
        for _worker in workers:
            self._ready.put(None)
        try:
            self._join(workers, deadline)
        finally:
            for connection in connections:
                self._drop(connection)
            self.abandon()

    def abandon(self) -> None:
        """Close this process's copies of the descriptors without touching threads or clients."""
        self._sock.close()
        self._selector.close()
        for connection in self._open:
            connection.close()
        self._open.clear()
        read, write, self._wake_read, self._wake_write = self._wake_read, self._wake_write, -1, -1
        for fd in (read, write):
            with contextlib.suppress(OSError):
                os.close(fd)

    @staticmethod
    def _join(threads: list[threading.Thread], deadline: float) -> None:
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        stuck = [
            thread.name
            for thread in threads
            if thread.is_alive() and thread is not threading.current_thread()
        ]
        if stuck:
            raise DeadlineExceeded(f"the registry's threads did not end: {', '.join(stuck)}")
