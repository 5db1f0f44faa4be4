"""Records for tests, short to write."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pycontainer.oci import Digest
from pycontainer.store import ContainerRecord, ImageLayer, ImageRecord, Owner, SnapshotKey


def digest(text: str) -> Digest:
    return Digest("sha256:" + hashlib.sha256(text.encode()).hexdigest())


def key(text: str) -> SnapshotKey:
    return SnapshotKey(digest(text)[7:])


def image(name: str, layers: Sequence[str] = (), *, created_at: float = 1.0) -> ImageRecord:
    """An image whose digests are made of its name, and whose layers are shared by name."""
    return ImageRecord(
        id=digest(name),
        manifest_digest=digest(f"{name} manifest"),
        target_digest=digest(f"{name} index"),
        platform="linux/amd64",
        size=1000,
        created_at=created_at,
        layers=tuple(
            ImageLayer(digest=digest(f"{layer} blob"), diff_id=digest(layer), snapshot=key(layer))
            for layer in layers
        ),
    )


def container(
    name: str,
    of: str = "",
    *,
    snapshots: Sequence[str] = (),
    auto_remove: bool = False,
    owner: Owner | None = None,
    container_id: str = "",
) -> ContainerRecord:
    return ContainerRecord(
        id=container_id or digest(f"container {name}")[7:],
        name=name,
        image_id=digest(of) if of else "",
        image_ref=of,
        created_at=1.0,
        options={"memory": 1 << 28, "env": {"A": "ü"}},
        snapshots=tuple(key(each) for each in snapshots),
        auto_remove=auto_remove,
        owner=owner,
    )
