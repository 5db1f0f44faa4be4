from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import AuthDenied, InvalidInput
from pycontainer.registry import Credentials, RegistryConfig, Timeouts
from pycontainer.registry.auth import Keychain


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def keychain_of(tmp_path: Path) -> Any:
    def make(*documents: object, **settings: Any) -> Keychain:
        files = []
        for number, document in enumerate(documents):
            path = tmp_path / f"{number}.json"
            path.write_text(document if isinstance(document, str) else json.dumps(document))
            files.append(path)
        return Keychain(RegistryConfig(auth_files=tuple(files), **settings))

    return make


@pytest.fixture
def helper(tmp_path: Path) -> Any:
    """Puts a credential helper on a search path; returns that path."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(name: str, script: str) -> str:
        program = folder / f"docker-credential-{name}"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return f"{folder}:/usr/bin:/bin"

    return make


def test_an_account_comes_from_the_entry_of_its_host(keychain_of: Any) -> None:
    keychain = keychain_of({"auths": {"ghcr.io": auth("me", "p:w"), "other.io": auth("you", "x")}})
    assert keychain.find("ghcr.io", "a/b") == Credentials(username="me", password="p:w")
    assert keychain.find("quay.io", "a/b") is None


@pytest.mark.parametrize(
    "key",
    [
        "https://index.docker.io/v1/",
        "index.docker.io",
        "docker.io",
        "https://docker.io",
        "registry-1.docker.io",
    ],
)
def test_docker_hub_is_found_under_all_its_names(keychain_of: Any, key: str) -> None:
    keychain = keychain_of({"auths": {key: auth("me", "pw")}})
    assert keychain.find("docker.io", "library/alpine") == Credentials(username="me", password="pw")


def test_user_and_password_and_identity_token_fields_are_read(keychain_of: Any) -> None:
    keychain = keychain_of(
        {
            "auths": {
                "a.io": {"username": "u", "password": "p"},
                "b.io": {**auth("t", ""), "identitytoken": "idt"},
            }
        }
    )
    assert keychain.find("a.io") == Credentials(username="u", password="p")
    assert keychain.find("b.io") == Credentials(username="t", identity_token="idt")


def test_the_narrowest_entry_wins_and_none_serves_outside_its_path(keychain_of: Any) -> None:
    keychain = keychain_of(
        {
            "auths": {
                "r.io/team/app": auth("app", "1"),
                "r.io/team": auth("team", "2"),
                "s.io/team": auth("s", "3"),
            }
        }
    )
    assert keychain.find("r.io", "team/app").username == "app"
    assert keychain.find("r.io", "team/app/sub").username == "app"
    assert keychain.find("r.io", "team/application").username == "team"
    assert keychain.find("r.io", "other") is None
    assert keychain.find("s.io") is None


def test_ports_tell_registries_apart(keychain_of: Any) -> None:
    keychain = keychain_of(
        {"auths": {"localhost:5000": auth("five", "1"), "http://localhost:6000": auth("six", "2")}}
    )
    assert keychain.find("localhost:5000").username == "five"
    assert keychain.find("localhost:6000").username == "six"
    assert keychain.find("localhost") is None


def test_given_credentials_win_over_files_and_files_over_later_ones(keychain_of: Any) -> None:
    given = {"docker.io": Credentials(username="given", password="x")}
    documents = ({"auths": {"a.io": auth("first", "1")}}, {"auths": {"a.io": auth("second", "2")}})
    keychain = keychain_of(*documents, {"auths": {"docker.io": auth("file", "3")}}, credentials=given)
    assert keychain.find("docker.io", "library/x").username == "given"
    assert keychain.find("a.io").username == "first"


def test_empty_entries_and_missing_files_are_passed_over(keychain_of: Any, tmp_path: Path) -> None:
    keychain = keychain_of("", {"auths": {"a.io": {}}}, {"auths": {"a.io": auth("me", "pw")}})
    assert keychain.find("a.io").username == "me"
    assert Keychain(RegistryConfig(auth_files=(tmp_path / "no" / "file",))).find("a.io") is None


def test_an_inline_document_is_asked_first(keychain_of: Any) -> None:
    inline = json.dumps({"auths": {"a.io": auth("inline", "1")}})
    keychain = keychain_of({"auths": {"a.io": auth("file", "2")}}, inline_auth=inline)
    assert keychain.find("a.io").username == "inline"


@pytest.mark.parametrize(
    "document",
    [
        '{"auths": {"a.io": {"auth": "c2VjcmV0"',
        "[]",
        {"auths": ["x"]},
        {"auths": {"a.io": 1}},
        {"auths": {"a.io": {"auth": "!!"}}},
        {"auths": {"a.io": {"auth": "c2VjcmV0"}}},
        {"auths": {"a.io": {"auth": 5}}},
        {"credHelpers": {"a.io": 5}},
    ],
)
def test_a_broken_file_is_named_and_its_content_not_shown(keychain_of: Any, document: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        keychain_of(document).find("a.io")
    assert "0.json" in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    keychain = Keychain(RegistryConfig(auth_files=(path,)))
    assert keychain.find("a.io") is None
    path.write_text(json.dumps({"auths": {"a.io": auth("me", "pw")}}))
    found = keychain.find("a.io")
    assert found is not None
    assert found.username == "me"


def test_a_hosts_own_helper_is_asked_on_stdin_and_before_the_entries(keychain_of: Any, helper: Any) -> None:
    path = helper(
        "own", 'read s; [ "$1" = get ] && echo "{\\"Username\\":\\"at $s\\",\\"Secret\\":\\"pw\\"}"'
    )
    document = {"credHelpers": {"a.io": "own"}, "auths": {"a.io": auth("entry", "x")}}
    assert keychain_of(document, helper_path=path).find("a.io").username == "at a.io"


def test_the_store_is_asked_for_docker_hub_by_its_old_url(keychain_of: Any, helper: Any) -> None:
    path = helper("desk", 'read s; echo "{\\"Username\\":\\"$s\\",\\"Secret\\":\\"pw\\"}"')
    document = {"credsStore": "desk", "auths": {"https://index.docker.io/v1/": {}}}
    assert keychain_of(document, helper_path=path).find("docker.io").username == "https://index.docker.io/v1/"


def test_the_user_token_means_an_identity_token(keychain_of: Any, helper: Any) -> None:
    path = helper("tok", 'echo "{\\"Username\\":\\"<token>\\",\\"Secret\\":\\"idt\\"}"')
    found = keychain_of({"credsStore": "tok"}, helper_path=path).find("a.io")
    assert found == Credentials(identity_token="idt")


def test_a_helper_that_knows_nothing_leaves_it_to_the_next_file(keychain_of: Any, helper: Any) -> None:
    path = helper("none", "echo credentials not found in native keychain; exit 1")
    keychain = keychain_of({"credsStore": "none"}, {"auths": {"a.io": auth("me", "pw")}}, helper_path=path)
    assert keychain.find("a.io").username == "me"


def test_a_helper_is_not_run_again_for_the_same_host(keychain_of: Any, helper: Any, tmp_path: Path) -> None:
    count = tmp_path / "count"
    path = helper("cnt", f'echo x >> {count}; echo "{{\\"Username\\":\\"u\\",\\"Secret\\":\\"p\\"}}"')
    keychain = keychain_of({"credsStore": "cnt"}, helper_path=path)
    assert keychain.find("a.io") == keychain.find("a.io")
    assert count.read_text() == "x\n"


@pytest.mark.parametrize("name", ["../evil", "a b", "a/b", "UPPER", "", "a;b", "ü", "a\nb"])
def test_a_helpers_name_cannot_leave_its_grammar(keychain_of: Any, name: str) -> None:
    with pytest.raises(InvalidInput):
        keychain_of({"credHelpers": {"a.io": name}}).find("a.io")


def test_a_helper_gets_a_clean_environment_and_no_working_directory(
    keychain_of: Any, helper: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    path = helper(
        "env", f'env > {seen}; pwd >> {seen}; echo "{{\\"Username\\":\\"u\\",\\"Secret\\":\\"p\\"}}"'
    )
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("PYTHONPATH", "/evil")
    environment = {"HOME": "/root", "AWS_PROFILE": "x"}
    keychain_of({"credsStore": "env"}, helper_path=path, helper_environment=environment).find("a.io")
    lines = seen.read_text().splitlines()
    names = {line.partition("=")[0] for line in lines if "=" in line}
    assert names - {"_", "PWD", "OLDPWD", "SHLVL"} == {"HOME", "AWS_PROFILE", "PATH"}
    assert lines[-1] == "/"


def test_relative_folders_of_the_path_are_not_searched(
    keychain_of: Any, helper: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper("here", "echo '{}'")
    monkeypatch.chdir(tmp_path / "bin")
    with pytest.raises(AuthDenied, match="not installed"):
        keychain_of({"credsStore": "here"}, helper_path=".:bin:").find("a.io")


def test_a_helper_that_hangs_fails_or_babbles_is_an_error_that_names_it(
    keychain_of: Any, helper: Any
) -> None:
    for name, script in {
        "hang": "exec sleep 60",
        "fail": "echo boom >&2; exit 3",
        "babble": "echo hello",
    }.items():
        path = helper(name, script)
        timeouts = Timeouts(helper_s=0.3)
        with pytest.raises(AuthDenied, match=f"docker-credential-{name}"):
            keychain_of({"credsStore": name}, helper_path=path, timeouts=timeouts).find("a.io")


def test_another_users_file_is_as_if_it_were_absent(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        path = tmp_path / "folder"
        path.mkdir()  # root reads everything; a directory in the file's place is passed over alike
    else:
        path = tmp_path / "file"
        path.write_text("{}")
        path.chmod(0)
    assert Keychain(RegistryConfig(auth_files=(path,))).find("a.io") is None
