"""Cgroups that systemd makes: where they are, the limits in its words, and where it cannot be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import InvalidOption, Unsupported
from pycontainer.options import parse_run_options
from pycontainer.runtime import build_spec, cgroups, plan_cgroups
from pycontainer.runtime.cgroups.systemd import UNLIMITED, scope_path
from tests.unit.runtime.test_cgroups import V1, V2_CONTROLLERS, tree
from tests.unit.runtime.test_specgen import HOST, ID, image

MIB = 1 << 20
V2 = cgroups.CgroupLayout("v2", v2="/sys/fs/cgroup", v2_controllers=frozenset(V2_CONTROLLERS.split()))
UNIT = f"pycontainer-tag-{ID}.scope"


def spec_of(**given: Any) -> Any:
    return build_spec(
        parse_run_options(**given), image(), HOST, container_id=ID, store_tag="tag", cgroup_manager="systemd"
    )


def properties(resources: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, _, value in cgroups.systemd_limits(resources, V2)}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "/system.slice/pycontainer-x.scope"),
        (":pre:x", "/system.slice/pre-x.scope"),
        ("-.slice::x", "/x.scope"),
        ("a-b-c.slice:pre:x", "/a.slice/a-b.slice/a-b-c.slice/pre-x.scope"),
    ],
)
def test_a_scope_lies_where_its_slice_is_expanded_to(path: str, expected: str) -> None:
    assert scope_path(path, "x")[2] == expected


@pytest.mark.parametrize(
    "path", ["a", "a:b", "a.slice:b:", "a--b.slice:p:x", "a:p:x", "a.slice:p:x/y", "-a.slice:p:x"]
)
def test_what_systemd_has_no_place_for_is_refused(path: str) -> None:
    with pytest.raises(InvalidOption, match=r"linux\.cgroupsPath"):
        scope_path(path, "x")


def test_a_container_has_a_scope_of_its_store_or_in_the_slice_asked_for() -> None:
    made = plan_cgroups(spec_of(memory="64m"), HOST)
    assert made["clone_into"] == f"/sys/fs/cgroup/system.slice/{UNIT}"
    assert made["dirs"] == made["own"] == [made["clone_into"]]
    assert (made["scope"]["unit"], made["scope"]["slice"]) == (UNIT, "system.slice")
    assert ["MemoryMax", "t", 64 * MIB] in made["scope"]["properties"]
    assert cgroups.place_of(spec_of(cgroup_parent="jobs.slice").linux.cgroups_path) == f"/jobs.slice/{UNIT}"


def test_a_parent_of_the_other_managers_kind_is_refused() -> None:
    with pytest.raises(InvalidOption, match=r"cgroup_parent='/jobs'.*a slice"):
        spec_of(cgroup_parent="/jobs")
    with pytest.raises(InvalidOption, match=r"cgroup_parent='jobs\.slice'.*an absolute path"):
        build_spec(parse_run_options(cgroup_parent="jobs.slice"), image(), HOST, container_id=ID)
    with pytest.raises(InvalidOption, match="cgroup_parent"):
        parse_run_options(cgroup_parent="jobs")


def test_limits_are_said_in_systemds_words() -> None:
    found = properties(
        {
            "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB},
            "cpu": {"shares": 1024, "quota": 12_345, "period": 100_000, "cpus": "0-2,9", "mems": "0"},
            "pids": {"limit": -1},
            "blockIO": {"weight": 1000},
        }
    )
    assert found == {
        "MemoryMax": 64 * MIB,
        "MemorySwapMax": 32 * MIB,
        "MemoryLow": 32 * MIB,
        "CPUWeight": 100,
        "CPUQuotaPerSecUSec": 130_000,  # in hundredths of a processor, and never less than asked
        "CPUQuotaPeriodUSec": 100_000,
        "AllowedCPUs": [0b111, 0b10],
        "AllowedMemoryNodes": [1],
        "TasksMax": UNLIMITED,
        "IOWeight": 10_000,
    }


def test_a_limit_that_is_lifted_is_told_to_systemd_too() -> None:
    before = {
        "memory": {"limit": MIB, "reservation": MIB},
        "cpu": {"quota": 1000, "cpus": "0"},
        "pids": {"limit": 5},
    }
    told = {
        name: value for name, _, value in cgroups.systemd_limit_changes(before, {"pids": {"limit": 7}}, V2)
    }
    assert told == {
        "MemoryMax": UNLIMITED,
        "MemoryLow": 0,
        "CPUQuotaPerSecUSec": UNLIMITED,
        "AllowedCPUs": [],
        "TasksMax": 7,
    }
    assert cgroups.systemd_limit_changes({}, {}, V2) == []


def test_systemd_is_not_relied_on_without_it_or_with_version_one(tmp_path: Path) -> None:
    cgroups.refuse_without(V2, is_running=True)
    with pytest.raises(Unsupported, match="first process"):
        cgroups.refuse_without(V2, is_running=False)
    with pytest.raises(Unsupported, match="version 2 only"):
        cgroups.refuse_without(tree(tmp_path, v1=V1), is_running=True)


def test_only_the_stores_own_scopes_count_as_left(tmp_path: Path) -> None:
    layout = V2._replace(v2=str(tmp_path))
    others = ("ssh.service", "pycontainer-other-x.scope", "pycontainer-tag-x.slice")
    for name in ("pycontainer/tag/one", *(f"system.slice/{unit}" for unit in (UNIT, *others))):
        (tmp_path / name).mkdir(parents=True)
    found = [cgroups.leftovers(home, layout) for home in cgroups.homes("tag", layout)]
    assert found == [{"one": [f"{tmp_path}/pycontainer/tag/one"]}, {ID: [f"{tmp_path}/system.slice/{UNIT}"]}]
