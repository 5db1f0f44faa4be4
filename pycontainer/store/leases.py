"""Leases: what a running pull, build or push needs is not garbage, until its holder ends in any way.

A lease is a locked file that lists what it protects, one line each. The kernel drops the lock with its
holder, so a crash needs no clean-up to be safe: a lease file that can be locked is dead.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import Factory, frozen

from pycontainer.oci import Digest
from pycontainer.store.layout import Layout
from pycontainer.store.locks import FileLock, shared
from pycontainer.store.records import SnapshotKey
from pycontainer.values import Value

__all__ = ["Lease", "Leases", "Protected"]

_registries: weakref.WeakSet[Leases] = weakref.WeakSet()


@frozen(kw_only=True, eq=False, repr=False)
class Protected(Value):
    """What live leases keep."""

    digests: set[Digest] = Factory(set)
    snapshots: set[SnapshotKey] = Factory(set)


class Lease:
    """Protects what it names until it is released or its process ends. Thread-safe.

    Attributes: id, purpose.
    """

    def __init__(self, lock: FileLock, store_lock: Path, purpose: str) -> None:
        self.id: str = lock.path.name
        self.purpose = purpose
        self._lock = lock
        self._store_lock = store_lock
        self._guard = threading.Lock()
        self._lines: set[str] = set()

    def protect(self, digest: Digest) -> None:
        """Keep a blob, whether it is there already or comes later."""
        self._add(f"blob {digest}\n")

    def protect_snapshot(self, key: SnapshotKey) -> None:
        """Keep an unpacked layer, whether it is there already or comes later."""
        self._add(f"snapshot {key}\n")

    def _add(self, line: str) -> None:
        with self._guard:
            if line in self._lines or self._lock.fd < 0:
                return
            # Shared with other holders, exclusive to the collector: it sees the line, or we wait for
            # its end and then look whether the object is still there.
            with shared(self._store_lock):
                os.pwrite(self._lock.fd, line.encode(), os.fstat(self._lock.fd).st_size)
            self._lines.add(line)

    def release(self) -> None:
        """Protect nothing any more; idempotent."""
        self._lock.release(remove=True)


class Leases:
    """The leases of one store; those of this process also take in every blob it touches."""

    def __init__(self, layout: Layout) -> None:
        self._directory = layout.leases
        self._store_lock = layout.store_lock
        self._active: list[Lease] = []
        self._pinned: weakref.WeakSet[Lease] = weakref.WeakSet()
        self._guard = threading.Lock()
        _registries.add(self)

    @contextmanager
    def hold(self, purpose: str) -> Iterator[Lease]:
        """A lease for a block. purpose: one line for those who list the leases."""
        lease = self._made(purpose)
        with self._guard:
            self._active.append(lease)
        try:
            yield lease
        finally:
            with self._guard:
                if lease in self._active:
                    self._active.remove(lease)
            lease.release()

    def pin(self, purpose: str) -> Lease:
        """A lease that protects only what it is told, until it is released or the store is closed."""
        lease = self._made(purpose)
        self._pinned.add(lease)
        return lease

    def close(self) -> None:
        """Release what is pinned."""
        for lease in list(self._pinned):
            lease.release()

    def _made(self, purpose: str) -> Lease:
        lock = FileLock(self._directory / secrets.token_hex(8))
        lock.acquire()
        os.write(lock.fd, f"purpose {time.time():.0f} {os.getpid()} {' '.join(purpose.split())}\n".encode())
        return Lease(lock, self._store_lock, purpose)

    def touch(self, digest: Digest) -> None:
        """Protect a blob with every lease of this process: a pull need not pass its lease around."""
        for lease in tuple(self._active):
            lease.protect(digest)

    def protected(self) -> Protected:
        """What live leases of all processes keep; removes dead ones. Call with the store's lock held."""
        kept = Protected()
        for entry in list(os.scandir(self._directory)):
            lock = FileLock(Path(entry.path))
            if lock.try_acquire(create=False):
                lock.release(remove=True)
                continue
            try:
                text = Path(entry.path).read_text()
            except FileNotFoundError:
                continue
            for line in text.splitlines():
                kind, _, value = line.partition(" ")
                if kind == "blob":
                    kept.digests.add(Digest(value))
                elif kind == "snapshot":
                    kept.snapshots.add(SnapshotKey(value))
        return kept


def _forget_in_child() -> None:
    # The leases are the parent's; the child's locks on them were closed by locks.py.
    for leases in list(_registries):
        leases._guard = threading.Lock()
        leases._active = []


os.register_at_fork(after_in_child=_forget_in_child)
