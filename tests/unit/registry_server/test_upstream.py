from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pycontainer.errors import InvalidInput
from pycontainer.registry import Credentials, RegistryConfig, Retries
from pycontainer.registry.server import (
    Answer,
    Corrupt,
    Fault,
    Registry,
    Slow,
    Status,
    Truncate,
)
from tests.unit.registry_server.support import (
    OCI_MANIFEST,
    code,
    index,
    manifest,
    push_blob,
    push_image,
    put_manifest,
    sha256,
    until,
)

LAYER = bytes(range(256)) * 1600
QUICK = RegistryConfig(retries=Retries(attempts=2, base_s=0.01, cap_s=0.02), certs_dirs=())


def open_client(registry: Registry) -> httpx.Client:
    return httpx.Client(base_url=registry.url, trust_env=False, timeout=20)


@pytest.fixture
def upstream() -> Iterator[Registry]:
    """A registry with one image, team/app:1, of one layer."""
    with Registry() as running:
        with open_client(running) as client:
            push_blob(client, "team/app", LAYER)
            push_blob(client, "team/app", b"{}")
            assert put_manifest(client, "team/app", "1", manifest([LAYER])).status_code == 201
        yield running


@pytest.fixture
def proxy(upstream: Registry) -> Iterator[Registry]:
    with Registry(upstream=upstream.address, upstream_config=QUICK) as running:
        yield running


@pytest.fixture
def client(proxy: Registry) -> Iterator[httpx.Client]:
    with open_client(proxy) as opened:
        yield opened


BLOB = f"/v2/team/app/blobs/{sha256(LAYER)}"


def asked(upstream: Registry, text: str) -> int:
    return sum(record.method == "GET" and text in record.path for record in upstream.requests)


def kept(proxy: Registry) -> bool:
    return (proxy.root / "blobs" / sha256(LAYER).replace(":", "/")).exists()


def test_image_comes_through_and_is_kept(upstream: Registry, client: httpx.Client) -> None:
    for _ in range(2):
        answer = client.get("/v2/team/app/manifests/1")
        assert (answer.status_code, answer.content) == (200, manifest([LAYER]))
        assert answer.headers["Content-Type"] == OCI_MANIFEST
        assert client.get(BLOB).content == LAYER
        assert client.get(f"/v2/team/app/blobs/{sha256(b'{}')}").content == b"{}"
    assert asked(upstream, "/blobs/") == 2
    upstream.close()
    assert client.get("/v2/team/app/manifests/1").content == manifest([LAYER])
    assert client.get(f"/v2/team/app/manifests/{sha256(manifest([LAYER]))}").status_code == 200
    assert client.get(BLOB).content == LAYER


def test_manifest_by_digest_is_asked_upstream_once(upstream: Registry, client: httpx.Client) -> None:
    path = f"/v2/team/app/manifests/{sha256(manifest([LAYER]))}"
    assert [client.get(path).status_code for _ in range(3)] == [200] * 3
    assert asked(upstream, "/manifests/") == 1


def test_tag_moves_here_when_it_moves_there(
    upstream: Registry, proxy: Registry, client: httpx.Client
) -> None:
    client.get("/v2/team/app/manifests/1")
    with open_client(upstream) as pusher:
        moved = push_image(pusher, "team/app", "1")
    assert client.head("/v2/team/app/manifests/1").headers["Docker-Content-Digest"] == moved
    assert proxy.tags("team/app") == ["1"]


def test_index_comes_before_its_images(upstream: Registry, client: httpx.Client) -> None:
    with open_client(upstream) as pusher:
        content = index([manifest([LAYER])])
        put_manifest(pusher, "team/app", "all", content, "application/vnd.oci.image.index.v1+json")
    assert client.get("/v2/team/app/manifests/all").content == content
    assert client.get(f"/v2/team/app/manifests/{sha256(manifest([LAYER]))}").status_code == 200


def test_bytes_reach_the_client_while_they_arrive(upstream: Registry, client: httpx.Client) -> None:
    client.get("/v2/team/app/manifests/1")
    upstream.inject(Fault(Slow(len(LAYER)), path="/blobs/"))
    before = time.monotonic()
    with client.stream("GET", BLOB) as answer:
        pieces = answer.iter_raw()
        first = next(pieces)
        first_after = time.monotonic() - before
        assert first + b"".join(pieces) == LAYER
    assert first_after < 0.5 < time.monotonic() - before


