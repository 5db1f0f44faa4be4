"""Containers that return after a reboot, the order in which several start, and the unit for systemd."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import errors

pytestmark = pytest.mark.needs("root", "overlay")

FOREVER = ["sleep", "1000"]


def reboot(engine: pc.Engine) -> None:
    """Leave the containers as a reboot does: nothing of them runs, and what is written is of another boot."""
    for box in pc.Container.list(all=True, engine=engine):
        status = engine.store.container_dir(box.id) / "status.json"
        if not status.exists():
            continue
        fields = json.loads(status.read_text())
        if box.state in ("running", "restarting"):
            os.kill(fields["monitor_pid"], signal.SIGKILL)
            box.wait(timeout=20)
        fields["boot_id"] = "00000000-0000-0000-0000-000000000000"
        status.write_text(json.dumps(fields))
    engine.sweep_cgroups()


def command(engine: pc.Engine, *words: str) -> list[str]:
    """Run the command line in a process of its own; the lines it prints."""
    ran = subprocess.run(
        [sys.executable, "-m", "pycontainer", words[0], "--root", str(engine.root), *words[1:]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def states(engine: pc.Engine) -> dict[str, str]:
    return {box.name: box.state for box in pc.Container.list(all=True, engine=engine)}


def remove_all(engine: pc.Engine) -> None:
    for box in pc.Container.list(all=True, engine=engine):
        box.remove(force=True)


def test_after_a_reboot_those_run_whose_policy_says_so(engine: pc.Engine, busybox: pc.Image) -> None:
    for name, policy, is_stopped in [
        ("always", "always", False),
        ("always-stopped", "always", True),
        ("unless", "unless-stopped", False),
        ("unless-stopped", "unless-stopped", True),
        ("failure", "on-failure", False),
        ("no", "no", False),
    ]:
        box = pc.Container.create(busybox, FOREVER, name=name, restart=policy, engine=engine)
        box.start()
        if is_stopped:
            box.stop(timeout=0)
    pc.Container.create(busybox, FOREVER, name="never-started", restart="always", engine=engine)
    reboot(engine)
    assert set(states(engine).values()) == {"exited", "created"}
    assert command(engine, "start-all") == ["always", "always-stopped", "unless"]
    assert states(engine) == {
        "always": "running",
        "always-stopped": "running",
        "unless": "running",
        "unless-stopped": "exited",
        "failure": "exited",
        "no": "exited",
        "never-started": "created",
    }
    assert command(engine, "start-all") == []  # what runs is left alone
    remove_all(engine)


def test_a_shutdown_is_no_stop_by_hand(engine: pc.Engine, busybox: pc.Image) -> None:
    for name in ("one", "two"):
        pc.Container.create(
            busybox, FOREVER, name=name, restart="unless-stopped", stop_timeout=0, engine=engine
        )
    pc.Container.start_all(["one", "two"], engine=engine)
    pc.Container.get("two", engine=engine).stop(timeout=0)
    assert command(engine, "stop-all") == []
    assert states(engine) == {"one": "exited", "two": "exited"}
    reboot(engine)
    assert command(engine, "start-all") == ["one"]
    remove_all(engine)


def test_only_the_named_ones_start(engine: pc.Engine, busybox: pc.Image) -> None:
    for name in ("one", "two"):
        pc.Container.create(busybox, FOREVER, name=name, restart="always", engine=engine).start()
    reboot(engine)
    assert command(engine, "start-all", "two") == ["two"]
    remove_all(engine)


def test_a_container_starts_after_the_one_whose_namespaces_it_shares(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    pc.Container.create(busybox, FOREVER, name="db", engine=engine)
    pc.Container.create(busybox, FOREVER, name="app", network="container:db", engine=engine)
    pc.Container.create(
        busybox, FOREVER, name="sidecar", ipc="private", network="container:app", engine=engine
    )
    started = pc.Container.start_all(["sidecar", "app", "db"], engine=engine)
    assert [box.name for box in started] == ["db", "app", "sidecar"]
    links = {os.readlink(f"/proc/{box.pid}/ns/net") for box in started}
    assert len(links) == 1
    remove_all(engine)


def test_a_missing_container_is_named_and_the_others_are_started(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    pc.Container.create(busybox, FOREVER, name="db", engine=engine)
    pc.Container.create(busybox, FOREVER, name="app", network="container:db", engine=engine)
    pc.Container.create(busybox, FOREVER, name="other", engine=engine)
    with pytest.raises(errors.WrongState, match="db"):
        pc.Container.start_all(["app", "other"], engine=engine)  # db is not asked for, and does not run
    assert states(engine)["other"] == "running"
    pc.Container.get("db", engine=engine).remove()
    with pytest.raises(errors.NotFound, match=r"app has network='container:db'.*create that one first"):
        pc.Container.start_all(["app"], engine=engine)
    remove_all(engine)


def test_a_circle_of_namespaces_is_named(engine: pc.Engine, busybox: pc.Image) -> None:
    pc.Container.create(busybox, FOREVER, name="a", engine=engine)
    pc.Container.create(busybox, FOREVER, name="b", network="container:a", engine=engine)
    pc.Container.get("a", engine=engine).remove()
    pc.Container.create(busybox, FOREVER, name="a", network="container:b", engine=engine)
    with pytest.raises(errors.InvalidOption, match="a -> b -> a"):
        pc.Container.start_all(["a", "b"], engine=engine)
    remove_all(engine)


@pytest.mark.parametrize("place", ["store", 'a store with $HOME, 50% "quoted"'])
def test_the_unit_is_one_that_systemd_takes(tmp_path: Path, place: str) -> None:
    with pc.Engine(tmp_path / place) as engine:
        unit = engine.systemd_unit()
    path = tmp_path / "pycontainer-test.service"
    path.write_text(unit)
    parsed = configparser.RawConfigParser(strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(path)
    assert parsed["Service"]["Type"] == "oneshot"
    assert parsed["Service"]["ExecStart"].startswith(sys.executable)
    assert parsed["Install"]["WantedBy"] == "multi-user.target"
    if shutil.which("systemd-analyze"):
        verified = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        about_it = [line for line in verified.stderr.splitlines() if "pycontainer-test" in line]
        assert about_it == []


def test_the_command_of_the_unit_starts_the_containers(engine: pc.Engine, busybox: pc.Image) -> None:
    pc.Container.create(busybox, FOREVER, name="box", restart="always", engine=engine).start()
    reboot(engine)
    unit = command(engine, "systemd", "box")
    start = next(line for line in unit if line.startswith("ExecStart=")).partition("=")[2].split()
    places = [line.partition("=")[2] for line in unit if line.startswith("Environment=")]
    environment = dict(place.strip('"').split("=", 1) for place in places)
    ran = subprocess.run(
        start, env=environment, capture_output=True, text=True, timeout=60, check=False, cwd="/"
    )
    assert ran.stdout == "box\n", ran.stderr
    assert states(engine) == {"box": "running"}
    remove_all(engine)


def test_a_unit_for_a_container_that_does_not_return_is_refused(engine: pc.Engine, busybox: pc.Image) -> None:
    pc.Container.create(busybox, FOREVER, name="box", engine=engine)
    with pytest.raises(errors.InvalidOption, match="does not return after a reboot"):
        engine.systemd_unit("box")
    pc.Container.get("box", engine=engine).update(restart="unless-stopped")
    assert " box\n" in engine.systemd_unit("box")
    remove_all(engine)
