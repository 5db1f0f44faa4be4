"""registries.conf: places, mirrors and blocks by prefix of a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from pycontainer.errors import InvalidInput, RegistryError
from pycontainer.oci import Reference
from pycontainer.registry import RegistryClient, RegistryConfig
from pycontainer.registry.rules import load_rules, rule_for
from tests.unit.registry.fakes import FAST, MemorySink, Table, refuse_connection, served, small_image

CONF = """
unqualified-search-registries = ["quay.io"]

[[registry]]
prefix = "docker.io"
location = "mirror.corp.example/hub"

[[registry]]
location = "ghcr.io"
[[registry.mirror]]
location = "cache.corp.example/ghcr"
[[registry.mirror]]
location = "127.0.0.1:5005"
insecure = true
pull-from-mirror = "digest-only"

[[registry]]
prefix = "ghcr.io/evil"
blocked = true

[[registry]]
prefix = "*.old.example"
location = "new.example/old"
insecure = true
"""


@pytest.fixture
def config(tmp_path: Path) -> RegistryConfig:
    (tmp_path / "registries.conf").write_text(CONF)
    rules = load_rules([tmp_path / "registries.conf", tmp_path / "none"])
    return RegistryConfig(rules=rules, retries=FAST, certs_dirs=())


def client(config: RegistryConfig, replies: dict[str, Any]) -> tuple[RegistryClient, Table]:
    table = Table(replies)
    return RegistryClient(config, transport=table), table


def test_the_longest_prefix_decides(config: RegistryConfig) -> None:
    def prefix(name: str) -> str | None:
        reference = Reference.parse(name)
        rule = rule_for(config.rules, reference.domain, reference.path)
        return rule.prefix if rule is not None else None

    assert prefix("alpine") == "docker.io"
    assert prefix("ghcr.io/evil/x") == prefix("ghcr.io/evil") == "ghcr.io/evil"
    assert prefix("ghcr.io/evildoer/x") == "ghcr.io"
    assert prefix("a.b.old.example/x") == "*.old.example"
    assert prefix("old.example/x") is prefix("notghcr.io/x") is None


def test_a_location_takes_the_place_of_the_prefix_in_url_and_scope(config: RegistryConfig) -> None:
    source = MemorySink()
    top = small_image(source, b"layer")
    base = "https://mirror.corp.example"
    challenge = f'Bearer realm="{base}/token",service="x"'
    replies = served(source, base, "hub/library/alpine", "3", top)
    url = f"GET {base}/v2/hub/library/alpine/manifests/3"
    replies[url] = [httpx.Response(401, headers={"WWW-Authenticate": challenge}), replies[url]]  # type: ignore[list-item]
    replies[f"GET {base}/token"] = httpx.Response(200, json={"token": "t"})
    registry, table = client(config, replies)
    assert registry.resolve(Reference.parse("alpine:3")).descriptor.digest == top.digest
    assert {request.url.host for request in table.seen} == {"mirror.corp.example"}
    [token] = [request for request in table.seen if request.url.path == "/token"]
    assert token.url.params["scope"] == "repository:hub/library/alpine:pull"


def test_pushes_go_to_the_location_too(config: RegistryConfig) -> None:
    source = MemorySink()
    top = small_image(source, b"layer")
    base = "https://new.example/v2/old/app"
    replies: dict[str, Any] = {
        f"POST {base}/blobs/uploads/": httpx.Response(202, headers={"Location": "/up/1"}),
        "PUT https://new.example/up/1": httpx.Response(201),
        f"PUT {base}/manifests/1": httpx.Response(201),
    }
    registry, table = client(config, replies)
    registry.push(Reference.parse("eu.old.example/app:1"), source, top)
    assert {request.url.host for request in table.seen} == {"new.example"}


def test_mirrors_are_asked_first_and_one_for_digests_not_for_tags(config: RegistryConfig) -> None:
    source = MemorySink()
    top = small_image(source, b"layer")
    replies: dict[str, Any] = served(source, "https://ghcr.io", "team/app", "1", top)
    for name in ("1", top.digest):
        replies[f"GET https://cache.corp.example/v2/ghcr/team/app/manifests/{name}"] = httpx.Response(404)
        replies[f"GET http://127.0.0.1:5005/v2/team/app/manifests/{name}"] = refuse_connection
    registry, table = client(config, replies)
    registry.describe(Reference.parse("ghcr.io/team/app:1"))
    assert [request.url.host for request in table.seen] == ["cache.corp.example", "ghcr.io"]
    other, table = client(config, replies)
    other.describe(Reference.parse(f"ghcr.io/team/app@{top.digest}"))
    assert {request.url.host for request in table.seen} == {"cache.corp.example", "127.0.0.1", "ghcr.io"}


def test_what_is_blocked_is_never_asked_for(config: RegistryConfig) -> None:
    registry, table = client(config, {})
    for ask in (registry.describe, registry.tags, registry.delete):
        with pytest.raises(RegistryError, match=r"blocked by registries\.conf"):
            ask(Reference.parse("ghcr.io/evil/x:1"))
    assert table.seen == []


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "registry = 1",
        '[registries.block]\nregistries = ["evil.example"]',
        "[[registry]]\nblocked = true",
        '[[registry]]\nprefix = "a b"',
        '[[registry]]\nlocation = "ghcr.io"\ninsecure = "yes"',
        '[[registry]]\nprefix = "ghcr.io"\nlocation = "https://ghcr.io"',
        '[[registry]]\nlocation = "ghcr.io"\n[[registry.mirror]]\nlocation = "x/../y z"',
        '[[registry]]\nlocation = "ghcr.io"\n[[registry.mirror]]\nlocation = "x"\npull-from-mirror = "no"',
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "registries.conf").write_text(text)
    with pytest.raises(InvalidInput, match=r"registries\.conf"):
        load_rules([tmp_path / "registries.conf"])


def test_the_environment_says_which_file(tmp_path: Path) -> None:
    (tmp_path / "own.conf").write_text(CONF)
    made = RegistryConfig.from_environment({"CONTAINERS_REGISTRIES_CONF": str(tmp_path / "own.conf")})
    assert len(made.rules) == 4
    assert made.insecure == ("127.0.0.1:5005", "new.example")
