"""Named steps: what is armed in a process decides whether they kill, are written down, or cost nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer import checkpoints


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    checkpoints.arm(None)


def test_the_process_that_reaches_the_armed_step_is_killed_there() -> None:
    script = (
        "from pycontainer import checkpoints\n"
        "checkpoints.arm('pull.blob.committed')\n"
        "checkpoints.reached('pull.blob.begun'); print('on', flush=True)\n"
        "checkpoints.reached('pull.blob.committed'); print('never')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (-9, "on\n")


def test_steps_are_written_down_with_their_times_when_that_is_asked(tmp_path: Path) -> None:
    trace = tmp_path / "steps"
    before = time.monotonic_ns()
    checkpoints.arm(f"trace:{trace}")
    for name in ("start.cgroup.made", "start.init.cloned"):
        checkpoints.reached(name)
    checkpoints.arm(None)
    checkpoints.reached("start.status.written")
    lines = [line.split(" ") for line in trace.read_text().splitlines()]
    assert [(int(pid), name) for _, pid, name in lines] == [
        (os.getpid(), "start.cgroup.made"),
        (os.getpid(), "start.init.cloned"),
    ]
    times = [before, *(int(at) for at, _, _ in lines), time.monotonic_ns()]
    assert times == sorted(times)
