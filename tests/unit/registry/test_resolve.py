"""From reference to verified manifest and config, against a registry that lies in every way it can."""

from __future__ import annotations

import json
from typing import Any

import attrs
import httpx
import pytest

from pycontainer.errors import DigestMismatch, IntegrityError, InvalidImage, NotFound, RegistryError
from pycontainer.oci import Descriptor, Index, Manifest, Platform, Reference, encode, mediatype, sha256
from pycontainer.registry import Limits, RegistryClient, RegistryConfig, Resolved
from tests.unit.registry.fakes import FAST, MemorySink, Table, served, small_image, small_index

REF = Reference.parse("reg.example/app:1")
BASE = "https://reg.example"
AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")


def client(sink: MemorySink, top: Descriptor, changes: dict[str, Any] | None = None, **settings: Any) -> Any:
    table = Table(served(sink, BASE, "app", "1", top) | (changes or {}))
    return RegistryClient(RegistryConfig(retries=FAST, certs_dirs=(), **settings), transport=table), table


def resolve(
    sink: MemorySink, top: Descriptor, changes: dict[str, Any] | None = None, **settings: Any
) -> Resolved:
    registry, _ = client(sink, top, changes, **settings)
    found: Resolved = registry.resolve(settings.get("reference", REF), AMD64)
    return found


def tag_reply(
    content: bytes, media_type: str = mediatype.OCI_MANIFEST, **headers: str
) -> dict[str, httpx.Response]:
    return {
        f"GET {BASE}/v2/app/manifests/1": httpx.Response(
            200, content=content, headers={"Content-Type": media_type, **headers}
        )
    }


def test_a_manifest_and_its_config_are_found_and_verified() -> None:
    sink = MemorySink()
    top = small_image(sink, b"one", b"two")
    found = resolve(sink, top)
    assert found.descriptor.digest == found.manifest_descriptor.digest == top.digest
    assert found.index_bytes is None
    assert found.manifest_bytes == sink.blobs[top.digest]
    assert [layer.digest for layer in found.manifest.layers] == [sha256(b"one"), sha256(b"two")]
    assert found.config.architecture == "amd64"
    assert sha256(found.config_bytes) == found.manifest.config.digest


def test_the_platform_chooses_from_an_index_even_from_a_nested_one() -> None:
    sink = MemorySink()
    amd, arm = small_image(sink, b"a"), small_image(sink, b"b", architecture="arm64")
    inner = small_index(sink, amd, arm)
    placed = attrs.evolve(inner, platform=Platform(os="linux", architecture="amd64"))
    for top in (small_index(sink, amd, arm), small_index(sink, placed)):
        found = resolve(sink, top)
        assert found.descriptor.digest == top.digest
        assert found.index_bytes == sink.blobs[top.digest]
        assert found.manifest_descriptor.digest == amd.digest


def test_a_platform_that_is_not_offered_names_the_ones_that_are() -> None:
    sink = MemorySink()
    top = small_index(sink, small_image(sink, b"b", architecture="arm64"))
    with pytest.raises(NotFound, match="linux/arm64"):
        resolve(sink, top)


def test_only_one_request_is_made_for_a_tag_so_that_it_cannot_move_in_between() -> None:
    sink = MemorySink()
    registry, table = client(sink, small_image(sink, b"x"))
    registry.resolve(REF, AMD64)
    assert next(f"{request.method} {request.url.path}" for request in table.seen) == "GET /v2/app/manifests/1"
    assert not any(request.method == "HEAD" for request in table.seen)


def test_documents_named_by_digest_are_not_fetched_twice() -> None:
    sink = MemorySink()
    top = small_image(sink, b"x")
    registry, table = client(sink, top)
    pinned = REF.with_digest(top.digest)
    registry.resolve(pinned, AMD64)
    asked = len(table.seen)
    assert registry.resolve(pinned, AMD64).descriptor.digest == top.digest
    assert len(table.seen) == asked


def test_a_digest_is_honoured_over_the_tag_beside_it() -> None:
    sink = MemorySink()
    old, new = small_image(sink, b"old"), small_image(sink, b"new")
    registry, table = client(sink, new)
    assert registry.resolve(REF.with_digest(old.digest), AMD64).descriptor.digest == old.digest
    assert not any(request.url.path.endswith("/manifests/1") for request in table.seen)


def test_a_manifest_that_is_not_the_digest_asked_for_is_refused() -> None:
    sink = MemorySink()
    top = small_image(sink, b"x")
    lie = {
        f"GET {BASE}/v2/app/manifests/{top.digest}": httpx.Response(
            200, content=sink.blobs[top.digest] + b"\n"
        )
    }
    with pytest.raises(DigestMismatch):
        client(sink, top, lie)[0].resolve(REF.with_digest(top.digest), AMD64)


@pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, "sha512:" + "0" * 128])
def test_a_server_that_names_another_digest_than_it_sends_is_refused(digest: str) -> None:
    sink = MemorySink()
    top = small_image(sink, b"x")
    with pytest.raises(DigestMismatch):
        resolve(sink, top, tag_reply(sink.blobs[top.digest], **{"Docker-Content-Digest": digest}))


@pytest.mark.parametrize(
    "digest", ["sha256:" + "A" * 64, "sha256:../../x", "sha256:", "", "md5:" + "0" * 32, "sha256:" + "0" * 63]
)
def test_a_digest_outside_the_grammar_is_refused(digest: str) -> None:
    sink = MemorySink()
    top = small_image(sink, b"x")
    with pytest.raises(IntegrityError):
        resolve(sink, top, tag_reply(sink.blobs[top.digest], **{"Docker-Content-Digest": digest}))


def test_an_entry_of_an_index_with_another_size_is_refused_before_its_digest() -> None:
    sink = MemorySink()
    entry = attrs.evolve(small_image(sink, b"x"), size=7)
    with pytest.raises(DigestMismatch) as caught:
        resolve(sink, small_index(sink, entry))
    assert caught.value.expected == "7 bytes"


def test_a_config_that_is_not_its_digest_is_refused() -> None:
    sink = MemorySink()
    top = small_image(sink, b"x")
    manifest = json.loads(sink.blobs[top.digest])
    url = f"GET {BASE}/v2/app/blobs/{manifest['config']['digest']}"
    content = sink.blobs[manifest["config"]["digest"]]
    for lie in (content.replace(b"amd64", b"arm64"), content + b" ", content[:-1], b""):
        with pytest.raises(DigestMismatch):
            resolve(sink, top, {url: httpx.Response(200, content=lie)})


def test_a_circle_of_indexes_ends() -> None:
    sink = MemorySink()
    # No two documents can name each other by digest, so the server lies about one of them.
    placed = Platform(os="linux", architecture="amd64")
    depth: Descriptor = attrs.evolve(small_image(sink, b"x"), platform=placed)
    for number in range(8):
        index = Index(manifests=(depth,), annotations={"n": str(number)})
        depth = sink.add(encode(index), mediatype.OCI_INDEX, platform=placed)
    with pytest.raises(InvalidImage, match="nested"):
        resolve(sink, depth)


def test_a_document_that_is_manifest_and_index_at_once_is_refused() -> None:
    sink = MemorySink()
    top = small_image(sink, b"x")
    both = json.loads(sink.blobs[top.digest]) | {"manifests": []}
    for media_type in (mediatype.OCI_MANIFEST, mediatype.OCI_INDEX, "application/json"):
        with pytest.raises(InvalidImage):
            resolve(sink, top, tag_reply(json.dumps(both).encode(), media_type))


def test_a_content_type_that_contradicts_the_document_is_refused() -> None:
    sink = MemorySink()
    top = small_image(sink, b"x")
    with pytest.raises(InvalidImage):
        resolve(sink, top, tag_reply(sink.blobs[top.digest], mediatype.OCI_INDEX))


@pytest.mark.parametrize(
    "media_type", ["application/json", "text/plain; charset=utf-8", "", mediatype.OCI_MANIFEST]
)
def test_a_content_type_that_says_nothing_leaves_it_to_the_document(media_type: str) -> None:
    sink = MemorySink()
    top = small_image(sink, b"x")
    assert resolve(sink, top, tag_reply(sink.blobs[top.digest], media_type)).descriptor.digest == top.digest


def test_an_answer_of_a_type_we_did_not_accept_is_refused() -> None:
    sink = MemorySink()
    with pytest.raises(InvalidImage, match="schema 1"):
        resolve(
            sink,
            small_image(sink, b"x"),
            tag_reply(b'{"schemaVersion": 1, "fsLayers": []}', mediatype.DOCKER_SCHEMA1_SIGNED),
        )


