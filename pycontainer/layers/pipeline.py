"""Inflating and hashing in a process of its own, beside the one that writes files.

Theory of operation: both halves cost about the same, so on two cores the layer takes as long as the
slower one. A thread would share the interpreter lock with the writer, which makes many short system
calls; a process shares nothing but a ring of slots in anonymous memory. Two pipes carry the turn: one
message per filled slot, one byte per slot given back. The child sees no file system, holds only the
blob, the progress pipe and its ends of the two pipes, and so is also the cage of the decompressor.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import signal
import struct
import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

from pycontainer import checkpoints
from pycontainer.errors import InvalidImage, PycontainerError, TransferFailed, Unsupported
from pycontainer.layers import codecs
from pycontainer.layers.confine import confine
from pycontainer.layers.limits import Limits

__all__ = ["COMPLETE", "BlobReader", "Inflater"]

COMPLETE = 1 << 63
"""On the progress pipe: the blob is complete and verified."""

SLOT_SIZE = 1 << 20
SLOTS = 8
_TURN = struct.Struct("<BI")  # kind of message, bytes of the slot or of the text that follows
_DATA, _END, _ERROR = 0, 1, 2
_ERRORS: tuple[type[PycontainerError], ...] = (InvalidImage, TransferFailed, Unsupported, PycontainerError)
_DIGEST_SIZE = 32


class BlobReader:
    """Reads a blob from its start, never beyond what the progress pipe says is there.

    Without a progress pipe the blob is complete. The offset is this reader's own (pread), so the
    descriptor may be shared.
    """

    def __init__(self, blob: int, progress: int | None = None) -> None:
        self._blob = blob
        self._progress = progress
        self._available = COMPLETE if progress is None else 0
        self._partial = b""
        self._offset = 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes, waiting for at least one; empty at the end.

        Raises: TransferFailed if the writer of a growing blob went away before it was complete.
        """
        while self._offset >= self._available:
            self._wait()
        size = min(size, self._available - self._offset)
        data = os.pread(self._blob, size, self._offset)
        if not data and self._available != COMPLETE:
            raise TransferFailed(
                f"the blob ends at {self._offset}, its writer spoke of {self._available} bytes"
            )
        self._offset += len(data)
        return data

    def _wait(self) -> None:
        assert self._progress is not None
        news = os.read(self._progress, 4096)
        if not news:
            raise TransferFailed(f"the download ended at {self._offset} bytes, before the blob was complete")
        news = self._partial + news
        whole = len(news) - len(news) % 8
        self._partial = news[whole:]
        if whole:
            self._available = max(struct.unpack(f"<{whole // 8}Q", news[:whole]))


class _HashingThread:
    """SHA-256 of the slots, in order, beside the inflating; both leave the interpreter lock alone."""

    def __init__(self) -> None:
        self._hasher: Any = hashlib.sha256()
        self._todo: SimpleQueue[memoryview | None] = SimpleQueue()
        self._done: SimpleQueue[None] = SimpleQueue()
        self._outstanding = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (slot := self._todo.get()) is not None:
            self._hasher.update(slot)
            self._done.put(None)

    def add(self, slot: memoryview) -> None:
        """Hash a slot; afterwards at most SLOTS - 1 slots, the latest, may still be in use."""
        self._todo.put(slot)
        self._outstanding += 1
        if self._outstanding == SLOTS:
            self._done.get()
            self._outstanding -= 1

    def digest(self) -> bytes:
        """Of all slots; ends the thread."""
        self._todo.put(None)
        self._thread.join()
        return bytes(self._hasher.digest())


