from __future__ import annotations

import hashlib
import json

import httpx
import pytest

from pycontainer.registry.server import Registry
from tests.unit.registry_server.support import (
    OCI_INDEX,
    OCI_MANIFEST,
    code,
    descriptor,
    index,
    manifest,
    push_blob,
    push_image,
    put_manifest,
    sha256,
)

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def test_manifest_is_pulled_by_tag_and_digest_exactly_as_pushed(client: httpx.Client) -> None:
    digest = push_image(client, "a/b", "1")
    for reference in ("1", digest):
        answer = client.get(f"/v2/a/b/manifests/{reference}")
        assert (answer.status_code, answer.content) == (200, manifest())
        assert answer.headers["Content-Type"] == OCI_MANIFEST
        assert answer.headers["Docker-Content-Digest"] == digest
        head = client.head(f"/v2/a/b/manifests/{reference}")
        assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(manifest())))


def test_push_tells_digest_and_location(client: httpx.Client) -> None:
    push_image(client, "a", "1")
    answer = put_manifest(client, "a", "2", manifest())
    assert answer.headers["Docker-Content-Digest"] == sha256(manifest())
    assert client.get(answer.headers["Location"]).content == manifest()
    assert "OCI-Subject" not in answer.headers


def test_push_by_digest_names_no_tag(registry: Registry, client: httpx.Client) -> None:
    push_blob(client, "a", b"layer")
    push_blob(client, "a", b"{}")
    assert put_manifest(client, "a", sha256(manifest()), manifest()).status_code == 201
    assert registry.tags("a") == []
    wrong = put_manifest(client, "a", sha256(b"other"), manifest())
    assert (wrong.status_code, code(wrong)) == (400, "DIGEST_INVALID")


def test_push_by_sha512_digest_is_verified(client: httpx.Client) -> None:
    push_blob(client, "a", b"layer")
    push_blob(client, "a", b"{}")
    digest = f"sha512:{hashlib.sha512(manifest()).hexdigest()}"
    assert put_manifest(client, "a", digest, manifest()).status_code == 201
    assert client.get(f"/v2/a/manifests/{digest}").content == manifest()


def test_tag_moves_and_the_old_manifest_stays(registry: Registry, client: httpx.Client) -> None:
    first = push_image(client, "a", "1")
    second = push_image(client, "a", "1", annotations={"n": "2"})
    assert client.head("/v2/a/manifests/1").headers["Docker-Content-Digest"] == second
    assert client.get(f"/v2/a/manifests/{first}").status_code == 200
    assert registry.tags("a") == ["1"]


def test_docker_schema_2_is_kept_as_such(client: httpx.Client) -> None:
    push_blob(client, "a", b"layer")
    push_blob(client, "a", b"{}")
    content = manifest(mediaType=DOCKER_MANIFEST)
    assert put_manifest(client, "a", "1", content, DOCKER_MANIFEST).status_code == 201
    assert client.get("/v2/a/manifests/1").headers["Content-Type"] == DOCKER_MANIFEST


def test_manifest_whose_blobs_are_not_here_is_refused(client: httpx.Client) -> None:
    push_blob(client, "a", b"layer")
    push_blob(client, "other", b"{}")
    answer = put_manifest(client, "a", "1", manifest())
    assert (answer.status_code, code(answer)) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert client.get("/v2/a/manifests/1").status_code == 404


def test_index_whose_manifests_are_not_here_is_refused(client: httpx.Client) -> None:
    push_image(client, "a", "1")
    content = index([manifest(), b"another"])
    answer = put_manifest(client, "a", "all", content, OCI_INDEX)
    assert (answer.status_code, code(answer)) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert put_manifest(client, "a", "all", index([manifest()]), OCI_INDEX).status_code == 201


