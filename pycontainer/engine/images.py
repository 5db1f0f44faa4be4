"""Images as objects: immutable, known by the digest of their configuration, shared by all containers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, final

from attrs import fields, frozen

from pycontainer.engine.buildable import Buildable
from pycontainer.engine.engine import Engine, current_engine
from pycontainer.engine.events import emit_image
from pycontainer.engine.sendable import Sendable
from pycontainer.errors import BadReference, InvalidInput, NotFound, PycontainerError
from pycontainer.oci import DEFAULT_TAG, Platform, Reference
from pycontainer.values import Value

if TYPE_CHECKING:
    from pycontainer.engine.filters import FilterValues
    from pycontainer.engine.pruning import Pruned
    from pycontainer.image import ArchivedImage, Files, OnEvent
    from pycontainer.oci import ContainerConfig, ImageConfig
    from pycontainer.options import RunOptions
    from pycontainer.store import ImageRecord, SnapshotKey

__all__ = ["HistoryEntry", "Image", "engine_for", "ready", "resolve_image"]


@frozen(kw_only=True, eq=False, repr=False)
class HistoryEntry(Value):
    """One step of how an image was made.

    size_bytes: what its files take; what its compressed layer does, as long as that is not unpacked.
    """

    created: str
    created_by: str
    size_bytes: int
    comment: str = ""


@final
class Image(Buildable, Sendable):
    """An image in the store. Equal when the id is equal; the names are read anew each time."""

    # -- where images come from ------------------------------------------------------------------

    @classmethod
    def pull(
        cls,
        reference: str,
        *,
        platform: str | None = None,
        on_event: OnEvent | None = None,
        engine: Engine | None = None,
    ) -> Image:
        """Bring an image from its registry, unpack it and give it its name.

        reference: as "alpine:3.20", "ghcr.io/owner/name@sha256:…"; Docker's rules fill what is missing.
        platform: as "linux/arm64"; default this host's. "all": every image of an index, of which this host's
        (or the first) is unpacked and returned, the others by `Image.get(name, platform=...)`. on_event:
        called with each Progress, from several threads; without it a progress bar is drawn where someone
        watches.
        Raises: BadReference, NotFound, AuthDenied, RegistryError, IntegrityError, InvalidImage.
        """
        from pycontainer.engine.pulling import pull

        engine = engine or current_engine()
        name = Reference.parse(reference)
        is_whole = platform == "all"
        wanted = None if platform is None or is_whole else Platform.parse(platform)
        from pycontainer.engine.progress import events_shown

        with events_shown(engine, on_event) as show:
            pulled = cls(engine, pull(engine, name, wanted, show, is_whole=is_whole))
        emit_image(engine, "pull", name.familiar, name.familiar_repository)
        return pulled

    @classmethod
    def get(cls, key: str, *, platform: str | None = None, engine: Engine | None = None) -> Image:
        """The image of this name, id, or unique beginning of an id.

        platform: which of several that have the name, as "linux/arm64"; default this host's, or the one that
        was there first. Raises: NotFound, InvalidInput.
        """
        engine = engine or current_engine()
        record = engine.store.find_image(key)
        if platform is not None:
            from pycontainer.engine.platforms import of_platform

            record = of_platform(engine, record, Platform.parse(platform))
        return cls(engine, record)

    @classmethod
    def pull_all(
        cls,
        repository: str,
        *,
        platform: str | None = None,
        on_event: OnEvent | None = None,
        engine: Engine | None = None,
    ) -> _Images:
        """Pull every tag of a repository, as `docker pull --all-tags`.

        Raises: as pull; BadReference for a name with a tag.
        """
        engine = engine or current_engine()
        name = Reference.parse(repository)
        if str(name) != f"{name.repository}:{DEFAULT_TAG}" or repository.endswith(f":{DEFAULT_TAG}"):
            raise BadReference(f"{repository!r} names one image; leave tag and digest out to pull all tags")
        return [
            cls.pull(str(name.with_tag(tag)), platform=platform, on_event=on_event, engine=engine)
            for tag in engine.registries.tags(name)
        ]

    @classmethod
    def list(cls, *, filters: FilterValues | None = None, engine: Engine | None = None) -> list[Image]:
        """The images of the store, the newest first.

        filters: dangling (without a name), label and label! ("key" or "key=value"), reference (a pattern of
        names, as "ghcr.io/*/app:1*"), before and since (an image), until (a moment, or a duration that has
        passed). Times are those at which images came here. Raises: InvalidInput for another one; NotFound.
        """
        from pycontainer.engine.imagelisting import listed

        engine = engine or current_engine()
        return [cls(engine, record) for record in listed(engine, filters)]

    @classmethod
    def from_directory(
        cls,
        path: str | os.PathLike[str],
        *,
        tags: Sequence[str] = (),
        platform: str | None = None,
        compression: str = "gzip",
        engine: Engine | None = None,
        **config: Any,
    ) -> Image:
        """An image whose one layer is this directory, with owners, modes, times and attributes.

        platform: which it is for, as "linux/arm64"; default this host's. compression: as in recompress.
        config: entrypoint, cmd, env, user, working_dir, labels, stop_signal of the image.
        Equal directories give equal ids.
        """
        from pycontainer.image import from_directory

        engine = engine or current_engine()
        given = _layer_options(platform, compression, config)
        return cls._import(engine, tags, lambda blobs: from_directory(blobs, path, **given))

    @classmethod
    def from_tar(
        cls,
        tar: str | os.PathLike[str] | bytes | BinaryIO,
        *,
        tags: Sequence[str] = (),
        platform: str | None = None,
        compression: str = "gzip",
        changes: Sequence[str] = (),
        message: str = "",
        engine: Engine | None = None,
        **config: Any,
    ) -> Image:
        """An image of a root file system's tar: a path, the bytes, or a stream; gz, zst, xz, bz2 or plain.

        changes: Dockerfile instructions, as Container.commit takes them. message: the comment on its step.
        platform, compression, config: as from_directory. Raises: InvalidImage, InvalidInput.
        """
        from pycontainer.image import from_tar

        engine = engine or current_engine()
        given = _layer_options(platform, compression, config)
        if changes:
            from pycontainer.engine.instructions import apply_instructions
            from pycontainer.oci import ContainerConfig

            given["config"] = apply_instructions(given["config"] or ContainerConfig(), changes)
        return cls._import(engine, tags, lambda blobs: from_tar(blobs, tar, comment=message, **given))

    @classmethod
    def from_host(
        cls,
        programs: Sequence[str],
        *,
        paths: Sequence[str] = (),
        files: Files | None = None,
        tags: Sequence[str] = (),
        engine: Engine | None = None,
        **config: Any,
    ) -> Image:
        """An image of programs of this host and the libraries they load; needs no network.

        programs: names in PATH, or paths. paths: further files and directories to take along. files:
        path in the image to content. config: as from_directory. Raises: NotFound naming the program.
        """
        from pycontainer.image import from_host

        engine = engine or current_engine()
        given = _config(config)
        return cls._import(
            engine, tags, lambda blobs: from_host(blobs, programs, paths=paths, files=files, config=given)
        )

    @classmethod
    def scratch(cls, platform: str | None = None, *, engine: Engine | None = None) -> Image:
        """The image without a layer, to which files and settings are added. platform: default this host's."""
        from pycontainer.image import scratch

        engine = engine or current_engine()
        wanted = None if platform is None else Platform.parse(platform)
        made = cls(engine, None)
        made._made = scratch(engine.store.content, wanted)
        return made

    @classmethod
    def _import(cls, engine: Engine, tags: Sequence[str], make: Any) -> Image:
        from pycontainer.engine.pulling import import_view

        names = [_tag_name(tag) for tag in tags]
        with engine.store.lease("make an image") as lease:
            made = cls(engine, import_view(engine, make(engine.store.content), names, lease))
        emit_image(engine, "import", made.id, names[0].familiar if names else "")
        return made

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] | bytes | BinaryIO,
        *,
        platform: str | None = None,
        engine: Engine | None = None,
    ) -> _Images:
        """The images of an OCI layout directory, oci-archive or docker-archive, with their names.

        platform: which one of an image of several, as "linux/arm64"; default this host's.
        source: a path, the bytes or a stream; gzip, zstd, xz or plain. Which it is, is seen from the content.
        Raises: InvalidImage, DigestMismatch, NotFound.
        """
        from pycontainer.engine.pulling import import_view

        engine = engine or current_engine()
        loaded = []
        wanted = None if platform is None else Platform.parse(platform)
        with engine.store.lease("load images") as lease, _opened(source, wanted) as found:
            for image in found:
                loaded.append(cls(engine, import_view(engine, image.view, image.names, lease)))
                emit_image(engine, "load", loaded[-1].id)
        return loaded

    # -- what it is ------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """sha256 digest of its configuration, as `docker images` of the classic store shows it."""
        return self._stored.id if self._stored is not None else self.view.id

    @property
    def manifest_digest(self) -> str:
        """Digest of its manifest, by which a registry knows this one platform of it."""
        return self._stored.manifest_digest if self._stored is not None else self.view.descriptor.digest

    @property
    def digest(self) -> str:
        """Digest of what was pulled: the index where there is one, else the manifest."""
        return self._record.target_digest

    @property
    def tags(self) -> tuple[str, ...]:
        """Its names, in the short form; sorted."""
        names = [Reference.parse(tag.name) for tag in self._engine.store.state.images.tags(self.id)]
        return tuple(name.familiar for name in names if name.tag is not None)

    @property
    def name(self) -> str:
        """Its first tag, or the beginning of its id."""
        tags = self.tags
        return tags[0] if tags else self.id[7:19]

    @property
    def size_bytes(self) -> int:
        """Bytes of its manifest, configuration and compressed layers."""
        return self._record.size

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of the files of its layers, as they lie unpacked in the store."""
        layers = self._engine.store.state.layers
        return sum(found.size for key in set(self.snapshots) if (found := layers.get(key)) is not None)

    @property
    def platform(self) -> str:
        """As "linux/amd64"."""
        return str(self.view.platform) if self._stored is None else self._stored.platform

    @property
    def platforms(self) -> tuple[str, ...]:
        """Those of all images that share its name and are here; see get."""
        if self._stored is None:
            return (self.platform,)
        from pycontainer.engine.platforms import listed

        found = listed(self._engine, self._stored).manifests
        known = [entry.platform.normalized() for entry in found if entry.platform is not None]
        return tuple(str(each) for each in known if each.architecture != "unknown")

    @property
    def created_at(self) -> datetime:
        """When it came into this store, UTC."""
        return datetime.fromtimestamp(self._record.created_at, UTC)

    @property
    def config(self) -> ImageConfig:
        """Its configuration: environment, command, user, layers, history."""
        return self.view.config

    @property
    def snapshots(self) -> tuple[SnapshotKey, ...]:
        """Keys of its unpacked layers, bottom first."""
        return self._record.snapshots

    def inspect(self) -> dict[str, Any]:
        """What `docker image inspect` shows."""
        from pycontainer.engine import views

        return views.image_document(self._engine, self._record, self.config)

    def attestations(self) -> tuple[Mapping[str, Any], ...]:
        """The in-toto statements (provenance, SBOM) that it was built with; () for none, or none here.

        One of a registry's image is read by RemoteImage.attestations.
        """
        from pycontainer.engine.attestations import statements
        from pycontainer.engine.platforms import index_of

        found = index_of(self._engine, self._stored) if self._stored is not None else None
        if found is None:
            return ()
        return statements(found[1], self.manifest_digest, self._engine.store.content)

    def sbom(self) -> dict[str, Any]:
        """What software it contains, as an SPDX 2.3 document.

        Packages of dpkg, apk, rpm, Python, npm, Java and Go in the image as it is now; it need not be built
        here.
        Equal images of one name give equal documents.
        """
        from pycontainer.engine.inventories import spdx_document

        record = ready(self._engine, self, "")._record
        layers = self._engine.store.lower_dirs(record.snapshots) if record.snapshots else []
        created = self.config.created
        return spdx_document(self._engine, layers, name=self.name, digest=self.id, created=created)

    def history(self) -> tuple[HistoryEntry, ...]:
        """How it was made, oldest first."""
        sizes = iter(self._layer_sizes())
        return tuple(
            HistoryEntry(
                created=step.created,
                created_by=step.created_by,
                comment=step.comment,
                size_bytes=0 if step.empty_layer else next(sizes, 0),
            )
            for step in self.config.history
        )

    def _layer_sizes(self) -> Sequence[int]:
        """Bytes that each layer takes, the lowest first."""
        found = map(self._engine.store.state.layers.get, self.snapshots)
        unpacked = [layer.size for layer in found if layer is not None]
        stored = [layer.size for layer in self.view.layers]
        return unpacked if len(unpacked) == len(stored) else stored

    # -- what is done with it --------------------------------------------------------------------

    def tag(self, name: str) -> Image:
        """Give it another name, taking that from whatever had it; returns this image."""
        reference = _tag_name(name)
        self._engine.store.state.images.tag(str(reference), self.id, self._record.target_digest)
        emit_image(self._engine, "tag", self.id, reference.familiar)
        return self

    def untag(self, name: str) -> None:
        """Take one of its names away; the image stays, also without any. Raises: NotFound."""
        reference = _tag_name(name)
        if reference.familiar not in self.tags or not self._engine.store.state.images.untag(str(reference)):
            raise NotFound(f"image {self.name} has no name {name!r}")
        emit_image(self._engine, "untag", self.id, reference.familiar)

    def remove(self, name: str | None = None, *, platform: str | None = None, force: bool = False) -> None:
        """Remove one of its names, or the image itself; with its last name the image goes, too.

        platform: in place of a name, the image for it that shares this one's name, as "linux/arm64".
        force: also when it has several names, or containers were made from it: then it loses its names, and
        stays for them, to be pruned when they are gone.
        Raises: InUse naming what needs it; NotFound; InvalidInput for name and platform.
        """
        if platform is not None:
            if name is not None:
                raise InvalidInput("name and platform: give one of them")
            if self._stored is None:
                raise NotFound(f"image {self.id} is not in the store, for {platform} or any other platform")
            from pycontainer.engine.platforms import remove_platform

            remove_platform(self._engine, self._stored, Platform.parse(platform), force=force)
            return
        from pycontainer.engine.pruning import remove_image

        remove_image(self._engine, self.id if name is None else str(_tag_name(name)), force=force)

    @classmethod
    def prune(
        cls, *, all: bool = False, filters: FilterValues | None = None, engine: Engine | None = None
    ) -> Pruned:
        """Remove the images without a name, or all that no container uses, and what nothing needs.

        filters: until (made before that time: a moment, or a duration that has passed), label and label!
        ("key" or "key=value"), dangling (False is all=True). Raises: InvalidInput for another one.
        """
        from pycontainer.engine.pruning import prune_images

        return prune_images(engine or current_engine(), all, filters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def _repr_html_(self) -> str:
        from pycontainer.engine.displays import image_html  # only in notebooks

        return image_html(self)

    def __repr__(self) -> str:
        try:
            name = self.name
        except PycontainerError:  # the engine is closed: its id is still known
            name = ""
        return f"Image({name!r}, id={self.id[:19]!r})"


_Images: TypeAlias = list[Image]  # inside the class, `list` is its own method


def engine_for(image: str | Image, engine: Engine | None) -> Engine:
    """The engine that is to run an image: the one given, else the current one if that has its store.

    Else the image's own: a thread that is started in a `with` block is not in it.
    """
    if engine is not None:
        return engine
    current = current_engine()
    if isinstance(image, Image) and image._engine.root != current.root:
        return image._engine
    return current


def resolve_image(engine: Engine, image: str | Image, options: RunOptions) -> Image:
    """The image to run, ready to be: as given, from the store, or pulled as options.pull says."""
    return ready(engine, _choose(engine, image, options), image if isinstance(image, str) else "")


def ready(engine: Engine, chosen: Image, name: str) -> Image:
    """An image of the store that may be run under this name, unpacked. Raises: UntrustedImage."""
    if engine.policy is not None:
        from pycontainer.engine.trusting import check_run

        check_run(engine, chosen._record, name)
    if engine.store.is_unpacked(chosen._record):
        return chosen
    from pycontainer.engine.pulling import unpack_again  # only for what is not unpacked

    return Image(engine, unpack_again(engine, chosen._record, chosen.view))


def _choose(engine: Engine, image: str | Image, options: RunOptions) -> Image:
    if isinstance(image, Image):
        here = image if image._engine.root == engine.root else Image.get(image.id, engine=engine)
        return here if options.platform is None else here._of_platform(options.platform)
    if options.pull != "always":
        try:
            return _in_store(engine, image, options.platform)
        except NotFound:
            if options.pull == "never":
                raise
    return Image.pull(image, platform=options.platform, engine=engine)


def _in_store(engine: Engine, name: str, platform: str | None) -> Image:
    """The store's image of a name, for a platform. Raises: NotFound, also if the lock file pins another."""
    found = engine.store.find_image(name)
    if not _is_pinned(engine, found, name):
        raise NotFound(f"the store has {name} by another digest than {engine.config.lock} pins; pull it")
    chosen = Image(engine, found)
    return chosen if platform is None else chosen._of_platform(platform)


