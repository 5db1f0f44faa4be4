"""How much room images, containers and layers take, and how much of it a prune would free."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from pycontainer.engine.engine import Engine, current_engine
from pycontainer.engine.ownership import forget_vanished
from pycontainer.engine.state import observe
from pycontainer.runtime import State

if TYPE_CHECKING:
    from pycontainer.store import ContainerRecord, ImageRecord

__all__ = [
    "BuildCacheUsage",
    "ContainerUsage",
    "DiskUsage",
    "ImageUsage",
    "VolumeUsage",
    "build_download_sizes",
    "build_mount_sizes",
    "disk_usage",
    "volume_usages",
    "writable_sizes",
]

_MEASURE_TIMEOUT_S = 300.0
_BATCH = 500
_ACTIVE = (State.RUNNING, State.PAUSED, State.RESTARTING)


@attrs.frozen(kw_only=True)
class ImageUsage:
    """Room that one image takes: unpacked layers and blobs. shared_bytes: needed by other images, too."""

    id: str
    tags: tuple[str, ...]
    size_bytes: int
    shared_bytes: int
    containers: int
    """How many containers were made from it."""

    @property
    def unique_bytes(self) -> int:
        """What is gone with it."""
        return self.size_bytes - self.shared_bytes


@attrs.frozen(kw_only=True)
class ContainerUsage:
    """Room that one container's own files take."""

    id: str
    name: str
    state: str
    size_bytes: int


@attrs.frozen(kw_only=True)
class VolumeUsage:
    """Room that one volume's files take; None for one with options. containers: how many use it."""

    name: str
    size_bytes: int | None
    containers: int


@attrs.frozen(kw_only=True)
class BuildCacheUsage:
    """Room that builds keep. steps: how many; layers_bytes: of those whose layers no image has.

    mounts, mounts_bytes: of `RUN --mount=type=cache`. downloads_bytes: of files that ADD took by URL.
    """

    steps: int
    layers_bytes: int
    mounts: int
    mounts_bytes: int
    downloads_bytes: int

    @property
    def size_bytes(self) -> int:
        """All of it together."""
        return self.layers_bytes + self.mounts_bytes + self.downloads_bytes


@attrs.frozen(kw_only=True)
class DiskUsage:
    """What a store holds. layers_bytes: unpacked layers, each once; blobs_bytes: as registries sent them.

    What only the cache of builds needs is not among these, but in build_cache.
    reclaimable_image_bytes: what Image.prune(all=True) would free; reclaimable_container_bytes: what
    Container.prune() would; reclaimable_build_bytes: what prune_build_cache(all=True) would after these.
    """

    images: tuple[ImageUsage, ...]
    containers: tuple[ContainerUsage, ...]
    volumes: tuple[VolumeUsage, ...]
    build_cache: BuildCacheUsage
    layers_bytes: int
    blobs_bytes: int
    reclaimable_image_bytes: int
    reclaimable_container_bytes: int
    reclaimable_build_bytes: int

    @property
    def images_bytes(self) -> int:
        """Layers and blobs together."""
        return self.layers_bytes + self.blobs_bytes

    @property
    def containers_bytes(self) -> int:
        """Files of all containers."""
        return sum(container.size_bytes for container in self.containers)

    @property
    def volumes_bytes(self) -> int:
        """Files of all volumes."""
        return sum(volume.size_bytes or 0 for volume in self.volumes)

    @property
    def reclaimable_bytes(self) -> int:
        """What prune(all=True) would free."""
        return self.reclaimable_image_bytes + self.reclaimable_container_bytes + self.reclaimable_build_bytes


def disk_usage(*, engine: Engine | None = None) -> DiskUsage:
    """How much room everything in the store takes.

    Images cost nothing to count: the sizes of layers were recorded when they were unpacked. The files of
    containers, of volumes and of the mounts that builds keep are measured.
    Raises: DeadlineExceeded when that takes minutes.
    """
    engine = engine or current_engine()
    store = engine.store
    forget_vanished(engine)
    images, records = store.state.images.list(), store.state.containers.list()
    parts = _Parts(engine, images)
    needing = Counter(record.image_id for record in records)
    sizes = writable_sizes(engine, [record.id for record in records])
    containers = tuple(
        ContainerUsage(
            id=record.id, name=record.name, state=_state(engine, record), size_bytes=sizes[record.id]
        )
        for record in records
    )
    used = [image for image in images if needing[image.id]]
    kept = {key for record in records for key in record.snapshots}.union(*map(_parts_of, used))
    steps = store.state.builds.list()
    cached: set[str] = {part for step in steps for part in (step.snapshot, step.digest)}
    mounts = build_mount_sizes(engine)
    downloads = sum(build_download_sizes(engine).values())
    only_cached = cached - kept.union(*map(_parts_of, images))
    return DiskUsage(
        images=tuple(parts.usage(image, needing[image.id]) for image in images),
        containers=containers,
        volumes=volume_usages(engine),
        build_cache=BuildCacheUsage(
            steps=len(steps),
            layers_bytes=parts.total(only_cached),
            mounts=len(mounts),
            mounts_bytes=sum(mounts.values()),
            downloads_bytes=downloads,
        ),
        layers_bytes=sum(size for key, size in parts.layers.items() if key not in only_cached),
        blobs_bytes=sum(size for digest, size in parts.blobs.items() if digest not in only_cached),
        reclaimable_image_bytes=parts.total() - parts.total(kept | cached),
        reclaimable_build_bytes=parts.total(cached - kept) + sum(mounts.values()) + downloads,
        reclaimable_container_bytes=sum(
            container.size_bytes for container in containers if container.state not in _ACTIVE
        ),
    )


