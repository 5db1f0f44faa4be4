"""Reads out of a pushed manifest what the server must know; everything else in it is the clients' affair.

The server keeps the bytes it was given. It refuses what no client could use: no JSON object, a document
that is manifest and index at once, a media type that contradicts the header, a malformed descriptor.
Source: OCI image-spec 1.1 manifest.md, image-index.md; distribution-spec 1.1 "Listing Referrers".
"""

from __future__ import annotations

import json
from typing import Any, Final

import attrs

from pycontainer.registry.server import grammar
from pycontainer.registry.server.refusals import Refusal

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT: Final = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"

_INDEXES: Final = frozenset({OCI_INDEX, DOCKER_LIST})
_KNOWN: Final = frozenset({OCI_MANIFEST, OCI_ARTIFACT, DOCKER_MANIFEST, *_INDEXES})


@attrs.frozen(kw_only=True)
class Document:
    """What a manifest refers to."""

    media_type: str
    blobs: tuple[str, ...]
    manifests: tuple[str, ...]
    subject: str | None
    artifact_type: str | None
    annotations: dict[str, str] | None


def _invalid(why: str) -> Refusal:
    return Refusal(400, "MANIFEST_INVALID", why)


def read(data: bytes, content_type: str | None) -> Document:
    """Check a manifest's bytes against the Content-Type they were sent with.

    Raises: Refusal MANIFEST_INVALID.
    """
    tree = _parse(data)
    media_type = _media_type(tree, content_type)
    if media_type in _INDEXES:
        blobs: tuple[str, ...] = ()
        manifests = _digests(tree, "manifests")
    else:
        config = [] if tree.get("config") is None else [tree["config"]]
        name = "blobs" if media_type == OCI_ARTIFACT else "layers"
        blobs = tuple(_digest_of(item) for item in config) + _digests(tree, name)
        manifests = ()
    subject = tree.get("subject")
    annotations = tree.get("annotations")
    return Document(
        media_type=media_type,
        blobs=blobs,
        manifests=manifests,
        subject=None if subject is None else _digest_of(subject),
        artifact_type=_artifact_type(tree, media_type),
        annotations=annotations if isinstance(annotations, dict) else None,
    )


def announced_size(content: bytes, digest: str) -> int | None:
    """What a stored manifest says of the size of one of its blobs; None when it is not one of them."""
    tree = json.loads(content)
    layers = tree.get("layers") or tree.get("blobs")
    for item in [tree.get("config"), *(layers if isinstance(layers, list) else [])]:
        size = item.get("size") if isinstance(item, dict) and item.get("digest") == digest else None
        if isinstance(size, int) and size >= 0:
            return size
    return None


def _parse(data: bytes) -> dict[str, Any]:
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError) as error:  # the parser's own guard against deep nesting
        raise _invalid(f"not JSON: {error}") from error
    if not isinstance(tree, dict):
        raise _invalid("not a JSON object")
    if tree.get("schemaVersion", 2) != 2:
        raise _invalid(f"schemaVersion {tree['schemaVersion']!r} is not supported, only 2")
    return tree


def _media_type(tree: dict[str, Any], content_type: str | None) -> str:
    inner = tree.get("mediaType")
    if inner is not None and not isinstance(inner, str):
        raise _invalid(f"mediaType {str(inner)[:100]!r} is not text")
    outer = (content_type or "").partition(";")[0].strip().lower() or None
    if inner is not None and outer is not None and inner != outer:
        raise _invalid(f"mediaType is {inner!r} but Content-Type is {outer!r}")
    media_type = inner or outer or (OCI_INDEX if "manifests" in tree else OCI_MANIFEST)
    if media_type not in _KNOWN:
        raise _invalid(f"media type {media_type!r} is not supported; push OCI or Docker schema 2")
    if "manifests" in tree and ("layers" in tree or "config" in tree):
        raise _invalid("both an index and a manifest")
    if (media_type in _INDEXES) != ("manifests" in tree) and media_type != OCI_ARTIFACT:
        raise _invalid(f"the fields do not fit media type {media_type!r}")
    return media_type


def _artifact_type(tree: dict[str, Any], media_type: str) -> str | None:
    declared = tree.get("artifactType")
    if isinstance(declared, str) and declared:
        return declared
    config = tree.get("config")
    if media_type not in _INDEXES and isinstance(config, dict) and isinstance(config.get("mediaType"), str):
        return str(config["mediaType"])
    return None


def _digests(tree: dict[str, Any], field: str) -> tuple[str, ...]:
    items = tree.get(field, [])
    if items is None:
        return ()
    if not isinstance(items, list):
        raise _invalid(f"{field} is not a list")
    # A foreign layer lives at its urls and need not be here (image-spec, "non-distributable").
    return tuple(
        digest
        for item in items
        if (digest := _digest_of(item)) and not (isinstance(item, dict) and item.get("urls"))
    )


def _digest_of(item: object) -> str:
    digest = item.get("digest") if isinstance(item, dict) else None
    if not isinstance(digest, str) or not grammar.is_digest(digest):
        raise _invalid(f"descriptor without a valid digest: {str(item)[:200]}")
    return digest
