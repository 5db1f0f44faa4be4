from __future__ import annotations

import threading
import time

import httpx
import pytest

from pycontainer.errors import InvalidInput
from pycontainer.registry.server import (
    Answer,
    Corrupt,
    Drop,
    DropUpload,
    Endless,
    Fault,
    Hang,
    Headers,
    IgnoreRange,
    Redirect,
    Registry,
    Silence,
    Slow,
    Status,
    Truncate,
)
from tests.unit.registry_server.support import begin, connect, push_blob, sha256

CONTENT = bytes(range(256)) * 400


@pytest.fixture
def blob(client: httpx.Client) -> str:
    return f"/v2/a/blobs/{push_blob(client, 'a', CONTENT)}"


def received(client: httpx.Client, path: str) -> tuple[bytes, httpx.HTTPError | None]:
    """What arrived of a body, and how it ended."""
    content = bytearray()
    try:
        with client.stream("GET", path) as answer:
            for chunk in answer.iter_raw():
                content += chunk
    except httpx.HTTPError as error:
        return bytes(content), error
    return bytes(content), None


def test_status_comes_instead_of_the_answer_as_often_as_planted(
    registry: Registry, client: httpx.Client, blob: str
) -> None:
    registry.inject(Fault(Status(429, retry_after=7, code="TOOMANYREQUESTS"), count=2))
    for _ in range(2):
        answer = client.get(blob)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
        assert answer.json()["errors"][0]["code"] == "TOOMANYREQUESTS"
    assert client.get(blob).content == CONTENT


def test_fault_meets_only_its_method_and_path(registry: Registry, client: httpx.Client, blob: str) -> None:
    registry.inject(Fault(Status(503), method="GET", path=r"/blobs/", count=None))
    assert client.head(blob).status_code == 200
    assert client.get("/v2/").status_code == 200
    assert client.get(blob).status_code == 503
    registry.clear_faults()
    assert client.get(blob).status_code == 200


def test_fault_waits_for_the_requests_it_skips(registry: Registry, client: httpx.Client, blob: str) -> None:
    registry.inject(Fault(Status(500), skip=2))
    assert [client.get(blob).status_code for _ in range(4)] == [200, 200, 500, 200]


def test_faults_given_to_the_constructor_are_planted() -> None:
    with Registry(faults=[Fault(Status(500)), Fault(Status(502))]) as registry:
        assert [httpx.get(f"{registry.url}/v2/").status_code for _ in range(3)] == [500, 502, 200]


def test_path_that_is_no_expression_is_refused() -> None:
    with pytest.raises(InvalidInput, match="regular expression"):
        Fault(Status(500), path="(")


def test_answer_replaces_status_body_and_type(registry: Registry, client: httpx.Client) -> None:
    registry.inject(Fault(Answer(b"<html>", content_type="text/html")))
    answer = client.get("/v2/a/manifests/1")
    assert (answer.status_code, answer.content, answer.headers["Content-Type"]) == (
        200,
        b"<html>",
        "text/html",
    )


@pytest.mark.parametrize("count", [0, 1, 70_000])
def test_truncated_body_ends_early_and_cleanly(
    registry: Registry, client: httpx.Client, blob: str, count: int
) -> None:
    registry.inject(Fault(Truncate(count)))
    content, error = received(client, blob)
    assert content == CONTENT[:count]
    assert isinstance(error, httpx.RemoteProtocolError)
    assert received(client, blob) == (CONTENT, None)


