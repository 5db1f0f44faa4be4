"""Detach keys: what a text stands for, and when they are seen in what is typed."""

from __future__ import annotations

import pytest

from pycontainer.engine.detachkeys import DEFAULT, KeyMatcher, parse_keys
from pycontainer.errors import InvalidOption


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DEFAULT, b"\x10\x11"),
        ("ctrl-a,d", b"\x01d"),
        ("ctrl-@", b"\x00"),
        ("ctrl-[,ctrl-_", b"\x1b\x1f"),
        ("q", b"q"),
        ("", b""),
    ],
)
def test_keys_are_read_as_docker_writes_them(text: str, expected: bytes) -> None:
    assert parse_keys(text) == expected


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-A", "ctrl-1", "ab", "ctrl-p,", "é", "ctrl-p ctrl-q", ","])
def test_what_is_no_key_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidOption, match="detach_keys"):
        parse_keys(text)


@pytest.mark.parametrize(
    ("typed", "passed", "is_detached"),
    [
        (b"ls\n", b"ls\n", False),
        (b"ls\x10\x11", b"ls", True),
        (b"\x10x", b"\x10x", False),
        (b"\x10\x10\x11after", b"\x10", True),
        (b"\x11\x10", b"\x11", False),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_they_are_seen_however_what_is_typed_is_cut(
    typed: bytes, passed: bytes, is_detached: bool, size: int
) -> None:
    matcher, seen = KeyMatcher(b"\x10\x11"), b""
    for start in range(0, len(typed), size):
        part, was_typed = matcher.feed(typed[start : start + size])
        seen += part
        if was_typed:
            break
    assert (seen, was_typed) == (passed, is_detached)


def test_a_repeated_beginning_is_not_lost() -> None:
    assert KeyMatcher(b"aab").feed(b"xaaab") == (b"xa", True)


def test_what_is_held_back_comes_when_the_input_ends() -> None:
    matcher = KeyMatcher(b"\x10\x11")
    assert matcher.feed(b"a\x10") == (b"a", False)
    assert (matcher.rest(), matcher.rest()) == (b"\x10", b"")


def test_without_keys_everything_passes() -> None:
    assert KeyMatcher(b"").feed(b"\x10\x11") == (b"\x10\x11", False)
