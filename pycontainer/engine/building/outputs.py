"""What becomes of a built image besides its place in the store: pushed, archived, or its files written out.

Source: docker buildx build, --output.
"""

from __future__ import annotations

import os
import select
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from attrs import frozen

from pycontainer.build import BuildEvent
from pycontainer.errors import Conflict, InvalidInput, InvalidOption, KernelError, NotFound
from pycontainer.image import Compression, Layout, Target, whole_file, write_oci_archive
from pycontainer.oci import Reference

if TYPE_CHECKING:
    from pycontainer.engine.building.worker import EngineWorker
    from pycontainer.engine.images import Image
    from pycontainer.image import Progress
    from pycontainer.oci import Descriptor, Digest

__all__ = ["Output", "understood_outputs", "write_output"]

_CHUNK = 1 << 20
_TYPES = ("image", "registry", "local", "tar", "oci", "docker", "cacheonly")
_KEYS = {
    *("type", "dest", "name", "push", "push-by-digest", "tar", "platform-split"),
    *("compression", "compression-level", "force-compression"),
}
_ALWAYS = {
    "name-canonical": "an image is found by its digest",
    "oci-mediatypes": "manifests are OCI's",
    "rewrite-timestamp": "SOURCE_DATE_EPOCH holds for files, too",
    "store": "the image is in the store",
    "unpack": "layers are unpacked",
}
"""Keys that are true whatever they say, so that they cannot be asked to be false."""
_COMPRESSED = ("registry", "oci")


@frozen(kw_only=True)
class Output:
    """One output. dest: a path, or a stream to write to; names: where to push to, () for the tags. is_tar: a
    layout is in an archive. compression: of its layers, None as they are; is_forced: also of those that the
    base image had. by_digest: it is pushed without a tag. is_split: each of several platforms has a directory
    of its own.
    """

    kind: str
    dest: str | BinaryIO | None = None
    names: tuple[str, ...] = ()
    is_tar: bool = True
    compression: str | None = None
    is_forced: bool = False
    by_digest: bool = False
    is_split: bool = True


def understood_outputs(
    given: Sequence[str | Mapping[str, object]] | str | Mapping[str, object],
) -> list[Output]:
    """Outputs from "type=local,dest=out", a path (a directory), or mappings. Raises: InvalidOption."""
    if isinstance(given, (str, Mapping)):
        given = [given]
    return [_output(item) for item in given]


def _output(item: str | Mapping[str, object]) -> Output:
    fields = dict(item) if isinstance(item, Mapping) else _fields(item)
    known = _KEYS | set(_ALWAYS)
    if unknown := set(fields) - known:
        raise InvalidOption(f"option outputs: {min(unknown)!r} is not one of {', '.join(sorted(known))}")
    for name, reason in _ALWAYS.items():
        if not _is_true(name, fields.get(name, "true")):
            raise InvalidOption(f"option outputs: {name}=false is not to be had: {reason}; leave it out")
    kind = str(fields.get("type", "local"))
    if kind not in _TYPES:
        raise InvalidOption(f"option outputs: type {kind!r} is not one of {', '.join(_TYPES)}")
    if kind == "image" and _is_true("push", fields.get("push", "false")):
        kind = "registry"
    dest = fields.get("dest")
    if isinstance(dest, (str, os.PathLike)):
        dest = os.fspath(dest)
    elif dest is not None and not hasattr(dest, "write"):
        raise InvalidOption(f"option outputs: dest={dest!r} is neither a path nor a stream")
    if kind in ("local", "tar", "oci") and dest is None:
        raise InvalidOption(f"option outputs: type={kind} needs dest=PATH")
    names = tuple(name for name in str(fields.get("name", "")).split(",") if name)
    is_tar = _is_true("tar", fields.get("tar", "true"))
    if not is_tar and kind != "oci":
        raise InvalidOption(f"option outputs: type={kind} knows no tar=false, type=oci does")
    if not is_tar and not isinstance(dest, str):
        raise InvalidOption("option outputs: tar=false needs the path of a directory as dest")
    return Output(
        kind=kind,
        dest=dest,  # type: ignore[arg-type]
        names=names,
        is_tar=is_tar,
        compression=_compression(kind, fields),
        by_digest=_is_true("push-by-digest", fields.get("push-by-digest", "false")),
        is_split=_is_true("platform-split", fields.get("platform-split", "true")),
        is_forced=_is_true("force-compression", fields.get("force-compression", "false")),
    )


