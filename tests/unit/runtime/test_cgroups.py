"""Limits become writes: version 1, version 2 and both side by side, on fake trees."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import InvalidOption, LaunchError, Unsupported
from pycontainer.launcher import cgroup
from pycontainer.runtime import cgroups
from pycontainer.runtime.cgroups import devices
from pycontainer.runtime.cgroups.knobs import blkio_to_io_weight, shares_to_weight
from pycontainer.runtime.defaults import DEVICE_RULES
from tests.unit.runtime.bpf import run_device_program

PATH = "/pycontainer/store/0123"
V1 = ("cpu,cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "rdma", "hugetlb")
V2_CONTROLLERS = "cpuset cpu io memory hugetlb pids rdma misc"
RULES = [rule.to_dict() for rule in DEVICE_RULES]


def tree(
    root: Path, *, v1: Iterable[str] = (), v2: str | None = None, controllers: str = ""
) -> cgroups.CgroupLayout:
    """A fake mount table and the directories it names."""
    lines = ["20 1 8:1 / / rw - ext4 /dev/sda1 rw"]
    for number, name in enumerate(v1):
        (root / "sys/fs/cgroup" / name).mkdir(parents=True)
        lines.append(
            f"{30 + number} 20 0:{number} / /sys/fs/cgroup/{name} rw shared:1 - cgroup cgroup rw,{name}"
        )
    if v2 is not None:
        top = root / v2.lstrip("/")
        top.mkdir(parents=True, exist_ok=True)
        (top / "cgroup.controllers").write_text(controllers + "\n")
        lines.append(f"60 20 0:60 / {v2} rw shared:2 - cgroup2 cgroup2 rw,nsdelegate")
    if "cpuset" in v1:
        (root / "sys/fs/cgroup/cpuset/cpuset.cpus").write_text("0-3\n")
        (root / "sys/fs/cgroup/cpuset/cpuset.mems").write_text("0\n")
    if "memory" in v1:
        (root / "sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").write_text("0\n")
    table = root / "mountinfo"
    table.write_text("\n".join(lines) + "\n")
    return cgroups.detect(str(table), root=str(root))


@pytest.fixture
def v1(tmp_path: Path) -> cgroups.CgroupLayout:
    return tree(tmp_path, v1=V1)


@pytest.fixture
def v2(tmp_path: Path) -> cgroups.CgroupLayout:
    return tree(tmp_path, v2="/sys/fs/cgroup", controllers=V2_CONTROLLERS)


@pytest.fixture
def hybrid(tmp_path: Path) -> cgroups.CgroupLayout:
    return tree(tmp_path, v1=V1[:-1], v2="/sys/fs/cgroup/unified", controllers="hugetlb")


def leaf_writes(plan: cgroups.CgroupPlan) -> list[tuple[str, str]]:
    """(file name, text) of what is written into the container's own directories."""
    own = set(plan["own"])
    return [(Path(file).name, text) for file, text, _ in plan["writes"] if str(Path(file).parent) in own]


def limits(**sections: Any) -> dict[str, Any]:
    return sections


