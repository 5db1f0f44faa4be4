"""Engines that have systemd make the containers' cgroups, and those on hosts where it cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.engine.state import await_tidied
from pycontainer.launcher import status
from pycontainer.runtime import HostFacts
from tests.support.patience import patient

pytestmark = pytest.mark.needs("root", "overlay")

FOREVER = ["sleep", "1000"]
MIB = 1 << 20
HAS_SYSTEMD = HostFacts.detect().has_systemd and HostFacts.detect().cgroups.mode == "v2"
with_systemd = pytest.mark.skipif(
    not HAS_SYSTEMD, reason="this needs systemd on cgroup version 2: nox -s guest_suite"
)


@pytest.fixture
def scoped(warm_engine: tuple[pc.Engine, pc.Image]) -> Iterator[pc.Engine]:
    """An engine on the same store whose containers are scopes; every container is gone afterwards."""
    with pc.Engine(warm_engine[0].root, cgroup_manager="systemd") as made:
        yield made
        for container in pc.Container.list(all=True, engine=made):
            container.remove(force=True)


@pytest.fixture
def plain(scoped: pc.Engine) -> Iterator[pc.Engine]:
    """An engine on that store which makes the cgroups itself, whatever the environment says."""
    with pc.Engine(scoped.root, cgroup_manager="cgroupfs") as made:
        yield made


def unit_of(box: pc.Container) -> str:
    return f"pycontainer-{box._engine.store_tag}-{box.id}.scope"


def shown(box: pc.Container, *names: str) -> list[str]:
    """Properties of the container's scope, as systemd has them."""
    command = ["systemctl", "show", unit_of(box), f"--property={','.join(names)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=patient(30))
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    return [found[name] for name in names]


def held(box: pc.Container, name: str) -> str:
    """What the kernel holds in a file of the container's cgroup."""
    place = Path(f"/proc/{box.pid}/cgroup").read_text().strip().removeprefix("0::")
    return Path(f"/sys/fs/cgroup{place}/{name}").read_text().strip()


def reload() -> None:
    subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=patient(60))


def is_gone(box: pc.Container) -> bool:
    return shown(box, "LoadState") == ["not-found"] and not os.path.exists(
        f"/sys/fs/cgroup/system.slice/{unit_of(box)}"
    )


@with_systemd
def test_limits_and_their_updates_are_systemds_and_the_kernels(scoped: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, memory="64m", pids_limit=50, cpus=0.5, engine=scoped)
    box.start()
    place = Path(f"/proc/{box.pid}/cgroup").read_text()
    assert place == f"0::/system.slice/{unit_of(box)}\n"
    assert shown(box, "ActiveState", "Slice", "Delegate") == ["active", "system.slice", "yes"]
    assert shown(box, "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec") == [str(64 * MIB), "50", "500ms"]
    assert [held(box, name) for name in ("memory.max", "pids.max")] == [str(64 * MIB), "50"]
    assert held(box, "cpu.max") == "50000 100000"
    box.update(memory="96m", memory_swap="96m", pids_limit=None, cpus=None)
    reload()
    assert shown(box, "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec") == [
        str(96 * MIB),
        "infinity",
        "infinity",
    ]
    assert [held(box, name) for name in ("memory.max", "pids.max")] == [str(96 * MIB), "max"]
    assert held(box, "cpu.max") == "max 100000"
    assert pc.info(engine=scoped)["CgroupDriver"] == "systemd"


@with_systemd
def test_what_is_done_to_a_container_is_done_to_its_scope(scoped: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, memory="64m", engine=scoped)
    box.start()
    with box.popen(["sleep", "1000"]) as further:
        assert f"/system.slice/{unit_of(box)}/" in Path(f"/proc/{further.pid}/cgroup").read_text()
        box.pause()
        assert (box.state, held(box, "cgroup.freeze")) == ("paused", "1")
        box.unpause()
        assert box.stats().pids == 2
        assert box.stats().memory_limit_bytes == 64 * MIB
        further.kill()
    refused = box.exec(["sh", "-c", "mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg"])
    assert b"not permitted" in refused.stderr
    box.stop(timeout=0)
    await_tidied(box._directory)
    assert is_gone(box)
    box.start()
    assert shown(box, "ActiveState") == ["active"]
    box.remove(force=True)
    assert is_gone(box)


