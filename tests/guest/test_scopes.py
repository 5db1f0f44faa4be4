"""Containers in scopes of systemd: a virtual machine says what it saw, each test reads a part."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.guest import machine
from tests.support.needs import needs

pytestmark = [
    needs("root", "qemu-system-x86_64", "busybox", "mkfs.ext4", "apt-get", "debootstrap"),
    pytest.mark.slow,
    pytest.mark.timeout(machine.BOOT_LIMIT_S + 120),
]


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if os.uname().machine != "x86_64":
        pytest.skip("the guest's kernel is for x86-64")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cache = Path(home, "pycontainer-guest")
    found, said = machine.boot(tmp_path_factory.mktemp("guest"), cache, "scopes.py", is_debian=True)
    print(said)
    return found


def test_the_scope_lies_in_its_slice_and_has_the_limits(verdict: dict[str, Any]) -> None:
    life = verdict["life"]
    assert life["cgroup"] == "0::/guest.slice/guest-inner.slice/pre-one.scope\n"
    assert life["unit"]["Slice"] == "guest-inner.slice"
    assert life["unit"]["Delegate"] == "yes"
    assert (life["unit"]["MemoryMax"], life["unit"]["TasksMax"]) == (str(64 << 20), "50")
    assert (life["files"]["memory.max"], life["files"]["pids.max"]) == (str(64 << 20), "50")
    assert life["files"]["cpu.max"] == "50000 100000"


def test_a_reload_of_systemd_changes_nothing(verdict: dict[str, Any]) -> None:
    life = verdict["life"]
    assert life["reloaded"]["files"] == life["files"]


def test_devices_are_denied_before_and_after_a_reload(verdict: dict[str, Any]) -> None:
    for device in (verdict["life"]["device"], verdict["life"]["reloaded"]["device"]):
        assert device["null"] == 0
        assert device["code"] != 0
        assert "not permitted" in device["stderr"]


def test_an_update_reaches_systemd_and_the_kernel(verdict: dict[str, Any]) -> None:
    updated = verdict["life"]["updated"]
    assert (updated["unit"]["MemoryMax"], updated["unit"]["TasksMax"]) == (str(128 << 20), "70")
    assert (updated["files"]["memory.max"], updated["files"]["pids.max"]) == (str(128 << 20), "70")


def test_a_unit_that_exists_is_refused_by_name(verdict: dict[str, Any]) -> None:
    again = verdict["life"]["again"]
    assert again["code"] == 1
    assert "pre-one.scope" in again["stderr"]
    assert again["one"] == "running"


def test_nothing_is_left_after_the_delete(verdict: dict[str, Any]) -> None:
    assert verdict["life"]["left"] == {"unit": {"LoadState": "not-found"}, "directories": []}


def test_a_run_in_the_foreground_leaves_no_unit(verdict: dict[str, Any]) -> None:
    ended = {"code": 3, "stdout": "hi\n", "stderr": "", "unit": {"LoadState": "not-found"}}
    assert verdict["foreground"] == ended


def test_a_path_that_systemd_has_not_is_refused(verdict: dict[str, Any]) -> None:
    assert set(verdict["refused"].values()) == {True}


def test_what_a_killed_create_left_goes_with_the_delete(verdict: dict[str, Any]) -> None:
    assert {tuple(left) for left in verdict["killed"].values()} == {("not-found",)}


def test_the_bus_serves_where_systemds_own_socket_is_out_of_reach(verdict: dict[str, Any]) -> None:
    seen = {"inside": {"ActiveState": "active"}, "tasks": {"TasksMax": "9"}, "left": []}
    assert verdict["bus"] == seen