def test_foreign_layer_need_not_be_here(client: httpx.Client) -> None:
    push_blob(client, "a", b"{}")
    layer = descriptor(
        b"far away", "application/vnd.oci.image.layer.nondistributable.v1.tar", urls=["https://x/y"]
    )
    content = manifest(layers=[])
    document = {**json.loads(content), "layers": [layer]}
    assert put_manifest(client, "a", "1", json.dumps(document).encode()).status_code == 201


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"", OCI_MANIFEST),
        (b"{", OCI_MANIFEST),
        (b"[]", OCI_MANIFEST),
        (b"null", OCI_MANIFEST),
        (b"\xff\xfe", OCI_MANIFEST),
        (b"[" * 100_000, OCI_MANIFEST),
        (b'{"schemaVersion": 1}', OCI_MANIFEST),
        (b'{"schemaVersion": 2, "mediaType": "text/html"}', "text/html"),
        (b'{"schemaVersion": 2, "mediaType": 7}', OCI_MANIFEST),
        (b'{"schemaVersion": 2, "mediaType": []}', ""),
        (manifest(mediaType=DOCKER_MANIFEST), OCI_MANIFEST),
        (manifest(manifests=[]), OCI_MANIFEST),
        (index([], mediaType=OCI_MANIFEST), OCI_MANIFEST),
        (manifest(layers=[], config=b"{}", mediaType=OCI_INDEX), OCI_INDEX),
        (manifest(layers=[], subject={"digest": "sha256:short"}), OCI_MANIFEST),
        (manifest(layers=[]).replace(b'"layers": []', b'"layers": {}'), OCI_MANIFEST),
        (manifest(layers=[]).replace(b'"layers": []', b'"layers": ["x"]'), OCI_MANIFEST),
        (manifest(layers=[]).replace(b"sha256:", b"sha256:../"), OCI_MANIFEST),
    ],
    ids=[
        "empty", "torn", "list", "null", "not utf-8", "deep", "schema 1", "unknown type", "type not text",
        "type a list", "types differ", "hybrid", "index as manifest", "manifest as index", "bad subject",
        "layers not a list", "layer not a descriptor", "bad digest",
    ],
)  # fmt: skip
def test_malformed_manifest_is_refused(client: httpx.Client, content: bytes, media_type: str) -> None:
    push_blob(client, "a", b"{}")
    answer = put_manifest(client, "a", "1", content, media_type)
    assert (answer.status_code, code(answer)) == (400, "MANIFEST_INVALID")


def test_manifest_above_four_mebibytes_is_refused_and_below_is_taken(client: httpx.Client) -> None:
    push_blob(client, "a", b"{}")
    big = manifest(layers=[], annotations={"x": "y" * (4 << 20)})
    answer = put_manifest(client, "a", "1", big)
    assert (answer.status_code, code(answer)) == (413, "SIZE_INVALID")
    streamed = client.put("/v2/a/manifests/1", content=iter([big]), headers={"Content-Type": OCI_MANIFEST})
    assert streamed.status_code == 413
    fits = manifest(layers=[], annotations={"x": "y" * (4 << 20)})[: 4 << 20].rstrip(b"y")
    fits = manifest(layers=[], annotations={"x": "y" * (len(fits) - 600)})
    assert put_manifest(client, "a", "1", fits).status_code == 201


@pytest.mark.parametrize("reference", ["nothing", "..", ".x", "a" * 129])
def test_unknown_manifest_is_404(client: httpx.Client, reference: str) -> None:
    push_image(client, "a", "1")
    answer = client.get(f"/v2/a/manifests/{reference.replace('.', '%2e')}")
    assert (answer.status_code, code(answer)) == (404, "MANIFEST_UNKNOWN")


def test_malformed_digest_is_400(client: httpx.Client) -> None:
    answer = client.get("/v2/a/manifests/sha256:123")
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")


def test_deleted_tag_leaves_the_manifest(client: httpx.Client) -> None:
    digest = push_image(client, "a", "1")
    assert client.delete("/v2/a/manifests/1").status_code == 202
    assert client.get("/v2/a/manifests/1").status_code == 404
    assert client.get(f"/v2/a/manifests/{digest}").status_code == 200
    assert client.delete("/v2/a/manifests/1").status_code == 404


