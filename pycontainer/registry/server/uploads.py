"""Blob uploads under way: bytes go to a file and through SHA-256 as they arrive.

An upload belongs to one repository, survives broken connections (its offset says where to go on), and
ends by commit, by cancel, when it is idle for too long, or with the server. Uploads do not survive a
restart: the running hash is in memory, and clients begin again on 404.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from pycontainer.registry.server.refusals import Refusal
from pycontainer.registry.server.storage import Storage

# How long a request waits for another request that still writes to the same upload: one whose client is
# gone ends within moments, and then its bytes count.
_TURN_WAIT_S: Final = 5.0

_READ_BYTES: Final = 1 << 20

_Result = TypeVar("_Result")


class Upload:
    """One upload. Use it inside Uploads.turn(), which gives one request at a time."""

    def __init__(self, upload_id: str, repository: str, path: Path, limit_bytes: int) -> None:
        self.upload_id = upload_id
        self.repository = repository
        self.path = path
        self.offset: int = 0
        self.last_used: float = time.monotonic()
        self.turn: threading.Lock = threading.Lock()
        self._limit_bytes = limit_bytes
        self._hasher = hashlib.sha256()
        self._file: BinaryIO | None = open(path, "xb", buffering=0)  # noqa: SIM115  # lives across requests

    @property
    def is_open(self) -> bool:
        """Whether more can be written; False after commit, cancel or expiry."""
        return self._file is not None

    def append(self, chunks: Iterable[bytes]) -> int:
        """Add the chunks as they come; what arrived before an error stays. Returns the bytes added."""
        before = self.offset
        for chunk in chunks:
            self._write(chunk)
        return self.offset - before

    def append_exactly(self, chunks: Iterable[bytes], length: int) -> None:
        """Add chunks that must come to length bytes; otherwise none of a finished request is kept.

        Raises: Refusal SIZE_INVALID.
        """
        before, hasher = self.offset, self._hasher.copy()
        if self.append(chunks) != length:
            found = self.offset - before
            self._rewind(before, hasher)
            raise Refusal(400, "SIZE_INVALID", f"the content range has {length} bytes, the body {found}")

    def restart(self) -> None:
        """Drop what is there and begin anew."""
        self._rewind(0, hashlib.sha256())

    def _rewind(self, offset: int, hasher: hashlib._Hash) -> None:
        self.offset, self._hasher = offset, hasher
        if self._file is not None:
            self._file.truncate(offset)
            self._file.seek(offset)

    def _write(self, chunk: bytes) -> None:
        if self._file is None:
            raise Refusal(404, "BLOB_UPLOAD_UNKNOWN", "the upload was cancelled")
        if self.offset + len(chunk) > self._limit_bytes:
            raise Refusal(413, "SIZE_INVALID", f"a blob may have at most {self._limit_bytes} bytes here")
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]
        self._hasher.update(chunk)
        self.offset += len(chunk)

    def digest(self, algorithm: str) -> str:
        """The digest of what is there so far."""
        if algorithm == "sha256":
            return f"sha256:{self._hasher.hexdigest()}"
        hasher: Any = hashlib.new(algorithm)
        with open(self.path, "rb") as stream:
            while block := stream.read(_READ_BYTES):
                hasher.update(block)
        return f"{algorithm}:{hasher.hexdigest()}"

    def finish(self) -> None:
        """Close the file, keeping it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Close and remove the file. Idempotent."""
        self.finish()
        self.path.unlink(missing_ok=True)


class Uploads:
    """The table of uploads under way. Thread-safe."""

    def __init__(self, storage: Storage, *, limit_bytes: int, count_max: int, idle_s: float) -> None:
        self._storage = storage
        self._limit_bytes = limit_bytes
        self._count_max = count_max
        self._idle_s = idle_s
        self._mutex = threading.Lock()
        self._uploads: dict[str, Upload] = {}

    def begin(self, repository: str) -> Upload:
        """Start an upload. Raises: Refusal TOOMANYREQUESTS when too many are under way."""
        self.expire()
        upload_id = secrets.token_hex(16)
        with self._mutex:
            if len(self._uploads) >= self._count_max:
                raise Refusal(
                    429,
                    "TOOMANYREQUESTS",
                    f"{self._count_max} uploads are under way",
                    headers={"Retry-After": "1"},
                )
            upload = Upload(upload_id, repository, self._storage.upload_path(upload_id), self._limit_bytes)
            self._uploads[upload_id] = upload
        return upload

    def use(self, repository: str, upload_id: str, work: Callable[[Upload], _Result]) -> _Result:
        """Run work with the upload, alone. Raises: Refusal when there is none, or it stays busy."""
        with self._mutex:
            upload = self._uploads.get(upload_id)
        if upload is None or upload.repository != repository:
            raise Refusal(404, "BLOB_UPLOAD_UNKNOWN", "no such upload in this repository")
        if not upload.turn.acquire(timeout=_TURN_WAIT_S):
            raise Refusal(409, "BLOB_UPLOAD_INVALID", "another request is writing to this upload")
        try:
            if not upload.is_open:
                raise Refusal(404, "BLOB_UPLOAD_UNKNOWN", "no such upload in this repository")
            upload.last_used = time.monotonic()
            return work(upload)
        finally:
            upload.last_used = time.monotonic()
            upload.turn.release()

    def commit(self, upload: Upload, digest: str) -> None:
        """End an upload as a blob. The upload is gone afterwards, also when the digest differs.

        Raises: Refusal DIGEST_INVALID.
        """
        try:
            actual = upload.digest(digest.partition(":")[0])
            if actual != digest:
                raise Refusal(
                    400, "DIGEST_INVALID", f"the {upload.offset} bytes received are {actual}, not {digest}"
                )
            upload.finish()
            self._storage.commit(upload.repository, digest, upload.path)
        finally:
            self.cancel(upload)

    def cancel(self, upload: Upload) -> None:
        """Forget an upload and its bytes. Idempotent."""
        with self._mutex:
            self._uploads.pop(upload.upload_id, None)
        upload.discard()

    def expire(self) -> None:
        """Cancel the uploads nobody has touched for the idle time."""
        oldest = time.monotonic() - self._idle_s
        with self._mutex:
            idle = [upload for upload in self._uploads.values() if upload.last_used < oldest]
        for upload in idle:
            if upload.turn.acquire(blocking=False):
                try:
                    self.cancel(upload)
                finally:
                    upload.turn.release()

    def close(self) -> None:
        """Cancel all."""
        with self._mutex:
            uploads = list(self._uploads.values())
        for upload in uploads:
            self.cancel(upload)
