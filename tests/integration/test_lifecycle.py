"""Pause, rename, restart, wait conditions and live updates: what the kernel and other callers see."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.engine import steering
from pycontainer.launcher import freezer
from pycontainer.runtime import cgroups

pytestmark = pytest.mark.needs("root", "overlay")

FOREVER = ["sleep", "1000"]
COUNTING = ["sh", "-c", "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done"]


def limit(box: pc.Container, name: str) -> str:
    """What the kernel holds in a file of the container's cgroup, in whichever hierarchy it is."""
    for directory in _directories(box):
        if (directory / name).exists():
            return (directory / name).read_text().strip()
    raise AssertionError(f"no {name} in {_directories(box)}")


def _directories(box: pc.Container) -> list[Path]:
    return [Path(directory) for directory in _left(box)]


def _left(box: pc.Container) -> list[str]:
    """Directories of the container's cgroups that there are, whichever manager made them."""
    layout = cgroups.detect()
    homes = cgroups.homes(box._engine.store_tag, layout)
    return [path for home in homes for path in cgroups.leftovers(home, layout).get(box.id, ())]


def members(box: pc.Container, name: str) -> set[int]:
    """The processes in the hierarchy that has this file."""
    directory = next(path for path in _directories(box) if (path / name).exists())
    return {int(word) for word in (directory / "cgroup.procs").read_text().split()}


def lines_of(box: pc.Container) -> int:
    return len(box.logs().text().splitlines())


# -- pause


