"""Containers on a host with cgroup v2 only: a virtual machine says what it saw, each test reads a part."""

from __future__ import annotations

from typing import Any

import pytest

from tests.guest import machine
from tests.support.needs import needs

pytestmark = [
    needs("root", "qemu-system-x86_64", "busybox", "mkfs.ext4", "apt-get"),
    pytest.mark.slow,
    pytest.mark.timeout(machine.BOOT_LIMIT_S + 60),
]


def test_the_machine_has_the_unified_hierarchy_only(verdict: dict[str, Any]) -> None:
    mode, controllers = verdict["cgroup_mode"]
    assert mode == "v2"
    assert {"cpu", "memory", "pids"} <= set(controllers)


def test_the_doctor_finds_everything_required(verdict: dict[str, Any]) -> None:
    required = ("kernel", "root", "cgroups", "overlay", "store", "mount_api", "clone3", "openat2", "seccomp")
    assert {name: verdict["doctor"][name] for name in required} == dict.fromkeys(required, True)


def test_a_container_runs(verdict: dict[str, Any]) -> None:
    assert verdict["hello"]["stdout"] == "hello\n"


def test_limits_are_written_in_the_words_of_version_two(verdict: dict[str, Any]) -> None:
    assert verdict["limits"]["stdout"].split("\n")[:4] == [str(64 << 20), "0", "20", "50000 100000"]


def test_default_shares_are_the_default_weight(verdict: dict[str, Any]) -> None:
    assert verdict["weight"]["stdout"] == "100\n"


def test_a_container_sees_its_own_cgroup_as_the_root(verdict: dict[str, Any]) -> None:
    assert verdict["own_view"]["stdout"] == "0::/\n"


def test_a_container_cannot_lift_its_limits(verdict: dict[str, Any]) -> None:
    assert verdict["read_only"]["exit_code"] != 0
    assert "Read-only" in verdict["read_only"]["stderr"]


def test_running_out_of_memory_is_seen_and_said(verdict: dict[str, Any]) -> None:
    assert verdict["oom"]["oom_killed"] is True
    assert verdict["oom"]["exit_code"] == 137


def test_more_processes_than_allowed_are_refused(verdict: dict[str, Any]) -> None:
    assert "fork" in verdict["pids"]["stderr"]
    assert verdict["pids"]["oom_killed"] is False


def test_usage_is_counted(verdict: dict[str, Any]) -> None:
    assert verdict["usage"]["cpu_s"] > 0


def test_a_container_is_stopped(verdict: dict[str, Any]) -> None:
    assert verdict["stopped"] == {"running": "running", "stopped": "exited", "exit_code": 137}


def test_containers_that_join_a_network_hide_what_others_hide(verdict: dict[str, Any]) -> None:
    # On this kernel, unlike later ones, a mask can only be copied from a mount of the same namespace.
    assert [seen["stdout"] for seen in verdict["joined"]] == ["lo\n0\n0\n"] * 3


def test_a_volume_is_filled_from_an_image_of_several_layers(verdict: dict[str, Any]) -> None:
    # Kernels before 6.5 take the layers of an overlay in one string of at most 255 bytes.
    assert verdict["filled"]["stdout"] == "of the second layer\n"


def test_nothing_is_left_in_the_machine(verdict: dict[str, Any]) -> None:
    assert verdict["left_cgroups"] == []
    assert verdict["left_mounts"] == []
