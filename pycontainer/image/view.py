"""An immutable view of one image, wherever its blobs are.

A medium gives three things: the manifest's bytes, the configuration's bytes, and a source of blobs.
All else is derived here, once, so that every medium tells the same of the same image.
"""

from __future__ import annotations

from functools import cached_property
from typing import BinaryIO

from pycontainer.errors import InvalidImage
from pycontainer.image.blobs import BlobSink, BlobSource
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
    chain_ids,
    choose,
    decode_config,
    decode_manifest,
    mediatype,
)

__all__ = ["ImageView", "copy_blob"]

COPY_SIZE = 1 << 20
MAX_INDEX_NESTING = 4  # real ones nest once; an index may contain itself only if sha256 is broken


class ImageView:
    """One image of one platform; nothing it shows ever changes.

    Attributes: manifest_bytes, config_bytes (as they were signed and hashed), source.
    Raises on construction: InvalidImage or DigestMismatch, if the documents do not fit each other.
    """

    def __init__(self, manifest_bytes: bytes, config_bytes: bytes, source: BlobSource) -> None:
        self.manifest_bytes = manifest_bytes
        self.config_bytes = config_bytes
        self.source = source
        manifest = decode_manifest(manifest_bytes)
        if isinstance(manifest, Index):
            raise InvalidImage("expected the manifest of one image, got an index")
        self.manifest: Manifest = manifest
        hasher = Hasher.like(manifest.config.digest)
        hasher.update(config_bytes)
        hasher.check(manifest.config.digest, manifest.config.size, "image config")
        self.config: ImageConfig = decode_config(config_bytes)
        if len(self.layers) != len(self.diff_ids):
            raise InvalidImage(
                f"image {self.id} has {len(self.layers)} layers, but its config lists {len(self.diff_ids)}"
            )

    @classmethod
    def load(cls, source: BlobSource, target: Descriptor, platform: Platform | None = None) -> ImageView:
        """Read the image that `target` points to, choosing from an index by platform (default: this host's).

        Raises: NotFound (a blob, or no image for the platform), InvalidImage, DigestMismatch.
        """
        for _ in range(MAX_INDEX_NESTING):
            data = source.read(target, MANIFEST_LIMIT)
            document = decode_manifest(data, target.media_type)
            if isinstance(document, Manifest):
                if not mediatype.is_config(document.config.media_type):
                    raise InvalidImage(
                        f"{target.digest} is an artifact of type "
                        f"{document.artifact_type or document.config.media_type}, not a container image"
                    )
                return cls(data, source.read(document.config, CONFIG_LIMIT), source)
            target = choose(document, platform or Platform.host())
        raise InvalidImage(f"indexes nest deeper than {MAX_INDEX_NESTING} levels at {target.digest}")

    @cached_property
    def descriptor(self) -> Descriptor:
        """The descriptor of the manifest, with the image's platform."""
        plain = Descriptor.of(self.manifest_bytes, self.manifest.media_type)
        return Descriptor(
            media_type=plain.media_type, digest=plain.digest, size=plain.size, platform=self.platform
        )

    @property
    def id(self) -> Digest:
        """The image id: the digest of the configuration, as in classic Docker and podman."""
        return self.manifest.config.digest

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers' blobs, bottom first."""
        return self.manifest.layers

    @property
    def diff_ids(self) -> tuple[Digest, ...]:
        """Digests of the uncompressed layers, bottom first."""
        return self.config.diff_ids

    @cached_property
    def chain_ids(self) -> tuple[Digest, ...]:
        """ChainIDs of the layers, bottom first."""
        return tuple(chain_ids(self.diff_ids))

    @cached_property
    def platform(self) -> Platform:
        """What the configuration says it needs."""
        config = self.config
        return Platform(
            os=config.os,
            architecture=config.architecture,
            variant=config.variant,
            os_version=config.os_version,
            os_features=config.os_features,
        )

    @cached_property
    def size_bytes(self) -> int:
        """Bytes to transfer: manifest, configuration and layers as they are compressed."""
        return len(self.manifest_bytes) + sum(blob.size for blob in self.blobs)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """All the manifest points to: the layers bottom first, then the configuration."""
        return (*self.layers, self.manifest.config)

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """The bytes of one of `blobs`, not verified; the reader closes it."""
        return self.source.open(descriptor)

    def copy_to(self, sink: BlobSink) -> None:
        """Copy every blob, then the manifest, each verified by the sink; what is there is skipped.

        Raises: DigestMismatch, NotFound.
        """
        for blob in self.blobs:
            copy_blob(self.source, sink, blob)
        sink.put(self.manifest_bytes)

    def __repr__(self) -> str:
        return f"ImageView({self.id}, {self.platform}, {len(self.layers)} layers)"


def copy_blob(source: BlobSource, sink: BlobSink, descriptor: Descriptor) -> None:
    """Copy one blob, going on where an earlier attempt broke off.

    Raises: DigestMismatch, NotFound.
    """
    with sink.ingest(descriptor) as ingest:
        if ingest is None:
            return
        with source.open(descriptor) as blob:
            _skip(blob, ingest.offset)
            while chunk := blob.read(COPY_SIZE):
                ingest.write(chunk)
        ingest.commit()


def _skip(blob: BinaryIO, count: int) -> None:
    if count and blob.seekable():
        blob.seek(count)
        return
    while count > 0 and (chunk := blob.read(min(count, COPY_SIZE))):
        count -= len(chunk)
