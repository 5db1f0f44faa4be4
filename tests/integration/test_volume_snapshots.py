"""Snapshots of volumes: whole, unchanged by what comes later, restored at once; blocks that are shared."""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import errors

pytestmark = pytest.mark.needs("root", "overlay")


@pytest.fixture(autouse=True)
def none_left(engine: pc.Engine) -> Iterator[None]:
    """Whatever volumes a test leaves are removed, and nothing stays of them."""
    yield
    for container in pc.Container.list(all=True, engine=engine):
        container.remove(force=True, volumes=True)
    for volume in pc.Volume.list(engine=engine):
        volume.remove()
    top = engine.root / "volumes"
    assert not top.exists() or list(top.iterdir()) == []


@pytest.fixture
def data(engine: pc.Engine) -> pc.Volume:
    made = pc.Volume.create("data", engine=engine)
    (made.path / "sub").mkdir()
    (made.path / "sub/file").write_text("one")
    return made


def test_a_container_holds_its_volumes_only_until_it_is_known_to_run(
    data: pc.Volume, engine: pc.Engine, busybox: pc.Image
) -> None:
    # Else one that has ended would keep them for as long as its monitor takes to put things away.
    with pc.Container.create(busybox, ["sleep", "60"], volumes={"data": "/data"}, engine=engine) as box:
        box.start()
        top = os.open(data.mountpoint.parent, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(top, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(top)


def test_a_snapshot_keeps_what_was_there_and_is_restored(
    data: pc.Volume, engine: pc.Engine, busybox: pc.Image
) -> None:
    os.chown(data.mountpoint, 12, 34)
    (data.path / "twin").hardlink_to("/sub/file")
    before = data.snapshot("before")
    script = "cd /data; rm -r sub; echo two > twin; touch new; chown 56 ."
    pc.run(busybox, ["sh", "-ec", script], volumes={"data": "/data"}, engine=engine).check()
    after = data.snapshot()
    assert [snapshot.name for snapshot in data.snapshots] == ["before", after.name]
    assert before.created_at <= after.created_at
    data.restore("before")
    assert sorted(os.listdir(data.mountpoint)) == ["sub", "twin"]
    assert (data.path / "sub/file").read_text() == "one"
    assert (data.path / "sub/file").stat().st_nlink == 2
    assert (data.mountpoint.stat().st_uid, data.mountpoint.stat().st_gid) == (12, 34)
    after.restore()
    shown = pc.run(
        busybox, ["sh", "-c", "ls /data; cat /data/twin"], volumes={"data": "/data"}, engine=engine
    )
    assert shown.text == "new\ntwin\ntwo\n"
    assert before.clone("old").path.joinpath("sub/file").read_text() == "one"
    stream = io.BytesIO()
    before.export(stream)
    with tarfile.open(fileobj=io.BytesIO(stream.getvalue())) as archive:
        assert sorted(archive.getnames()) == ["sub", "sub/file", "twin"]
    before.remove()
    assert data.snapshots == [after]
    assert sorted(os.listdir(data.mountpoint.parent)) == ["_data", "snapshots"]


def test_what_is_not_there_or_cannot_be_is_named(data: pc.Volume, engine: pc.Engine) -> None:
    made = data.snapshot("a")
    with pytest.raises(errors.AlreadyExists, match="'a'"):
        data.snapshot("a")
    for name in ("", "../x", "a/b", ".hidden"):
        with pytest.raises(errors.InvalidOption, match="is no name"):
            data.snapshot(name)
        with pytest.raises(errors.NotFound):
            data.restore(name)
    made.remove()
    for use in (
        made.remove,
        made.restore,
        made.clone,
        lambda: made.export(io.BytesIO()),
        lambda: made.created_at,
    ):
        with pytest.raises(errors.NotFound, match="data has no snapshot 'a'"):
            use()
    memory = pc.Volume.create("memory", options={"type": "tmpfs"}, engine=engine)
    with pytest.raises(errors.Unsupported, match="memory has options"):
        memory.snapshot("a")
    memory.remove()
    data.remove()
    for gone in (lambda: data.snapshot("b"), lambda: data.snapshots, lambda: data.restore("a")):
        with pytest.raises(errors.NotFound, match="data"):
            gone()


def test_a_volume_is_not_restored_under_a_container_that_runs(
    data: pc.Volume, engine: pc.Engine, busybox: pc.Image
) -> None:
    data.snapshot("before")
    (data.path / "sub/file").write_text("two")
    box = pc.Container.create(
        busybox, ["sleep", "1000"], name="box", volumes={"data": "/data"}, engine=engine
    )
    box.start()
    with pytest.raises(errors.InUse, match="used by box, which is running; stop it first"):
        data.restore("before")
    assert (data.path / "sub/file").read_text() == "two"
    box.stop(timeout=0)
    data.restore("before")
    box.start()
    assert box.exec(["cat", "/data/sub/file"]).text == "one"
    box.remove(force=True)


def test_containers_that_start_meanwhile_see_one_or_the_other(
    data: pc.Volume, engine: pc.Engine, busybox: pc.Image
) -> None:
    data.snapshot("before")
    (data.path / "sub/file").write_text("two")
    data.snapshot("after")
    failed: list[BaseException] = []

    def restore() -> None:
        try:
            for turn in range(12):
                try:
                    data.restore(("before", "after")[turn % 2])
                except errors.InUse:
                    pass
        except BaseException as error:
            failed.append(error)

    restorer = threading.Thread(target=restore)
    restorer.start()
    script = "cat /data/sub/file; echo written > /data/written && cat /data/written"
    for _ in range(12):
        seen = pc.run(busybox, ["sh", "-c", script], volumes={"data": "/data"}, engine=engine).check().text
        assert seen in ("onewritten\n", "twowritten\n")
    restorer.join()
    assert failed == []


def used(place: Path) -> int:
    """Bytes of a file system that are used."""
    found = os.statvfs(place)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


@pytest.mark.parametrize("make", [("mkfs.xfs", "-q"), ("mkfs.btrfs", "-q"), ("mkfs.ext4", "-q")])
def test_blocks_are_shared_where_the_file_system_can(
    tmp_path: Path, busybox_layout: Path, make: tuple[str, ...]
) -> None:
    program = make[0]
    if subprocess.run(["which", program], capture_output=True).returncode:
        pytest.skip(f"{program} is not installed; apt-get install xfsprogs btrfs-progs")
    disk, place = tmp_path / "disk", tmp_path / "mounted"
    disk.write_bytes(b"")
    os.truncate(disk, 400 << 20)
    subprocess.run([*make, str(disk)], check=True, capture_output=True)
    place.mkdir()
    if subprocess.run(["mount", "-o", "loop", str(disk), str(place)], capture_output=True).returncode:
        pytest.skip(f"this kernel mounts no {program.removeprefix('mkfs.')}")
    try:
        with pc.Engine(place / "store") as engine:
            data = pc.Volume.create("data", engine=engine)
            content = os.urandom(48 << 20)
            (data.path / "file").write_bytes(content)
            os.sync()
            before = used(place)
            snapshot, twin = data.snapshot("a"), data.clone("twin")
            os.sync()
            grown = used(place) - before
            if program == "mkfs.ext4":
                assert grown > 80 << 20
            else:
                assert grown < 8 << 20
            (data.path / "file").write_bytes(b"other")
            assert (twin.path / "file").read_bytes() == content
            snapshot.restore()
            assert (data.path / "file").read_bytes() == content
    finally:
        subprocess.run(["umount", str(place)], check=True)
