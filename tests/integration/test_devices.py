"""Devices given to containers: by path, by directory, by rule, by name; and those that are not."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

import pycontainer as pc
from pycontainer import errors

pytestmark = pytest.mark.needs("root", "overlay")

# One that is not among every container's devices, and that root without capabilities may open.
DEVICE = next((path for path in ("/dev/fuse", "/dev/loop-control", "/dev/kvm") if os.path.exists(path)), "")
NUMBERS = (os.major(os.stat(DEVICE).st_rdev), os.minor(os.stat(DEVICE).st_rdev)) if DEVICE else (0, 0)
MAKE = f"mknod /k c {NUMBERS[0]} {NUMBERS[1]}"
OPEN = f"{MAKE} && dd if=/k of=/dev/null bs=1 count=0 2>&1"


def sh(engine: pc.Engine, image: pc.Image, command: str, **options: Any) -> pc.RunResult:
    return pc.run(image, ["sh", "-c", command], engine=engine, **options)


def test_a_device_that_was_not_given_can_be_made_but_not_opened(engine: pc.Engine, busybox: pc.Image) -> None:
    refused = sh(engine, busybox, OPEN)
    assert refused.exit_code == 1
    assert "Operation not permitted" in refused.text


def test_a_rule_lets_the_device_be_used_and_no_other(engine: pc.Engine, busybox: pc.Image) -> None:
    assert sh(engine, busybox, OPEN, device_cgroup_rules=[f"c {NUMBERS[0]}:{NUMBERS[1]} rm"]).exit_code == 0
    writing = f"{MAKE} && : > /k"
    assert (
        sh(engine, busybox, writing, device_cgroup_rules=[f"c {NUMBERS[0]}:{NUMBERS[1]} rm"]).exit_code == 1
    )
    assert sh(engine, busybox, writing, device_cgroup_rules=[f"c {NUMBERS[0]}:* rwm"]).exit_code == 0
    assert sh(engine, busybox, OPEN, device_cgroup_rules=[f"b {NUMBERS[0]}:{NUMBERS[1]} rwm"]).exit_code == 1


@pytest.mark.parametrize(
    ("given", "inside", "can_read", "can_write"),
    [
        (DEVICE, DEVICE, True, True),
        (f"{DEVICE}:/dev/own/toy", "/dev/own/toy", True, True),
        (f"{DEVICE}:/dev/toy0:r", "/dev/toy0", True, False),
        (f"{DEVICE}:w", DEVICE, False, True),
    ],
)
def test_a_device_by_path_has_its_place_and_its_access(
    engine: pc.Engine, busybox: pc.Image, given: str, inside: str, can_read: bool, can_write: bool
) -> None:
    script = (
        f"test -c {inside} || exit 9; dd if={inside} of=/dev/null bs=1 count=0 2>/dev/null && echo read;"
        f" (: > {inside}) 2>/dev/null && echo write"
    )
    seen = sh(engine, busybox, script, devices=[given]).text.split()
    assert seen == ["read"] * can_read + ["write"] * can_write


@pytest.fixture
def device_directory() -> Iterator[Path]:
    """A directory of the host's /dev with two devices, one below, a link and a plain file."""
    directory = Path(f"/dev/pycontainer-test-{os.getpid()}")
    directory.mkdir()
    (directory / "sub").mkdir()
    os.mknod(directory / "zero", stat.S_IFCHR | 0o640, os.makedev(1, 5))
    os.mknod(directory / "sub/full", stat.S_IFCHR | 0o600, os.makedev(1, 7))
    (directory / "link").symlink_to("/dev/kmsg")
    (directory / "file").write_text("x")
    yield directory
    for path in ("zero", "sub/full", "link", "file"):
        (directory / path).unlink()
    (directory / "sub").rmdir()
    directory.rmdir()


def test_a_directory_gives_every_device_in_it_and_nothing_else(
    engine: pc.Engine, busybox: pc.Image, device_directory: Path
) -> None:
    script = "cd /dev/given && find . ! -type d | sort && stat -c %a zero sub/full && head -c 1 zero | wc -c"
    seen = sh(engine, busybox, script, devices=[f"{device_directory}:/dev/given:rw"])
    assert seen.check().text.split() == ["./sub/full", "./zero", "640", "600", "1"]


@pytest.mark.parametrize(
    "given", ["/dev/none-there", "/etc/passwd", "/dev/../etc", "/dev/null:etc", "/dev/null::x"]
)
def test_what_is_no_device_is_refused(engine: pc.Engine, busybox: pc.Image, given: str) -> None:
    with pytest.raises(errors.InvalidOption, match="device"):
        sh(engine, busybox, "true", devices=[given])


