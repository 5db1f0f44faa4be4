"""Blobs in memory, a small image, and a registry made of a table; for tests of the client."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import httpx

from pycontainer.errors import DeadlineExceeded, NotFound
from pycontainer.oci import (
    Descriptor,
    Digest,
    Hasher,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    encode,
    mediatype,
    sha256,
)
from pycontainer.registry import Retries, Timeouts

FAST = Retries(attempts=3, base_s=0.001, cap_s=0.002, retry_after_cap_s=2.0)
SHORT = Timeouts(connect_s=2.0, read_gap_s=2.0)


class MemoryIngest:
    def __init__(self, sink: MemorySink, descriptor: Descriptor, kept: bytes) -> None:
        self._sink = sink
        self._descriptor = descriptor
        self.data = bytearray(kept)

    @property
    def offset(self) -> int:
        return len(self.data)

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        self.data += chunk

    def restart(self) -> None:
        self.data.clear()

    def commit(self) -> None:
        hasher = Hasher.like(self._descriptor.digest)
        hasher.update(self.data)
        try:
            hasher.check(self._descriptor.digest, self._descriptor.size, "memory")
        except Exception:
            self.data.clear()
            raise
        self._sink.blobs[self._descriptor.digest] = bytes(self.data)


class MemorySink:
    """A BlobSink and BlobSource; partial holds what broken attempts left."""

    def __init__(self, *blobs: bytes) -> None:
        self.blobs: dict[Digest, bytes] = {sha256(blob): blob for blob in blobs}
        self.partial: dict[Digest, bytes] = {}
        self._locks: dict[Digest, threading.Lock] = {}
        self._lock = threading.Lock()

    def has(self, digest: Digest) -> bool:
        return digest in self.blobs

    @contextmanager
    def ingest(
        self, descriptor: Descriptor, *, timeout_s: float | None = None
    ) -> Iterator[MemoryIngest | None]:
        with self._lock:
            lock = self._locks.setdefault(descriptor.digest, threading.Lock())
        if not lock.acquire(timeout=-1 if timeout_s is None else timeout_s):
            raise DeadlineExceeded("another writer")
        try:
            if self.has(descriptor.digest):
                yield None
                return
            ingest = MemoryIngest(self, descriptor, self.partial.pop(descriptor.digest, b""))
            try:
                yield ingest
            finally:
                if not self.has(descriptor.digest) and ingest.data:
                    self.partial[descriptor.digest] = bytes(ingest.data)
        finally:
            lock.release()

    def put(self, data: bytes) -> Digest:
        digest = sha256(data)
        self.blobs[digest] = data
        return digest

    def add(self, data: bytes, media_type: str, **details: object) -> Descriptor:
        self.put(data)
        return Descriptor(media_type=media_type, digest=sha256(data), size=len(data), **details)  # type: ignore[arg-type]

    def open(self, descriptor: Descriptor) -> BinaryIO:
        if descriptor.digest not in self.blobs:
            raise NotFound(descriptor.digest)
        return io.BytesIO(self.blobs[descriptor.digest])

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        with self.open(descriptor) as file:
            return file.read(limit)


def small_image(sink: MemorySink, *layers: bytes, architecture: str = "amd64", name: str = "") -> Descriptor:
    """Put an image into the sink; returns its manifest's descriptor."""
    diff_ids = tuple(sha256(layer) for layer in layers)
    config = ImageConfig(architecture=architecture, os="linux", diff_ids=diff_ids, author=name)
    manifest = Manifest(
        config=sink.add(encode(config), mediatype.OCI_CONFIG),
        layers=tuple(sink.add(layer, mediatype.OCI_LAYER) for layer in layers),
    )
    return sink.add(
        encode(manifest), mediatype.OCI_MANIFEST, platform=Platform(os="linux", architecture=architecture)
    )


def small_index(sink: MemorySink, *manifests: Descriptor) -> Descriptor:
    return sink.add(encode(Index(manifests=manifests)), mediatype.OCI_INDEX)


Reply = httpx.Response | Callable[[httpx.Request], httpx.Response]


class Table(httpx.MockTransport):
    """Answers by "METHOD scheme://host/path" (query aside); a list is used up one by one, then its last.

    seen: the requests in their order.
    """

    def __init__(self, replies: dict[str, Reply | list[Reply]]) -> None:
        super().__init__(self._answer)
        self._replies = {key: value if isinstance(value, list) else [value] for key, value in replies.items()}
        self.seen: list[httpx.Request] = []

    def _answer(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.seen.append(request)
        key = f"{request.method} {request.url.copy_with(query=None, fragment=None)}"
        replies = self._replies.get(key)
        if replies is None:
            return httpx.Response(404, json={"errors": [{"code": "NAME_UNKNOWN", "message": key}]})
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, httpx.Response):
            # A response can be read once only.
            return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)
        return reply(request)

    @property
    def asked(self) -> list[str]:
        return [f"{request.method} {request.url}" for request in self.seen]


def refuse_connection(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused", request=request)


def served(
    sink: MemorySink, base: str, path: str, tag: str, top: Descriptor
) -> dict[str, Reply | list[Reply]]:
    """The table of a registry that has all blobs of the sink."""
    replies: dict[str, Reply | list[Reply]] = {}
    types = {top.digest: top.media_type}
    for digest, data in sink.blobs.items():
        replies[f"GET {base}/v2/{path}/blobs/{digest}"] = httpx.Response(200, content=data)
        replies[f"GET {base}/v2/{path}/manifests/{digest}"] = httpx.Response(
            200, content=data, headers={"Content-Type": types.get(digest, "application/octet-stream")}
        )
    replies[f"GET {base}/v2/{path}/manifests/{tag}"] = httpx.Response(
        200,
        content=sink.blobs[top.digest],
        headers={"Content-Type": top.media_type, "Docker-Content-Digest": top.digest},
    )
    return replies
