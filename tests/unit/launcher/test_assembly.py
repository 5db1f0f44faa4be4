"""Which containers have their surroundings put together by their monitor."""

from __future__ import annotations

from typing import Any

import pytest

from pycontainer.launcher import assembly, plan
from tests.support.launching import base_spec, merge


def can_be(changes: dict[str, Any], **params: Any) -> bool:
    spec = base_spec(["prog"])
    merge(spec, changes)
    overlay = {"lower": ["/l0"], "upper": "/c/upper", "work": "/c/work"}
    given = {"id": "x", "rootfs": {"overlay": overlay}, "container_dir": "/c", **params}
    return assembly.can_assemble(plan.outline(spec), plan.plan(spec, given), "/sys/fs/cgroup/x")


def kinds(*names: str, **joined: str) -> dict[str, Any]:
    found = [{"type": name} for name in names]
    return {"linux": {"namespaces": [*found, *({"type": k, "path": p} for k, p in joined.items())]}}


ALL = ("mount", "pid", "uts", "ipc", "network", "cgroup")
CGROUP2 = {"destination": "/sys/fs/cgroup", "type": "cgroup2"}


def mounted(*more: dict[str, Any]) -> dict[str, Any]:
    return {**kinds(*ALL), "mounts": [{"destination": "/proc", "type": "proc"}, *more]}


@pytest.mark.parametrize(
    "changes",
    [
        kinds(*ALL),
        kinds("mount", "pid"),
        kinds("mount", "pid", network="/run/netns/x", ipc="/proc/1/ns/ipc"),
        mounted(CGROUP2, {"destination": "/data", "type": "bind", "source": "/srv"}),
        mounted({"destination": "/sys/fs", "type": "tmpfs"}, CGROUP2),
        {"root": {"readonly": True}},
    ],
    ids=["all of its own", "few of its own", "some of others", "mounts", "a mount below", "read-only"],
)
def test_most_are(changes: dict[str, Any]) -> None:
    assert can_be(changes)


@pytest.mark.parametrize(
    "changes",
    [
        kinds(*ALL[:1]),
        kinds(*ALL, "user"),
        kinds(*ALL, "time"),
        kinds("mount", pid="/proc/1/ns/pid"),
        {"process": {"terminal": True}},
        mounted({"destination": "/proc/cpuinfo", "type": "bind", "source": "/x"}),
        mounted({"destination": "/elsewhere", "type": "proc"}),
        {"linux": {"sysctl": {"kernel.pid_max": "100"}}},
    ],
    ids=[
        *("host's processes", "own users", "own time", "another's processes", "terminal", "in /proc"),
        *("a second /proc", "a setting of the host"),
    ],
)
def test_some_are_not(changes: dict[str, Any]) -> None:
    assert not can_be(changes)


def test_hooks_look_at_what_the_monitor_would_hide() -> None:
    hooks = {"hooks": {"createContainer": [{"path": "/bin/true"}]}}
    assert not can_be(hooks, hook_state="{}")


def test_cgroups_of_version_2_are_shown_by_a_bind_of_the_containers() -> None:
    spec = base_spec(["prog"])
    merge(spec, mounted(CGROUP2))
    given = {
        "id": "x",
        "rootfs": {"overlay": {"lower": [], "upper": "/u", "work": "/w"}},
        "container_dir": "/c",
    }
    steps = plan.plan(spec, given)
    assert assembly.can_assemble(plan.outline(spec), steps, "/sys/fs/cgroup/x")
    assert not assembly.can_assemble(plan.outline(spec), steps)
