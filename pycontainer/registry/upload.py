"""One blob into a registry: skipped where it is, mounted where it can be, else sent.

A blob up to Limits.monolithic_upload_bytes goes in one PUT; a larger one in chunks, so that a broken
connection costs one chunk. Source: distribution-spec, "Pushing blobs".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import attrs
import httpx

from pycontainer.checkpoints import reached
from pycontainer.errors import AuthDenied, DigestMismatch, RegistryError
from pycontainer.image import BlobSource, OnEvent
from pycontainer.oci import Descriptor, Reference
from pycontainer.registry import guard
from pycontainer.registry.auth import Right
from pycontainer.registry.cancel import Cancellation, current
from pycontainer.registry.endpoints import Endpoint, push_endpoint
from pycontainer.registry.errors import NotInRegistry
from pycontainer.registry.retry import with_retries
from pycontainer.registry.session import Request, Session
from pycontainer.registry.telling import Teller

__all__ = ["Upload"]

PIECE_BYTES = 1 << 20
ABANDON_TIMEOUT_S = 5.0
LARGEST_CHUNK = 1 << 30  # what a server may demand as the least size of a chunk
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,19})")


@attrs.define
class _Upload:
    """An open upload. url: where to go on. offset: bytes the registry has. least_chunk: its wish."""

    url: httpx.URL
    offset: int = 0
    least_chunk: int = 0


class Upload:
    """The transfer of one blob to the reference's repository."""

    def __init__(
        self,
        session: Session,
        reference: Reference,
        descriptor: Descriptor,
        source: BlobSource,
        *,
        mount_from: Sequence[str] = (),
        on_event: OnEvent | None = None,
    ) -> None:
        self._session = session
        self._reference = reference
        self._descriptor = descriptor
        self._source = source
        self._mount_from = [path for path in mount_from if path != reference.path]
        self._teller = Teller(reference, descriptor, on_event)
        self._endpoint: Endpoint = push_endpoint(reference, session.config)
        self._right = Right.to(reference.path, "pull,push")

    def run(self) -> None:
        """Make the registry have the blob.

        Raises: RegistryError; DigestMismatch if the source has not the bytes it should.
        """
        if self._is_there():
            self._teller.tell("exists", self._descriptor.size)
            return
        policy, wait = self._session.config.retries, current().wait

        def report(error: RegistryError) -> None:
            self._teller.tell("retrying", 0, str(error))

        ready: list[_Upload] = []
        for path in self._mount_from:
            opened = self._mounted(path, report)
            if opened is None:
                self._abandon_all(ready)
                self._teller.tell("mounted", self._descriptor.size)
                return
            # Not mounted: the registry opened an upload instead. The last such one is used.
            self._abandon_all(ready)
            ready += opened
        with_retries(lambda: self._send(ready.pop() if ready else self._begin()), policy, wait, report)
        reached("push.blob.uploaded")
        self._teller.tell("uploaded", self._descriptor.size)

    def _mounted(self, path: str, report: Callable[[RegistryError], None]) -> list[_Upload] | None:
        """Try to mount from a repository: None if that worked, else what the registry opened instead."""
        try:
            opened = with_retries(
                partial(self._begin, path), self._session.config.retries, current().wait, report
            )
        except (AuthDenied, NotInRegistry):
            return []  # not ours to read, or not there: the blob can still be sent
        return None if opened is None else [opened]

    def _is_there(self) -> bool:
        request = self._request(
            "look for blob", "HEAD", path=f"{self._reference.path}/blobs/{self._descriptor.digest}"
        )
        try:
            self._session.document(self._endpoint, request, 0)
        except NotInRegistry:
            return False
        return True

    def _begin(self, mount_path: str = "") -> _Upload | None:
        """Open an upload; None if the blob was mounted instead."""
        query = (("mount", self._descriptor.digest), ("from", mount_path)) if mount_path else ()
        request = self._request(
            "begin the upload of blob",
            "POST",
            path=f"{self._reference.path}/blobs/uploads/",
            query=query,
            content=b"",
            accepts={201, 202} if mount_path else {202},
            right=Right.to(self._reference.path, "pull,push", mount_from=[mount_path] if mount_path else ()),
        )
        with self._session.open(self._endpoint, request) as response:
            if response.status_code == 201:
                return None
            base = self._session.known_url(self._endpoint, request)
            opened = _Upload(_location(base, response), least_chunk=_least_chunk(response))
        reached("push.upload.begun")
        return opened

    def _send(self, opened: _Upload | None) -> None:
        """One attempt at the whole blob; an upload that fails is given up with the registry too."""
        assert opened is not None  # only a mount ends without an upload
        try:
            if self._descriptor.size <= self._session.config.limits.monolithic_upload_bytes:
                self._finish(opened, self._descriptor.size)
            else:
                self._send_chunks(opened)
                self._finish(opened, 0)
        except BaseException:
            self._abandon(opened)
            raise

    def _send_chunks(self, opened: _Upload) -> None:
        limits = self._session.config.limits
        length = max(limits.upload_chunk_bytes, opened.least_chunk)
        while opened.offset < self._descriptor.size:
            before = opened.offset
            with_retries(
                lambda: self._send_chunk(opened, length),
                self._session.config.retries,
                current().wait,
                lambda error: self._after_broken_chunk(opened, error),
            )
            if opened.offset <= before:
                raise RegistryError(f"{self._reference.repository}: the registry took nothing of a chunk")

    def _after_broken_chunk(self, opened: _Upload, error: RegistryError) -> None:
        self._teller.tell("retrying", opened.offset, str(error))
        self._learn_offset(opened)

    def _send_chunk(self, opened: _Upload, length: int) -> None:
        """PATCH the next chunk; the registry says how far it is then."""
        start = opened.offset
        end = min(start + length, self._descriptor.size)
        request = self._request(
            "upload a chunk of blob",
            "PATCH",
            url=opened.url,
            headers={
                "Content-Range": f"{start}-{end - 1}",
                "Content-Length": str(end - start),
                "Content-Type": "application/octet-stream",
            },
            content=lambda: self._pieces(start, end),
            accepts={202, 416},
        )
        with self._session.open(self._endpoint, request) as response:
            is_out_of_step = response.status_code == 416
            if not is_out_of_step:
                opened.url = _location(opened.url, response)
                opened.offset = min(_received(response, end), end)
        if is_out_of_step:
            self._learn_offset(opened)
            if opened.offset == start:
                raise RegistryError(
                    f"{self._reference.repository}: the registry refuses the chunk at {start}"
                )

    def _learn_offset(self, opened: _Upload) -> None:
        """Ask the registry how much of the upload it has."""
        request = self._request(
            "get the status of the upload of blob", "GET", url=opened.url, accepts={204, 200}
        )
        with self._session.open(self._endpoint, request) as response:
            opened.url = _location(opened.url, response)
            opened.offset = min(_received(response, 0), self._descriptor.size)

    def _finish(self, opened: _Upload, body_size: int) -> None:
        """PUT the end of the upload: the whole blob, or nothing after its chunks."""
        request = self._request(
            "upload blob",
            "PUT",
            url=opened.url.copy_merge_params({"digest": self._descriptor.digest}),
            headers={"Content-Length": str(body_size), "Content-Type": "application/octet-stream"},
            content=(lambda: self._pieces(0, body_size)) if body_size else b"",
            accepts={201, 204},
        )
        with self._session.open(self._endpoint, request):
            pass

    def _abandon_all(self, uploads: list[_Upload]) -> None:
        while uploads:
            self._abandon(uploads.pop())

    def _abandon(self, opened: _Upload) -> None:
        """Tell the registry that an upload is over; if it does not hear, its own time-out does it."""
        request = self._request(
            "cancel the upload of blob",
            "DELETE",
            url=opened.url,
            accepts={204, 202, 200},
            timeout_s=ABANDON_TIMEOUT_S,
        )
        try:
            # In a group of its own: this is what a cancelled transfer still has to do.
            with Cancellation().entered(), self._session.open(self._endpoint, request):
                pass
        except RegistryError:
            return

    def _pieces(self, start: int, end: int) -> Iterator[bytes]:
        """The blob's bytes from start to end, in pieces."""
        with self._source.open(self._descriptor) as file:
            if start:
                file.seek(start)
            position = start
            while position < end:
                current().check()
                piece = file.read(min(PIECE_BYTES, end - position))
                if not piece:
                    raise DigestMismatch(
                        f"{self._descriptor.size} bytes",
                        f"{position} bytes",
                        f"blob {self._descriptor.digest}",
                    )
                position += len(piece)
                yield piece
                self._teller.tell_rarely("uploading", position)

    def _request(
        self,
        verb: str,
        method: str,
        *,
        accepts: set[int] | None = None,
        **details: object,
    ) -> Request:
        return Request(
            action=f"{verb} {self._descriptor.digest}",
            method=method,
            accepts=frozenset(accepts or {200}),
            **{"right": self._right, **details},  # type: ignore[arg-type]  # Request's own fields, checked by attrs
        )


def _location(base: httpx.URL, response: httpx.Response) -> httpx.URL:
    return guard.next_url(base, response.headers.get("location", ""), "upload location")


def _least_chunk(response: httpx.Response) -> int:
    text = response.headers.get("oci-chunk-min-length", "")
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0
    if value > LARGEST_CHUNK:
        raise RegistryError(f"the registry wants chunks of at least {value} bytes")
    return value


def _received(response: httpx.Response, otherwise: int) -> int:
    """Bytes the registry has, from its Range header: `0-N` means N+1; `0-0` may mean none or one."""
    match = _RANGE.fullmatch(response.headers.get("range", "").strip())
    if match is None:
        return otherwise
    last = int(match[1])
    return last + 1 if last else 0