def _is_pinned(engine: Engine, record: ImageRecord, name: str) -> bool:
    """Whether a name stands for what the engine's lock file says, or there is none, or it is an id."""
    if engine.config.lock is None:
        return True
    from pycontainer.engine.locking import pinned

    names = {tag.name for tag in engine.store.state.images.tags(record.id)}
    try:
        reference = Reference.parse(name)
    except BadReference:
        return True
    if str(reference) not in names:
        return True
    return pinned(engine, reference).digest in (None, record.target_digest, record.manifest_digest)


def _tag_name(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.digest is not None:
        raise BadReference(f"{text!r} names a digest, which no tag can change; leave the digest out")
    return reference


def _layer_options(platform: str | None, compression: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "platform": None if platform is None else Platform.parse(platform),
        "compression": compression,
        "config": _config(config),
    }


def _config(given: Mapping[str, Any]) -> ContainerConfig | None:
    from pycontainer.oci import ContainerConfig

    if not given:
        return None
    known = {field.name for field in fields(ContainerConfig)} - {"extra"}
    unknown = set(given) - known
    if unknown:
        raise TypeError(f"unknown image setting {min(unknown)!r}; there are {', '.join(sorted(known))}")
    values = dict(given)
    for name in ("entrypoint", "cmd", "shell", "env", "exposed_ports", "volumes", "on_build"):
        value = values.get(name)
        if isinstance(value, str):
            raise TypeError(f"{name}={value!r} is one string; give a list of them")
        if isinstance(value, Mapping):
            value = [f"{key}={item}" for key, item in value.items()]
        if value is not None:
            values[name] = tuple(value)
    return ContainerConfig(**values)


@contextmanager
def _opened(
    source: str | os.PathLike[str] | bytes | BinaryIO, platform: Platform | None
) -> Iterator[list[ArchivedImage]]:
    """The images of a layout directory or an archive, with their names."""
    from pycontainer.image import Archive, Layout, images_in_layout

    if isinstance(source, bytes):
        source = BytesIO(source)
    if isinstance(source, (str, os.PathLike)) and Path(source).is_dir():
        yield images_in_layout(Layout(source), platform)
        return
    with Archive(source) as archive:
        yield archive.images(platform)
