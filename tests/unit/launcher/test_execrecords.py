"""The records of further processes: written by one, read by all, whatever was killed meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.launcher import execrecords

ID = "ab" * 32
FIELDS = {"id": ID, "args": ["true"], "is_detached": True, "created_at_ns": 1, "cgroup": {}}


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def writer(directory: int) -> Iterator[execrecords.Writer]:
    """A record begun by a parent that lives."""
    made = execrecords.Writer(directory, ID)
    made.begin(FIELDS)
    yield made
    if made._fd >= 0:
        os.close(made._fd)


def test_a_later_line_adds_to_the_earlier(writer: execrecords.Writer, tmp_path: Path) -> None:
    writer.add({"pid": 7})
    found = execrecords.read(str(tmp_path), ID)
    assert found == {**FIELDS, "pid": 7, "is_running": True}
    writer.add({"exit_code": 3})
    found = execrecords.read(str(tmp_path), ID)
    assert found is not None
    assert (found["is_running"], found["exit_code"]) == (False, 3)


def test_one_whose_parent_is_gone_was_killed(writer: execrecords.Writer, tmp_path: Path) -> None:
    os.close(writer._fd)
    writer._fd = -1
    found = execrecords.read(str(tmp_path), ID)
    assert found is not None
    assert (found["is_running"], found["exit_code"], found["is_lost"]) == (False, 137, True)


@pytest.mark.parametrize("cut", [b'{"exit_code":', b"not json\n", b"\n"], ids=["half", "odd", "empty"])
def test_a_line_that_was_not_finished_is_passed_over(
    writer: execrecords.Writer, tmp_path: Path, cut: bytes
) -> None:
    os.write(writer._fd, cut)
    found = execrecords.read(str(tmp_path), ID)
    assert found is not None
    assert (found["is_running"], found["args"]) == (True, ["true"])


def test_a_record_that_says_nothing_yet_is_none(directory: int, tmp_path: Path) -> None:
    (tmp_path / "execs").mkdir()
    (tmp_path / "execs" / ID).touch()
    assert execrecords.read(directory, ID) is None
    assert execrecords.read_all(directory) == []
    assert execrecords.read(directory, "cd" * 32) is None


def test_only_the_newest_of_those_that_ended_are_kept(directory: int) -> None:
    for number in range(70):
        made = execrecords.Writer(directory, f"{number:064x}")
        made.begin({**FIELDS, "id": f"{number:064x}", "created_at_ns": number})
        made.add({"exit_code": 0})
        os.close(made._fd)
    assert execrecords.sweep(directory) == 0
    kept = [fields["created_at_ns"] for fields in execrecords.read_all(directory)]
    assert kept == list(range(6, 70))
