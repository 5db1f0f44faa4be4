"""Read images from one tar: oci-archive and docker-archive, told apart by what is inside.

An oci-archive is an image layout in a tar. A docker-archive lists configurations and layers in
`manifest.json`, without manifests; these are made here, so the image id stays what it was. Docker 25 and
later writes both into one tar; then the layout decides, because its digests cover everything, and
`manifest.json` only adds names.
Source: OCI image-spec, image-layout.md; moby, image/spec/spec.md and image/tarexport/load.go.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from types import TracebackType
from typing import BinaryIO, Literal

from attrs import evolve, frozen

from pycontainer.errors import BadReference, DigestMismatch, InvalidImage, NotFound
from pycontainer.image.blobs import BlobSource
from pycontainer.image.hashed import HashedReader, read_verified
from pycontainer.image.layout import INDEX_FILE, INDEX_LIMIT, LAYOUT_FILE, Layout, check_layout_mark
from pycontainer.image.members import Member, Members
from pycontainer.image.names import named_entries, names_of
from pycontainer.image.view import MAX_INDEX_NESTING, ImageView
from pycontainer.layers import HEAD_SIZE, Limits, detect, open_decoder
from pycontainer.oci import (
    CONFIG_LIMIT,
    MANIFEST_LIMIT,
    MAX_LAYERS,
    Descriptor,
    Digest,
    Hasher,
    Index,
    Manifest,
    Platform,
    Reference,
    choose,
    decode_config,
    decode_manifest,
    encode,
    jsontext,
    mediatype,
    sha256,
    split_digest,
)

__all__ = ["Archive", "ArchivedImage", "images_in_layout"]

MANIFEST_FILE = "manifest.json"
REPOSITORIES_FILE = "repositories"
MAX_IMAGES = 4096
COPY_SIZE = 1 << 20
_HEX_NAME = re.compile(r"(?:.*/)?([0-9a-f]{64})(?:\.json)?")
_LAYER_TYPES = {
    "plain": mediatype.OCI_LAYER,
    "gzip": mediatype.OCI_LAYER_GZIP,
    "zstd": mediatype.OCI_LAYER_ZSTD,
}


@frozen(kw_only=True)
class ArchivedImage:
    """One image of an archive with its names; an image may have none."""

    names: tuple[Reference, ...]
    view: ImageView


class Archive:
    """An open archive: a source of blobs, and the images it holds. A context manager.

    Attributes: format, by which its images are read.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        limits: Limits | None = None,
        scratch_dir: str | None = None,
    ) -> None:
        """Open a file or a stream, plain or compressed with gzip, zstd, xz or bzip2.

        scratch_dir: where a stream or a compressed archive is unpacked to (default: TMPDIR).
        Raises: InvalidImage if it is no image archive, breaks its format or goes beyond the limits; OSError.
        """
        self._members = Members.scan(source, limits=limits, scratch_dir=scratch_dir)
        self._placed: dict[Digest, Member] = {}
        self._documents: dict[Digest, bytes] = {}
        try:
            self.format = self._detect()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the file. Views of the images can no longer read."""
        self._members.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def images(self, platform: Platform | None = None) -> list[ArchivedImage]:
        """All images, one platform of each (default: this host's).

        Raises: InvalidImage, DigestMismatch; NotFound if an image lacks the platform or a blob.
        """
        listed = self._docker_entries() if MANIFEST_FILE in self._members else []
        if self.format == "docker-archive":
            found = [ArchivedImage(names=entry.names, view=self._docker_view(entry)) for entry in listed]
        else:
            found = self._oci_images(platform or Platform.host())
            found = [
                evolve(image, names=(*image.names, *_names_by_id(listed, self._members, image.view.id)))
                for image in found
            ]
        return _merged(found)

    def target(self, name: str | None = None) -> Descriptor:
        """What a name stands for, an index of all platforms where there is one; or the only one there is.

        Raises: NotFound listing the names there are; InvalidImage.
        """
        if self.format == "oci-archive":
            entries = named_entries(self._index().manifests, name, "the archive")
            if len({entry.digest for entry in entries}) == 1:
                return entries[0]
            raise InvalidImage("the archive has several manifests under one name, and no index of them")
        found = self.images()
        named = [image for image in found if name is None or name in _texts(image.names)]
        if len(named) != 1:
            names = ", ".join(text for image in found for text in _texts(image.names)[::2]) or "none"
            raise NotFound(f"the archive has {len(named)} images {name or ''}; there are: {names}")
        return named[0].view.descriptor

    # BlobSource

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """See BlobSource; a blob whose size differs from the descriptor's is refused at once."""
        document = self._documents.get(descriptor.digest)
        if document is not None:
            return BytesIO(document)
        member = self._find(descriptor.digest)
        if member.size != descriptor.size:
            raise DigestMismatch(
                f"{descriptor.size} bytes", f"{member.size} bytes", f"archived blob {descriptor.digest}"
            )
        return self._members.open(member)

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        """See BlobSource."""
        return read_verified(self, descriptor, limit, "archived blob")

    def _find(self, digest: Digest) -> Member:
        placed = self._placed.get(digest)
        if placed is not None:
            return placed
        algorithm, digits = split_digest(digest)
        return self._members.find(f"blobs/{algorithm}/{digits}")

    def _has(self, digest: Digest) -> bool:
        algorithm, digits = split_digest(digest)
        return f"blobs/{algorithm}/{digits}" in self._members

    def _detect(self) -> Literal["oci-archive", "docker-archive"]:
        if LAYOUT_FILE in self._members and INDEX_FILE in self._members:
            check_layout_mark(self._members.read(LAYOUT_FILE, 4096))
            return "oci-archive"
        if MANIFEST_FILE in self._members:
            return "docker-archive"
        if REPOSITORIES_FILE in self._members:
            raise InvalidImage(
                "archive was saved by docker 1.9 or older, without a manifest.json; "
                "load and save it with a newer one"
            )
        raise InvalidImage(
            "no image archive: it has neither manifest.json nor oci-layout; "
            "a root file system's tar is imported, not loaded"
        )

    # Image layout

    def _index(self) -> Index:
        index = decode_manifest(
            self._members.read(INDEX_FILE, INDEX_LIMIT), mediatype.OCI_INDEX, limit_bytes=INDEX_LIMIT
        )
        assert isinstance(index, Index)  # the media type says so
        return index

    def _oci_images(self, platform: Platform) -> list[ArchivedImage]:
        return _images_of(self._index(), self, self._has, platform)

    # Docker's manifest.json

    def _docker_entries(self) -> list[_DockerEntry]:
        data = self._members.read(MANIFEST_FILE, INDEX_LIMIT)
        values = jsontext.parse(data, MANIFEST_FILE, INDEX_LIMIT)
        if not isinstance(values, list) or len(values) > MAX_IMAGES:
            raise InvalidImage(f"{MANIFEST_FILE}: expected a list of at most {MAX_IMAGES} images")
        entries = []
        for i, value in enumerate(values):
            fields = jsontext.Fields(value, f"{MANIFEST_FILE}[{i}]", folds_case=True)
            entry = _DockerEntry(
                config=fields.text("Config"),
                layers=fields.texts("Layers"),
                names=_parse_names(fields.texts("RepoTags")),
            )
            if not entry.config or len(entry.layers) > MAX_LAYERS:
                raise InvalidImage(f"{fields.where}: has no Config, or more than {MAX_LAYERS} layers")
            entries.append(entry)
        return entries

    def _docker_view(self, entry: _DockerEntry) -> ImageView:
        config_bytes = self._members.read(entry.config, CONFIG_LIMIT)
        config_descriptor = Descriptor.of(config_bytes, mediatype.OCI_CONFIG)
        named = _HEX_NAME.fullmatch(entry.config)
        if named and f"sha256:{named[1]}" != config_descriptor.digest:
            raise DigestMismatch(
                f"sha256:{named[1]}", config_descriptor.digest, f"archive member {entry.config}"
            )
        diff_ids = decode_config(config_bytes).diff_ids
        if len(diff_ids) != len(entry.layers):
            raise InvalidImage(
                f"archived image {entry.config} has {len(entry.layers)} layers, "
                f"but its config lists {len(diff_ids)}"
            )
        layers = [self._docker_layer(*pair) for pair in zip(entry.layers, diff_ids, strict=True)]
        manifest_bytes = encode(Manifest(config=config_descriptor, layers=tuple(layers)))
        self._documents[config_descriptor.digest] = config_bytes
        self._documents[sha256(manifest_bytes)] = manifest_bytes
        return ImageView(manifest_bytes, config_bytes, self)

    def _docker_layer(self, name: str, diff_id: Digest) -> Descriptor:
        """The blob of a layer; a compressed one is read once, to know its digests."""
        member = self._members.find(name)
        with self._members.open(member) as blob:
            head = blob.read(HEAD_SIZE)
        kind = detect(head)
        if kind not in _LAYER_TYPES:
            raise InvalidImage(
                f"archived layer {name} is compressed with {kind}; only gzip and zstd are read"
            )
        digest = diff_id
        if kind != "plain":
            digest = self._check_compressed(name, member, kind, diff_id)
        self._placed[digest] = member
        return Descriptor(media_type=_LAYER_TYPES[kind], digest=digest, size=member.size)

    def _check_compressed(self, name: str, member: Member, kind: str, diff_id: Digest) -> Digest:
        blob_hasher, tar_hasher = Hasher(), Hasher.like(diff_id)
        with self._members.open(member) as blob:
            decoder = open_decoder(kind, HashedReader(blob, blob_hasher))
            while chunk := decoder.read(COPY_SIZE):
                tar_hasher.update(chunk)
        tar_hasher.check(diff_id, tar_hasher.size, f"archived layer {name}")
        return blob_hasher.digest()


@frozen(kw_only=True)
class _DockerEntry:
    """One image of manifest.json."""

    config: str
    layers: tuple[str, ...]
    names: tuple[Reference, ...]


def images_in_layout(layout: Layout, platform: Platform | None = None) -> list[ArchivedImage]:
    """All images of a layout directory, one platform of each (default: this host's), as Archive.images.

    Raises: InvalidImage, DigestMismatch; NotFound if an image lacks the platform or a blob.
    """
    return _merged(_images_of(layout.index, layout, layout.has, platform or Platform.host()))


def _images_of(
    index: Index, source: BlobSource, has: Callable[[Digest], bool], platform: Platform
) -> list[ArchivedImage]:
    if len(index.manifests) > MAX_IMAGES:
        raise InvalidImage(f"the index lists {len(index.manifests)} images; at most {MAX_IMAGES} are read")
    found = []
    for names, target in _targets(index.manifests, platform):
        view = _view_of(target, source, has, platform)
        if view is not None:
            found.append(ArchivedImage(names=names, view=view))
    if not found:
        raise InvalidImage(f"no container image among the {len(index.manifests)} entries of the index")
    return found


def _view_of(
    target: Descriptor, source: BlobSource, has: Callable[[Digest], bool], platform: Platform
) -> ImageView | None:
    """The image of a descriptor, or None if that is an artifact of another kind."""
    for _ in range(MAX_INDEX_NESTING):
        data = source.read(target, MANIFEST_LIMIT)
        document = decode_manifest(data, target.media_type)
        if isinstance(document, Manifest):
            if not mediatype.is_config(document.config.media_type):
                return None
            return ImageView(data, source.read(document.config, CONFIG_LIMIT), source)
        # Docker saves the whole index with the blobs of some platforms only.
        present = tuple(entry for entry in document.manifests if has(entry.digest))
        if not present:
            raise NotFound(f"every image that index {target.digest} lists is missing")
        target = choose(evolve(document, manifests=present), platform)
    raise InvalidImage(f"indexes nest deeper than {MAX_INDEX_NESTING} levels at {target.digest}")


def _texts(names: Iterable[Reference]) -> list[str]:
    return [text for name in names for text in (str(name), name.familiar)]


def _parse_names(texts: Iterable[str]) -> tuple[Reference, ...]:
    try:
        return tuple(Reference.parse(text) for text in texts)
    except BadReference as error:
        raise InvalidImage(f"{MANIFEST_FILE}: {error}") from error


def _names_by_id(
    entries: Sequence[_DockerEntry], members: Members, image_id: Digest
) -> tuple[Reference, ...]:
    """Names that manifest.json gives to the image of that id."""
    names: list[Reference] = []
    for entry in entries:
        if entry.config in members and sha256(members.read(entry.config, CONFIG_LIMIT)) == image_id:
            names += entry.names
    return tuple(names)


def _targets(
    entries: Sequence[Descriptor], platform: Platform
) -> list[tuple[tuple[Reference, ...], Descriptor]]:
    """What to load, with its names; of several manifests under one name the one for the platform."""
    groups: dict[object, list[Descriptor]] = {}
    for entry in entries:
        if entry.platform is None or entry.platform.architecture != "unknown":  # attestations
            groups.setdefault(names_of(entry) or entry.digest, []).append(entry)
    targets = []
    for group in groups.values():
        is_one = len({entry.digest for entry in group}) == 1
        target = group[0] if is_one else choose(Index(manifests=tuple(group)), platform)
        targets.append((names_of(target), target))
    return targets


def _merged(found: Iterable[ArchivedImage]) -> list[ArchivedImage]:
    """One entry per image, with all its names, in the order of first mention."""
    images: dict[Digest, ArchivedImage] = {}
    for image in found:
        digest = image.view.descriptor.digest
        known = images.get(digest, evolve(image, names=()))
        images[digest] = evolve(known, names=tuple(dict.fromkeys((*known.names, *image.names))))
    return list(images.values())