def test_deleted_manifest_takes_its_tags_along(registry: Registry, client: httpx.Client) -> None:
    digest = push_image(client, "a", "1")
    put_manifest(client, "a", "2", manifest())
    push_image(client, "a", "other", annotations={"n": "2"})
    assert client.delete(f"/v2/a/manifests/{digest}").status_code == 202
    assert registry.tags("a") == ["other"]
    assert client.get(f"/v2/a/manifests/{digest}").status_code == 404
    assert not (registry.root / "blobs" / digest.replace(":", "/")).exists()


def test_referrers_lists_manifests_with_that_subject(client: httpx.Client) -> None:
    subject = push_image(client, "a", "1")
    empty = client.get(f"/v2/a/referrers/{subject}")
    assert (empty.status_code, empty.json()["manifests"]) == (200, [])
    assert empty.headers["Content-Type"] == OCI_INDEX
    pointer = {"mediaType": OCI_MANIFEST, "digest": subject, "size": len(manifest())}
    signature = manifest(artifactType="application/x-signature", subject=pointer, annotations={"by": "me"})
    answer = put_manifest(client, "a", sha256(signature), signature)
    assert answer.headers["OCI-Subject"] == subject
    bill = manifest(subject=pointer)
    put_manifest(client, "a", sha256(bill), bill)
    found = client.get(f"/v2/a/referrers/{subject}").json()
    assert found["mediaType"] == OCI_INDEX
    by_digest = {each["digest"]: each for each in found["manifests"]}
    assert by_digest[sha256(signature)] == {
        "mediaType": OCI_MANIFEST,
        "digest": sha256(signature),
        "size": len(signature),
        "artifactType": "application/x-signature",
        "annotations": {"by": "me"},
    }
    assert by_digest[sha256(bill)]["artifactType"] == "application/vnd.oci.image.config.v1+json"


def test_referrers_can_be_filtered_by_artifact_type(client: httpx.Client) -> None:
    subject = sha256(b"not pushed yet")
    pointer = {"mediaType": OCI_MANIFEST, "digest": subject, "size": 14}
    push_image(client, "a", "1", artifactType="x/one", subject=pointer)
    push_image(client, "a", "2", artifactType="x/two", subject=pointer)
    answer = client.get(f"/v2/a/referrers/{subject}", params={"artifactType": "x/two"})
    assert [each["artifactType"] for each in answer.json()["manifests"]] == ["x/two"]
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"


def test_referrers_too_big_for_one_answer_come_in_pages(client: httpx.Client) -> None:
    subject = sha256(b"subject")
    pointer = {"mediaType": OCI_MANIFEST, "digest": subject, "size": 7}
    pushed = {
        push_image(client, "a", str(n), subject=pointer, annotations={"n": str(n) * (3 << 20)})
        for n in range(3)
    }
    path: str | None = f"/v2/a/referrers/{subject}"
    pages = []
    while path is not None:
        answer = client.get(path)
        assert len(answer.content) <= 4 << 20
        pages.append([each["digest"] for each in answer.json()["manifests"]])
        path = answer.links["next"]["url"] if "next" in answer.links else None
    assert [len(page) for page in pages] == [1, 1, 1]
    assert {digest for page in pages for digest in page} == pushed


def test_deleted_referrer_is_listed_no_more(client: httpx.Client) -> None:
    subject = sha256(b"subject")
    pointer = {"mediaType": OCI_MANIFEST, "digest": subject, "size": 7}
    digest = push_image(client, "a", "1", subject=pointer)
    client.delete(f"/v2/a/manifests/{digest}")
    assert client.get(f"/v2/a/referrers/{subject}").json()["manifests"] == []


def test_referrers_of_a_malformed_digest_is_400_and_of_an_unknown_repository_empty(
    client: httpx.Client,
) -> None:
    assert client.get("/v2/a/referrers/sha256:12").status_code == 400
    answer = client.get(f"/v2/nowhere/referrers/{sha256(b'')}")
    assert (answer.status_code, answer.json()["manifests"]) == (200, [])
