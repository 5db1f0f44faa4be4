"""Artifacts: any files in a registry, alone or attached to an image, as oras and `podman artifact` keep them.

A file is a layer whose title is its name. What comes from a registry is a stranger's: names are checked
before anything is written, and nothing is written through a link.
Source: OCI image-spec, manifest.md, "Guidelines for Artifact Usage"; oras.land, "Artifact".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, final

from attrs import evolve, frozen

from pycontainer.engine.engine import Engine, current_engine
from pycontainer.engine.progress import events_shown
from pycontainer.errors import AlreadyExists, InvalidImage, InvalidInput, NotFound
from pycontainer.image import Documents
from pycontainer.kernel.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from pycontainer.oci import Descriptor, Hasher, Index, Manifest, Reference, encode, mediatype

if TYPE_CHECKING:
    from pycontainer.image import OnEvent

__all__ = ["Artifact", "ArtifactFile"]

TITLE: Final = "org.opencontainers.image.title"
UNKNOWN_TYPE: Final = "application/vnd.unknown.artifact.v1"  # oras's word for an artifact without a type
OCTETS: Final = "application/octet-stream"
EMPTY: Final = b"{}"
COPY_SIZE = 1 << 20
READ_LIMIT = 256 << 20


@frozen(kw_only=True)
class ArtifactFile:
    """One file of an artifact; name is "" for a blob without a title. size_bytes of its content."""

    name: str
    media_type: str
    size_bytes: int
    digest: str
    annotations: Mapping[str, str]


@final
class Artifact:
    """An artifact in a registry, looked up once.

    Raises (in whatever asks the registry): NotFound, AuthDenied, RegistryError, InvalidImage.
    """

    def __init__(self, reference: str, *, engine: Engine | None = None) -> None:
        self._engine = engine or current_engine()
        self._reference = Reference.parse(reference)

    @classmethod
    def push(
        cls,
        reference: str,
        files: Mapping[str, bytes | str | Path],
        *,
        artifact_type: str = "",
        media_types: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        file_annotations: Mapping[str, Mapping[str, str]] | None = None,
        subject: str | None = None,
        on_event: OnEvent | None = None,
        engine: Engine | None = None,
    ) -> Artifact:
        """Push files under a name: content, text, or a file of the host (Path), by the names they get.

        artifact_type: as "application/vnd.example+json". media_types, file_annotations: of single files, by
        name. subject: the image or artifact of the same repository that it is about, of which it is a
        referrer then.
        Equal input gives the same digest.
        Raises: InvalidInput, RegistryError, OSError; NotFound for a subject that is not there.
        """
        engine = engine or current_engine()
        target = Reference.parse(reference)
        about = None if subject is None else _subject(engine, target, subject)
        source, descriptor = _built(files, artifact_type, media_types, annotations, about, file_annotations)
        if target.digest is not None and target.digest != descriptor.digest:
            raise InvalidInput(f"{target} names a digest, and this artifact has {descriptor.digest}")
        with events_shown(engine, on_event) as show:
            engine.registries.push(target, source, descriptor, on_event=show)
        return cls(str(target), engine=engine)

    @classmethod
    def attach(
        cls,
        subject: str,
        files: Mapping[str, bytes | str | Path],
        *,
        artifact_type: str,
        media_types: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        engine: Engine | None = None,
    ) -> Artifact:
        """Push files as a referrer of an image, into its repository and without a tag.

        RemoteImage(subject).referrers() lists it, also where the registry has no referrers API.
        """
        engine = engine or current_engine()
        about = Reference.parse(subject)
        described = engine.registries.describe(about)
        source, descriptor = _built(files, artifact_type, media_types, annotations, described)
        target = Reference(domain=about.domain, path=about.path, digest=descriptor.digest)
        engine.registries.push(target, source, descriptor)
        return cls(str(target), engine=engine)

    @property
    def reference(self) -> str:
        """The whole name."""
        return str(self._reference)

    @property
    def digest(self) -> str:
        """Digest of its manifest."""
        return self._document[0].digest

    @property
    def artifact_type(self) -> str:
        """What it is; of old artifacts the type of the configuration."""
        manifest = self._document[1]
        return manifest.artifact_type or manifest.config.media_type

    @property
    def annotations(self) -> Mapping[str, str]:
        """Annotations of its manifest."""
        return self._document[1].annotations

    @property
    def subject(self) -> str:
        """Digest of what it is about, or ""."""
        subject = self._document[1].subject
        return subject.digest if subject is not None else ""

    @property
    def files(self) -> tuple[ArtifactFile, ...]:
        """Its files, in their order."""
        return tuple(
            ArtifactFile(
                name=layer.annotations.get(TITLE, ""),
                media_type=layer.media_type,
                size_bytes=layer.size,
                digest=layer.digest,
                annotations=layer.annotations,
            )
            for layer in self._document[1].layers
            if layer.media_type != mediatype.OCI_EMPTY
        )

    def read(self, name: str = "") -> bytes:
        """The content of a file, or of the only one, verified; one without a name is known by its digest.

        Raises: NotFound listing the names there are; InvalidImage for one above 256 MiB: extract it.
        """
        return self._engine.registries.read(self._reference, self._layer(name), READ_LIMIT)

    def extract(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Write its files below a directory, which is made; returns their paths.

        Raises: InvalidImage for a name that is not a plain path below it, or is there twice; AlreadyExists
        for a file that is there; DigestMismatch; OSError. Files that were complete before stay.
        """
        root = Path(directory)
        root.mkdir(parents=True, exist_ok=True)
        layers = [layer for layer in self._document[1].layers if layer.media_type != mediatype.OCI_EMPTY]
        names = [_checked_name(layer) for layer in layers]
        if len(set(names)) != len(names):
            raise InvalidImage(f"{self._reference}: two files have the same name")
        source = self._engine.registries.source(self._reference)
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for layer, name in zip(layers, names, strict=True):
                with source.open(layer) as content:
                    _write_below(fd, name, content, layer)
        finally:
            os.close(fd)
        return [root / name for name in names]

    def delete(self) -> None:
        """Delete it from the registry. Raises: NotFound; RegistryError."""
        self._engine.registries.delete(self._reference)

    @cached_property
    def _document(self) -> tuple[Descriptor, Manifest]:
        descriptor, _, model = self._engine.registries.document(self._reference)
        if isinstance(model, Index):
            raise InvalidImage(f"{self._reference} is an index, and no single artifact")
        return descriptor, model

    def _layer(self, name: str) -> Descriptor:
        layers = self._document[1].layers
        found = [
            layer for layer in layers if not name or name in (layer.annotations.get(TITLE), layer.digest)
        ]
        if (
            len({layer.digest for layer in found}) != 1
        ):  # files of equal content are one to whoever reads them
            known = ", ".join(repr(file.name) for file in self.files) or "none"
            raise NotFound(f"{self._reference}: {len(found)} files are named {name!r}; there are: {known}")
        return found[0]

    def __repr__(self) -> str:
        return f"Artifact({self._reference.familiar!r})"


