"""What a crash left behind, put right when the store is next opened.

Runs under the store's lock and looks at names only, so that it takes milliseconds; blobs are read only
after a reboot, and only those not known to have reached the disk.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from attrs import field, frozen

from pycontainer.kernel import pidfd
from pycontainer.launcher import status
from pycontainer.oci import Digest
from pycontainer.store.content import ContentStore
from pycontainer.store.gc import Collector
from pycontainer.store.layout import Layout
from pycontainer.store.leases import Leases
from pycontainer.store.processes import boot_id, lives
from pycontainer.store.records import ContainerRecord, SnapshotKey
from pycontainer.store.snapshots import Snapshotter
from pycontainer.store.statedb import StateDB
from pycontainer.store.trash import Trash
from pycontainer.values import Value

__all__ = ["LOST_EXIT_CODE", "Repaired", "Repairer", "is_running"]

# SIGKILL is what the end of its monitor was to it, as far as anybody can tell afterwards.
LOST_EXIT_CODE = 137


@frozen(kw_only=True, eq=False, repr=False)
class Repaired(Value):
    """What an opening found and put right.

    preparations, orphans: half-unpacked layers and container directories without a row, discarded.
    forgotten: ids of containers whose directory or owner is gone. exited: ids of containers whose
    monitor died, now recorded as exited. lost_layers, lost_blobs: did not survive a power cut.
    missing: names and ids of images with blobs or layers that are not there; pull them again.
    """

    preparations: int = 0
    orphans: int = 0
    forgotten: tuple[str, ...] = ()
    exited: tuple[str, ...] = ()
    lost_layers: tuple[SnapshotKey, ...] = ()
    lost_blobs: tuple[Digest, ...] = ()
    missing: dict[str, tuple[str, ...]] = field(factory=dict)


class Repairer:
    """Repairs one store. Call `repair` with the store's lock held."""

    def __init__(
        self,
        layout: Layout,
        db: StateDB,
        content: ContentStore,
        snapshots: Snapshotter,
        leases: Leases,
        trash: Trash,
        collector: Collector,
    ) -> None:
        self._layout = layout
        self._db = db
        self._content = content
        self._snapshots = snapshots
        self._leases = leases
        self._trash = trash
        self._collector = collector

    def repair(self) -> Repaired:
        """Put everything right; idempotent."""
        lost_layers, lost_blobs = self._after_reboot()
        self._leases.protected()
        preparations = self._collector.discard_dead_preparations()
        exited, forgotten = self._containers()
        orphans = self._collector.discard_orphans()
        return Repaired(
            preparations=preparations,
            orphans=orphans,
            forgotten=tuple(forgotten),
            exited=tuple(exited),
            lost_layers=lost_layers,
            lost_blobs=lost_blobs,
            missing=self._incomplete(),
        )

    def _after_reboot(self) -> tuple[tuple[SnapshotKey, ...], tuple[Digest, ...]]:
        """In another boot than the last: drop layers and check blobs that may not have reached the disk."""
        current = boot_id()
        if self._db.layers.boot_id() == current:
            return (), ()
        durable = {layer.key for layer in self._db.layers.list() if layer.is_durable}
        layers = tuple(key for key in self._snapshots.committed() if key not in durable)
        for key in layers:
            self._trash.set_aside(self._layout.snapshots / key)
        durable_blobs = self._db.layers.durable_blobs()
        doubtful = [digest for digest in self._content.digests() if digest not in durable_blobs]
        blobs = tuple(digest for digest in doubtful if not self._content.verify(digest))
        with self._db.transaction():
            self._db.layers.delete(layers)
            self._db.layers.set_boot_id(current)
        return layers, blobs

    def _containers(self) -> tuple[list[str], list[str]]:
        exited: list[str] = []
        forgotten: list[str] = []
        for record in self._db.containers.list():
            directory = self._layout.container(record.id)
            if not directory.is_dir():
                forgotten.append(record.id)
                continue
            fields = _status(directory)
            if _monitor_lives(fields):
                continue
            if fields and fields.get("state") != "exited":
                try:
                    _mark_exited(directory, fields)
                except FileNotFoundError:
                    forgotten.append(record.id)  # its monitor had ended because it had just removed it
                    continue
                exited.append(record.id)
            if _is_abandoned(record, has_run=bool(fields)):
                forgotten.append(record.id)
        for container_id in forgotten:
            self._db.containers.delete(container_id)
        return exited, forgotten

    def _incomplete(self) -> dict[str, tuple[str, ...]]:
        blobs = set(self._content.digests())
        layers = set(self._snapshots.committed())
        missing: dict[str, tuple[str, ...]] = {}
        for image in self._db.images.list():
            gone = (image.digests - blobs) | (set(image.snapshots) - layers)
            if gone:
                names = [tag.name for tag in self._db.images.tags(image.id)] or [image.id]
                missing.update(dict.fromkeys(names, tuple(sorted(gone))))
        return missing


def _status(directory: Path) -> dict[str, object]:
    try:
        return status.read(str(directory)) or {}
    except (json.JSONDecodeError, OSError):
        # A power cut can leave an empty file behind the rename.
        return {}


def is_running(directory: Path) -> bool:
    """Whether the container with this directory has a monitor that lives."""
    return _monitor_lives(_status(directory))


def _monitor_lives(fields: dict[str, object]) -> bool:
    return lives(fields.get("boot_id"), fields.get("monitor_pid"), fields.get("monitor_start"))


def _mark_exited(directory: Path, fields: dict[str, object]) -> None:
    _kill(fields)
    # One that waited to be started again has ended by itself, and then.
    ended = {} if fields.get("state") == "restarting" else _killed_now()
    lost = {
        **fields,
        **ended,
        "state": "exited",
        "is_lost": True,
        "error": "the monitor of this container was killed, or the machine went down",
    }
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status.prepare(opened, lost)
        status.replace(opened)
    finally:
        os.close(opened)


def _killed_now() -> dict[str, object]:
    return {"exit_code": LOST_EXIT_CODE, "finished_at_ns": time.time_ns()}


def _kill(fields: dict[str, object]) -> None:
    """Kill what runs on without its monitor: nobody could wait for it or read its output any more."""
    pid, start = fields.get("pid"), fields.get("pid_start")
    if (
        fields.get("boot_id") != boot_id()
        or not isinstance(pid, int)
        or not isinstance(start, int)
        or pid <= 1
    ):
        return
    opened = pidfd.open_checked(pid, start)
    if opened is not None:
        try:
            pidfd.send_signal(opened, signal.SIGKILL)
        finally:
            os.close(opened)


def _is_abandoned(record: ContainerRecord, *, has_run: bool) -> bool:
    """Whether nobody wants a container that is not running: its owner has died, or it was to vanish."""
    owner = record.owner
    if owner is not None:
        return not lives(owner.boot_id, owner.pid, owner.start)
    return record.auto_remove and has_run