def _compression(kind: str, fields: Mapping[str, object]) -> str | None:
    """How the layers are to be compressed. Raises: InvalidOption."""
    name, level = fields.get("compression"), fields.get("compression-level")
    if name is None and level is None:
        return None
    if kind not in _COMPRESSED:
        raise InvalidOption(f"option outputs: type={kind} knows no compression")
    text = "plain" if name == "uncompressed" else str(name or "gzip")
    try:
        return str(Compression.parse(text if level is None else f"{text}:{level}"))
    except InvalidInput as error:
        raise InvalidOption(f"option outputs: {error}") from None


def _is_true(key: str, value: object) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise InvalidOption(f"option outputs: {key}={value!r} is neither true nor false")
    return str(value).lower() == "true"


def _fields(text: str) -> dict[str, object]:
    if "=" not in text:
        return {"type": "local", "dest": text}
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(equals for _, equals, _ in pairs):
        raise InvalidOption(f"option outputs: {text!r} is not like type=local,dest=PATH")
    return {name.strip(): value for name, _, value in pairs}


def write_output(
    worker: EngineWorker,
    image: Image,
    output: Output,
    target: Descriptor,
    base_layers: frozenset[Digest],
    layers: Mapping[str, Sequence[Path]],
) -> None:
    """Make one output.

    target: the manifest, or the index of several. base_layers: of the images it was begun with. layers: the
    directories of each platform's, top first.
    Raises: what that raises.
    """
    made = Target(worker.engine.store.content, target)
    if output.compression is not None:
        made = image._whole(None, output.compression, () if output.is_forced else base_layers)
    if output.kind == "registry":
        engine = worker.engine

        def show(event: Progress) -> None:
            worker.tell(BuildEvent(action="transfer", progress=event))

        for name in output.names or image.tags:
            to = Reference.parse(name)
            if output.by_digest:
                to = to.with_digest(made.descriptor.digest).with_tag(None)
            engine.registries.push(to, made.source, made.descriptor, on_event=show)
        if not (output.names or image.tags):
            raise InvalidOption("option outputs: nothing to push to; give tags, or name=")
    elif output.kind == "oci" and output.dest is not None:
        tags = [Reference.parse(tag) for tag in image.tags]
        if output.is_tar:
            write_oci_archive(output.dest, [(made, tags)])
        elif isinstance(output.dest, str):
            Layout.create(output.dest).add(made, tags)
    elif output.kind == "docker" and output.dest is not None:  # without one it is the store
        image.save(output.dest, format="docker-archive")
    elif output.kind == "tar":
        [found] = layers.values()
        _write_tar(worker, _shown(worker, found), output.dest)
    elif output.kind == "local":
        for platform, found in layers.items():
            dest = output.dest
            if len(layers) > 1 and output.is_split and isinstance(dest, str):
                dest = os.path.join(dest, platform.replace("/", "_"))
            _write_directory(worker, _shown(worker, found), dest)


def _shown(worker: EngineWorker, layers: Sequence[Path]) -> list[str]:
    return [str(path) for path in layers] or [str(worker.engine.store.snapshots.path(worker.empty()))]


def _write_directory(worker: EngineWorker, layers: list[str], dest: str | BinaryIO | None) -> None:
    if not isinstance(dest, str):
        raise InvalidOption("option outputs: type=local needs the path of a directory")
    try:
        os.makedirs(dest, exist_ok=True)
        target = os.open(dest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileExistsError, NotADirectoryError):
        raise Conflict(f"{dest} is not a directory") from None
    except OSError as error:
        raise KernelError(error.errno or 0, "mkdir", dest) from error
    try:
        params = {
            "layers": layers,
            "is_tar": False,
            "owner": (os.geteuid(), os.getegid()),
        }
        worker.job("build_export", params, [target])
    finally:
        os.close(target)


def _write_tar(worker: EngineWorker, layers: list[str], dest: str | BinaryIO | None) -> None:
    if not isinstance(dest, str):
        assert dest is not None
        _stream(worker, layers, dest)
        return
    path = Path(dest)
    if not path.absolute().parent.is_dir():
        raise NotFound(f"the directory that {dest} is to be in is not there; make it first")
    with whole_file(path) as file:
        _stream(worker, layers, file)


def _stream(worker: EngineWorker, layers: list[str], target: BinaryIO) -> None:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            params = {"layers": layers, "is_tar": True}
            job = worker.engine.helper.submit("build_export", params, [writer])
        finally:
            os.close(writer)
        with job:
            poller = select.poll()
            poller.register(reader, select.POLLIN)
            while poller.poll() and (data := os.read(reader, _CHUNK)):
                view = memoryview(data)
                while view:
                    view = view[target.write(view) or len(view) :]
            job.result()
    finally:
        os.close(reader)
