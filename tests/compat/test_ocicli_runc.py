"""The same bundle through runc and through pycontainer-runtime: the same container comes out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.ocicli import Done, Runtime

pytestmark = pytest.mark.needs("root", "runc")


@pytest.fixture
def both(tmp_path: Path, busybox_rootfs: Path) -> tuple[Runtime, Runtime]:
    for name in ("ours", "runc"):
        (tmp_path / name).mkdir()
    return Runtime(tmp_path / "ours", busybox_rootfs), Runtime(tmp_path / "runc", busybox_rootfs, ("runc",))


def run(
    both: tuple[Runtime, Runtime], args: Sequence[str], changes: dict[str, Any] | None = None
) -> tuple[Done, Done]:
    """Through each, one after the other: they share the cgroup's name."""
    ours, theirs = both
    merged = {"ociVersion": "1.0.2", **(changes or {})}
    return ours.run("box", args, merged), theirs.run("box", args, merged)


PROCESSES: dict[str, dict[str, Any]] = {
    "root": {},
    "user": {"process": {"user": {"uid": 1000, "gid": 1000, "additionalGids": [50, 44]}}},
    "no groups": {"process": {"user": {"uid": 7, "gid": 8}}},
    "umask": {"process": {"user": {"uid": 0, "gid": 0, "umask": 0o077}}},
    "privileges": {"process": {"noNewPrivileges": False}},
    "filter": {
        "linux": {
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["chroot"], "action": "SCMP_ACT_ERRNO"}],
            }
        }
    },
}


@pytest.mark.parametrize("changes", PROCESSES.values(), ids=PROCESSES.keys())
def test_the_process_is_the_same(both: tuple[Runtime, Runtime], changes: dict[str, Any]) -> None:
    ours, theirs = run(both, ["cat", "/proc/self/status"], changes)
    names = (
        *("Uid", "Gid", "Groups", "Umask", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"),
        *("Seccomp", "SigBlk", "SigIgn", "SigCgt", "NSpid"),
    )

    def fields(text: str) -> dict[str, str]:
        pairs = (line.partition(":") for line in text.splitlines())
        return {name: value.strip() for name, _, value in pairs if name in names}

    assert fields(ours.stdout) == fields(theirs.stdout), (ours.stderr, theirs.stderr)
    assert len(fields(ours.stdout)) == len(names)


def test_the_same_places_are_mounted_with_the_same_flags(both: tuple[Runtime, Runtime]) -> None:
    ours, theirs = run(both, ["cat", "/proc/self/mountinfo"])

    def places(text: str) -> dict[str, frozenset[str]]:
        rows = (line.split() for line in text.splitlines())
        return {row[4]: frozenset(row[5].split(",")) for row in rows}

    mine, other = places(ours.stdout), places(theirs.stdout)
    assert mine.keys() == other.keys()
    # What covers a masked path is an empty file system of ours, and the host's /dev/null with runc.
    kernel = [place for place in mine if not place.startswith(("/proc/", "/sys/firmware"))]
    assert {place: mine[place] for place in kernel} == {place: other[place] for place in kernel}


WORKS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "code": (["sh", "-c", "exit 42"], {}),
    "environment": (["env"], {"process": {"env": ["PATH=/bin", "HOME=/x", "A=1", "EMPTY="]}}),
    "hostname": (["hostname"], {"hostname": "other"}),
    "cwd": (["pwd"], {"process": {"cwd": "/tmp"}}),
    "limits": (
        ["cat", "/proc/self/limits"],
        {"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}]}},
    ),
    "oom": (["cat", "/proc/self/oom_score_adj"], {"process": {"oomScoreAdj": 321}}),
    "devices": (["sh", "-c", "stat -c '%n %a %u:%g %t:%T' /dev/null /dev/tty /dev/zero /dev/ptmx"], {}),
    "session": (["cat", "/proc/self/sessionid"], {}),
    "read-only root": (["sh", "-c", "echo x > /file"], {"root": {"readonly": True}}),
    "sysctl": (
        ["cat", "/proc/sys/net/ipv4/ping_group_range"],
        {"linux": {"sysctl": {"net.ipv4.ping_group_range": "0 0"}}},
    ),
}


@pytest.mark.parametrize(("args", "changes"), WORKS.values(), ids=WORKS.keys())
def test_what_the_program_sees_is_the_same(
    both: tuple[Runtime, Runtime], args: list[str], changes: dict[str, Any]
) -> None:
    ours, theirs = run(both, args, changes)
    assert (ours.code, ours.stdout) == (theirs.code, theirs.stdout), (ours.stderr, theirs.stderr)


def test_the_state_has_the_same_keys(both: tuple[Runtime, Runtime]) -> None:
    found = []
    for runtime in both:
        bundle = runtime.bundle("box", ["sleep", "1000"], {"ociVersion": "1.0.2"})
        runtime.ok("create", "--bundle", bundle, "box")
        state = json.loads(runtime.ok("state", "box"))
        runtime.ok("delete", "--force", "box")
        found.append(state)
    assert found[0].keys() == found[1].keys()
    same = ("id", "status", "rootfs", "owner")
    assert {key: found[0][key] for key in same} == {key: found[1][key] for key in same}
