"""Locks exclude threads and processes alike, wake their waiters, and die with their holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pycontainer.errors import DeadlineExceeded
from pycontainer.store.locks import FileLock, shared

HOLDER = """
import sys
from pathlib import Path
from pycontainer.store.locks import FileLock
FileLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def _holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_two_threads_never_hold_one_lock_together(tmp_path: Path) -> None:
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            with FileLock(tmp_path / "lock").held(remove=True):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert not (tmp_path / "lock").exists()


def test_waiting_ends_with_deadline_exceeded(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock").held():
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            FileLock(tmp_path / "lock").acquire(0.1)
        assert 0.1 <= time.monotonic() - started < 2


@pytest.mark.parametrize("remove", [True, False], ids=["removed", "kept"])
def test_a_waiter_is_woken_soon_after_the_release(tmp_path: Path, remove: bool) -> None:
    lock = FileLock(tmp_path / "lock")
    lock.acquire()
    times: list[float] = []
    waiting = threading.Event()

    def wait() -> None:
        other = FileLock(tmp_path / "lock")
        waiting.set()
        other.acquire(10)
        times.append(time.monotonic())
        other.release()

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait()
    with pytest.raises(DeadlineExceeded):  # gives the waiter time to block
        FileLock(tmp_path / "lock").acquire(0.05)
    released = time.monotonic()
    lock.release(remove=remove)
    thread.join()
    assert times[0] - released < 0.2


def test_a_killed_holder_lets_go(tmp_path: Path) -> None:
    holder = _holder(tmp_path / "lock")
    assert not FileLock(tmp_path / "lock").try_acquire()
    holder.send_signal(signal.SIGKILL)
    mine = FileLock(tmp_path / "lock")
    mine.acquire(10)
    mine.release()
    holder.communicate()


def test_a_forked_child_neither_holds_nor_releases_its_parents_lock(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    lock.acquire()
    child = os.fork()
    if child == 0:
        lock.release(remove=True)
        os._exit(1 if FileLock(tmp_path / "lock").try_acquire() else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (tmp_path / "lock").exists()
    lock.release()
    assert FileLock(tmp_path / "lock").try_acquire()


def test_a_lock_is_free_although_a_child_of_the_holder_lives_on(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    lock.acquire()
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write_end)
        os.read(read_end, 1)
        os._exit(0)
    lock.release()
    other = FileLock(tmp_path / "lock")
    assert other.try_acquire()
    other.release()
    os.close(write_end)
    os.close(read_end)
    os.waitpid(child, 0)


def test_a_missing_file_is_not_created_when_told_so(tmp_path: Path) -> None:
    assert not FileLock(tmp_path / "lock").try_acquire(create=False)
    assert not (tmp_path / "lock").exists()


def test_shared_holders_coexist_and_exclude_an_exclusive_one(tmp_path: Path) -> None:
    with shared(tmp_path / "lock"), shared(tmp_path / "lock"):
        assert not FileLock(tmp_path / "lock").try_acquire()
    mine = FileLock(tmp_path / "lock")
    assert mine.try_acquire()
    mine.release()


def test_a_link_in_the_place_of_a_lock_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        FileLock(tmp_path / "lock").acquire(1)
