"""New images from others, as values: nothing is run, unpacked or changed, and no privilege is needed.

Every function gives the view of another image. Layers it makes are in the blob store that was given; the two
documents are in the view alone, until `keep` puts them beside the layers. Equal input gives equal digests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from attrs import evolve

from pycontainer.errors import InvalidInput
from pycontainer.image.blobs import BlobSink, BlobSource, BlobStore
from pycontainer.image.compression import Compression
from pycontainer.image.layerwriter import LAYER_TYPES, LayerWriter, WrittenLayer
from pycontainer.image.merged import MergedTree
from pycontainer.image.mutate import EPOCH, write_layer
from pycontainer.image.view import ImageView
from pycontainer.layers import HEAD_SIZE, detect, open_decoder
from pycontainer.oci import (
    ContainerConfig,
    Descriptor,
    Digest,
    Hasher,
    History,
    ImageConfig,
    Manifest,
    Platform,
    encode,
    mediatype,
)

__all__ = ["derived", "keep", "rebased", "recompressed", "scratch", "squashed"]

COPY_SIZE = 1 << 20
PARALLEL_LAYERS = 4
T = TypeVar("T")
_DOCKER_LAYERS = {"plain": mediatype.DOCKER_LAYER, "gzip": mediatype.DOCKER_LAYER_GZIP}


def scratch(source: BlobSource, platform: Platform | None = None) -> ImageView:
    """The image without a layer, for a platform (default: this host's)."""
    platform = platform or Platform.host()
    config = ImageConfig(
        created=EPOCH, os=platform.os, architecture=platform.architecture, variant=platform.variant
    )
    return _view(source, Manifest(config=Descriptor.of(b"", mediatype.OCI_CONFIG)), config)


def derived(
    view: ImageView,
    *,
    layer: WrittenLayer | None = None,
    config: ContainerConfig | None = None,
    step: History | None = None,
    platform: Platform | None = None,
    annotations: Mapping[str, str] | None = None,
    author: str | None = None,
) -> ImageView:
    """The image with one more layer, other defaults, another platform, annotations or author, and the step
    which tells so in its history. The image's time of creation becomes that of the step.

    A manifest of Docker's type stays one, unless the layer is zstd, which only OCI's know.
    """
    made = view.config
    manifest = evolve(view.manifest, subject=None)
    if platform is not None:
        made = evolve(made, os=platform.os, architecture=platform.architecture, variant=platform.variant)
    if config is not None:
        made = evolve(made, config=config)
    if author is not None:
        made = evolve(made, author=author)
    if annotations is not None:
        manifest = evolve(manifest, annotations=annotations)
    if step is not None:
        made = evolve(made, created=step.created, history=(*_complete_history(made), step))
    if layer is not None:
        made = evolve(made, diff_ids=(*made.diff_ids, layer.diff_id))
        manifest = _with_layers(manifest, (*manifest.layers, layer.descriptor))
    if made is view.config:
        return ImageView(encode(manifest), view.config_bytes, view.source)
    return _view(view.source, manifest, made)


def rebased(view: ImageView, old: ImageView, new: ImageView) -> ImageView:
    """The image with the layers of `old`, on which it was made, replaced by those of `new`.

    What it has of the old base's environment, labels, ports, volumes and other defaults becomes the new
    one's; what it set itself stays.
    Raises: InvalidInput if the old base is not what it begins with, or the platforms differ.
    """
    _check_begins(view, old)
    count = len(old.diff_ids)
    if view.platform.normalized() != new.platform.normalized():
        raise InvalidInput(f"image {view.id} is for {view.platform}, and {new.id} for {new.platform}")
    own_steps = _steps_above(_complete_history(view.config), count, _complete_history(old.config))
    made = evolve(
        view.config,
        config=_merged_config(view.config.config, old.config.config, new.config.config),
        diff_ids=(*new.diff_ids, *view.diff_ids[count:]),
        history=(*_complete_history(new.config), *own_steps),
    )
    manifest = _with_layers(view.manifest, (*new.layers, *view.layers[count:]))
    return _view(view.source, evolve(manifest, subject=None), made)


def squashed(
    blobs: BlobStore,
    view: ImageView,
    compression: str | Compression = "gzip",
    *,
    base: ImageView | None = None,
) -> ImageView:
    """The image with all its layers in one, which has no whiteouts and nothing of what they hid.

    base: an image whose layers it begins with, and which stay.
    Raises: InvalidImage for a layer that is broken or beyond the limits of unpacking; InvalidInput if it does
    not begin with the base's layers.
    """
    count = 0
    below: tuple[History, ...] = ()
    if base is not None:
        _check_begins(view, base)
        count, below = len(base.diff_ids), _complete_history(base.config)
    squashes = len(view.layers) - count
    if squashes < 2:
        return view
    tree = MergedTree.of(view)
    layer = write_layer(blobs, lambda out: tree.write(view, out, above=count), compression)
    own = _steps_above(_complete_history(view.config), count, below) if base else view.config.history
    told = tuple(evolve(step, empty_layer=True) for step in own)
    step = History(created=view.config.created or EPOCH, created_by=f"squash {squashes} layers")
    made = evolve(
        view.config, diff_ids=(*view.diff_ids[:count], layer.diff_id), history=(*below, *told, step)
    )
    manifest = _with_layers(evolve(view.manifest, subject=None), (*view.layers[:count], layer.descriptor))
    return _view(view.source, manifest, made)


def _check_begins(view: ImageView, base: ImageView) -> None:
    if view.diff_ids[: len(base.diff_ids)] != base.diff_ids:
        raise InvalidInput(
            f"image {view.id} does not begin with the layers of {base.id}; give the base it has"
        )


def recompressed(
    blobs: BlobStore,
    view: ImageView,
    compression: str | Compression,
    *,
    force: bool = False,
    kept: Collection[Digest] = (),
) -> ImageView:
    """The same image with layers compressed otherwise: its id and the content of its layers stay.

    Layers that have the kind of compression already are left as they are; force does them again. Foreign
    layers, and those that are to be kept, stay as they are. Several layers are compressed at once.
    Raises: DigestMismatch for a layer that is not what the configuration says.
    """
    chosen = Compression.parse(compression)

    def convert(number: int) -> Descriptor:
        layer = view.layers[number]
        is_there = mediatype.compression_of(layer.media_type) == chosen.kind and not force
        if is_there or layer.digest in kept or mediatype.is_foreign(layer.media_type):
            return layer
        return _recompress(blobs, view, number, chosen).descriptor

    layers = _on_threads(convert, range(len(view.layers)))
    if tuple(layers) == view.layers:
        return view
    manifest = _with_layers(evolve(view.manifest, layers=(), subject=None), layers)
    return ImageView(encode(manifest), view.config_bytes, view.source)


def keep(view: ImageView, sink: BlobSink) -> None:
    """Put the documents of an image where its layers are."""
    sink.put(view.config_bytes)
    sink.put(view.manifest_bytes)


def _view(source: BlobSource, manifest: Manifest, config: ImageConfig) -> ImageView:
    config_bytes = encode(config)
    described = Descriptor.of(config_bytes, manifest.config.media_type)
    return ImageView(encode(evolve(manifest, config=described)), config_bytes, source)


def _with_layers(manifest: Manifest, layers: Sequence[Descriptor]) -> Manifest:
    """The manifest with these layers, which may be of OCI's types and of Docker's: they become one's."""
    kinds = [mediatype.compression_of(layer.media_type) for layer in layers]
    is_docker = manifest.media_type == mediatype.DOCKER_MANIFEST and "zstd" not in kinds
    types = _DOCKER_LAYERS if is_docker else LAYER_TYPES
    converted = tuple(
        layer
        if kind is None or mediatype.is_foreign(layer.media_type)
        else evolve(layer, media_type=types[kind])
        for layer, kind in zip(layers, kinds, strict=True)
    )
    if is_docker or manifest.media_type != mediatype.DOCKER_MANIFEST:
        return evolve(manifest, layers=converted)
    config = evolve(manifest.config, media_type=mediatype.OCI_CONFIG)
    return evolve(manifest, media_type=mediatype.OCI_MANIFEST, config=config, layers=converted)


def _recompress(blobs: BlobStore, view: ImageView, number: int, compression: Compression) -> WrittenLayer:
    layer, diff_id = view.layers[number], view.diff_ids[number]
    hasher = Hasher.like(diff_id)
    with view.open_blob(layer) as blob, LayerWriter(compression) as out:
        head = blob.read(HEAD_SIZE)
        decoder = open_decoder(detect(head), blob, head=head)
        while chunk := decoder.read(COPY_SIZE):
            hasher.update(chunk)
            out.write(chunk)
        hasher.check(diff_id, hasher.size, f"layer {layer.digest}")
        return out.store(blobs)


def _on_threads(work: Callable[[int], T], numbers: Sequence[int]) -> list[T]:
    if len(numbers) < 2:
        return [work(number) for number in numbers]
    with ThreadPoolExecutor(PARALLEL_LAYERS, thread_name_prefix="pycontainer-compress") as pool:
        return list(pool.map(work, numbers))


def _complete_history(config: ImageConfig) -> tuple[History, ...]:
    """The history with a step for each layer; it is optional, and readers count its steps."""
    told = sum(not step.empty_layer for step in config.history)
    missing = len(config.diff_ids) - told
    return (*(History(created=config.created or EPOCH) for _ in range(missing)), *config.history)


def _steps_above(steps: Sequence[History], layers: int, base_steps: Sequence[History]) -> tuple[History, ...]:
    """The steps that were taken above a base of so many layers."""
    if tuple(steps[: len(base_steps)]) == tuple(base_steps):
        return tuple(steps[len(base_steps) :])
    count = 0
    while layers and count < len(steps):
        layers -= not steps[count].empty_layer
        count += 1
    return tuple(steps[count:])


def _merged_config(own: ContainerConfig, old: ContainerConfig, new: ContainerConfig) -> ContainerConfig:
    changes: dict[str, object] = {
        "env": tuple(f"{name}={value}" for name, value in _merged(*map(_variables, (own, old, new))).items()),
        "labels": _merged(own.labels, old.labels, new.labels),
    }
    for name in ("exposed_ports", "volumes"):
        sides = (dict.fromkeys(getattr(side, name), "") for side in (own, old, new))
        changes[name] = tuple(_merged(*sides))
    # The command is the entrypoint's arguments: one without the other means something else.
    if (own.entrypoint, own.cmd) == (old.entrypoint, old.cmd):
        changes |= {"entrypoint": new.entrypoint, "cmd": new.cmd}
    for name in ("user", "working_dir", "stop_signal", "healthcheck", "shell", "on_build"):
        if getattr(own, name) == getattr(old, name):
            changes[name] = getattr(new, name)
    return evolve(own, **changes)  # type: ignore[arg-type]  # fields of the same class


def _variables(config: ContainerConfig) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in config.env)


def _merged(own: Mapping[str, str], old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """The new base's entries with what was changed between the old base and the image."""
    result = dict(new)
    for name in old:
        if name not in own:
            result.pop(name, None)
    for name, value in own.items():
        if old.get(name) != value:
            result[name] = value
    return result