class TestByName:
    @pytest.fixture
    def place(self, tmp_path: Path, engine: pc.Engine, monkeypatch: pytest.MonkeyPatch) -> Path:
        host = attrs.evolve(engine.host, device_directories=(str(tmp_path / "cdi"),))
        monkeypatch.setattr(engine, "_host", host)
        (tmp_path / "cdi").mkdir()
        return tmp_path

    def write(self, place: Path, **edits: Any) -> None:
        document = {
            "cdiVersion": "0.6.0",
            "kind": "acme.com/toy",
            "devices": [{"name": "all", "containerEdits": edits}],
        }
        (place / "cdi/toy.json").write_text(json.dumps(document))

    def test_its_nodes_mounts_variables_and_groups_are_there(
        self, engine: pc.Engine, busybox: pc.Image, place: Path
    ) -> None:
        (place / "lib").mkdir()
        (place / "lib/note").write_text("driver\n")
        self.write(
            place,
            deviceNodes=[{"path": "/dev/toy0", "hostPath": DEVICE, "permissions": "r"}],
            mounts=[{"hostPath": str(place / "lib"), "containerPath": "/opt/toy", "options": ["ro", "bind"]}],
            env=["TOY=here"],
            additionalGids=[4242],
        )
        script = (
            "dd if=/dev/toy0 of=/dev/null bs=1 count=0 2>/dev/null && cat /opt/toy/note && echo $TOY; id -G;"
            "(: > /dev/toy0) 2>/dev/null || echo sealed; touch /opt/toy/x 2>/dev/null || echo sealed"
        )
        seen = sh(engine, busybox, script, devices=["acme.com/toy=all"])
        assert seen.text.split() == ["driver", "here", "0", "10", "4242", "sealed", "sealed"]
        named = sh(engine, busybox, "id -G", devices=["acme.com/toy=all"], user="web", group_add=["44"])
        assert {"4242", "1000", "44"} <= set(named.text.split())
        asked: dict[str, Any] = {"devices": ["acme.com/toy=all"], "user": "web", "group_add": ["44"]}
        with pc.Container(busybox, ["sleep", "100"], engine=engine, **asked) as box:
            assert box.exec(["id", "-G"]).stdout.split() == named.stdout.split()

    def test_a_hook_sees_the_root_and_the_state_and_nothing_of_the_image(
        self, engine: pc.Engine, busybox: pc.Image, place: Path
    ) -> None:
        hook = place / "hook"
        hook.write_text(
            "#!/bin/sh\n"
            f"cat > {place}/state\nenv > {place}/env\nls /proc/self/fd > {place}/fds\npwd > {place}/pwd\n"
            f'bundle=$(sed -n \'s/.*"bundle": "\\([^"]*\\)".*/\\1/p\' {place}/state)\n'
            "echo made > $bundle/rootfs/from-hook\n"
            f"stat -c %a $bundle/config.json > {place}/mode\n"
        )
        hook.chmod(0o755)
        self.write(
            place,
            hooks=[{"hookName": "createContainer", "path": str(hook), "env": ["ONLY=this"]}],
        )
        seen = sh(
            engine,
            busybox,
            "cat /from-hook",
            devices=["acme.com/toy=all"],
            env={"LD_PRELOAD": "/evil.so", "SECRET": "x"},
            workdir="/tmp",
        )
        assert seen.check().text == "made\n"
        state = json.loads((place / "state").read_text())
        assert (state["status"], state["bundle"][-64:]) == ("creating", seen.container_id)
        assert (place / "mode").read_text() == "600\n"
        variables = {line.partition("=")[0] for line in (place / "env").read_text().splitlines()}
        assert variables <= {"ONLY", "PWD", "SHLVL", "_", "OLDPWD"}
        assert (place / "pwd").read_text() == "/\n"
        assert set((place / "fds").read_text().split()) <= {"0", "1", "2", "3", "10", "255"}

    def test_a_hook_that_fails_ends_the_start_with_its_words(
        self, engine: pc.Engine, busybox: pc.Image, place: Path
    ) -> None:
        hook = place / "hook"
        hook.write_text("#!/bin/sh\necho no such toy\nexit 3\n")
        hook.chmod(0o755)
        self.write(place, hooks=[{"hookName": "createContainer", "path": str(hook)}])
        with pytest.raises(
            errors.LaunchError, match=r"createContainer hook #0: .* code 3: no such toy"
        ) as caught:
            sh(engine, busybox, "true", devices=["acme.com/toy=all"])
        assert (caught.value.step, caught.value.exit_code) == ("hooks", 125)

    def test_a_name_that_nobody_describes_is_not_found(
        self, engine: pc.Engine, busybox: pc.Image, place: Path
    ) -> None:
        with pytest.raises(errors.NotFound, match=r"acme\.com/toy=9"):
            sh(engine, busybox, "true", devices=["acme.com/toy=9"])
        with pytest.raises(errors.NotFound, match="no CDI specification describes GPUs"):
            sh(engine, busybox, "true", gpus="all")
