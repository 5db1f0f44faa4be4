"""commit: images of what containers changed, of one moment, and in order after every crash."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.errors import BadReference, InvalidInput, NotFound
from pycontainer.testing import killpoints
from tests.support import stores
from tests.support.needs import needs

pytestmark = needs("root", "overlay")

_TICKER = "i=0; while true; do i=$((i+1)); echo $i > /srv/a; echo $i > /srv/b; done"


def test_an_image_has_what_the_container_changed(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Container(busybox, ["sleep", "1000"], engine=engine) as container:
        (container.path / "added").mkdir(mode=0o750)
        (container.path / "added/file").write_text("added")
        (container.path / "added/file").chown(5, 6)
        (container.path / "added/other").hardlink_to("/added/file")
        (container.path / "srv/greeting").unlink()
        image = container.commit("made:1", author="somebody", message="for a test")
        assert container.state == "running"
    assert image.tags == ("made:1",)
    assert image.snapshots[:-1] == busybox.snapshots
    assert image.config.author == "somebody"
    assert (image.history()[-1].created_by, image.history()[-1].comment) == ("sleep 1000", "for a test")
    script = "stat -c '%n %u:%g %h %a' /added/file /added; ls /srv"
    told = pc.run(image, ["sh", "-c", script], engine=engine).text
    assert told == "/added/file 5:6 2 644\n/added 0:0 2 750\n"
    image.remove()


def test_a_stopped_container_and_what_is_mounted(engine: pc.Engine, busybox: pc.Image) -> None:
    script = "echo seen > /kept; echo gone > /scratch/file"
    made = pc.Container.create(busybox, ["sh", "-c", script], engine=engine, tmpfs={"/scratch": ""})
    made.start()
    made.wait(30)
    image = made.commit()
    assert image.tags == ()
    assert pc.run(image, ["sh", "-c", "cat /kept; ls /scratch"], engine=engine).text == "seen\n"
    made.remove()
    image.remove()


def test_the_layer_is_compressed_as_asked(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Container(busybox, ["sleep", "1000"], engine=engine) as box:
        for compression, ending in (("plain", "tar"), ("zstd", "tar+zstd")):
            image = box.commit(compression=compression)
            assert image.view.manifest.layers[-1].media_type.endswith(f".{ending}")
            image.remove()


def test_the_configuration_is_the_containers_and_the_changes(engine: pc.Engine, busybox: pc.Image) -> None:
    made = pc.Container.create(
        busybox, ["echo", "run"], env={"A": "1"}, labels={"l": "v"}, user="7", workdir="/srv", engine=engine
    )
    image = made.commit(changes=['ENV B=2 C="$A and more"', "CMD echo $C", "EXPOSE 80"])
    config = image.config.config
    assert {"A=1", "B=2", "C=1 and more"} <= set(config.env)
    assert (config.user, config.working_dir, config.labels["l"]) == ("7", "/srv", "v")
    assert config.exposed_ports == ("80/tcp",)
    assert pc.run(image, engine=engine).text == "1 and more\n"
    for wrong in (["RUN true"], ["CMD"], ["EXPOSE x"], "CMD x"):
        with pytest.raises(InvalidInput):
            made.commit(changes=wrong)
    with pytest.raises(BadReference):
        made.commit("Not/A Name")
    made.remove()
    image.remove()
    with pytest.raises(NotFound):
        made.commit()


def test_a_paused_commit_is_of_one_moment(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Container(busybox, ["sh", "-c", _TICKER], engine=engine) as container:
        while not (container.path / "srv/b").exists():
            pass
        for _ in range(5):
            image = container.commit()
            first, second = (int(text.strip() or 0) for text in _files_of(image, engine))
            # Written one after the other: between the two the container stood still, or not at all.
            assert first - second in (0, 1) or 0 in (first, second)
            assert container.state == "running"
            image.remove()
        image = container.commit(pause=False)
        image.remove()
        container.pause()
        image = container.commit()
        assert container.state == "paused"
        image.remove()


def _files_of(image: pc.Image, engine: pc.Engine) -> list[str]:
    return pc.run(image, ["sh", "-c", "cat /srv/a; echo .; cat /srv/b"], engine=engine).text.split(".")


def test_an_image_can_be_saved_and_comes_back(engine: pc.Engine, busybox: pc.Image, tmp_path: Path) -> None:
    made = pc.Container.create(busybox, engine=engine)
    (made.path / "srv/new").write_text("x" * 100_000)
    image = made.commit("made:2")
    image.save(tmp_path / "image.tar", format="oci-archive")
    with pc.Engine(tmp_path / "other") as other:
        (loaded,) = pc.Image.load(tmp_path / "image.tar", engine=other)
        assert loaded.id == image.id
        assert pc.run(loaded, ["wc", "-c", "/srv/new"], engine=other).text.split()[0] == "100000"
    made.remove()
    image.remove()


def test_devices_sockets_and_attributes(engine: pc.Engine, busybox: pc.Image) -> None:
    made = pc.Container.create(busybox, engine=engine)
    upper = made._directory / "upper"
    os.mkfifo(upper / "fifo")
    os.mknod(upper / "null", stat.S_IFCHR | 0o622, os.makedev(1, 3))
    (upper / "file").write_text("x")
    os.setxattr(upper / "file", "user.note", b"kept")
    (upper / "file").chmod(0o4711)
    image = made.commit()
    again = pc.Container.create(image, engine=engine)
    layer = engine.store.lower_dirs(image.snapshots)[0]
    assert os.getxattr(layer / "file", "user.note") == b"kept"
    assert (again.path / "file").stat().st_mode & 0o7777 == 0o4711
    assert (again.path / "null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO((again.path / "fifo").stat().st_mode)
    for container in (made, again):
        container.remove()
    image.remove()


SETUP = """
import pycontainer as pc
from pycontainer import checkpoints
from pycontainer.errors import PycontainerError
engine = pc.Engine({root!r})
engine.store
engine.helper.start()
box = pc.Container.get("box", engine=engine)
"""
SCRIPT = """
try:
    box.commit("made:1")
