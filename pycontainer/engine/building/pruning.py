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
from pycontainer.engine.diskusage import build_mount_sizes
from pycontainer.engine.engine import Engine, current_engine
from pycontainer.options import parse_size

if TYPE_CHECKING:
    from pycontainer.store import BuildRecord

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
    engine: Engine | None = None,
) -> PrunedBuildCache:
    """Forget what builds have kept: the layers of steps that no image needs, cache mounts, checksums.

    all: also steps whose layers an image has. until: only what was last used before that (a moment, or how
    long ago). keep: only the longest unused, until the rest has at most so many bytes. Safe beside running
    builds, which keep what they use.
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
    if keep is not None:
        steps = _beyond(
            steps, parse_size(keep), {key: size for key, size in sizes.items() if key not in used}
        )
    store.state.builds.delete([step.key for step in steps])
    store.state.builds.forget_sums(before)
    mounts = [] if keep is not None else _forget_mounts(engine, before)
    collected = store.collect_garbage()
    return PrunedBuildCache(steps=len(steps), mounts=len(mounts), freed_bytes=collected.bytes + sum(mounts))


def _beyond(steps: list[BuildRecord], limit: int, sizes: dict[str, int]) -> list[BuildRecord]:
    """The first of the steps, without which the others have no more than the limit."""
    total = sum(step.size + sizes.get(step.snapshot, 0) for step in steps)
    found = []
    for step in steps:
        if total <= limit:
            break
        total -= step.size + sizes.get(step.snapshot, 0)
        found.append(step)
    return found


def _forget_mounts(engine: Engine, before: float) -> list[int]:
    """Forget caches of mounts, and checksums of contexts; gives the bytes of each cache."""
    sizes = build_mount_sizes(engine)
    freed = [size for instance, size in sizes.items() if _forget(engine, instance, before)]
    for kept in (engine.store.root / "builds/downloads").glob("*"):
        _forget(engine, kept, before)
    for table in (engine.store.root / "builds/contexts").glob("*"):
        if table.stat().st_mtime <= before:
            table.unlink(missing_ok=True)
    return freed


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
