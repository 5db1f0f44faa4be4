"""The software in an image of the store, as an SPDX document."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycontainer import __version__
from pycontainer.errors import InvalidImage
from pycontainer.layers import FileBlocks, TarReader
from pycontainer.sbom import MAX_FILE_BYTES, Inventory, document, inventory, is_wanted

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine

__all__ = ["SPDX", "spdx_document"]

SPDX = "https://spdx.dev/Document"
_MAX_BYTES = 1 << 30  # of all files that are read; the databases of a large distribution have a tenth of it


def spdx_document(
    engine: Engine, layers: Sequence[Path], *, name: str, digest: str, created: str
) -> dict[str, Any]:
    """The document of an image whose layers, top first, are unpacked. created: RFC 3339."""
    seconds = f"{created[:19]}Z" if created else "1970-01-01T00:00:00Z"
    tool = f"pycontainer-{__version__}"
    return document(name, digest, _read(engine, layers), created=seconds, tool=tool)


def _read(engine: Engine, layers: Sequence[Path]) -> Inventory:
    """Have a job write the image's files as one tar, and keep those that tell of packages."""
    if not layers:
        return inventory({})
    files: dict[str, bytes] = {}
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(reader, "rb", buffering=0) as stream:
        try:
            params = {"layers": [str(path) for path in layers], "is_tar": True}
            job = engine.helper.submit("build_export", params, [writer])
        finally:
            os.close(writer)
        with job:
            tar, total = TarReader(FileBlocks(stream)), 0
            while (entry := tar.next()) is not None:
                path = os.fsdecode(entry.name).removeprefix("./")
                if entry.kind != "file" or not is_wanted(path) or entry.size > MAX_FILE_BYTES:
                    continue
                total += entry.size
                if total > _MAX_BYTES:
                    raise InvalidImage(f"what tells of its packages has more than {_MAX_BYTES} bytes")
                content = bytearray()
                while piece := tar.piece():
                    content += piece
                files[path] = bytes(content)
            tar.drain()
            job.result()
    return inventory(files)
