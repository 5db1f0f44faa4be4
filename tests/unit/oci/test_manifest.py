"""Manifests and indexes: what is read, what is refused, and that nothing is lost on rewriting."""

from __future__ import annotations

import base64
import json

import pytest

from pycontainer.errors import DigestMismatch, InvalidImage
from pycontainer.oci import (
    MANIFEST_HARD_LIMIT,
    MANIFEST_LIMIT,
    MAX_LAYERS,
    Descriptor,
    Index,
    Manifest,
    Platform,
    decode_manifest,
    encode,
    mediatype,
    sha256,
)

DIGEST = sha256(b"x")


def descriptor(**changes: object) -> dict[str, object]:
    document: dict[str, object] = {"mediaType": mediatype.OCI_LAYER_GZIP, "digest": DIGEST, "size": 1}
    document.update(changes)
    return {key: value for key, value in document.items() if value is not ...}


def manifest(**changes: object) -> bytes:
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": mediatype.OCI_MANIFEST,
        "config": descriptor(mediaType=mediatype.OCI_CONFIG),
        "layers": [descriptor()],
    }
    document.update(changes)
    return json.dumps({key: value for key, value in document.items() if value is not ...}).encode()


def index(**changes: object) -> bytes:
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": mediatype.OCI_INDEX,
        "manifests": [descriptor(mediaType=mediatype.OCI_MANIFEST)],
    }
    document.update(changes)
    return json.dumps({key: value for key, value in document.items() if value is not ...}).encode()


@pytest.mark.parametrize("media_type", [mediatype.OCI_MANIFEST, mediatype.DOCKER_MANIFEST])
@pytest.mark.parametrize("announced", [None, "", "application/json", "same", "SAME; charset=utf-8"])
def test_a_manifest_is_read_under_its_own_type(media_type: str, announced: str | None) -> None:
    announced = (announced or "").lower().replace("same", media_type) if announced else announced
    document = decode_manifest(manifest(mediaType=media_type), announced)
    assert isinstance(document, Manifest)
    assert document.media_type == media_type
    assert document.config == Descriptor(media_type=mediatype.OCI_CONFIG, digest=DIGEST, size=1)
    assert [layer.size for layer in document.layers] == [1]


@pytest.mark.parametrize("media_type", [mediatype.OCI_INDEX, mediatype.DOCKER_INDEX])
def test_an_index_is_read_under_its_own_type(media_type: str) -> None:
    document = decode_manifest(index(mediaType=media_type), media_type)
    assert isinstance(document, Index)
    assert document.media_type == media_type
    assert len(document.manifests) == 1


def test_without_any_media_type_the_keys_decide() -> None:
    assert isinstance(decode_manifest(manifest(mediaType=...)), Manifest)
    assert isinstance(decode_manifest(index(mediaType=...)), Index)
    assert decode_manifest(manifest(mediaType=...), mediatype.DOCKER_MANIFEST).media_type == (
        mediatype.DOCKER_MANIFEST
    )


def test_docker_and_oci_types_of_the_same_kind_do_not_contradict_each_other() -> None:
    document = decode_manifest(manifest(), mediatype.DOCKER_MANIFEST)
    assert document.media_type == mediatype.OCI_MANIFEST


HYBRIDS = {
    "manifest with manifests": (manifest(manifests=[]), None),
    "manifest with null manifests": (manifest(manifests=None), None),
    "index with layers": (index(layers=[]), None),
    "index with config": (index(config=descriptor()), mediatype.OCI_INDEX),
    "index with schema 1 layers": (index(fsLayers=[]), None),
    "index announced as manifest": (index(), mediatype.OCI_MANIFEST),
    "manifest announced as index": (manifest(), mediatype.OCI_INDEX),
    "manifest that says it is an index": (manifest(mediaType=mediatype.OCI_INDEX), mediatype.OCI_MANIFEST),
    "manifest keys under the type of an index": (manifest(mediaType=mediatype.OCI_INDEX), None),
    "untyped index announced as manifest": (index(mediaType=...), mediatype.OCI_MANIFEST),
    "manifest in another case": (manifest(Layers=[]), None),
    "only upper case": (manifest(layers=..., LAYERS=[]), None),
    "manifests in another case": (manifest(MANIFESTS=[]), None),
}


@pytest.mark.parametrize(("data", "announced"), HYBRIDS.values(), ids=HYBRIDS)
def test_a_document_readers_could_take_for_two_things_is_refused(data: bytes, announced: str | None) -> None:
    with pytest.raises(InvalidImage):
        decode_manifest(data, announced)