def test_a_paused_container_does_not_run_and_goes_on_where_it_was(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    box = pc.Container.create(busybox, COUNTING, engine=engine)
    box.start(wait=pc.wait.log("^3$"))
    box.pause()
    assert box.state == "paused"
    assert box.inspect()["State"]["Paused"] is True
    assert box in pc.Container.list(engine=engine)
    # No time passes for it: what it has written by now is all there is until it goes on.
    stopped_at = lines_of(box)
    with pytest.raises(errors.ReadinessTimeout, match="it is paused"):
        box.wait_until(pc.wait.log(f"^{stopped_at + 2}$"), timeout=0.3)
    box.unpause()
    assert box.state == "running"
    box.wait_until(pc.wait.log(f"^{stopped_at + 2}$"))
    box.remove(force=True)


def test_the_state_is_the_kernels_whoever_paused(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, engine=engine)
    box.start()
    box.pause()
    assert box._observed.freeze is not None
    target = box._observed.freeze
    Path(target["file"]).write_text(target["thawed"])
    assert box.state == "running"
    Path(target["file"]).write_text(target["frozen"])
    assert box.state == "paused"
    box.remove(force=True)


def test_the_freezer_of_version_1_does_the_same(tmp_path: Path) -> None:
    top = Path(cgroups.detect().v1.get("freezer", "/nowhere"))
    if not top.is_dir():
        pytest.skip("no freezer of cgroup version 1 here")
    directory = top / f"pycontainer-test-{os.getpid()}"
    directory.mkdir()
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            (directory / "cgroup.procs").write_text(str(process.pid))
            target = {"file": f"{directory}/freezer.state", "frozen": "FROZEN", "thawed": "THAWED"}
            assert freezer.freeze(target, 10)
            assert freezer.is_frozen(target)
            process.kill()
            assert process.poll() is None  # it dies of it when it is thawed
            assert freezer.thaw(target)
            assert process.wait(20) == -9
            assert not freezer.is_frozen(target)
        finally:
            process.kill()
    directory.rmdir()
    assert freezer.freeze(target) is False


def test_verbs_that_do_not_fit_a_paused_container_say_what_would(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    box = pc.Container.create(busybox, FOREVER, engine=engine)
    with pytest.raises(errors.WrongState, match="cannot pause a container that is created"):
        box.pause()
    box.start()
    with pytest.raises(errors.WrongState, match="cannot unpause a container that is running"):
        box.unpause()
    box.pause()
    with pytest.raises(errors.WrongState, match="it is paused already"):
        box.pause()
    with pytest.raises(errors.WrongState, match="unpause it"):
        box.start()
    with pytest.raises(errors.WrongState, match="stop it first, or remove it with force"):
        box.remove()
    box.remove(force=True)


def test_a_paused_container_is_stopped_by_its_stop_signal(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(
        busybox, ["sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"], engine=engine
    )
    box.start(wait=pc.wait.log("up"))
    box.pause()
    box.stop(timeout=20)
    assert box.exit_code == 7
    box.remove()


def test_a_paused_container_is_killed_and_keeps_other_signals_for_later(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    box = pc.Container.create(
        busybox, ["sh", "-c", "trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done"], engine=engine
    )
    box.start(wait=pc.wait.log("up"))
    box.pause()
    box.kill("USR1")
    assert box.state == "paused"
    box.unpause()
    box.wait_until(pc.wait.log("usr1"))
    box.pause()
    box.kill()
    assert box.wait(timeout=20) == 137
    box.remove()


def test_an_owned_container_that_is_paused_goes_with_its_block(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Container(busybox, FOREVER, engine=engine) as box:
        pid = box.pid
        box.pause()
    assert not os.path.exists(f"/proc/{pid}")
    assert pc.Container.list(all=True, engine=engine) == []


# -- names


def test_a_renamed_container_is_found_by_its_new_name_alone(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, name="before", engine=engine)
    other = pc.Container.get("before", engine=engine)
    box.rename("after")
    assert (box.name, other.name) == ("after", "after")
    assert pc.Container.get("after", engine=engine) == box
    with pytest.raises(errors.NotFound):
        pc.Container.get("before", engine=engine)
    reused = pc.Container.create(busybox, FOREVER, name="before", engine=engine)
    with pytest.raises(errors.AlreadyExists, match="'before' is taken"):
        box.rename("before")
    with pytest.raises(errors.InvalidOption, match="start with a letter"):
        box.rename("-x")
    assert box.name == "after"
    box.remove()
    reused.remove()


# -- restart and wait


def begun(waiter: threading.Thread) -> None:
    """Start a thread that waits, and return when it watches the container."""

    def watches() -> int:
        return sum(_is_watch(name) for name in os.listdir("/proc/self/fd"))

    before = watches()
    waiter.start()
    while watches() == before and waiter.is_alive():
        pass


def _is_watch(name: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{name}") == "anon_inode:inotify"
    except OSError:
        return False


def test_restart_starts_a_new_process_with_the_same_files(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(
        busybox, ["sh", "-c", "n=$(cat /n || echo 0); echo $((n+1)) | tee /n; sleep 1000"], engine=engine
    )
    box.restart(timeout=0)  # as with Docker, one that does not run is started
    box.wait_until(pc.wait.log("^1$"))
    first = box.pid
    box.restart(timeout=0)
    box.wait_until(pc.wait.log("^2$"))
    assert box.pid not in (None, first)
    box.remove(force=True)


def test_an_owned_container_that_was_restarted_still_ends_with_its_block(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    with pc.Container(busybox, FOREVER, engine=engine) as box:
        box.restart(timeout=0)
        pid = box.pid
        assert box.state == "running"
    assert not os.path.exists(f"/proc/{pid}")


def test_an_owned_container_that_was_restarted_ends_with_its_process(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    code = (
        "import os, sys, pycontainer as pc\n"
        f"engine = pc.Engine({str(engine.root)!r})\n"
        f"box = pc.Container({busybox.id!r}, ['sleep', '1000'], engine=engine).__enter__()\n"
        "box.restart(timeout=0)\n"
        "print(box.id, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    directory = engine.store.container_dir(ran.stdout.strip())
    if directory.exists():
        steering.await_condition(directory, "removed", 20, removes_itself=True)
    assert pc.Container.list(all=True, engine=engine) == []


def test_wait_for_the_next_exit_outlasts_the_last_one(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(
        busybox, ["sh", "-c", "n=$(cat /n || echo 3); echo 4 > /n; exit $n"], engine=engine
    )
    box.start()
    assert box.wait(timeout=20) == 3
    with pytest.raises(errors.DeadlineExceeded):
        box.wait(timeout=0.1, condition="next-exit")
    found: list[int] = []
    waiter = threading.Thread(target=lambda: found.append(box.wait(timeout=20, condition="next-exit")))
    begun(waiter)
    box.start()
    waiter.join(20)
    assert found == [4]
    box.remove()


def test_wait_for_removal_returns_when_it_is_gone(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, ["sh", "-c", "exit 5"], engine=engine)
    box.start()
    box.wait(timeout=20)
    found: list[int] = []
    waiter = threading.Thread(target=lambda: found.append(box.wait(timeout=20, condition="removed")))
    begun(waiter)
    box.remove()
    waiter.join(20)
    assert found == [5]
    with pytest.raises(errors.NotFound):
        box.wait(condition="removed")


def test_a_signal_or_time_that_is_none_is_named(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, ["true"], engine=engine)
    with pytest.raises(errors.InvalidOption, match="'NOPE': give a signal as"):
        box.kill("NOPE")
    for verb in (box.stop, box.restart, box.wait):
        with pytest.raises(errors.InvalidOption, match="'abc': give seconds"):
            verb("abc")
    box.remove()


def test_an_unknown_condition_is_refused(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, engine=engine)
    with pytest.raises(errors.InvalidOption, match='"next-exit"'):
        box.wait(condition="healthy")  # type: ignore[arg-type]
    box.remove()


# -- update


@pytest.mark.parametrize(
    ("before", "after"),
    [(("64m", "128m"), ("256m", "512m")), (("256m", "512m"), ("64m", "128m"))],
    ids=["raised", "lowered"],
)
def test_memory_is_changed_while_it_runs(
    engine: pc.Engine, busybox: pc.Image, before: tuple[str, str], after: tuple[str, str]
) -> None:
    box = pc.Container.create(busybox, FOREVER, memory=before[0], memory_swap=before[1], engine=engine)
    box.start()
    box.update(memory=after[0], memory_swap=after[1])
    layout = cgroups.detect()
    name = "memory.limit_in_bytes" if "memory" in layout.v1 else "memory.max"
    assert int(limit(box, name)) == int(after[0][:-1]) << 20
    if layout.has_swap:
        name = "memory.memsw.limit_in_bytes" if "memory" in layout.v1 else "memory.swap.max"
        both = int(after[1][:-1]) << 20
        assert int(limit(box, name)) == (both if "memory" in layout.v1 else both - (int(after[0][:-1]) << 20))
    assert box.inspect()["HostConfig"]["Memory"] == int(after[0][:-1]) << 20
    box.remove(force=True)


def test_a_limit_that_it_did_not_have_holds_for_every_process_of_it(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    box = pc.Container.create(busybox, ["sh", "-c", "sleep 1000 & sleep 1000 & echo up; wait"], engine=engine)
    box.start(wait=pc.wait.log("up"))
    other = pc.Container.get(box.id, engine=engine)
    other.exec(["true"])
    box.update(pids_limit=5)
    assert limit(box, "pids.max") == "5"
    assert len(members(box, "pids.max")) == 3
    assert box.pid in members(box, "pids.max")
    # And for those that are yet to come, also by a handle that was there before.
    forking = "for i in 1 2 3 4 5; do sleep 1000 >/dev/null 2>&1 & done"
    assert b"can't fork" in other.exec(["sh", "-c", forking], timeout=20).stderr
    box.update(pids_limit=None)
    assert limit(box, "pids.max") == "max"
    box.stop(timeout=0)
    assert _left(box) == []
    box.remove()


def test_cpus_are_changed_and_lifted_while_it_runs(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, cpus=0.5, cpuset_cpus="0", engine=engine)
    box.start()
    is_v1 = "cpu" in cgroups.detect().v1
    box.update(cpus=1.5, cpu_shares=512)
    assert limit(box, "cpu.cfs_quota_us" if is_v1 else "cpu.max").split()[0] == "150000"
    assert limit(box, "cpu.shares" if is_v1 else "cpu.weight") == ("512" if is_v1 else "59")
    box.update(cpu_quota=20000, cpu_period=50000)
    quota = limit(box, "cpu.cfs_quota_us" if is_v1 else "cpu.max").split()[0]
    assert quota == "20000"
    assert box._options.cpus is None
    box.update(cpu_quota=None, cpu_period=None)
    assert limit(box, "cpu.cfs_quota_us" if is_v1 else "cpu.max").split()[0] in ("-1", "max")
    box.remove(force=True)


def test_an_update_that_the_kernel_refuses_changes_nothing(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, pids_limit=10, memory="64m", engine=engine)
    box.start()
    name = "memory.limit_in_bytes" if "memory" in cgroups.detect().v1 else "memory.max"
    with pytest.raises(errors.KernelError, match="cpuset"):
        # Allowed by the options, refused by the kernel: no such memory node.
        box.update(pids_limit=20, memory="128m", cpuset_mems="63")
    assert limit(box, "pids.max") == "10"
    assert int(limit(box, name)) == 64 << 20
    assert pc.Container.get(box.id, engine=engine)._options.pids_limit == 10
    box.remove(force=True)


def test_what_cannot_be_is_refused_before_anything_changes(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, memory="64m", engine=engine)
    with pytest.raises(errors.InvalidOption, match="memory_swap"):
        box.update(memory="128m", memory_swap="64m")
    with pytest.raises(errors.InvalidOption, match="option env of a container that exists"):
        box.update(env={"A": "1"})  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="did you mean 'memory'"):
        box.update(memroy="1g")  # type: ignore[call-arg]
    assert box._options.memory == 64 << 20
    box.remove()


def test_an_update_of_a_stopped_container_holds_from_its_next_start(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    box = pc.Container.create(busybox, FOREVER, engine=engine)
    box.update(pids_limit=7)
    box.start()
    assert limit(box, "pids.max") == "7"
    box.update(pids_limit=8)
    box.restart(timeout=0)
    assert limit(box, "pids.max") == "8"
    box.remove(force=True)


def await_another_run(box: pc.Container, first: int) -> None:
    """Wait until its policy has started it again; the end in between may be over when one begins to look."""
    deadline = time.monotonic() + 20
    while box.pid in (None, first) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert box.pid not in (None, first)


def test_a_restart_policy_given_while_it_runs_holds_for_this_run(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    box = pc.Container.create(busybox, FOREVER, engine=engine)
    box.start()
    box.update(restart="always")
    first = box.pid
    assert first is not None
    os.kill(first, 9)  # it ends by itself, as far as its monitor can tell
    await_another_run(box, first)
    assert box.restart_count == 1
    assert box.inspect()["HostConfig"]["RestartPolicy"] not in (None, "no")
    box.kill()  # a kill by hand is the last word
    assert box.wait(timeout=20) == 137
    assert box.state == "exited"
    box.remove()


def test_limits_hold_in_the_runs_that_a_policy_begins(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, restart="always", engine=engine)
    box.start()
    box.update(pids_limit=9)
    first = box.pid
    assert first is not None
    os.kill(first, 9)
    await_another_run(box, first)
    assert limit(box, "pids.max") == "9"
    box.remove(force=True)


# -- many callers


_STARTING = """
import sys, pycontainer as pc
with pc.Engine(sys.argv[1]) as engine:
    box = pc.Container.get(sys.argv[2], engine=engine)
    sys.stdin.read()
    try:
        box.start()
    except pc.errors.WrongState as problem:
        print(problem.state)
    else:
        print("started")
"""


def test_of_many_processes_that_start_a_container_one_does(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, engine=engine)
    command = [sys.executable, "-c", _STARTING, str(engine.root), box.id]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    told = sorted(process.communicate("go", timeout=60)[0].strip() for process in processes)
    assert told == ["running", "running", "started"]
    box.remove(force=True)


def test_verbs_of_many_threads_take_turns(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, engine=engine)
    box.start()
    begin = threading.Barrier(6)
    outcomes: list[str] = []

    def pause_and_go_on() -> None:
        begin.wait(20)
        for verb in (box.pause, box.unpause) * 5:
            try:
                verb()
                outcomes.append("done")
            except errors.WrongState as refused:
                outcomes.append(refused.state)

    threads = [threading.Thread(target=pause_and_go_on) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == 60
    assert set(outcomes) <= {"done", "paused", "running"}
    assert "done" in outcomes
    if box.state == "paused":
        box.unpause()
    box.stop(timeout=0)
    box.remove()
