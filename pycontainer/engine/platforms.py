"""Several platforms under one name: what an image's index lists, and what of that is in the store.

Theory of operation. A name stands for one image, this host's if there is one, and for the index that lists
it. The parts of the index's other images are kept with that one, as blobs of its record; their own records,
which tell where their layers are unpacked, are made when somebody asks for such an image, and made again if
they were pruned.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from attrs import evolve

from pycontainer.engine.attached import attach, recompressed_once
from pycontainer.engine.pruning import remove_image
from pycontainer.engine.pulling import record_view
from pycontainer.errors import InvalidInput, NotFound
from pycontainer.image import Contents, ImageView, Target, copy_blob
from pycontainer.oci import (
    MANIFEST_LIMIT,
    Descriptor,
    Index,
    Platform,
    choose,
    decode_manifest,
    encode,
    mediatype,
)

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.image import BlobSink, OnEvent
    from pycontainer.oci import Digest, Reference
    from pycontainer.store import ImageRecord

__all__ = [
    "fetch_whole",
    "index_of",
    "listed",
    "main_platform",
    "of_platform",
    "recompressed_index",
    "remove_platform",
    "whole_index",
]


def index_of(engine: Engine, record: ImageRecord) -> tuple[Descriptor, Index] | None:
    """The index that an image was brought or made by, if it was one."""
    if record.target_digest == record.manifest_digest:
        return None
    content = engine.store.content
    try:
        size = content.size(record.target_digest)
        found = Descriptor(media_type=mediatype.OCI_INDEX, digest=record.target_digest, size=size)
        model = decode_manifest(content.read(found, MANIFEST_LIMIT))
    except NotFound:
        return None
    if not isinstance(model, Index):
        return None
    return evolve(found, media_type=model.media_type or mediatype.OCI_INDEX), model


def whole_index(engine: Engine, record: ImageRecord) -> Descriptor | None:
    """The index of an image, if all that it lists is here."""
    found = index_of(engine, record)
    return found[0] if found is not None and _is_here(engine, found[0]) else None


def listed(engine: Engine, record: ImageRecord) -> Index:
    """What of an image's index is here; of an image without one, itself."""
    found = index_of(engine, record)
    if found is None:
        return Index(manifests=(engine.image_view(record).descriptor,))
    here = tuple(entry for entry in found[1].manifests if _is_here(engine, entry))
    return evolve(found[1], manifests=here)


def _is_here(engine: Engine, descriptor: Descriptor) -> bool:
    content = engine.store.content
    try:
        return all(content.has(digest) for digest in Contents(Target(content, descriptor)).blobs)
    except NotFound:
        return False


def of_platform(engine: Engine, record: ImageRecord, platform: Platform) -> ImageRecord:
    """The image for a platform that has the same name as another one. Raises: NotFound."""
    if Platform.parse(record.platform).normalized() == platform.normalized():
        return record
    entry = choose(listed(engine, record), platform)
    if entry.digest == record.manifest_digest:
        return record
    view = ImageView.load(engine.store.content, entry)
    return record_view(engine, view, record.target_digest)


def fetch_whole(
    engine: Engine, found: Target, origin: Reference | None, sink: BlobSink, show: OnEvent | None
) -> list[Digest]:
    """Bring everything of a target into a sink: documents last, so that what is listed is complete.

    origin: where it lies in a registry. Returns the digests of all of it.
    """
    contents = Contents(found)
    if origin is not None:
        engine.registries.fetch_all(origin, contents.blobs.values(), sink, show)
    else:
        for blob in contents.blobs.values():
            copy_blob(found.source, sink, blob)
    for document in contents.manifests:
        sink.put(document.content)
    return [*contents.blobs, *(document.descriptor.digest for document in contents.manifests)]


def main_platform(engine: Engine, reference: Reference) -> Platform | None:
    """Which image of an index its name stands for: None for this host's, else the first that is listed."""
    _, _, model = engine.registries.document(reference)
    if not isinstance(model, Index):
        return None
    try:
        choose(model, Platform.host())
    except NotFound:
        offered = [entry.platform for entry in model.manifests if entry.platform is not None]
        return next((each for each in offered if each.architecture != "unknown"), None)
    return None


def remove_platform(engine: Engine, record: ImageRecord, platform: Platform, *, force: bool) -> str:
    """Remove the image for a platform that shares its name with others, which stay; gives its id.

    With the one that the name stands for itself the others go, too. Raises: NotFound; InUse unless forced.
    """
    variant = of_platform(engine, record, platform)
    if variant.id != record.id:
        entries = listed(engine, record).manifests
        theirs = [each.digest for each in entries if each.digest != variant.manifest_digest]
        needed = set(theirs).union(*(_blobs(engine, each) for each in entries if each.digest in theirs))
        own = {variant.manifest_digest, *_blobs(engine, engine.image_view(variant).descriptor)}
        remove_image(engine, variant.id, force=force)
        engine.store.state.images.let_go(record.id, own - needed)
        engine.store.collect_garbage()
    else:
        remove_image(engine, record.id, force=force)
    return variant.id


def _blobs(engine: Engine, descriptor: Descriptor) -> set[Digest]:
    return set(Contents(Target(engine.store.content, descriptor)).blobs)


def recompressed_index(
    engine: Engine, record: ImageRecord, compression: str, kept: Collection[Digest] = ()
) -> Descriptor:
    """The index of an image with the layers of all that it lists compressed so; kept with the image.

    kept: layers that stay as they are. What attests the images says nothing of those, and is left out.
    """
    found = index_of(engine, record)
    if found is None:
        raise InvalidInput(f"image {record.id} has no index")
    entries = []
    for entry in found[1].manifests:
        platform = entry.platform
        if platform is None or platform.architecture == "unknown":
            continue
        variant = of_platform(engine, record, platform)
        view = recompressed_once(engine, variant, compression, kept)
        attach(engine, record, [view.descriptor.digest, *(blob.digest for blob in view.blobs)])
        entries.append(evolve(view.descriptor, platform=platform, annotations=entry.annotations))
    content = encode(evolve(found[1], manifests=tuple(entries)))
    attach(engine, record, [engine.store.content.put(content)])
    return Descriptor.of(content, found[0].media_type)
