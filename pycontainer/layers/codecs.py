"""Decompression of layers and archives: found by magic, streamed, several members in a row, bombs refused.

Codecs outside the standard library (isal for gzip, backports.zstd below Python 3.14) are imported when a
stream asks for them. Without isal, zlib does the same at a fourth of the speed.
Source: RFC 1952 (gzip), RFC 8878 (zstd), the .xz file format 1.1.0.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from pycontainer.errors import InvalidImage, Unsupported
from pycontainer.layers.limits import Limits

__all__ = ["HEAD_SIZE", "Decoder", "Source", "detect", "open_decoder"]

HEAD_SIZE = 6  # the longest magic
_INPUT_SIZE = 1 << 16
_OUTPUT_SIZE = 1 << 18
_SKIPPABLE = tuple(bytes((0x50 + low, 0x2A, 0x4D, 0x18)) for low in range(16))
_ZSTD = b"\x28\xb5\x2f\xfd"


class Source(Protocol):
    """The compressed bytes."""

    def read(self, size: int, /) -> bytes: ...


def detect(head: bytes) -> str:
    """Name the codec by the first bytes (HEAD_SIZE are enough): gzip, zstd, xz, bzip2 or plain."""
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[:4] == _ZSTD or head[:4] in _SKIPPABLE:
        return "zstd"
    if head[:6] == b"\xfd7zXZ\0":
        return "xz"
    if head[:3] == b"BZh":
        return "bzip2"
    return "plain"


def open_decoder(kind: str, source: Source, limits: Limits | None = None, head: bytes = b"") -> Decoder:
    """A stream of the uncompressed bytes of `source`, of which `head` was already read.

    Raises: Unsupported if the codec is not installed.
    """
    limits = limits or Limits()
    counted = _Counted(source, head)
    if kind == "plain":
        return Decoder(counted, counted.read, limits)
    if kind == "gzip":
        return Decoder(counted, _Gzip(counted).read, limits)
    return Decoder(counted, _Streams(counted, _stream_codec(kind, limits)).read, limits)


class Decoder:
    """An uncompressed stream; `read` and `readinto` as of a raw binary file.

    Raises (while reading): InvalidImage for broken data, for more bytes than the limits allow, and for a
    compression ratio that only a bomb has.
    """

    def __init__(self, counted: _Counted, produce: Callable[[int], bytes], limits: Limits) -> None:
        self._counted = counted
        self._produce = produce
        self._limits = limits
        self._rest = memoryview(b"")
        self.produced: int = 0
        """Uncompressed bytes so far."""

    def read(self, size: int = _OUTPUT_SIZE) -> bytes:
        """At most `size` bytes, at least one; empty at the end."""
        if len(self._rest):
            data, self._rest = bytes(self._rest[:size]), self._rest[size:]
            return data
        return self._more(size)

    def readinto(self, buffer: memoryview | bytearray) -> int:
        """Fill the buffer's beginning; the number of bytes, 0 at the end."""
        room = len(buffer)
        if not room:
            return 0
        data: bytes | memoryview = self._rest if len(self._rest) else self._more(min(room, _OUTPUT_SIZE))
        count = min(room, len(data))
        if count == len(data):
            buffer[:count] = data
            self._rest = memoryview(b"")
        else:
            view = memoryview(data)
            buffer[:count] = view[:count]
            self._rest = view[count:]
        return count

    def _more(self, size: int) -> bytes:
        data = self._produce(size)
        self.produced += len(data)
        limits = self._limits
        if self.produced > limits.bytes:
            raise InvalidImage(f"more than {limits.bytes} uncompressed bytes; raise the limit to accept them")
        if self.produced > limits.ratio_grace and self.produced > limits.ratio * max(self._counted.total, 1):
            raise InvalidImage(
                f"{self._counted.total} compressed bytes hold over {self.produced}: "
                f"beyond the ratio of {limits.ratio}; raise the limit to accept them"
            )
        return data


class _Counted:
    """The source with its head put back, counting what was taken."""

    def __init__(self, source: Source, head: bytes) -> None:
        self._source = source
        self._head = head
        self.total: int = 0

    def read(self, size: int) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
        else:
            data = self._source.read(size)
        self.total += len(data)
        return data


