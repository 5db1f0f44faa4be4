"""YAML as Docker's reader has it, and YAML that means harm."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from pycontainer.compose.yamlfile import RESET, Override, dump, read_documents
from pycontainer.errors import ComposeFileError, Unsupported


def read(text: str) -> Any:
    return read_documents(text, "compose.yaml")[0].value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("22:22", "22:22"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("0440", 0o440),
        ("0o440", 0o440),
        ("0x1F", 31),
        ("1_000", 1000),
        ("-5", -5),
        ("08", 8),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("3.8.1", "3.8.1"),
        ("2001-01-01", "2001-01-01"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("=", "="),
        ("!reset []", RESET),
        ("!override 5", Override(5)),
        ("!override [a]", Override(["a"])),
        ("!override {a: 1}", Override({"a": 1})),
    ],
)
def test_scalars_are_those_of_the_core_schema(text: str, expected: object) -> None:
    assert read(f"key: {text}")["key"] == expected


def test_merge_keys_and_anchors_are_followed() -> None:
    text = """
x-a: &a {one: 1, two: 1}
x-b: &b {two: 2, three: 2}
c: {<<: *a, two: 3}
d: {<<: [*a, *b]}
"""
    assert read(text)["c"] == {"one": 1, "two": 3}
    assert read(text)["d"] == {"one": 1, "two": 1, "three": 2}


def test_places_of_values_are_known() -> None:
    document = read_documents("a:\n  b:\n    - x\n    - y\n", "f.yaml")[0]
    error = document.error("wrong", ("a", "b", 1))
    assert str(error) == "f.yaml:4: a.b[1]: wrong"


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BOMB, "more than 50000 values"),
        ("a: &a [*a]", "alias leads into itself"),
        ("a: &a {<<: *a}", "alias leads into itself"),
        ("[" * 100 + "]" * 100, "nested more than 64 deep"),
        ("[" * 1_000_000, "nested more than 64 deep"),
        ("- " * 500_000, "nested more than 64 deep"),
        ("a: !!python/object/apply:os.system [id]", "tag .* has no meaning"),
        ("a: !!binary aGk=", "tag .* has no meaning"),
        ("a: !!set {x}", "tag .* has no meaning"),
        ("a: 1\na: 2", "there twice"),
        ("a: {? [x] : 1}", "a key is text"),
        ("a: [", "no YAML"),
        ("a: \0", "no YAML"),
        ("#" * (3 << 20), "more than .* bytes"),
    ],
    ids=range(14),
)
def test_what_means_harm_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ComposeFileError, match=problem):
        read(text)


def test_without_the_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(Unsupported, match=r"pip install 'pycontainer-engine\[yaml\]'"):
        read("a: 1")


def test_what_is_written_reads_back() -> None:
    value = {"b": ["22:22", "yes", "0440", 5, None, True], "a": {"x": "multi\nline"}}
    assert read(dump(value)) == value