except PycontainerError as error:
    print(type(error).__name__, error, flush=True)
    checkpoints.arm(None)
    box.commit("made:1")
engine.close()
"""
STEPS = killpoints.names("commit")
IN_JOB = set(killpoints.names("commit", within="launcher"))
CASES = [(step, victim) for step in STEPS for victim in ("caller", "helper")]
CASES += [(step, "reacher") for step in STEPS if step in IN_JOB]
CASES += [(step, "reacher") for step in killpoints.names("diff")]  # confined: it may signal no other


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, busybox_layout: Path) -> Path:
    root = tmp_path_factory.mktemp("template") / "store"
    with pc.Engine(root) as engine:
        pc.Image.load(busybox_layout, engine=engine)[0].tag("busybox:latest")
        engine.store.sync()
    return root


@pytest.mark.parametrize(("step", "victim"), CASES)
def test_after_a_kill_the_container_goes_on_and_is_committed(
    tmp_path: Path, template: Path, step: str, victim: str
) -> None:
    root = tmp_path / "store"
    subprocess.run(["cp", "-a", template, root], check=True)
    with pc.Engine(root) as engine:
        box = pc.Container.create("busybox", ["sleep", "1000"], name="box", engine=engine)
        box.start()
        (box.path / "new").write_text("new")
    outcome = killpoints.run_killed(
        SCRIPT,
        step,
        victim=victim,  # type: ignore[arg-type]
        setup=SETUP.format(root=str(root)),
        settle_s=10,
    )
    assert outcome.was_reached, f"no process came to {step}: {outcome.stdout}{outcome.stderr}"
    assert outcome.exit_code in (0, -9), outcome.stderr
    with pc.Engine(root) as engine:
        stores.check_whole(engine)
        box = pc.Container.get("box", engine=engine)
        _await_running(box)
        image = box.commit("made:1")
        assert pc.run(image, ["cat", "/new"], engine=engine).text == "new"
        assert box.state == "running"
        box.remove(force=True)
        for made in pc.Image.list(engine=engine):
            made.remove(force=True)
        stores.check_tidy(engine)
    shutil.rmtree(root)


def _await_running(box: pc.Container) -> None:
    """A killed caller's commit may still be at its end; that lets the container go on, too."""
    until = time.monotonic() + 10
    while box.state != "running":
        assert time.monotonic() < until, box.state
        time.sleep(0.01)
