"""The doctor: what it finds, how it says it, and that it leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pycontainer.cli.app import app
from pycontainer.cli.commands import doctor
from pycontainer.kernel import probe
from pycontainer.testing.leaks import Snapshot


def _finding(**changes: object) -> probe.Finding:
    finding = probe.Finding("overlay", False, "unknown filesystem", True, "no containers", "modprobe overlay")
    return finding._replace(**changes)


def _run(monkeypatch: pytest.MonkeyPatch, findings: list[probe.Finding], *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(doctor, "examine", lambda store: findings)
    result = CliRunner().invoke(app, ["doctor", "--root", "/nowhere", *arguments])
    return result.exit_code, result.output


def test_a_required_feature_that_is_missing_makes_the_exit_code_one(monkeypatch: pytest.MonkeyPatch) -> None:
    exit_code, output = _run(monkeypatch, [_finding()])
    assert exit_code == 1
    assert "missing" in output
    assert "then: no containers" in output
    assert "remedy: modprobe overlay" in output


def test_an_optional_feature_that_is_missing_is_told_and_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    exit_code, output = _run(monkeypatch, [_finding(is_required=False)])
    assert exit_code == 0
    assert "limited" in output
    assert "this host can run containers" in output


def test_what_works_is_told_without_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    exit_code, output = _run(monkeypatch, [_finding(is_ok=True)])
    assert exit_code == 0
    assert "remedy" not in output


def test_json_carries_every_field(monkeypatch: pytest.MonkeyPatch) -> None:
    exit_code, output = _run(monkeypatch, [_finding()], "--json")
    assert exit_code == 1
    assert json.loads(output) == [
        {
            "name": "overlay",
            "is_ok": False,
            "detail": "unknown filesystem",
            "is_required": True,
            "consequence": "no containers",
            "remedy": "modprobe overlay",
        }
    ]


@pytest.mark.parametrize("name", probe.NAMES)
def test_every_check_answers_under_its_own_name_and_with_a_remedy(name: str, tmp_path: Path) -> None:
    finding = probe.check(name, str(tmp_path / "not" / "made" / "yet"))
    assert finding.name == name
    assert finding.detail
    assert finding.remedy
    if not finding.is_ok:
        assert finding.consequence


def test_examining_the_host_leaves_nothing_behind(tmp_path: Path) -> None:
    doctor.examine(tmp_path)  # what is imported and opened once is not a leak
    before = Snapshot.take([tmp_path])
    doctor.examine(tmp_path / "store")
    before.assert_unchanged()
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_written_is_a_finding(tmp_path: Path) -> None:
    finding = probe.check("store", "/proc/nowhere")
    assert not finding.is_ok
    assert "PYCONTAINER_ROOT" in finding.remedy


def test_a_probing_process_that_dies_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probe.sys, "executable", "/bin/false")
    finding = probe.check("overlay", str(tmp_path))
    assert not finding.is_ok
    assert "probing process failed" in finding.detail


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param(
            "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
            ("v2", ("cpu", "memory")),
            id="unified only",
        ),
        pytest.param(
            "1 0 0:1 / /c/memory rw - cgroup cgroup rw,memory\n2 0 0:2 / /c/u rw - cgroup2 cgroup2 rw",
            ("hybrid", ("memory",)),
            id="both",
        ),
        pytest.param(
            "1 0 0:1 / /c/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
            "2 0 0:2 / /c/s rw - cgroup cgroup rw,xattr,name=systemd",
            ("v1", ("cpu", "cpuacct")),
            id="legacy, with a named hierarchy",
        ),
        pytest.param("1 0 0:1 / / rw - ext4 /dev/vda rw", ("none", ()), id="no cgroups"),
    ],
)
def test_the_cgroup_layout_is_read_from_the_mounts(
    lines: str, expected: tuple[str, tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    (tmp_path / "mountinfo").write_text(lines.replace("/sys/fs/cgroup", str(tmp_path)) + "\n")
    monkeypatch.setattr(probe, "MOUNTINFO", str(tmp_path / "mountinfo"))
    assert probe.cgroup_mode() == expected


@pytest.mark.parametrize(
    ("options", "is_closed"),
    [
        pytest.param("rw,nosuid - cgroup cgroup rw,memory", False, id="writable"),
        pytest.param("ro,nosuid - cgroup cgroup rw,memory", True, id="the mount"),
        pytest.param("rw,nosuid - cgroup cgroup ro,memory", True, id="the file system"),
        pytest.param("ro,nosuid - cgroup2 cgroup2 rw", True, id="version 2"),
        pytest.param("ro,nosuid - cgroup cgroup rw,net_prio", False, id="one that no container is put into"),
    ],
)
def test_read_only_cgroups_are_missing_with_a_remedy(
    options: str, is_closed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usable = "1 0 0:1 / /c/all rw - cgroup cgroup rw,memory,cpu,pids"
    (tmp_path / "mountinfo").write_text(f"{usable}\n3 0 0:3 / /c/seen {options}\n")
    monkeypatch.setattr(probe, "MOUNTINFO", str(tmp_path / "mountinfo"))
    finding = probe.check("cgroups", str(tmp_path))
    assert (finding.is_ok, "/c/seen" in finding.detail) == (not is_closed, is_closed)
    assert finding.is_required
    assert is_closed == ("mount -o remount,rw,bind /c/seen" in finding.remedy)
