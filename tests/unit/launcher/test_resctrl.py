"""Groups of resctrl, on a directory like it: this kernel and processor may have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import InvalidOption, LaunchError
from pycontainer.launcher import resctrl


def plan(root: Path, **described: Any) -> dict[str, Any]:
    return resctrl.plan(described, "box", str(root))


def make(root: Path, name: str, schemata: str = "") -> Path:
    (root / name).mkdir()
    (root / name / "schemata").write_text(schemata)
    return root / name


def test_a_group_of_the_containers_name_gets_its_shares_and_its_process(tmp_path: Path) -> None:
    planned = plan(tmp_path, l3CacheSchema="L3:0=ff\nMB:0=10\n", memBwSchema="MB:0=70", schemata=["L2:0=f"])
    resctrl.assign(planned, 7)
    assert (tmp_path / "box/schemata").read_text() == "L3:0=ff\nMB:0=70\nL2:0=f\n"
    assert (tmp_path / "box/tasks").read_text() == "7"


def test_what_is_monitored_has_a_group_of_its_own_below(tmp_path: Path) -> None:
    make(tmp_path, "shared")
    resctrl.assign(plan(tmp_path, closID="shared", enableMonitoring=True), 7)
    assert (tmp_path / "shared/mon_groups/box/tasks").read_text() == "7"


def test_a_group_that_is_named_alone_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="No such file"):
        resctrl.assign(plan(tmp_path, closID="other"), 7)
    assert not (tmp_path / "other").exists()


def test_a_group_that_is_there_is_used_as_it_is(tmp_path: Path) -> None:
    group = make(tmp_path, "shared", "    L3:0=00ff;1=0f0\n    MB:0= 70\n")
    resctrl.assign(plan(tmp_path, closID="shared", schemata=["L3:1=f0;0=ff"]), 7)
    assert (group / "schemata").read_text() == "    L3:0=00ff;1=0f0\n    MB:0= 70\n"
    with pytest.raises(LaunchError, match="other shares"):
        resctrl.assign(plan(tmp_path, closID="shared", schemata=["MB:0=50"]), 7)


def test_a_group_that_others_are_in_stays(tmp_path: Path) -> None:
    planned = plan(tmp_path, closID="new", schemata=["L3:0=f"])
    group = make(tmp_path, "new")
    (group / "tasks").write_text("12\n")
    resctrl.remove(planned)
    assert group.is_dir()


@pytest.mark.parametrize("name", ["..", "a/b", "info", "mon_groups"])
def test_what_is_no_name_of_a_group_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidOption, match="closID"):
        plan(tmp_path, closID=name)
