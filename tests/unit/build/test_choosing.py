"""Which files of a root the sources of COPY mean, and when a checksum changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput, NotFound
from pycontainer.launcher.building.choosing import choose, walk
from pycontainer.launcher.building.roots import resolve
from pycontainer.patterns import PatternMatcher


@pytest.fixture
def tree(tmp_path: Path) -> int:
    for name in ("a/x.py", "a/y.txt", "a/deep/z.py", "b/x.py", "c[1]", "out/keep", "out/drop"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "link").symlink_to("a/deep")
    (tmp_path / "up").symlink_to("../../../a")
    (tmp_path / "absolute").symlink_to("/b/x.py")
    (tmp_path / "loop").symlink_to("loop")
    return os.open(tmp_path, os.O_RDONLY)


def chosen(
    root: int, *patterns: str, ignored: tuple[str, ...] = (), parents: bool = False
) -> list[tuple[str, str]]:
    found = choose(root, patterns, PatternMatcher(ignored), parents=parents)
    return [(source.path, source.name) for source in found]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("a", [("a", "a")]),
        (".", [("", "")]),
        ("/a/../b", [("b", "b")]),
        ("../../b", [("b", "b")]),
        ("link", [("a/deep", "link")]),
        ("link/z.py", [("a/deep/z.py", "z.py")]),
        ("up/y.txt", [("a/y.txt", "y.txt")]),
        ("absolute", [("b/x.py", "absolute")]),
        ("*/x.py", [("a/x.py", "x.py"), ("b/x.py", "x.py")]),
        ("a/?.[p-t]*", [("a/x.py", "x.py"), ("a/y.txt", "y.txt")]),
        ("a/[^x]*", [("a/deep", "deep"), ("a/y.txt", "y.txt")]),
        ("c\\[1]", [("c[1]", "c[1]")]),
        ("none*", []),
        ("**/x.py", [("a/x.py", "x.py"), ("b/x.py", "x.py")]),
        ("**/z.py", []),
        ("a/x.py/*", []),
    ],
)
def test_sources_are_found_inside_the_root(tree: int, pattern: str, found: list[tuple[str, str]]) -> None:
    assert chosen(tree, pattern) == found
    os.close(tree)


def test_parents_keep_their_paths_from_the_pivot_on(tree: int) -> None:
    found = chosen(tree, "a/deep/z.py", "a/./deep/z.py", "*/x.py", parents=True)
    assert [name for _, name in found] == ["a/deep/z.py", "deep/z.py", "a/x.py", "b/x.py"]
    only_the_first_counts = chosen(tree, "./a/./deep/./z.py", "a/deep/.", parents=True)
    assert only_the_first_counts == [("a/deep/z.py", "deep/z.py"), ("a/deep", "a/deep")]
    os.close(tree)


@pytest.mark.parametrize(
    ("pattern", "ignored", "found"),
    [
        ("**/*.py", (), ["a/deep/z.py", "a/x.py", "b/x.py"]),
        ("a/**/z.py", (), ["a/deep/z.py"]),
        ("a/**/x.py", (), ["a/x.py"]),
        ("a*/./**/*.py", (), ["deep/z.py", "x.py"]),
        ("**/./x.py", (), ["x.py", "x.py"]),
        ("**/deep", (), ["a/deep"]),
        ("out/**", (), ["out/drop", "out/keep"]),
        ("**/x.py", ("b",), ["a/x.py"]),
        ("**/*.py", ("*", "!a/deep"), ["a/deep/z.py"]),
    ],
)
def test_two_asterisks_are_any_depth_where_parents_are_kept(
    tree: int, pattern: str, ignored: tuple[str, ...], found: list[str]
) -> None:
    assert [name for _, name in chosen(tree, pattern, ignored=ignored, parents=True)] == found
    os.close(tree)


@pytest.mark.parametrize(
    ("pattern", "ignored"), [("none", ()), ("a/x.py/y", ()), ("b/x.py", ("b",)), ("a/x.py", ("*", "!b"))]
)
def test_what_is_missing_or_ignored_is_named(tree: int, pattern: str, ignored: tuple[str, ...]) -> None:
    with pytest.raises(NotFound, match=pattern):
        chosen(tree, pattern, ignored=ignored)
    os.close(tree)


def test_bad_patterns_and_circles_are_errors(tree: int) -> None:
    with pytest.raises(InvalidInput):
        chosen(tree, "[a")
    with pytest.raises(OSError, match="symbolic"):
        resolve(tree, "loop")
    os.close(tree)


def walk_all(
    root: int, base: str, ignored: tuple[str, ...] = (), excluded: tuple[str, ...] = ()
) -> list[str]:
    top = os.open(base or ".", os.O_RDONLY, dir_fd=root)
    steps = list(walk(top, base, PatternMatcher(ignored), PatternMatcher(excluded)))
    os.close(top)
    return [f"{step.verb} {step.path}" for step in steps if step.verb != "leave"]


def test_a_walk_comes_by_in_the_order_of_the_names(tree: int) -> None:
    assert walk_all(tree, "a") == ["enter deep", "take deep/z.py", "take x.py", "take y.txt"]
    os.close(tree)


def test_a_directory_that_is_left_out_comes_with_what_is_taken_back_in(tree: int) -> None:
    assert walk_all(tree, "", ("*", "!out/keep", "!a/deep")) == [
        "enter a", "enter a/deep", "take a/deep/z.py", "enter out", "take out/keep",
    ]  # fmt: skip
    assert walk_all(tree, "a", (), ("**/*.py",)) == ["enter deep", "take y.txt"]
    os.close(tree)