def test_the_three_layouts_are_told_apart(
    v1: cgroups.CgroupLayout, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert v1.mode == "v1"
    assert v1.version_of("cpuacct") == 1
    second = tree(tmp_path_factory.mktemp("v2"), v2="/sys/fs/cgroup", controllers=V2_CONTROLLERS)
    assert (second.mode, second.version_of("memory")) == ("v2", 2)
    both = tree(
        tmp_path_factory.mktemp("both"), v1=V1[:-1], v2="/sys/fs/cgroup/unified", controllers="hugetlb"
    )
    assert (both.mode, both.version_of("memory"), both.version_of("hugetlb")) == ("hybrid", 1, 2)
    assert both.version_of("misc") is None


def test_a_host_without_cgroups_is_unsupported(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no cgroup file system"):
        tree(tmp_path)


def test_a_mount_point_with_a_space_is_read(tmp_path: Path) -> None:
    (tmp_path / "cg roup").mkdir()
    (tmp_path / "cg roup/cgroup.controllers").write_text("memory\n")
    table = tmp_path / "mountinfo"
    table.write_text("60 20 0:60 / /cg\\040roup rw - cgroup2 cgroup2 rw\n")
    assert cgroups.detect(str(table), root=str(tmp_path)).v2 == f"{tmp_path}/cg roup"


# -- values


@pytest.mark.parametrize(
    ("shares", "weight"), [(0, 0), (2, 1), (1024, 100), (262144, 10000), (512, 59), (4096, 303), (10, 4)]
)
def test_cpu_shares_follow_the_curve_of_runc(shares: int, weight: int) -> None:
    assert shares_to_weight(shares) == weight


def test_the_curve_never_falls() -> None:
    weights = [shares_to_weight(shares) for shares in range(2, 262145, 97)]
    assert weights == sorted(weights)


@pytest.mark.parametrize(("old", "new"), [(0, 0), (10, 1), (500, 4950), (1000, 10000)])
def test_disk_weights_are_mapped_linearly(old: int, new: int) -> None:
    assert blkio_to_io_weight(old) == new


M = 1 << 20
CASES: list[tuple[str, dict[str, Any], list[tuple[str, str]], list[tuple[str, str]]]] = [
    (
        "memory and swap",
        limits(memory={"limit": 64 * M, "swap": 128 * M, "reservation": 32 * M}),
        [
            ("memory.limit_in_bytes", str(64 * M)),
            ("memory.memsw.limit_in_bytes", str(128 * M)),
            ("memory.soft_limit_in_bytes", str(32 * M)),
        ],
        [("memory.swap.max", str(64 * M)), ("memory.max", str(64 * M)), ("memory.low", str(32 * M))],
    ),
    (
        "no swap",
        limits(memory={"limit": 64 * M, "swap": 64 * M}),
        [("memory.limit_in_bytes", str(64 * M)), ("memory.memsw.limit_in_bytes", str(64 * M))],
        [("memory.swap.max", "0"), ("memory.max", str(64 * M))],
    ),
    (
        "swap without end",
        limits(memory={"limit": 64 * M, "swap": -1}),
        [("memory.limit_in_bytes", str(64 * M)), ("memory.memsw.limit_in_bytes", "-1")],
        [("memory.swap.max", "max"), ("memory.max", str(64 * M))],
    ),
    (
        "quota",
        limits(cpu={"quota": 150000, "period": 100000}),
        [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "150000")],
        [("cpu.max", "150000 100000")],
    ),
    (
        "period alone",
        limits(cpu={"period": 50000}),
        [("cpu.cfs_period_us", "50000")],
        [("cpu.max", "max 50000")],
    ),
    ("no quota", limits(cpu={"quota": -1}), [("cpu.cfs_quota_us", "-1")], [("cpu.max", "max 100000")]),
    ("shares", limits(cpu={"shares": 512}), [("cpu.shares", "512")], [("cpu.weight", "59")]),
    ("pids", limits(pids={"limit": 64}), [("pids.max", "64")], [("pids.max", "64")]),
    ("pids without end", limits(pids={"limit": -1}), [("pids.max", "max")], [("pids.max", "max")]),
    (
        "cpuset",
        limits(cpu={"cpus": "0-1", "mems": "0"}),
        [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")],
        [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")],
    ),
    (
        "disk",
        limits(
            blockIO={
                "weight": 500,
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": M}],
                "throttleWriteIOPSDevice": [
                    {"major": 8, "minor": 0, "rate": 9},
                    {"major": 8, "minor": 16, "rate": 7},
                ],
            }
        ),
        [
            ("blkio.weight", "500"),
            ("blkio.throttle.read_bps_device", f"8:0 {M}"),
            ("blkio.throttle.write_iops_device", "8:0 9"),
            ("blkio.throttle.write_iops_device", "8:16 7"),
        ],
        [
            ("io.weight", "default 4950"),
            ("io.max", f"8:0 rbps={M}"),
            ("io.max", "8:0 wiops=9"),
            ("io.max", "8:16 wiops=7"),
        ],
    ),
    (
        "huge pages",
        limits(hugepageLimits=[{"pageSize": "2MB", "limit": 4 * M}]),
        [("hugetlb.2MB.limit_in_bytes", str(4 * M)), ("hugetlb.2MB.rsvd.limit_in_bytes", str(4 * M))],
        [("hugetlb.2MB.max", str(4 * M)), ("hugetlb.2MB.rsvd.max", str(4 * M))],
    ),
    (
        "remote memory",
        limits(rdma={"mlx5_0": {"hcaHandles": 3, "hcaObjects": 10000}, "ocrdma1": {"hcaObjects": 5}}),
        [("rdma.max", "mlx5_0 hca_handle=3 hca_object=10000"), ("rdma.max", "ocrdma1 hca_object=5")],
        [("rdma.max", "mlx5_0 hca_handle=3 hca_object=10000"), ("rdma.max", "ocrdma1 hca_object=5")],
    ),
]


@pytest.mark.parametrize(
    ("asked", "first", "second"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_limit_is_written_as_each_version_wants_it(
    tmp_path_factory: pytest.TempPathFactory,
    asked: dict[str, Any],
    first: list[tuple[str, str]],
    second: list[tuple[str, str]],
) -> None:
    one = tree(tmp_path_factory.mktemp("v1"), v1=V1)
    two = tree(tmp_path_factory.mktemp("v2"), v2="/sys/fs/cgroup", controllers=V2_CONTROLLERS)
    assert leaf_writes(cgroups.plan(asked, PATH, one)) == first
    assert leaf_writes(cgroups.plan(asked, PATH, two)) == second


def test_the_bfq_scheduler_has_weights_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "sys/fs/cgroup/blkio").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/blkio/blkio.bfq.io_serviced").write_text("")
    (tmp_path / "sys/fs/cgroup/blkio").rename(tmp_path / "kept")
    layout = tree(tmp_path, v1=["blkio"])
    (tmp_path / "sys/fs/cgroup/blkio/blkio.bfq.io_serviced").write_text("")
    layout = cgroups.detect(str(tmp_path / "mountinfo"), root=str(tmp_path))
    asked = limits(blockIO={"weight": 300, "weightDevice": [{"major": 8, "minor": 0, "weight": 200}]})
    assert leaf_writes(cgroups.plan(asked, PATH, layout)) == [
        ("blkio.bfq.weight", "300"),
        ("blkio.bfq.weight_device", "8:0 200"),
    ]


# -- shape


def test_version_2_enables_controllers_from_the_top_down(v2: cgroups.CgroupLayout) -> None:
    plan = cgroups.plan(limits(memory={"limit": 64 * M}, cpu={"cpus": "0"}), PATH, v2)
    top = f"{v2.v2}"
    enabled = [(file, text, required) for file, text, required in plan["writes"] if "subtree" in file]
    parents = [top, f"{top}/pycontainer", f"{top}/pycontainer/store"]
    assert [file for file, _, required in enabled if required] == [
        f"{p}/cgroup.subtree_control" for p in parents
    ]
    assert {text for _, text, required in enabled if required} == {"+memory +cpuset"}
    assert {text for _, text, required in enabled if not required} == {"+cpu +pids"}
    assert plan["dirs"] == [*parents[1:], f"{top}{PATH}"]
    assert (plan["procs"], plan["clone_into"]) == ([], f"{top}{PATH}")
    assert plan["kill"] == f"{top}{PATH}/cgroup.kill"


def test_version_2_reads_what_a_container_used(v2: cgroups.CgroupLayout) -> None:
    reads = cgroups.plan({}, PATH, v2)["reads"]
    assert reads["memory_peak"][0].endswith("/memory.peak")
    assert reads["cpu_ns"][1:] == ["usage_usec", 1000]
    assert reads["oom"][0].endswith("/memory.events")


def test_version_1_joins_only_what_is_needed(v1: cgroups.CgroupLayout) -> None:
    bare = cgroups.plan({}, PATH, v1)
    names = [Path(file).parts[-5] for file in bare["procs"]]
    assert names == ["devices", "memory", "cpu,cpuacct", "freezer"]
    assert (bare["clone_into"], bare["kill"]) == (None, None)
    assert bare["freeze"]["frozen"] == "FROZEN" if bare["freeze"] else False
    more = cgroups.plan(limits(pids={"limit": 3}, blockIO={"weight": 100}), PATH, v1)
    assert [Path(file).parts[-5] for file in more["procs"]] == [
        *("devices", "memory", "cpu,cpuacct", "pids", "blkio", "freezer")
    ]


def test_a_v1_cpuset_is_filled_from_the_top(v1: cgroups.CgroupLayout) -> None:
    plan = cgroups.plan(limits(cpu={"cpus": "1"}), PATH, v1)
    top = v1.v1["cpuset"]
    filled = [(file.removeprefix(top), text) for file, text, _ in plan["writes"]]
    assert filled == [
        ("/pycontainer/cpuset.cpus", "0-3"),
        ("/pycontainer/cpuset.mems", "0"),
        ("/pycontainer/store/cpuset.cpus", "0-3"),
        ("/pycontainer/store/cpuset.mems", "0"),
        (f"{PATH}/cpuset.mems", "0"),
        (f"{PATH}/cpuset.cpus", "1"),
    ]


def test_a_v1_cpuset_that_someone_filled_is_left_alone(v1: cgroups.CgroupLayout) -> None:
    parent = Path(v1.v1["cpuset"]) / "jobs"
    parent.mkdir()
    (parent / "cpuset.cpus").write_text("1\n")
    plan = cgroups.plan(limits(cpu={"cpus": "1"}), "/jobs/0123", v1)
    assert [Path(file).parent.name for file, _, _ in plan["writes"]] == ["0123", "0123"]
    (parent / "cpuset.cpus").write_text("\n")
    plan = cgroups.plan(limits(cpu={"cpus": "1"}), "/jobs/0123", v1)
    assert [Path(file).parent.name for file, _, _ in plan["writes"]] == ["jobs", "jobs", "0123", "0123"]


def test_a_hybrid_host_uses_each_controller_where_it_lives(hybrid: cgroups.CgroupLayout) -> None:
    asked = limits(memory={"limit": 64 * M}, hugepageLimits=[{"pageSize": "2MB", "limit": 0}], devices=RULES)
    plan = cgroups.plan(asked, PATH, hybrid)
    written = {file: text for file, text, _ in plan["writes"]}
    assert written[f"{hybrid.v1['memory']}{PATH}/memory.limit_in_bytes"] == str(64 * M)
    assert written[f"{hybrid.v2}{PATH}/hugetlb.2MB.max"] == "0"
    assert plan["clone_into"] == plan["own"][0] == f"{hybrid.v2}{PATH}"
    assert plan["freeze"] == {"file": f"{hybrid.v2}{PATH}/cgroup.freeze", "frozen": "1", "thawed": "0"}
    assert not any("freezer" in directory for directory in plan["dirs"])
    assert plan["device_bpf_b64"] is None
    assert plan["reads"]["cpu_ns"][0].endswith("cpuacct.usage")


def test_an_update_sets_memory_and_swap_in_either_direction(v1: cgroups.CgroupLayout) -> None:
    plan = cgroups.plan(limits(memory={"limit": 64 * M, "swap": 128 * M}), PATH, v1, is_update=True)
    assert [(Path(file).name, required) for file, _, required in plan["writes"]] == [
        ("memory.memsw.limit_in_bytes", False),
        ("memory.limit_in_bytes", True),
        ("memory.memsw.limit_in_bytes", True),
    ]


def test_unified_files_are_written_word_for_word(v2: cgroups.CgroupLayout) -> None:
    plan = cgroups.plan(limits(unified={"memory.high": "32M", "misc.max": "x 1"}), PATH, v2)
    assert leaf_writes(plan) == [("memory.high", "32M"), ("misc.max", "x 1")]
    assert "+memory +misc" in {text for _, text, required in plan["writes"] if required}


@pytest.mark.parametrize(
    "file", ["cgroup.procs", "../memory.max", "memory", "memory.max/x", "", "cgroup.kill"]
)
def test_unified_takes_nothing_but_limits(v2: cgroups.CgroupLayout, file: str) -> None:
    with pytest.raises(InvalidOption, match="cgroup_conf"):
        cgroups.plan(limits(unified={file: "1"}), PATH, v2)


@pytest.mark.parametrize(
    "path", ["relative/x", "/a/../b", "/a/./b", "/a b", "", "/", "/a\n", "/" + "x" * 201]
)
def test_a_cgroup_path_of_another_form_is_refused(v2: cgroups.CgroupLayout, path: str) -> None:
    with pytest.raises(InvalidOption, match="cgroup path"):
        cgroups.plan({}, path, v2)


@pytest.mark.parametrize(
    ("section", "key", "option"),
    [
        ("memory", "swappiness", "memory_swappiness"),
        ("memory", "disableOOMKiller", "oom_kill_disable"),
        ("cpu", "realtimeRuntime", "cpu_rt_runtime"),
    ],
)
def test_limits_of_version_1_alone_are_named(
    v2: cgroups.CgroupLayout, section: str, key: str, option: str
) -> None:
    with pytest.raises(Unsupported, match=option):
        cgroups.plan({section: {key: 1}}, PATH, v2)


def test_marks_of_packets_need_the_controllers_of_version_1(tmp_path: Path, v2: cgroups.CgroupLayout) -> None:
    asked = limits(network={"classID": 0x100001, "priorities": [{"name": "eth0", "priority": 5}]})
    first = tree(tmp_path / "v1", v1=("net_cls,net_prio", "memory"))
    plan = cgroups.plan(asked, PATH, first)
    assert leaf_writes(plan) == [("net_cls.classid", "1048577"), ("net_prio.ifpriomap", "eth0 5")]
    assert f"{first.v1['net_cls']}{PATH}/cgroup.procs" in plan["procs"]
    assert not any("net_cls" in directory for directory in cgroups.plan({}, PATH, first)["dirs"])
    whole = cgroups.plan({}, PATH, tree(tmp_path / "all", v1=(*V1, "net_cls", "net_prio")), is_whole=True)
    assert any("net_cls" in directory for directory in whole["dirs"])
    with pytest.raises(Unsupported, match="net_cls"):
        cgroups.plan(asked, PATH, v2)


@pytest.mark.parametrize("rdma", [{"mlx5_0": {}}, {"a b": {"hcaHandles": 1}}])
def test_a_limit_of_remote_memory_of_another_form_is_refused(
    v2: cgroups.CgroupLayout, rdma: dict[str, Any]
) -> None:
    with pytest.raises(InvalidOption, match=r"linux\.resources\.rdma"):
        cgroups.plan(limits(rdma=rdma), PATH, v2)


def test_a_controller_that_the_host_lacks_is_named(tmp_path: Path) -> None:
    layout = tree(tmp_path, v2="/sys/fs/cgroup", controllers="memory")
    with pytest.raises(Unsupported, match="pids"):
        cgroups.plan(limits(pids={"limit": 1}), PATH, layout)


def test_swap_below_memory_is_refused(v2: cgroups.CgroupLayout) -> None:
    with pytest.raises(InvalidOption, match="counts both"):
        cgroups.plan(limits(memory={"limit": 2 * M, "swap": M}), PATH, v2)
    with pytest.raises(InvalidOption, match="without a memory limit"):
        cgroups.plan(limits(memory={"swap": M}), PATH, v2)


def test_swap_is_left_out_where_it_is_not_accounted(tmp_path: Path) -> None:
    layout = tree(tmp_path, v1=["memory"])
    assert layout.has_swap
    (tmp_path / "sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").unlink()
    layout = cgroups.detect(str(tmp_path / "mountinfo"), root=str(tmp_path))
    plan = cgroups.plan(limits(memory={"limit": 64 * M, "swap": 128 * M}), PATH, layout)
    assert {Path(file).name: required for file, _, required in plan["writes"]} == {
        "memory.limit_in_bytes": True,
        "memory.memsw.limit_in_bytes": False,
    }


# -- devices


def test_default_devices_are_closed_but_for_the_harmless(v1: cgroups.CgroupLayout) -> None:
    writes = leaf_writes(cgroups.plan(limits(devices=RULES), PATH, v1))
    assert writes[0] == ("devices.deny", "a")
    assert ("devices.allow", "c 1:3 rwm") in writes
    assert ("devices.allow", "c 136:* rwm") in writes
    assert ("devices.allow", "b *:* m") in writes


@pytest.mark.parametrize(
    ("kind", "access", "major", "minor", "expected"),
    [
        ("c", "rw", 1, 3, True),
        ("c", "r", 1, 1, False),  # mem
        ("c", "w", 1, 11, False),  # kmsg
        ("c", "m", 10, 229, True),  # a node may be made
        ("c", "rw", 10, 229, False),  # and not opened
        ("c", "rm", 10, 229, False),
        ("b", "m", 8, 0, True),
        ("b", "r", 8, 0, False),
        ("c", "rw", 136, 7, True),
        ("c", "rwm", 5, 2, True),
        ("b", "rw", 1, 3, False),
    ],
)
def test_the_device_program_lets_through_what_the_rules_allow(
    v2: cgroups.CgroupLayout, kind: str, access: str, major: int, minor: int, expected: bool
) -> None:
    program = cgroups.plan(limits(devices=RULES), PATH, v2)["device_bpf_b64"]
    assert program is not None
    assert run_device_program(base64.b64decode(program), kind, access, major, minor) is expected


def test_later_rules_win_and_everything_resets() -> None:
    rules = [
        {"allow": True, "access": "rwm"},
        {"allow": False, "type": "b", "major": 8, "access": "w"},
        {"allow": False, "type": "c", "major": 1, "minor": 1, "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 1, "access": "r"},
    ]
    program = devices.bpf_program(rules)
    assert run_device_program(program, "b", "r", 8, 3)
    assert not run_device_program(program, "b", "rw", 8, 3)
    assert run_device_program(program, "c", "r", 1, 1)
    assert not run_device_program(program, "c", "w", 1, 1)
    assert run_device_program(program, "c", "rwm", 99, 99)
    assert devices.v1_writes(rules) == [
        ("devices.allow", "a"),
        ("devices.deny", "b 8:* w"),
        ("devices.deny", "c 1:1 wm"),
    ]
    closed = devices.bpf_program([*rules, {"allow": False}])
    assert not run_device_program(closed, "c", "r", 1, 3)


@pytest.mark.parametrize("rule", [{"allow": True, "type": "x"}, {"allow": True, "access": "rx"}])
def test_a_device_rule_of_another_form_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=r"linux\.resources\.devices"):
        devices.bpf_program([rule])


# -- carried out


def _interface(plan: cgroups.CgroupPlan) -> None:
    """Make the files that a kernel would make."""
    for directory in plan["dirs"]:
        Path(directory).mkdir(parents=True, exist_ok=True)
    for file, _, _ in plan["writes"]:
        Path(file).touch()


def test_what_is_planned_is_found_in_the_files(v2: cgroups.CgroupLayout) -> None:
    asked = limits(
        memory={"limit": 64 * M, "swap": 64 * M}, cpu={"quota": 50000, "period": 100000}, pids={"limit": 9}
    )
    plan = cgroups.plan(asked, PATH, v2)
    _interface(plan)
    cgroup.make(plan)
    leaf = Path(f"{v2.v2}{PATH}")
    assert (leaf / "memory.max").read_text() == str(64 * M)
    assert (leaf / "memory.swap.max").read_text() == "0"
    assert (leaf / "cpu.max").read_text() == "50000 100000"
    assert (leaf / "pids.max").read_text() == "9"
    assert "+memory" in (leaf.parent / "cgroup.subtree_control").read_text()


def test_a_limit_that_the_kernel_lacks_names_the_file(v2: cgroups.CgroupLayout) -> None:
    plan = cgroups.plan(limits(unified={"memory.novel": "1"}), PATH, v2)
    _interface(plan)
    Path(f"{v2.v2}{PATH}/memory.novel").unlink()
    with pytest.raises(LaunchError, match=r"memory\.novel"):
        cgroup.make(plan)
    cgroup.make({**plan, "writes": [[f"{v2.v2}{PATH}/memory.novel", "1", False]]})
    assert not Path(f"{v2.v2}{PATH}/memory.novel").exists()


def test_counters_are_read_and_missing_ones_left_out(v2: cgroups.CgroupLayout) -> None:
    plan = cgroups.plan({}, PATH, v2)
    leaf = Path(f"{v2.v2}{PATH}")
    leaf.mkdir(parents=True)
    (leaf / "memory.peak").write_text("4096\n")
    (leaf / "cpu.stat").write_text("usage_usec 12\nuser_usec 7\nnr_throttled 3\n")
    (leaf / "memory.events").write_text("low 0\noom 2\noom_kill 1\n")
    (leaf / "pids.current").write_text("max\n")
    assert cgroup.read(plan) == {
        "memory_peak": 4096,
        "cpu_ns": 12000,
        "cpu_user_ns": 7000,
        "throttled_periods": 3,
        "oom": 1,
    }
