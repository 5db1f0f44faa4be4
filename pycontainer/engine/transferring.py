"""Copies between registries, the store, layouts and archives: blob by blob, as they are, nothing unpacked.

Places are written as skopeo writes them. An index is copied with all it lists, so its digest stays, unless
one platform is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from attrs import frozen

from pycontainer.checkpoints import reached
from pycontainer.engine.attached import attach
from pycontainer.engine.engine import Engine, current_engine
from pycontainer.engine.images import Image
from pycontainer.engine.platforms import fetch_whole
from pycontainer.engine.progress import events_shown
from pycontainer.engine.pulling import record_view
from pycontainer.errors import InvalidInput
from pycontainer.image import (
    Archive,
    ImageView,
    Layout,
    Target,
    named_entries,
    write_docker_archive,
    write_oci_archive,
)
from pycontainer.oci import MANIFEST_LIMIT, Index, Platform, Reference, choose, decode_manifest

if TYPE_CHECKING:
    from pycontainer.image import OnEvent

__all__ = ["KILL_POINTS", "copy"]

KILL_POINTS = (
    "transfer.blobs.stored",  # all is in the store, nothing names it
    "transfer.image.recorded",  # the image is there, its name is not
)

TRANSPORTS = ("docker", "oci", "oci-archive", "docker-archive", "store")
"""As in skopeo, and store: for an engine's own images."""


@frozen(kw_only=True)
class _Place:
    """transport: of TRANSPORTS. path: of a file or directory. name: of the image there, or ""."""

    transport: str
    path: str = ""
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> _Place:
        transport, colon, rest = text.partition(":")
        if not colon or transport not in TRANSPORTS:
            return cls(transport="docker", name=text)
        if transport == "docker":
            if not rest.startswith("//"):
                raise InvalidInput(f"{text!r}: write docker://NAME")
            return cls(transport=transport, name=rest[2:])
        if transport == "store":
            return cls(transport=transport, name=rest)
        path, _, name = rest.partition(":")
        if not path:
            raise InvalidInput(f"{text!r}: write {transport}:PATH or {transport}:PATH:NAME")
        return cls(transport=transport, path=path, name=name)


def copy(
    source: str | Image,
    target: str,
    *,
    platform: str | None = None,
    on_event: OnEvent | None = None,
    engine: Engine | None = None,
) -> str:
    """Copy an image, an index with all its platforms, or an artifact; returns its digest at the target.

    source, target: "docker://NAME" (or the name alone) is in a registry, "oci:DIRECTORY[:NAME]" is an OCI
    layout, "oci-archive:FILE[:NAME]" and "docker-archive:FILE[:NAME]" are archives, "store:NAME" is this
    engine's store. platform: only that one, as "linux/arm64"; into a docker-archive and the store goes this
    host's unless one is given, or "all", which a docker-archive cannot hold. What the target has is not sent;
    between repositories of one registry blobs are mounted. Without a name in a layout or an archive the only
    image of the source is meant, and the target's has none.
    Raises: InvalidInput, NotFound, RegistryError, IntegrityError, OSError.
    """
    engine = engine or current_engine()
    to = _Place.parse(target)
    if platform == "all" and to.transport == "docker-archive":
        raise InvalidInput("a docker-archive holds one platform; name it, or copy to an oci-archive")
    wanted = None if platform in (None, "all") else Platform.parse(platform)
    if platform is None and to.transport in ("docker-archive", "store"):
        wanted = Platform.host()
    with (
        engine.store.lease(f"copy to {target}"),
        events_shown(engine, on_event) as show,
        ExitStack() as stack,
    ):
        found, origin = stack.enter_context(_opened(engine, source))
        if wanted is not None:
            found = _chosen(found, wanted)
        return _write(engine, found, origin, to, show)


@contextmanager
def _opened(engine: Engine, source: str | Image) -> Iterator[tuple[Target, Reference | None]]:
    """What is to be copied, and where it lies in a registry."""
    if isinstance(source, Image):
        yield source._whole(None, None), None
        return
    place = _Place.parse(source)
    if place.transport == "docker":
        reference = Reference.parse(place.name)
        client = engine.registries
        yield Target(client.source(reference), client.describe(reference)), reference
    elif place.transport == "store":
        with _opened(engine, Image.get(place.name, engine=engine)) as found:
            yield found
    elif place.transport == "oci":
        layout = Layout(place.path)
        entries = named_entries(layout.index.manifests, place.name or None, place.path)
        if len({entry.digest for entry in entries}) > 1:
            raise InvalidInput(f"{source}: several manifests have that name, and no index lists them")
        yield Target(layout, entries[0]), None
    else:
        with Archive(place.path) as archive:
            yield Target(archive, archive.target(place.name or None)), None


def _chosen(found: Target, platform: Platform) -> Target:
    """The manifest of one platform; what is no index is that one whatever it is for."""
    model = decode_manifest(found.source.read(found.descriptor, MANIFEST_LIMIT), found.descriptor.media_type)
    if not isinstance(model, Index):
        return found
    return _chosen(Target(found.source, choose(model, platform)), platform)


def _write(engine: Engine, found: Target, origin: Reference | None, to: _Place, show: OnEvent | None) -> str:
    if to.transport == "docker":
        reference = Reference.parse(to.name)
        same = origin is not None and origin.domain == reference.domain
        return engine.registries.push(
            reference,
            found.source,
            found.descriptor,
            mount_from=[origin.path] if origin is not None and same else (),
            on_event=show,
        )
    names = [Reference.parse(to.name)] if to.name else []
    if to.transport == "oci":
        layout = Layout.create(to.path)
        fetch_whole(engine, found, origin, layout, show)
        layout.name(found.descriptor, names)
    elif to.transport == "oci-archive":
        write_oci_archive(os.fspath(to.path), [(found, names)])
    elif to.transport == "docker-archive":
        write_docker_archive(to.path, [(ImageView.load(found.source, found.descriptor), names)])
    else:
        content = engine.store.content
        parts = fetch_whole(engine, found, origin, content, show)
        reached("transfer.blobs.stored")
        record = record_view(engine, ImageView.load(content, found.descriptor), found.descriptor.digest)
        attach(engine, record, parts)
        reached("transfer.image.recorded")
        for name in names:
            engine.store.state.images.tag(str(name), record.id, record.target_digest)
    return found.descriptor.digest