@with_systemd
def test_a_run_that_ends_and_one_that_cannot_begin_leave_no_scope(
    scoped: pc.Engine, busybox: pc.Image
) -> None:
    assert pc.run(busybox, ["cat", "/proc/self/cgroup"], engine=scoped).text == "0::/\n"
    with pytest.raises(errors.LaunchError):
        pc.run(busybox, ["no-such-program"], engine=scoped)
    listed = subprocess.run(
        ["systemctl", "list-units", "--all", "--plain", "--no-legend", "pycontainer-*"],
        capture_output=True, text=True, check=True, timeout=patient(30),
    )  # fmt: skip
    assert listed.stdout == ""


@with_systemd
def test_a_scope_goes_when_its_maker_or_its_monitor_is_killed(scoped: pc.Engine, busybox: pc.Image) -> None:
    text = (
        "import sys, time, pycontainer as pc\n"
        f"engine = pc.Engine({str(scoped.root)!r}, cgroup_manager='systemd')\n"
        "box = pc.Container('busybox', ['sleep', '1000'], name='doomed', engine=engine)\n"
        "box.__enter__(); print(box.id, flush=True); time.sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline()
        box = pc.Container.get("doomed", engine=scoped)
        caller.kill()
    with suppress(errors.NotFound):
        box.wait(patient(10), condition="removed")
    assert pc.Container.list(all=True, engine=scoped) == []
    assert is_gone(box)

    box = pc.Container.create(busybox, FOREVER, engine=scoped)
    box.start()
    fields = status.read(str(box._directory))
    assert fields is not None
    os.kill(fields["monitor_pid"], signal.SIGKILL)
    box.wait(timeout=patient(10))
    box.start()
    assert shown(box, "ActiveState") == ["active"]
    box.remove(force=True)
    assert is_gone(box)


@with_systemd
def test_an_engine_with_the_other_manager_goes_on_with_what_runs(
    scoped: pc.Engine, plain: pc.Engine, busybox: pc.Image
) -> None:
    box = pc.Container.create(busybox, FOREVER, memory="64m", engine=scoped)
    box.start()
    other = pc.Container.get(box.id, engine=plain)
    assert other.exec(["cat", "/proc/1/cgroup"]).text == "0::/\n"
    other.update(memory="96m", memory_swap="96m")
    assert shown(box, "MemoryMax") == [held(box, "memory.max")] == [str(96 * MIB)]
    assert other.spec.linux is not None
    assert str(other.spec.linux.cgroups_path).startswith("system.slice:")
    other.restart(timeout=0)
    assert Path(f"/proc/{box.pid}/cgroup").read_text().startswith("0::/pycontainer/")
    assert is_gone(box)
    assert box.exec(["cat", "/proc/1/cgroup"]).text == "0::/\n"
    box.remove(force=True)


@with_systemd
def test_the_parent_is_a_slice(scoped: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, cgroup_parent="jobs-night.slice", engine=scoped)
    box.start()
    place = Path(f"/proc/{box.pid}/cgroup").read_text()
    assert place == f"0::/jobs.slice/jobs-night.slice/{unit_of(box)}\n"
    box.remove(force=True)
    assert shown(box, "LoadState") == ["not-found"]
    subprocess.run(["systemctl", "stop", "jobs.slice"], check=True, timeout=patient(30))
    with pytest.raises(errors.InvalidOption, match=r'cgroup_parent=./jobs.*"jobs\.slice"'):
        pc.run(busybox, ["true"], cgroup_parent="/jobs", engine=scoped)


def test_a_slice_is_refused_where_no_systemd_is_asked(plain: pc.Engine, busybox: pc.Image) -> None:
    with pytest.raises(errors.InvalidOption, match=r'cgroup_parent=.jobs\.slice.*"/jobs"'):
        pc.run(busybox, ["true"], cgroup_parent="jobs.slice", engine=plain)


@pytest.mark.skipif(HAS_SYSTEMD, reason="this host has systemd and cgroup version 2")
def test_systemd_is_refused_where_it_cannot_be_relied_on(engine: pc.Engine, busybox: pc.Image) -> None:
    with (
        pc.Engine(engine.root, cgroup_manager="systemd") as scoped,
        pytest.raises(errors.Unsupported, match=r'cgroup manager systemd.*cgroup_manager="cgroupfs"'),
    ):
        pc.run(busybox, ["true"], engine=scoped)
    assert pc.Container.list(all=True, engine=engine) == []


def test_another_word_for_the_manager_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidOption, match=r"cgroup_manager='runc'.*cgroupfs, systemd"):
        pc.Engine(tmp_path, cgroup_manager="runc")
