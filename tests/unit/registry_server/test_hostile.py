from __future__ import annotations

import time

import httpx
import pytest

from pycontainer.registry.server import Registry, ServerLimits
from tests.unit.registry_server.support import connect, push_blob, raw, sha256, status_of


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n\r\n\0\0\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
        b"GET\r\n\r\n",
        b"GET /v2/ HTTP/3.0\r\nHost: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n folded: y\r\nHost: x\r\n\r\n",
        b"PUT /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n",
        b"GET /v2/\r\n HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v2/ x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PUT /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"PUT /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"PUT /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1e3\r\n\r\n",
        b"PUT /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"PUT /v2/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"PUT /v2/ HTTP/1.1\r\nHost: x\r\n" + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused_and_the_connection_closed(
    registry: Registry, request_bytes: bytes
) -> None:
    answer = raw(registry.address, request_bytes)
    assert status_of(answer) in (400, 501, 505)
    assert b"\r\nHTTP/1.1 " not in answer
    assert b"connection: close" in answer.lower()


def test_endless_head_is_refused(registry: Registry) -> None:
    request = b"GET /v2/ HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1000) for n in range(100))
    assert status_of(raw(registry.address, request)) == 431
    assert status_of(raw(registry.address, b"GET /" + b"a" * 100_000)) == 431


