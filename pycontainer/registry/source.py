"""A repository as a source of blobs, for copies that need no store: they are read from the wire."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO, cast

from pycontainer.errors import DigestMismatch, RegistryError
from pycontainer.oci import Descriptor, Hasher, Reference, mediatype
from pycontainer.registry.auth import Right
from pycontainer.registry.body import read_body
from pycontainer.registry.endpoints import Endpoint
from pycontainer.registry.resolve import Resolver
from pycontainer.registry.session import Request, Session

__all__ = ["RemoteSource"]


class RemoteSource:
    """The blobs and manifests of a reference's repository; implements image.BlobSource."""

    def __init__(self, session: Session, resolver: Resolver, reference: Reference) -> None:
        self._session = session
        self._resolver = resolver
        self._reference = reference

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """See BlobSource. Read from its beginning to its end, the blob is verified: DigestMismatch there."""
        return cast(BinaryIO, io.BufferedReader(_RemoteBlob(self._session, self._reference, descriptor)))

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        """See BlobSource; manifests are asked for as such."""
        media_type = descriptor.media_type
        if mediatype.is_manifest(media_type) or mediatype.is_index(media_type):
            return self._resolver.child(self._reference, descriptor)
        return self._resolver.blob(self._reference, descriptor, limit)


class _RemoteBlob(io.RawIOBase):
    """The body of one answer, asked for when it is first read; before that it can be told where to begin."""

    def __init__(self, session: Session, reference: Reference, descriptor: Descriptor) -> None:
        super().__init__()
        self._session = session
        self._reference = reference
        self._descriptor = descriptor
        self._position = 0
        self._hasher: Hasher | None = Hasher.like(descriptor.digest)
        self._stack = ExitStack()
        self._pieces: Iterator[bytes | memoryview] | None = None
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._pieces is None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or (self._pieces is not None and offset != self._position):
            raise io.UnsupportedOperation("a remote blob is read in one go")
        if offset:
            self._hasher = None  # part of a blob has no digest
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if self._pieces is None:
            self._pieces = self._session.anywhere(self._reference, self._ask)
        while not len(self._rest):
            piece = next(self._pieces, None)
            if piece is None:
                self._end()
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        memoryview(buffer)[:count] = self._rest[:count]
        if self._hasher is not None:
            self._hasher.update(self._rest[:count])
        self._rest = self._rest[count:]
        self._position += count
        if self._position > self._descriptor.size:
            raise DigestMismatch(f"{self._descriptor.size} bytes", "more", self._source)
        return count

    def close(self) -> None:
        self._stack.close()
        super().close()

    @property
    def _source(self) -> str:
        return f"blob {self._descriptor.digest} of {self._reference.repository}"

    def _ask(self, endpoint: Endpoint) -> Iterator[bytes | memoryview]:
        start, size = self._position, self._descriptor.size
        request = Request(
            action=f"get blob {self._descriptor.digest}",
            path=f"{self._reference.path}/blobs/{self._descriptor.digest}",
            headers={"Accept": "*/*", **({"Range": f"bytes={start}-{size - 1}"} if start else {})},
            right=Right.to(self._reference.path, "pull"),
            accepts=frozenset({206} if start else {200}),
        )
        with ExitStack() as stack:
            response = stack.enter_context(self._session.open(endpoint, request))
            told = response.headers.get("content-range", "")
            if start and not told.startswith(f"bytes {start}-"):
                raise RegistryError(f"{self._source}: asked from byte {start}, got {told[:80]!r}")
            self._stack = stack.pop_all()
        return read_body(response, self._session.config.timeouts)

    def _end(self) -> None:
        if self._position != self._descriptor.size:
            raise DigestMismatch(f"{self._descriptor.size} bytes", f"{self._position} bytes", self._source)
        if self._hasher is not None:
            self._hasher.check(self._descriptor.digest, self._descriptor.size, self._source)
