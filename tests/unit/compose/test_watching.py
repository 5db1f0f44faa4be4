"""What is watched for `develop.watch`, and what has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pycontainer as pc
from pycontainer.compose import watching


def rule_of(tmp_path: Path, *ignored: str) -> watching._Rule:
    (tmp_path / "src").mkdir()
    (tmp_path / "compose.yaml").write_text(
        "services: {web: {image: x, develop: {watch: "
        f"[{{path: ./src, action: sync, target: /srv, ignore: {list(ignored)}}}]}}}}}}"
    )
    (rule,) = watching._rules(pc.Compose(tmp_path / "compose.yaml", env={}).project, ())
    return rule


def seen(rule: watching._Rule) -> dict[str, bool]:
    return {os.path.relpath(path, rule.root): is_there for path, is_there in rule.changes().items()}


def instances() -> int:
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{name}") == "anon_inode:inotify"
        except FileNotFoundError:
            pass  # that of the listing
    return found


def test_many_directories_need_one_instance(tmp_path: Path) -> None:
    rule = rule_of(tmp_path)
    for number in range(200):
        (tmp_path / f"src/{number}").mkdir()
    before = instances()
    with watching._Watches([rule]) as watches:
        assert instances() == before + 1
        (tmp_path / "src/150/file").touch()
        watches.wait()
    assert instances() == before
    assert seen(rule) == {"150/file": True}


def test_what_is_taken_back_in_below_an_ignored_directory_is_watched(tmp_path: Path) -> None:
    rule = rule_of(tmp_path, "out", "!out/kept", "whole")
    for name in ("out", "whole"):
        (tmp_path / "src" / name).mkdir()
        for file in ("kept", "left"):
            (tmp_path / "src" / name / file).touch()
    assert set(rule.directories()) == {str(tmp_path / "src"), str(tmp_path / "src/out")}
    assert seen(rule) == {"out/kept": True}


def test_a_link_to_a_directory_is_a_file_of_its_own(tmp_path: Path) -> None:
    rule = rule_of(tmp_path)
    (tmp_path / "src/real").mkdir()
    (tmp_path / "src/real/file").touch()
    (tmp_path / "src/link").symlink_to("real")
    assert seen(rule) == {"link": True, "real/file": True}
    (tmp_path / "src/link").unlink()
    assert seen(rule) == {"link": False}


def test_what_failed_is_among_the_next_changes(tmp_path: Path) -> None:
    rule = rule_of(tmp_path)
    for name in ("gone", "left", "other"):
        (tmp_path / "src" / name).touch()
    seen(rule)
    (tmp_path / "src/gone").unlink()
    assert seen(rule) == {"gone": False}
    rule.failed |= {str(tmp_path / "src/gone"), str(tmp_path / "src/left")}
    assert seen(rule) == {}
    rule.retry()
    assert seen(rule) == {"gone": False, "left": True}
    rule.retry()
    assert seen(rule) == {}
