"""Logging in and out: what is written where, and what is left alone."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import AuthDenied, BadReference, InvalidInput
from pycontainer.registry import Credentials, Registry, RegistryClient, RegistryConfig

ACCOUNT = Credentials(username="me", password="s3:cret")
HELPER = """#!/bin/sh
# Keeps one secret in a file beside itself.
store="$(dirname "$0")/kept"
case "$1" in
store) cat > "$store" ;;
get) read server; grep -q "$server" "$store" 2>/dev/null || { echo "credentials not found"; exit 1; }
     sed 's/"ServerURL": "[^"]*", //' "$store" ;;
erase) rm "$store" 2>/dev/null || { echo "credentials not found"; exit 1; } ;;
esac
"""


@pytest.fixture(scope="module")
def guarded() -> Iterator[Registry]:
    with Registry(auth={"me": "s3:cret"}) as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "docker" / "config.json"


@pytest.fixture
def client(file: Path, tmp_path: Path) -> Iterator[RegistryClient]:
    config = RegistryConfig(
        auth_files=(file,), login_file=file, certs_dirs=(), helper_path=f"{tmp_path / 'bin'}:/usr/bin:/bin"
    )
    with RegistryClient(config) as made:
        yield made


def document(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_an_account_is_checked_kept_and_used(client: RegistryClient, file: Path, guarded: Registry) -> None:
    with pytest.raises(AuthDenied):
        client.ping(guarded.address)
    assert client.login(guarded.address, ACCOUNT) == str(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert document(file) == {"auths": {guarded.address: {"auth": base64.b64encode(b"me:s3:cret").decode()}}}
    client.ping(guarded.address)


def test_a_wrong_account_is_refused_and_nothing_written(
    client: RegistryClient, file: Path, guarded: Registry
) -> None:
    with pytest.raises(AuthDenied):
        client.login(guarded.address, Credentials(username="me", password="wrong"))
    assert not file.exists()


def test_everything_else_in_the_file_stays(client: RegistryClient, file: Path, guarded: Registry) -> None:
    file.parent.mkdir()
    before = {
        "HttpHeaders": {"X": "y"},
        "auths": {
            "ghcr.io": {"auth": "YTpi", "email": "x"},
            f"https://{guarded.address}/v1/": {"auth": "eDp5"},
        },
        "psFormat": "table",
    }
    file.write_text(json.dumps(before))
    file.chmod(0o644)
    client.login(guarded.address, ACCOUNT)
    after = document(file)
    assert list(after) == list(before)
    assert list(after["auths"]) == ["ghcr.io", guarded.address]
    assert after["auths"]["ghcr.io"] == before["auths"]["ghcr.io"]  # type: ignore[index]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert client.logout(guarded.address)
    assert list(document(file)["auths"]) == ["ghcr.io"]
    assert not client.logout(guarded.address)
    assert [path.name for path in file.parent.iterdir()] == ["config.json"]


def test_a_helper_gets_the_secret_and_the_file_none(
    client: RegistryClient, file: Path, tmp_path: Path, guarded: Registry
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker-credential-kept").write_text(HELPER)
    (tmp_path / "bin" / "docker-credential-kept").chmod(0o755)
    file.parent.mkdir()
    file.write_text(json.dumps({"credsStore": "kept"}))
    client.login(guarded.address, ACCOUNT)
    assert document(file) == {"credsStore": "kept", "auths": {guarded.address: {}}}
    assert json.loads((tmp_path / "bin" / "kept").read_text())["Secret"] == "s3:cret"
    client.ping(guarded.address)
    assert client.logout(guarded.address)
    assert not (tmp_path / "bin" / "kept").exists()
    with pytest.raises(AuthDenied):
        client.ping(guarded.address)


def test_a_helper_that_is_missing_leaves_the_file_as_it_was(
    client: RegistryClient, file: Path, guarded: Registry
) -> None:
    file.parent.mkdir()
    file.write_text(json.dumps({"credHelpers": {guarded.address: "none"}}))
    with pytest.raises(AuthDenied, match="docker-credential-none is not installed"):
        client.login(guarded.address, ACCOUNT)
    assert "auths" not in document(file)


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": ["x"]}', '{"credsStore": 1}'])
def test_a_broken_file_is_named_and_left_alone(
    client: RegistryClient, file: Path, guarded: Registry, content: str
) -> None:
    file.parent.mkdir()
    file.write_text(content)
    with pytest.raises(InvalidInput, match=r"config\.json"):
        client.login(guarded.address, ACCOUNT)
    assert file.read_text() == content


def test_a_link_to_the_file_stays_a_link(
    client: RegistryClient, file: Path, tmp_path: Path, guarded: Registry
) -> None:
    file.parent.mkdir()
    (tmp_path / "real").write_text("")
    file.symlink_to(tmp_path / "real")
    client.login(guarded.address, ACCOUNT)
    assert file.is_symlink()
    assert "auths" in document(tmp_path / "real")


def test_many_at_once_lose_no_account(file: Path) -> None:
    from pycontainer.registry.auth import save_account

    config = RegistryConfig(login_file=file)
    threads = [
        threading.Thread(target=save_account, args=(config, f"host{number}.example", ACCOUNT))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(document(file)["auths"]) == 8


@pytest.mark.parametrize("name", ["", "a b", "-x", "ghcr.io/Upper", "https://user:pw@ghcr.io"])
def test_what_is_no_registry_is_refused(client: RegistryClient, file: Path, name: str) -> None:
    with pytest.raises((InvalidInput, BadReference)):
        client.login(name, ACCOUNT)
    assert not file.exists()


def test_the_file_is_the_one_docker_and_podman_use() -> None:
    def chosen(**environ: str) -> Path | None:
        return RegistryConfig.from_environment(environ).login_file

    assert chosen(HOME="/h") == Path("/h/.docker/config.json")
    assert chosen(HOME="/h", DOCKER_CONFIG="/d") == Path("/d/config.json")
    assert chosen(HOME="/h", REGISTRY_AUTH_FILE="/a.json") == Path("/a.json")
    assert chosen() == Path(f"/run/containers/{os.geteuid()}/auth.json")
    with pytest.raises(InvalidInput, match="set HOME"):
        RegistryClient(RegistryConfig()).logout("ghcr.io")
