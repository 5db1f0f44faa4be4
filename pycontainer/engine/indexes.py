"""Indexes (Docker's manifest lists) put together by hand: one name for the images of several platforms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, final

from attrs import evolve, field, frozen

from pycontainer.engine.engine import Engine, current_engine
from pycontainer.engine.images import Image
from pycontainer.engine.progress import events_shown
from pycontainer.errors import InvalidInput, NotFound
from pycontainer.image import Contents, Layout, Target
from pycontainer.oci import (
    MANIFEST_LIMIT,
    Descriptor,
    Digest,
    Index,
    Manifest,
    Platform,
    Reference,
    decode_config,
    encode,
    mediatype,
    sha256,
)

if TYPE_CHECKING:
    import os

    from pycontainer.image import BlobSource, OnEvent

__all__ = ["ImageIndex"]


@frozen
class _Member:
    """One entry. origin: where it lies in a registry, if it does."""

    descriptor: Descriptor
    source: BlobSource = field(repr=False)
    origin: Reference | None = None


@final
class ImageIndex:
    """An immutable list of images, each for its platform: every method that changes it gives another one.

    ImageIndex().add(amd64).add(arm64).push("ghcr.io/owner/app:1") pushes both images and the index.
    """

    def __init__(self, *, engine: Engine | None = None) -> None:
        self._engine = engine or current_engine()
        self._members: tuple[_Member, ...] = ()
        self._annotations: Mapping[str, str] = {}

    @classmethod
    def get(cls, reference: str, *, engine: Engine | None = None) -> ImageIndex:
        """The index that a reference names in its registry.

        Raises: InvalidInput if it names a single image; NotFound; RegistryError.
        """
        made = cls(engine=engine)
        name = Reference.parse(reference)
        client = made._engine.registries
        _, _, model = client.document(name)
        if not isinstance(model, Index):
            raise InvalidInput(
                f"{name} is one image and no index; begin with ImageIndex().add({reference!r})"
            )
        source = client.source(name)
        members = tuple(_Member(entry, source, name) for entry in model.manifests)
        return made._changed(members, model.annotations)

    @property
    def manifests(self) -> tuple[Descriptor, ...]:
        """Its entries: type, digest, size, platform and annotations of each image."""
        return tuple(member.descriptor for member in self._members)

    @property
    def digest(self) -> str:
        """Its digest, by which a registry will know it."""
        return sha256(self._bytes)

    def inspect(self) -> dict[str, Any]:
        """The index as a JSON object, as a registry will have it."""
        found: dict[str, Any] = json.loads(self._bytes)
        return found

    def add(
        self,
        image: Image | str,
        *,
        platform: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> ImageIndex:
        """Add an image of the store, or of a registry by its name; one for the same platform is replaced.

        A name that stands for an index adds all it lists. platform: instead of what the image's
        configuration says. annotations: of the entry.
        Raises: NotFound, RegistryError, InvalidInput.
        """
        members = self._found(image)
        if platform is not None and len(members) > 1:
            raise InvalidInput(f"{image} lists {len(members)} images: no single platform can be said of them")
        made = list(self._members)
        for member in members:
            entry = member.descriptor
            if platform is not None:
                entry = evolve(entry, platform=Platform.parse(platform))
            entry = evolve(entry, annotations={**entry.annotations, **(annotations or {})})
            made = [known for known in made if not _replaces(entry, known.descriptor)]
            made.append(evolve(member, descriptor=entry))
        return self._changed(tuple(made), self._annotations)

    def remove(self, platform: str) -> ImageIndex:
        """Without the image of a platform, or of a digest. Raises: NotFound."""
        kept = tuple(member for member in self._members if not _matches(member.descriptor, platform))
        if len(kept) == len(self._members):
            raise NotFound(f"the index lists nothing for {platform}; there are: {self._shown()}")
        return self._changed(kept, self._annotations)

    def annotate(self, annotations: Mapping[str, str] | None = None, /, **more: str) -> ImageIndex:
        """With these annotations of the index itself, beside those it has."""
        return self._changed(self._members, {**self._annotations, **(annotations or {}), **more})

    def annotate_entry(
        self, platform: str, annotations: Mapping[str, str] | None = None, *, os_version: str | None = None
    ) -> ImageIndex:
        """With annotations, or the operating system's version, of the entry of a platform or digest."""
        made = []
        for member in self._members:
            entry = member.descriptor
            if _matches(entry, platform):
                entry = evolve(entry, annotations={**entry.annotations, **(annotations or {})})
                if os_version is not None and entry.platform is not None:
                    entry = evolve(entry, platform=evolve(entry.platform, os_version=os_version))
            made.append(evolve(member, descriptor=entry))
        if not any(_matches(member.descriptor, platform) for member in self._members):
            raise NotFound(f"the index lists nothing for {platform}; there are: {self._shown()}")
        return self._changed(tuple(made), self._annotations)

    def push(self, reference: str, *, on_event: OnEvent | None = None) -> str:
        """Push every image it lists, then itself under this name; returns its digest.

        Blobs that another repository of the same registry has are mounted.
        """
        name = Reference.parse(reference)
        origins = [member.origin for member in self._members if member.origin is not None]
        siblings = dict.fromkeys(origin.path for origin in origins if origin.domain == name.domain)
        with self._engine.store.lease(f"push {name}"), events_shown(self._engine, on_event) as show:
            target = self._target()
            return self._engine.registries.push(
                name, target.source, target.descriptor, mount_from=list(siblings), on_event=show
            )

    def save(self, target: str | os.PathLike[str] | BinaryIO, name: str | None = None) -> None:
        """Write it with all images to an oci-archive, or add it to an OCI layout that is a directory."""
        from pathlib import Path

        from pycontainer.image import write_oci_archive

        names = [Reference.parse(name)] if name else []
        with self._engine.store.lease("save an index"):
            found = self._target()
            if not (isinstance(target, (str, Path)) and Path(target).is_dir()):
                write_oci_archive(target, [(found, names)])
                return
            Layout.create(target).add(found, names)

    @property
    def _bytes(self) -> bytes:
        return encode(Index(manifests=self.manifests, annotations=self._annotations))

    def _target(self) -> Target:
        data = self._bytes
        return Target(_Several(self._members, data), Descriptor.of(data, mediatype.OCI_INDEX))

    def _changed(self, members: tuple[_Member, ...], annotations: Mapping[str, str]) -> ImageIndex:
        made = ImageIndex(engine=self._engine)
        made._members, made._annotations = members, dict(annotations)
        return made

    def _found(self, image: Image | str) -> list[_Member]:
        if isinstance(image, Image):
            view = image._variant(None)
            return [_Member(view.descriptor, image._engine.store.content)]
        name = Reference.parse(image)
        client = self._engine.registries
        descriptor, _, model = client.document(name)
        source = client.source(name)
        if isinstance(model, Index):
            return [_Member(entry, source, name) for entry in model.manifests]
        return [_Member(_placed(descriptor, model, source), source, name)]

    def _shown(self) -> str:
        return ", ".join(str(entry.platform or entry.digest) for entry in self.manifests) or "none"

    def __repr__(self) -> str:
        return f"ImageIndex({self._shown()})"


