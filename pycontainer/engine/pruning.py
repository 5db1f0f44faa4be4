"""Removing what nothing needs: containers that have ended, unused images, and what is left over."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs

from pycontainer.engine.diskusage import writable_sizes
from pycontainer.engine.engine import Engine, current_engine
from pycontainer.engine.events import emit, emit_image
from pycontainer.engine.filters import Filters, FilterValues
from pycontainer.engine.imagelisting import labels_of
from pycontainer.engine.ownership import forget_vanished
from pycontainer.errors import NotFound, WrongState
from pycontainer.oci import Reference

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.store import RemovedImage

__all__ = ["Pruned", "prune", "prune_containers", "prune_images", "remove_image"]

_FILTERS = ("label", "label!", "until")
_IMAGE_FILTERS = ("dangling", *_FILTERS)


@attrs.frozen(kw_only=True)
class Pruned:
    """What a prune removed. images, containers: their ids. freed_bytes: of blobs, layers and files.

    build_steps, build_mounts: how many of those that builds had kept.
    """

    images: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    build_steps: int = 0
    build_mounts: int = 0
    freed_bytes: int = 0


def prune(*, all: bool = False, filters: FilterValues | None = None, engine: Engine | None = None) -> Pruned:
    """Remove every container that does not run, then the images without a name, or all that are unused.

    Then what builds keep: steps whose layers no image has, or all; and caches of mounts.
    filters: until (made before that time, or for builds last used: a moment, or a duration that has passed),
    label and label! ("key" or "key=value"; what builds keep has no labels, and stays if any are asked for).
    Raises: InvalidInput for another one.
    """
    from pycontainer.engine.building import PrunedBuildCache, prune_build_cache  # most prunes need none of it

    engine = engine or current_engine()
    found = Filters(filters, _FILTERS, "prunes")  # nothing is removed when it is refused
    containers = prune_containers(engine, filters)
    images = prune_images(engine, all, filters)
    builds = PrunedBuildCache(steps=0, mounts=0, freed_bytes=0)
    if not _asks_labels(found):
        moment_ns = found.moment_ns("until")
        until = None if moment_ns is None else datetime.fromtimestamp(moment_ns / 1e9, UTC)
        builds = prune_build_cache(all=all, until=until, engine=engine)
    return Pruned(
        images=images.images,
        containers=containers.containers,
        build_steps=builds.steps,
        build_mounts=builds.mounts,
        freed_bytes=containers.freed_bytes + images.freed_bytes + builds.freed_bytes,
    )


def prune_containers(engine: Engine, given: FilterValues | None) -> Pruned:
    """Remove the containers that do not run and fit the filters. See Container.prune."""
    filters = Filters(given, _FILTERS, "container prunes")
    until_ns = filters.moment_ns("until")
    candidates = [
        container
        for container in _stopped(engine)
        if (until_ns is None or container.created_at.timestamp() * 1e9 < until_ns)
        and filters.has_labels(container.labels if _asks_labels(filters) else {})
    ]
    sizes = writable_sizes(engine, [container.id for container in candidates])
    removed = []
    for container in candidates:
        # Started or removed by somebody else since we looked: it is none of ours any more.
        with suppress(WrongState, NotFound):
            container.remove()
            removed.append(container.id)
    freed = sum(sizes[container_id] for container_id in removed)
    emit(engine, "container", "prune", "", {"reclaimed": str(freed)})
    return Pruned(containers=tuple(removed), freed_bytes=freed)


def _stopped(engine: Engine) -> Iterable[Container]:
    from pycontainer.engine.containers import Container

    for container in Container.list(all=True, engine=engine):
        with suppress(NotFound):
            if container.state in ("created", "exited", "dead"):
                yield container


def _asks_labels(filters: Filters) -> bool:
    return "label" in filters or "label!" in filters


def remove_image(engine: Engine, text: str, *, force: bool = False) -> RemovedImage:
    """Remove an image or one of its names, and tell. Raises: NotFound; InUse."""
    store = engine.store
    forget_vanished(engine)
    image_id = store.find_image(text).id
    removed = store.remove_image(text, force=force)
    _tell(engine, image_id, removed)
    return removed


def prune_images(engine: Engine, all_unused: bool, given: FilterValues | None) -> Pruned:
    """Remove images that no container uses: those without a name, or all. See Image.prune."""
    filters = Filters(given, _IMAGE_FILTERS, "image prunes")
    all_unused = all_unused or not filters.flag("dangling", True)
    until_ns = filters.moment_ns("until")
    store = engine.store
    forget_vanished(engine)
    removed = []
    for record in store.state.images.list():
        if until_ns is not None and record.created_at * 1e9 >= until_ns:
            continue
        if _asks_labels(filters) and not filters.has_labels(labels_of(engine, record)):
            continue
        gone = store.prune_image(record.id, also_named=all_unused)
        if gone is not None:
            _tell(engine, record.id, gone)
            removed.append(record.id)
    collected = store.collect_garbage()
    emit(engine, "image", "prune", "", {"reclaimed": str(collected.bytes)})
    return Pruned(images=tuple(removed), freed_bytes=collected.bytes)


def _tell(engine: Engine, image_id: str, removed: RemovedImage) -> None:
    for name in removed.untagged:
        emit_image(engine, "untag", image_id, Reference.parse(name).familiar)
    if removed.deleted is not None:
        emit_image(engine, "delete", image_id)
