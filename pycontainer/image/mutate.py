"""Make images: from a directory, a tar, files in memory, or programs of this host.

Each function writes one layer, a configuration and a manifest into a blob store and returns the view of
the new image. The same input gives the same digests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from attrs import evolve, frozen

from pycontainer.errors import InvalidInput
from pycontainer.image import hostfiles
from pycontainer.image.blobs import BlobStore
from pycontainer.image.compression import Compression
from pycontainer.image.layerwriter import LayerWriter, WrittenLayer
from pycontainer.image.tree import Tree, entry_of, opener
from pycontainer.image.view import ImageView
from pycontainer.layers import (
    HEAD_SIZE,
    Entry,
    FileBlocks,
    Limits,
    TarReader,
    TarWriter,
    detect,
    open_decoder,
)
from pycontainer.oci import (
    ContainerConfig,
    Descriptor,
    History,
    ImageConfig,
    Manifest,
    Platform,
    encode,
    mediatype,
)

__all__ = [
    "EPOCH",
    "File",
    "Files",
    "Symlink",
    "add_files",
    "assemble",
    "copy_tar",
    "from_directory",
    "from_files",
    "from_host",
    "from_tar",
    "write_layer",
]

EPOCH = "1970-01-01T00:00:00Z"  # a creation time would make every build another image
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@frozen(kw_only=True)
class File:
    """A file, or with is_directory a directory, to be put into an image."""

    content: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_s: int = 0
    is_directory: bool = False


@frozen
class Symlink:
    """A symbolic link to be put into an image."""

    target: str


Files = Mapping[str, "bytes | str | Path | File | Symlink"]
"""Path in the image to content: bytes, text, a file of the host (Path), or File and Symlink in full.