class Inflater:
    """The slots of the uncompressed layer, made by a child process. A context manager."""

    def __init__(
        self,
        blob: int,
        progress: int | None,
        limits: Limits,
        codec_path: Sequence[str] = (),
        kind: str | None = None,
    ) -> None:
        self._memory = mmap.mmap(-1, SLOT_SIZE * SLOTS)
        self._ring = memoryview(self._memory)
        self._turns, turns = os.pipe()
        free, self._free = os.pipe()
        self._slot = -1
        self._is_done = False
        self.diff_id: str = ""
        """Digest of the uncompressed layer, once `next()` returned nothing."""
        self.size: int = 0
        """Size of the uncompressed layer, once `next()` returned nothing."""
        self._child = os.fork()
        if self._child == 0:
            _become_inflater(
                self._ring, turns, free, (blob, progress), limits, codec_path, kind
            )  # never returns
        os.close(turns)
        os.close(free)

    def __enter__(self) -> Inflater:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def next(self) -> memoryview:
        """The next slot; empty at the end. The slot given before goes back to the child.

        Raises: what went wrong in the child.
        """
        if self._is_done:
            return self._ring[:0]
        if self._slot >= 0:
            try:
                os.write(self._free, b"\0")
            except BrokenPipeError:
                pass  # the child has sent all it had; its last words are in the other pipe
        kind, size = _TURN.unpack(self._receive(_TURN.size))
        if kind == _DATA:
            self._slot = (self._slot + 1) % SLOTS
            start = self._slot * SLOT_SIZE
            return self._ring[start : start + size]
        self._is_done = True
        body = self._receive(size)
        if kind == _ERROR:
            _raise(body)
        self.diff_id = "sha256:" + body[:_DIGEST_SIZE].hex()
        self.size = int.from_bytes(body[_DIGEST_SIZE:], "little")
        return self._ring[:0]

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = os.read(self._turns, size - len(data))
            if not part:
                self._is_done = True
                raise PycontainerError("the process that inflates the layer died; was it killed for memory?")
            data += part
        return data

    def close(self) -> None:
        """End the child and wait for it. Views into slots must not be used any more."""
        if self._child:
            os.close(self._turns)
            os.close(self._free)
            try:
                os.kill(self._child, signal.SIGKILL)
            finally:
                os.waitpid(self._child, 0)
                self._child = 0


def _become_inflater(
    ring: memoryview,
    turns: int,
    free: int,
    blob: tuple[int, int | None],
    limits: Limits,
    codec_path: Sequence[str],
    kind: str | None,
) -> None:
    """The child: fill slots until the end, then say the digest. Leaves with _exit."""
    try:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a parent that went away ends this process
        _keep_only((turns, free, blob[0], *(() if blob[1] is None else (blob[1],))))
        try:
            body, code = _inflate(ring, turns, free, BlobReader(*blob), limits, codec_path, kind), _END
        except PycontainerError as error:
            body, code = _describe(error), _ERROR
        except (OSError, MemoryError) as error:
            body, code = _describe(PycontainerError(f"cannot read the blob: {error}")), _ERROR
        os.write(turns, _TURN.pack(code, len(body)) + body)
    finally:
        os._exit(0)


def _keep_only(descriptors: Sequence[int]) -> None:
    """Close everything else: this process must not keep a channel open that its parent has."""
    before = 2
    for fd in sorted(descriptors):
        os.closerange(before + 1, fd)
        before = fd
    os.closerange(before + 1, 1 << 20)


def _inflate(
    ring: memoryview,
    turns: int,
    free: int,
    reader: BlobReader,
    limits: Limits,
    codec_path: Sequence[str],
    kind: str | None,
) -> bytes:
    import sys

    sys.path.extend(codec_path)
    head = b""
    while len(head) < codecs.HEAD_SIZE and (more := reader.read(codecs.HEAD_SIZE - len(head))):
        head += more
    decoder = codecs.open_decoder(kind or codecs.detect(head), reader, limits, head)
    confine(None)
    hashing = _HashingThread()
    slot, given = 0, 0
    while True:
        if given == SLOTS:
            if not (back := os.read(free, SLOTS)):
                os._exit(1)
            given -= len(back)
        view = ring[slot * SLOT_SIZE : (slot + 1) * SLOT_SIZE]
        filled = 0
        while filled < SLOT_SIZE and (count := decoder.readinto(view[filled:])):
            filled += count
        if not filled:
            return hashing.digest() + decoder.produced.to_bytes(8, "little")
        os.write(turns, _TURN.pack(_DATA, filled))
        hashing.add(view[:filled])
        slot, given = (slot + 1) % SLOTS, given + 1
        checkpoints.reached("unpack.slot.inflated")


def _describe(error: PycontainerError) -> bytes:
    index = next(i for i, kind in enumerate(_ERRORS) if isinstance(error, kind))
    return bytes((index,)) + str(error).encode(errors="replace")


def _raise(body: bytes) -> None:
    raise _ERRORS[body[0]](body[1:].decode(errors="replace"))
