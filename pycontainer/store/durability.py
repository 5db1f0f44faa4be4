"""What has reached the disk, and what to do with the rest after a power cut.

Blobs and layers are not synced one by one: after an image is complete, one syncfs in a helper job
writes everything back, and then those that were there before it began are marked durable. When the
store is opened in another boot, a layer without the mark is dropped (its files may be empty) and a
blob without it is hashed again.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from pycontainer.checkpoints import reached
from pycontainer.errors import DeadlineExceeded, PycontainerError
from pycontainer.launcher import Helper
from pycontainer.oci import Digest
from pycontainer.store.content import ContentStore
from pycontainer.store.layout import Layout
from pycontainer.store.records import SnapshotKey
from pycontainer.store.snapshots import Snapshotter
from pycontainer.store.statedb import StateDB

__all__ = ["KILL_POINTS", "Durability"]

KILL_POINTS = ("pull.image.synced",)  # on disk, not marked so

_LOOK_S = 0.2


class Durability:
    """The background sync of one store. Thread-safe; at most one thread runs."""

    def __init__(
        self, layout: Layout, db: StateDB, content: ContentStore, snapshots: Snapshotter, helper: Helper
    ) -> None:
        self._layout = layout
        self._db = db
        self._content = content
        self._snapshots = snapshots
        self._helper = helper
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def settle(self, *, wait: bool = False) -> None:
        """Sync what is not known to be durable, in the background; wait for it if told."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._stop.clear()
                self._thread = threading.Thread(target=self._settle, name="pycontainer-syncfs", daemon=True)
                self._thread.start()
            thread = self._thread
        if wait:
            thread.join()

    def close(self) -> None:
        """Stop waiting for the sync; what it would have marked is synced by a later one."""
        self._stop.set()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive():
            thread.join()

    def _settle(self) -> None:
        try:
            layers, blobs = self._pending()
            if not layers and not blobs:
                return
            if not self._synced():
                return
            reached("pull.image.synced")
            # Only what is still the same object: one of that name may have come anew meanwhile.
            self._db.layers.set_durable(
                [key for key, seen in layers.items() if _identity(self._layout.snapshots / key) == seen],
                [digest for digest, seen in blobs.items() if _identity(self._content.path(digest)) == seen],
            )
        except (PycontainerError, OSError):
            # The engine closed, the helper died or cannot start, or the store is gone: not being marked only
            # costs a check after a reboot.
            return

    def _pending(self) -> tuple[dict[SnapshotKey, tuple[int, int]], dict[Digest, tuple[int, int]]]:
        durable_layers = {layer.key for layer in self._db.layers.list() if layer.is_durable}
        durable_blobs = self._db.layers.durable_blobs()
        layers = {
            key: seen
            for key in self._snapshots.committed()
            if key not in durable_layers and (seen := _identity(self._layout.snapshots / key))
        }
        blobs = {
            digest: seen
            for digest in self._content.digests()
            if digest not in durable_blobs and (seen := _identity(self._content.path(digest)))
        }
        return layers, blobs

    def _synced(self) -> bool:
        root = os.open(self._layout.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with self._helper.submit("syncfs", {}, [root]) as job:
                while not self._stop.is_set():
                    try:
                        job.result(_LOOK_S)
                    except DeadlineExceeded:
                        continue
                    return True
        finally:
            os.close(root)
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns
