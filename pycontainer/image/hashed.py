"""Reading blobs while they are hashed."""

from __future__ import annotations

from typing import BinaryIO

from pycontainer.errors import InvalidImage
from pycontainer.image.blobs import BlobSource
from pycontainer.oci import Descriptor, Hasher

__all__ = ["HashedReader", "read_verified"]


class HashedReader:
    """A blob that is hashed while it is read."""

    def __init__(self, blob: BinaryIO, hasher: Hasher) -> None:
        self._blob = blob
        self.hasher = hasher

    def read(self, size: int) -> bytes:
        """At most `size` bytes; empty at the end."""
        data = self._blob.read(size)
        self.hasher.update(data)
        return data


def read_verified(source: BlobSource, descriptor: Descriptor, limit: int, what: str) -> bytes:
    """What BlobSource.read promises, by way of an `open` that refuses blobs of another size.

    Raises: NotFound; InvalidImage if it is above `limit` bytes; DigestMismatch, naming `what`.
    """
    if descriptor.size > limit:
        raise InvalidImage(f"{descriptor.digest} of {descriptor.size} bytes is above the limit of {limit}")
    hasher = Hasher.like(descriptor.digest)
    with source.open(descriptor) as blob:
        data = blob.read()
    hasher.update(data)
    hasher.check(descriptor.digest, descriptor.size, f"{what} {descriptor.digest}")
    return data
