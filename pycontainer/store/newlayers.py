"""Layers made here, one step upon others: written beside the snapshots, renamed among them when whole."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import evolve

from pycontainer.checkpoints import reached
from pycontainer.oci import Digest
from pycontainer.store.layout import Layout
from pycontainer.store.leases import Lease
from pycontainer.store.locks import FileLock
from pycontainer.store.records import LayerRecord, SnapshotKey
from pycontainer.store.snapshots import Preparation, Snapshotter, direct_key
from pycontainer.store.statedb import StateDB
from pycontainer.store.trash import Trash

__all__ = ["KILL_POINTS", "NewLayer", "NewLayers"]

KILL_POINTS = (
    "build.layer.prepared",  # an empty place, nobody sees it
    "build.layer.recorded",  # its row is there, nothing is visible
    "build.layer.committed",
)


class NewLayer:
    """A layer that is being made. Attributes: upper, work (directories for an overlay mount)."""

    def __init__(self, prepared: Preparation, makers: NewLayers, lease: Lease) -> None:
        self.upper: Path = prepared.fs
        self.work: Path = prepared.work
        self._prepared = prepared
        self._makers = makers
        self._lease = lease

    def adopt(self, upper: Path) -> None:
        """Take a directory of the same file system, as a container's, for the upper one."""
        os.rmdir(self.upper)
        os.rename(upper, self.upper)

    def commit(self, diff_id: Digest, *, size: int, entries: int) -> SnapshotKey:
        """Make it the layer of this digest; one that is there already stays. size: bytes of its files."""
        return self._makers.commit(self._prepared, diff_id, size, entries, self._lease)


class NewLayers:
    """Makes layers in one store. A layer under way has a lock of its own, so that a crash leaves garbage
    only.
    """

    def __init__(self, layout: Layout, db: StateDB, snapshots: Snapshotter, trash: Trash) -> None:
        self._layout = layout
        self._db = db
        self._snapshots = snapshots
        self._trash = trash

    @contextmanager
    def begun(self, below: Sequence[SnapshotKey], lease: Lease) -> Iterator[NewLayer]:
        """An empty layer, whose root is like that below; gone after the block unless committed."""
        key = SnapshotKey(secrets.token_hex(32))
        with FileLock(self._layout.layer_locks / key).held(remove=True):
            prepared = self._snapshots.prepare(key)
            try:
                if below:
                    found = os.stat(self._snapshots.path(below[-1]))
                    os.chown(prepared.fs, found.st_uid, found.st_gid)
                    os.chmod(prepared.fs, found.st_mode & 0o7777)
                reached("build.layer.prepared")
                yield NewLayer(prepared, self, lease)
            finally:
                self._trash.remove(prepared.directory)

    def commit(
        self, prepared: Preparation, diff_id: Digest, size: int, entries: int, lease: Lease
    ) -> SnapshotKey:
        """See NewLayer.commit."""
        key = direct_key(diff_id)
        lease.protect_snapshot(key)
        with FileLock(self._layout.layer_locks / key).held(remove=True):
            if not self._snapshots.has(key):
                self._db.layers.put(LayerRecord(key=key, diff_id=diff_id, size=size, entries=entries))
                reached("build.layer.recorded")
                self._snapshots.commit(evolve(prepared, key=key))
                reached("build.layer.committed")
        return key
