"""Making room: what builds have kept, forgotten by age and size."""

from __future__ import annotations

import fcntl
import os
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from pycontainer.engine.building.options import seconds_ago
from pycontainer.engine.diskusage import build_download_sizes, build_mount_sizes
from pycontainer.engine.engine import Engine, current_engine
from pycontainer.options import given_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycontainer.store import BuildRecord, SnapshotKey

__all__ = ["PrunedBuildCache", "prune_build_cache"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@frozen(kw_only=True)
class PrunedBuildCache:
    """What was forgotten: how many steps and cache mounts, and the bytes freed."""

    steps: int
    mounts: int
    freed_bytes: int


def prune_build_cache(
    *,
    all: bool = False,
    until: float | str | timedelta | datetime | None = None,
    keep: int | str | None = None,
    reserved: int | str | None = None,
    min_free: int | str | None = None,
    engine: Engine | None = None,
) -> PrunedBuildCache:
    """Forget what builds have kept: the layers of steps that no image needs, cache mounts, checksums.

    all: also steps whose layers an image has. until: only what was last used before that (a moment, or how
    long ago). keep: only the longest unused, until the rest has at most so many bytes; min_free: until so
    many are free on the store's disk. reserved: so many bytes stay in any case. Safe beside running builds,
    which keep what they use.
    """
    engine = engine or current_engine()
    store = engine.store
    before = time.time() if until is None else seconds_ago(until)
    used = {key for image in store.state.images.list() for key in image.snapshots}
    sizes = {record.key: record.size for record in store.state.layers.list()}
    steps = [
        step
        for step in store.state.builds.list()
        if step.used_at <= before and (all or step.snapshot not in used)
    ]
    own = {key: size for key, size in sizes.items() if key not in used}
    limit = _limit(store.root, _size(steps, own), keep, reserved, min_free)
    if limit is not None:
        steps = _beyond(steps, limit, own)
    store.state.builds.delete([step.key for step in steps])
    store.state.builds.forget_sums(before)
    mounts, downloads = ([], []) if limit is not None else _forget_directories(engine, before)
    freed = store.collect_garbage().bytes + sum(mounts) + sum(downloads)
    return PrunedBuildCache(steps=len(steps), mounts=len(mounts), freed_bytes=freed)


def _limit(
    root: Path, total: int, keep: int | str | None, reserved: int | str | None, min_free: int | str | None
) -> int | None:
    """How many bytes of steps may stay; None where no size was asked for."""
    limits = [] if keep is None else [given_size(keep)]
    if min_free is not None:
        disk = os.statvfs(root)
        limits.append(total - max(given_size(min_free) - disk.f_bavail * disk.f_frsize, 0))
    if reserved is None:
        return max(min(limits), 0) if limits else None
    return max(min(limits, default=0), given_size(reserved))


def _size(steps: list[BuildRecord], sizes: Mapping[SnapshotKey, int]) -> int:
    return sum(step.size + sizes.get(step.snapshot, 0) for step in steps)


def _beyond(steps: list[BuildRecord], limit: int, sizes: Mapping[SnapshotKey, int]) -> list[BuildRecord]:
    """The first of the steps, without which the others have no more than the limit."""
    total = _size(steps, sizes)
    found = []
    for step in steps:
        if total <= limit:
            break
        total -= step.size + sizes.get(step.snapshot, 0)
        found.append(step)
    return found


def _forget_directories(engine: Engine, before: float) -> tuple[list[int], list[int]]:
    """Forget caches of mounts, files by URL, and checksums of contexts; gives the bytes of the first two."""
    sizes = build_mount_sizes(engine), build_download_sizes(engine)
    mounts, downloads = (
        [size for place, size in found.items() if _forget(engine, place, before)] for found in sizes
    )
    for table in (engine.store.root / "builds/contexts").glob("*"):
        if table.stat().st_mtime <= before:
            table.unlink(missing_ok=True)
    return mounts, downloads


def _forget(engine: Engine, instance: Path, before: float) -> bool:
    try:
        lock = os.open(instance, _DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        if os.fstat(lock).st_mtime > before:
            return False
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its builds hold the directory itself, so a new one may be made at once.
        engine.store.remove_tree(instance)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
