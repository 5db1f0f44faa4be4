"""Cgroup plans carried out on this host: written, read back, and holding for real processes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import LaunchError
from pycontainer.launcher import cgroup, freezer
from pycontainer.runtime import cgroups
from pycontainer.runtime.cgroups.devices import bpf_program
from pycontainer.runtime.defaults import DEVICE_RULES
from tests.support.needs import needs
from tests.support.stores import await_condition

pytestmark = needs("root")

LAYOUT = cgroups.detect()
M = 1 << 20
RULES = [rule.to_dict() for rule in DEVICE_RULES]
Make = Callable[..., cgroups.CgroupPlan]


@pytest.fixture
def make() -> Iterator[Make]:
    """Plans carried out under a cgroup of this test's own, all removed at the end."""
    parent = f"/pycontainer-test-{uuid.uuid4().hex[:12]}"
    made: list[cgroups.CgroupPlan] = []

    def carry_out(**resources: Any) -> cgroups.CgroupPlan:
        plan = cgroups.plan(resources, f"{parent}/{uuid.uuid4().hex}", LAYOUT)
        cgroup.make(plan)
        made.append(plan)
        return plan

    yield carry_out
    for plan in made:
        kill(plan)
        cgroup.remove(plan)
        assert not any(Path(directory).exists() for directory in plan["dirs"])


def join(plan: cgroups.CgroupPlan, pid: int) -> None:
    """Move a process into every cgroup of the plan."""
    files = [*plan["procs"], *([f"{plan['clone_into']}/cgroup.procs"] if plan["clone_into"] else [])]
    for file in files:
        Path(file).write_text(str(pid))


def kill(plan: cgroups.CgroupPlan) -> None:
    assert cgroup.kill_all(plan, reaps=False)


def members(plan: cgroups.CgroupPlan) -> list[str]:
    return [line for own in plan["own"][:1] for line in Path(own, "cgroup.procs").read_text().split()]


class Child:
    """A Python process that starts its work when told, inside the plan's cgroups."""

    def __init__(self, plan: cgroups.CgroupPlan, code: str) -> None:
        program = f"import sys, os\nsys.stdin.readline()\n{code}"
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        join(plan, self.process.pid)
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def result(self, timeout_s: float = 30) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, output.strip()


def file_of(plan: cgroups.CgroupPlan, name: str) -> Path:
    (found,) = [path for directory in plan["own"] if (path := Path(directory) / name).exists()]
    return found


def own_file(plan: cgroups.CgroupPlan, v1: str, v2: str) -> str:
    controller = v1.partition(".")[0]
    return file_of(plan, v1 if LAYOUT.version_of(controller) == 1 else v2).read_text().strip()


def test_limits_are_read_back_from_the_kernel(make: Make) -> None:
    plan = make(
        memory={"limit": 64 * M, "swap": 128 * M, "reservation": 32 * M},
        cpu={"quota": 50000, "period": 100000, "shares": 512},
        pids={"limit": 7},
        devices=RULES,
    )
    assert own_file(plan, "memory.limit_in_bytes", "memory.max") == str(64 * M)
    assert own_file(plan, "memory.soft_limit_in_bytes", "memory.low") == str(32 * M)
    assert file_of(plan, "pids.max").read_text().strip() == "7"
    if LAYOUT.version_of("cpu") == 1:
        assert file_of(plan, "cpu.cfs_quota_us").read_text().strip() == "50000"
        assert file_of(plan, "cpu.shares").read_text().strip() == "512"
    else:
        assert file_of(plan, "cpu.max").read_text().strip() == "50000 100000"
        assert file_of(plan, "cpu.weight").read_text().strip() == "59"
    if LAYOUT.has_swap and LAYOUT.version_of("memory") == 1:
        assert file_of(plan, "memory.memsw.limit_in_bytes").read_text().strip() == str(128 * M)
    if LAYOUT.version_of("devices") == 1:
        listed = file_of(plan, "devices.list").read_text().splitlines()
        assert "c 1:3 rwm" in listed
        assert "a *:* rwm" not in listed


def test_memory_over_the_limit_is_killed_and_counted(make: Make) -> None:
    plan = make(memory={"limit": 32 * M, "swap": 32 * M})
    code, _ = Child(plan, "b = bytearray(256 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1").result()
    assert code == -9
    used = cgroup.read(plan)
    assert used["oom"] == 1
    assert used["memory_peak"] >= 31 * M


