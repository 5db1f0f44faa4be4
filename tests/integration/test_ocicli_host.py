"""The OCI runtime command where a container gets, or shares, something of the host's own."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.launching import wait_for_end
from tests.support.ocicli import COMMAND, Runtime

pytestmark = pytest.mark.needs("root")

KINDS = ("mount", "pid", "network", "ipc", "uts")


@pytest.fixture
def runtime(tmp_path: Path, busybox_rootfs: Path) -> Iterator[Runtime]:
    """With a root file system of its own, for tests that mount there."""
    made = Runtime(tmp_path, Path(shutil.copytree(busybox_rootfs, tmp_path / "rootfs", symlinks=True)))
    yield made
    made.clean()


# -- network devices


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def apart(runtime: Runtime) -> Iterator[Runtime]:
    """The command in a network namespace that has a link, so that no link of the host is ever meant."""
    name = f"pcnd{os.getpid()}"
    with ExitStack() as stack:
        ip("netns", "add", name)
        stack.callback(ip, "netns", "del", name)
        steps = (
            "link add one mtu 1400 type veth peer name other",
            "addr add 10.98.7.6/24 dev one",
            "addr add fd98::6/64 dev one nodad",
            "link set one up",
        )
        subprocess.run(["ip", "-n", name, "-batch", "-"], input="\n".join(steps), text=True, check=True)
        command = ("nsenter", f"--net=/run/netns/{name}", *COMMAND)
        yield Runtime(runtime.base, runtime.rootfs, command)


def devices_outside(runtime: Runtime) -> str:
    return ip("-n", runtime.command[1].rpartition("/")[2], "addr", "show", "up")


@pytest.mark.needs("ip", "nsenter")
def test_a_network_device_goes_in_with_its_addresses_under_another_name(apart: Runtime) -> None:
    changes = {"linux": {"netDevices": {"one": {"name": "eth7"}}}}
    done = apart.run("a", ["ip", "addr", "show", "eth7"], changes)
    assert done.code == 0, done.stderr
    for word in ("mtu 1400", "UP", "inet 10.98.7.6/24", "inet6 fd98::6/64"):
        assert word in done.stdout
    assert "one" not in devices_outside(apart)


@pytest.mark.needs("ip", "nsenter")
@pytest.mark.parametrize(
    ("devices", "args", "reason"),
    [
        ({"one": {"name": "eth7"}, "pcnone": {}}, ["true"], "pcnone cannot be moved"),
        ({"one": {"name": "eth7"}}, ["/no/such/program"], "no such file"),
    ],
    ids=["one is missing", "later"],
)
def test_a_create_that_fails_gives_network_devices_back(
    apart: Runtime, devices: dict[str, Any], args: list[str], reason: str
) -> None:
    done = apart.run("a", args, {"linux": {"netDevices": devices}})
    assert done.code == 1
    assert reason in done.stderr
    shown = devices_outside(apart)
    for word in ("one", "mtu 1400", "inet 10.98.7.6/24", "inet6 fd98::6/64"):
        assert word in shown


# -- mount namespaces


def mounts(runtime: Runtime) -> list[str]:
    """What is mounted on or below the root; others mount elsewhere meanwhile."""
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [place for place in places if place.startswith(str(runtime.rootfs))]


def test_without_any_namespace_it_has_those_of_its_caller_and_leaves_no_mount(runtime: Runtime) -> None:
    changes = {"hostname": None, "linux": {"namespaces": []}}
    runtime.ok("create", "--bundle", runtime.bundle("a", ["sleep", "1000"], changes), "a")
    pid = runtime.pid("a")
    for kind in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")
    runtime.ok("start", "a")
    assert runtime.ok("exec", "a", "ls", "/").split() == sorted(os.listdir(runtime.rootfs))
    pidfd = os.pidfd_open(pid)
    runtime.ok("kill", "a", "KILL")
    wait_for_end(pidfd)
    os.close(pidfd)
    runtime.ok("delete", "a")
    assert mounts(runtime) == []


def test_what_stays_mounted_of_a_create_that_was_killed_goes_with_a_forced_delete(runtime: Runtime) -> None:
    bundle = runtime.bundle("a", ["true"], {"hostname": None, "linux": {"namespaces": []}})
    killed = {**os.environ, "PYCONTAINER_RUNTIME_KILL_AT": "create.init.waiting"}
    assert runtime("create", "--bundle", bundle, "a", env=killed).code < 0
    assert mounts(runtime) != []
    runtime.ok("delete", "--force", "a")
    assert mounts(runtime) == []


@pytest.mark.needs("mount", "umount")
def test_what_the_host_mounts_later_shows_in_a_root_that_is_a_slave(runtime: Runtime) -> None:
    root = str(runtime.rootfs)
    with ExitStack() as stack:
        for words in (("--bind", root, root), ("--make-shared", root)):
            subprocess.run(["mount", *words], check=True)
        stack.callback(subprocess.run, ["umount", "--recursive", "--lazy", root], check=True)
        bundle = runtime.bundle("a", ["sleep", "1000"], {"linux": {"rootfsPropagation": "rslave"}})
        runtime.ok("run", "--detach", "--bundle", bundle, "a")
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", f"{root}/home"], check=True)
        Path(root, "home/later").touch()
        assert runtime.ok("exec", "a", "ls", "/home") == "later\n"
        runtime.ok("delete", "--force", "a")


def test_a_mount_namespace_is_joined_by_its_path(runtime: Runtime) -> None:
    program = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(
        ["unshare", "--mount", *program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        path = f"/proc/{other.pid}/ns/mnt"
        wanted = [{"type": kind, **({"path": path} if kind == "mount" else {})} for kind in KINDS]
        bundle = runtime.bundle("a", ["sleep", "1000"], {"linux": {"namespaces": wanted}})
        runtime.ok("run", "--detach", "--bundle", bundle, "a")
        assert os.readlink(f"/proc/{runtime.pid('a')}/ns/mnt") == os.readlink(path)
        assert runtime.ok("exec", "a", "ls", "/").split() == sorted(os.listdir(runtime.rootfs))
        assert other.stdin is not None
        other.stdin.close()


def test_our_own_mount_namespace_by_its_path_is_as_no_entry(runtime: Runtime) -> None:
    root = os.stat("/").st_ino
    wanted = [{"type": kind, **({"path": "/proc/self/ns/mnt"} if kind == "mount" else {})} for kind in KINDS]
    done = runtime.run("a", ["ls", "/"], {"linux": {"namespaces": wanted}})
    assert done.stdout.split() == sorted(os.listdir(runtime.rootfs)), done.stderr
    assert (mounts(runtime), os.stat("/").st_ino) == ([], root)


def test_a_root_that_is_not_pivoted_into_shows_none_of_the_hosts_mounts(runtime: Runtime) -> None:
    bundle = runtime.bundle("a", ["sh", "-c", "ls /; cut -d' ' -f5 /proc/self/mountinfo"])
    done = runtime("run", "--no-pivot", "--bundle", bundle, "a")
    assert done.code == 0, done.stderr
    *names, root = done.stdout.partition("\n/\n")[0].split()[: len(os.listdir(runtime.rootfs))] + ["/"]
    assert names == sorted(os.listdir(runtime.rootfs))
    shown = set(done.stdout.split()) - set(names)
    assert all(path == root or path.startswith(("/proc", "/dev", "/sys")) for path in shown)


# -- ids and binds


def test_a_user_namespace_needs_no_map_of_id_0(runtime: Runtime) -> None:
    maps = [{"containerID": 1000, "hostID": 100000, "size": 10}]
    for path in (runtime.rootfs, *runtime.rootfs.rglob("*")):
        os.chown(path, 100000, 100000, follow_symlinks=False)
    for path in runtime.rootfs.parents:
        if not path.stat().st_mode & stat.S_IXOTH:
            path.chmod(0o711)  # who is root inside has to pass
    spec = json.loads((runtime.bundle("x", ["true"]) / "config.json").read_text())
    changes = {
        "process": {"user": {"uid": 1000, "gid": 1000}},
        "mounts": [each for each in spec["mounts"] if each["destination"] != "/dev/pts"],  # of group 5
        "linux": {
            "namespaces": [{"type": kind} for kind in (*KINDS, "user")],
            "uidMappings": maps,
            "gidMappings": maps,
        },
    }
    runtime.ok("run", "--detach", "--bundle", runtime.bundle("a", ["sleep", "1000"], changes), "a")
    for args in (["id", "-u"], ["sh", "-c", "touch /tmp/x && stat -c %u /tmp/x"]):
        assert runtime.ok("exec", "a", *args) == "1000\n"


def test_what_an_earlier_mount_put_into_the_root_can_be_bound(runtime: Runtime) -> None:
    (runtime.rootfs / "mnt").mkdir()
    (runtime.rootfs / "mnt/below").touch()
    spec = json.loads((runtime.bundle("x", ["true"]) / "config.json").read_text())
    more = [
        {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/shown", "source": f"{runtime.rootfs}/mnt", "options": ["bind", "ro"]},
    ]
    script = "touch /mnt/new && ls /shown && ! touch /shown/x 2>/dev/null"
    done = runtime.run("a", ["sh", "-c", script], {"mounts": [*spec["mounts"], *more]})
    assert (done.code, done.stdout) == (0, "new\n"), done.stderr
