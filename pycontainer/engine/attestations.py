"""Attestations of images: in-toto statements in the index that lists an image, as BuildKit keeps them.

Source: moby/buildkit, docs/attestations/attestation-storage.md; in-toto attestation framework, statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve

from pycontainer.errors import NotFound
from pycontainer.image import BlobSource
from pycontainer.oci import (
    MANIFEST_LIMIT,
    Descriptor,
    Digest,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    decode_manifest,
    encode,
    jsontext,
    mediatype,
)

if TYPE_CHECKING:
    from pycontainer.store import ContentStore

__all__ = ["attestation", "statements"]

IN_TOTO = "application/vnd.in-toto+json"
STATEMENT_LIMIT = 64 << 20
_STATEMENT = "https://in-toto.io/Statement/v0.1"
_PREDICATE = "in-toto.io/predicate-type"
_OF = "vnd.docker.reference.digest"
_TYPE = "vnd.docker.reference.type"
_ATTESTATION = "attestation-manifest"


def attestation(
    content: ContentStore,
    target: Descriptor,
    names: Sequence[str],
    predicates: Sequence[tuple[str, Mapping[str, Any]]],
) -> tuple[Descriptor, tuple[Digest, ...]]:
    """The manifest that attests an image, for the index that lists both; and the digests of all its blobs.

    names: what the image is called, as package URLs. predicates: each with its type.
    """
    algorithm, _, digits = target.digest.partition(":")
    subjects = [{"name": name, "digest": {algorithm: digits}} for name in names or ("_",)]
    layers = []
    for kind, predicate in predicates:
        statement = jsontext.dump(
            {"_type": _STATEMENT, "predicateType": kind, "subject": subjects, "predicate": predicate}
        )
        content.put(statement)
        layers.append(evolve(Descriptor.of(statement, IN_TOTO), annotations={_PREDICATE: kind}))
    config = encode(
        ImageConfig(architecture="unknown", os="unknown", diff_ids=tuple(layer.digest for layer in layers))
    )
    content.put(config)
    manifest = encode(
        Manifest(
            media_type=mediatype.OCI_MANIFEST,
            config=Descriptor.of(config, mediatype.OCI_CONFIG),
            layers=tuple(layers),
        )
    )
    described = evolve(
        Descriptor.of(manifest, mediatype.OCI_MANIFEST),
        platform=Platform(os="unknown", architecture="unknown"),
        annotations={_OF: target.digest, _TYPE: _ATTESTATION},
    )
    made = (content.put(manifest), Descriptor.of(config, mediatype.OCI_CONFIG).digest)
    return described, (*made, *(layer.digest for layer in layers))


def statements(index: Index, digest: str, source: BlobSource) -> tuple[Mapping[str, Any], ...]:
    """What an index attests of an image by its digest; what is not here is passed over.

    Raises: InvalidImage, DigestMismatch for what is broken.
    """
    found = []
    for entry in _about(index.manifests, digest):
        try:
            manifest = decode_manifest(source.read(entry, MANIFEST_LIMIT), entry.media_type)
            layers = () if isinstance(manifest, Index) else manifest.layers
            read = [source.read(layer, STATEMENT_LIMIT) for layer in layers if layer.media_type == IN_TOTO]
        except NotFound:
            continue
        found += [jsontext.parse(data, "attestation", STATEMENT_LIMIT) for data in read]
    return tuple(each for each in found if isinstance(each, dict))


def _about(entries: Iterable[Descriptor], digest: str) -> list[Descriptor]:
    return [
        entry
        for entry in entries
        if entry.annotations.get(_OF) == digest and entry.annotations.get(_TYPE, _ATTESTATION) == _ATTESTATION
    ]
