"""The engine's own processes, as the kernel shows them."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from tests.support.patience import patient

__all__ = ["await_gone", "await_next", "descendants", "named"]


def descendants(root: int | None) -> list[int]:
    """Ids of the processes that stem from this one, without it; those that end meanwhile may be missing."""
    found: list[int] = []
    left = [root]
    while left:
        pid = left.pop()
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            continue
        left += map(int, children)
        found += map(int, children)
    return found


def named(name: str, root: int | None) -> list[int]:
    """Those of the descendants that have this name."""
    found = []
    for pid in descendants(root):
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == f"{name}\n":
                found.append(pid)
    return found


def await_gone(pid: int) -> None:
    """Wait until a process, which was somebody else's child, is no more."""
    deadline = time.monotonic() + patient(30)
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.001)


def await_next(helper: int | None) -> int:
    """The process that waits for the helper's next launch, once it has made ahead what that may need."""
    deadline = time.monotonic() + patient(30)
    while time.monotonic() < deadline:
        for pid in descendants(helper):
            if _is_ready(pid):
                return pid
        time.sleep(0.001)
    raise AssertionError("nothing is made ahead")


def _is_ready(pid: int) -> bool:
    try:
        is_waiting = Path(f"/proc/{pid}/comm").read_text() == "pycontainer-nxt\n"
        is_away = os.readlink(f"/proc/{pid}/ns/ipc") != os.readlink("/proc/self/ns/ipc")
        # It reads from its channel when all is made.
        return is_waiting and is_away and "unix_stream" in Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return False  # it has ended meanwhile
