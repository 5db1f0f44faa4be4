"""The software in an image of the store, as an SPDX document."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycontainer import __version__
from pycontainer.layers import FileBlocks, TarReader
from pycontainer.sbom import MAX_FILE_BYTES, BuildInfo, document, inventory, is_wanted

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine

__all__ = ["SPDX", "spdx_document"]

SPDX = "https://spdx.dev/Document"


def spdx_document(
    engine: Engine,
    layers: Sequence[Path],
    *,
    name: str,
    digest: str,
    created: str,
    with_locks: bool = False,
) -> dict[str, Any]:
    """The document of an image whose layers, top first, are unpacked. created: RFC 3339.

    with_locks: see `is_wanted`.
    """
    seconds = f"{created[:19]}Z" if created else "1970-01-01T00:00:00Z"
    tool = f"pycontainer-{__version__}"
    found = inventory(_files(engine, layers, with_locks) if layers else ())
    return document(name, digest, found, created=seconds, tool=tool)


def _files(engine: Engine, layers: Sequence[Path], with_locks: bool) -> Iterator[tuple[str, bytes]]:
    """Have a job write the image's files as one tar, and give those that tell of packages."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(reader, "rb", buffering=0) as stream:
        try:
            params = {"layers": [str(path) for path in layers], "is_tar": True}
            job = engine.helper.submit("build_export", params, [writer])
        finally:
            os.close(writer)
        with job:
            tar = TarReader(FileBlocks(stream))
            while (entry := tar.next()) is not None:
                if entry.kind != "file" or entry.size > MAX_FILE_BYTES:
                    continue
                path = os.fsdecode(entry.name).removeprefix("./")
                if is_wanted(path, with_locks=with_locks):
                    content = bytearray()
                    while piece := tar.piece():
                        content += piece
                    yield path, bytes(content)
                elif entry.mode & 0o111:
                    program = BuildInfo()
                    while not program.is_done and (piece := tar.piece()):
                        program.feed(piece)
                    if told := program.end():
                        yield path, told
            tar.drain()
            job.result()
