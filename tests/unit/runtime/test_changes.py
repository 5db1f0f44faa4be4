"""From one set of limits to another: what is written, in which order, and what a refusal takes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import InvalidOption, KernelError
from pycontainer.launcher import limits
from pycontainer.runtime import cgroups
from tests.unit.runtime.test_cgroups import PATH, V1, V2_CONTROLLERS, tree

MIB = 1 << 20


@pytest.fixture
def v1(tmp_path: Path) -> cgroups.CgroupLayout:
    return tree(tmp_path, v1=V1)


@pytest.fixture
def v2(tmp_path: Path) -> cgroups.CgroupLayout:
    return tree(tmp_path, v2="/sys/fs/cgroup", controllers=V2_CONTROLLERS)


def written(
    layout: cgroups.CgroupLayout, before: dict[str, Any], after: dict[str, Any]
) -> list[tuple[str, str]]:
    """The writes below the container's own directories, by file name."""
    found = cgroups.changes(before, after, PATH, layout)
    return [(file.rpartition("/")[2], text) for file, text, _ in found["writes"] if PATH in file]


def memory(limit: int, swap: int) -> dict[str, Any]:
    return {"memory": {"limit": limit * MIB, "swap": swap * MIB}}


def test_v1_tries_swap_first_and_writes_it_last_whichever_way_limits_go(v1: cgroups.CgroupLayout) -> None:
    for before, after in ((memory(64, 128), memory(256, 512)), (memory(256, 512), memory(64, 128))):
        assert [file for file, _ in written(v1, before, after)] == [
            "memory.memsw.limit_in_bytes",
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
        ]


def test_v2_writes_swap_as_the_difference(v2: cgroups.CgroupLayout) -> None:
    assert written(v2, memory(64, 128), memory(256, 512)) == [
        ("memory.swap.max", str(256 * MIB)),
        ("memory.max", str(256 * MIB)),
    ]


def test_what_stays_is_not_written_again(v1: cgroups.CgroupLayout, v2: cgroups.CgroupLayout) -> None:
    before = {**memory(64, 128), "pids": {"limit": 10}, "cpu": {"shares": 512}}
    for layout in (v1, v2):
        assert written(layout, before, before) == []
        assert written(layout, before, {**before, "pids": {"limit": 20}}) == [("pids.max", "20")]


@pytest.mark.parametrize(
    ("before", "v1_writes", "v2_writes"),
    [
        ({"pids": {"limit": 10}}, [("pids.max", "max")], [("pids.max", "max")]),
        (
            memory(64, 128),
            [("memory.memsw.limit_in_bytes", "-1"), ("memory.limit_in_bytes", "-1")],
            [("memory.swap.max", "max"), ("memory.max", "max")],
        ),
        (
            {"cpu": {"quota": 50000, "period": 100000, "shares": 512}},
            [("cpu.shares", "1024"), ("cpu.cfs_quota_us", "-1"), ("cpu.cfs_period_us", "100000")],
            [("cpu.weight", "100"), ("cpu.max", "max 100000")],
        ),
        ({"cpu": {"cpus": "0"}}, [("cpuset.cpus", "0-3")], [("cpuset.cpus", "\n")]),
        ({"memory": {"disableOOMKiller": True}}, [("memory.oom_control", "0")], None),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1024}]}},
            [("blkio.throttle.read_bps_device", "8:0 0")],
            [("io.max", "8:0 rbps=max")],
        ),
    ],
    ids=["pids", "memory", "cpu", "cpuset", "oom", "throttle"],
)
def test_a_limit_that_is_asked_for_no_more_is_lifted(
    v1: cgroups.CgroupLayout,
    v2: cgroups.CgroupLayout,
    before: dict[str, Any],
    v1_writes: list[tuple[str, str]],
    v2_writes: list[tuple[str, str]] | None,
) -> None:
    after = {"cpu": {"mems": "0"}} if "cpus" in before.get("cpu", {}) else {}
    found = [write for write in written(v1, before, after) if write[0] != "cpuset.mems"]
    assert found == v1_writes
    if v2_writes is not None:
        found = [write for write in written(v2, before, after) if write[0] != "cpuset.mems"]
        assert found == v2_writes


