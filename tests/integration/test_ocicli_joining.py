"""The OCI runtime command and namespaces that exist already."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ocicli import Runtime

pytestmark = pytest.mark.needs("root")

MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
KINDS = ("mount", "pid", "network", "ipc", "uts", "cgroup")


@pytest.fixture
def runtime(tmp_path: Path, busybox_rootfs: Path) -> Iterator[Runtime]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        os.chmod(place, 0o711)  # mapped to nobody, the container's root has to pass through
        made = Runtime(tmp_path, Path(shutil.copytree(busybox_rootfs, f"{place}/rootfs", symlinks=True)))
        yield made
        made.clean()


def namespaces(**paths: str) -> dict[str, Any]:
    wanted: list[dict[str, str]] = [{"type": kind} for kind in KINDS if kind not in paths]
    return {
        "linux": {"namespaces": [*wanted, *({"type": kind, "path": path} for kind, path in paths.items())]}
    }


@pytest.fixture
def target(runtime: Runtime) -> int:
    """The first process of a container with user ids of its own."""
    changes = namespaces()
    changes["linux"]["namespaces"].append({"type": "user"})
    changes["linux"].update(uidMappings=MAPS, gidMappings=MAPS)
    runtime.ok("run", "--detach", "--bundle", runtime.bundle("target", ["sleep", "1000"], changes), "target")
    return runtime.pid("target")


def test_a_user_namespace_is_joined_by_its_path_and_the_others_are_made_in_it(
    runtime: Runtime, target: int
) -> None:
    script = "readlink /proc/self/ns/user; cat /proc/self/uid_map; id -u; stat -f -c %T /proc; echo $$"
    done = runtime.run("box", ["sh", "-c", script], namespaces(user=f"/proc/{target}/ns/user"))
    assert done.code == 0, done.stderr
    link, *ids, uid, kind, pid = done.stdout.split()
    assert link == os.readlink(f"/proc/{target}/ns/user")
    assert (ids, uid, kind, pid) == (["0", "100000", "65536"], "0", "proc", "1")


def test_every_namespace_of_a_container_is_joined_with_its_user_namespace(
    runtime: Runtime, target: int
) -> None:
    files = {"network": "net", "ipc": "ipc", "uts": "uts", "user": "user"}
    paths = {kind: f"/proc/{target}/ns/{file}" for kind, file in files.items()}
    changes = namespaces(**paths)
    changes["hostname"] = None
    script = "; ".join(f"readlink /proc/self/ns/{file}" for file in files.values())
    done = runtime.run("box", ["sh", "-c", script], changes)
    assert done.stdout.split() == [os.readlink(path) for path in paths.values()], done.stderr


def test_a_new_user_namespace_goes_with_others_that_exist(runtime: Runtime) -> None:
    runtime.ok("run", "--detach", "--bundle", runtime.bundle("other", ["sleep", "1000"]), "other")
    paths = {
        kind: f"/proc/{runtime.pid('other')}/ns/{file}" for kind, file in (("network", "net"), ("ipc", "ipc"))
    }
    changes = namespaces(**paths)
    changes["linux"]["namespaces"].append({"type": "user"})
    changes["linux"].update(uidMappings=MAPS, gidMappings=MAPS)
    mounts = json.loads((runtime.bundle("x", ["true"]) / "config.json").read_text())["mounts"]
    # Neither may be mounted where the namespace they show is another user namespace's.
    changes["mounts"] = [each for each in mounts if each["type"] not in ("sysfs", "mqueue")]
    script = "readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; cat /proc/self/uid_map"
    done = runtime.run("box", ["sh", "-c", script], changes)
    assert done.stdout.split() == [*map(os.readlink, paths.values()), "0", "100000", "65536"], done.stderr


def test_what_joins_is_created_started_and_entered_as_any_other(runtime: Runtime, target: int) -> None:
    changes = namespaces(user=f"/proc/{target}/ns/user")
    runtime.ok("create", "--bundle", runtime.bundle("box", ["sleep", "1000"], changes), "box")
    runtime.ok("start", "box")
    assert runtime.ok("exec", "box", "cat", "/proc/self/uid_map").split() == ["0", "100000", "65536"]
    assert os.stat(f"/proc/{runtime.pid('box')}").st_uid == 100000


def test_a_path_that_is_no_user_namespace_is_refused_and_leaves_nothing(runtime: Runtime) -> None:
    done = runtime.run("box", ["true"], namespaces(user="/proc/self/ns/net"))
    assert done.code != 0
    assert "namespace" in done.stderr
    assert runtime.ok("list", "--quiet") == ""


def test_a_bind_mount_is_mapped_as_the_user_namespace_that_is_joined(
    runtime: Runtime, target: int, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "file").touch()
    os.chown(shared / "file", 5, 6)
    (runtime.rootfs / "shared").mkdir(exist_ok=True)  # which nobody who is mapped could make
    mount = {"destination": "/shared", "source": str(shared), "options": ["rbind", "idmap"]}
    mounts = [*json.loads((runtime.bundle("x", ["true"]) / "config.json").read_text())["mounts"], mount]
    changes = {**namespaces(user=f"/proc/{target}/ns/user"), "mounts": mounts}
    done = runtime.run("box", ["stat", "-c", "%u:%g", "/shared/file"], changes)
    assert (done.stdout, done.stderr) == ("5:6\n", "")
