from __future__ import annotations

import httpx
import pytest

from pycontainer.errors import NotFound
from pycontainer.registry.server import Registry
from tests.unit.registry_server.support import code, manifest, push_image, put_manifest

TAGS = ["1.0", "Beta", "alpha", "alpha-2", "gamma", "latest"]


def push_tags(client: httpx.Client) -> None:
    push_image(client, "a/b", TAGS[0])
    for tag in reversed(TAGS[1:]):
        put_manifest(client, "a/b", tag, manifest())


def test_tags_are_listed_in_case_insensitive_order(registry: Registry, client: httpx.Client) -> None:
    push_tags(client)
    expected = ["1.0", "alpha", "alpha-2", "Beta", "gamma", "latest"]
    assert client.get("/v2/a/b/tags/list").json() == {"name": "a/b", "tags": expected}
    assert registry.tags("a/b") == expected


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_tags_come_in_pages_that_together_are_all(client: httpx.Client, size: int) -> None:
    push_tags(client)
    path, seen = f"/v2/a/b/tags/list?n={size}", []
    while path:
        answer = client.get(path)
        page = answer.json()["tags"]
        assert 0 < len(page) <= size
        seen += page
        path = answer.links["next"]["url"] if "next" in answer.links else ""
    assert seen == ["1.0", "alpha", "alpha-2", "Beta", "gamma", "latest"]


@pytest.mark.parametrize(
    ("query", "expected", "has_link"),
    [
        ("n=0", [], False),
        ("n=6", ["1.0", "alpha", "alpha-2", "Beta", "gamma", "latest"], False),
        ("n=2&last=alpha", ["alpha-2", "Beta"], True),
        ("last=Beta", ["gamma", "latest"], False),
        ("n=3&last=nothing-like-this", [], False),
        ("n=1&last=aaa", ["alpha"], True),
    ],
)
def test_page_is_what_was_asked_for(
    client: httpx.Client, query: str, expected: list[str], has_link: bool
) -> None:
    push_tags(client)
    answer = client.get(f"/v2/a/b/tags/list?{query}")
    assert answer.json()["tags"] == expected
    assert ("Link" in answer.headers) == has_link


@pytest.mark.parametrize("number", ["-1", "x", "1e9", "99999999999999", "\u0663"])
def test_page_size_that_is_no_number_is_refused(client: httpx.Client, number: str) -> None:
    push_tags(client)
    assert client.get("/v2/a/b/tags/list", params={"n": number}).status_code == 400


def test_tags_of_an_unknown_repository_are_not_found(registry: Registry, client: httpx.Client) -> None:
    answer = client.get("/v2/nowhere/tags/list")
    assert (answer.status_code, code(answer)) == (404, "NAME_UNKNOWN")
    with pytest.raises(NotFound, match="nowhere"):
        registry.tags("nowhere")


def test_catalog_lists_repositories_in_pages(registry: Registry, client: httpx.Client) -> None:
    for name in ("c", "a/b", "a", "b"):
        push_image(client, name, "1")
    assert registry.repositories() == ["a", "a/b", "b", "c"]
    first = client.get("/v2/_catalog?n=3")
    assert first.json() == {"repositories": ["a", "a/b", "b"]}
    assert client.get(first.links["next"]["url"]).json() == {"repositories": ["c"]}


def test_version_check_is_answered(client: httpx.Client) -> None:
    answer = client.get("/v2/")
    assert (answer.status_code, answer.json()) == (200, {})
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/v2/", "GET, HEAD"),
        ("PUT", "/v2/a/blobs/sha256:00", "GET, HEAD, DELETE"),
        ("PATCH", "/v2/a/manifests/1", "GET, HEAD, PUT, DELETE"),
        ("DELETE", "/v2/a/tags/list", "GET, HEAD"),
        ("BREW", "/v2/_catalog", "GET, HEAD"),
    ],
)
def test_method_that_does_not_fit_is_405(client: httpx.Client, method: str, path: str, allow: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, code(answer), answer.headers["Allow"]) == (405, "UNSUPPORTED", allow)


def test_request_log_shows_what_clients_did_without_their_secrets(
    registry: Registry, client: httpx.Client
) -> None:
    client.get("/v2/a/tags/list?n=3", headers={"Authorization": "Bearer secret", "Range": "bytes=0-1"})
    (record,) = registry.requests
    assert (record.method, record.path, record.status) == ("GET", "/v2/a/tags/list?n=3", 404)
    assert record.headers["authorization"] == "Bearer"
    assert record.headers["range"] == "bytes=0-1"
    assert "secret" not in repr(record)
