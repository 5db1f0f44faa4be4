"""Ignore patterns mean what moby's patternmatcher makes of them.

The behaviours are those that moby/patternmatcher tests; the cases here are our own.
"""

from __future__ import annotations

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.patterns import PatternMatcher, ignore_files, read_patterns

MATCHED = [
    ("a", "a"),
    ("a", "a/b/c"),
    ("a/", "a"),
    ("a/b", "a/b/c"),
    ("*", "a"),
    ("*", ".a"),
    ("*", "a/b"),
    ("*.c", "a.c"),
    ("a*", "a"),
    ("*/b", "a/b"),
    ("*/b", "a/b/c"),
    ("a*b*c*d/e", "axbxcxd/e"),
    ("a?c", "abc"),
    ("a?c", "a☺c"),
    ("[a-c]x", "bx"),
    ("[^a-c]x", "dx"),
    ("[α-ω]", "λ"),
    ("[\\]\\-]", "-"),
    ("[\\]\\-]", "]"),
    ("a[^b]c", "a/c"),
    ("a\\*b", "a*b"),
    ("a\\\\", "a\\"),
    ("a.b(c)+{d}|$^", "a.b(c)+{d}|$^"),
    ("**", "a/b"),
    ("**/", "a"),
    ("**/**", "a/b"),
    ("a/**", "a/b"),
    ("a/**", "a/b/c"),
    ("a**", "ab/c"),
    ("**/b", "b"),
    ("**/b", "a/b"),
    ("**/b", "a/b/c"),
    ("**b", "ab"),
    ("**b", "a/cb"),
    ("**/b/c", "a/b/c"),
    ("**/*.c", "a.c"),
    ("**/*.c", "a/b/d.c"),
    ("**/**/*.c", "d.c"),
    ("**/b/*", "a/b/c"),
    ("**/b/**", "a/b/c/d"),
    ("**/a*c*e", "x/abcde"),
    ("a**/*.c", "a/b.c"),
    ("a**/*.c", "a/x/y/b.c"),
    ("a/*.c**", "a/b.cc/d"),
    ("**/x/*/y/*.z", "x/1/y/2.z"),
    ("**/x/*/y/*.z", "q/x/1/y/2.z"),
    ("./a/../b//c", "b/c"),
    ("**/\\a", "x/a"),
]
NOT_MATCHED = [
    ("a", "b"),
    ("a", "ab"),
    ("a/b", "a"),
    ("a/b", "a/c/b"),
    ("*.c", "a.d"),
    ("*/b", "a"),
    ("a/*.c", "a/b/d.c"),
    ("a?c", "ac"),
    ("a?c", "a/c"),
    ("a*c", "a/c"),
    ("a*b*c*d/e", "axbxcxd/x/e"),
    ("[a-c]x", "dx"),
    ("[^a-c]x", "bx"),
    ("a.c", "abc"),
    ("a\\*b", "axb"),
    ("a/**", "a"),
    ("**/b", "ab"),
    ("**/b", "a/cb"),
    ("**/*.c", "a/b.d"),
    ("**/a*c*e", "x/ab/cde"),
    ("**/x/*/y/*.z", "x/1/2/y/3.z"),
    ("*", ""),
    ("*", "."),
]


@pytest.mark.parametrize(("pattern", "path"), MATCHED)
def test_a_pattern_matches(pattern: str, path: str) -> None:
    assert PatternMatcher([pattern]).matches(path)


@pytest.mark.parametrize(("pattern", "path"), NOT_MATCHED)
def test_a_pattern_does_not_match(pattern: str, path: str) -> None:
    assert not PatternMatcher([pattern]).matches(path)


