"""Garbage collection: mark what images, containers and live leases need, sweep the rest.

Marking and taking out of sight happen under the store's lock, which takes milliseconds; deleting the
trees and everything that can wait happens after it.
"""

from __future__ import annotations

import os

from attrs import frozen

from pycontainer.checkpoints import reached
from pycontainer.oci import Digest
from pycontainer.store import locks
from pycontainer.store.content import ContentStore
from pycontainer.store.layout import Layout
from pycontainer.store.leases import Leases
from pycontainer.store.locks import FileLock, remove_free
from pycontainer.store.records import SnapshotKey
from pycontainer.store.snapshots import Snapshotter
from pycontainer.store.statedb import StateDB
from pycontainer.store.trash import Trash
from pycontainer.values import Value

__all__ = ["KILL_POINTS", "Collected", "Collector"]

KILL_POINTS = (
    "collect.garbage.marked",
    "collect.blob.deleted",
    "collect.snapshot.renamed",
    "collect.garbage.swept",  # out of sight, not yet deleted
)

STALE_INGEST_S = 24 * 3600.0


@frozen(kw_only=True, eq=False, repr=False)
class Collected(Value):
    """What a collection freed: bytes of blobs and of files of layers, and how many of each."""

    bytes: int = 0
    blobs: int = 0
    snapshots: int = 0
    containers: int = 0


class Collector:
    """The garbage collector of one store. Safe beside any other use of it."""

    def __init__(
        self,
        layout: Layout,
        db: StateDB,
        content: ContentStore,
        snapshots: Snapshotter,
        leases: Leases,
        trash: Trash,
    ) -> None:
        self._layout = layout
        self._db = db
        self._content = content
        self._snapshots = snapshots
        self._leases = leases
        self._trash = trash

    def collect(self, *, stale_ingest_s: float = STALE_INGEST_S) -> Collected:
        """Delete every blob, layer and container directory that nothing needs.

        stale_ingest_s: age from which a partial download that nobody writes to counts as garbage.
        """
        with FileLock(self._layout.store_lock).held(locks.SHORT_S):
            digests, keys = self._needed()
            reached("collect.garbage.marked")
            blob_bytes, blobs = self._sweep_blobs(digests)
            layer_bytes, layers = self._sweep_snapshots(keys)
            containers = self.discard_orphans()
            self.discard_dead_preparations()
        reached("collect.garbage.swept")
        partial_bytes = self._content.remove_stale_ingests(stale_ingest_s)
        self._trash.empty()
        self._db.checkpoint()
        freed = blob_bytes + layer_bytes + partial_bytes
        return Collected(bytes=freed, blobs=blobs, snapshots=layers, containers=containers)

    def discard_orphans(self) -> int:
        """Take container directories without a row out of sight; with the store's lock held."""
        known = self._db.containers.ids()
        orphans = [entry for entry in os.scandir(self._layout.containers) if entry.name not in known]
        for entry in orphans:
            self._trash.set_aside(self._layout.containers / entry.name)
        return len(orphans)

    def discard_dead_preparations(self) -> int:
        """Take layers out of sight whose unpacking died half-way; with the store's lock held."""
        count = 0
        for key, directory in list(self._snapshots.preparations()):
            lock = FileLock(self._layout.layer_locks / key)
            if lock.try_acquire():
                try:
                    count += self._trash.set_aside(directory) is not None
                finally:
                    lock.release(remove=True)
        remove_free(self._layout.layer_locks)
        remove_free(self._layout.container_locks)
        return count

    def _needed(self) -> tuple[set[Digest], set[SnapshotKey]]:
        protected = self._leases.protected()
        digests, keys = set(protected.digests), set(protected.snapshots)
        for image in self._db.images.list():
            digests |= image.digests
            keys.update(image.snapshots)
        digests.update(tag.target_digest for tag in self._db.images.tags())
        for step in self._db.builds.list():
            digests.add(step.digest)
            keys.add(step.snapshot)
        for container in self._db.containers.list():
            keys.update(container.snapshots)
            keys.update(container.mounted_snapshots)
        return digests, keys

    def _sweep_blobs(self, needed: set[Digest]) -> tuple[int, int]:
        garbage = [digest for digest in self._content.digests() if digest not in needed]
        freed = 0
        for digest in garbage:
            freed += self._content.remove(digest)
            reached("collect.blob.deleted")
        if garbage:
            self._db.layers.forget_blobs(garbage)
        return freed, len(garbage)

    def _sweep_snapshots(self, needed: set[SnapshotKey]) -> tuple[int, int]:
        records = {record.key: record for record in self._db.layers.list()}
        there = set(self._snapshots.committed())
        garbage = there - needed
        for key in garbage:
            self._trash.set_aside(self._layout.snapshots / key)
            reached("collect.snapshot.renamed")
        # A row without a layer is an unpacking that is not finished, or never will be; the former has
        # its lease, and its row is looked at when the layer is there.
        forgotten = (set(records) - there - needed) | garbage
        if forgotten:
            self._db.layers.delete(forgotten)
        freed = sum(records[key].size for key in garbage if key in records)
        return freed, len(garbage)
