"""The same specification through the launcher and through crun: the same container comes out."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from pycontainer.errors import LaunchError
from pycontainer.launcher import Helper
from tests.support.launching import Launcher, base_spec, merge
from tests.support.needs import needs

pytestmark = [needs("root", "overlay", "crun")]


# crun refuses hosts with both versions of cgroups; it may see the second alone.
_UNIFIED = 'mount -t cgroup2 none /sys/fs/cgroup && exec "$0" "$@"'


@attrs.frozen(kw_only=True)
class Seen:
    """What one runtime made of a specification."""

    exit_code: int
    stdout: str


@pytest.fixture(scope="module")
def helper() -> Iterator[Helper]:
    made = Helper()
    made.start()
    yield made
    made.close()


@pytest.fixture
def launcher(helper: Helper, tmp_path: Path, busybox_rootfs: Path) -> Launcher:
    return Launcher(helper, tmp_path, busybox_rootfs)


def through_crun(directory: Path, rootfs: Path, spec: dict[str, Any]) -> Seen:
    """Run the specification on an overlay like the launcher's, with crun."""
    for name in ("upper", "work", "rootfs"):
        (directory / name).mkdir(parents=True)
    options = f"lowerdir={rootfs},upperdir={directory}/upper,workdir={directory}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", directory / "rootfs"], check=True)
    try:
        described = copy.deepcopy(spec)
        described["process"]["terminal"] = False
        described["ociVersion"] = "1.0.2"  # crun 1.8 knows no later one
        described["linux"]["cgroupsPath"] = f"/crun-{directory.name}"
        (directory / "config.json").write_text(json.dumps(described))
        done = subprocess.run(
            [
                *("unshare", "--mount", "--propagation", "private", "sh", "-c", _UNIFIED),
                *("crun", "--root", directory / "state", "--cgroup-manager=disabled", "run"),
                *("--bundle", directory, f"compat-{directory.name}"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        subprocess.run(["umount", directory / "rootfs"], check=True)
    assert "cgroup" not in done.stderr, done.stderr
    return Seen(exit_code=done.returncode, stdout=done.stdout)


def both(
    launcher: Launcher, tmp_path: Path, args: Sequence[str], changes: dict[str, Any] | None = None
) -> tuple[Seen, Seen]:
    """Through the launcher and through crun."""
    spec = base_spec(args)
    merge(spec, changes or {})
    try:
        ended = launcher.run(args, changes)
        ours = Seen(exit_code=ended.exit_code, stdout=ended.stdout)
    except LaunchError as error:
        ours = Seen(exit_code=error.exit_code, stdout="")
    return ours, through_crun(tmp_path / "crun", launcher.rootfs, spec)


def lines(text: str, *names: str) -> dict[str, str]:
    """The named fields of /proc/PID/status."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs if name in names}


USERS: dict[str, dict[str, Any]] = {
    "root": {},
    "user": {"process": {"user": {"uid": 1000, "gid": 1000, "additionalGids": [50, 44]}}},
    "umask": {"process": {"user": {"uid": 0, "gid": 0, "umask": 0o077}}},
    "privileges": {"process": {"noNewPrivileges": False}},
    "ambient": {
        "process": {
            "user": {"uid": 1000, "gid": 1000},
            "capabilities": {"inheritable": ["CAP_NET_RAW"], "ambient": ["CAP_NET_RAW"]},
        }
    },
}


@pytest.mark.parametrize("changes", USERS.values(), ids=USERS.keys())
def test_ids_capabilities_and_privileges_agree(
    launcher: Launcher, tmp_path: Path, changes: dict[str, Any]
) -> None:
    ours, theirs = both(launcher, tmp_path, ["cat", "/proc/self/status"], changes)
    names = ("Uid", "Gid", "Umask", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    names += ("SigBlk", "SigIgn", "SigCgt")
    found = lines(ours.stdout, *names)
    assert found == lines(theirs.stdout, *names)
    assert len(found) == len(names)


def test_the_same_places_are_mounted_with_the_same_flags(launcher: Launcher, tmp_path: Path) -> None:
    ours, theirs = both(launcher, tmp_path, ["cat", "/proc/self/mountinfo"])

    def mounts(text: str) -> dict[str, tuple[str, frozenset[str]]]:
        found = {}
        for line in text.splitlines():
            fields, _, right = line.partition(" - ")
            place, flags = fields.split()[4:6]
            found[place] = (right.split()[0], frozenset(flags.split(",")))
        return found

    mine, other = mounts(ours.stdout), mounts(theirs.stdout)
    assert mine.keys() == other.keys()
    # What covers a masked path is an empty file system of ours, and the host's /dev/null with crun.
    kernel = [place for place in mine if not place.startswith(("/proc/", "/sys/firmware"))]
    assert {place: mine[place] for place in kernel} == {place: other[place] for place in kernel}


def test_dev_holds_the_same_nodes_and_links(launcher: Launcher, tmp_path: Path) -> None:
    script = "cd /dev && for f in *; do echo $f $(stat -c '%F %a %u:%g %t:%T' $f) $(readlink $f); done"
    ours, theirs = both(launcher, tmp_path, ["sh", "-c", script])
    # crun leaves the device core and the tty's owner to others.
    mine, other = set(ours.stdout.splitlines()), set(theirs.stdout.splitlines())
    assert {line.split()[0] for line in other} - {line.split()[0] for line in mine} == set()
    assert {line for line in other if "character" in line} == {line for line in mine if "character" in line}


EXITS: dict[str, list[str]] = {
    "zero": ["true"],
    "code": ["sh", "-c", "exit 42"],
    "missing": ["no-such-program"],
}


@pytest.mark.parametrize("args", EXITS.values(), ids=EXITS.keys())
def test_exit_codes_agree(launcher: Launcher, tmp_path: Path, args: list[str]) -> None:
    ours, theirs = both(launcher, tmp_path, args)
    # A runtime's own failure is its 1; Docker and this engine tell what it was.
    assert ours.exit_code == (
        127 if theirs.exit_code == 1 and "no-such-program" in args else theirs.exit_code
    )


SETTINGS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "hostname": (["hostname"], {}),
    "cwd": (["pwd"], {"process": {"cwd": "/tmp"}}),
    "limits": (
        ["cat", "/proc/self/limits"],
        {"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}]}},
    ),
    "sysctl": (
        ["cat", "/proc/sys/net/ipv4/ping_group_range"],
        {"linux": {"sysctl": {"net.ipv4.ping_group_range": "0 0"}}},
    ),
    "oom": (["cat", "/proc/self/oom_score_adj"], {"process": {"oomScoreAdj": 321}}),
    "streams": (["sh", "-c", "ls /proc/$$/fd"], {}),
    "environment": (["env"], {"process": {"env": ["PATH=/bin", "HOME=/x", "A=1"]}}),
}


@pytest.mark.parametrize(("args", "changes"), SETTINGS.values(), ids=SETTINGS.keys())
def test_settings_agree(launcher: Launcher, tmp_path: Path, args: list[str], changes: dict[str, Any]) -> None:
    ours, theirs = both(launcher, tmp_path, args, changes)
    assert (ours.exit_code, ours.stdout) == (theirs.exit_code, theirs.stdout)