class _Parts:
    """Layers and blobs with their sizes, and how many images need each."""

    def __init__(self, engine: Engine, images: Sequence[ImageRecord]) -> None:
        content = engine.store.content
        self._engine = engine
        self.layers: dict[str, int] = {layer.key: layer.size for layer in engine.store.state.layers.list()}
        self.blobs: dict[str, int] = {}
        for digest in content.digests():
            try:
                self.blobs[digest] = content.size(digest)
            except LookupError:
                pass  # collected meanwhile
        self._needed = Counter(part for image in images for part in _parts_of(image))

    def _size(self, part: str) -> int:
        return self.layers.get(part, 0) or self.blobs.get(part, 0)

    def total(self, of: set[str] | None = None) -> int:
        parts = {*self.layers, *self.blobs}
        return sum(self._size(part) for part in (parts if of is None else parts & of))

    def usage(self, image: ImageRecord, containers: int) -> ImageUsage:
        parts = _parts_of(image)
        tags = self._engine.store.state.images.tags(image.id)
        return ImageUsage(
            id=image.id,
            tags=tuple(tag.name for tag in tags),
            size_bytes=sum(map(self._size, parts)),
            shared_bytes=sum(self._size(part) for part in parts if self._needed[part] > 1),
            containers=containers,
        )


def _parts_of(image: ImageRecord) -> set[str]:
    return {*image.snapshots, *image.digests}


def _state(engine: Engine, record: ContainerRecord) -> str:
    return str(observe(engine.store.container_dir(record.id)).state)


def volume_usages(engine: Engine) -> tuple[VolumeUsage, ...]:
    """What each volume takes."""
    table = engine.store.state.volumes
    records = table.list()
    plain = [record.name for record in records if not record.options]
    measured = _measured(engine, engine.store.root / "volumes", [f"{name}/_data" for name in plain])
    sizes = dict(zip(plain, measured, strict=True))
    return tuple(
        VolumeUsage(
            name=record.name,
            size_bytes=sizes.get(record.name),
            containers=len(table.users(record.name)),
        )
        for record in records
    )


def writable_sizes(engine: Engine, container_ids: Sequence[str]) -> dict[str, int]:
    """Bytes of the files that each container has written or changed; 0 for one that is gone."""
    names = [f"{container_id}/upper" for container_id in container_ids]
    return dict(zip(container_ids, _measured(engine, engine.store.containers_dir, names), strict=True))


def build_mount_sizes(engine: Engine) -> dict[Path, int]:
    """Bytes of each directory that builds keep for RUN --mount=type=cache."""
    return _sizes_below(engine, engine.store.root / "builds/caches", "*/*")


def build_download_sizes(engine: Engine) -> dict[Path, int]:
    """Bytes of each directory that builds keep for a file by URL."""
    return _sizes_below(engine, engine.store.root / "builds/downloads", "*")


def _sizes_below(engine: Engine, home: Path, pattern: str) -> dict[Path, int]:
    found = sorted(home.glob(pattern))
    names = [os.fspath(path.relative_to(home)) for path in found]
    return dict(zip(found, _measured(engine, home, names), strict=True))


def _measured(engine: Engine, home: Path, names: Sequence[str]) -> list[int]:
    """Bytes of the files of directories below one."""
    if not names:
        return []
    sizes: list[int] = []
    parent = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for start in range(0, len(names), _BATCH):
            params = {"names": names[start : start + _BATCH]}
            result = engine.helper.run("measure", params, [parent], timeout_s=_MEASURE_TIMEOUT_S)
            sizes += result["sizes"]
    finally:
        os.close(parent)
    return sizes
