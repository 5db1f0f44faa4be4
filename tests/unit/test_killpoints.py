"""Kill points: a script ends exactly at the armed step, and every step in the source is listed."""

from __future__ import annotations

import subprocess

import pytest

from pycontainer.testing import killpoints

_STEPS = """
from pycontainer import checkpoints
print("before", flush=True)
checkpoints.reached("test.first.done")
print("between", flush=True)
checkpoints.reached("test.second.done")
print("after", flush=True)
"""


def test_the_script_dies_at_the_armed_step() -> None:
    outcome = killpoints.run_killed(_STEPS, "test.second.done")
    assert outcome.was_killed
    assert outcome.stdout == "before\nbetween\n"


def test_a_step_that_is_never_reached_lets_the_script_end() -> None:
    outcome = killpoints.run_killed(_STEPS, "test.elsewhere.done")
    assert not outcome.was_killed
    assert outcome.exit_code == 0
    assert outcome.stdout.endswith("after\n")


def test_the_caller_dies_when_another_process_reaches_the_step() -> None:
    script = """
import os
from pycontainer import checkpoints
child = os.fork()
if child == 0:
    checkpoints.reached("test.child.done")
    os._exit(0)
os.waitpid(child, 0)
while True:
    os.sched_yield()
"""
    assert killpoints.run_killed(script, "test.child.done", victim="caller").was_killed


def test_a_failing_script_reports_its_traceback() -> None:
    outcome = killpoints.run_killed("raise SystemExit('no store')", "test.first.done")
    assert outcome.exit_code == 1
    assert outcome.stderr == "no store\n"


def test_a_hanging_script_is_killed_and_told() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        killpoints.run_killed("import time; time.sleep(60)", "test.first.done", timeout_s=0.3)


def test_every_marked_step_follows_the_naming() -> None:
    for name in killpoints.names():
        assert len(name.split(".")) == 3, f"{name} is not <verb>.<thing>.<past participle>"


def test_steps_are_listed_by_verb() -> None:
    assert all(name.startswith("pull.") for name in killpoints.names("pull"))
