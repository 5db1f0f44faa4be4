"""Many containers, many cycles, and programs that misbehave: contained, reported, and nothing left behind.

The big variants with figures are `python -m benchmarks.load`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import pycontainer as pc
from benchmarks.load import Held
from pycontainer import errors

pytestmark = pytest.mark.needs("root", "overlay")

FOREVER = ["sleep", "1000"]
BOMB = "bomb() { bomb | bomb & }; bomb; sleep 1000"


def test_many_containers_run_at_once_and_all_end(engine: pc.Engine, busybox: pc.Image) -> None:
    boxes = [pc.Container.create(busybox, FOREVER, engine=engine) for _ in range(40)]
    for box in boxes:
        box.start()
    assert len({box.pid for box in boxes}) == 40
    assert {box.state for box in boxes} == {"running"}
    assert len(pc.Container.list(engine=engine)) == 40
    for box in boxes:
        box.remove(force=True)
    assert pc.Container.list(all=True, engine=engine) == []


def test_a_hundred_cycles_leave_nothing_behind(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, engine=engine)

    def cycle(count: int) -> Held:
        for _ in range(count):
            box.start()
            box.stop(timeout=0)
        return Held.take(engine)

    # What is made once, caches and the first of everything, is made in the first cycles.
    before, after = cycle(40), cycle(60)
    assert (after.caller_fds, after.mounts) == (before.caller_fds, before.mounts)
    assert after.helper_fds <= before.helper_fds + 1  # the next launch may be made ready or not
    assert after.caller_kib < before.caller_kib + 1024
    assert after.helper_kib < before.helper_kib + 256
    box.remove()


def test_a_fork_bomb_stays_within_its_limit_and_is_stopped(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, ["sh", "-c", BOMB], pids_limit=64, engine=engine)
    box.start()
    box.wait_until(pc.wait.log("can't fork"), timeout=30)
    assert pc.run(busybox, ["echo", "others start"], engine=engine).text == "others start\n"
    box.stop(timeout=0)
    assert box.exit_code == 137
    box.remove()


def test_a_limit_set_while_it_forks_holds_from_then_on(engine: pc.Engine, busybox: pc.Image) -> None:
    forking = "i=0; while [ $i -lt 20 ]; do sleep 1000 & i=$((i+1)); done"
    script = f"{forking}; echo lit; until [ -e /go ]; do :; done; {forking}; echo all forked; wait"
    box = pc.Container.create(busybox, ["sh", "-c", script], engine=engine)
    box.start(wait=pc.wait.log("lit"))
    box.update(pids_limit=30)
    Path(f"/proc/{box.pid}/root/go").touch()
    box.wait_until(pc.wait.log("can't fork"), timeout=30)
    assert "all forked" not in box.logs().text()
    box.remove(force=True)


def test_a_memory_hog_is_killed_and_told_of(engine: pc.Engine, busybox: pc.Image) -> None:
    hog = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"]
    result = pc.run(busybox, hog, memory="32m", memory_swap="32m", engine=engine)
    assert (result.exit_code, result.oom_killed) == (137, True)
    with pytest.raises(errors.ContainerFailed, match="out of memory"):
        result.check()


def test_a_program_that_ignores_every_signal_is_killed_after_its_time(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    box = pc.Container.create(
        busybox,
        ["sh", "-c", "trap '' TERM INT HUP; sh -c \"trap '' TERM; echo up; while :; do sleep 1; done\""],
        stop_timeout=0.2,
        engine=engine,
    )
    box.start(wait=pc.wait.log("up"))
    pid = box.pid
    box.stop()
    assert box.exit_code == 137
    assert not os.path.exists(f"/proc/{pid}")
    box.remove()


def test_the_limit_of_processes_is_not_passed(engine: pc.Engine, busybox: pc.Image) -> None:
    script = "i=0; while [ $i -lt 50 ]; do sleep 1000 & i=$((i+1)); done; wait"
    box = pc.Container.create(busybox, ["sh", "-c", script], pids_limit=16, engine=engine)
    box.start()
    box.wait_until(pc.wait.log("can't fork"), timeout=30)
    children = Path(f"/proc/{box.pid}/task/{box.pid}/children")
    # The shell gives up at the first refusal: what it has forked by then is all there ever was.
    assert not children.exists() or len(children.read_text().split()) < 16
    box.remove(force=True)
