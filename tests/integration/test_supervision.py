"""Restart policies and health checks as the monitor carries them out, and what it leaves when it cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.kernel import pidfd
from pycontainer.launcher import ask, control, status
from tests.support.boxes import await_that
from tests.support.launching import pidfd_of, wait_for_end
from tests.support.needs import needs

pytestmark = [needs("root", "overlay")]

FAILS = ["sh", "-c", "echo run; exit 3"]
FOREVER = ["sleep", "1000"]


def fields_of(box: pc.Container) -> dict[str, Any]:
    fields = status.read(str(box._directory))
    assert fields is not None
    return fields


def actions_of(box: pc.Container) -> list[str]:
    return [event.action for event in box.events()]


# -- restart policies


def test_a_container_that_fails_is_started_again_as_often_as_allowed(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    box = pc.Container.create(busybox, FAILS, restart="on-failure:2", engine=engine)
    box.start()
    assert box.wait(timeout=30) == 3
    assert (box.state, box.exit_code, box.restart_count) == ("exited", 3, 2)
    assert box.logs().text() == "run\n" * 3
    assert actions_of(box).count("start") == 3
    assert actions_of(box).count("die") == 3
    shown = box.inspect()
    assert shown["RestartCount"] == 2
    assert shown["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    box.start()
    await_that(box, lambda: box.state == "exited")
    assert box.restart_count == 2, "a start by hand counts from nothing"
    box.remove()


def test_a_success_is_no_failure(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, ["true"], restart="on-failure", engine=engine)
    box.start()
    assert box.wait(timeout=30) == 0
    assert box.restart_count == 0
    box.remove()


def test_the_writable_layer_stays_and_all_else_is_new(engine: pc.Engine, busybox: pc.Image) -> None:
    script = """
        readlink /proc/self/ns/net; echo x >> /kept; echo x >> /dev/shm/lost
        wc -l < /kept; wc -l < /dev/shm/lost; exit 1
    """
    box = pc.Container.create(
        busybox, ["sh", "-c", script], restart="on-failure:1", memory="64m", engine=engine
    )
    box.start()
    box.wait(timeout=30)
    first, second = (box.logs().text().split()[at : at + 3] for at in (0, 3))
    assert first[1:] == ["1", "1"]
    assert second[1:] == ["2", "1"]
    box.remove()


@pytest.mark.parametrize("policy", ["always", "unless-stopped"])
def test_a_stop_beats_the_policy(engine: pc.Engine, busybox: pc.Image, policy: str) -> None:
    box = pc.Container.create(busybox, FOREVER, restart=policy, init=True, engine=engine)
    box.start()
    box.stop(timeout=5)
    assert (box.state, box.restart_count) == ("exited", 0)
    assert fields_of(box)["is_halted"]
    box.start()
    box.kill()
    assert box.wait(timeout=30) == 137
    assert box.restart_count == 0
    box.remove()


def test_a_stop_is_heard_in_the_wait_between_two_runs(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, ["sh", "-c", "exit 4"], restart="always", engine=engine)
    box.start()
    # The fifth wait is 1.6 s long, and so are all that follow it at least.
    await_that(box, lambda: box.restart_count >= 5 and box.state == "restarting")
    assert box in pc.Container.list(engine=engine)
    assert (box.pid, box.exit_code) == (None, 4)
    count = box.restart_count
    box.stop()
    assert (box.state, box.exit_code, box.restart_count) == ("exited", 4, count)
    box.remove()


def test_a_start_ends_the_wait(engine: pc.Engine, busybox: pc.Image) -> None:
    script = "[ -e /srv/again ] && exec sleep 1000; exit 1"
    box = pc.Container.create(busybox, ["sh", "-c", script], restart="always", engine=engine)
    box.start()
    await_that(box, lambda: box.restart_count >= 5 and box.state == "restarting")
    count = box.restart_count
    (box._directory / "upper" / "srv").mkdir(exist_ok=True)
    (box._directory / "upper" / "srv" / "again").touch()
    box.start()
    assert (box.state, box.restart_count) == ("running", count)
    box.remove(force=True)
    assert not box._directory.exists()


def test_another_policy_counts_from_now_on(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, engine=engine)
    box.start()
    box.update(restart="on-failure:1")
    os.kill(box.pid or 0, signal.SIGKILL)
    await_that(box, lambda: box.restart_count == 1 and box.pid is not None)
    box.update(restart="no")
    os.kill(box.pid or 0, signal.SIGKILL)
    assert box.wait(timeout=30) == 137
    assert box.restart_count == 1
    box.remove()


def test_a_policy_that_is_none_ends_the_wait(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, ["false"], restart="always", engine=engine)
    box.start()
    await_that(box, lambda: box.restart_count >= 5 and box.state == "restarting")
    box.update(restart="no")
    assert box.wait(timeout=30) == 1
    box.remove()


def test_a_container_that_cannot_be_started_again_says_why(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(
        busybox,
        ["/bin/once"],
        restart="always",
        engine=engine,
        entrypoint=["/bin/sh", "-c", "rm /bin/sh; exit 1"],
    )
    box.start()
    await_that(box, lambda: box.state == "exited")
    assert box.exit_code == 127
    assert "/bin/sh" in box.inspect()["State"]["Error"]
    box.remove()


def test_what_removes_itself_cannot_be_started_again(engine: pc.Engine, busybox: pc.Image) -> None:
    with pytest.raises(errors.InvalidOption, match="auto_remove"):
        pc.Container.create(busybox, FOREVER, restart="always", auto_remove=True, engine=engine)
    with pytest.raises(errors.InvalidOption, match="auto_remove"):
        pc.run(busybox, FOREVER, restart="always", engine=engine)


def test_a_container_whose_monitor_dies_in_the_wait_ended_as_its_last_run_did(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    box = pc.Container.create(busybox, ["sh", "-c", "exit 5"], restart="always", engine=engine)
    box.start()
    await_that(box, lambda: box.restart_count >= 5 and box.state == "restarting")
    monitor = pidfd_of(fields_of(box)["monitor_pid"])
    pidfd.send_signal(monitor, signal.SIGKILL)
    wait_for_end(monitor)
    os.close(monitor)
    assert (box.state, box.exit_code) == ("exited", 5)
    assert "monitor was killed" in box.inspect()["State"]["Error"]
    box.start()
    box.remove(force=True)


# -- health checks


def checked(engine: pc.Engine, busybox: pc.Image, command: Any = FOREVER, **options: Any) -> pc.Container:
    given = {"health_interval": 0.1, "health_timeout": 10, **options}
    box = pc.Container.create(busybox, command, engine=engine, **given)
    box.start()
    return box


def health(box: pc.Container) -> pc.Health:
    found = box.health
    assert found is not None
    return found


def test_a_check_that_succeeds_makes_a_container_healthy_and_failures_unhealthy(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    script = "touch /fine; read line < /gate; rm /fine; exec sleep 1000"
    box = checked(
        engine,
        busybox,
        ["sh", "-c", "mkfifo /gate; " + script],
        health_cmd="test -e /fine || { echo gone >&2; false; }",
        health_retries=2,
    )
    assert health(box).status == "starting"
    box.wait_until(pc.wait.healthy())
    assert box.inspect()["State"]["Health"]["Status"] == "healthy"
    box.exec(["sh", "-c", "echo > /gate"])
    await_that(box, lambda: health(box).status == "unhealthy")
    found = health(box)
    assert found.failing_streak >= 2
    assert found.log[-1].exit_code == 1
    assert found.log[-1].output == "gone\n"
    assert found.log[-1].ended_at >= found.log[-1].started_at
    assert [action for action in actions_of(box) if action.startswith("health_status")] == [
        "health_status: healthy",
        "health_status: unhealthy",
    ]
    box.remove(force=True)


def test_failures_of_the_start_period_do_not_count(engine: pc.Engine, busybox: pc.Image) -> None:
    box = checked(
        engine,
        busybox,
        health_cmd="false",
        health_retries=1,
        health_interval=60,
        health_start_period=60,
        health_start_interval=0.05,
    )
    await_that(box, lambda: len(health(box).log) == 5)
    found = health(box)
    assert (found.status, found.failing_streak) == ("starting", 0)
    assert [result.exit_code for result in found.log] == [1] * 5
    box.remove(force=True)


def test_a_check_that_takes_too_long_is_killed_with_all_it_began(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    box = checked(
        engine,
        busybox,
        health_cmd="echo begun; setsid sleep 4321 & setsid sh -c 'sleep 4321 & wait' & wait",
        health_timeout=0.3,
        health_interval=0.2,
        health_retries=1,
    )
    await_that(box, lambda: health(box).status == "unhealthy")
    result = health(box).log[0]
    assert result.exit_code == -1
    assert "exceeded timeout (0.3 s)" in result.output
    assert "begun" in result.output
    # The next check begins only when nothing of the last one is left.
    await_that(box, lambda: len(health(box).log) >= 3)
    listed = box.exec(["sh", "-c", "ps | grep -c '[s]leep 4321'"]).text
    assert int(listed) <= 2, "processes pile up"
    box.remove(force=True)


def test_only_the_beginning_of_the_output_and_the_last_results_are_kept(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    box = checked(engine, busybox, health_cmd="yes | head -c 1000000", health_interval=0.02)
    seen: set[str] = set()

    def is_enough() -> bool:
        seen.add(str(health(box).log[-1:]))
        return len(seen) > 8

    await_that(box, is_enough)
    found = health(box)
    assert len(found.log) == 5
    assert {len(result.output) for result in found.log} == {4096}
    assert found.log[-1].output.startswith("y\ny\n")
    box.remove(force=True)


def test_a_check_is_confined_as_the_container_is(engine: pc.Engine, busybox: pc.Image) -> None:
    box = checked(
        engine,
        busybox,
        health_cmd=[
            "sh",
            "-c",
            "id -u; grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status; pwd; echo $A",
        ],
        user="1234",
        workdir="/srv",
        env={"A": "b"},
    )
    box.wait_until(pc.wait.healthy())
    shown = health(box).log[-1].output
    inside = box.exec(
        ["sh", "-c", "id -u; grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status; pwd; echo $A"]
    )
    assert shown == inside.text
    assert shown.split()[0] == "1234"
    box.remove(force=True)


def test_a_check_that_cannot_be_executed_is_a_failure_that_says_so(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    box = checked(engine, busybox, health_cmd=["/no/such/program"], health_retries=1)
    await_that(box, lambda: health(box).status == "unhealthy")
    assert health(box).log[-1].exit_code == -1
    assert "/no/such/program" in health(box).log[-1].output
    with pytest.raises(pc.errors.NotReady, match=r"running, unhealthy: .* code -1, '.*/no/such/program"):
        box.wait_until(pc.wait.healthy())
    box.remove(force=True)


def test_who_waits_for_the_health_of_one_without_a_check_is_told_so(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    with pc.Container(busybox, ["sleep", "100"], engine=engine) as box:
        with pytest.raises(pc.errors.NotReady, match="running and has no health check; give health_cmd"):
            box.wait_until(pc.wait.healthy())


def test_a_check_dies_with_its_container_and_says_nothing_then(engine: pc.Engine, busybox: pc.Image) -> None:
    box = checked(
        engine, busybox, health_cmd="echo > /tmp/begun; sleep 1000", health_timeout=600, health_retries=1
    )
    box.wait_until(pc.wait.file("/tmp/begun"))
    box.stop(timeout=0)
    assert box.state == "exited"
    assert health(box).status == "starting"
    assert health(box).log == ()
    box.remove()


def test_a_restart_begins_with_no_opinion(engine: pc.Engine, busybox: pc.Image) -> None:
    box = checked(engine, busybox, health_cmd="true")
    box.wait_until(pc.wait.healthy())
    box.stop(timeout=0)
    box.start()
    assert health(box).status in ("starting", "healthy")
    box.wait_until(pc.wait.healthy())
    box.remove(force=True)


def test_a_paused_container_is_not_checked(engine: pc.Engine, busybox: pc.Image) -> None:
    box = checked(engine, busybox, health_cmd="true", health_interval=0.02)
    box.wait_until(pc.wait.healthy())
    box.pause()
    before = health(box).log[-1]
    # What was under way when it was paused ends when it goes on; nothing else begins.
    ask(str(box._directory), {"op": "ping"})
    assert health(box).log[-1] == before or health(box).log[-2] == before
    assert health(box).status == "healthy"
    box.unpause()
    await_that(box, lambda: health(box).log[0].started_at > before.started_at)
    box.remove(force=True)


def test_times_without_a_check_are_refused(engine: pc.Engine, busybox: pc.Image) -> None:
    with pytest.raises(errors.InvalidOption, match="health_interval has no meaning"):
        pc.Container.create(busybox, FOREVER, health_interval=3, engine=engine)


# -- memory


@pytest.mark.needs("root", "overlay")
def test_a_process_killed_for_want_of_memory_is_told_while_the_container_goes_on(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    script = "read line < /gate; tail -c 200000000 /dev/zero > /dev/null; echo over; exec sleep 1000"
    box = pc.Container.create(
        busybox, ["sh", "-c", "mkfifo /gate; " + script], memory="32m", memory_swap="32m", engine=engine
    )
    box.start()
    ask(str(box._directory), {"op": "ping"})  # its start has settled then
    box.exec(["sh", "-c", "echo > /gate"])
    box.wait_until(pc.wait.log("over"))
    assert "oom" in actions_of(box)
    assert box.state == "running"
    box.stop(timeout=0)
    assert box.oom_killed
    assert actions_of(box).count("oom") == 1
    box.remove()


# -- a monitor that does not serve


def test_a_stopped_monitor_is_named_and_can_be_removed(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, restart="always", engine=engine)
    box.start()
    ask(str(box._directory), {"op": "ping"})
    monitor = fields_of(box)["monitor_pid"]
    os.kill(monitor, signal.SIGSTOP)
    await_stopped(monitor)
    assert control.is_stopped(str(box._directory))
    with pytest.raises(errors.DeadlineExceeded, match=f"kill -CONT {monitor}"):
        ask(str(box._directory), {"op": "ping"}, timeout_s=0.2)
    program = pidfd_of(box.pid or 0)
    box.remove(force=True)
    wait_for_end(program)
    os.close(program)
    assert not box._directory.exists()


@pytest.mark.parametrize("policy", [None, "always"], ids=["no policy", "always"])
def test_a_stop_names_a_stopped_monitor_at_once_and_works_when_it_goes_on(
    policy: str | None, engine: pc.Engine, busybox: pc.Image
) -> None:
    options: dict[str, Any] = {} if policy is None else {"restart": policy}
    box = pc.Container.create(busybox, FOREVER, engine=engine, **options)
    box.start()
    ask(str(box._directory), {"op": "ping"})
    monitor = fields_of(box)["monitor_pid"]
    os.kill(monitor, signal.SIGSTOP)
    await_stopped(monitor)
    began = time.monotonic()
    with pytest.raises(errors.WrongState, match=rf"process {monitor}\) is stopped; .*kill -CONT {monitor}"):
        box.stop(timeout=20)
    assert time.monotonic() - began < 10
    assert box.state == "running"
    os.kill(monitor, signal.SIGCONT)
    box.stop(timeout=0)
    assert box.exit_code == 137
    box.remove()


def await_stopped(pid: int) -> None:
    for _ in range(1000):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return
        os.sched_yield()
    raise AssertionError("it was not stopped")


def test_a_full_disk_stops_neither_checks_nor_restarts(tmp_path: Path, busybox_layout: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", mount], check=True)
    try:
        with pc.Engine(mount / "store") as engine:
            image = pc.Image.load(busybox_layout, engine=engine)[0]
            box = pc.Container.create(
                image,
                [
                    *("sh", "-c"),
                    "mkfifo /gate; cat /dev/zero > /fill; yes | head -c 300000; read line < /gate; exit 3",
                ],
                restart="on-failure:1",
                health_cmd="true",
                health_interval=0.1,
                engine=engine,
            )
            box.start()
            await_that(box, lambda: box._observed.health == "healthy")
            box.exec(["sh", "-c", "echo > /gate"])
            await_that(box, lambda: box.state == "running" and box.restart_count == 1)
            await_that(box, lambda: box._observed.health == "healthy")
            box.stop(timeout=0)
            assert (box.state, box.exit_code) == ("exited", 137)
            box.remove()
    finally:
        subprocess.run(["umount", "-l", mount], check=True)
