"""How layers are compressed: gzip, zstd or not at all, at a chosen level, always to the same bytes.

Theory of operation. isal's gzip, the default, is one stream: it is as fast as a disk. Everything else is cut
into blocks of a fixed size, which several threads compress at once and which are put together in their order.
So the bytes depend on content, kind and level (and the library's version), never on how many processors
there were. Blocks of gzip are parts of one deflate stream, each primed with the end of the one before, as
pigz makes them; blocks of zstd are frames, which every decoder reads in a row (RFC 8878, 3.1).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from typing import Any, Protocol, cast

from attrs import field, frozen

from pycontainer.errors import InvalidInput, Unsupported

__all__ = ["Compression", "Compressor", "open_compressor"]

BLOCK_SIZE = 4 << 20
MAX_THREADS = 8
ISAL_LEVEL = 2
DEFLATE_WINDOW = 32 << 10
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # neither name nor time; of an unknown system
_GZIP_STREAM = 31  # 15 bits of window, with a gzip header
_LEVELS = {"plain": range(0), "gzip": range(1, 10), "zstd": range(1, 23)}
_DEFAULT_LEVELS = {"gzip": 6, "zstd": 3}


@frozen
class Compression:
    """One way to compress a layer.

    kind: "gzip", "zstd" or "plain". level: 1 to 9 of gzip, 1 to 22 of zstd; None is the default, which is
    made for speed. Raises: InvalidInput for anything else.
    """

    kind: str = "gzip"
    level: int | None = field(default=None)

    def __attrs_post_init__(self) -> None:
        levels = _LEVELS.get(self.kind)
        if levels is None:
            raise InvalidInput(f"layer compression {self.kind!r} is not one of {', '.join(_LEVELS)}")
        if self.level is not None and self.level not in levels:
            known = f"there are {levels[0]} to {levels[-1]}" if levels else "it has none"
            raise InvalidInput(f"layer compression {self.kind} at level {self.level}: {known}")

    @classmethod
    def parse(cls, text: str | Compression) -> Compression:
        """Read "gzip", "zstd", "plain", or one of the first two with a level, as "zstd:19"."""
        if isinstance(text, Compression):
            return text
        kind, colon, level = text.partition(":")
        if colon and not (level.isascii() and level.isdigit() and len(level) < 4):
            raise InvalidInput(f"layer compression {text[:80]!r}: the level is no number, as in zstd:19")
        return cls(kind, int(level) if colon else None)

    def __str__(self) -> str:
        return self.kind if self.level is None else f"{self.kind}:{self.level}"


class Compressor(Protocol):
    """A stream: what `compress` and at last `flush` give, joined, is the compressed layer."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...

    def close(self) -> None:
        """Give up: no thread is left. After `flush` there is nothing to do."""


def open_compressor(compression: Compression) -> Compressor:
    """Start a stream. Raises: Unsupported if the codec is not installed."""
    if compression.kind == "plain":
        return _Plain()
    if compression.kind == "zstd":
        frames = _zstd_frames(compression.level or _DEFAULT_LEVELS["zstd"])
        return _Blocks(lambda block, before, is_last: frames(block))
    isal = _isal() if compression.level is None else None
    if isal is not None:
        return _Stream(isal.compressobj(ISAL_LEVEL, isal.DEFLATED, _GZIP_STREAM))
    level = compression.level or _DEFAULT_LEVELS["gzip"]
    return _Gzip(lambda block, before, is_last: _deflated(block, before, is_last, level))


class _Plain:
    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""

    def close(self) -> None:
        pass


class _Stream:
    """A compressor of a library, which has nothing to close."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def compress(self, data: bytes) -> bytes:
        return cast(bytes, self._inner.compress(data))

    def flush(self) -> bytes:
        return cast(bytes, self._inner.flush())

    def close(self) -> None:
        pass


_Compress = Callable[[bytes, bytes, bool], bytes]


class _Blocks:
    """Compresses blocks on several threads; a thread is only started for a second block."""

    def __init__(self, compress: _Compress) -> None:
        self._compress = compress
        self._rest = bytearray()
        self._before = b""
        self._pool: ThreadPoolExecutor | None = None
        self._running: deque[Future[bytes]] = deque()
        self._threads = min(MAX_THREADS, len(os.sched_getaffinity(0)))

    def compress(self, data: bytes) -> bytes:
        self._rest += data
        made = []
        # Strictly above: the last block, which is marked as such, is never empty but in an empty layer.
        while len(self._rest) > BLOCK_SIZE:
            block = bytes(self._rest[:BLOCK_SIZE])
            del self._rest[:BLOCK_SIZE]
            made += self._submit(block)
        return b"".join(made)

    def flush(self) -> bytes:
        try:
            last = self._compress(bytes(self._rest), self._before, True)
            return b"".join([*(done.result() for done in self._running), last])
        finally:
            self.close()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._running.clear()

    def _submit(self, block: bytes) -> list[bytes]:
        """Start one block; gives those that are ready, and waits where too many are not."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="pycontainer-compress")
        self._running.append(self._pool.submit(self._compress, block, self._before, False))
        self._before = block[-DEFLATE_WINDOW:]
        ready = []
        while self._running and (len(self._running) > 2 * self._threads or self._running[0].done()):
            ready.append(self._running.popleft().result())
        return ready


class _Gzip(_Blocks):
    """One gzip member around the blocks. Source: RFC 1952."""

    def __init__(self, compress: _Compress) -> None:
        super().__init__(compress)
        self._head = _GZIP_HEADER
        self._crc = 0
        self._size = 0

    def compress(self, data: bytes) -> bytes:
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        head, self._head = self._head, b""
        return head + super().compress(data)

    def flush(self) -> bytes:
        return self._head + super().flush() + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)


def _deflated(block: bytes, before: bytes, is_last: bool, level: int) -> bytes:
    """One block as a part of a raw deflate stream that continues what was before it."""
    raw = -zlib.MAX_WBITS
    if before:
        stream = zlib.compressobj(level, zlib.DEFLATED, raw, zdict=before)
    else:
        stream = zlib.compressobj(level, zlib.DEFLATED, raw)
    return stream.compress(block) + stream.flush(zlib.Z_FINISH if is_last else zlib.Z_SYNC_FLUSH)


def _isal() -> Any | None:
    try:
        return import_module("isal.isal_zlib")
    except ImportError:
        return None


def _zstd_frames(level: int) -> Callable[[bytes], bytes]:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            module: Any = import_module(name)
        except ImportError:
            continue
        return lambda block: cast(bytes, module.compress(block, level=level))
    raise Unsupported("zstd layers on this Python", "install the package backports.zstd, or use gzip")
