"""Blobs by digest: written once, exclusively and resumably, verified before they become visible.

A blob under content/blobs is complete and matched its digest when it was renamed there. Everything
that is not yet so lies under content/ingest, guarded by a lock file that dies with its writer.
"""

from __future__ import annotations

import io
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from pycontainer.errors import DeadlineExceeded, DigestMismatch, InvalidImage, NotFound
from pycontainer.oci import Digest, Hasher, parse_digest, sha256, split_digest
from pycontainer.store.ingest import FileIngest, Followed
from pycontainer.store.layout import Layout
from pycontainer.store.locks import FileLock

if TYPE_CHECKING:
    from pycontainer.oci import Descriptor

__all__ = ["ContentStore"]

# Growth in another process is not visible to us, only its end: a look at the blob's name this often.
_FOREIGN_LOOK_S = 0.1
_READ_SIZE = 1 << 20

_stores: weakref.WeakSet[ContentStore] = weakref.WeakSet()


class ContentStore:
    """The blobs of one store; implements image.BlobSink and image.BlobSource. Thread-safe.

    on_use: called with every digest that is looked for, written or read, before that happens; the
    store protects it with its leases.
    """

    def __init__(self, layout: Layout, on_use: Callable[[Digest], None] = lambda digest: None) -> None:
        self._layout = layout
        self._on_use = on_use
        self._forget()
        _stores.add(self)

    def _forget(self) -> None:
        self._changed = threading.Condition()
        self._growing: dict[Digest, FileIngest] = {}

    def path(self, digest: Digest) -> Path:
        """Where the blob lies, or would lie. Raises: InvalidInput for anything but a digest."""
        algorithm, digits = split_digest(parse_digest(digest))
        return self._layout.blobs / algorithm / digits

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there, complete; a live lease of this process keeps it from now on."""
        path = self.path(digest)
        self._on_use(digest)
        return path.is_file()

    def size(self, digest: Digest) -> int:
        """Bytes of a blob. Raises: NotFound."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise _missing(digest) from None

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """The blob from its beginning; reading past its end raises DigestMismatch if it has changed.

        Raises: NotFound.
        """
        # Imported late: reading through Python objects is for pushes and exports, not for running.
        from pycontainer.store.reader import VerifyingReader

        fd = self.open_fd(descriptor.digest)
        raw = VerifyingReader(fd, descriptor, f"blob {descriptor.digest} in {self._layout.root}")
        return cast(BinaryIO, io.BufferedReader(raw, _READ_SIZE))

    def open_fd(self, digest: Digest) -> int:
        """A descriptor of a complete blob; the caller closes it. Raises: NotFound."""
        self._on_use(digest)
        try:
            return os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise _missing(digest) from None

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        """The whole blob, verified.

        Raises: NotFound; InvalidImage above `limit` bytes; DigestMismatch.
        """
        if descriptor.size > limit:
            raise InvalidImage(
                f"{descriptor.digest} has {descriptor.size} bytes; at most {limit} are accepted here"
            )
        with open(self.open_fd(descriptor.digest), "rb") as file:
            data = file.read(descriptor.size + 1)
        hasher = Hasher.like(descriptor.digest)
        hasher.update(data)
        hasher.check(descriptor.digest, descriptor.size, f"blob {descriptor.digest} in {self._layout.root}")
        return data

    def put(self, data: bytes) -> Digest:
        """Store a small document; does nothing if it is there."""
        from pycontainer.oci import Descriptor  # containers are made and run without

        digest = sha256(data)
        with self.ingest(
            Descriptor(media_type="application/octet-stream", digest=digest, size=len(data))
        ) as ingest:
            if ingest is not None:
                ingest.restart()
                ingest.write(data)
                ingest.commit()
        return digest

    @contextmanager
    def ingest(
        self, descriptor: Descriptor, *, timeout_s: float | None = None
    ) -> Iterator[FileIngest | None]:
        """Write one blob, exclusively; None if it is there, perhaps because another writer just ended.

        Raises: DeadlineExceeded if another writer took longer than timeout_s; KernelError.
        """
        digest = descriptor.digest
        target = self.path(digest)
        if self.has(digest):
            yield None
            return
        with FileLock(self._ingest_path(digest, "lock")).held(timeout_s, remove=True):
            if target.is_file():
                yield None
                return
            with FileIngest(descriptor, self._ingest_path(digest, "partial"), target) as ingest:
                self._announce(digest, ingest)
                try:
                    yield ingest
                finally:
                    ingest.close()
                    self._announce(digest, None)

    def follow(
        self,
        digest: Digest,
        *,
        accept_growing: bool = True,
        stop: Callable[[], bool] = lambda: False,
        timeout_s: float | None = None,
    ) -> Followed | None:
        """The blob for an unpack job, growing or complete; waits until there is something to follow.

        A blob that this process is writing is followed from its first byte, if that is accepted; one
        that another process is writing is given when it is complete. None when `stop` says so.
        Raises: DeadlineExceeded after timeout_s.
        """
        target = self.path(digest)
        self._on_use(digest)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not stop():
            with self._changed:
                ingest = self._growing.get(digest) if accept_growing else None
                followed = ingest.growth.follow() if ingest is not None else None
                if followed is not None:
                    return followed
                if target.is_file():
                    return Followed(self.open_fd(digest), None)
                self._changed.wait(_FOREIGN_LOOK_S)
            if deadline is not None and time.monotonic() > deadline:
                raise DeadlineExceeded(f"{digest} did not arrive within {timeout_s:g} s", timeout_s=timeout_s)
        return None

    def digests(self) -> Iterator[Digest]:
        """Every complete blob."""
        for algorithm in ("sha256", "sha512"):
            for entry in os.scandir(self._layout.blobs / algorithm):
                yield Digest(f"{algorithm}:{entry.name}")

    def verify(self, digest: Digest) -> bool:
        """Read the whole blob; remove it if its bytes have changed, so that a pull fetches it again."""
        if self.is_whole(digest):
            return True
        self.remove(digest)
        return False

    def is_whole(self, digest: Digest) -> bool:
        """Whether the blob's bytes, all read, have its digest. Raises: NotFound."""
        hasher = Hasher.like(digest)
        with open(self.open_fd(digest), "rb", buffering=0) as file:
            while chunk := file.read(_READ_SIZE):
                hasher.update(chunk)
        try:
            hasher.check(digest, hasher.size, str(self.path(digest)))
        except DigestMismatch:
            return False
        return True

    def remove(self, digest: Digest) -> int:
        """Delete a blob; gives the bytes freed, 0 if it is not there. For the garbage collector."""
        path = self.path(digest)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def remove_stale_ingests(self, older_than_s: float) -> int:
        """Delete what broken transfers left if nobody went on with it for that long; gives bytes freed."""
        freed = 0
        horizon = time.time() - older_than_s
        for entry in list(os.scandir(self._layout.ingest)):
            digits, _, kind = entry.name.partition(".")
            lock = FileLock(self._layout.ingest / f"{digits}.lock")
            try:
                if kind == "partial" and entry.stat().st_mtime > horizon:
                    continue
                if not lock.try_acquire(create=kind != "lock"):
                    continue
            except FileNotFoundError:
                continue
            try:
                if kind == "partial":
                    freed += entry.stat().st_size
                    os.unlink(entry.path)
            except FileNotFoundError:
                pass
            finally:
                lock.release(remove=True)
        return freed

    def _ingest_path(self, digest: Digest, kind: str) -> Path:
        return self._layout.ingest / f"{split_digest(digest)[1]}.{kind}"

    def _announce(self, digest: Digest, ingest: FileIngest | None) -> None:
        with self._changed:
            if ingest is None:
                self._growing.pop(digest, None)
            else:
                self._growing[digest] = ingest
            self._changed.notify_all()


def _missing(digest: Digest) -> NotFound:
    return NotFound(f"blob {digest} is not in the store; pull the image again")


def _forget_in_child() -> None:
    # Another thread of the parent may have held the condition's lock; its ingests are not ours.
    for store in list(_stores):
        store._forget()


os.register_at_fork(after_in_child=_forget_in_child)