def test_memory_within_the_limit_is_left_alone(make: Make) -> None:
    plan = make(memory={"limit": 64 * M, "swap": 64 * M})
    code, _ = Child(plan, "b = bytearray(8 << 20)").result()
    used = cgroup.read(plan)
    assert (code, used["oom"]) == (0, 0)
    assert used["memory_peak"] >= 8 * M


def test_more_processes_than_allowed_cannot_be_made(make: Make) -> None:
    plan = make(pids={"limit": 3})
    code = """
made = 0
try:
    while made < 10:
        if os.fork() == 0:
            sys.stdin.close()
            os.read(os.pipe()[0], 1)
        made += 1
except OSError as error:
    print(made, error.errno)
    sys.stdout.flush()
os.killpg(0, 9) if os.getpgid(0) == os.getpid() else None
"""
    child = Child(plan, code)
    assert child.line() == "2 11"
    assert cgroup.read(plan)["pids_now"] >= 2
    kill(plan)
    child.result()


def test_a_quota_throttles_and_is_counted(make: Make) -> None:
    plan = make(cpu={"quota": 10000, "period": 100000})
    started = time.monotonic()
    code, _ = Child(plan, "import time\nwhile time.process_time() < 0.15: pass").result()
    elapsed = time.monotonic() - started
    used = cgroup.read(plan)
    assert code == 0
    assert used["throttled_periods"] >= 3
    assert elapsed > 0.6  # 150 ms of work at a tenth of one CPU
    assert 0.1e9 < used["cpu_ns"] < 0.5e9 * elapsed


def test_a_cpuset_pins_the_process(make: Make) -> None:
    cpu = min(os.sched_getaffinity(0))
    plan = make(cpu={"cpus": str(cpu)})
    assert Child(plan, "print(sorted(os.sched_getaffinity(0)))").result() == (0, f"[{cpu}]")


@pytest.mark.skipif("cpuset" not in LAYOUT.v1, reason="no cpuset of cgroup version 1")
def test_a_cpuset_takes_processes_though_the_one_above_it_went_after_the_plan_was_made() -> None:
    parent = f"/pycontainer-test-{uuid.uuid4().hex[:12]}"
    first = cgroups.plan({"cpu": {"cpus": "0"}}, f"{parent}/first", LAYOUT)
    cgroup.make(first)
    second = cgroups.plan({"cpu": {"mems": "0"}}, f"{parent}/second", LAYOUT)
    cgroup.remove(first)
    assert not Path(LAYOUT.v1["cpuset"] + parent).exists()
    cgroup.make(second)
    try:
        found = Path(f"{LAYOUT.v1['cpuset']}{parent}/second/cpuset.cpus").read_text().strip()
        assert found == LAYOUT.all_cpus
    finally:
        cgroup.remove(second)


def test_devices_outside_the_list_cannot_be_opened(make: Make) -> None:
    plan = make(devices=RULES)
    code = """
for path in ("/dev/null", "/dev/urandom", "/dev/kmsg"):
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        print(path)
    except OSError as error:
        print(path, error.errno)
"""
    assert Child(plan, code).result() == (0, "/dev/null\n/dev/urandom\n/dev/kmsg 1")


@pytest.mark.skipif(LAYOUT.v2 is None, reason="no cgroup version 2 hierarchy is mounted: mount -t cgroup2")
def test_the_kernel_takes_the_device_program(make: Make) -> None:
    import base64

    plan = cgroups.plan({}, f"/pycontainer-test-{uuid.uuid4().hex[:12]}/x", LAYOUT)
    plan["device_bpf_b64"] = base64.b64encode(bpf_program(RULES)).decode()
    try:
        cgroup.make(plan)
        code = "for path in ('/dev/zero', '/dev/kmsg'):\n    try: open(path).close(); print('open')\n"
        code += "    except OSError as error: print(error.errno)"
        assert Child(plan, code).result() == (0, "open\n1")
    finally:
        kill(plan)
        cgroup.remove(plan)