def _built(
    files: Mapping[str, bytes | str | Path],
    artifact_type: str,
    media_types: Mapping[str, str] | None,
    annotations: Mapping[str, str] | None,
    subject: Descriptor | None,
    file_annotations: Mapping[str, Mapping[str, str]] | None = None,
) -> tuple[Documents, Descriptor]:
    """The files with their manifest, and the descriptor of that."""
    source = Documents()
    types, noted = media_types or {}, file_annotations or {}
    layers = tuple(
        evolve(
            source.add(content.encode() if isinstance(content, str) else content, types.get(name, OCTETS)),
            annotations={TITLE: name, **noted.get(name, {})},
        )
        for name, content in files.items()
    )
    empty = source.add(EMPTY, mediatype.OCI_EMPTY)
    manifest = Manifest(
        artifact_type=artifact_type or UNKNOWN_TYPE,
        config=empty,
        layers=layers or (empty,),
        annotations=dict(annotations or {}),
        subject=subject,
    )
    return source, source.add(encode(manifest), mediatype.OCI_MANIFEST)


def _subject(engine: Engine, target: Reference, subject: str) -> Descriptor:
    about = Reference.parse(subject)
    if about.repository != target.repository:
        raise InvalidInput(f"{subject} is in another repository than {target}; a subject is in the same one")
    return engine.registries.describe(about)


def _checked_name(layer: Descriptor) -> str:
    name = layer.annotations.get(TITLE) or layer.digest.replace(":", "-")
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts) or len(name) > 4095:
        raise InvalidImage(f"artifact file {name[:200]!r} is not a plain path below a directory")
    return name


def _write_below(root: int, name: str, content: BinaryIO, layer: Descriptor) -> None:
    """Write one file, whole or not at all; no link below the root is followed."""
    folder = root
    *parents, base = name.split("/")
    opened: list[int] = []
    try:
        for parent in parents:
            try:
                os.mkdir(parent, dir_fd=folder)
            except FileExistsError:
                pass
            how = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            folder = openat2(folder, os.fsencode(parent), how, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
            opened.append(folder)
        scratch = f".{base[:200]}.{os.urandom(6).hex()}"
        fd = os.open(
            scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=folder
        )
        try:
            with open(fd, "wb") as file:
                hasher = Hasher.like(layer.digest)
                while chunk := content.read(COPY_SIZE):
                    hasher.update(chunk)
                    file.write(chunk)
            hasher.check(layer.digest, layer.size, f"artifact file {name}")
            os.link(scratch, base, src_dir_fd=folder, dst_dir_fd=folder)  # fails where something is
        except FileExistsError:
            raise AlreadyExists(f"{name} is there already; extract into another directory") from None
        finally:
            os.unlink(scratch, dir_fd=folder)
    finally:
        for fd in opened:
            os.close(fd)
