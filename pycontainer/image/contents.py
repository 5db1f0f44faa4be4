"""All that an image, an index or an artifact consists of: what has to be copied for it to be complete."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from attrs import field, frozen

from pycontainer.errors import InvalidImage, NotFound
from pycontainer.image.blobs import BlobSource
from pycontainer.image.hashed import read_verified
from pycontainer.image.view import MAX_INDEX_NESTING, ImageView
from pycontainer.oci import (
    MANIFEST_LIMIT,
    Descriptor,
    Digest,
    Hasher,
    Index,
    Manifest,
    decode_manifest,
    mediatype,
)

__all__ = ["Contents", "Document", "Documents", "Target"]

COPY_SIZE = 1 << 20
MAX_MANIFESTS = 16384  # of one index with all it nests; twice what one index may list


@frozen
class Target:
    """Something that can be copied: a manifest or an index, and where it is."""

    source: BlobSource
    descriptor: Descriptor

    @classmethod
    def of(cls, what: ImageView | Target) -> Target:
        """An image's manifest, whose documents its source must have; a target as it is."""
        return cls(what.source, what.descriptor) if isinstance(what, ImageView) else what


@frozen
class Document:
    """A manifest or an index, verified."""

    descriptor: Descriptor
    content: bytes = field(repr=False)
    model: Manifest | Index = field(repr=False)


class Documents:
    """Blobs in memory, and files of the host, as a source of blobs."""

    def __init__(self, *blobs: bytes) -> None:
        self._homes: dict[Digest, bytes | Path] = {}
        for data in blobs:
            self.add(data)

    def add(self, content: bytes | Path, media_type: str = "application/octet-stream") -> Descriptor:
        """Take a blob in. Raises: OSError."""
        if isinstance(content, bytes):
            found = Descriptor.of(content, media_type)
        else:
            hasher = Hasher()
            with open(content, "rb") as file:
                while chunk := file.read(COPY_SIZE):
                    hasher.update(chunk)
            found = Descriptor(media_type=media_type, digest=hasher.digest(), size=hasher.size)
        self._homes[found.digest] = content
        return found

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """See BlobSource."""
        content = self._homes.get(descriptor.digest)
        if content is None:
            raise NotFound(f"blob {descriptor.digest} is not among what was given")
        return BytesIO(content) if isinstance(content, bytes) else open(content, "rb")

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        """See BlobSource."""
        return read_verified(self, descriptor, limit, "blob")


class Contents:
    """Attributes: manifests (children before the index that lists them); blobs by digest (configurations and
    layers); foreign (layers that stay with their publisher).
    """

    def __init__(self, target: Target, *, manifest_limit: int = MANIFEST_LIMIT) -> None:
        """Read all manifests of a target.

        Raises: NotFound if one is missing; InvalidImage; DigestMismatch.
        """
        self.blobs: dict[Digest, Descriptor] = {}
        self.foreign: list[Descriptor] = []
        self.manifests: list[Document] = []
        self._seen: set[Digest] = set()
        self._source = target.source
        self._limit = manifest_limit
        self._add(target.descriptor, 0)

    def _add(self, descriptor: Descriptor, depth: int) -> None:
        if depth > MAX_INDEX_NESTING:
            raise InvalidImage(f"indexes are nested more than {MAX_INDEX_NESTING} deep")
        if descriptor.digest in self._seen:
            return
        self._seen.add(descriptor.digest)
        if len(self._seen) > MAX_MANIFESTS:
            raise InvalidImage(f"an index lists more than {MAX_MANIFESTS} manifests")
        content = self._source.read(descriptor, self._limit)
        model = decode_manifest(content, descriptor.media_type, limit_bytes=self._limit)
        if isinstance(model, Index):
            for child in model.manifests:
                self._add(child, depth + 1)
        else:
            for blob in (model.config, *model.layers):
                if mediatype.is_foreign(blob.media_type):
                    self.foreign.append(blob)
                else:
                    self.blobs.setdefault(blob.digest, blob)
        self.manifests.append(Document(descriptor, content, model))
