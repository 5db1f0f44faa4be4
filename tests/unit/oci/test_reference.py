"""Image references: Docker's normalisation, and everything outside the grammar refused."""

from __future__ import annotations

import pickle

import pytest

from pycontainer.errors import BadReference
from pycontainer.oci import Digest, Reference

HEX = "0123456789abcdef" * 4
DIGEST = Digest(f"sha256:{HEX}")

NORMALISED = {
    # as typed: (domain, path, tag, digest), familiar
    "alpine": ("docker.io", "library/alpine", "latest", None, "alpine:latest"),
    "alpine:3.20": ("docker.io", "library/alpine", "3.20", None, "alpine:3.20"),
    "library/alpine:3.20": ("docker.io", "library/alpine", "3.20", None, "alpine:3.20"),
    "docker.io/alpine": ("docker.io", "library/alpine", "latest", None, "alpine:latest"),
    "docker.io/library/alpine": ("docker.io", "library/alpine", "latest", None, "alpine:latest"),
    "index.docker.io/alpine": ("docker.io", "library/alpine", "latest", None, "alpine:latest"),
    "index.docker.io/user/app": ("docker.io", "user/app", "latest", None, "user/app:latest"),
    "user/app": ("docker.io", "user/app", "latest", None, "user/app:latest"),
    "library/a/b": ("docker.io", "library/a/b", "latest", None, "library/a/b:latest"),
    "localhost/app": ("localhost", "app", "latest", None, "localhost/app:latest"),
    "localhost": ("docker.io", "library/localhost", "latest", None, "localhost:latest"),
    "localhost:5000": ("docker.io", "library/localhost", "5000", None, "localhost:5000"),
    "localhost:5000/app:1": ("localhost:5000", "app", "1", None, "localhost:5000/app:1"),
    "127.0.0.1:5000/a/b": ("127.0.0.1:5000", "a/b", "latest", None, "127.0.0.1:5000/a/b:latest"),
    "[::1]:5000/app": ("[::1]:5000", "app", "latest", None, "[::1]:5000/app:latest"),
    "[2001:db8::1]/app:v": ("[2001:db8::1]", "app", "v", None, "[2001:db8::1]/app:v"),
    "quay.io/a/b/c/d:x": ("quay.io", "a/b/c/d", "x", None, "quay.io/a/b/c/d:x"),
    "Registry.Example.COM/app": ("registry.example.com", "app", "latest", None, None),
    "HOST/app": ("HOST", "app", "latest", None, "HOST/app:latest"),
    "LOCALHOST/app": ("localhost", "app", "latest", None, "localhost/app:latest"),
    "host:443/app": ("host:443", "app", "latest", None, "host:443/app:latest"),
    "a.b/c": ("a.b", "c", "latest", None, "a.b/c:latest"),
    "xn--n3h.com/app": ("xn--n3h.com", "app", "latest", None, None),
    "docker.io/localhost/x": ("docker.io", "localhost/x", "latest", None, "docker.io/localhost/x:latest"),
    "a_b__c-d---e.f": ("docker.io", "library/a_b__c-d---e.f", "latest", None, None),
    f"alpine@{DIGEST}": ("docker.io", "library/alpine", None, DIGEST, f"alpine@{DIGEST}"),
    f"alpine:3@{DIGEST}": ("docker.io", "library/alpine", "3", DIGEST, f"alpine:3@{DIGEST}"),
    f"{HEX}:tag": ("docker.io", f"library/{HEX}", "tag", None, f"{HEX}:tag"),
    f"{HEX[:63]}": ("docker.io", f"library/{HEX[:63]}", "latest", None, None),
    f"a:{'t' * 128}": ("docker.io", "library/a", "t" * 128, None, None),
    "a:_X.y-z": ("docker.io", "library/a", "_X.y-z", None, None),
    f"x.y/{'a' * 255}": ("x.y", "a" * 255, "latest", None, None),
}


@pytest.mark.parametrize(("text", "expected"), NORMALISED.items(), ids=[text[:40] for text in NORMALISED])
def test_a_name_is_normalised_as_docker_does(
    text: str, expected: tuple[str, str, str | None, Digest | None, str | None]
) -> None:
    domain, path, tag, digest, familiar = expected
    parsed = Reference.parse(text)
    assert (parsed.domain, parsed.path, parsed.tag, parsed.digest) == (domain, path, tag, digest)
    if familiar is not None:
        assert parsed.familiar == familiar
    assert Reference.parse(str(parsed)) == parsed
    assert Reference.parse(parsed.familiar) == parsed


