"""The event log: many processes write, rotate and die; readers miss nothing and see nothing torn."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pycontainer.kernel import inotify
from pycontainer.launcher import eventlog
from pycontainer.launcher.eventlog import EventLog, Reader, Reporter, append

MANY_WRITERS = 8
EVENTS_EACH = 1250
ROOT = Path(__file__).parents[3]


def event(number: int, writer: int = 0, *, padding: int = 0) -> dict[str, Any]:
    attributes = {"number": str(number), "writer": str(writer), "padding": "x" * padding}
    return {"type": "t", "action": "a", "id": "i", "attributes": attributes, "time_ns": number}


def numbers(reader: Reader) -> list[int]:
    return [record["time_ns"] for record in reader.available()]


def read_all(directory: Path, **options: Any) -> list[int]:
    reader = Reader(str(directory), **options)
    try:
        return numbers(reader)
    finally:
        reader.close()


def writers(directory: Path, count: int, code: str) -> list[subprocess.Popen[bytes]]:
    """Processes that run code with `log`, `event` and `writer` at hand, started when told."""
    program = (
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from pycontainer.launcher.eventlog import EventLog\n"
        "from tests.unit.launcher.test_eventlog import event\n"
        "writer = int(sys.argv[1])\n"
        f"log = EventLog({str(directory)!r}, max_bytes=256 << 10, max_files=1000)\n"
        "sys.stdin.readline()\n" + code
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(number)], stdin=subprocess.PIPE)
        for number in range(count)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    return started


def test_what_is_written_is_read_in_its_order(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path))
    for number in range(5):
        log.append(event(number))
    log.close()
    assert read_all(tmp_path) == [0, 1, 2, 3, 4]


def test_an_event_comes_back_as_it_was(tmp_path: Path) -> None:
    told = {**event(1), "attributes": {"label": "line\nfeed \x1e and \N{SNOWMAN}", "": ""}}
    append(str(tmp_path), told)
    assert list(Reader(str(tmp_path)).available()) == [told]


def test_a_directory_may_be_given_by_descriptor(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        append(descriptor, event(1))
    finally:
        os.close(descriptor)
    assert read_all(tmp_path) == [1]


def test_a_reader_goes_on_where_it_was(tmp_path: Path) -> None:
    reader = Reader(str(tmp_path))
    assert numbers(reader) == []
    append(str(tmp_path), event(1))
    assert numbers(reader) == [1]
    append(str(tmp_path), event(2))
    assert numbers(reader) == [2]
    reader.close()


def test_a_reader_at_the_end_sees_only_what_comes(tmp_path: Path) -> None:
    append(str(tmp_path), event(1))
    reader = Reader(str(tmp_path), at_end=True)
    append(str(tmp_path), event(2))
    assert numbers(reader) == [2]
    reader.close()


def test_the_log_is_bounded_and_keeps_the_newest(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path), max_bytes=4096, max_files=3)
    for number in range(1000):
        log.append(event(number))
    log.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    assert sum(file.stat().st_size for file in files) < 3 * (4096 + 200)
    left = read_all(tmp_path, max_bytes=4096)
    assert left == list(range(left[0], 1000))
    assert len(left) > 60


def test_a_follower_survives_rotations_and_misses_nothing(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path), max_bytes=1024, max_files=2)
    reader = Reader(str(tmp_path), max_bytes=1024)
    found = []
    for number in range(300):
        log.append(event(number))
        if number % 7 == 0:
            found += numbers(reader)
    found += numbers(reader)
    assert found == list(range(300))
    log.close()
    reader.close()


def test_a_follower_that_was_too_slow_goes_on_with_what_is_left(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path), max_bytes=1024, max_files=2)
    log.append(event(0))
    reader = Reader(str(tmp_path), max_bytes=1024)
    assert numbers(reader) == [0]
    for number in range(1, 300):
        log.append(event(number))
    found = numbers(reader)
    assert found[-1] == 299
    assert found == sorted(set(found))
    log.close()
    reader.close()


def test_a_writer_that_slept_through_rotations_writes_to_the_newest_file(tmp_path: Path) -> None:
    sleeper = EventLog(str(tmp_path), max_bytes=1024, max_files=2)
    sleeper.append(event(-1))
    busy = EventLog(str(tmp_path), max_bytes=1024, max_files=2)
    for number in range(300):
        busy.append(event(number))
    sleeper.append(event(300))
    assert read_all(tmp_path, max_bytes=1024)[-1] == 300
    sleeper.close()
    busy.close()


def test_a_file_that_was_made_too_late_is_passed_over(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path), max_bytes=1024, max_files=3)
    for number in range(300):
        log.append(event(number))
    (tmp_path / "00000001").write_bytes(b'\x1e{"time_ns": 12345}\n')
    found = read_all(tmp_path, max_bytes=1024)
    assert 12345 not in found
    assert found[-1] == 299
    log.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b'\x1e{"type":"cut off',
        b"\x1e",
        b"no record at all\n",
        b"\x00" * 5000,
        b"\x1enot json\n",
        b"\x1e[1]\n",
        b'\x1e{"a":"' + b"\xff" * 10 + b'"}\n',
    ],
    ids=["torn", "begun", "line", "zeros", "not json", "not an object", "not utf-8"],
)
def test_garbage_is_skipped_and_costs_no_other_record(tmp_path: Path, garbage: bytes) -> None:
    append(str(tmp_path), event(1))
    with (tmp_path / "00000001").open("ab") as file:
        file.write(garbage)
    append(str(tmp_path), event(2))
    assert read_all(tmp_path) == [1, 2]


def test_a_record_that_is_still_being_written_is_waited_for(tmp_path: Path) -> None:
    append(str(tmp_path), event(1))
    whole = (tmp_path / "00000001").read_bytes()
    reader = Reader(str(tmp_path))
    assert numbers(reader) == [1]
    with (tmp_path / "00000001").open("ab", buffering=0) as file:
        file.write(whole[:20])
        assert numbers(reader) == []
        file.write(whole[20:])
    assert numbers(reader) == [1]
    reader.close()


def test_files_older_than_asked_are_not_read(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path), max_bytes=1024, max_files=9)
    for number in range(30):
        log.append(event(number))
    log.close()
    oldest, *_ = sorted(tmp_path.iterdir())
    os.utime(oldest, (1, 1))
    found = read_all(tmp_path, since_ns=10**9 * 100, max_bytes=1024)
    assert found
    assert found[0] > 0
    assert found[-1] == 29


def test_many_processes_write_through_rotations_and_nothing_is_lost_or_torn(tmp_path: Path) -> None:
    reader = Reader(str(tmp_path), max_bytes=256 << 10)
    code = f"for number in range({EVENTS_EACH}): log.append(event(number, writer, padding=number % 300))"
    found: list[tuple[int, int]] = []
    ends = {}
    with inotify.Watch(os.fsencode(tmp_path)) as watch:
        started = writers(tmp_path, MANY_WRITERS, code)
        poller = select.poll()
        poller.register(watch, select.POLLIN)
        for process in started:
            ends[os.pidfd_open(process.pid)] = process
        for pidfd in ends:
            poller.register(pidfd, select.POLLIN)
        while ends:
            ready = poller.poll(60_000)
            assert ready, "the writers do not end"
            for fd, _ in ready:
                if fd in ends:
                    poller.unregister(fd)
                    assert ends.pop(fd).wait() == 0
                    os.close(fd)
            watch.drain()
            for record in reader.available():
                attributes = record["attributes"]
                assert attributes["padding"] == "x" * (record["time_ns"] % 300)
                found.append((int(attributes["writer"]), record["time_ns"]))
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
    reader.close()
    assert len(list(tmp_path.iterdir())) > 4
    # Each writer's events once, and in the order in which it wrote them.
    by_writer = {writer: [number for who, number in found if who == writer] for writer in range(MANY_WRITERS)}
    assert by_writer == {writer: list(range(EVENTS_EACH)) for writer in range(MANY_WRITERS)}


def test_killed_writers_leave_a_log_that_others_go_on_with(tmp_path: Path) -> None:
    code = (
        "import itertools\nfor number in itertools.count(): log.append(event(number, writer, padding=9000))"
    )
    started = writers(tmp_path, 4, code)
    reader = Reader(str(tmp_path), max_bytes=256 << 10)
    seen: Counter[str] = Counter()
    with inotify.Watch(os.fsencode(tmp_path)) as watch:
        poller = select.poll()
        poller.register(watch, select.POLLIN)
        while len(seen) < 4 or min(seen.values()) < 20:
            assert poller.poll(30_000), "the writers do not write"
            watch.drain()
            for record in reader.available():  # which goes on as long as they do
                seen[record["attributes"]["writer"]] += 1
                if len(seen) == 4 and min(seen.values()) >= 20:
                    break
    for process in started:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
    append_to = EventLog(str(tmp_path), max_bytes=256 << 10, max_files=1000)
    append_to.append(event(7, writer=99))
    append_to.close()
    last = None
    for record in reader.available():
        assert len(record["attributes"]["padding"]) == (0 if record["attributes"]["writer"] == "99" else 9000)
        last = record
    reader.close()
    assert last is not None
    assert last["attributes"]["writer"] == "99"


def test_a_reporter_adds_what_is_known_of_its_container(tmp_path: Path) -> None:
    reporter = Reporter({"id": "abc", "events_dir": str(tmp_path), "event_attributes": {"name": "box"}})
    reporter.report("die", {"exitCode": "3"}, time_ns=5)
    reporter.close()
    assert list(Reader(str(tmp_path)).available()) == [
        {
            "type": "container",
            "action": "die",
            "id": "abc",
            "attributes": {"name": "box", "exitCode": "3"},
            "time_ns": 5,
        }
    ]


def test_a_reporter_never_fails_its_container(tmp_path: Path) -> None:
    Reporter({"id": "abc"}).report("die")
    gone = Reporter({"id": "abc", "events_dir": str(tmp_path / "gone")})
    gone.prepare()
    gone.report("die")
    gone.close()


def test_a_missing_directory_is_an_error_of_the_writer(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        append(str(tmp_path / "gone"), event(1))
    assert eventlog.DIRECTORY == "events"
