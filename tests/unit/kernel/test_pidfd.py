"""Processes by descriptor, and whose children they are."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pycontainer.kernel import pidfd

PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pycontainer.kernel import pidfd
pids = []
for _ in range(3):
    pids.append(os.fork())
    if not pids[-1]:
        os._exit(0)
assert sorted(pidfd.children()) == sorted(pids), pidfd.children()
assert sorted(pidfd._searched(os.getpid())) == sorted(pids)
"""


def test_children_are_found_with_the_kernels_list_and_without(pytestconfig: pytest.Config) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, str(pytestconfig.rootpath)], check=True, timeout=60)


def test_a_process_that_has_ended_is_known_to() -> None:
    process = subprocess.Popen(["true"])
    started = pidfd.start_time(process.pid)
    process.wait()
    assert pidfd.open_checked(process.pid, started) is None