def test_range_of_a_blob_on_its_way_is_served(upstream: Registry, client: httpx.Client) -> None:
    client.get("/v2/team/app/manifests/1")
    upstream.inject(Fault(Slow(len(LAYER) * 4), path="/blobs/"))
    answer = client.get(BLOB, headers={"Range": "bytes=200000-200099"})
    assert (answer.status_code, answer.content) == (206, LAYER[200_000:200_100])
    assert answer.headers["Content-Range"] == f"bytes 200000-200099/{len(LAYER)}"


def test_many_clients_share_one_transfer(upstream: Registry, proxy: Registry, client: httpx.Client) -> None:
    client.get("/v2/team/app/manifests/1")
    upstream.inject(Fault(Slow(len(LAYER) * 4), path="/blobs/"))
    contents: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: contents.append(httpx.get(proxy.url + BLOB, timeout=20).content))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents == [LAYER] * 6
    assert asked(upstream, "/blobs/") == 1


def test_transfer_goes_on_when_its_client_leaves(
    upstream: Registry, proxy: Registry, client: httpx.Client
) -> None:
    client.get("/v2/team/app/manifests/1")
    upstream.inject(Fault(Slow(len(LAYER) * 3), path="/blobs/"))
    with client.stream("GET", BLOB) as answer:
        next(answer.iter_raw())
    until(lambda: kept(proxy))
    assert client.get(BLOB).content == LAYER
    assert asked(upstream, "/blobs/") == 1


def test_transfer_that_breaks_is_resumed_unnoticed(upstream: Registry, client: httpx.Client) -> None:
    client.get("/v2/team/app/manifests/1")
    upstream.inject(Fault(Truncate(100_000), path="/blobs/"))
    assert client.get(BLOB).content == LAYER
    assert any("range" in record.headers for record in upstream.requests)


def test_wrong_blob_never_arrives_whole_and_is_not_kept(
    upstream: Registry, proxy: Registry, client: httpx.Client
) -> None:
    client.get("/v2/team/app/manifests/1")
    upstream.inject(Fault(Corrupt(at=5), path="/blobs/", count=None))
    try:
        assert client.get(BLOB).status_code == 502  # known before the first byte went out
    except httpx.RemoteProtocolError:
        pass  # known later: the last byte was held back
    assert not kept(proxy)
    assert list((proxy.root / "uploads").iterdir()) == []
    upstream.clear_faults()
    assert client.get(BLOB).content == LAYER


def test_head_of_a_blob_fetches_nothing(upstream: Registry, client: httpx.Client) -> None:
    client.get("/v2/team/app/manifests/1")
    answer = client.head(BLOB)
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, str(len(LAYER)))
    assert asked(upstream, "/blobs/") == 0


def test_blob_no_manifest_announced_is_not_asked_for(upstream: Registry, client: httpx.Client) -> None:
    assert client.get(BLOB).status_code == 404
    assert client.head(BLOB).status_code == 404
    assert asked(upstream, "/blobs/") == 0


@pytest.mark.parametrize(
    ("fault", "status", "expected"),
    [
        (Status(404, code="MANIFEST_UNKNOWN"), 404, "MANIFEST_UNKNOWN"),
        (Status(429, retry_after=120), 429, "TOOMANYREQUESTS"),
        (Status(403, code="DENIED"), 403, "DENIED"),
        (Status(500), 502, "UNKNOWN"),
        (Answer(b"<html>"), 502, "UNKNOWN"),
    ],
)
def test_refusal_of_upstream_is_passed_on(
    upstream: Registry, client: httpx.Client, fault: Status | Answer, status: int, expected: str
) -> None:
    upstream.inject(Fault(fault, path="/manifests/", count=None))
    answer = client.get("/v2/team/app/manifests/1")
    assert (answer.status_code, code(answer)) == (status, expected)


def test_what_is_kept_answers_when_upstream_does_not(upstream: Registry, client: httpx.Client) -> None:
    assert client.get("/v2/team/app/manifests/1").status_code == 200
    upstream.inject(Fault(Status(500), count=None))
    assert client.get("/v2/team/app/manifests/1").status_code == 200
    assert client.get("/v2/team/app/tags/list").json()["tags"] == ["1"]


def test_unknown_image_is_not_found(client: httpx.Client) -> None:
    answer = client.get("/v2/nowhere/manifests/1")
    assert (answer.status_code, code(answer)) == (404, "MANIFEST_UNKNOWN")
    assert client.get("/v2/nowhere/tags/list").status_code == 404