HOSTILE = {
    "deep JSON": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "a key twice": b'{"schemaVersion":2,"schemaVersion":2,"config":{},"layers":[]}',
    "NaN": b'{"schemaVersion":2,"layers":[],"x":NaN}',
    "no JSON": b"<html>",
    "not UTF-8": b'{"schemaVersion":2,"x":"\xff"}',
    "empty": b"",
    "a list": b"[]",
    "a number": b"2",
    "too many entries": json.dumps(
        {
            "schemaVersion": 2,
            "manifests": [{"mediaType": mediatype.OCI_MANIFEST, "digest": "sha256:" + "0" * 64, "size": 1}]
            * 10_000,
        }
    ).encode(),
    "too many layers": json.dumps(
        {
            "schemaVersion": 2,
            "config": {"mediaType": mediatype.OCI_CONFIG, "digest": "sha256:" + "0" * 64, "size": 1},
            "layers": [{"mediaType": mediatype.OCI_LAYER, "digest": "sha256:" + "0" * 64, "size": 1}]
            * 10_000,
        }
    ).encode(),
    "a size below zero": json.dumps(
        {
            "schemaVersion": 2,
            "config": {"mediaType": mediatype.OCI_CONFIG, "digest": "sha256:" + "0" * 64, "size": -1},
            "layers": [],
        }
    ).encode(),
    "a digest with a path": json.dumps(
        {
            "schemaVersion": 2,
            "config": {"mediaType": mediatype.OCI_CONFIG, "digest": "sha256:../../../etc/passwd", "size": 1},
            "layers": [],
        }
    ).encode(),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_document_is_an_ordinary_error(content: bytes) -> None:
    sink = MemorySink()
    with pytest.raises((InvalidImage, RegistryError)):
        resolve(sink, small_image(sink, b"x"), tag_reply(content, "application/json"))


def test_a_manifest_above_the_limit_is_not_read_to_its_end() -> None:
    sink = MemorySink()
    top = small_image(sink, b"x")
    sent: list[int] = []

    def endless(request: httpx.Request) -> httpx.Response:
        def chunks() -> Any:
            while True:
                sent.append(1 << 16)
                yield b" " * (1 << 16)

        return httpx.Response(200, content=chunks())

    for reply in (endless, httpx.Response(200, content=b" " * (5 << 20))):
        with pytest.raises(RegistryError, match="larger than 4194304"):
            resolve(sink, top, {f"GET {BASE}/v2/app/manifests/1": reply})
    assert sum(sent) < 5 << 20


def test_the_limit_can_be_raised_up_to_the_hard_one() -> None:
    sink = MemorySink()
    top = small_image(sink, b"x")
    padded = sink.blobs[top.digest] + b" " * (5 << 20)
    found = resolve(sink, top, tag_reply(padded), limits=Limits(manifest_bytes=16 << 20))
    assert found.descriptor.size == len(padded)
    with pytest.raises(ValueError):
        Limits(manifest_bytes=(16 << 20) + 1)


def test_descriptors_that_claim_too_much_are_refused_before_anything_is_fetched() -> None:
    sink = MemorySink()
    top = small_image(sink, b"x")
    manifest = json.loads(sink.blobs[top.digest])
    manifest["config"]["size"] = 9 << 20
    content = json.dumps(manifest).encode()
    registry, table = client(sink, top, tag_reply(content))
    with pytest.raises(InvalidImage):
        registry.resolve(REF, AMD64)
    assert len(table.seen) == 1
    with pytest.raises(InvalidImage):
        resolve(sink, small_index(sink, attrs.evolve(top, size=17 << 20)))


def test_layers_and_diff_ids_must_be_as_many() -> None:
    sink = MemorySink()
    top = small_image(sink, b"one", b"two")
    manifest = json.loads(sink.blobs[top.digest])
    manifest["layers"].pop()
    with pytest.raises(InvalidImage, match="1 layers"):
        resolve(sink, top, tag_reply(json.dumps(manifest).encode()))


def test_an_artifact_is_no_image() -> None:
    sink = MemorySink()
    config = sink.add(b"{}", "application/vnd.cncf.helm.config.v1+json")
    top = sink.add(encode(Manifest(config=config)), mediatype.OCI_MANIFEST)
    with pytest.raises(InvalidImage, match="no container image"):
        resolve(sink, top)


def test_inline_data_takes_the_place_of_a_request() -> None:
    sink = MemorySink()
    top = small_image(sink, b"x")
    registry, table = client(sink, top)
    manifest = registry.resolve(REF, AMD64).manifest
    inline = attrs.evolve(manifest.config, data=sink.blobs[manifest.config.digest])
    changed = sink.add(encode(attrs.evolve(manifest, config=inline)), mediatype.OCI_MANIFEST)
    registry, table = client(sink, changed)
    assert registry.resolve(REF, AMD64).config.architecture == "amd64"
    assert len(table.seen) == 1


def test_inline_data_that_is_not_its_digest_is_refused() -> None:
    sink = MemorySink()
    top = small_image(sink, b"x")
    manifest = json.loads(sink.blobs[top.digest])
    manifest["config"]["data"] = "e30="
    with pytest.raises((InvalidImage, DigestMismatch)):
        resolve(sink, top, tag_reply(json.dumps(manifest).encode()))