@pytest.mark.parametrize(
    "body", [b"zz\r\n", b"-1\r\n", b"5\r\nab", b"ffffffffffffffffffffffff\r\n", b"1\r\nabc"]
)
def test_torn_chunked_body_leaves_no_blob(registry: Registry, body: bytes) -> None:
    head = f"POST /v2/a/blobs/uploads/?digest={sha256(b'ab')} HTTP/1.1\r\nHost: x\r\n"
    answer = raw(registry.address, head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    assert not answer.startswith(b"HTTP/1.1 2")
    assert list((registry.root / "uploads").iterdir()) == []
    assert httpx.get(f"{registry.url}/v2/").status_code == 200


@pytest.mark.parametrize(
    "target",
    [
        "/v2/../../../../etc/passwd",
        "/v2/a/blobs/../../../../etc/passwd",
        "/v2/a/blobs/sha256:../../lock",
        "/v2/a/manifests/../../_tags",
        "/v2/a/manifests/..%2f..%2f_tags",
        "/v2/..%2f..%2fetc/manifests/passwd",
        "/v2/a%00b/tags/list",
        "/v2/_tags/tags/list",
        "/v2/a/_manifests/tags/list",
        "/v2/a/blobs/uploads/../../lock",
        "/v2//etc/tags/list",
        "//v2/",
        "/v2/%",
        "/v2/%zz/tags/list",
        "*",
        "http://",
        "/v2/a/tags/list?n=%ff&last=%00",
        "/v2/_catalog?" + "&".join(["n=1"] * 1000),
    ],
)
def test_hostile_target_finds_nothing_and_breaks_nothing(registry: Registry, target: str) -> None:
    before = sorted(path for path in registry.root.rglob("*"))
    for method in ("GET", "PUT", "DELETE", "POST", "PATCH"):
        request = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        status = status_of(raw(registry.address, request.encode()))
        assert 400 <= status < 500 or (method == "GET" and target.startswith("/v2/_catalog"))
    assert sorted(path for path in registry.root.rglob("*")) == before


def test_control_characters_in_names_never_reach_the_answers_head(registry: Registry) -> None:
    request = b"GET /v2/a%0d%0aSet-Cookie:x/manifests/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    head = raw(registry.address, request).partition(b"\r\n\r\n")[0]
    assert b"Set-Cookie" not in head
    last = b"GET /v2/_catalog?n=1&last=%0d%0aSet-Cookie:x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert b"Set-Cookie" not in raw(registry.address, last)


def test_web_page_is_refused(client: httpx.Client) -> None:
    for origin in ("http://evil.example", "null"):
        assert client.post("/v2/a/blobs/uploads/", headers={"Origin": origin}).status_code == 403


def test_absolute_target_is_understood(registry: Registry) -> None:
    request = f"GET http://{registry.address}/v2/_catalog HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert raw(registry.address, request.encode()).endswith(b'{"repositories": []}')


def test_requests_in_one_packet_are_answered_in_order(registry: Registry) -> None:
    one = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
    two = b"GET /v2/nowhere/tags/list HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = raw(registry.address, one + two + one.replace(b"Host", b"Connection: close\r\nHost"))
    assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [200, 404, 200]


def test_http_1_0_client_is_served_and_closed(registry: Registry) -> None:
    assert status_of(raw(registry.address, b"GET /v2/ HTTP/1.0\r\n\r\n")) == 200


def test_client_that_waits_for_100_is_told_to_go_on(registry: Registry) -> None:
    head = (
        f"POST /v2/a/blobs/uploads/?digest={sha256(b'abc')} HTTP/1.1\r\nHost: x\r\n"
        "Content-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    with connect(registry.address) as sock:
        sock.sendall(head.encode())
        assert status_of(sock.recv(65536)) == 100
        sock.sendall(b"abc")
        assert status_of(sock.recv(65536)) == 201


def test_client_that_waits_for_100_is_not_told_so_when_refused(registry: Registry) -> None:
    head = "PUT /v2/A/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    with connect(registry.address) as sock:
        sock.sendall(head.encode())
        assert status_of(sock.recv(65536)) == 400


def test_early_refusal_of_a_big_body_reaches_the_client(client: httpx.Client) -> None:
    answer = client.put("/v2/a/manifests/1", content=b"x" * (32 << 20))
    assert answer.status_code == 413
    assert client.get("/v2/").status_code == 200


def test_early_refusal_of_a_small_body_keeps_the_connection(registry: Registry) -> None:
    request = b"PUT /v2/A/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    last = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = raw(registry.address, request + last)
    assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [400, 200]


def test_head_that_trickles_is_cut_off() -> None:
    with Registry(limits=ServerLimits(head_s=0.3)) as registry, connect(registry.address) as sock:
        before = time.monotonic()
        with pytest.raises(ConnectionError):  # noqa: PT012  # the cut shows at the send or at the receive
            for _ in range(100):
                sock.sendall(b"G")
                time.sleep(0.05)
        assert time.monotonic() - before < 3


def test_body_that_trickles_is_cut_off_and_its_upload_kept_for_resume() -> None:
    limits = ServerLimits(stall_s=0.3, rate_bytes_s=1 << 20)
    with Registry(limits=limits) as registry, httpx.Client(base_url=registry.url, trust_env=False) as client:
        location = client.post("/v2/a/blobs/uploads/").headers["Location"]
        with connect(registry.address) as sock:
            sock.sendall(f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode())
            with pytest.raises(ConnectionError):  # noqa: PT012
                for _ in range(100):
                    sock.sendall(b"x")
                    time.sleep(0.05)
        assert client.get(location).status_code == 204


def test_client_that_does_not_read_is_cut_off() -> None:
    limits = ServerLimits(stall_s=0.3)
    with Registry(limits=limits) as registry, httpx.Client(base_url=registry.url, trust_env=False) as client:
        digest = push_blob(client, "a", bytes(16 << 20))
        with connect(registry.address) as sock:
            sock.sendall(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            time.sleep(1)
            count = 0
            try:
                while block := sock.recv(1 << 20):
                    count += len(block)
            except ConnectionError:
                pass
        assert count < 16 << 20


def test_busy_workers_do_not_starve_the_rest_for_ever() -> None:
    limits = ServerLimits(workers=2, head_s=0.4)
    with Registry(limits=limits) as registry:
        slow = [connect(registry.address) for _ in range(6)]
        for sock in slow:
            sock.sendall(b"GET /v2/ HTTP/1.1\r\nHost")
        assert httpx.get(f"{registry.url}/v2/", timeout=10).status_code == 200
        for sock in slow:
            sock.close()
