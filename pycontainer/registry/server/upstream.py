"""Pull-through: what this server lacks comes from another registry, goes to the client at once, and is kept.

Theory of operation. A tag is asked upstream each time, so that it moves here when it moves there; when
upstream does not answer, what is kept answers. Manifests go through the client's checks and into the
storage. A blob is fetched by a thread of its own into an upload, with the client's retries and resume,
while any number of requests read the growing file; the last byte is given out only after the digest was
verified, so a client never gets a whole wrong blob. A client that leaves does not end the transfer.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar, cast

from pycontainer.errors import (
    AuthDenied,
    DigestMismatch,
    InvalidInput,
    NotFound,
    PycontainerError,
    RateLimited,
)
from pycontainer.image import BlobSink
from pycontainer.oci import Descriptor, Digest, Reference, encode, parse_digest
from pycontainer.registry import listing
from pycontainer.registry.cancel import Cancellation
from pycontainer.registry.config import RegistryConfig
from pycontainer.registry.download import Download
from pycontainer.registry.resolve import Resolver
from pycontainer.registry.server import documents, grammar
from pycontainer.registry.server.connection import PeerGone
from pycontainer.registry.server.refusals import Refusal
from pycontainer.registry.server.storage import Storage
from pycontainer.registry.server.uploads import Upload, Uploads
from pycontainer.registry.session import Session

_READ_BYTES: Final = 1 << 20

_Result = TypeVar("_Result")


class _Sink:
    """The one blob of one transfer, as the client's download wants it: a sink and its ingest in one."""

    def __init__(self, descriptor: Descriptor, upload: Upload, store: Callable[[], None]) -> None:
        self.changed: threading.Condition = threading.Condition()
        self._descriptor = descriptor
        self._upload = upload
        self._store = store

    def has(self, _digest: Digest) -> bool:
        return False

    @contextmanager
    def ingest(self, _descriptor: Descriptor, *, timeout_s: float | None = None) -> Iterator[_Sink]:
        yield self

    @property
    def offset(self) -> int:
        return self._upload.offset

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        if self.offset + len(chunk) > self._descriptor.size:
            raise self._mismatch(f"more than {self._descriptor.size} bytes")
        self._upload.append([bytes(chunk)])
        with self.changed:
            self.changed.notify_all()

    def restart(self) -> None:
        self._upload.restart()

    def commit(self) -> None:
        expected = self._descriptor.digest
        actual = self._upload.digest(expected.partition(":")[0])
        if self.offset != self._descriptor.size or actual != expected:
            raise self._mismatch(actual)
        self._upload.finish()
        self._store()

    def _mismatch(self, actual: str) -> DigestMismatch:
        self._upload.restart()
        return DigestMismatch(self._descriptor.digest, actual, "upstream")


class Transfer:
    """One blob on its way here, and the requests that read along."""

    def __init__(self, descriptor: Descriptor, upload: Upload, store: Callable[[], None]) -> None:
        self.size: int = descriptor.size
        self.sink: _Sink = _Sink(descriptor, upload, store)
        self._changed = self.sink.changed
        self._read_fd = os.open(upload.path, os.O_RDONLY | os.O_CLOEXEC)
        self._failure: Refusal | None = None
        self.is_done: bool = False

    def end(self, failure: Refusal | None) -> None:
        """Tell all readers how it ended."""
        with self._changed:
            self._failure = self._failure or failure
            self.is_done = failure is None
            os.close(self._read_fd)
            self._read_fd = -1
            self._changed.notify_all()

    def abandon(self) -> None:
        """Let go of all readers now, although the transfer's own thread may still be in a system call."""
        with self._changed:
            self._failure = self._failure or Refusal(503, "UNKNOWN", "the server is closing")
            self._changed.notify_all()

    def wait_beyond(self, position: int) -> int:
        """Wait until bytes after position may be given out; how many there are from the beginning.

        Raises: Refusal when the transfer failed.
        """
        with self._changed:
            while True:
                if self._failure is not None:
                    raise self._failure
                # The last byte waits for the verdict on all.
                ready = self.size if self.is_done else min(self.sink.offset, self.size - 1)
                if ready > position or self.is_done:
                    return ready
                self._changed.wait()

    def tail(self, first: int, length: int) -> Iterator[bytes] | None:
        """The bytes of a range as they come; None when the transfer has ended well meanwhile.

        Raises: Refusal when it failed, also before its first byte.
        """
        with self._changed:
            while self._failure is None and not self.is_done and self.sink.offset == 0:
                self._changed.wait()
            if self._failure is not None:
                raise self._failure
            if self.is_done:
                return None
            return _Tail(self, os.dup(self._read_fd), first, first + length)


