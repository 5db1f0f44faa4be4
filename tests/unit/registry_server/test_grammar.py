from __future__ import annotations

import pytest

from pycontainer.registry.server import grammar, routes
from pycontainer.registry.server.refusals import Refusal

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize("name", ["a", "library/alpine", "a.b/c_d/e__f/g--h/0", "a" * 255])
def test_repository_names_of_the_grammar_are_accepted(name: str) -> None:
    assert grammar.is_repository(name)


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "/", "a/", "/a", "a//b", "a/../b", "../a", "A", "a/B", "_blobs", "a/_tags", ".hidden",
        "a/.git", "a b",
        "a\n", "a\0", "a..b", "a._b", "a___b", "-a", "a-", "ä", "a%2fb", "a\\b", "a:b", "a" * 256,
    ],
)  # fmt: skip
def test_repository_names_outside_the_grammar_are_refused(name: str) -> None:
    assert not grammar.is_repository(name)


@pytest.mark.parametrize("tag", ["latest", "1.2.3", "_x", "A-b.C_d", "a" * 128])
def test_tags_of_the_grammar_are_accepted(tag: str) -> None:
    assert grammar.is_tag(tag)


@pytest.mark.parametrize("tag", ["", ".", "..", ".x", "-x", "a/b", "a:b", "a b", "a\n", "a" * 129, "é"])
def test_tags_outside_the_grammar_are_refused(tag: str) -> None:
    assert not grammar.is_tag(tag)


@pytest.mark.parametrize("digest", [f"sha256:{HEX}", f"sha512:{HEX}{HEX}"])
def test_sha256_and_sha512_digests_are_accepted(digest: str) -> None:
    assert grammar.is_digest(digest)


@pytest.mark.parametrize(
    "digest",
    [
        "", "sha256:", HEX, f"sha256:{HEX.upper()}", f"sha256:{HEX[1:]}", f"sha256:{HEX}0", f"sha512:{HEX}",
        f"md5:{HEX}", "sha256:../../etc/passwd", f"sha256:{HEX}\n", f"SHA256:{HEX}",
    ],
)  # fmt: skip
def test_other_digests_are_refused(digest: str) -> None:
    assert not grammar.is_digest(digest)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes=0-0", (0, 0)),
        ("bytes=2-5", (2, 5)),
        ("bytes=7-", (7, 9)),
        ("bytes=0-100", (0, 9)),
        ("bytes=-3", (7, 9)),
        ("bytes=-100", (0, 9)),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=0-" + "9" * 40, None),
    ],
)
def test_byte_ranges_are_clamped_to_the_content(text: str, expected: tuple[int, int] | None) -> None:
    assert grammar.byte_range(text, 10) == expected


@pytest.mark.parametrize("text", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_byte_ranges_that_hold_nothing_are_refused(text: str) -> None:
    with pytest.raises(Refusal) as caught:
        grammar.byte_range(text, 10)
    assert caught.value.status == 416
    assert caught.value.headers["Content-Range"] == "bytes */10"


@pytest.mark.parametrize("text", ["", "0", "5-2", "a-b", "bytes 0-1/2", "-1-3", "0-1/*", "0-" + "9" * 30])
def test_upload_ranges_outside_the_grammar_are_refused(text: str) -> None:
    with pytest.raises(Refusal) as caught:
        grammar.content_range(text)
    assert caught.value.status == 416


@pytest.mark.parametrize(
    ("path", "endpoint", "repository", "reference"),
    [
        ("/v2", "base", "", ""),
        ("/v2/", "base", "", ""),
        ("/v2/_catalog", "catalog", "", ""),
        ("/v2/a/b/tags/list", "tags", "a/b", ""),
        ("/v2/tags/list/tags/list", "tags", "tags/list", ""),
        ("/v2/a/manifests/b/manifests/1", "manifest", "a/manifests/b", "1"),
        (f"/v2/a/blobs/sha256%3A{HEX}", "blob", "a", f"sha256:{HEX}"),
        ("/v2/a/blobs/uploads/", "uploads", "a", ""),
        ("/v2/a/blobs/uploads", "uploads", "a", ""),
        ("/v2/a/blobs/uploads/xyz", "upload", "a", "xyz"),
        ("/v2/a/referrers/x", "referrers", "a", "x"),
    ],
)
def test_paths_lead_to_their_endpoints(path: str, endpoint: str, repository: str, reference: str) -> None:
    assert routes.find(path) == routes.Route(endpoint, repository, reference)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 404),
        ("/v1/", 404),
        ("/v2/a", 404),
        ("/v2/manifests/x", 400),
        ("/v2/../manifests/x", 400),
        ("/v2/%2e%2e/manifests/x", 400),
        ("/v2/a%2Fb/manifests/x", 400),
        ("/v2/a/%2e%2e%2fb/manifests/x", 400),
        ("/v2/%ff/manifests/x", 400),
        ("/v2/a//b/manifests/x", 400),
        ("/v2/" + "a/" * 200 + "manifests/x", 400),
    ],
)
def test_hostile_paths_lead_nowhere(path: str, status: int) -> None:
    with pytest.raises(Refusal) as caught:
        routes.find(path)
    assert caught.value.status == status