class _Several:
    """The sources of an index's members as one."""

    def __init__(self, members: tuple[_Member, ...], index: bytes) -> None:
        self._homes: dict[Digest, BlobSource] = {}
        self._index = index
        for member in members:
            contents = Contents(Target(member.source, member.descriptor))
            for digest in (*contents.blobs, *(each.descriptor.digest for each in contents.manifests)):
                self._homes.setdefault(digest, member.source)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """See BlobSource."""
        return self._home(descriptor).open(descriptor)

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        """See BlobSource."""
        if descriptor.digest == sha256(self._index):
            return self._index
        return self._home(descriptor).read(descriptor, limit)

    def _home(self, descriptor: Descriptor) -> BlobSource:
        if descriptor.digest not in self._homes:
            raise NotFound(f"{descriptor.digest} belongs to no image of the index")
        return self._homes[descriptor.digest]


def _placed(descriptor: Descriptor, manifest: Manifest, source: BlobSource) -> Descriptor:
    """The descriptor with the platform that the configuration tells; an artifact has none."""
    if not mediatype.is_config(manifest.config.media_type):
        return evolve(descriptor, artifact_type=manifest.artifact_type or manifest.config.media_type)
    config = decode_config(source.read(manifest.config, MANIFEST_LIMIT))
    platform = Platform(os=config.os, architecture=config.architecture, variant=config.variant)
    return evolve(descriptor, platform=platform)


def _replaces(entry: Descriptor, known: Descriptor) -> bool:
    if entry.digest == known.digest:
        return True
    if entry.platform is None or known.platform is None or entry.platform.architecture == "unknown":
        return False
    return entry.platform.normalized() == known.platform.normalized()


def _matches(entry: Descriptor, wanted: str) -> bool:
    if ":" in wanted:
        return entry.digest == wanted
    return entry.platform is not None and entry.platform.normalized() == Platform.parse(wanted)