@pytest.mark.parametrize(
    ("patterns", "out", "kept"),
    [
        (["a", "!a/b"], ["a", "a/c"], ["a/b", "a/b/c"]),
        (["a/", "!a/b"], ["a/c"], ["a/b"]),
        (["a/*", "!a/b"], ["a/c"], ["a", "a/b"]),
        (["**", "!a/b"], ["x", "a", "a/c"], ["a/b/c"]),
        (["**", "!a/b", "a/b/c"], ["a/b/c"], ["a/b/d"]),
        (["!a", "a"], ["a"], []),
        (["a/b", "!a"], [], ["a", "a/b", "a/b/c"]),
        (["a/b/c", "!a/b", "a/b/d"], ["a/b/d"], ["a/b/c/e"]),
        (["*", "!**/*.md"], ["a/b.c"], ["a/b.md", "c.md"]),
        (["*.c", "!a.c"], ["b.c"], ["a.c"]),
        (["a", " !a/b "], ["a/c"], ["a/b"]),
        (
            ["**/node_modules", "!x/node_modules/**"],
            ["node_modules/y", "x/node_modules"],
            ["x/node_modules/y"],
        ),
        ([], [], ["a"]),
        (["", "  "], [], ["a"]),
    ],
)
def test_the_last_pattern_that_matches_decides(patterns: list[str], out: list[str], kept: list[str]) -> None:
    matcher = PatternMatcher(patterns)
    assert [path for path in [*out, *kept] if matcher.matches(path)] == out


@pytest.mark.parametrize(
    "pattern", ["!", "[", "[]", "[]a]", "[a", "[^", "[-]", "[a-]", "[-a]", "[a-b-c]", "[c-a]", "a\\", "[a\\"]
)
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput):
        PatternMatcher([pattern])


@pytest.mark.parametrize(
    ("patterns", "directory", "expected"),
    [
        (["a"], "a", True),
        (["a", "!b"], "a", True),
        (["a", "!a/b"], "a", False),
        (["a", "!a/b/c"], "a/b", False),
        (["a", "!a/b/c"], "a/x", True),
        (["a", "!ab"], "a", True),
        (["a", "!*.c"], "a", False),
        (["a", "!**/b"], "a", False),
        (["a", "!x/**/b"], "a", True),
        (["a", "!a/b*"], "a", False),
        (["!a/b", "a"], "a", True),
        (["a", "!a/b", "a"], "a", True),
        (["a/b", "!a/b/c"], "a/b", False),
        (["a", "![a]/b"], "a", False),
    ],
)
def test_a_directory_is_skipped_where_nothing_in_it_is_taken_back(
    patterns: list[str], directory: str, expected: bool
) -> None:
    matcher = PatternMatcher(patterns)
    is_out, state = matcher.along(directory)
    assert is_out
    assert matcher.can_skip(directory, state) == expected


def test_a_walk_gives_the_state_of_a_directory_to_its_entries() -> None:
    matcher = PatternMatcher(["a", "!a/b"])
    is_out, above = matcher.look(0, "a")
    assert is_out
    assert [matcher.look(above, path)[0] for path in ("a/b", "a/c")] == [False, True]


def test_what_the_whole_list_says_is_known() -> None:
    assert (PatternMatcher(["a"]).has_negations, PatternMatcher(["a", "!b"]).has_negations) == (False, True)
    assert not PatternMatcher([])
    assert PatternMatcher(["**/*"]).ignores_everything
    assert not PatternMatcher(["!*", "a*"]).ignores_everything


def test_an_ignore_file_is_read() -> None:
    text = "\ufeff# comment\nplain\r\n/top\n  in/./side/../here/  \n\n #no-comment\n! /back\n!\n/\n"
    assert read_patterns(text) == ("plain", "top", "in/here", "#no-comment", "!back", "!", "/")


def test_the_file_beside_the_dockerfile_comes_first() -> None:
    assert ignore_files("docker/app.Dockerfile") == ("docker/app.Dockerfile.dockerignore", ".dockerignore")


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "pattern",
    ["*a" * 500 + "b", "**/" * 300 + "b", "?*" * 500 + "[b]", "**/*" + "a*" * 300 + "b", "**a" * 300 + "b"],
)
def test_no_pattern_takes_time_in_powers_of_its_length(pattern: str) -> None:
    path = "/".join(["a" * 200] * 20)
    assert not PatternMatcher([pattern]).matches(path)


def test_more_patterns_than_anyone_writes_are_refused() -> None:
    with pytest.raises(InvalidInput):
        read_patterns("a\n" * 10_001)
    with pytest.raises(InvalidInput):
        PatternMatcher(["a"] * 10_001)
    with pytest.raises(InvalidInput):
        PatternMatcher(["a" * 5000])
