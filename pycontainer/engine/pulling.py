"""Pulling: a registry's image becomes blobs, unpacked layers and a name, in that order.

The download runs in a thread of its own while the layers that grow are unpacked; the image and its name
appear in one transaction when everything is there and verified. A lease keeps the parts meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import evolve

from pycontainer.checkpoints import reached
from pycontainer.image import ImageView, OnEvent, Progress
from pycontainer.kernel import interrupts
from pycontainer.oci import Platform
from pycontainer.registry import Cancellation
from pycontainer.store import ImageLayer, ImageRecord, LayerToUnpack, Lease

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.oci import Descriptor, Digest, Reference
    from pycontainer.registry import Resolved

__all__ = ["KILL_POINTS", "import_view", "pull", "record_view", "unpack_again"]

KILL_POINTS = (
    "pull.manifest.resolved",  # nothing is written yet
    "pull.documents.stored",  # manifest and configuration are blobs, layers are not
    "pull.layers.unpacked",  # everything is there, nothing names it
)


def pull(
    engine: Engine,
    asked: Reference,
    platform: Platform | None,
    on_event: OnEvent | None,
    *,
    is_whole: bool = False,
) -> ImageRecord:
    """Bring an image here and give it its name. Raises RegistryError, NotFound, IntegrityError.

    is_whole: with the blobs of all other images that its index lists.
    """
    store = engine.store
    reference = asked
    if engine.config.lock is not None:
        from pycontainer.engine.locking import pinned  # few engines have one

        reference = pinned(engine, asked)
    with store.lease(f"pull {reference}") as lease:
        if is_whole:
            from pycontainer.engine.platforms import main_platform

            platform = main_platform(engine, reference)
        found = engine.registries.resolve(reference, platform, on_event)
        signatures = None
        if engine.policy is not None:
            from pycontainer.engine.trusting import check_pulled, keep_signatures

            signatures = check_pulled(engine, asked, found)
        reached("pull.manifest.resolved")
        for document in (found.index_bytes, found.manifest_bytes, found.config_bytes):
            if document is not None:
                store.content.put(document)
        reached("pull.documents.stored")
        view = ImageView(found.manifest_bytes, found.config_bytes, store.content)
        layers = _transfer_and_unpack(engine, found.reference, view, lease, on_event)
        parts = _rest(engine, found, on_event) if is_whole else []
        reached("pull.layers.unpacked")
        record = _record(view, layers, found.descriptor.digest)
        # By digest alone it has no tag, and is kept under that digest as its name.
        names = [] if _is_kept_beside(engine, record, str(asked)) else [str(asked)]
        record = store.state.images.put(record, names)
        if parts:
            from pycontainer.engine.attached import attach

            attach(engine, store.state.images.tagged(str(asked)) or record, parts)
        if signatures is not None:
            keep_signatures(engine, record, signatures)
        store.sync_later()
    if on_event is not None:
        on_event(Progress(action="done", reference=reference.familiar, digest=view.id))
    return record


def import_view(
    engine: Engine, view: ImageView, names: Sequence[Reference], lease: Lease, on_event: OnEvent | None = None
) -> ImageRecord:
    """Keep an image whose blobs come from elsewhere, unpack it, and give it names."""
    store = engine.store
    view.copy_to(store.content)
    layers = store.unpack(_to_unpack(view), lease=lease, on_event=on_event)
    record = _record(view, layers, view.descriptor.digest)
    record = store.state.images.put(record, [str(name) for name in names])
    store.sync_later()
    return record


def _rest(engine: Engine, found: Resolved, on_event: OnEvent | None) -> list[Digest]:
    """Fetch the other images of an index; the digests of all that it lists."""
    if found.index_bytes is None:
        return []
    from pycontainer.engine.platforms import fetch_whole
    from pycontainer.image import Target

    whole = Target(engine.registries.source(found.reference), found.descriptor)
    return fetch_whole(engine, whole, found.reference, engine.store.content, on_event)


def _is_kept_beside(engine: Engine, record: ImageRecord, name: str) -> bool:
    """Keep an image together with the one that has the name now, if one index lists both.

    The name is that of the one for this host, else of the one that was there first. True if it stays.
    """
    named = engine.store.state.images.tagged(name)
    if named is None or named.id == record.id or named.target_digest != record.target_digest:
        return False
    if record.target_digest == record.manifest_digest:
        return False
    from pycontainer.engine.attached import attach  # with all that makes images

    is_for_host = Platform.parse(record.platform).normalized() == Platform.host().normalized()
    main, other = (record, named) if is_for_host else (named, record)
    attach(engine, engine.store.state.images.put(main), other.digests)
    return not is_for_host


def record_view(engine: Engine, view: ImageView, target: Digest | None = None) -> ImageRecord:
    """Keep an image whose layers are in the store, without a name; it is unpacked when it is run.

    target: digest of the index that lists it.
    """
    from pycontainer.image import keep  # with all that makes images, which a pull does without

    store = engine.store
    with store.lease(f"keep {view.id}"):
        keep(view, store.content)
        record = store.state.images.put(
            _record(view, [""] * len(view.layers), target or view.descriptor.digest)
        )
    store.sync_later()
    return record


def unpack_again(engine: Engine, record: ImageRecord, view: ImageView) -> ImageRecord:
    """Unpack the layers that a power cut took, from the blobs. Raises NotFound when these are gone, too."""
    store = engine.store
    with store.lease(f"unpack {record.id}") as lease:
        keys = store.unpack(_to_unpack(view), lease=lease)
        layers = tuple(evolve(layer, snapshot=key) for layer, key in zip(record.layers, keys, strict=True))
        stored = store.state.images.put(evolve(record, layers=layers))
        store.sync_later()
    return stored


def _transfer_and_unpack(
    engine: Engine, reference: Reference, view: ImageView, lease: Lease, on_event: OnEvent | None
) -> Sequence[str]:
    content = engine.store.content
    missing = [layer for layer in view.layers if not content.has(layer.digest)]
    if not missing:
        return engine.store.unpack(_to_unpack(view), lease=lease, on_event=on_event)
    transfer = _Transfer(engine, reference, missing, on_event)
    transfer.start()
    try:
        with interrupts.calling(transfer.cancel):
            keys = engine.store.unpack(
                _to_unpack(view), lease=lease, on_event=on_event, follow=True, stop=transfer.failed
            )
    except BaseException:
        # When the transfer broke off, unpacking can only tell that it did.
        cause = transfer.error
        transfer.abandon()
        if cause is not None:
            raise cause from None
        raise
    transfer.finish()
    return keys


class _Transfer(threading.Thread):
    """Downloads blobs while the caller's thread unpacks them."""

    def __init__(
        self, engine: Engine, reference: Reference, blobs: Sequence[Descriptor], on_event: OnEvent | None
    ) -> None:
        super().__init__(name="pycontainer-pull", daemon=True)
        self._client = engine.registries
        self._content = engine.store.content
        self._reference = reference
        self._blobs = blobs
        self._on_event = on_event
        self._cancellation = Cancellation()
        self.cancel = self._cancellation.cancel
        self.failed = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._client.fetch_all(
                self._reference,
                self._blobs,
                self._content,
                self._on_event,
                cancellation=self._cancellation,
            )
        except BaseException as error:  # handed to the thread that waits, which raises it
            self.error = error
            self.failed.set()

    def finish(self) -> None:
        """Wait for the end, and raise what went wrong."""
        self.join()
        if self.error is not None:
            raise self.error

    def abandon(self) -> None:
        """Stop after an error elsewhere; what has arrived stays for the next attempt."""
        self._cancellation.cancel()
        self.join()


def _to_unpack(view: ImageView) -> list[LayerToUnpack]:
    return [
        LayerToUnpack(descriptor=descriptor, diff_id=diff_id)
        for descriptor, diff_id in zip(view.layers, view.diff_ids, strict=True)
    ]


def _record(view: ImageView, keys: Sequence[str], target: Digest) -> ImageRecord:
    from pycontainer.store import SnapshotKey

    layers = zip(view.layers, view.diff_ids, keys, strict=True)
    return ImageRecord(
        id=view.id,
        manifest_digest=view.descriptor.digest,
        target_digest=target,
        platform=str(view.platform),
        size=view.size_bytes,
        created_at=time.time(),
        layers=tuple(
            ImageLayer(digest=layer.digest, diff_id=diff_id, snapshot=SnapshotKey(key))
            for layer, diff_id, key in layers
        ),
    )
