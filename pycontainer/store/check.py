"""Is everything in the store what it was when it came? Every byte is read, which takes its time.

Theory of operation. A blob is right if its bytes have its digest. A layer is right if its blob, unpacked
once more beside it, gives the same tree; trees are compared by the tar that each would be written as, in
which types, modes, owners, times, extended attributes, links and contents all show. The fresh tree then takes
the place of a damaged one, at once and whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from attrs import frozen

from pycontainer.errors import IntegrityError, NotFound
from pycontainer.launcher import Helper
from pycontainer.oci import Descriptor, mediatype
from pycontainer.store.content import ContentStore
from pycontainer.store.layout import Layout
from pycontainer.store.leases import Lease
from pycontainer.store.locks import FileLock
from pycontainer.store.records import ImageLayer, ImageRecord, SnapshotKey
from pycontainer.store.repair import is_running
from pycontainer.store.snapshots import Snapshotter
from pycontainer.store.statedb import StateDB
from pycontainer.store.trash import Trash
from pycontainer.store.unpack import LayerToUnpack, Unpacker
from pycontainer.values import Value

__all__ = ["Checker", "Damage"]


@frozen(kw_only=True, eq=False, repr=False)
class Damage(Value):
    """Something in the store that is not what it should be.

    kind: "blob" or "layer". name: the blob's digest, or the layer's key. images: names, or else ids, of the
    images that need it. problem: what is wrong, with the remedy unless it is repaired.
    """

    kind: Literal["blob", "layer"]
    name: str
    images: tuple[str, ...]
    problem: str
    is_repaired: bool = False


class Checker:
    """Checks one store, beside any other use of it. The lease keeps what is being looked at."""

    def __init__(
        self,
        layout: Layout,
        db: StateDB,
        content: ContentStore,
        snapshots: Snapshotter,
        trash: Trash,
        unpacker: Unpacker,
        helper: Helper,
        lease: Lease,
    ) -> None:
        self._layout = layout
        self._db = db
        self._content = content
        self._snapshots = snapshots
        self._trash = trash
        self._unpacker = unpacker
        self._helper = helper
        self._lease = lease

    def damages(self, *, repair: bool) -> Iterator[Damage]:
        """Everything that is wrong, as it is found.

        repair: damaged blobs are removed, so that a pull fetches them again, and damaged or missing layers
        unpacked anew, where their blobs are right and no running container uses them.
        """
        images = self._db.images.list()
        bad = set()
        for digest in sorted(
            {*self._content.digests(), *(each for image in images for each in image.digests)}
        ):
            try:
                is_whole = self._content.is_whole(digest)
                problem = "its bytes have changed"
            except NotFound:
                is_whole, problem = False, "it is missing"
            if is_whole:
                continue
            bad.add(digest)
            users = [image for image in self._db.images.list() if digest in image.digests]
            if not users and not self._content.has(digest):
                continue  # removed meanwhile, with what needed it
            if repair:
                self._content.remove(digest)
            remedy = "pull or load its images again" if users else "nothing needs it; collect the garbage"
            yield self._damage("blob", digest, users, f"{problem}; {remedy}")
        seen: set[str] = set()
        for image in images:
            below: list[SnapshotKey] = []
            for layer in image.layers:
                key = layer.snapshot
                users = [each for each in self._db.images.list() if key in each.snapshots]
                if users and key not in seen and layer.digest not in bad:
                    seen.add(key)
                    found = self._of_layer(layer, below, users, repair=repair)
                    if found is not None:
                        yield found
                below.append(key)

    def _of_layer(
        self, layer: ImageLayer, below: Sequence[SnapshotKey], users: Sequence[ImageRecord], *, repair: bool
    ) -> Damage | None:
        key = layer.snapshot
        self._lease.protect_snapshot(key)
        # Whoever sweeps what died half-way passes over a layer whose lock is held.
        with FileLock(self._layout.layer_locks / key).held(remove=True):
            try:
                size = self._content.size(layer.digest)
                blob = Descriptor(media_type=mediatype.OCI_LAYER, digest=layer.digest, size=size)
                fresh = self._unpacker.fresh(
                    LayerToUnpack(descriptor=blob, diff_id=layer.diff_id), key, below, self._lease
                )
            except (IntegrityError, NotFound) as error:
                if not any(key in image.snapshots for image in self._db.images.list()):
                    return None  # removed meanwhile
                return self._damage("layer", key, users, f"it cannot be unpacked: {error}")
            try:
                is_there = self._snapshots.has(key)
                if is_there and self._tree(self._snapshots.path(key)) == self._tree(fresh.fs):
                    return None
                problem = "its files have changed" if is_there else "it is missing"
                if not repair:
                    return self._damage("layer", key, users, f"{problem}; check with repair")
                if is_there and (box := self._running_on(key)):
                    return self._damage(
                        "layer", key, users, f"{problem}; stop container {box}, which runs on it, and repair"
                    )
                self._snapshots.remove(key)
                self._snapshots.commit(fresh)
                return self._damage("layer", key, users, problem, is_repaired=True)
            finally:
                self._snapshots.abandon(fresh)

    def _tree(self, path: Path) -> str:
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            output = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            try:
                with self._helper.submit("diff", {"is_compared": True}, [root, output]) as job:
                    return str(job.result()["diff_id"])
            finally:
                os.close(output)
        finally:
            os.close(root)

    def _running_on(self, key: SnapshotKey) -> str:
        for record in self._db.containers.list():
            uses = {*record.snapshots, *record.mounted_snapshots}
            if key in uses and is_running(self._layout.container(record.id)):
                return record.name
        return ""

    def _damage(
        self,
        kind: Literal["blob", "layer"],
        name: str,
        users: Sequence[ImageRecord],
        problem: str,
        *,
        is_repaired: bool = False,
    ) -> Damage:
        names = [
            name_
            for image in users
            for name_ in ([tag.name for tag in self._db.images.tags(image.id)] or [image.id])
        ]
        return Damage(
            kind=kind, name=name, images=tuple(sorted(names)), problem=problem, is_repaired=is_repaired
        )