REFUSED = [
    "",
    " ",
    "/",
    ":",
    "@",
    ":tag",
    "/a",
    "a/",
    "a//b",
    "Alpine",
    "user/App",
    "a b",
    " alpine",
    "alpine\n",
    "alpine\r\nHost: evil",
    "alpine:",
    "alpine:-tag",
    "alpine:.tag",
    "alpine:ta g",
    "alpine:a/b",
    f"alpine:{'t' * 129}",
    "alpine:tag\n",
    "alpine@",
    "alpine@sha256:",
    f"alpine@{DIGEST.upper()}",
    f"alpine@sha256:{HEX[:-1]}",
    "alpine@sha256:../../etc/passwd",
    "alpine@md5:" + "0" * 32,
    f"alpine@{DIGEST}@{DIGEST}",
    f"alpine@{DIGEST}:tag",
    HEX,
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a..b",
    "a___b",
    "a._b",
    "-a",
    "a-",
    "_a",
    "a%2fb",
    "a%2e%2e/b",
    "a\\b",
    "a\0b",
    "https://quay.io/a",
    "user@host/app",
    "user:pw@host.example/app",
    "host.example:0/app",
    "host.example:65536/app",
    "host.example:99999999999999999999/app",
    "host.example:/app",
    "host.example:+1/app",
    "host.example:80:80/app",
    "-host.example/app",
    "host-.example/app",
    "host..example/app",
    ".host.example/app",
    "host_name.example/app",
    "[::1/app",
    "::1/app",
    "[]/app",
    "[:::]/app",
    "[fe80::1%eth0]/app",
    "[127.0.0.1]/app",
    "[::1]x/app",
    "müller.example/app",
    "x.example/größe",
    "ａlpine",
    "٣alpine",
    "x.example/app:٣",
    "x.y/" + "a" * 256,
    "x.y/" + "a/" * 128 + "a",
    "a" * 2000,
    "h" * 70 + "." + "x" * 250 + "/app",
]


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: ascii(text)[:40])
def test_a_name_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(BadReference) as caught:
        Reference.parse(text)
    assert len(str(caught.value)) < 800


def test_upper_case_is_refused_with_the_name_to_use() -> None:
    with pytest.raises(BadReference, match="use 'user/app'"):
        Reference.parse("user/App")


def test_a_reference_that_is_no_text_is_refused() -> None:
    with pytest.raises(BadReference, match="must be text, got NoneType"):
        Reference.parse(None)  # type: ignore[arg-type]


def test_docker_hub_is_served_by_another_host() -> None:
    assert Reference.parse("alpine").registry_host == "registry-1.docker.io"
    assert Reference.parse("localhost:5000/a").registry_host == "localhost:5000"


def test_the_digest_decides_what_is_asked_for() -> None:
    assert Reference.parse("alpine:3").identifier == "3"
    assert Reference.parse(f"alpine:3@{DIGEST}").identifier == DIGEST


def test_the_full_text_names_domain_path_tag_and_digest() -> None:
    assert str(Reference.parse(f"alpine:3@{DIGEST}")) == f"docker.io/library/alpine:3@{DIGEST}"
    assert Reference.parse("alpine:3").repository == "docker.io/library/alpine"


def test_tag_and_digest_can_be_replaced() -> None:
    reference = Reference.parse("quay.io/a:1")
    assert reference.with_tag("2") == Reference.parse("quay.io/a:2")
    assert reference.with_digest(DIGEST) == Reference.parse(f"quay.io/a:1@{DIGEST}")
    assert reference.with_digest(DIGEST).with_tag(None) == Reference.parse(f"quay.io/a@{DIGEST}")
    with pytest.raises(BadReference, match="neither tag nor digest"):
        reference.with_tag(None)
    with pytest.raises(BadReference, match="tag"):
        reference.with_tag("a b")


@pytest.mark.parametrize(
    "parts",
    [
        {"domain": "index.docker.io", "path": "library/a", "tag": "1"},
        {"domain": "docker.io", "path": "a", "tag": "1"},
        {"domain": "Quay.IO", "path": "a", "tag": "1"},
        {"domain": "nodots", "path": "a", "tag": "1"},
        {"domain": "a.b/c", "path": "a", "tag": "1"},
        {"domain": "a.b", "path": "A", "tag": "1"},
        {"domain": "a.b", "path": "a", "digest": Digest("sha256:0")},
    ],
    ids=lambda parts: f"{parts['domain']}-{parts['path']}",
)
def test_a_reference_cannot_be_made_outside_its_normal_form(parts: dict[str, str]) -> None:
    with pytest.raises(BadReference):
        Reference(**parts)  # type: ignore[arg-type]


def test_references_are_hashable_and_survive_pickling() -> None:
    reference = Reference.parse("alpine:3.20")
    assert {reference: 1}[Reference.parse("docker.io/library/alpine:3.20")] == 1
    assert pickle.loads(pickle.dumps(reference)) == reference
