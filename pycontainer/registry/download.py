"""One blob from a registry into a sink: mirrors, resume, retries, and no byte beyond its descriptor.

The sink verifies size and digest when the blob is complete; what is checked here is that the server's
answer can be the piece that was asked for, before any of it is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx

from pycontainer.errors import DeadlineExceeded, DigestMismatch, RegistryError, TransferFailed
from pycontainer.image import BlobSink, Ingest, OnEvent
from pycontainer.oci import Descriptor, Reference, mediatype, parse_digest
from pycontainer.registry import guard
from pycontainer.registry.auth import Right
from pycontainer.registry.body import read_body
from pycontainer.registry.cancel import current
from pycontainer.registry.endpoints import Endpoint
from pycontainer.registry.errors import NotInRegistry
from pycontainer.registry.retry import with_retries
from pycontainer.registry.session import Request, Session
from pycontainer.registry.telling import Teller

__all__ = ["Download"]

LOOK_S = 0.5  # how often a wait for another writer looks whether it was cancelled
WORTHY_PROGRESS = 1 << 20  # an attempt that brought this much does not count as a failed one
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


class Download:
    """The transfer of one blob."""

    def __init__(
        self, session: Session, reference: Reference, descriptor: Descriptor, on_event: OnEvent | None
    ) -> None:
        parse_digest(descriptor.digest)  # it becomes part of a URL
        self._session = session
        self._reference = reference
        self._descriptor = descriptor
        self._teller = Teller(reference, descriptor, on_event)

    def into(self, sink: BlobSink) -> None:
        """Bring the blob into `sink`, unless it is there; returns when it is verified.

        Raises: RegistryError; DigestMismatch if no server had the right bytes.
        """
        if sink.has(self._descriptor.digest):
            self._teller.tell("exists", self._descriptor.size)
            return
        self._teller.tell("waiting", 0)
        if self._descriptor.data is not None:
            is_new = self._take_inline(self._descriptor.data, sink)
        else:
            is_new = self._session.anywhere(
                self._reference, lambda endpoint: self._from_endpoint(endpoint, sink)
            )
        self._teller.tell("downloaded" if is_new else "exists", self._descriptor.size)

    def _take_inline(self, data: bytes, sink: BlobSink) -> bool:
        with self._ingest(sink) as ingest:
            if ingest is not None:
                ingest.restart()
                ingest.write(data)
                ingest.commit()
        return ingest is not None

    def _from_endpoint(self, endpoint: Endpoint, sink: BlobSink) -> bool:
        """All of the blob from one server, once more if what it was resumed from proves wrong.

        False if another writer brought it meanwhile.
        """
        for is_last in (False, True):
            with self._ingest(sink) as ingest:
                if ingest is None:
                    return False
                was_resumed = ingest.offset > 0
                try:
                    self._complete(endpoint, ingest)
                    return True
                except DigestMismatch:
                    if is_last or not was_resumed:
                        raise
            self._teller.tell("retrying", 0, "what an earlier attempt left was damaged")
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def _ingest(self, sink: BlobSink) -> Iterator[Ingest | None]:
        """The sink's ingest; the wait for another writer ends when this transfer is cancelled."""
        with ExitStack() as stack:
            while True:
                try:
                    ingest = stack.enter_context(sink.ingest(self._descriptor, timeout_s=LOOK_S))
                    break
                except DeadlineExceeded:
                    current().check()
            yield ingest

    def _complete(self, endpoint: Endpoint, ingest: Ingest) -> None:
        size = self._descriptor.size
        if ingest.offset > size:
            ingest.restart()
        while ingest.offset < size:
            before = ingest.offset
            try:
                with_retries(
                    lambda: self._once(endpoint, ingest),
                    self._session.config.retries,
                    current().wait,
                    lambda error: self._teller.tell("retrying", ingest.offset, str(error)),
                )
            except TransferFailed as error:
                if not error.is_temporary or ingest.offset - before < WORTHY_PROGRESS:
                    raise
        self._teller.tell("verifying", size)
        ingest.commit()

    def _once(self, endpoint: Endpoint, ingest: Ingest) -> None:
        """Ask for what is missing, once, and write what comes."""
        size, offset = self._descriptor.size, ingest.offset
        request = Request(
            action=f"get blob {self._descriptor.digest}",
            path=f"{self._reference.path}/blobs/{self._descriptor.digest}",
            headers={"Accept": "*/*", **({"Range": f"bytes={offset}-{size - 1}"} if offset else {})},
            right=Right.to(self._reference.path, "pull"),
            accepts=frozenset({200, 206, 416} if offset else {200}),
        )
        try:
            with self._session.open(endpoint, request) as response:
                if response.status_code == 416:
                    ingest.restart()  # its blob is shorter than what we have of ours
                    raise TransferFailed(f"cannot resume blob {self._descriptor.digest} at byte {offset}")
                self._receive(response, ingest)
        except NotInRegistry:
            if not (
                self._session.config.allow_foreign_urls and mediatype.is_foreign(self._descriptor.media_type)
            ):
                raise
            self._from_foreign_urls(ingest)

    def _receive(self, response: httpx.Response, ingest: Ingest) -> None:
        """Write one answer's body, after checking that it is the piece we lack."""
        end = self._piece_end(response, ingest)
        pieces = self._named(read_body(response, self._session.config.timeouts))
        for piece in pieces:
            current().check()
            if ingest.offset + len(piece) > end:
                raise self._mismatch(ingest, f"more than {end} bytes")
            ingest.write(piece)
            self._teller.tell_rarely("downloading", ingest.offset)
        if ingest.offset < end:
            raise self._mismatch(ingest, f"{ingest.offset} bytes")

    def _named(self, pieces: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        """The pieces; when they break off, the error says of what."""
        try:
            yield from pieces
        except TransferFailed as error:
            raise TransferFailed(
                f"blob {self._descriptor.digest} of {self._reference.repository}: {error}",
                is_temporary=error.is_temporary,
            ) from error

    def _piece_end(self, response: httpx.Response, ingest: Ingest) -> int:
        """The offset at which this answer ends; restarts the ingest for an answer with the whole blob."""
        size = self._descriptor.size
        announced = response.headers.get("content-length", "")
        length = int(announced) if announced.isascii() and announced.isdigit() else None
        if response.status_code == 200:
            if ingest.offset:
                ingest.restart()
            start, end = 0, size
        else:
            start, end = self._parse_range(response.headers.get("content-range", ""), ingest.offset)
        if length is not None and length != end - start:
            raise self._mismatch(ingest, f"{start + length} bytes")
        return end

    def _parse_range(self, header: str, offset: int) -> tuple[int, int]:
        match = _CONTENT_RANGE.fullmatch(header.strip())
        if match:
            start, last, total = int(match[1]), int(match[2]), match[3]
            if start == offset <= last < self._descriptor.size and total in ("*", str(self._descriptor.size)):
                return start, last + 1
        raise RegistryError(
            f"asked for blob {self._descriptor.digest} from byte {offset} of {self._descriptor.size}, "
            f"the server sent {header[:80]!r}"
        )

    def _mismatch(self, ingest: Ingest, actual: str) -> DigestMismatch:
        """The error for a body of another size; what came of it must not be built on."""
        ingest.restart()
        return DigestMismatch(
            f"{self._descriptor.size} bytes",
            actual,
            f"blob {self._descriptor.digest} of {self._reference.repository}",
        )

    def _from_foreign_urls(self, ingest: Ingest) -> None:
        """A layer its publisher serves itself: without credentials, and from public addresses only."""
        failure: RegistryError | None = None
        for url in self._foreign_urls():
            request = Request(action=f"get foreign layer {self._descriptor.digest}")
            try:
                with self._session.open_foreign(url, request) as response:
                    self._receive(response, ingest)
                return
            except RegistryError as error:
                failure = error
        raise failure or NotInRegistry(
            f"blob {self._descriptor.digest} is in no registry and has no https url"
        )

    def _foreign_urls(self) -> Iterator[httpx.URL]:
        for text in self._descriptor.urls:
            if text.startswith("https://"):
                yield guard.next_url(httpx.URL("https://invalid."), text, "foreign layer url")
