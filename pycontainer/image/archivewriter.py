"""Write images into one tar, as oci-archive or docker-archive.

The oci-archive keeps every blob and digest as it is. The docker-archive has uncompressed layers, since
older engines take no others, and both descriptions Docker 25 and later writes: `manifest.json` and an image
layout. The same images give the same bytes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from typing import BinaryIO, cast

from pycontainer.image.archive import MANIFEST_FILE, REPOSITORIES_FILE
from pycontainer.image.contents import Contents, Target
from pycontainer.image.hashed import HashedReader
from pycontainer.image.layout import INDEX_FILE, LAYOUT_FILE, LAYOUT_MARK
from pycontainer.image.names import names_annotations
from pycontainer.image.view import ImageView
from pycontainer.image.wholefile import whole_file
from pycontainer.layers import HEAD_SIZE, Entry, TarWriter, detect, open_decoder
from pycontainer.oci import (
    Descriptor,
    Digest,
    Hasher,
    Index,
    Manifest,
    Reference,
    encode,
    jsontext,
    mediatype,
    split_digest,
)

__all__ = ["NamedImage", "write_docker_archive", "write_oci_archive"]

NamedImage = tuple[ImageView, Sequence[Reference]]
COPY_SIZE = 1 << 20
SPOOL_SIZE = 16 << 20


def write_oci_archive(
    out: str | os.PathLike[str] | BinaryIO,
    images: Iterable[tuple[ImageView | Target, Sequence[Reference]]],
) -> None:
    """Write images, indexes with all they list, and artifacts as a tar of an image layout.

    A path appears only when it is complete.

    Raises: DigestMismatch, NotFound if a source's blob is damaged or missing; OSError.
    """
    _write_to(out, lambda file: _write_oci(file, images))


def write_docker_archive(out: str | os.PathLike[str] | BinaryIO, images: Iterable[NamedImage]) -> None:
    """Write what `docker load` of every version reads; a path appears only when it is complete.

    Raises: DigestMismatch, NotFound if a source's blob is damaged or missing; OSError.
    """
    _write_to(out, lambda file: _write_docker(file, images))


def _write_to(out: str | os.PathLike[str] | BinaryIO, write: Callable[[BinaryIO], None]) -> None:
    if not isinstance(out, (str, os.PathLike)):
        write(out)
        return
    with whole_file(out) as file:
        write(file)


def _write_oci(file: BinaryIO, images: Iterable[tuple[ImageView | Target, Sequence[Reference]]]) -> None:
    out = _BlobWriter(file)
    entries: list[Descriptor] = []
    for what, names in images:
        target = Target.of(what)
        contents = Contents(target)
        for blob in contents.blobs.values():
            with target.source.open(blob) as content:
                out.add_blob(blob.digest, blob.size, content)
        for document in contents.manifests:
            described = document.descriptor
            out.add_blob(described.digest, described.size, BytesIO(document.content))
        entries += names_annotations(target.descriptor, names, full_ref_name=True)
    out.add_file(INDEX_FILE, encode(Index(manifests=tuple(entries))))
    out.close()


def _write_docker(file: BinaryIO, images: Iterable[NamedImage]) -> None:
    out = _BlobWriter(file)
    entries: list[Descriptor] = []
    listed: list[dict[str, object]] = []
    repositories: dict[str, dict[str, str]] = {}
    sizes: dict[Digest, int] = {}
    for view, names in images:
        for layer, diff_id in zip(view.layers, view.diff_ids, strict=True):
            if diff_id not in sizes:
                sizes[diff_id] = _add_plain_layer(out, view, layer, diff_id)
        config = Descriptor.of(view.config_bytes, mediatype.OCI_CONFIG)
        out.add_blob(config.digest, config.size, BytesIO(view.config_bytes))
        layers = [_plain(diff_id, sizes[diff_id]) for diff_id in view.diff_ids]
        manifest = encode(Manifest(config=config, layers=tuple(layers)))
        target = Descriptor.of(manifest, mediatype.OCI_MANIFEST)
        out.add_blob(target.digest, target.size, BytesIO(manifest))
        tagged = [name for name in names if name.tag]
        entries += names_annotations(target, tagged, full_ref_name=False)
        listed.append(
            {
                "Config": _blob_name(config.digest),
                "RepoTags": [f"{name.familiar_repository}:{name.tag}" for name in tagged] or None,
                "Layers": [_blob_name(diff_id) for diff_id in view.diff_ids],
            }
        )
        for name in tagged if view.diff_ids else ():
            tags = repositories.setdefault(name.familiar_repository, {})
            tags[name.tag or ""] = split_digest(view.diff_ids[-1])[1]
    out.add_file(INDEX_FILE, encode(Index(manifests=tuple(entries))))
    out.add_file(MANIFEST_FILE, jsontext.dump(listed))
    if repositories:
        out.add_file(REPOSITORIES_FILE, jsontext.dump(repositories))
    out.close()


def _add_plain_layer(out: _BlobWriter, view: ImageView, layer: Descriptor, diff_id: Digest) -> int:
    """Add a layer uncompressed; returns its size, which a compressed one tells only at its end."""
    with view.open_blob(layer) as blob:
        head = blob.read(HEAD_SIZE)
        kind = detect(head)
        with cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=SPOOL_SIZE)) as spool:
            decoder = open_decoder(kind, blob, head=head)
            size = 0
            while chunk := decoder.read(COPY_SIZE):
                size += spool.write(chunk)
            spool.seek(0)
            out.add_blob(diff_id, size, spool)
    return size


def _plain(diff_id: Digest, size: int) -> Descriptor:
    return Descriptor(media_type=mediatype.OCI_LAYER, digest=diff_id, size=size)


def _blob_name(digest: Digest) -> str:
    return "blobs/{}/{}".format(*split_digest(digest))


class _BlobWriter:
    """The tar of an image layout; every blob once, and verified as it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._tar = TarWriter(file)
        self._written: set[str] = set()
        self.add_file(LAYOUT_FILE, LAYOUT_MARK)
        self._add_directory("blobs")

    def add_file(self, name: str, data: bytes) -> None:
        self._tar.add(Entry(name.encode(), size=len(data)), data)

    def add_blob(self, digest: Digest, size: int, content: BinaryIO) -> None:
        """Raises: DigestMismatch after the fact, when the archive is spoilt."""
        name = _blob_name(digest)
        if name in self._written:
            return
        self._add_directory(name.rpartition("/")[0])
        hashed = HashedReader(content, Hasher.like(digest))
        self._tar.add(Entry(name.encode(), size=size), hashed)
        hashed.hasher.check(digest, size, f"blob {digest}")
        self._written.add(name)

    def close(self) -> None:
        self._tar.close()

    def _add_directory(self, name: str) -> None:
        if name not in self._written:
            self._tar.add(Entry(name.encode(), "dir", 0o755))
            self._written.add(name)
