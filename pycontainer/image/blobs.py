"""Where the blobs of an image come from and go to: the two seams every medium implements.

A source and a sink are all that a registry, a store, an archive and a layout directory need to know
of each other, so that any of them copies to any other.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol, runtime_checkable

from pycontainer.oci import Descriptor, Digest

__all__ = ["BlobSink", "BlobSource", "BlobStore", "Ingest"]


@runtime_checkable
class BlobSource(Protocol):
    """Blobs that can be read by descriptor."""

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """The blob's bytes from its beginning; the reader closes it. They are not verified.

        Raises: NotFound.
        """
        ...

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        """The whole blob, verified; for documents.

        Raises: NotFound; InvalidImage if it is above `limit` bytes; DigestMismatch.
        """
        ...


@runtime_checkable
class Ingest(Protocol):
    """One blob being written, exclusively, across threads and processes.

    Attributes: offset: bytes already there from an earlier, broken attempt; the sink hashes them
    again itself, the writer goes on from there.
    """

    @property
    def offset(self) -> int:
        """Bytes that are there."""
        ...

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append.

        Raises: DigestMismatch as soon as there are more bytes than the descriptor says.
        """
        ...

    def restart(self) -> None:
        """Drop what is there and begin anew at offset 0."""
        ...

    def commit(self) -> None:
        """Verify size, then digest, and make the blob visible.

        Raises: DigestMismatch, and then nothing of the attempt is left.
        """
        ...


@runtime_checkable
class BlobSink(Protocol):
    """A place that takes blobs."""

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there, complete."""
        ...

    def ingest(
        self, descriptor: Descriptor, *, timeout_s: float | None = None
    ) -> AbstractContextManager[Ingest | None]:
        """Write one blob. Waits while another thread or process writes the same one.

        Gives None if the blob is there already. Leaving without commit keeps what was written, for a
        later attempt to go on from.
        Raises: DeadlineExceeded if another writer took longer than timeout_s.
        """
        ...

    def put(self, data: bytes) -> Digest:
        """Store a small document; does nothing if it is there."""
        ...


@runtime_checkable
class BlobStore(BlobSource, BlobSink, Protocol):
    """A place that takes blobs and gives them back."""
