"""One blob on its way into the store, and those who read it while it grows.

A reader is told by messages on a pipe how many bytes there are (see `Progress pipe` below), so that a
layer is unpacked while it is still being downloaded.

Progress pipe: 8-byte little-endian totals of bytes available; COMPLETE means that all bytes are there
and match the digest; end of file without it means that this attempt has ended.
"""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from pycontainer.checkpoints import reached
from pycontainer.errors import DigestMismatch, KernelError, WrongState
from pycontainer.oci import Hasher

if TYPE_CHECKING:
    from pycontainer.oci import Descriptor

__all__ = ["COMPLETE", "KILL_POINTS", "FileIngest", "Followed", "Growth"]

KILL_POINTS = (
    "pull.blob.started",  # the partial file exists, the lock is held
    "pull.blob.written",  # some bytes more are in the partial file
    "pull.blob.verified",  # all bytes are there, under the temporary name
    "pull.blob.committed",  # renamed
)

COMPLETE = 1 << 63

_MIN_STEP = 256 << 10
# So few messages per blob that even the smallest pipe the kernel gives (one page) never fills up.
_MAX_MESSAGES = 256
_READ_SIZE = 1 << 20


class Followed:
    """Descriptors of a blob for an unpack job. Close it, or use it as a context manager.

    Attributes: blob_fd; progress_fd (read end of the progress pipe, None if the blob is complete).
    """

    __slots__ = ("blob_fd", "progress_fd")

    def __init__(self, blob_fd: int, progress_fd: int | None) -> None:
        self.blob_fd: int = blob_fd
        self.progress_fd = progress_fd

    def close(self) -> None:
        """Close both; idempotent."""
        for fd in (self.blob_fd, self.progress_fd):
            if fd is not None and fd >= 0:
                os.close(fd)
        self.blob_fd, self.progress_fd = -1, None

    def __enter__(self) -> Followed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Growth:
    """A partial file of this process and the pipes of its followers. Thread-safe."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._step = max(_MIN_STEP, size // _MAX_MESSAGES)
        self._lock = threading.Lock()
        self._pipes: list[int] = []
        self._total = 0
        self._told = 0
        self._has_ended = False

    def follow(self) -> Followed | None:
        """Join; None when the attempt has just ended."""
        with self._lock:
            if self._has_ended:
                return None
            # Opened anew: a duplicate would share the writer's file offset.
            try:
                blob_fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                # Renamed into place this moment: the caller finds the whole blob there.
                return None
            try:
                read_end, write_end = os.pipe2(os.O_CLOEXEC)
            except BaseException:
                os.close(blob_fd)
                raise
            os.set_blocking(write_end, False)
            self._pipes.append(write_end)
            self._tell(self._total)
            return Followed(blob_fd, read_end)

    def advance(self, total: int) -> None:
        """There are that many bytes now."""
        self._total = total
        if total - self._told >= self._step:
            with self._lock:
                self._told = total
                self._tell(total)

    def end(self, *, is_complete: bool) -> None:
        """No more bytes of this attempt; idempotent."""
        with self._lock:
            if is_complete:
                self._tell(self._total)
                self._tell(COMPLETE)
            self._has_ended = True
            for pipe in self._pipes:
                os.close(pipe)
            self._pipes.clear()

    def _tell(self, total: int) -> None:
        message = struct.pack("<Q", total)
        for pipe in list(self._pipes):
            try:
                os.write(pipe, message)
            except (BrokenPipeError, BlockingIOError):
                # The job has gone, or does not read: it sees the end of the pipe and tries again.
                self._pipes.remove(pipe)
                os.close(pipe)


class FileIngest:
    """The exclusive writer of one partial file; made by ContentStore.ingest under the ingest lock."""

    def __init__(self, descriptor: Descriptor, partial: Path, target: Path) -> None:
        self._descriptor = descriptor
        self._partial = partial
        self._target = target
        self._hasher = Hasher.like(descriptor.digest)
        self.is_committed: bool = False
        self._fd = self._open()
        self.growth: Growth = Growth(partial, descriptor.size)
        try:
            self._resume()
        except BaseException:
            self.close()
            raise
        reached("pull.blob.started")

    @property
    def offset(self) -> int:
        """Bytes that are there."""
        return self._hasher.size

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append. Raises: DigestMismatch above the descriptor's size; KernelError."""
        if self._fd < 0:
            raise WrongState("the ingest has ended", verb="write", state="ended", allowed=("open",))
        if self._hasher.size + len(chunk) > self._descriptor.size:
            self._drop()
            got = f"at least {self._hasher.size + len(chunk)} bytes"
            raise DigestMismatch(f"{self._descriptor.size} bytes", got, f"blob {self._descriptor.digest}")
        view = memoryview(chunk)
        while view:
            try:
                written = os.write(self._fd, view)
            except OSError as error:
                raise self._failure(error, "write") from error
            self._hasher.update(view[:written])
            view = view[written:]
        self.growth.advance(self._hasher.size)
        reached("pull.blob.written")

    def restart(self) -> None:
        """Drop what is there and begin anew at offset 0; followers of the dropped bytes are let go."""
        self.growth.end(is_complete=False)
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hasher = Hasher.like(self._descriptor.digest)
        self.growth = Growth(self._partial, self._descriptor.size)

    def commit(self) -> None:
        """Verify size, then digest, and make the blob visible.

        Not synced to disk here: one syncfs per image is cheaper (durability.py).
        Raises: DigestMismatch, after which nothing of the attempt is left; KernelError.
        """
        try:
            self._hasher.check(
                self._descriptor.digest, self._descriptor.size, f"blob {self._descriptor.digest}"
            )
        except DigestMismatch:
            self._drop()
            raise
        reached("pull.blob.verified")
        try:
            os.rename(self._partial, self._target)
        except OSError as error:
            raise self._failure(error, "rename") from error
        self.is_committed = True
        reached("pull.blob.committed")
        self.growth.end(is_complete=True)

    def close(self) -> None:
        """Keep the partial file for a later attempt; idempotent."""
        self.growth.end(is_complete=False)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(self._partial, flags, 0o600)
        except OSError as error:
            raise self._failure(error, "open") from error

    def _resume(self) -> None:
        """Hash what an earlier attempt left; more than the whole blob can only be wrong."""
        if os.fstat(self._fd).st_size > self._descriptor.size:
            os.ftruncate(self._fd, 0)
        while chunk := os.read(self._fd, _READ_SIZE):
            self._hasher.update(chunk)
        self.growth.advance(self._hasher.size)

    def _drop(self) -> None:
        self.growth.end(is_complete=False)
        self._partial.unlink(missing_ok=True)
        os.close(self._fd)
        self._fd = -1

    def _failure(self, error: OSError, call: str) -> KernelError:
        hint = "free some space there, then repeat: what was fetched so far is kept"
        full = error.errno in (28, 122)  # ENOSPC, EDQUOT
        return KernelError(error.errno or 0, call, str(self._partial), hint if full else "")

    def __enter__(self) -> FileIngest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
