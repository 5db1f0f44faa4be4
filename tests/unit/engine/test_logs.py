"""The log reader against files written as a monitor writes them."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pycontainer.engine.logs import Logs
from pycontainer.errors import DeadlineExceeded, InvalidOption

SECOND = 1_000_000_000


def record(content: bytes, *, stream: int = 1, at_s: float = 1.0, partial: bool = False) -> bytes:
    return struct.pack("<BBHIQ", stream, int(partial), 0, len(content), int(at_s * SECOND)) + content


def finished(directory: Path, **options: object) -> Logs:
    return Logs(directory=directory, monitor=lambda: None, **options)  # type: ignore[arg-type]


def test_lines_come_tagged_in_order_and_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(record(b"one\n") + record(b"\xff\x00two", stream=2, at_s=2))
    seen = [(line.stream, line.content, line.at) for line in finished(tmp_path)]
    assert seen == [
        ("stdout", b"one\n", datetime.fromtimestamp(1, UTC)),
        ("stderr", b"\xff\x00two", datetime.fromtimestamp(2, UTC)),
    ]


def test_a_record_of_many_lines_is_told_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(record(b"a\r\n\nb\nc") + record(b"d\n"))
    seen = [(line.content, line.is_partial) for line in finished(tmp_path)]
    assert seen == [(b"a\r\n", False), (b"\n", False), (b"b\n", False), (b"c", True), (b"d\n", False)]


def test_a_container_without_output_has_an_empty_log(tmp_path: Path) -> None:
    assert finished(tmp_path).read() == b""


def test_rotated_files_are_read_from_the_oldest_on(tmp_path: Path) -> None:
    for name, content in (("log.2", b"a"), ("log.1", b"b"), ("log", b"c")):
        (tmp_path / name).write_bytes(record(content))
    assert finished(tmp_path).read() == b"abc"


def test_a_number_that_a_killed_monitor_left_out_is_passed_over(tmp_path: Path) -> None:
    for name, content in (("log.4", b"a"), ("log.2", b"b"), ("log", b"c")):
        (tmp_path / name).write_bytes(record(content))
    assert finished(tmp_path).read() == b"abc"
    (tmp_path / "log").rename(tmp_path / "log.1")
    assert finished(tmp_path).read() == b"abc"


def test_a_compressed_file_cut_short_is_not_taken_for_another(tmp_path: Path) -> None:
    newest = tmp_path / "log"
    newest.write_bytes(record(b"1\n"))
    packed = tmp_path / "log.1.gz"
    compressed(packed, b"", newest.stat().st_ino)
    packed.write_bytes(packed.read_bytes()[:24])
    with pytest.raises(EOFError):
        finished(tmp_path).read()


def compressed(path: Path, content: bytes, inode: int) -> None:
    """A compressed file whose header says that it was made from this inode."""
    plain = gzip.compress(content, mtime=0)
    head = plain[:3] + b"\x04" + plain[4:10] + struct.pack("<H2sHQ", 12, b"py", 8, inode)
    path.write_bytes(head + plain[10:])


def test_files_made_from_one_inode_number_after_another_are_all_read(tmp_path: Path) -> None:
    newest = tmp_path / "log"
    newest.write_bytes(record(b"3\n") + record(b"4\n"))
    inode = newest.stat().st_ino
    compressed(tmp_path / "log.1.gz", record(b"2\n"), inode)
    compressed(tmp_path / "log.2.gz", record(b"1\n"), inode)
    assert finished(tmp_path).read() == b"1\n2\n3\n4\n"
    until = finished(tmp_path).records_until(inode, len(record(b"3\n")))
    assert [piece.content for piece in until] == [b"1\n", b"2\n", b"3\n"]


def test_a_file_seen_plain_and_compressed_is_read_once(tmp_path: Path) -> None:
    newest = tmp_path / "log"
    newest.write_bytes(record(b"1\n"))
    compressed(tmp_path / "log.1.gz", record(b"1\n"), newest.stat().st_ino)
    assert finished(tmp_path).read() == b"1\n"


def test_more_than_ten_rotated_files_keep_their_order(tmp_path: Path) -> None:
    for number in range(12, 0, -1):
        (tmp_path / f"log.{number}").write_bytes(record(b"%d " % number))
    (tmp_path / "log").write_bytes(record(b"0"))
    assert finished(tmp_path).read() == b"12 11 10 9 8 7 6 5 4 3 2 1 0"


@pytest.mark.parametrize(
    ("tail", "expected"),
    [(0, b""), (1, b"half a line\n"), (2, b"second\nhalf a line\n"), (9, b"first\nsecond\nhalf a line\n")],
)
def test_tail_counts_lines_not_records(tmp_path: Path, tail: int, expected: bytes) -> None:
    (tmp_path / "log").write_bytes(
        record(b"first\n") + record(b"second\n") + record(b"half ", partial=True) + record(b"a line\n")
    )
    assert finished(tmp_path, tail=tail).read() == expected


def test_one_stream_alone_can_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(record(b"out") + record(b"err", stream=2))
    assert finished(tmp_path, stdout=False).read() == b"err"
    assert finished(tmp_path, stderr=False).read() == b"out"


def test_since_and_until_select_by_time(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"".join(record(b"%d" % at, at_s=at) for at in range(1, 6)))
    since = datetime.fromtimestamp(2, UTC)
    assert finished(tmp_path, since=since, until=4).read() == b"234"


def test_timestamps_lead_each_line_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(record(b"x\n", at_s=0.5))
    assert finished(tmp_path).text(timestamps=True) == "1970-01-01T00:00:00.500000000Z x\n"


def test_a_record_cut_short_by_a_crash_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(record(b"whole\n") + record(b"lost\n")[:-2])
    assert finished(tmp_path).read() == b"whole\n"


@pytest.mark.parametrize("options", [{"tail": -1}, {"since": -5}], ids=["tail", "since"])
def test_negative_bounds_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(InvalidOption):
        finished(tmp_path, **options).read()


def test_following_an_idle_container_ends_at_the_deadline(tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded):
        Logs(
            directory=tmp_path, monitor=lambda: os.pidfd_open(os.getpid()), follow=True, timeout_s=0.05
        ).read()


def test_following_loses_nothing_while_the_writer_rotates_and_ends(tmp_path: Path) -> None:
    # The writer waits for a line on stdin before it ends, so the follower is there for all of it.
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE)
    assert writer.stdin is not None
    followed: list[bytes] = []
    logs = Logs(directory=tmp_path, monitor=lambda: os.pidfd_open(writer.pid), follow=True, timeout_s=20)
    reader = threading.Thread(target=lambda: followed.append(logs.read()))
    reader.start()
    writer.stdin.write(b"go\n")
    writer.stdin.close()
    reader.join(30)
    writer.wait(10)
    assert followed == [b"".join(b"%05d\n" % number for number in range(3000))]


WRITER = """
import os, struct, sys
directory = sys.argv[1]
sys.stdin.readline()
os.chdir(directory)
for number in range(3000):
    if number % 300 == 0:
        for old in range(20, 0, -1):
            if os.path.exists(f"log.{old}"):
                os.rename(f"log.{old}", f"log.{old + 1}")
        if os.path.exists("log"):
            os.rename("log", "log.1")
    content = b"%05d\\n" % number
    with open("log", "ab") as log:
        log.write(struct.pack("<BBHIQ", 1, 0, 0, len(content), 1) + content)
"""
