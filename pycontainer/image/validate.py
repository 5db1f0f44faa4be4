"""Check an image against itself: every digest, size and DiffID is derived again from the bytes.

The oracle of tests and of a store's self-check: it lists all that is wrong instead of stopping at the first.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from pycontainer.errors import PycontainerError
from pycontainer.image.blobs import BlobSource
from pycontainer.image.hashed import HashedReader
from pycontainer.image.view import MAX_INDEX_NESTING
from pycontainer.layers import HEAD_SIZE, detect, open_decoder
from pycontainer.oci import (
    CONFIG_LIMIT,
    MANIFEST_LIMIT,
    Descriptor,
    Digest,
    Hasher,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    choose,
    decode_config,
    decode_manifest,
    mediatype,
)

__all__ = ["Problem", "validate_image"]

COPY_SIZE = 1 << 20


@frozen
class Problem:
    """One broken promise: the blob that breaks it, and how."""

    digest: Digest
    message: str

    def __str__(self) -> str:
        return f"{self.digest}: {self.message}"


def validate_image(source: BlobSource, target: Descriptor, platform: Platform | None = None) -> list[Problem]:
    """All problems of an image; of an index's image for `platform`, or of all its images without one.

    A list without entries means that the image can be unpacked and pushed.
    """
    return list(_document(source, target, platform, MAX_INDEX_NESTING))


def _document(
    source: BlobSource, target: Descriptor, platform: Platform | None, depth: int
) -> Iterator[Problem]:
    if not depth:
        yield Problem(target.digest, f"indexes nest deeper than {MAX_INDEX_NESTING} levels")
        return
    try:
        document = decode_manifest(source.read(target, MANIFEST_LIMIT), target.media_type)
        if isinstance(document, Index) and platform is not None:
            document = Index(manifests=(choose(document, platform),))
    except (PycontainerError, OSError) as error:
        yield Problem(target.digest, str(error))
        return
    if isinstance(document, Index):
        for entry in document.manifests:
            yield from _document(source, entry, None, depth - 1)
    else:
        yield from _manifest(source, target, document)


def _manifest(source: BlobSource, target: Descriptor, manifest: Manifest) -> Iterator[Problem]:
    diff_ids: tuple[Digest, ...] | None = None
    if mediatype.is_config(manifest.config.media_type):
        try:
            config = decode_config(source.read(manifest.config, CONFIG_LIMIT))
        except (PycontainerError, OSError) as error:
            yield Problem(manifest.config.digest, str(error))
        else:
            yield from _config(target, manifest, config)
            if len(config.diff_ids) == len(manifest.layers):
                diff_ids = config.diff_ids
    for i, layer in enumerate(manifest.layers):
        try:
            yield from _layer(source, layer, diff_ids[i] if diff_ids else None)
        except (PycontainerError, OSError) as error:
            yield Problem(layer.digest, str(error))


def _config(target: Descriptor, manifest: Manifest, config: ImageConfig) -> Iterator[Problem]:
    digest = manifest.config.digest
    if len(config.diff_ids) != len(manifest.layers):
        yield Problem(digest, f"config lists {len(config.diff_ids)} layers, manifest {len(manifest.layers)}")
    steps = sum(not step.empty_layer for step in config.history)
    if config.history and steps != len(config.diff_ids):
        yield Problem(digest, f"history tells of {steps} layers, config lists {len(config.diff_ids)}")
    if target.platform is not None:
        stated = target.platform.normalized()
        actual = Platform(os=config.os, architecture=config.architecture, variant=config.variant).normalized()
        if (stated.os, stated.architecture) != (actual.os, actual.architecture):
            yield Problem(digest, f"index says {stated}, config says {actual}")


def _layer(source: BlobSource, layer: Descriptor, diff_id: Digest | None) -> Iterator[Problem]:
    hasher = Hasher.like(layer.digest)
    with source.open(layer) as blob:
        hashed = HashedReader(blob, hasher)
        head = hashed.read(HEAD_SIZE)
        kind = detect(head)
        stated = mediatype.compression_of(layer.media_type)
        if stated is not None and stated != kind:
            yield Problem(layer.digest, f"media type says {stated}, content is {kind}")
        if diff_id is None or stated is None:
            while hashed.read(COPY_SIZE):
                pass
        else:
            tar = Hasher.like(diff_id)
            decoder = open_decoder(kind, hashed, head=head)
            while chunk := decoder.read(COPY_SIZE):
                tar.update(chunk)
            while hashed.read(COPY_SIZE):  # what the decoder left, if anything
                pass
            if tar.digest() != diff_id:
                yield Problem(layer.digest, f"uncompressed content is {tar.digest()}, config says {diff_id}")
    hasher.check(layer.digest, layer.size, "layer")
