"""What the kernel counts of a container, read from fake trees of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from pycontainer.runtime import cgroups

PATH = "/pycontainer/store/0123"


def filled(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        file = Path(f"{root}{PATH}/{name}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return str(root)


def test_version_2_is_read_in_the_same_units_as_version_1(tmp_path: Path) -> None:
    mount = filled(
        tmp_path,
        {
            "cpu.stat": "usage_usec 7\nuser_usec 5\nsystem_usec 2\n"
            "nr_periods 9\nnr_throttled 3\nthrottled_usec 4\n",
            "memory.current": "8192\n",
            "memory.max": "max\n",
            "memory.peak": "9000\n",
            "memory.swap.current": "0\n",
            "memory.stat": "anon 1\nfile 6000\ninactive_file 4096\n",
            "pids.current": "3\n",
            "pids.max": "10\n",
            "io.stat": "8:0 rbytes=100 wbytes=20 rios=1 wios=1 dbytes=0\n8:16 rbytes=1 wbytes=2 rios=0\n",
        },
    )
    layout = cgroups.CgroupLayout(
        mode="v2", v2=mount, v2_controllers=frozenset({"cpu", "memory", "io", "pids"})
    )
    assert cgroups.counters(PATH, layout) == {
        "cpu_ns": 7000,
        "cpu_user_ns": 5000,
        "cpu_system_ns": 2000,
        "cpu_periods": 9,
        "cpu_throttled_periods": 3,
        "cpu_throttled_ns": 4000,
        "memory_bytes": 8192,
        "memory_inactive_bytes": 4096,
        "memory_cache_bytes": 6000,
        "memory_peak_bytes": 9000,
        "swap_bytes": 0,
        "pids": 3,
        "pids_limit": 10,
        "read_bytes": 101,
        "written_bytes": 22,
    }


def test_version_1_reads_each_controller_where_it_is_mounted(tmp_path: Path) -> None:
    v1 = {
        "cpuacct": filled(
            tmp_path / "cpuacct",
            {"cpuacct.usage": "7\n", "cpuacct.usage_user": "5\n", "cpuacct.usage_sys": "2\n"},
        ),
        "cpu": filled(tmp_path / "cpu", {"cpu.stat": "nr_periods 9\nnr_throttled 3\nthrottled_time 4\n"}),
        "memory": filled(
            tmp_path / "memory",
            {
                "memory.usage_in_bytes": "8192\n",
                "memory.limit_in_bytes": "9223372036854771712\n",
                "memory.max_usage_in_bytes": "9000\n",
                "memory.stat": "inactive_file 1\ntotal_inactive_file 4096\ntotal_cache 6000\ntotal_swap 5\n",
            },
        ),
        "blkio": filled(
            tmp_path / "blkio",
            {"blkio.throttle.io_service_bytes_recursive": "8:0 Read 100\n8:0 Write 20\nTotal 120\n"},
        ),
    }
    found = cgroups.counters(PATH, cgroups.CgroupLayout(mode="v1", v1=v1))
    assert found == {
        "cpu_ns": 7,
        "cpu_user_ns": 5,
        "cpu_system_ns": 2,
        "cpu_periods": 9,
        "cpu_throttled_periods": 3,
        "cpu_throttled_ns": 4,
        "memory_bytes": 8192,
        "memory_inactive_bytes": 4096,
        "memory_cache_bytes": 6000,
        "memory_peak_bytes": 9000,
        "swap_bytes": 5,
        "read_bytes": 100,
        "written_bytes": 20,
    }


def test_a_cgroup_that_is_gone_counts_nothing(tmp_path: Path) -> None:
    layout = cgroups.CgroupLayout(mode="v2", v2=str(tmp_path))
    assert cgroups.counters(PATH, layout) == {}
    assert cgroups.processes(PATH, layout) == []


def test_processes_of_nested_cgroups_belong_to_the_container(tmp_path: Path) -> None:
    mount = filled(tmp_path, {"cgroup.procs": "1\n2\n", "inner/cgroup.procs": "3\n"})
    layout = cgroups.CgroupLayout(mode="v2", v2=mount)
    assert sorted(cgroups.processes(PATH, layout)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("file", "path"),
    [
        ("/sys/fs/cgroup/unified/a/b/cgroup.freeze", "/a/b"),
        ("/sys/fs/cgroup/freezer/a/freezer.state", "/a"),
        ("/elsewhere/a/cgroup.freeze", None),
    ],
)
def test_the_path_is_what_follows_the_mount_point(file: str, path: str | None) -> None:
    layout = cgroups.CgroupLayout(
        mode="hybrid", v1={"freezer": "/sys/fs/cgroup/freezer"}, v2="/sys/fs/cgroup/unified"
    )
    assert cgroups.path_of(file, layout) == path
