"""What a container wrote to a copy on write, carried over: all of it, once, and nothing anywhere else."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.kernel import syscalls
from pycontainer.testing import killpoints

pytestmark = pytest.mark.needs("root", "overlay")

CHANGES = (
    "cd /data; echo more >> file; ln file twin; rm gone; rm -r inner; mkdir -p inner/deep; "
    "echo x > inner/new; rm -r was-dir; echo now > was-dir; "
    "rm was-file; mkdir was-file; echo x > was-file/x; "
    "ln -s /etc/passwd link; mkdir -m 1777 made; mkfifo made/fifo; "
    "chown 12:34 made; touch -d @981158400 made/old; "
    "chmod 600 kept/mode; rm -r again; mkdir again; mkdir again/sub; echo y > again/sub/new; "
    "truncate -s 3000000 sparse; echo big > big; chmod 0711 .; rm -r kept/below"
)


def fill(top: Path) -> Path:
    """A directory of the host."""
    for path in (
        "file", "gone", "inner/deep/a", "inner/b", "was-dir/a/b", "was-file", "kept/mode", "kept/same",
        "again/sub/old", "again/old", "big", "kept/below/x",
    ):  # fmt: skip
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text("of the host\n")
    os.setxattr(top / "kept", "user.of", b"the host")
    os.chown(top, 1000, 1000)
    return top


def told(top: Path) -> dict[str, tuple[object, ...]]:
    """All that is in a directory, and what it is."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (top, *sorted(top.rglob("*"))):
        seen = path.lstat()
        content: object = None
        if stat.S_ISLNK(seen.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(seen.st_mode):
            content = path.read_bytes()
        links = 0 if path.is_dir() else seen.st_nlink
        attributes = tuple(sorted(os.listxattr(path, follow_symlinks=False)))
        found[str(path.relative_to(top))] = (
            seen.st_mode, seen.st_uid, seen.st_gid, links, content, attributes,
        )  # fmt: skip
    return found


def mount(source: Path, mode: str = "cow") -> str:
    return f"type=bind,source={source},target=/data,mode={mode}"


@contextmanager
def changed(
    engine: pc.Engine, image: pc.Image, source: Path, script: str, mode: str = "cow"
) -> Iterator[pc.Container]:
    """A container that has done this in /data, and rests."""
    box = pc.Container.create(image, ["sh", "-ec", script], mounts=[mount(source, mode)], engine=engine)
    try:
        box.start()
        assert box.wait(timeout=20) == 0, [line.text for line in box.logs()]
        yield box
    finally:
        box.remove(force=True)


def test_the_host_s_directory_becomes_what_the_container_saw(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    wanted, source = fill(tmp_path / "wanted"), fill(tmp_path / "source")
    before = told(source)
    with changed(engine, busybox, wanted, CHANGES, mode="rw"):
        pass
    with changed(engine, busybox, source, CHANGES) as box:
        assert told(source) == before
        done = box.apply("/data")
        assert (done.skipped, done.entries > 15) == ((), True)
        assert told(source) == told(wanted)
        assert (source / "made/old").stat().st_mtime == (wanted / "made/old").stat().st_mtime
        assert (source / "sparse").stat().st_blocks == (wanted / "sparse").stat().st_blocks
        assert (source / "file").stat().st_ino == (source / "twin").stat().st_ino
        assert box.diff("/data") == []
        assert box.apply("/data").entries == 0
        assert told(source) == told(wanted)


def test_a_container_goes_on_with_what_was_applied(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    source = fill(tmp_path / "source")
    with changed(engine, busybox, source, "cd /data; echo x >> count; rm -f gone") as box:
        box.apply("/data")
        (source / "gone").write_text("here again")
        box.start()
        assert box.wait(timeout=20) == 0
        assert (source / "count").read_text() == "x\n"
        assert [str(change) for change in box.diff("/data")] == ["C /count", "D /gone"]
        box.apply("/data")
        assert (source / "count").read_text() == "x\nx\n"


def test_a_part_of_a_directory_and_an_owned_container(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    source = fill(tmp_path / "source")
    part = f"{mount(source)},subpath=inner"
    with pc.Container(busybox, ["sleep", "1000"], mounts=[part], engine=engine) as box:
        box.exec(["sh", "-c", "rm /data/b; echo x > /data/deep/a"]).check()
        box.stop(timeout=0)
        assert box.apply("/data").entries == 3
    assert (source / "inner/deep/a").read_text() == "x\n"
    assert sorted(os.listdir(source / "inner")) == ["deep"]
    assert (source / "file").read_text() == "of the host\n"


def test_the_copy_belongs_to_whom_the_directory_belongs(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    source = fill(tmp_path / "source")
    os.chmod(source, 0o2750)
    with changed(engine, busybox, source, "stat -c '%u %g %a' /data") as box:
        assert [line.text.strip() for line in box.logs()] == ["1000 1000 2750"]


def test_what_gives_powers_stays_behind_unless_it_is_asked_for(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    source = fill(tmp_path / "source")
    script = "cd /data; rm -f root; cp /bin/busybox root; chmod 6755 root; mknod null c 1 3"
    with changed(engine, busybox, source, script) as box:
        assert box.apply("/data").skipped == ("/null",)
    assert stat.S_IMODE((source / "root").stat().st_mode) == 0o755
    assert not (source / "null").exists()
    with changed(engine, busybox, source, script) as box:
        assert box.apply("/data", archive=True).skipped == ()
    assert stat.S_IMODE((source / "root").stat().st_mode) == 0o6755
    assert (source / "null").stat().st_rdev == os.makedev(1, 3)


def test_a_container_that_runs_and_a_mount_that_is_none_are_refused(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    source = fill(tmp_path / "source")
    box = pc.Container.create(busybox, ["sleep", "1000"], mounts=[mount(source)], engine=engine)
    try:
        assert box.apply("/data").entries == 0
        box.start()
        with pytest.raises(errors.WrongState, match="stop it first"):
            box.apply("/data")
        box.stop(timeout=0)
        with pytest.raises(errors.InvalidInput, match="/srv is no mount"):
            box.apply("/srv")
    finally:
        box.remove(force=True)
    with pytest.raises(errors.NotFound):
        box.apply("/data")


# -- who tries to lead it out ---------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory that nothing may change in."""
    top = fill(tmp_path / "outside")
    before = told(top)
    yield top
    assert told(top) == before


def test_links_of_the_host_are_replaced_and_not_followed(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path, outside: Path
) -> None:
    source = fill(tmp_path / "source")
    script = "cd /data; echo x > inner/b; rm inner/deep/a; echo x > file; rm -r kept; mkdir kept; rm gone"
    with changed(engine, busybox, source, script) as box:
        for name in ("inner", "file", "kept", "gone"):
            os.rename(source / name, source / f"{name}-moved")
            os.symlink(outside / name, source / name)
        box.apply("/data")
        assert (source / "inner/b").read_text() == "x\n"
        assert not (source / "inner").is_symlink()
        assert not (source / "file").is_symlink()
        assert list((source / "kept").iterdir()) == []
        assert not os.path.lexists(source / "gone")


def test_links_of_the_container_are_carried_and_not_followed(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path, outside: Path
) -> None:
    source = fill(tmp_path / "source")
    script = (
        f"cd /data; rm -r inner file kept; ln -s {outside}/inner inner; ln -s {outside}/file file; "
        f"ln -s ../outside kept; ln -s {outside} -- '-p'; ln -s . self; ln self twin"
    )
    with changed(engine, busybox, source, script) as box:
        box.apply("/data")
    assert os.readlink(source / "inner") == f"{outside}/inner"
    assert os.readlink(source / "kept") == "../outside"
    assert (source / "self").lstat().st_nlink == 2


def test_who_exchanges_directories_for_links_meanwhile_leads_nothing_out(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path, outside: Path
) -> None:
    source = fill(tmp_path / "source")
    os.symlink(outside / "inner", source / "other")
    script = (
        "cd /data; for n in 1 2 3 4 5 6 7 8; do echo x > inner/$n; echo x > inner/deep/$n; done; rm inner/b"
    )
    may_end = threading.Event()

    def swap() -> None:
        while not may_end.is_set():
            with suppress(FileNotFoundError):  # it is being replaced this moment
                syscalls.renameat2(-100, str(source / "inner"), -100, str(source / "other"), 2)

    with changed(engine, busybox, source, script) as box:
        upper = box._directory / "mount-0/upper"
        kept = tmp_path / "kept"
        subprocess.run(["cp", "-a", str(upper), str(kept)], check=True)
        swapper = threading.Thread(target=swap)
        swapper.start()
        try:
            for _ in range(12):
                try:
                    box.apply("/data")
                except errors.PycontainerError:
                    pass  # it may not come to its end; it may not go astray
                if not upper.exists():
                    subprocess.run(["cp", "-a", str(kept), str(upper)], check=True)
        finally:
            may_end.set()
            swapper.join()


def test_what_is_mounted_on_the_host_is_neither_met_nor_lost(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    source = fill(tmp_path / "source")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(source / "inner/deep")], check=True)
    try:
        (source / "inner/deep/mine").write_text("of the mount")
        with changed(engine, busybox, source, "cd /data; echo x > inner/deep/a; echo x > inner/b") as box:
            box.apply("/data")
        assert (source / "inner/b").read_text() == "x\n"
        before = told(source)
        for script in ("rm -r /data/inner", "rm -r /data/inner; mkdir /data/inner"):
            with changed(engine, busybox, source, script) as box:
                with pytest.raises(errors.Conflict, match="inner/deep; unmount that first"):
                    box.apply("/data")
                assert told(source) == before
    finally:
        subprocess.run(["umount", str(source / "inner/deep")], check=True)
    assert (source / "inner/deep/a").read_text() == "x\n"


# -- what fails, and what is interrupted ----------------------------------------------------------------


def test_without_room_for_all_of_it_nothing_is_changed(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], check=True)
    try:
        source = fill(small / "source")
        before = told(source)
        script = "cd /data; rm gone; echo x > file; dd if=/dev/urandom of=new bs=1M count=3; echo x > z"
        with changed(engine, busybox, source, script) as box:
            with pytest.raises(errors.KernelError, match=r"/new.*the file system there is full"):
                box.apply("/data")
            assert told(source) == before
            subprocess.run(["mount", "-o", "remount,size=16m", str(small)], check=True)
            box.apply("/data")
            assert (source / "new").stat().st_size == 3 << 20
            assert not (source / "gone").exists()
            subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
            box.start()
            box.wait(timeout=20)
            with pytest.raises(errors.KernelError, match="read-only"):
                box.apply("/data")
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize("victim", ["caller", "helper", "reacher"])
@pytest.mark.parametrize("step", killpoints.names("apply"))
def test_what_was_interrupted_is_completed_by_doing_it_again(
    tmp_path: Path, busybox_layout: Path, step: str, victim: Literal["caller", "helper", "reacher"]
) -> None:
    root = tmp_path / "store"
    wanted, source = fill(tmp_path / "wanted"), fill(tmp_path / "source")
    with pc.Engine(root) as engine:
        image = pc.Image.load(busybox_layout, engine=engine)[0]
        with changed(engine, image, wanted, CHANGES, mode="rw"):
            pass
        box = pc.Container.create(
            image, ["sh", "-ec", CHANGES], name="box", mounts=[mount(source)], engine=engine
        )
        box.start()
        assert box.wait(timeout=20) == 0
    outcome = killpoints.run_killed(
        "try:\n    box.apply('/data')\nexcept pc.errors.HelperDied:\n    print('died')\nengine.close()",
        step,
        victim=victim,
        setup=f"import pycontainer as pc\nengine = pc.Engine({str(root)!r})\nengine.helper.start()\n"
        "box = pc.Container.get('box', engine=engine)\n",
        settle_s=10,
    )
    assert outcome.was_reached, outcome.stderr
    with pc.Engine(root) as engine:
        box = pc.Container.get("box", engine=engine)
        box.apply("/data")
        assert told(source) == told(wanted)
        assert box.diff("/data") == []
        assert sorted(os.listdir(box._directory / "mount-0")) in (["work"], ["applying", "work"])
        box.remove(force=True)


def test_what_a_directory_made_anew_hides_is_told_however_deep(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    source = fill(tmp_path / "source")
    with changed(
        engine, busybox, source, "cd /data; rm -r again; mkdir -p again/sub; touch again/sub/new"
    ) as box:
        assert [str(change) for change in box.diff("/data")] == [
            "C /again", "D /again/old", "C /again/sub", "A /again/sub/new", "D /again/sub/old",
        ]  # fmt: skip
