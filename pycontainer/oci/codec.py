"""Documents of an image: JSON bytes to models and back.

Decoding is strict (see jsontext), and refuses what readers of different make would take for different
things: a document that is manifest and index at once (CVE-2021-41190), or whose own media type
contradicts the one it was announced with. Encoding is canonical: the specification's key order, then
unknown keys in the order they came. It need not restore the bytes a document had, so whoever must keep
a digest keeps the bytes.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Mapping

from pycontainer.errors import InvalidImage
from pycontainer.oci import mediatype
from pycontainer.oci.descriptor import Descriptor
from pycontainer.oci.digest import Hasher
from pycontainer.oci.imageconfig import ContainerConfig, Healthcheck, History, ImageConfig
from pycontainer.oci.jsontext import Fields, dump, parse
from pycontainer.oci.manifest import Index, Manifest
from pycontainer.oci.platform import Platform

__all__ = ["decode_config", "decode_manifest", "encode"]

MANIFEST_LIMIT = 4 << 20  # distribution-spec: registries should accept 4 MiB, so larger ones travel badly
MANIFEST_HARD_LIMIT = 16 << 20
CONFIG_LIMIT = 8 << 20
MAX_LAYERS = 4096  # artifacts have more layers than overlay can mount (500), yet not this many
MAX_INDEX_ENTRIES = 8192
MAX_HISTORY = 16384

_GENERIC_TYPES = frozenset({"", "application/json", "application/octet-stream", "text/plain"})


def decode_manifest(
    data: bytes, media_type: str | None = None, *, limit_bytes: int = MANIFEST_LIMIT
) -> Manifest | Index:
    """Read a manifest or an index.

    `media_type` is what the descriptor or the server announced; None or a generic type leaves it to the
    document. `limit_bytes` may be raised up to MANIFEST_HARD_LIMIT.
    Raises: InvalidImage.
    """
    announced = (media_type or "").partition(";")[0].strip().lower()
    fields = Fields(parse(data, "manifest", min(limit_bytes, MANIFEST_HARD_LIMIT)), "manifest")
    version = fields.integer("schemaVersion")
    if version == 1 or mediatype.is_schema1(announced):
        raise InvalidImage(
            "manifest has docker's schema 1, which registries and engines have dropped; "
            "pull the image with docker 25 or older and push it again"
        )
    stated = fields.text("mediaType")
    kind = _kind_of(fields, announced, stated)
    if version != 2:
        raise InvalidImage(f"manifest.schemaVersion: expected 2, got {version}")
    if kind is Index:
        return _index(fields, stated or announced)
    return _manifest(fields, stated or announced)


def decode_config(data: bytes) -> ImageConfig:
    """Read the configuration of a container image.

    Raises: InvalidImage.
    """
    fields = Fields(parse(data, "image config", CONFIG_LIMIT), "config", folds_case=True)
    rootfs = fields.nested("rootfs")
    diff_ids = rootfs.digests("diff_ids") if rootfs else ()
    if rootfs and (kind := rootfs.text("type")) not in ("", "layers"):
        raise InvalidImage(f"config.rootfs.type: expected 'layers', got {kind[:80]!r}")
    if len(diff_ids) > MAX_LAYERS:
        raise InvalidImage(
            f"config.rootfs.diff_ids: {len(diff_ids)} entries are above the limit of {MAX_LAYERS}"
        )
    return ImageConfig(
        created=fields.text("created"),
        author=fields.text("author"),
        architecture=fields.text("architecture"),
        os=fields.text("os") or "linux",
        os_version=fields.text("os.version"),
        os_features=fields.texts("os.features"),
        variant=fields.text("variant"),
        config=_container_config(fields.nested("config")),
        diff_ids=diff_ids,
        history=tuple(_history(entry) for entry in fields.nested_list("history", MAX_HISTORY)),
        rootfs_extra=rootfs.rest() if rootfs else {},
        extra=fields.rest(),
    )


def encode(model: Manifest | Index | ImageConfig | Descriptor) -> bytes:
    """Write a document canonically, unknown keys included."""
    if isinstance(model, Manifest):
        return dump(_put_manifest(model))
    if isinstance(model, Index):
        return dump(_put_index(model))
    if isinstance(model, ImageConfig):
        return dump(_put_config(model))
    return dump(_put_descriptor(model))


def _kind_of(fields: Fields, announced: str, stated: str) -> type[Manifest] | type[Index]:
    """Which of the two it is, or refuse what could be taken for either."""
    looks_like = {
        Index: fields.has("manifests"),
        Manifest: fields.has("layers") or fields.has("config") or fields.has("fsLayers"),
    }
    if all(looks_like.values()):
        raise InvalidImage("document is a manifest and an index at once (CVE-2021-41190)")
    kinds = {_kind_from_type(text) for text in (announced, stated) if text not in _GENERIC_TYPES}
    if len(kinds) > 1:
        raise InvalidImage(f"document announced as {announced} says it is {stated}")
    if not kinds:
        kinds = {kind for kind, does in looks_like.items() if does}
    if not kinds:
        raise InvalidImage("document is neither a manifest nor an index: it has no layers and no manifests")
    kind = kinds.pop()
    if not looks_like[kind]:
        raise InvalidImage(f"document has the media type of {kind.__name__.lower()}, but not its keys")
    return kind


def _kind_from_type(media_type: str) -> type[Manifest] | type[Index]:
    if mediatype.is_index(media_type):
        return Index
    if mediatype.is_manifest(media_type):
        return Manifest
    raise InvalidImage(f"{media_type[:200]!r} is not the media type of an image manifest or index")


def _manifest(fields: Fields, media_type: str) -> Manifest:
    config = fields.nested("config")
    if config is None:
        raise InvalidImage("manifest.config: missing")
    return Manifest(
        media_type=mediatype.OCI_MANIFEST if media_type in _GENERIC_TYPES else media_type,
        artifact_type=fields.text("artifactType"),
        config=_descriptor(config),
        layers=tuple(_descriptor(layer) for layer in fields.nested_list("layers", MAX_LAYERS)),
        subject=_subject(fields),
        annotations=fields.text_map("annotations"),
        extra=fields.rest(),
    )


def _index(fields: Fields, media_type: str) -> Index:
    return Index(
        media_type=mediatype.OCI_INDEX if media_type in _GENERIC_TYPES else media_type,
        artifact_type=fields.text("artifactType"),
        manifests=tuple(_descriptor(entry) for entry in fields.nested_list("manifests", MAX_INDEX_ENTRIES)),
        subject=_subject(fields),
        annotations=fields.text_map("annotations"),
        extra=fields.rest(),
    )


def _subject(fields: Fields) -> Descriptor | None:
    subject = fields.nested("subject")
    return _descriptor(subject) if subject else None


def _descriptor(fields: Fields) -> Descriptor:
    media_type = fields.text("mediaType")
    # It may end up in an HTTP header.
    if not media_type or len(media_type) > 255 or not all("!" <= letter <= "~" for letter in media_type):
        raise fields.fail("mediaType", "a media type", media_type or None)
    platform = fields.nested("platform")
    descriptor = Descriptor(
        media_type=media_type,
        digest=fields.digest("digest"),
        size=fields.size("size"),
        urls=fields.texts("urls"),
        annotations=fields.text_map("annotations"),
        data=fields.base64("data"),
        artifact_type=fields.text("artifactType"),
        platform=_platform(platform) if platform else None,
        extra=fields.rest(),
    )
    if descriptor.data is not None:
        hasher = Hasher.like(descriptor.digest)
        hasher.update(descriptor.data)
        hasher.check(descriptor.digest, descriptor.size, f"{fields.where}.data")
    return descriptor


def _platform(fields: Fields) -> Platform:
    return Platform(
        architecture=fields.text("architecture"),
        os=fields.text("os"),
        os_version=fields.text("os.version"),
        os_features=fields.texts("os.features"),
        variant=fields.text("variant"),
        extra=fields.rest(),
    )


def _container_config(fields: Fields | None) -> ContainerConfig:
    if fields is None:
        return ContainerConfig()
    return ContainerConfig(
        user=fields.text("User"),
        exposed_ports=fields.key_set("ExposedPorts"),
        env=fields.texts("Env"),
        entrypoint=fields.words("Entrypoint"),
        cmd=fields.words("Cmd"),
        volumes=fields.key_set("Volumes"),
        working_dir=fields.text("WorkingDir"),
        labels=fields.text_map("Labels"),
        stop_signal=fields.text("StopSignal"),
        healthcheck=_healthcheck(fields.nested("Healthcheck")),
        shell=fields.words("Shell"),
        on_build=fields.texts("OnBuild"),
        extra=fields.rest(),
    )


def _healthcheck(fields: Fields | None) -> Healthcheck | None:
    if fields is None:
        return None
    return Healthcheck(
        test=fields.words("Test") or (),
        interval_ns=fields.integer("Interval"),
        timeout_ns=fields.integer("Timeout"),
        start_period_ns=fields.integer("StartPeriod"),
        start_interval_ns=fields.integer("StartInterval"),
        retries=fields.integer("Retries"),
        extra=fields.rest(),
    )


def _history(fields: Fields) -> History:
    return History(
        created=fields.text("created"),
        created_by=fields.text("created_by"),
        author=fields.text("author"),
        comment=fields.text("comment"),
        empty_layer=fields.boolean("empty_layer"),
        extra=fields.rest(),
    )


def _object(pairs: Iterable[tuple[str, object]], extra: Mapping[str, object]) -> dict[str, object]:
    """A JSON object of what is set: None, "", 0, False and empty tuples and maps are left out."""
    known = {key: value for key, value in pairs if value or isinstance(value, list)}
    return known | {key: value for key, value in extra.items() if key not in known}


def _put_descriptor(model: Descriptor) -> dict[str, object]:
    data = None if model.data is None else binascii.b2a_base64(model.data, newline=False).decode("ascii")
    start = {"mediaType": model.media_type, "digest": model.digest, "size": model.size}
    return start | _object(
        [
            ("urls", list(model.urls) or None),
            ("annotations", dict(model.annotations)),
            ("data", data),
            ("platform", _put_platform(model.platform)),
            ("artifactType", model.artifact_type),
        ],
        model.extra,
    )


def _put_platform(model: Platform | None) -> dict[str, object] | None:
    if model is None:
        return None
    pairs = [
        ("os.version", model.os_version),
        ("os.features", list(model.os_features) or None),
        ("variant", model.variant),
    ]
    return {"architecture": model.architecture, "os": model.os} | _object(pairs, model.extra)


def _put_manifest(model: Manifest) -> dict[str, object]:
    return _object(
        [
            ("schemaVersion", 2),
            ("mediaType", model.media_type),
            ("artifactType", model.artifact_type),
            ("config", _put_descriptor(model.config)),
            ("layers", [_put_descriptor(layer) for layer in model.layers]),
            ("subject", _put_descriptor(model.subject) if model.subject else None),
            ("annotations", dict(model.annotations)),
        ],
        model.extra,
    )


def _put_index(model: Index) -> dict[str, object]:
    return _object(
        [
            ("schemaVersion", 2),
            ("mediaType", model.media_type),
            ("artifactType", model.artifact_type),
            ("manifests", [_put_descriptor(entry) for entry in model.manifests]),
            ("subject", _put_descriptor(model.subject) if model.subject else None),
            ("annotations", dict(model.annotations)),
        ],
        model.extra,
    )


def _put_config(model: ImageConfig) -> dict[str, object]:
    rootfs = {"type": "layers", "diff_ids": list(model.diff_ids)}
    return _object(
        [
            ("created", model.created),
            ("author", model.author),
            ("architecture", model.architecture),
            ("os", model.os),
            ("os.version", model.os_version),
            ("os.features", list(model.os_features) or None),
            ("variant", model.variant),
            ("config", _put_container_config(model.config)),
            ("rootfs", rootfs | _object((), model.rootfs_extra)),
            ("history", [_put_history(entry) for entry in model.history] or None),
        ],
        model.extra,
    )


def _put_container_config(model: ContainerConfig) -> dict[str, object]:
    return _object(
        [
            ("User", model.user),
            ("ExposedPorts", _set(model.exposed_ports)),
            ("Env", list(model.env) or None),
            ("Entrypoint", _words(model.entrypoint)),
            ("Cmd", _words(model.cmd)),
            ("Volumes", _set(model.volumes)),
            ("WorkingDir", model.working_dir),
            ("Labels", dict(model.labels)),
            ("StopSignal", model.stop_signal),
            ("Healthcheck", _put_healthcheck(model.healthcheck)),
            ("Shell", _words(model.shell)),
            ("OnBuild", list(model.on_build) or None),
        ],
        model.extra,
    )


def _put_healthcheck(model: Healthcheck | None) -> dict[str, object] | None:
    if model is None:
        return None
    return _object(
        [
            ("Test", list(model.test)),
            ("Interval", model.interval_ns),
            ("Timeout", model.timeout_ns),
            ("StartPeriod", model.start_period_ns),
            ("StartInterval", model.start_interval_ns),
            ("Retries", model.retries),
        ],
        model.extra,
    )


def _put_history(model: History) -> dict[str, object]:
    return _object(
        [
            ("created", model.created),
            ("created_by", model.created_by),
            ("author", model.author),
            ("comment", model.comment),
            ("empty_layer", model.empty_layer),
        ],
        model.extra,
    )


def _words(words: tuple[str, ...] | None) -> list[str] | None:
    return None if words is None else list(words)


def _set(names: tuple[str, ...]) -> dict[str, object]:
    return {name: {} for name in names}