Bytes, text and host files become root's; bytes and text that start as a script or an ELF program are
executable.
"""


def from_directory(
    blobs: BlobStore,
    path: str | os.PathLike[str],
    *,
    config: ContainerConfig | None = None,
    platform: Platform | None = None,
    compression: str | Compression = "gzip",
) -> ImageView:
    """An image of all that is below a directory, with owners, modes, times, links and attributes.

    Raises: OSError; InvalidInput for names that mean a whiteout, or files that change meanwhile.
    """
    tree = Tree()
    tree.add_directory(path)
    layer = write_layer(blobs, tree.write, compression)
    return assemble(blobs, [layer], config=config, platform=platform, created_by="from directory")


def from_files(
    blobs: BlobStore,
    files: Files,
    *,
    config: ContainerConfig | None = None,
    platform: Platform | None = None,
    compression: str | Compression = "gzip",
) -> ImageView:
    """An image of files given in memory.

    Raises: InvalidInput for a path that is not inside the image; OSError for a host file.
    """
    tree = Tree()
    add_files(tree, files)
    layer = write_layer(blobs, tree.write, compression)
    return assemble(blobs, [layer], config=config, platform=platform, created_by="from files")


def from_host(
    blobs: BlobStore,
    programs: Sequence[str],
    *,
    paths: Sequence[str] = (),
    files: Files | None = None,
    config: ContainerConfig | None = None,
    compression: str | Compression = "gzip",
) -> ImageView:
    """An image of programs of this host with the libraries they load, and a minimal /etc.

    programs: names in PATH, or paths. paths: further files and directories, copied with all below
    them. files: more files, which win over what the host has.
    Raises: NotFound (a program or library), InvalidInput, OSError.
    """
    tree = Tree()
    hostfiles.add_programs(tree, programs)
    for path in paths:
        hostfiles.add_tree(tree, path)
    has_shell = b"bin/sh" in tree or b"usr/bin/sh" in tree
    hostfiles.add_base_files(tree, "/bin/sh" if has_shell else None)
    add_files(tree, files or {})
    if config is None:
        config = ContainerConfig(cmd=("/bin/sh",) if has_shell else None)
    if not any(variable.startswith("PATH=") for variable in config.env):
        config = evolve(config, env=(DEFAULT_PATH, *config.env))
    layer = write_layer(blobs, tree.write, compression)
    return assemble(blobs, [layer], config=config, created_by=f"from host: {' '.join(programs)}")


def from_tar(
    blobs: BlobStore,
    tar: str | os.PathLike[str] | bytes | BinaryIO,
    *,
    config: ContainerConfig | None = None,
    platform: Platform | None = None,
    compression: str | Compression = "gzip",
    limits: Limits | None = None,
    comment: str = "",
) -> ImageView:
    """An image of a root file system's tar, plain or compressed with gzip, zstd, xz or bzip2.

    comment: on its one step. The tar's bytes are kept as they are, so its own order and padding decide the
    digests.
    Raises: InvalidImage if it is broken or beyond the limits; OSError.
    """
    layer = copy_tar(blobs, tar, compression, limits)
    return assemble(blobs, [layer], config=config, platform=platform, created_by="from tar", comment=comment)


def copy_tar(
    blobs: BlobStore,
    tar: str | os.PathLike[str] | bytes | BinaryIO,
    compression: str | Compression,
    limits: Limits | None = None,
) -> WrittenLayer:
    """A tar, compressed or not, as a layer; its bytes stay as they are. Raises: InvalidImage; OSError."""
    if isinstance(tar, (str, os.PathLike)):
        with open(tar, "rb") as file:
            return copy_tar(blobs, file, compression, limits)
    source = BytesIO(tar) if isinstance(tar, bytes) else tar
    head = source.read(HEAD_SIZE)
    decoder = open_decoder(detect(head), source, limits, head)
    with LayerWriter(compression) as writer:
        reader = TarReader(_Tee(FileBlocks(decoder), writer), limits)
        while reader.next() is not None:
            pass
        reader.drain()  # the digest covers what follows the end mark, too
        return writer.store(blobs)


def assemble(
    blobs: BlobStore,
    layers: Sequence[WrittenLayer],
    *,
    config: ContainerConfig | None = None,
    platform: Platform | None = None,
    created_by: str = "",
    comment: str = "",
) -> ImageView:
    """The image of layers that are in `blobs`, bottom first; writes its configuration and manifest."""
    platform = platform or Platform.host()
    image_config = ImageConfig(
        created=EPOCH,
        os=platform.os,
        architecture=platform.architecture,
        variant=platform.variant,
        config=config or ContainerConfig(env=(DEFAULT_PATH,)),
        diff_ids=tuple(layer.diff_id for layer in layers),
        history=tuple(History(created=EPOCH, created_by=created_by, comment=comment) for _ in layers),
    )
    config_bytes = encode(image_config)
    manifest = Manifest(
        config=Descriptor.of(config_bytes, mediatype.OCI_CONFIG),
        layers=tuple(layer.descriptor for layer in layers),
    )
    manifest_bytes = encode(manifest)
    blobs.put(config_bytes)
    blobs.put(manifest_bytes)
    return ImageView(manifest_bytes, config_bytes, blobs)


class _Tee:
    """Slots of a tar that are also written to a layer as they pass."""

    def __init__(self, blocks: FileBlocks, writer: LayerWriter) -> None:
        self._blocks = blocks
        self._writer = writer

    def next(self) -> memoryview:
        slot = self._blocks.next()
        if slot:
            self._writer.write(bytes(slot))
        return slot


def write_layer(
    blobs: BlobStore, write: Callable[[TarWriter], None], compression: str | Compression
) -> WrittenLayer:
    """The layer that `write` writes."""
    with LayerWriter(compression) as out:
        tar = TarWriter(out)
        write(tar)
        tar.close()
        return out.store(blobs)


def add_files(tree: Tree, files: Files) -> None:
    """Put files into a tree. Raises: InvalidInput, OSError."""
    for path, what in files.items():
        name = tree.resolve(os.fsencode(path).strip(b"/"))
        if isinstance(what, Symlink):
            tree.add(Entry(name, "symlink", mode=0o777, linkname=os.fsencode(what.target)))
        elif isinstance(what, Path):
            _add_host_file(tree, name, what)
        elif isinstance(what, File):
            kind = "dir" if what.is_directory else "file"
            entry = Entry(name, kind, what.mode, what.uid, what.gid, len(what.content))
            entry.mtime_ns = what.mtime_s * 1_000_000_000
            tree.add(entry, what.content)
        else:
            content = what.encode() if isinstance(what, str) else what
            mode = 0o755 if content.startswith((b"#!", b"\x7fELF")) else 0o644
            tree.add(Entry(name, "file", mode, size=len(content)), content)


def _add_host_file(tree: Tree, name: bytes, path: Path) -> None:
    entry = entry_of(os.fsencode(path), name, path.stat())
    if entry is None or entry.kind != "file":
        raise InvalidInput(f"{path} is not a regular file; give a directory to from_directory")
    entry.uid = entry.gid = entry.mtime_ns = 0
    tree.add(entry, opener(os.fsencode(path.resolve())))
