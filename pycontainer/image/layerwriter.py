"""Write one layer: tar → compressor → scratch file, with both digests taken on the way.

The bytes depend on the entries and the compressor's version only: headers carry no time and no name.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable
from importlib import import_module
from types import TracebackType
from typing import Any, BinaryIO, Literal, Protocol, cast

from attrs import frozen

from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.image.blobs import BlobSink
from pycontainer.oci import Descriptor, Digest, Hasher, mediatype

__all__ = ["Compression", "LayerWriter", "WrittenLayer"]

Compression = Literal["gzip", "zstd", "plain"]
COPY_SIZE = 1 << 20
SPOOL_SIZE = 16 << 20  # a layer of host programs fits; larger ones go to a file in TMPDIR
ZSTD_LEVEL = 3
ISAL_LEVEL = 2
ZLIB_LEVEL = 6

_MEDIA_TYPES = {
    "plain": mediatype.OCI_LAYER,
    "gzip": mediatype.OCI_LAYER_GZIP,
    "zstd": mediatype.OCI_LAYER_ZSTD,
}


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


@frozen(kw_only=True)
class WrittenLayer:
    """A layer that is in its sink."""

    descriptor: Descriptor
    diff_id: Digest


class LayerWriter:
    """Takes the bytes of a tar; `store` puts the finished layer into a sink. A context manager."""

    def __init__(self, compression: Compression = "gzip") -> None:
        self._compression = compression
        self._compressor = _compressor(compression)
        self._diff_id = Hasher()
        self._digest = Hasher()
        self._spool = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=SPOOL_SIZE))  # noqa: SIM115

    def write(self, data: bytes) -> int:
        """Append bytes of the uncompressed tar."""
        self._diff_id.update(data)
        self._emit(self._compressor.compress(data))
        return len(data)

    def store(self, sink: BlobSink) -> WrittenLayer:
        """Finish the layer and put it into `sink`."""
        self._emit(self._compressor.flush())
        descriptor = Descriptor(
            media_type=_MEDIA_TYPES[self._compression], digest=self._digest.digest(), size=self._digest.size
        )
        with sink.ingest(descriptor) as ingest:
            if ingest is not None:
                self._spool.seek(ingest.offset)
                while chunk := self._spool.read(COPY_SIZE):
                    ingest.write(chunk)
                ingest.commit()
        return WrittenLayer(descriptor=descriptor, diff_id=self._diff_id.digest())

    def _emit(self, data: bytes) -> None:
        if data:
            self._digest.update(data)
            self._spool.write(data)

    def __enter__(self) -> LayerWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.close()


class _Plain:
    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def _compressor(compression: str) -> _Compressor:
    makers: dict[str, Callable[[], _Compressor]] = {"plain": _Plain, "gzip": _gzip, "zstd": _zstd}
    maker = makers.get(compression)
    if maker is None:
        raise InvalidInput(f"layer compression {compression!r} is not one of {', '.join(makers)}")
    return maker()


def _gzip() -> _Compressor:
    window = 31  # 15 bits, with a gzip header that has neither name nor time
    try:
        isal: Any = import_module("isal.isal_zlib")
    except ImportError:
        return zlib.compressobj(ZLIB_LEVEL, zlib.DEFLATED, window)
    return cast(_Compressor, isal.compressobj(ISAL_LEVEL, isal.DEFLATED, window))


def _zstd() -> _Compressor:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            module: Any = import_module(name)
        except ImportError:
            continue
        return cast(_Compressor, module.ZstdCompressor(level=ZSTD_LEVEL))
    raise Unsupported("zstd layers on this Python", "install the package backports.zstd, or use gzip")