def test_dropped_connection_is_reset(registry: Registry, blob: str) -> None:
    registry.inject(Fault(Drop(1000)))
    with connect(registry.address) as sock:
        sock.sendall(f"GET {blob} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):  # noqa: PT012
            while sock.recv(65536):
                time.sleep(0.01)  # A reset discards what was not read yet; read what is there first.


def test_silence_closes_without_an_answer(registry: Registry, client: httpx.Client) -> None:
    registry.inject(Fault(Silence()))
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/v2/")
    assert registry.requests[-1].status == 0


def test_dropped_upload_keeps_what_came(registry: Registry, client: httpx.Client) -> None:
    location = begin(client, "a")
    registry.inject(Fault(DropUpload(5000), method="PATCH"))
    with pytest.raises(httpx.TransportError):
        client.patch(location, content=CONTENT)
    status = client.get(location)
    assert status.headers["Range"] == "0-4999"
    client.patch(location, content=CONTENT[5000:])
    assert client.put(location, params={"digest": sha256(CONTENT)}).status_code == 201


def test_corrupt_body_differs_in_one_byte(registry: Registry, client: httpx.Client, blob: str) -> None:
    registry.inject(Fault(Corrupt(at=66_000)))
    answer = client.get(blob)
    wrong = [
        at for at, (ours, theirs) in enumerate(zip(CONTENT, answer.content, strict=True)) if ours != theirs
    ]
    assert (answer.status_code, wrong) == (200, [66_000])


def test_slow_body_takes_its_time(registry: Registry, client: httpx.Client, blob: str) -> None:
    registry.inject(Fault(Slow(len(CONTENT) * 4)))
    before = time.monotonic()
    assert client.get(blob).content == CONTENT
    assert time.monotonic() - before > 0.2


def test_endless_body_never_ends(registry: Registry, client: httpx.Client) -> None:
    registry.inject(Fault(Endless(), path="/v2/$"))
    count = 0
    with client.stream("GET", "/v2/") as answer:
        assert "Content-Length" not in answer.headers
        for chunk in answer.iter_raw():
            count += len(chunk)
            if count > 100_000:
                break
    assert client.get("/v2/").status_code == 200


def test_headers_are_replaced_and_removed(registry: Registry, client: httpx.Client, blob: str) -> None:
    registry.inject(Fault(Headers({"docker-content-digest": "sha256:0", "ETag": "", "X-More": "1"})))
    answer = client.get(blob)
    assert answer.headers.get_list("Docker-Content-Digest") == ["sha256:0"]
    assert "ETag" not in answer.headers
    assert (answer.headers["X-More"], answer.content) == ("1", CONTENT)


def test_wrong_content_range_is_sent_as_planted(registry: Registry, client: httpx.Client, blob: str) -> None:
    registry.inject(Fault(Headers({"Content-Range": "bytes 0-9/10"})))
    answer = client.get(blob, headers={"Range": "bytes=5-9"})
    assert (answer.status_code, answer.headers["Content-Range"]) == (206, "bytes 0-9/10")
    assert answer.content == CONTENT[5:10]


@pytest.mark.parametrize("claimed", [10, len(CONTENT) + 10])
def test_content_length_can_lie(registry: Registry, client: httpx.Client, blob: str, claimed: int) -> None:
    registry.inject(Fault(Headers({"Content-Length": str(claimed)})))
    with connect(registry.address) as sock:
        sock.sendall(f"GET {blob} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = bytearray()
        while block := sock.recv(65536):
            answer += block
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    assert f"Content-Length: {claimed}".encode() in head
    assert body == CONTENT


def test_ignored_range_gets_the_whole(registry: Registry, client: httpx.Client, blob: str) -> None:
    registry.inject(Fault(IgnoreRange()))
    answer = client.get(blob, headers={"Range": "bytes=5-9"})
    assert (answer.status_code, answer.content) == (200, CONTENT)


def test_redirect_leads_where_planted(registry: Registry, client: httpx.Client, blob: str) -> None:
    registry.inject(Fault(Redirect("http://elsewhere.invalid{path}?signature=1")))
    answer = client.get(blob)
    assert answer.status_code == 307
    assert answer.headers["Location"] == f"http://elsewhere.invalid{blob}?signature=1"


def test_hanging_request_ends_with_the_server(blob: str, registry: Registry) -> None:
    registry.inject(Fault(Hang()))
    errors: list[httpx.HTTPError] = []

    def ask() -> None:
        try:
            httpx.get(registry.url + blob, timeout=30)
        except httpx.HTTPError as error:
            errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    while not any(record.status == 0 for record in registry.requests):
        time.sleep(0.005)
    before = time.monotonic()
    registry.close()
    asking.join(5)
    assert time.monotonic() - before < 2
    assert isinstance(errors[0], httpx.RemoteProtocolError)
