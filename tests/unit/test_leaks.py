"""The leak oracle sees each kind of leak, and forgives what goes away by itself."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from pycontainer.testing.leaks import Difference, LeakError, Snapshot


def _settled(before: Snapshot) -> Difference:
    return before.settle(0.05)


def test_nothing_done_is_no_difference(tmp_path: Path) -> None:
    before = Snapshot.take([tmp_path])
    before.assert_unchanged(0.5)


def test_an_open_file_is_found_by_its_path(tmp_path: Path) -> None:
    before = Snapshot.take([tmp_path])
    with open(tmp_path / "kept", "w"):
        assert _settled(before).appeared == (f"fd: {tmp_path / 'kept'}",)
    before.assert_unchanged()


def test_what_ended_since_is_no_leak(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    before = Snapshot.take([tmp_path])
    os.close(reader)
    os.close(writer)
    before.assert_unchanged(0.05)


def test_a_mount_or_rule_that_was_taken_away_is_found() -> None:
    before = Snapshot({"mount": Counter(["/proc (proc of proc)"]), "nft": Counter(["table"])}, (), False)
    after = Snapshot({"mount": Counter(), "nft": Counter()}, (), False)
    assert before.compare(after).vanished == ("mount: /proc (proc of proc)", "nft: table")


def test_a_socket_counts_by_kind_so_that_a_new_one_for_an_old_one_is_no_leak(tmp_path: Path) -> None:
    old = socket.socketpair()
    before = Snapshot.take([tmp_path])
    new = socket.socketpair()
    assert _settled(before).appeared == ("fd: socket (x2)",)
    for end in old:
        end.close()
    before.assert_unchanged()
    for end in new:
        end.close()


def test_a_child_is_found_while_running_and_as_a_zombie(tmp_path: Path) -> None:
    before = Snapshot.take([tmp_path])
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert any(fact.startswith(f"process: {child.pid} ") for fact in _settled(before).appeared)
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert any(fact.endswith(" zombie") for fact in _settled(before).appeared)
    child.wait()
    before.assert_unchanged()


def test_a_stranger_that_works_below_our_path_is_ours(tmp_path: Path) -> None:
    before = Snapshot.take([tmp_path])
    # The shell in the middle ends, so the sleeper becomes a child of init.
    script = f"cd {tmp_path}; sleep 60 >/dev/null 2>&1 & echo $!"
    pid = int(subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout)
    try:
        assert _settled(before).appeared == (f"process: {pid} sleep",)
    finally:
        os.kill(pid, 9)
    before.assert_unchanged()


TAKER = """
import sys
from pathlib import Path
from pycontainer.testing.leaks import Snapshot
before = Snapshot.take([Path(sys.argv[1])])
print("taken", flush=True)
input()
print(list(before.settle(0.2).appeared), flush=True)
"""
PARENT = """
import subprocess, sys
taker = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1], sys.argv[2]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
)
taker.stdout.readline()
other = subprocess.Popen(["sleep", "60"], cwd=sys.argv[2])
print(taker.communicate("\\n")[0].strip())
other.kill()
other.wait()
"""


def test_what_another_child_of_our_parent_does_is_that_ones(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARENT, TAKER, tmp_path],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "[]\n"


def test_a_thread_is_found_by_its_name(tmp_path: Path) -> None:
    before = Snapshot.take([tmp_path])
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="forgotten")
    thread.start()
    assert "thread: forgotten" in _settled(before).appeared
    done.set()
    thread.join()
    before.assert_unchanged()


def test_a_held_file_lock_is_found(tmp_path: Path) -> None:
    before = Snapshot.take([tmp_path])
    with open(tmp_path / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert f"file lock: {tmp_path / 'lock'} (flock, write)" in _settled(before).appeared
    before.assert_unchanged()


def test_what_ends_soon_is_waited_for(tmp_path: Path) -> None:
    before = Snapshot.take([tmp_path])
    release = threading.Event()
    thread = threading.Thread(target=release.wait, args=(0.1,))
    thread.start()
    before.assert_unchanged()
    thread.join()


def test_the_complaint_lists_every_difference() -> None:
    before = Snapshot({"fd": Counter(), "mount": Counter(["a"])}, (), False)
    after = Snapshot({"fd": Counter(["b", "b"]), "mount": Counter(["m"])}, (), False)
    assert str(before.compare(after)) == "+ fd: b (x2)\n+ mount: m\n- mount: a"


def test_a_leak_fails_an_assertion(tmp_path: Path) -> None:
    before = Snapshot.take([tmp_path])
    with open(tmp_path / "kept", "w"), pytest.raises(LeakError, match="kept"):
        before.assert_unchanged(0.01)
