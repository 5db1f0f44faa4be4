"""Locks that hold across threads and processes and die with their holder.

flock(2) belongs to the open file description: two threads that open the file exclude each other like
two processes do, and the kernel lets go when the holder ends, however it ends. A lock file is removed
by its holder before it lets go; whoever gets the lock of a removed file opens the new one.

Waiting costs nothing: inotify reports that the holder closed the file.

Lock order, so that nobody waits in a circle: container, ingest, layer, store, database. Nothing waits
for a blob or a helper job while it holds the store's lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pycontainer.errors import DeadlineExceeded
from pycontainer.kernel import syscalls

__all__ = ["SHORT_S", "FileLock", "remove_free", "shared"]

SHORT_S = 60.0
"""How long to wait for locks that are held for milliseconds: longer, and the holder was stopped."""

_IN_CLOSE_WRITE = 0x00000008
_IN_ATTRIB = 0x00000004

# The kernel reports the close a moment before it gives up the lock, so a waiter that was too quick
# looks again after this long; it is also the fallback where inotify instances have run out.
_RECHECK_S = 0.02
_SLICE_S = 0.5

_held: set[FileLock] = set()
_held_guard = threading.RLock()
"""Taken by what the collection of garbage calls, too: it may come while this thread holds it."""


class FileLock:
    """An exclusive lock on a path, held until `release`. Not re-entrant.

    Attributes: path; fd (while held, -1 otherwise).
    """

    __slots__ = ("__weakref__", "fd", "path")

    def __init__(self, path: Path) -> None:
        self.path: Path = path
        self.fd: int = -1

    def try_acquire(self, *, create: bool = True) -> bool:
        """Take the lock if it is free. With create=False a missing file counts as not taken."""
        while True:
            try:
                fd = _open(self.path, create)
            except FileNotFoundError:
                return False
            if not _flock(fd):
                os.close(fd)
                return False
            if self._adopt(fd):
                return True

    def acquire(self, timeout_s: float | None = None) -> None:
        """Wait for the lock. Raises: DeadlineExceeded after timeout_s."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            fd = _open(self.path, create=True)
            try:
                is_locked = _flock(fd) or _wait(fd, self.path, deadline)
            except BaseException:
                os.close(fd)
                raise
            if not is_locked:
                os.close(fd)
                raise _too_long(self.path, timeout_s or 0.0)
            if self._adopt(fd):
                return

    def release(self, *, remove: bool = False) -> None:
        """Let go, removing the file first if told; idempotent."""
        with _held_guard:
            fd, self.fd = self.fd, -1
            _held.discard(self)
        if fd < 0:
            return
        try:
            if remove:
                self.path.unlink(missing_ok=True)
            # Explicit, because a child forked meanwhile may still have the description open.
            fcntl.flock(fd, fcntl.LOCK_UN)
        finally:
            os.close(fd)

    def _adopt(self, fd: int) -> bool:
        """Keep the locked descriptor, unless the previous holder removed the file from the path."""
        try:
            ours, current = os.fstat(fd), os.stat(self.path)
            is_current = (ours.st_dev, ours.st_ino) == (current.st_dev, current.st_ino)
        except FileNotFoundError:
            is_current = False
        if not is_current:
            os.close(fd)
            return False
        with _held_guard:
            self.fd = fd
            _held.add(self)
        return True

    @contextmanager
    def held(self, timeout_s: float | None = None, *, remove: bool = False) -> Iterator[FileLock]:
        """The lock for a block."""
        self.acquire(timeout_s)
        try:
            yield self
        finally:
            self.release(remove=remove)


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """The lock in shared mode for a short block; an exclusive holder makes us wait.

    Raises: DeadlineExceeded when that takes longer than SHORT_S.
    """
    fd = _open(path, create=True)
    try:
        deadline = time.monotonic() + SHORT_S
        if not (_flock(fd, fcntl.LOCK_SH) or _wait(fd, path, deadline, fcntl.LOCK_SH)):
            raise _too_long(path, SHORT_S)
        yield
    finally:
        # Not only closed: see release().
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def remove_free(directory: Path) -> None:
    """Delete the lock files of a directory that nobody holds: a killed holder leaves its file."""
    for entry in list(os.scandir(directory)):
        lock = FileLock(Path(entry.path))
        if lock.try_acquire(create=False):
            lock.release(remove=True)


def _open(path: Path, create: bool) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    return os.open(path, flags, 0o600)


def _too_long(path: Path, timeout_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"another program held the lock {path} for longer than {timeout_s:g} s; "
        "if it is stopped, let it go on or end it",
        timeout_s=timeout_s,
    )


def _flock(fd: int, mode: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(fd, mode | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
            raise
        return False
    return True


def _wait(fd: int, path: Path, deadline: float | None, mode: int = fcntl.LOCK_EX) -> bool:
    """Wait for the lock on our open descriptor; False when the deadline passed."""
    watch = _watch(path)
    try:
        slice_s = 0.0
        while True:
            if _flock(fd, mode):
                return True
            remaining = float("inf") if deadline is None else deadline - time.monotonic()
            if remaining <= 0:
                return False
            if watch < 0:
                time.sleep(min(_RECHECK_S, remaining))
                continue
            poller = select.poll()
            poller.register(watch, select.POLLIN)
            if poller.poll(min(slice_s or _SLICE_S, remaining) * 1000):
                _drain(watch)
                slice_s = _RECHECK_S
            else:
                slice_s = 0.0
    finally:
        if watch >= 0:
            os.close(watch)


def _watch(path: Path) -> int:
    """An inotify descriptor that reports closing and removal of the file, or -1 where there is none left."""
    try:
        watch = syscalls.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        syscalls.inotify_add_watch(watch, os.fsencode(path), _IN_CLOSE_WRITE | _IN_ATTRIB)
    except OSError:
        os.close(watch)
        return -1
    return watch


def _drain(watch: int) -> None:
    try:
        while os.read(watch, 1 << 16):
            pass
    except BlockingIOError:
        pass


def _forget_in_child() -> None:
    """In a forked child: what the parent holds is the parent's, and its descriptors are closed here so
    that the lock dies with the parent alone."""
    global _held_guard
    _held_guard = threading.RLock()
    for lock in list(_held):
        fd, lock.fd = lock.fd, -1
        if fd >= 0:
            os.close(fd)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)
