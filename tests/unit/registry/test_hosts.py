"""containerd's hosts.toml, by what goes out to whom."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from pycontainer.errors import InvalidInput, RegistryError
from pycontainer.oci import Reference
from pycontainer.registry import RegistryClient, RegistryConfig
from pycontainer.registry.endpoints import push_endpoint
from pycontainer.registry.hosts import hosts_for
from tests.unit.registry.fakes import FAST, MemorySink, Table, served, small_image

REF = Reference.parse("alpine:3")
IMAGE = MemorySink()
TOP = small_image(IMAGE, b"layer")
HUB = "https://registry-1.docker.io"


def write(folder: Path, text: str, host: str = "docker.io") -> tuple[Path, ...]:
    (folder / host).mkdir(parents=True)
    (folder / host / "hosts.toml").write_text(text)
    return (folder,)


def client(roots: tuple[Path, ...], *bases: str) -> tuple[RegistryClient, Table]:
    replies: dict[str, Any] = {}
    for base in bases:
        replies |= served(IMAGE, base, "library/alpine", "3", TOP)
    transport = Table(replies)
    return RegistryClient(RegistryConfig(retries=FAST, certs_dirs=roots), transport=transport), transport


def hosts_asked(transport: Table) -> list[str]:
    return list(dict.fromkeys(f"{seen.url.scheme}://{seen.url.netloc.decode()}" for seen in transport.seen))


def test_the_hosts_are_asked_in_their_order_and_the_server_last(tmp_path: Path) -> None:
    roots = write(tmp_path, '[host."https://one.example"]\n[host."http://two.example:5000"]\n')
    registry, seen = client(roots, HUB)
    registry.resolve(REF)
    assert hosts_asked(seen) == ["https://one.example", "http://two.example:5000", HUB]
    assert seen.seen[0].url.params["ns"] == "docker.io"
    assert "ns" not in seen.seen[-1].url.params


def test_a_server_takes_the_registrys_place(tmp_path: Path) -> None:
    roots = write(tmp_path, 'server = "https://cache.example/hub"\n')
    registry, seen = client(roots, "https://cache.example/hub")
    registry.resolve(REF)
    assert hosts_asked(seen) == ["https://cache.example"]
    assert seen.seen[0].url.params["ns"] == "docker.io"


@pytest.mark.parametrize(
    ("url", "override", "root"),
    [
        ("https://one.example/p", "false", "https://one.example/p/v2"),
        ("https://one.example/p/v2", "false", "https://one.example/p/v2"),
        ("https://one.example/p/v2", "true", "https://one.example/p/v2"),
        ("https://one.example/api/docker", "true", "https://one.example/api/docker"),
        ("https://one.example", "true", "https://one.example"),
    ],
)
def test_the_path_stands_before_v2_or_in_its_place(
    tmp_path: Path, url: str, override: str, root: str
) -> None:
    roots = write(tmp_path, f'[host."{url}"]\noverride_path = {override}\n')
    registry, seen = client(roots, HUB)
    registry.resolve(REF)
    assert str(seen.seen[0].url.copy_with(query=None)) == f"{root}/library/alpine/manifests/3"


def test_capabilities_decide_who_is_asked_for_tags_for_content_and_for_pushes(tmp_path: Path) -> None:
    roots = write(
        tmp_path,
        '[host."https://pusher.example"]\ncapabilities = ["push"]\n'
        '[host."https://blobs.example"]\ncapabilities = ["pull"]\n',
    )
    registry, seen = client(roots, HUB)
    registry.resolve(REF)
    asked = [(each.url.host, each.url.path.split("/")[-2]) for each in seen.seen]
    assert asked[0] == ("registry-1.docker.io", "manifests")  # a tag, which neither may resolve
    assert ("blobs.example", "blobs") in asked
    assert "pusher.example" not in {host for host, _ in asked}
    assert push_endpoint(REF, RegistryConfig(certs_dirs=roots)).host == "pusher.example"


def test_a_registry_that_may_only_be_pushed_to_is_not_pulled_from(tmp_path: Path) -> None:
    registry, seen = client(write(tmp_path, 'capabilities = ["push"]\n'), HUB)
    with pytest.raises(RegistryError, match=r"hosts\.toml"):
        registry.resolve(REF)
    assert seen.seen == []


def test_no_server_for_pushes_is_told(tmp_path: Path) -> None:
    roots = write(tmp_path, 'capabilities = ["pull", "resolve"]\n')
    with pytest.raises(RegistryError, match=r"docker\.io.*hosts\.toml"):
        push_endpoint(REF, RegistryConfig(certs_dirs=roots))


def test_headers_go_to_their_server_alone(tmp_path: Path) -> None:
    roots = write(
        tmp_path, '[host."https://one.example"]\n[host."https://one.example".header]\nx-key = ["k"]\n'
    )
    elsewhere = httpx.Response(307, headers={"location": "https://cdn.example/m"})
    path = "/v2/library/alpine/manifests/3"
    transport = Table(
        {f"GET https://one.example{path}": elsewhere, **served(IMAGE, HUB, "library/alpine", "3", TOP)}
    )
    config = RegistryConfig(retries=FAST, certs_dirs=roots)
    with RegistryClient(config, transport=transport) as registry:
        registry.resolve(REF)
    got = {(each.url.host, each.headers.get("x-key")) for each in transport.seen}
    assert got == {("one.example", "k"), ("cdn.example", None), ("registry-1.docker.io", None)}


def test_a_registry_without_a_file_of_its_own_takes_the_default(tmp_path: Path) -> None:
    write(tmp_path, '[host."https://all.example"]\n', "_default")
    roots = write(tmp_path, "", "quay.io")
    assert hosts_for("ghcr.io", roots).others[0].host == "all.example"  # type: ignore[union-attr]
    assert hosts_for("quay.io", roots).others == ()  # type: ignore[union-attr]
    assert hosts_for("ghcr.io", ()) is None


def test_a_port_may_be_spelt_with_underscores(tmp_path: Path) -> None:
    roots = write(tmp_path, '[host."https://one.example"]\n', "registry.lan_5000_")
    assert hosts_for("registry.lan:5000", roots) is not None
    assert hosts_for("registry.lan:5001", roots) is None


def test_a_changed_file_counts_at_once(tmp_path: Path) -> None:
    roots = write(tmp_path, 'server = "https://one.example"\n')
    assert hosts_for("docker.io", roots).server.host == "one.example"  # type: ignore[union-attr]
    path = tmp_path / "docker.io/hosts.toml"
    path.write_text('server = "https://two.example"\n')
    os.utime(path, ns=(1, 1))
    assert hosts_for("docker.io", roots).server.host == "two.example"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("server = ", "is not TOML"),
        ('server = "ftp://x"', "server: 'ftp://x' must be"),
        ('server = "https://me:secret@x"', "must be scheme, host and path only"),
        ("server = 3", "server is none"),
        ("host = 3", "host is no table"),
        ('[host."https://x"]\ncapabilities = ["fly"]', "capabilities are pull, resolve and push, not 'fly'"),
        ('[host."https://x"]\nskip_verify = "yes"', "skip_verify is neither true nor false"),
        ('[host."https://x"]\nca = 3', "ca is neither text"),
        ('[host."https://x"]\nclient = [["a", "b", "c"]]', "client is a file"),
        ('[host."https://x".header]\nx = "a\\r\\nb"', "control character"),
        ('[host."https://x".header]\nHost = "b"', "no name of a header"),
        ('[host."https://x"]\ndial_timeout = "soon"', "dial_timeout"),
        ('[host."https://x"]\ndial_timeout = "0s"', "dial_timeout is not above 0"),
    ],
)
def test_what_is_wrong_is_told_with_the_file(tmp_path: Path, text: str, what: str) -> None:
    roots = write(tmp_path, text)
    with pytest.raises(InvalidInput, match=r"hosts\.toml") as caught:
        hosts_for("docker.io", roots)
    assert what in str(caught.value)
    assert "secret" not in str(caught.value)