def test_one_device_of_several_is_let_go(v2: cgroups.CgroupLayout) -> None:
    rate = {"major": 8, "minor": 0, "rate": 1024}
    both = {"blockIO": {"throttleReadBpsDevice": [rate, {**rate, "minor": 16}]}}
    assert written(v2, both, {"blockIO": {"throttleReadBpsDevice": [rate]}}) == [("io.max", "8:16 rbps=max")]


def test_a_limit_without_a_default_cannot_be_lifted(v2: cgroups.CgroupLayout) -> None:
    with pytest.raises(InvalidOption, match=r"memory\.high has no default"):
        written(v2, {"unified": {"memory.high": "64M"}}, {})


def test_rules_of_devices_are_left_alone(v1: cgroups.CgroupLayout) -> None:
    rules = {"devices": [{"allow": False, "access": "rwm"}]}
    assert written(v1, rules, {**rules, "pids": {"limit": 5}}) == [("pids.max", "5")]


def test_a_refused_write_takes_back_those_before_it(v2: cgroups.CgroupLayout) -> None:
    before, after = memory(10, 30), {**memory(50, 70), "cpu": {"quota": 50000, "period": 100000}}
    made = cgroups.plan(before, PATH, v2)
    leaf = Path(made["own"][0])
    leaf.mkdir(parents=True)
    for directory in (leaf, *leaf.parents):
        (directory / "cgroup.subtree_control").write_text("")
        if directory == Path(str(v2.v2)):
            break
    (leaf / "memory.max").write_text(f"{10 * MIB}\n")
    (leaf / "memory.swap.max").write_text(f"{20 * MIB}\n")
    (leaf / "cpu.max").mkdir()  # takes no write
    with pytest.raises(KernelError, match=r"cpu\.max"):
        limits.change(made, cgroups.changes(before, after, PATH, v2))
    assert (leaf / "memory.max").read_text() == f"{10 * MIB}\n"
    assert (leaf / "memory.swap.max").read_text() == f"{20 * MIB}\n"


@pytest.mark.parametrize(
    ("name", "content", "text", "expected"),
    [
        ("memory.oom_control", "oom_kill_disable 1\nunder_oom 0\n", "0", "1"),
        (
            "io.max",
            "8:0 rbps=10 wbps=max riops=max wiops=max\n",
            "8:0 rbps=5",
            "8:0 rbps=10 wbps=max riops=max wiops=max",
        ),
        ("io.max", "", "8:0 rbps=5", "8:0 rbps=max wbps=max riops=max wiops=max"),
        ("blkio.throttle.read_bps_device", "8:16 7\n8:0 9\n", "8:0 5", "8:0 9"),
        ("blkio.throttle.read_bps_device", "8:16 7\n", "8:0 5", "8:0 0"),
        ("cpuset.cpus", "", "0-1", "\n"),
        ("cpu.max", "max 100000\n", "50000 100000", "max 100000"),
        ("cgroup.subtree_control", "cpu memory\n", "+pids", None),
    ],
)
def test_what_a_file_held_is_written_back_in_the_form_it_takes(
    tmp_path: Path, name: str, content: str, text: str, expected: str | None
) -> None:
    (tmp_path / name).write_text(content)
    assert limits._before(str(tmp_path / name), text) == expected


def test_the_share_of_an_idle_group_is_left_alone(v1: cgroups.CgroupLayout, v2: cgroups.CgroupLayout) -> None:
    before = {"cpu": {"shares": 512, "idle": 1, "period": 100_000, "quota": 50_000}}
    after = {"cpu": {**before["cpu"], "quota": 60_000}}
    for layout in (v1, v2):
        files = [file for file, _ in written(layout, before, after)]
        assert files
        assert not {"cpu.shares", "cpu.weight"} & set(files)
