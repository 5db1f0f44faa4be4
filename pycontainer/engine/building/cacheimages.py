"""The cache of builds carried elsewhere: an image whose layers are those of steps, with the keys beside them.

Theory of operation. The keys stand in the configuration of an image, of the built one itself ("inline"), or
of one made for that, in a registry or an OCI layout. Whoever imports it reads that document; a layer is
fetched when a step comes to its key, and what its bytes are is checked against the digest of its tar as for
any image.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from pycontainer.build import Layer
from pycontainer.engine.building.documents import stored_view
from pycontainer.errors import InvalidOption, NotFound, RegistryError
from pycontainer.image import ImageView, Layout, copy_blob
from pycontainer.oci import Descriptor, Digest, ImageConfig, Platform, Reference, parse_digest

if TYPE_CHECKING:
    from pycontainer.engine.building.worker import EngineWorker

__all__ = ["CachePlace", "Imported", "export_cache", "import_cache", "understood_caches", "with_keys"]

_FIELD = "pycontainer.buildcache.v1"
_TYPES = ("inline", "local", "registry")
_KEYS = {"type", "ref", "src", "dest", "mode", "ignore-error"}
_ALWAYS = ("image-manifest", "oci-mediatypes")  # what a cache here is in any case
_MAX_STEPS = 10_000


@frozen(kw_only=True)
class CachePlace:
    """Where a cache is brought from or to. kind: inline, local, registry; place: a reference or a path.

    has_all: the steps of all stages, not only those whose layers the image has. ignores_errors: a cache that
    cannot be written is warned of.
    """

    kind: str
    place: str = ""
    has_all: bool = False
    ignores_errors: bool = False


def understood_caches(
    given: Sequence[str | Mapping[str, str]] | str | Mapping[str, str], option: str
) -> tuple[CachePlace, ...]:
    """From "type=local,src=DIR" (dest= to export), "type=registry,ref=NAME,mode=max", "type=inline", a
    reference.

    Raises: InvalidOption.
    """
    if isinstance(given, (str, Mapping)):
        given = [given]
    return tuple(_place(item, option) for item in given)


def _place(item: str | Mapping[str, str], option: str) -> CachePlace:
    if isinstance(item, str) and "=" not in item:
        item = {"type": "registry", "ref": item}
    if isinstance(item, str):
        item = {name.strip(): value for name, _, value in (pair.partition("=") for pair in item.split(","))}
    for name in {*_ALWAYS, "ignore-error"} & set(item):
        if item[name] not in ("true", "false") or (name in _ALWAYS and item[name] == "false"):
            raise InvalidOption(f"option {option}: {name}={item[name]!r} is not to be had; leave it out")
    if unknown := set(item) - _KEYS - set(_ALWAYS):
        raise InvalidOption(f"option {option}: {min(unknown)!r} is not one of {', '.join(sorted(_KEYS))}")
    kind = item.get("type", "registry")
    if kind not in _TYPES:
        raise InvalidOption(f"option {option}: type {kind!r} is not one of {', '.join(_TYPES)}")
    if item.get("mode", "min") not in ("min", "max"):
        raise InvalidOption(f"option {option}: mode {item['mode']!r} is neither min nor max")
    place = item.get("ref", "") if kind == "registry" else item.get("dest") or item.get("src") or ""
    if kind == "inline" and option == "cache_from":
        raise InvalidOption("option cache_from: an inline cache is in an image; give type=registry,ref=NAME")
    if kind != "inline" and not place:
        raise InvalidOption(
            f"option {option}: type={kind} needs {'ref' if kind == 'registry' else 'src or dest'}="
        )
    if kind == "registry":
        Reference.parse(place)
    return CachePlace(
        kind=kind,
        place=place,
        has_all=item.get("mode") == "max",
        ignores_errors=item.get("ignore-error") == "true",
    )


@frozen
class _Known:
    """A layer that can be had: the image it is in, and what its step said."""

    view: ImageView
    reference: Reference | None
    descriptor: Descriptor
    diff_id: Digest
    created: str


class Imported:
    """Layers of steps that are elsewhere, by key."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def add(self, view: ImageView, reference: Reference | None) -> None:
        """Take in what a configuration says; what is malformed in it is passed over."""
        steps = view.config.extra.get(_FIELD)
        if not isinstance(steps, (list, tuple)):
            return
        by_diff_id = dict(zip(view.diff_ids, view.layers, strict=True))
        for step in steps[:_MAX_STEPS]:
            if (
                not isinstance(step, (list, tuple))
                or len(step) != 3
                or not all(isinstance(x, str) for x in step)
            ):
                continue
            key, diff_id, created = step
            descriptor = by_diff_id.get(Digest(diff_id))
            if descriptor is not None:
                found = _Known(view, reference, descriptor, parse_digest(diff_id), created)
                self._known.setdefault(key, found)

    def brought(self, worker: EngineWorker, key: str) -> Layer | None:
        """The layer of a step, fetched and unpacked; None if nobody has it, or has it no more."""
        known = self._known.get(key)
        if known is None:
            return None
        content = worker.engine.store.content
        try:
            if known.reference is None:
                copy_blob(known.view.source, content, known.descriptor)
            else:
                worker.engine.registries.fetch(known.reference, known.descriptor, content)
        except (NotFound, RegistryError):
            return None
        snapshot = worker.unpacked(known.descriptor, known.diff_id)
        return Layer(
            diff_id=known.diff_id, descriptor=known.descriptor, snapshot=snapshot, created=known.created
        )


def import_cache(worker: EngineWorker, places: Iterable[CachePlace], platform: Platform) -> Imported:
    """What these places have; one that is not there yet has nothing."""
    imported = Imported()
    for place in places:
        try:
            if place.kind == "registry":
                reference = Reference.parse(place.place)
                found = worker.engine.registries.resolve(reference, platform)
                view = ImageView(found.manifest_bytes, found.config_bytes, worker.engine.store.content)
                imported.add(view, reference)
            else:
                layout = Layout(place.place)
                for entry in layout.index.manifests:
                    imported.add(ImageView.load(layout, entry), None)
        except NotFound as error:
            worker.warn(f"cache_from {place.place}: {error}")
    return imported


def with_keys(config: ImageConfig, layers: Sequence[Layer], keys: Mapping[str, Layer]) -> ImageConfig:
    """The configuration with the keys of the steps that made these layers."""
    there = {layer.diff_id for layer in layers}
    steps = [[key, layer.diff_id, layer.created] for key, layer in keys.items() if layer.diff_id in there]
    return evolve(config, extra={**config.extra, _FIELD: sorted(steps)})


def export_cache(
    worker: EngineWorker,
    place: CachePlace,
    layers: Sequence[Layer],
    keys: Mapping[str, Layer],
    platform: Platform,
) -> None:
    """Write the steps of a build, with their layers, to a registry or an OCI layout. keys: of all steps."""
    wanted = {layer.diff_id for layer in layers}
    chosen = {
        layer.diff_id: layer
        for layer in keys.values()
        if layer.descriptor.digest and (place.has_all or layer.diff_id in wanted)
    }
    config = ImageConfig(
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant,
        diff_ids=tuple(chosen),
    )
    kept = list(chosen.values())
    view = stored_view(
        worker.engine, with_keys(config, kept, keys), [layer.descriptor for layer in kept], annotations={}
    )
    if place.kind == "registry":
        worker.engine.registries.push(
            Reference.parse(place.place), worker.engine.store.content, view.descriptor
        )
    else:
        os.makedirs(place.place, exist_ok=True)
        Layout.create(place.place).add(view, (Reference.parse("cache"),))