class _Gzip:
    """Members one after another; zero bytes may follow the last (tapes and sparse uploads leave them)."""

    def __init__(self, source: _Counted) -> None:
        self._source = source
        self._new, self._error = _inflate()
        self._member = self._new()
        self._input = b""

    def read(self, size: int) -> bytes:
        while True:
            if self._member.eof and not self._next_member():
                return b""
            # isal keeps output back inside; asking with no input is right until it says it wants more.
            if not self._input:
                self._input = self._source.read(_INPUT_SIZE)
                is_end = not self._input
            else:
                is_end = False
            try:
                data: bytes = self._member.decompress(self._input, size)
            except self._error as error:
                raise InvalidImage(
                    f"broken gzip data near compressed byte {self._source.total}: {error}"
                ) from error
            self._input = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if data:
                return data
            if is_end and not self._member.eof:
                raise InvalidImage(f"gzip data is truncated at compressed byte {self._source.total}")

    def _next_member(self) -> bool:
        """Start the next member; False at the end."""
        rest = _skip_zeros(self._input, self._source)
        if not rest:
            return False
        if len(rest) == 1:
            rest += self._source.read(_INPUT_SIZE)
        if rest[:2] != b"\x1f\x8b":
            raise InvalidImage(f"something other than gzip follows the gzip data: {rest[:8]!r}")
        self._input = rest
        self._member = self._new()
        return True


class _Streams:
    """The codecs whose decompressor says itself when it needs input: zstd, xz, bzip2."""

    def __init__(self, source: _Counted, codec: _Codec) -> None:
        self._source = source
        self._codec = codec
        self._stream = codec.factory()
        self._input = b""

    def read(self, size: int) -> bytes:
        while True:
            if self._stream.eof and not self._next_stream():
                return b""
            data = b""
            if self._stream.needs_input:
                data, self._input = self._input or self._source.read(_INPUT_SIZE), b""
                if not data:
                    at = self._source.total
                    raise InvalidImage(f"{self._codec.kind} data is truncated at compressed byte {at}")
            try:
                output: bytes = self._stream.decompress(data, size)
            except (self._codec.error, OSError, EOFError) as error:
                at = self._source.total
                raise InvalidImage(
                    f"broken {self._codec.kind} data near compressed byte {at}: {error}"
                ) from error
            if output:
                return output

    def _next_stream(self) -> bool:
        """Start the next stream or frame; False at the end."""
        rest: bytes = self._stream.unused_data
        if self._codec.allows_padding:
            rest = _skip_zeros(rest, self._source)
        while len(rest) < HEAD_SIZE and (more := self._source.read(_INPUT_SIZE)):
            rest += more
        if not rest:
            return False
        kind = self._codec.kind
        if detect(rest) != kind:
            raise InvalidImage(f"something other than {kind} follows the {kind} data: {rest[:8]!r}")
        self._stream = self._codec.factory()
        self._input = rest
        return True


class _Codec:
    """How to make a decompressor, and what surrounds its streams."""

    def __init__(
        self, kind: str, factory: Callable[[], Any], error: type[Exception], *, allows_padding: bool
    ) -> None:
        self.kind = kind
        self.factory = factory
        self.error = error
        self.allows_padding = allows_padding


def _skip_zeros(rest: bytes, source: _Counted) -> bytes:
    """Drop zero bytes, reading on as long as there is nothing else."""
    while not (rest := rest.lstrip(b"\0")):
        rest = source.read(_INPUT_SIZE)
        if not rest:
            return b""
    return rest


def _inflate() -> tuple[Callable[[], Any], type[Exception]]:
    """Maker and error class of the fastest gzip decompressor there is."""
    window = 31  # 15 bits, with the gzip header and its checksum
    try:
        isal: Any = import_module("isal.isal_zlib")
    except ImportError:
        return (lambda: zlib.decompressobj(window)), zlib.error
    return (lambda: isal.decompressobj(window)), isal.error


def _stream_codec(kind: str, limits: Limits) -> _Codec:
    if kind == "zstd":
        module = _zstd_module()
        options = {module.DecompressionParameter.window_log_max: limits.window_bytes.bit_length() - 1}
        return _Codec(
            kind, lambda: module.ZstdDecompressor(options=options), module.ZstdError, allows_padding=False
        )
    if kind == "xz":
        lzma = _standard("lzma", "xz")
        memory = limits.window_bytes + (8 << 20)  # the dictionary, and what surrounds it
        return _Codec(
            kind, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memory), lzma.LZMAError, allows_padding=True
        )
    if kind == "bzip2":
        return _Codec(kind, _standard("bz2", "bzip2").BZ2Decompressor, ValueError, allows_padding=False)
    raise Unsupported(f"the codec {kind!r}", "recompress the layer with gzip or zstd")


def _zstd_module() -> Any:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise Unsupported("zstd layers on this Python", "install the package backports.zstd, or use Python 3.14")


def _standard(module: str, kind: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise Unsupported(f"{kind} on this Python", f"use a Python built with the {module} module") from error