def test_own_images_stand_beside_those_of_upstream(proxy: Registry, client: httpx.Client) -> None:
    push_image(client, "team/app", "mine")
    assert client.get("/v2/team/app/tags/list").json()["tags"] == ["1", "mine"]
    assert client.get("/v2/team/app/manifests/mine").status_code == 200
    push_image(client, "mine/only", "1")
    assert client.get("/v2/mine/only/manifests/1").status_code == 200
    assert proxy.repositories() == ["mine/only", "team/app"]


def test_referrers_of_upstream_and_own_are_listed_together(upstream: Registry, client: httpx.Client) -> None:
    subject = sha256(manifest([LAYER]))
    pointer = {"mediaType": OCI_MANIFEST, "digest": subject, "size": len(manifest([LAYER]))}
    with open_client(upstream) as pusher:
        there = push_image(pusher, "team/app", "sig", subject=pointer, artifactType="x/sig")
    here = push_image(client, "team/app", "bill", subject=pointer, artifactType="x/bill")
    found = client.get(f"/v2/team/app/referrers/{subject}").json()["manifests"]
    assert {each["digest"]: each["artifactType"] for each in found} == {there: "x/sig", here: "x/bill"}
    upstream.close()
    found = client.get(f"/v2/team/app/referrers/{subject}").json()["manifests"]
    assert [each["digest"] for each in found] == [here]


def test_upstream_behind_tokens_is_reached_with_configured_credentials() -> None:
    with Registry(auth={"ada": "x"}, token_auth=True) as guarded:
        config = RegistryConfig(
            credentials={guarded.address: Credentials(username="ada", password="x")},
            retries=QUICK.retries,
            certs_dirs=(),
        )
        token = httpx.get(
            f"{guarded.url}/token",
            params={"scope": "repository:a:pull,push"},
            auth=httpx.BasicAuth("ada", "x"),
        ).json()["token"]
        with open_client(guarded) as pusher:
            pusher.headers["Authorization"] = f"Bearer {token}"
            push_image(pusher, "a", "1")
        with (
            Registry(upstream=guarded.address, upstream_config=config) as proxy,
            open_client(proxy) as client,
        ):
            assert client.get("/v2/a/manifests/1").status_code == 200
            assert client.get(f"/v2/a/blobs/{sha256(b'layer')}").content == b"layer"
        with Registry(upstream=guarded.address, upstream_config=QUICK) as proxy, open_client(proxy) as client:
            assert client.get("/v2/a/manifests/1").status_code == 403


def test_one_byte_and_no_byte_come_through(upstream: Registry, client: httpx.Client) -> None:
    with open_client(upstream) as pusher:
        for layer in (b"", b"x"):
            push_blob(pusher, "tiny", layer)
        push_blob(pusher, "tiny", b"{}")
        put_manifest(pusher, "tiny", "1", manifest([b"", b"x"]))
    client.get("/v2/tiny/manifests/1")
    assert client.get(f"/v2/tiny/blobs/{sha256(b'x')}").content == b"x"
    assert client.get(f"/v2/tiny/blobs/{sha256(b'')}").content == b""


def test_close_is_quick_in_the_middle_of_a_transfer(upstream: Registry) -> None:
    proxy = Registry(upstream=upstream.address, upstream_config=QUICK)
    upstream.inject(Fault(Slow(1000), path="/blobs/"))
    with open_client(proxy) as client:
        client.get("/v2/team/app/manifests/1")
        with pytest.raises(httpx.RemoteProtocolError), client.stream("GET", BLOB) as answer:  # noqa: PT012
            pieces = answer.iter_raw()
            next(pieces)
            before = time.monotonic()
            proxy.close()
            assert time.monotonic() - before < 2
            for _ in pieces:
                pass
    assert not [thread for thread in threading.enumerate() if thread.name == "registry-upstream"]


@pytest.mark.parametrize("domain", ["https://ghcr.io", "ghcr.io/a", "ghcr", ""])
def test_upstream_that_is_no_host_is_refused_and_leaves_nothing(tmp_path: Path, domain: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(InvalidInput):
        Registry(tmp_path, upstream=domain)
    assert len(os.listdir("/proc/self/fd")) == before


def test_server_without_upstream_loads_no_http_client() -> None:
    script = (
        "import sys\n"
        "from pycontainer.registry.server import Registry\n"
        "Registry().close()\n"
        "print([name for name in ('httpx', 'sqlite3') if name in sys.modules])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert ended.stdout.strip() == "[]"
