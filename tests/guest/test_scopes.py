"""Containers in scopes of systemd: a virtual machine says what it saw, each test reads a part."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.guest import machine
from tests.support.needs import needs

LIMIT_S = 900.0
CHOSEN = [
    f"tests/integration/{name}"
    for name in (
        "test_exec.py::TestSurroundings::test_a_user_namespace_is_entered_too",
        "test_exec.py::TestRefusals::test_the_containers_limit_of_processes_holds_for_them_too",
        "test_cgroup_managers.py::test_limits_and_their_updates_are_systemds_and_the_kernels",
        "test_cgroup_managers.py::test_what_is_done_to_a_container_is_done_to_its_scope",
        "test_cgroup_managers.py::test_an_engine_with_the_other_manager_goes_on_with_what_runs",
    )
]
"""Of the integration tests, those that tell the most of version 2 in a minute; the others are for
`nox -s guest_suite`.
"""

pytestmark = [
    needs("root", "qemu-system-x86_64", "busybox", "mkfs.ext4", "apt-get", "dpkg-deb"),
    pytest.mark.slow,
    pytest.mark.timeout(LIMIT_S + 60),
]


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if os.uname().machine != "x86_64":
        pytest.skip("the guest's kernel is for x86-64")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cache = Path(home, "pycontainer-guest")
    found, said = machine.boot(
        tmp_path_factory.mktemp("guest"),
        cache,
        "scopes.py",
        system=machine.SYSTEMD,
        arguments=CHOSEN,
        limit_s=LIMIT_S,
    )
    print(said)
    return {**found, "said": said}


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


def test_integration_tests_pass_in_it(verdict: dict[str, Any]) -> None:
    _, _, report = verdict["said"].partition("test session starts")
    assert verdict["suite"] == 0, report


def test_the_bus_serves_where_systemds_own_socket_is_out_of_reach(verdict: dict[str, Any]) -> None:
    seen = {"inside": {"ActiveState": "active"}, "tasks": {"TasksMax": "9"}, "left": []}
    assert verdict["bus"] == seen