class _Tail:
    """Reads a range of a growing file; closing it gives the descriptor back."""

    def __init__(self, transfer: Transfer, fd: int, first: int, end: int) -> None:
        self._transfer = transfer
        self._fd = fd
        self._position = first
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._position >= self._end:
            raise StopIteration
        try:
            ready = self._transfer.wait_beyond(self._position)
        except Refusal as refusal:
            # The head is out already: only a broken connection can say it now.
            raise PeerGone(f"upstream: {refusal}") from refusal
        count = min(_READ_BYTES, ready - self._position, self._end - self._position)
        block = os.pread(self._fd, count, self._position)
        self._position += len(block)
        return block

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Upstream:
    """The registry behind this one. Thread-safe.

    domain: as in a reference: "docker.io", "ghcr.io", "localhost:5000".
    Raises: InvalidInput for anything else.
    """

    def __init__(
        self, domain: str, config: RegistryConfig, storage: Storage, uploads: Uploads, transfers_max: int
    ) -> None:
        self._domain = domain
        if "/" in domain or Reference.parse(f"{domain}/a/b").path != "a/b":
            raise InvalidInput(
                f"upstream {domain!r} is not a registry's host, such as ghcr.io or localhost:5000"
            )
        self._storage = storage
        self._uploads = uploads
        self._session = Session(config)
        self._resolver = Resolver(self._session)
        self._group = Cancellation()
        self._transfers_max = transfers_max
        self._mutex = threading.Lock()
        self._transfers: dict[tuple[str, str], Transfer] = {}
        self._threads: set[threading.Thread] = set()

    # -- documents ----------------------------------------------------------------------------------

    def bring_manifest(self, repository: str, reference: str) -> None:
        """Fetch a manifest by tag or digest and keep it. Raises: Refusal."""

        def work() -> None:
            descriptor, content, _model = self._resolver.top(self._reference(repository, reference))
            document = documents.read(content, descriptor.media_type)
            tag = None if grammar.is_digest(reference) else reference
            self._storage.put_manifest(repository, descriptor.digest, content, document, tag)

        self._ask("MANIFEST_UNKNOWN", work)

    def tags(self, repository: str) -> list[str]:
        """The tags upstream. Raises: Refusal."""
        reference = self._reference(repository, "latest")
        found = self._ask("NAME_UNKNOWN", lambda: listing.tags(self._session, reference))
        return [tag for tag in found if grammar.is_tag(tag)]

    def referrers(self, repository: str, subject: str) -> list[dict[str, Any]]:
        """Descriptors of what refers to a digest upstream. Raises: Refusal."""
        reference = self._reference(repository, subject)
        digest = parse_digest(subject)
        found = self._ask("MANIFEST_UNKNOWN", lambda: listing.referrers(self._session, reference, digest))
        return [json.loads(encode(each)) for each in found if grammar.is_digest(each.digest)]

    def _reference(self, repository: str, reference: str) -> Reference:
        mark = "@" if grammar.is_digest(reference) else ":"
        return Reference.parse(f"{self._domain}/{repository}{mark}{reference}")

    def _ask(self, unknown: str, work: Callable[[], _Result]) -> _Result:
        try:
            with self._group.entered():
                return work()
        except PycontainerError as error:
            raise _refusal(error, unknown) from error

    # -- blobs --------------------------------------------------------------------------------------

    def transfer(self, repository: str, digest: str) -> Transfer | None:
        """The transfer of a blob that a manifest kept here announces; begun, or joined.

        None when no manifest does, or when the blob has arrived meanwhile. Raises: Refusal when too much
        is under way.
        """
        size = self._storage.announced_size(repository, digest)
        if size is None:
            return None
        with self._mutex:
            found = self._transfers.get((repository, digest))
            if found is not None or self._storage.blob_size(repository, digest) is not None:
                return found
            if len(self._transfers) >= self._transfers_max or self._group.is_cancelled:
                raise Refusal(429, "TOOMANYREQUESTS", "too many transfers", headers={"Retry-After": "1"})
            return self._begin(repository, digest, size)

    def _begin(self, repository: str, digest: str, size: int) -> Transfer:
        upload = self._uploads.begin(repository)
        media_type = "application/octet-stream"
        descriptor = Descriptor(media_type=media_type, digest=parse_digest(digest), size=size)
        store = lambda: self._storage.commit(repository, digest, upload.path)  # noqa: E731
        transfer = Transfer(descriptor, upload, store)
        thread = threading.Thread(
            target=self._run,
            args=(repository, descriptor, upload, transfer),
            name="registry-upstream",
            daemon=True,
        )
        self._transfers[repository, digest] = transfer
        self._threads.add(thread)
        thread.start()
        return transfer

    def _run(self, repository: str, descriptor: Descriptor, upload: Upload, transfer: Transfer) -> None:
        failure: Refusal | None = Refusal(502, "UNKNOWN", "the transfer from upstream broke off")
        reference = self._reference(repository, descriptor.digest)
        # A download asks its sink for has() and ingest() alone.
        sink = cast(BlobSink, transfer.sink)
        try:
            with upload.turn, self._group.entered():  # the turn keeps the upload from expiring
                Download(self._session, reference, descriptor, None).into(sink)
            failure = None
        except Refusal as refusal:
            failure = refusal
        except PycontainerError as error:
            failure = _refusal(error, "BLOB_UNKNOWN")
        except OSError as error:
            failure = Refusal(500, "UNKNOWN", f"transfer: {error.strerror}")
        finally:
            try:
                self._uploads.cancel(upload)
            finally:
                with self._mutex:
                    self._transfers.pop((repository, descriptor.digest))
                    self._threads.discard(threading.current_thread())
                transfer.end(failure)

    # -- the end ------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """End all that is under way, soon; nothing new begins."""
        self._group.cancel()
        with self._mutex:
            transfers = list(self._transfers.values())
        for transfer in transfers:
            transfer.abandon()

    def close(self, timeout_s: float) -> None:
        """Wait for the cancelled threads and close the connections."""
        deadline = time.monotonic() + timeout_s
        with self._mutex:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._session.close()


def _refusal(error: PycontainerError, unknown: str) -> Refusal:
    """What our client is told when upstream refused us."""
    if isinstance(error, NotFound):
        return Refusal(404, unknown, f"upstream: {error}")
    if isinstance(error, RateLimited):
        headers = (
            {} if error.retry_after_s is None else {"Retry-After": str(round(error.retry_after_s + 0.5))}
        )
        return Refusal(429, "TOOMANYREQUESTS", f"upstream: {error}", headers=headers)
    if isinstance(error, AuthDenied):
        return Refusal(403, "DENIED", f"upstream: {error}")
    return Refusal(502, "UNKNOWN", f"upstream: {error}")