def test_a_paused_container_stands_still_and_goes_on(make: Make) -> None:
    plan = make()
    child = Child(plan, "print('up', flush=True)\nwhile True: pass")
    assert child.line() == "up"
    freezer.freeze(plan["freeze"])
    before = cgroup.read(plan)["cpu_ns"]
    time.sleep(0.05)
    assert cgroup.read(plan)["cpu_ns"] == before
    freezer.thaw(plan["freeze"])
    deadline = time.monotonic() + 10
    while cgroup.read(plan)["cpu_ns"] == before:
        assert time.monotonic() < deadline
    kill(plan)
    assert child.result()[0] == -9


def test_a_paused_container_can_be_killed(make: Make) -> None:
    plan = make()
    child = Child(plan, "print('up', flush=True)\nimport time\ntime.sleep(60)")
    child.line()
    freezer.freeze(plan["freeze"])
    kill(plan)
    assert child.result()[0] == -9


def test_everything_dies_without_cgroup_kill_too(make: Make) -> None:
    plan = make()
    child = Child(
        plan, "for _ in range(3): os.fork()\nprint(os.getpid(), flush=True)\nimport time\ntime.sleep(60)"
    )
    for _ in range(8):
        child.line()
    plan["kill"] = None
    assert len(members(plan)) >= 8
    # The grandchildren are reaped by init, not by this process: gone is what counts.
    kill(plan)
    assert members(plan) == []
    child.result()


def test_a_cgroup_with_processes_is_not_removed(make: Make) -> None:
    plan = make()
    child = Child(plan, "print('up', flush=True)\nimport time\ntime.sleep(60)")
    child.line()
    assert set(cgroup.remove(plan, timeout_s=0.05)) == set(plan["own"])
    kill(plan)
    child.result()


def test_nested_cgroups_are_removed_with_the_container(make: Make) -> None:
    plan = make()
    for directory in plan["own"]:
        Path(directory, "inner/deeper").mkdir(parents=True)
    cgroup.remove(plan)
    assert not any(Path(directory).exists() for directory in plan["own"])
    cgroup.remove(plan)  # once more is no error


def test_what_was_made_before_a_refused_limit_is_removed() -> None:
    plan = cgroups.plan({"cpu": {"cpus": "4000"}}, f"/pycontainer-test-{uuid.uuid4().hex[:12]}/x", LAYOUT)
    with pytest.raises(LaunchError, match=r"cpuset\.cpus"):
        cgroup.make(plan)
    assert cgroup.remove(plan) == []
    assert not any(Path(directory).exists() for directory in plan["own"])
    cgroup.remove(plan)


def test_an_update_moves_memory_and_swap_up_and_down(make: Make) -> None:
    plan = make(memory={"limit": 64 * M, "swap": 64 * M})
    path = plan["own"][0].rpartition("/pycontainer-test-")[2]
    for size in (128 * M, 32 * M):
        changed = {"memory": {"limit": size, "swap": size}}
        update = cgroups.plan(changed, f"/pycontainer-test-{path}", LAYOUT, is_update=True)
        cgroup.make(update)
        assert own_file(plan, "memory.limit_in_bytes", "memory.max") == str(size)


def test_a_file_without_the_key_reads_as_nothing(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("oom 1\n")
    file = f"{tmp_path}/memory.events"
    assert cgroup.read({"reads": {"a": [file, "oom", 1], "b": [file, "oom_kill", 1]}}) == {"a": 1}
    assert cgroup.read({"reads": {"a": [f"{tmp_path}/none", None, 1]}}) == {}


@pytest.mark.skipif(len(LAYOUT.v1) < 2, reason="version 2 has one directory")
def test_what_is_made_again_waits_until_the_last_of_it_is_removed(make: Make) -> None:
    plan = make()
    busy = Path(plan["own"][1], "busy")
    busy.mkdir()
    with subprocess.Popen(["sleep", "60"]) as held, ThreadPoolExecutor(2) as others:
        Path(busy, "tasks").write_text(str(held.pid))
        lock = os.open(plan["own"][0], os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        removed = others.submit(cgroup.remove, plan)
        await_condition(lambda: not Path(plan["own"][-1]).exists())
        made = others.submit(cgroup.make_held, plan)
        held.kill()
        assert removed.result() == []
        os.close(lock)
        os.close(made.result())
        assert [path for path in plan["own"] if not os.path.isdir(path)] == []
