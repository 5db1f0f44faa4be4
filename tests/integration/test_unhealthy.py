"""What is done to a container that becomes unhealthy, and to one that runs for too long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import pycontainer as pc
from pycontainer import errors
from tests.support.boxes import await_that

pytestmark = pytest.mark.needs("root", "overlay")


@pytest.fixture(autouse=True)
def tidy(engine: pc.Engine) -> Iterator[None]:
    """Remove what a test has made, those that others require last."""
    yield
    for box in pc.Container.list(all=True, engine=engine):
        box.remove(force=True)


# Each run has a /dev/shm of its own: there it says which one it is, once it hears signals.
SCRIPT = """n=$(($(cat /n 2>/dev/null || echo 0) + 1)); echo $n > /n
trap 'exit 7' TERM; echo $n > /dev/shm/ready; echo run; sleep 1000 & wait"""
ONCE = ["sh", "-c", SCRIPT]
FAILS_IN_FIRST_RUN = 'test "$(cat /dev/shm/ready)" != 1'


def failing(engine: pc.Engine, image: pc.Image, *, action: str, **options: Any) -> pc.Container:
    """A container whose checks fail in its first run, as soon as that hears signals."""
    given = {"health_interval": 0.05, "health_retries": 2, **options}
    box = pc.Container.create(
        image,
        ONCE,
        init=True,
        health_cmd=FAILS_IN_FIRST_RUN,
        health_on_failure=action,
        engine=engine,
        **given,
    )
    box.start()
    return box


def actions(box: pc.Container) -> list[str]:
    return [event.action for event in box.events()]


def test_it_is_stopped_with_its_own_signal(engine: pc.Engine, busybox: pc.Image) -> None:
    box = failing(engine, busybox, action="stop", restart="always")
    assert box.wait(timeout=20) == 7
    assert (box.state, box.restart_count) == ("exited", 0)
    assert actions(box)[-2:] == ["health_status: unhealthy", "die"]


def test_it_is_killed_and_its_policy_counts_then(engine: pc.Engine, busybox: pc.Image) -> None:
    alone = failing(engine, busybox, action="kill")
    assert alone.wait(timeout=20) == 137
    kept = failing(engine, busybox, action="kill", restart="on-failure")
    await_that(kept, lambda: kept.restart_count == 1 and kept.state == "running")
    kept.wait_until(pc.wait.healthy())
    assert kept.restart_count == 1


def test_it_is_started_again_without_a_policy_too(engine: pc.Engine, busybox: pc.Image) -> None:
    box = failing(engine, busybox, action="restart")
    await_that(box, lambda: box.restart_count == 1 and box.state == "running")
    box.wait_until(pc.wait.healthy() & pc.wait.log("run"))
    assert (box.state, box.restart_count) == ("running", 1)
    box.exec(["kill", "-TERM", "-1"])
    assert box.wait(timeout=20) == 7  # an end by itself is one


def test_a_stop_by_hand_beats_it(engine: pc.Engine, busybox: pc.Image) -> None:
    box = failing(engine, busybox, action="restart", health_interval=60)
    box.wait_until(pc.wait.log("run"))
    box.stop()
    assert (box.state, box.restart_count, box.exit_code) == ("exited", 0, 7)


def test_one_that_ignores_the_signal_is_killed_after_its_time(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(
        busybox,
        ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
        health_cmd="false",
        health_interval=0.05,
        health_retries=1,
        health_on_failure="stop",
        stop_timeout=0.1,
        engine=engine,
    )
    box.start()
    assert box.wait(timeout=20) == 137


def test_without_a_check_or_with_removal_it_is_refused(engine: pc.Engine, busybox: pc.Image) -> None:
    with pytest.raises(errors.InvalidOption, match="health_on_failure has no meaning without a health check"):
        pc.Container.create(busybox, ONCE, health_on_failure="kill", engine=engine)
    with pytest.raises(errors.InvalidOption, match="leave out auto_remove, or give stop"):
        pc.Container.create(
            busybox, ONCE, health_cmd="true", health_on_failure="restart", auto_remove=True, engine=engine
        )


def test_a_run_longer_than_run_timeout_is_killed_and_nobody_needs_to_look(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    box = pc.Container.create(busybox, ["sleep", "1000"], run_timeout="300ms", engine=engine)
    box.start()
    assert box.wait(timeout=20) == 137
    again = pc.Container.create(
        busybox, ["sleep", "1000"], run_timeout=0.2, restart="on-failure:1", engine=engine
    )
    again.start()
    assert again.wait(timeout=20) == 137
    assert again.restart_count == 1
    with pytest.raises(errors.InvalidOption, match="more than 0"):
        pc.Container.create(busybox, run_timeout=0, engine=engine)


def test_a_run_that_ends_in_time_is_not_touched(engine: pc.Engine, busybox: pc.Image) -> None:
    assert pc.run(busybox, ["true"], run_timeout=60, engine=engine).exit_code == 0


def test_a_paused_one_is_killed_as_well(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, ["sleep", "1000"], run_timeout=0.5, engine=engine)
    box.start()
    box.pause()
    assert box.wait(timeout=20) == 137
