"""The check of a store: each kind of damage is found, named, and repaired where that can be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pycontainer as pc
from tests.support import stores

pytestmark = pytest.mark.needs("root", "overlay")


@pytest.fixture
def engine(tmp_path: Path, busybox_layout: Path) -> Iterator[pc.Engine]:
    with pc.Engine(tmp_path / "store") as made:
        pc.Image.load(busybox_layout, engine=made)[0].tag("busybox:latest")
        yield made
        stores.empty(made)


@pytest.fixture
def top(engine: pc.Engine) -> Path:
    """The directory of the image's topmost layer, which has srv/greeting."""
    [record] = engine.store.state.images.list()
    return engine.store.snapshots.path(record.snapshots[-1])


def overwrite(file: Path) -> None:
    """Same size and times, other bytes."""
    found = file.stat()
    file.write_bytes(b"HELLO"[: found.st_size] + file.read_bytes()[5:])
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))


def add(file: Path) -> None:
    file.with_name("intruder").touch()


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": overwrite,
    "mode": lambda file: file.chmod(0o4755),
    "owner": lambda file: os.chown(file, 7, 7),
    "gone": Path.unlink,
    "more": add,
    "attribute": lambda file: os.setxattr(file, "user.x", b"1"),
}


def test_a_layer_that_was_changed_is_found_and_made_anew(engine: pc.Engine, top: Path) -> None:
    for name, change in CHANGES.items():
        change(top / "srv/greeting")
        assert [damage.is_repaired for damage in engine.check(repair=True)] == [True], name
    os.rename(top.parent, engine.store.root / "aside")
    assert ["it is missing" in damage.problem for damage in engine.check(repair=True)] == [True]
    engine.store.remove_tree(engine.store.root / "aside")
    assert engine.check() == ()
    assert pc.run("busybox", ["cat", "/srv/greeting"], engine=engine).text == "hello from the second layer\n"


def test_a_layer_that_a_container_runs_on_is_left_until_it_is_stopped(engine: pc.Engine, top: Path) -> None:
    with pc.Container("busybox", ["sleep", "1000"], name="box", engine=engine) as box:
        assert engine.check() == ()
        overwrite(top / "srv/greeting")
        [damage] = engine.check(repair=True)
        assert (damage.kind, damage.name, damage.is_repaired) == ("layer", top.parent.name, False)
        assert damage.images == ("docker.io/library/busybox:latest",)
        assert "stop container box" in damage.problem
        box.stop(timeout=0)
        [damage] = engine.check(repair=True)
        assert damage.is_repaired


def test_a_damaged_blob_is_named_with_its_images_and_fetched_again_by_the_next_pull(
    engine: pc.Engine, top: Path
) -> None:
    with pc.Registry() as registry:
        name = f"{registry.address}/busybox:1"
        image = pc.Image.get("busybox", engine=engine)
        image.push(name)
        image.tag(name)
        [record] = engine.store.state.images.list()
        layer = record.layers[-1].digest
        path = engine.store.content.path(layer)
        path.chmod(0o600)
        overwrite(path)
        [damage] = engine.check()
        assert (damage.kind, damage.name) == ("blob", layer)
        assert set(damage.images) == {"docker.io/library/busybox:latest", name}
        assert "pull or load its images again" in damage.problem
        assert path.exists()  # only looked at
        engine.check(repair=True)
        assert not path.exists()
        pc.Image.pull(name, engine=engine)
        assert engine.check() == ()


def test_the_command_tells_repairs_and_ends_with_what_is_left(
    engine: pc.Engine, top: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pycontainer.cli import invoke

    def check(*flags: str) -> tuple[int, str]:
        code = invoke(["--root", str(engine.root), "system", "check", *flags])
        return code, capsys.readouterr().out

    assert check() == (0, "All blobs and layers are as they came.\n")
    overwrite(top / "srv/greeting")
    code, out = check()
    assert code == 1
    assert f"layer {top.parent.name} of docker.io/library/busybox:latest: its files have changed" in out
    code, out = check("--repair")
    assert code == 0
    assert out.endswith("(repaired)\n")
