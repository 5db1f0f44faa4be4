"""Documents that are kept with an image: its variants in other compressions, and its signatures.

They are blobs which the image's record lists, so they go when the image goes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from attrs import evolve

from pycontainer.errors import InvalidInput, NotFound
from pycontainer.image import Compression, ImageView, derived, keep, recompressed
from pycontainer.oci import MANIFEST_LIMIT, Descriptor, Manifest, decode_manifest, mediatype

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.oci import Digest
    from pycontainer.store import ImageRecord

__all__ = ["attach", "attached_manifests", "recompressed_once"]

COMPRESSION = "io.pycontainer.compression"
"""Annotation of a variant's manifest: how its layers were compressed, with the level."""


def recompressed_once(
    engine: Engine, record: ImageRecord, compression: str, kept: Collection[Digest] = ()
) -> ImageView:
    """The image with layers compressed so, from the time before or made and kept.

    kept: layers that stay as they are.
    Raises: InvalidInput for a compression that does not exist.
    """
    chosen = Compression.parse(compression)
    view = engine.image_view(record)
    changing = [layer for layer in view.layers if layer.digest not in kept]
    kinds = {mediatype.compression_of(layer.media_type) for layer in changing}
    mark = str(chosen) if len(changing) == len(view.layers) else f"{chosen} of {len(changing)} layers"
    if chosen.level is None and kinds <= {chosen.kind}:
        return view
    store = engine.store
    for data, manifest in attached_manifests(engine, record):
        if manifest.config.digest == record.id and manifest.annotations.get(COMPRESSION) == mark:
            found = ImageView(data, view.config_bytes, store.content)
            if all(store.content.has(layer.digest) for layer in found.layers):
                return found
    with store.lease(f"recompress {record.id}"):
        made = recompressed(store.content, view, chosen, force=chosen.level is not None, kept=kept)
        made = derived(made, annotations={**made.manifest.annotations, COMPRESSION: mark})
        keep(made, store.content)
        attach(engine, record, [made.descriptor.digest, *(layer.digest for layer in made.layers)])
    return ImageView(made.manifest_bytes, made.config_bytes, store.content)


def attach(engine: Engine, record: ImageRecord, digests: Iterable[Digest]) -> None:
    """Keep blobs for as long as the image is kept; a lease must hold them until then."""
    images = engine.store.state.images
    known = images.get(record.id)
    images.put(evolve(known, blobs=tuple(sorted({*known.blobs, *digests} - {known.id}))))


def attached_manifests(engine: Engine, record: ImageRecord) -> Iterator[tuple[bytes, Manifest]]:
    """The manifests among the blobs that are kept with an image, with their bytes."""
    content = engine.store.content
    for digest in engine.store.state.images.get(record.id).blobs:
        try:
            size = content.size(digest)
            if size > MANIFEST_LIMIT:
                continue
            octets = Descriptor(media_type="application/octet-stream", digest=digest, size=size)
            data = content.read(octets, MANIFEST_LIMIT)
            document = decode_manifest(data)
        except (InvalidInput, NotFound):
            continue  # a layer, or a configuration
        if isinstance(document, Manifest):
            yield data, document
