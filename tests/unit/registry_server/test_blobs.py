from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import httpx
import pytest

from pycontainer.registry.server import Registry, ServerLimits
from tests.unit.registry_server.support import begin, code, connect, push_blob, sha256, until

CONTENT = bytes(range(256)) * 40


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_blob_pushed_in_one_request_is_pulled_back(client: httpx.Client) -> None:
    digest = sha256(CONTENT)
    answer = client.post(f"/v2/a/b/blobs/uploads/?digest={digest}", content=CONTENT)
    assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (201, digest)
    pulled = client.get(answer.headers["Location"])
    assert (pulled.status_code, pulled.content) == (200, CONTENT)
    assert pulled.headers["Docker-Content-Digest"] == digest
    assert pulled.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert pulled.headers["Accept-Ranges"] == "bytes"


def test_blob_pushed_by_post_and_put_is_pulled_back(client: httpx.Client) -> None:
    location = begin(client, "a")
    answer = client.put(location, params={"digest": sha256(CONTENT)}, content=CONTENT)
    assert answer.status_code == 201
    assert client.get(answer.headers["Location"]).content == CONTENT


def test_blob_pushed_in_chunks_is_pulled_back(client: httpx.Client) -> None:
    location = begin(client, "a")
    for start in range(0, len(CONTENT), 3000):
        chunk = CONTENT[start : start + 3000]
        answer = client.patch(
            location, content=chunk, headers={"Content-Range": f"{start}-{start + len(chunk) - 1}"}
        )
        assert answer.status_code == 202
        assert answer.headers["Range"] == f"0-{start + len(chunk) - 1}"
        location = answer.headers["Location"]
    assert client.put(location, params={"digest": sha256(CONTENT)}).status_code == 201
    assert client.get(f"/v2/a/blobs/{sha256(CONTENT)}").content == CONTENT


def test_last_chunk_may_come_with_the_closing_request(client: httpx.Client) -> None:
    location = begin(client, "a")
    client.patch(location, content=CONTENT[:100], headers={"Content-Range": "0-99"})
    answer = client.put(
        location,
        params={"digest": sha256(CONTENT)},
        content=CONTENT[100:],
        headers={"Content-Range": f"100-{len(CONTENT) - 1}"},
    )
    assert answer.status_code == 201


def test_body_without_a_length_is_accepted(client: httpx.Client) -> None:
    location = begin(client, "a")
    answer = client.patch(location, content=iter([CONTENT[:5000], CONTENT[5000:]]))
    assert answer.status_code == 202
    assert client.put(location, params={"digest": sha256(CONTENT)}).status_code == 201


def test_empty_blob_is_a_blob(client: httpx.Client) -> None:
    digest = push_blob(client, "a", b"")
    answer = client.get(f"/v2/a/blobs/{digest}")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("header", ["1-10", "99-108", "0-5", "bytes 100-109/200", "109-100"])
def test_chunk_out_of_order_is_answered_with_416_and_where_to_go_on(
    client: httpx.Client, header: str
) -> None:
    location = begin(client, "a")
    client.patch(location, content=CONTENT[:100], headers={"Content-Range": "0-99"})
    answer = client.patch(location, content=b"0123456789", headers={"Content-Range": header})
    assert (answer.status_code, answer.headers["Range"]) == (416, "0-99")
    assert answer.headers["Location"] == location
    status = client.get(location)
    assert (status.status_code, status.headers["Range"]) == (204, "0-99")


def test_chunk_shorter_than_its_range_is_refused_and_leaves_no_bytes(client: httpx.Client) -> None:
    location = begin(client, "a")
    declared = client.patch(location, content=b"12345", headers={"Content-Range": "0-9"})
    assert (declared.status_code, code(declared)) == (400, "SIZE_INVALID")
    streamed = client.patch(location, content=iter([b"123", b"45"]), headers={"Content-Range": "0-9"})
    assert (streamed.status_code, code(streamed)) == (400, "SIZE_INVALID")
    client.patch(location, content=CONTENT, headers={"Content-Range": f"0-{len(CONTENT) - 1}"})
    assert client.put(location, params={"digest": sha256(CONTENT)}).status_code == 201


def test_upload_goes_on_after_a_broken_connection(registry: Registry, client: httpx.Client) -> None:
    location = begin(client, "a")
    with connect(registry.address) as sock:
        head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
        sock.sendall(head.encode() + CONTENT[:4000])
    until(lambda: any(record.method == "PATCH" for record in registry.requests))
    status = client.get(location)
    reached = int(status.headers["Range"].partition("-")[2]) + 1
    assert reached == 4000
    client.patch(
        location, content=CONTENT[reached:], headers={"Content-Range": f"{reached}-{len(CONTENT) - 1}"}
    )
    assert client.put(location, params={"digest": sha256(CONTENT)}).status_code == 201


