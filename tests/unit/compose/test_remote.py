"""Compose files of other hosts: what they are called, and what is said of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.compose.remote import Remote
from pycontainer.errors import ComposeFileError, NotFound, Unsupported

URL = "https://me:hidden@localhost:1"
GIT = """#!/bin/sh
while [ "$1" = -c ] || [ "$1" = -C ]; do [ "$1" = -C ] && tree=$2; shift 2; done
echo "$HOME" > NOTE
echo "$1" >> NOTE.words
case $1 in
ls-remote) printf '%040d\\t%s\\n' 0 "$4" ;;
init) mkdir "$tree/.git" ;;
rev-parse) echo 0000000000000000000000000000000000000000 ;;
checkout) echo "services: {web: {image: there}}" > "$tree/compose.yaml" ;;
esac
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a git that asks no server notes what its home was."""
    note = tmp_path / "home"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text(GIT.replace("NOTE", str(note)))
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return note


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[pc.Engine]:
    with pc.Engine(tmp_path / "store") as engine:
        yield engine


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("end", "name"), [("web.git", "web"), (".git", "app"), ("..git", "app"), ("...git", "app")]
)
def test_repositories_are_called_as_their_addresses_end(engine: pc.Engine, end: str, name: str) -> None:
    found = Remote(lambda: engine)(f"{URL}/team/{end}")
    assert found.parent.name == name
    assert found.is_relative_to(engine.root)


def test_what_git_leaves_behind_when_it_is_killed_goes_with_the_store(home: Path, engine: pc.Engine) -> None:
    Remote(lambda: engine)(f"{URL}/app.git")
    assert Path(home.read_text()).is_relative_to(engine.root)


@pytest.mark.usefixtures("home")
def test_errors_show_no_passwords(engine: pc.Engine, tmp_path: Path) -> None:
    remote = Remote(lambda: engine)
    with pytest.raises(NotFound) as missing:
        remote(f"{URL}/app.git#main:nothing")
    with pytest.raises(Unsupported) as unknown:
        remote(f"{URL}/compose.yaml")
    file = tmp_path / "compose.yaml"
    file.write_text(f"include: ['{URL}/app.git']\nservices: {{web: {{image: here}}}}")
    with pytest.raises(ComposeFileError, match="conflicts") as conflict:
        pc.Compose(file, env={}, engine=engine)
    for error in (missing, unknown, conflict):
        assert "localhost:1/" in str(error.value)
        assert "hidden" not in str(error.value)


def test_a_commit_that_is_there_is_not_fetched_again(home: Path, engine: pc.Engine) -> None:
    asked = home.with_name("home.words")
    found = {Remote(lambda: engine)(f"{URL}/app.git{end}") for end in ("", "#refs/heads/main", "#v1")}
    words = asked.read_text().split()
    assert len(found) == 1
    assert (words.count("ls-remote"), words.count("fetch")) == (3, 1)
    asked.unlink()
    assert {Remote(lambda: engine)(f"{URL}/app.git#{'0' * 40}")} == found
    assert not asked.exists()


@pytest.mark.usefixtures("home")
def test_what_nobody_has_used_for_long_is_removed(engine: pc.Engine) -> None:
    def found(name: str) -> Path:
        return Remote(lambda: engine)(f"{URL}/{name}.git")

    old, used = found("old"), found("used")
    os.utime(old.parent.parent, (0, 0))
    found("other")
    assert used.is_file()
    assert not old.parent.parent.exists()
    assert list((engine.root / "compose/remote").glob(".*")) == []
