from __future__ import annotations

import io
from pathlib import Path

import pytest

from pycontainer.engine.inputs import readable
from pycontainer.errors import InvalidOption


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"a\xff")
    return path


@pytest.mark.parametrize(
    "given",
    [b"a\xff", bytearray(b"a\xff"), memoryview(b"a\xff"), memoryview(b"a.\xff.")[::2], io.BytesIO(b"a\xff")],
    ids=lambda given: type(given).__name__,
)
def test_what_holds_bytes_becomes_bytes(given: object) -> None:
    assert readable(given) == b"a\xff"


def test_a_file_in_memory_is_read_from_where_it_is() -> None:
    file = io.BytesIO(b"abc")
    file.seek(1)
    assert readable(file) == b"bc"


def test_a_file_with_a_descriptor_stays_one(path: Path) -> None:
    for file in (path.open("rb"), path.open("rb", buffering=0), path.open("r+b")):
        with file:
            assert readable(file) is file


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("text", r"str is text.*encode"),
        (io.StringIO("text"), r"StringIO is text.*encode"),
        (Path("/etc/hostname"), r"'/etc/hostname' is a path.*open"),
        (3, "int cannot be read"),
        ([b"a"], "list cannot be read"),
        ({}, "dict cannot be read"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_input_is_refused_with_what_to_give(given: object, text: str) -> None:
    with pytest.raises(InvalidOption, match=f"option input: {text}"):
        readable(given)


def test_a_file_that_cannot_be_read_is_refused(path: Path) -> None:
    with path.open("ab") as file, pytest.raises(InvalidOption, match="writing only"):
        readable(file)
    with pytest.raises(InvalidOption, match="closed"):
        readable(file)
    in_memory = io.BytesIO()
    in_memory.close()
    with pytest.raises(InvalidOption, match="closed"):
        readable(in_memory)