def test_cancelled_upload_is_gone_from_memory_and_disk(registry: Registry, client: httpx.Client) -> None:
    location = begin(client, "a")
    client.patch(location, content=CONTENT)
    assert client.delete(location).status_code == 204
    for answer in (client.get(location), client.patch(location, content=b"x"), client.delete(location)):
        assert (answer.status_code, code(answer)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert list((registry.root / "uploads").iterdir()) == []


def test_wrong_digest_is_refused_and_leaves_nothing(registry: Registry, client: httpx.Client) -> None:
    before = files_below(registry.root)
    wrong = sha256(b"something else")
    answer = client.post(f"/v2/a/blobs/uploads/?digest={wrong}", content=CONTENT)
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")
    location = begin(client, "a")
    answer = client.put(location, params={"digest": wrong}, content=CONTENT)
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")
    assert client.head(f"/v2/a/blobs/{wrong}").status_code == 404
    assert client.head(f"/v2/a/blobs/{sha256(CONTENT)}").status_code == 404
    assert files_below(registry.root) == before


@pytest.mark.parametrize("digest", ["", "sha256:xyz", "md5:00", "sha256:../../../etc/passwd"])
def test_malformed_digest_does_not_end_an_upload(client: httpx.Client, digest: str) -> None:
    location = begin(client, "a")
    answer = client.put(location, params={"digest": digest}, content=CONTENT)
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")
    assert client.get(location).status_code == 204


def test_sha512_blob_is_verified_and_pulled(client: httpx.Client) -> None:
    digest = f"sha512:{hashlib.sha512(CONTENT).hexdigest()}"
    assert client.post(f"/v2/a/blobs/uploads/?digest={digest}", content=CONTENT).status_code == 201
    assert client.get(f"/v2/a/blobs/{digest}").content == CONTENT
    other = client.post(f"/v2/a/blobs/uploads/?digest={digest}", content=CONTENT[1:])
    assert code(other) == "DIGEST_INVALID"


def test_blob_is_visible_only_where_it_was_pushed(client: httpx.Client) -> None:
    digest = push_blob(client, "private/app", CONTENT)
    answer = client.get(f"/v2/other/blobs/{digest}")
    assert (answer.status_code, code(answer)) == (404, "BLOB_UNKNOWN")


def test_mount_makes_a_blob_visible_in_another_repository(client: httpx.Client) -> None:
    digest = push_blob(client, "a", CONTENT)
    answer = client.post("/v2/b/blobs/uploads/", params={"mount": digest, "from": "a"})
    assert (answer.status_code, answer.headers["Location"]) == (201, f"/v2/b/blobs/{digest}")
    assert client.get(f"/v2/b/blobs/{digest}").content == CONTENT


def test_mount_without_a_source_finds_the_blob_anywhere(client: httpx.Client) -> None:
    digest = push_blob(client, "a", CONTENT)
    assert client.post("/v2/b/blobs/uploads/", params={"mount": digest}).status_code == 201


@pytest.mark.parametrize("source", ["nowhere", "../a", "A"])
def test_mount_that_cannot_be_made_begins_an_upload(client: httpx.Client, source: str) -> None:
    digest = push_blob(client, "a", CONTENT)
    answer = client.post("/v2/b/blobs/uploads/", params={"mount": digest, "from": source})
    assert answer.status_code == 202
    done = client.put(answer.headers["Location"], params={"digest": digest}, content=CONTENT)
    assert done.status_code == 201


def test_upload_belongs_to_its_repository(client: httpx.Client) -> None:
    upload_id = begin(client, "a").rpartition("/")[2]
    answer = client.patch(f"/v2/b/blobs/uploads/{upload_id}", content=b"x")
    assert (answer.status_code, code(answer)) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("upload_id", ["0" * 32, "..", "%2e%2e%2flock", "x" * 500])
def test_upload_id_nobody_was_given_is_unknown(client: httpx.Client, upload_id: str) -> None:
    assert client.get(f"/v2/a/blobs/uploads/{upload_id}").status_code == 404


@pytest.mark.parametrize(
    ("header", "first", "last"), [("bytes=0-9", 0, 9), ("bytes=100-", 100, 10239), ("bytes=-5", 10235, 10239)]
)
def test_range_of_a_blob_is_sent_with_206(client: httpx.Client, header: str, first: int, last: int) -> None:
    digest = push_blob(client, "a", CONTENT)
    answer = client.get(f"/v2/a/blobs/{digest}", headers={"Range": header})
    assert (answer.status_code, answer.content) == (206, CONTENT[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(CONTENT)}"


def test_range_outside_a_blob_is_answered_with_416(client: httpx.Client) -> None:
    digest = push_blob(client, "a", CONTENT)
    answer = client.get(f"/v2/a/blobs/{digest}", headers={"Range": f"bytes={len(CONTENT)}-"})
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")


def test_if_range_with_another_tag_gets_the_whole_blob(client: httpx.Client) -> None:
    digest = push_blob(client, "a", CONTENT)
    headers = {"Range": "bytes=1-2", "If-Range": '"other"'}
    assert client.get(f"/v2/a/blobs/{digest}", headers=headers).status_code == 200
    headers["If-Range"] = f'"{digest}"'
    assert client.get(f"/v2/a/blobs/{digest}", headers=headers).status_code == 206


def test_known_blob_is_not_sent_again(client: httpx.Client) -> None:
    digest = push_blob(client, "a", CONTENT)
    answer = client.get(f"/v2/a/blobs/{digest}", headers={"If-None-Match": f'"{digest}"'})
    assert (answer.status_code, answer.content) == (304, b"")


def test_head_tells_the_size_and_sends_no_body(client: httpx.Client) -> None:
    digest = push_blob(client, "a", CONTENT)
    answer = client.head(f"/v2/a/blobs/{digest}")
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, str(len(CONTENT)))
    assert client.get(f"/v2/a/blobs/{digest}").content == CONTENT


def test_deleted_blob_is_gone_here_and_stays_elsewhere(registry: Registry, client: httpx.Client) -> None:
    digest = push_blob(client, "a", CONTENT)
    client.post("/v2/b/blobs/uploads/", params={"mount": digest, "from": "a"})
    assert client.delete(f"/v2/a/blobs/{digest}").status_code == 202
    assert client.get(f"/v2/a/blobs/{digest}").status_code == 404
    assert client.delete(f"/v2/a/blobs/{digest}").status_code == 404
    assert client.get(f"/v2/b/blobs/{digest}").content == CONTENT
    client.delete(f"/v2/b/blobs/{digest}")
    assert not (registry.root / "blobs" / digest.replace(":", "/")).exists()


def test_blob_bigger_than_the_limit_is_refused_on_every_way_in() -> None:
    with (
        Registry(limits=ServerLimits(blob_bytes=1000)) as registry,
        httpx.Client(base_url=registry.url, trust_env=False) as client,
    ):
        digest = sha256(CONTENT)
        assert client.post(f"/v2/a/blobs/uploads/?digest={digest}", content=CONTENT).status_code == 413
        location = begin(client, "a")
        assert client.patch(location, content=iter([CONTENT])).status_code == 413
        assert client.put(location, params={"digest": digest}, content=CONTENT).status_code == 413
        push_blob(client, "a", CONTENT[:1000])


def test_uploads_nobody_touches_expire() -> None:
    with (
        Registry(limits=ServerLimits(upload_idle_s=0.0)) as registry,
        httpx.Client(base_url=registry.url, trust_env=False) as client,
    ):
        first = begin(client, "a")
        begin(client, "a")
        assert client.get(first).status_code == 404


def test_number_of_uploads_is_bounded() -> None:
    with (
        Registry(limits=ServerLimits(uploads=2)) as registry,
        httpx.Client(base_url=registry.url, trust_env=False) as client,
    ):
        location = begin(client, "a")
        begin(client, "a")
        refused = client.post("/v2/a/blobs/uploads/")
        assert (refused.status_code, code(refused)) == (429, "TOOMANYREQUESTS")
        assert refused.headers["Retry-After"] == "1"
        client.delete(location)
        begin(client, "a")


def test_many_clients_push_one_blob_at_once(registry: Registry) -> None:
    digest, statuses = sha256(CONTENT), []

    def push(number: int) -> None:
        with httpx.Client(base_url=registry.url, trust_env=False, timeout=30) as client:
            path = f"/v2/repository{number % 3}/blobs/uploads/?digest={digest}"
            statuses.append(client.post(path, content=CONTENT).status_code)

    threads = [threading.Thread(target=push, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [201] * 24
    with httpx.Client(base_url=registry.url, trust_env=False) as client:
        assert all(client.get(f"/v2/repository{n}/blobs/{digest}").content == CONTENT for n in range(3))
    assert files_below(registry.root / "uploads") == []
