"""Write one layer: tar → compressor → scratch file, with both digests taken on the way."""

from __future__ import annotations

import tempfile
from types import TracebackType
from typing import BinaryIO, cast

from attrs import frozen

from pycontainer.image.blobs import BlobSink
from pycontainer.image.compression import Compression, open_compressor
from pycontainer.oci import Descriptor, Digest, Hasher, mediatype

__all__ = ["LAYER_TYPES", "LayerWriter", "WrittenLayer"]

COPY_SIZE = 1 << 20
SPOOL_SIZE = 16 << 20  # a layer of host programs fits; larger ones go to a file in TMPDIR

LAYER_TYPES = {
    "plain": mediatype.OCI_LAYER,
    "gzip": mediatype.OCI_LAYER_GZIP,
    "zstd": mediatype.OCI_LAYER_ZSTD,
}


@frozen(kw_only=True)
class WrittenLayer:
    """A layer that is in its sink."""

    descriptor: Descriptor
    diff_id: Digest


class LayerWriter:
    """Takes the bytes of a tar; `store` puts the finished layer into a sink. A context manager."""

    def __init__(self, compression: str | Compression = "gzip") -> None:
        """compression: as Compression.parse takes it. Raises: InvalidInput, Unsupported."""
        chosen = Compression.parse(compression)
        self._kind = chosen.kind
        self._compressor = open_compressor(chosen)
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
            media_type=LAYER_TYPES[self._kind], digest=self._digest.digest(), size=self._digest.size
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
        self._compressor.close()
        self._spool.close()
