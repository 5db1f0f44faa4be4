"""The framed log on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.launcher import logs


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def read(path: Path) -> list[tuple[int, int, int, bytes]]:
    content, at, found = path.read_bytes(), 0, []
    while at < len(content):
        stream, flags, reserved, length, time_ns = logs.HEADER.unpack_from(content, at)
        assert reserved == 0
        at += logs.HEADER.size
        found.append((stream, flags, time_ns, content[at : at + length]))
        at += length
    return found


def test_the_header_is_sixteen_bytes_little_endian() -> None:
    header = logs.encode_header(logs.STDERR, b"abc", 0x0102)
    assert header == bytes([2, 1, 0, 0, 3, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0])


def test_records_come_back_in_order(directory: int, tmp_path: Path) -> None:
    writer = logs.LogWriter(directory)
    writer.append(logs.STDOUT, memoryview(b"one\n"), 1)
    writer.append(logs.STDERR, memoryview(b"half"), 2)
    writer.close()
    assert read(tmp_path / "log") == [(1, 0, 1, b"one\n"), (2, 1, 2, b"half")]


def test_no_output_makes_no_file(directory: int, tmp_path: Path) -> None:
    logs.LogWriter(directory).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("files", "expected"), [(1, ["log"]), (3, ["log", "log.1", "log.2"])])
def test_full_files_move_on_and_the_oldest_goes(
    directory: int, tmp_path: Path, files: int, expected: list[str]
) -> None:
    writer = logs.LogWriter(directory, max_size=100, max_files=files)
    for number in range(20):
        writer.append(logs.STDOUT, memoryview(b"%040d\n" % number), number)
    writer.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == expected
    assert read(tmp_path / "log")[-1][2] == 19
    assert all((tmp_path / name).stat().st_size <= 100 for name in expected)


def test_a_read_larger_than_the_limit_is_cut_after_lines(directory: int, tmp_path: Path) -> None:
    writer = logs.LogWriter(directory, max_size=100, max_files=100)
    lines = b"".join(b"line %d\n" % number for number in range(100))
    writer.append(logs.STDOUT, memoryview(lines), 1)
    writer.close()
    files = sorted(tmp_path.iterdir(), key=lambda path: -int(path.suffix[1:] or 0))
    assert all(path.stat().st_size <= 100 for path in files)
    records = [record for path in files for record in read(path)]
    assert b"".join(payload for *_, payload in records) == lines
    assert all(flags == 0 for _, flags, *_ in records)


def test_a_line_larger_than_the_limit_is_cut_within(directory: int, tmp_path: Path) -> None:
    writer = logs.LogWriter(directory, max_size=10, max_files=2)
    writer.append(logs.STDOUT, memoryview(b"x" * 1000 + b"\n"), 1)
    writer.close()
    kept = [*read(tmp_path / "log.1"), *read(tmp_path / "log")]
    assert [(flags, len(payload)) for _, flags, _, payload in kept] == [(1, 48), (0, 41)]
    assert writer.lost_bytes == 0


def test_a_later_monitor_appends(directory: int, tmp_path: Path) -> None:
    for number in (1, 2):
        writer = logs.LogWriter(directory)
        writer.append(logs.STDOUT, memoryview(b"%d\n" % number), number)
        writer.close()
    assert [payload for *_, payload in read(tmp_path / "log")] == [b"1\n", b"2\n"]


def test_a_link_in_the_log_s_place_is_not_written_through(directory: int, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (tmp_path / "log").symlink_to(outside)
    writer = logs.LogWriter(directory)
    writer.append(logs.STDOUT, memoryview(b"x"), 1)
    writer.close()
    assert writer.lost_bytes == 1
    assert not outside.exists()


@pytest.mark.parametrize("missing", [1, 10, 20, 39])
def test_half_a_record_of_a_killed_monitor_is_taken_away(
    directory: int, tmp_path: Path, missing: int
) -> None:
    for number in range(3):
        writer = logs.LogWriter(directory)
        writer.append(logs.STDOUT, memoryview(b"%023d\n" % number), number)
        writer.close()
    whole = (tmp_path / "log").read_bytes()
    (tmp_path / "log").write_bytes(whole[:-missing])
    writer = logs.LogWriter(directory, was_cut_off=True)
    writer.append(logs.STDOUT, memoryview(b"after\n"), 9)
    writer.close()
    assert [payload for *_, payload in read(tmp_path / "log")] == [b"%023d\n" % 0, b"%023d\n" % 1, b"after\n"]


def test_half_an_object_of_a_killed_monitor_is_taken_away(directory: int, tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b'{"log":"a\\n","stream":"stdout","time":"t"}\n{"log":"ha')
    writer = logs.JsonFile(directory, "j", was_cut_off=True)
    writer.append(logs.STDERR, memoryview(b"b\n"), 1)
    writer.close()
    first, second = (tmp_path / "j").read_bytes().splitlines()
    assert (json.loads(first)["log"], json.loads(second)["log"]) == ("a\n", "b\n")


def test_json_objects_are_what_a_json_encoder_makes(directory: int, tmp_path: Path) -> None:
    every = "".join(map(chr, [*range(10), *range(11, 0x250), 0x2028, 0x2029, 0x1F600])) + "\n"
    writer = logs.JsonFile(directory, "j", attrs={"a": '"<'})
    writer.append(logs.STDOUT, memoryview(every.encode() + b"\xff\xc3\n\n"), 1_500_000_000_120_000_000)
    writer.close()
    found = [json.loads(line) for line in (tmp_path / "j").read_bytes().splitlines()]
    assert [each["log"] for each in found] == [every, "\ufffd\ufffd\n", "\n"]
    assert found[0]["attrs"] == {"a": '"<'}
    assert {each["time"] for each in found} == {"2017-07-14T02:40:00.12Z"}


@pytest.mark.parametrize("size", [500, 1000, 16383, 16384, 16385, 100_000])
def test_lines_are_cut_the_same_whatever_the_reads_were(directory: int, tmp_path: Path, size: int) -> None:
    content = b"short\n" + b"x" * 40000 + b"\n" + "é".encode() * 9000 + b"\nend"
    writer = logs.JsonFile(directory, "j")
    for start in range(0, len(content), size):
        writer.append(logs.STDOUT, memoryview(content[start : start + size]), 1)
    writer.finish(0)
    writer.close()
    found = [json.loads(line)["log"] for line in (tmp_path / "j").read_text().splitlines()]
    assert found == [
        "short\n",
        "x" * 16384,
        "x" * 16384,
        "x" * 7232 + "\n",
        "é" * 8192,
        "é" * 808 + "\n",
        "end",
    ]