@pytest.mark.parametrize(
    ("data", "announced"),
    [
        (b'{"schemaVersion":1,"fsLayers":[],"history":[]}', None),
        (b'{"schemaVersion":1,"name":"a"}', mediatype.DOCKER_SCHEMA1_SIGNED),
        (b'{"schemaVersion":2}', mediatype.DOCKER_SCHEMA1),
    ],
    ids=["by version", "by both", "by type"],
)
def test_schema_1_is_refused_with_the_remedy(data: bytes, announced: str | None) -> None:
    with pytest.raises(InvalidImage, match=r"schema 1.*push it again"):
        decode_manifest(data, announced)


BROKEN = {
    "no object": b"[]",
    "text": b'"manifest"',
    "null": b"null",
    "empty object": b"{}",
    "no schema version": manifest(schemaVersion=...),
    "schema version as text": manifest(schemaVersion="2"),
    "schema version as boolean": manifest(schemaVersion=True),
    "schema version as float": manifest(schemaVersion=2.0),
    "schema version 3": manifest(schemaVersion=3),
    "media type as number": manifest(mediaType=7),
    "unknown media type": manifest(mediaType="application/vnd.example+json"),
    "no config": manifest(config=...),
    "config as list": manifest(config=[]),
    "layers as object": manifest(layers={}),
    "layer as text": manifest(layers=["sha256:x"]),
    "layer null": manifest(layers=[None]),
    "layer without digest": manifest(layers=[descriptor(digest=...)]),
    "layer without size": manifest(layers=[descriptor(size=...)]),
    "layer with null size": manifest(layers=[descriptor(size=None)]),
    "layer without type": manifest(layers=[descriptor(mediaType=...)]),
    "layer type with line break": manifest(layers=[descriptor(mediaType="a\r\nb")]),
    "layer type of a megabyte": manifest(layers=[descriptor(mediaType="a" * 1_000_000)]),
    "negative size": manifest(layers=[descriptor(size=-1)]),
    "size as text": manifest(layers=[descriptor(size="1")]),
    "size as float": manifest(layers=[descriptor(size=1.0)]),
    "size as boolean": manifest(layers=[descriptor(size=True)]),
    "size above 63 bits": manifest(layers=[descriptor(size=2**63)]),
    "digest traversal": manifest(layers=[descriptor(digest="sha256:../../x")]),
    "digest empty": manifest(layers=[descriptor(digest="")]),
    "digest upper case": manifest(layers=[descriptor(digest=DIGEST.upper())]),
    "digest of md5": manifest(layers=[descriptor(digest="md5:" + "0" * 32)]),
    "urls as text": manifest(layers=[descriptor(urls="http://x")]),
    "url as number": manifest(layers=[descriptor(urls=[1])]),
    "annotation as number": manifest(annotations={"a": 1}),
    "annotation null": manifest(annotations={"a": None}),
    "annotations as list": manifest(annotations=["a"]),
    "annotation with NUL": manifest(annotations={"a": "x\0y"}),
    "annotation with half a surrogate": manifest(annotations={"a": "\ud800"}),
    "data not base64": manifest(layers=[descriptor(data="%%%")]),
    "data as list": manifest(layers=[descriptor(data=[])]),
    "platform as text": index(manifests=[descriptor(platform="linux/amd64")]),
    "os features as text": index(manifests=[descriptor(platform={"os.features": "x"})]),
    "subject as text": manifest(subject="sha256:x"),
    "index entry as number": index(manifests=[1]),
    "duplicate key": manifest()[:-1] + b',"schemaVersion":2}',
    "NaN": manifest()[:-1] + b',"x":NaN}',
    "trailing text": manifest() + b"x",
    "utf-16": manifest().decode().encode("utf-16"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_document_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage) as caught:
        decode_manifest(data)
    assert len(str(caught.value)) < 600


def test_the_error_says_where() -> None:
    with pytest.raises(InvalidImage, match=r"manifest\.layers\[1\]\.size: expected .*, got 'big'"):
        decode_manifest(manifest(layers=[descriptor(), descriptor(size="big")]))


def test_sizes_and_counts_are_limited() -> None:
    padded = manifest(annotations={"a": "x" * MANIFEST_LIMIT})
    with pytest.raises(InvalidImage, match="above the limit"):
        decode_manifest(padded)
    assert decode_manifest(padded, limit_bytes=8 << 20).annotations["a"]
    with pytest.raises(InvalidImage, match="above the limit"):
        decode_manifest(manifest() + b" " * MANIFEST_HARD_LIMIT, limit_bytes=1 << 40)
    with pytest.raises(InvalidImage, match=f"{MAX_LAYERS + 1} entries"):
        decode_manifest(manifest(layers=[descriptor()] * (MAX_LAYERS + 1)))
    with pytest.raises(InvalidImage, match="entries are above the limit"):
        decode_manifest(index(manifests=[descriptor(mediaType="a")] * 20_000))
    with pytest.raises(InvalidImage, match="nests deeper"):
        decode_manifest(manifest()[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_inline_data_is_decoded_and_verified() -> None:
    content = base64.b64encode(b"x").decode()
    document = decode_manifest(manifest(config=descriptor(data=content)))
    assert isinstance(document, Manifest)
    assert document.config.data == b"x"
    for wrong in ({"data": base64.b64encode(b"y").decode()}, {"data": content, "size": 2}):
        with pytest.raises(DigestMismatch, match=r"manifest\.config\.data"):
            decode_manifest(manifest(config=descriptor(**wrong)))


def test_null_counts_as_absent() -> None:
    document = decode_manifest(manifest(layers=None, annotations=None, subject=None, unknown=None))
    assert isinstance(document, Manifest)
    assert (document.layers, document.annotations, document.subject, document.extra) == ((), {}, None, {})


def test_unknown_keys_survive_a_rewrite_at_every_level() -> None:
    platform = {
        "architecture": "arm64",
        "os": "linux",
        "variant": "v8",
        "os.features": ["x"],
        "features": ["y"],
    }
    entry = descriptor(
        mediaType=mediatype.OCI_MANIFEST,
        platform=platform,
        annotations={"k": "v"},
        urls=["https://example.com"],
        artifactType="a/b",
        data="eA==",
        future={"a": [1, 2.5, None, True]},
    )
    data = index(
        manifests=[entry],
        subject=descriptor(more=1),
        annotations={"é": "ü"},
        artifactType="c/d",
        novel=[{"z": 1}],
    )
    document = decode_manifest(data)
    rewritten = encode(document)
    assert json.loads(rewritten) == json.loads(data)
    assert decode_manifest(rewritten) == document
    assert encode(decode_manifest(rewritten)) == rewritten


def test_a_manifest_survives_a_rewrite() -> None:
    data = manifest(
        annotations={"a": "b"},
        subject=descriptor(),
        artifactType="a/b",
        layers=[descriptor(x=1)],
        other={"y": 2},
    )
    assert json.loads(encode(decode_manifest(data))) == json.loads(data)


def test_an_unknown_key_cannot_override_a_known_one() -> None:
    forged = Manifest(
        config=Descriptor.of(b"{}", mediatype.OCI_CONFIG), extra={"schemaVersion": 1, "layers": "x"}
    )
    assert json.loads(encode(forged))["schemaVersion"] == 2
    assert json.loads(encode(forged))["layers"] == []


def test_a_platform_keeps_its_spelling() -> None:
    entry = descriptor(platform={"architecture": "arm64", "os": "linux", "variant": "v8"})
    document = decode_manifest(index(manifests=[entry]))
    assert isinstance(document, Index)
    assert document.manifests[0].platform == Platform(os="linux", architecture="arm64", variant="v8")


def test_a_descriptor_of_bytes_has_their_digest_and_size() -> None:
    assert Descriptor.of(b"abc", "a/b") == Descriptor(media_type="a/b", digest=sha256(b"abc"), size=3)


@pytest.mark.parametrize(
    ("media_type", "compression", "foreign"),
    [
        (mediatype.OCI_LAYER, "plain", False),
        (mediatype.OCI_LAYER_GZIP, "gzip", False),
        (mediatype.OCI_LAYER_ZSTD, "zstd", False),
        (mediatype.DOCKER_LAYER_GZIP, "gzip", False),
        (mediatype.DOCKER_FOREIGN_GZIP, "gzip", True),
        (mediatype.OCI_FOREIGN_ZSTD, "zstd", True),
        (mediatype.OCI_CONFIG, None, False),
        ("application/octet-stream", None, False),
    ],
)
def test_a_layer_type_tells_its_compression(media_type: str, compression: str | None, foreign: bool) -> None:
    assert mediatype.compression_of(media_type) == compression
    assert mediatype.is_layer(media_type) == (compression is not None)
    assert mediatype.is_foreign(media_type) == foreign


def test_kinds_of_documents_are_told_apart() -> None:
    assert mediatype.is_index(mediatype.DOCKER_INDEX)
    assert mediatype.is_manifest(mediatype.DOCKER_MANIFEST)
    assert mediatype.is_config(mediatype.DOCKER_CONFIG)
    assert not mediatype.is_manifest(mediatype.OCI_INDEX)
    assert not mediatype.is_config(mediatype.OCI_EMPTY)


def test_what_a_platform_does_not_say_is_not_written() -> None:
    entry = Descriptor(
        media_type=mediatype.OCI_MANIFEST, digest=DIGEST, size=1, platform=Platform(architecture="amd64")
    )
    written = json.loads(encode(Index(manifests=(entry,))))["manifests"][0]["platform"]
    assert written == {"architecture": "amd64", "os": "linux"}
