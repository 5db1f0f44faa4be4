"""Copies into containers and out of them, export and diff, as Docker makes them; and safely."""

from __future__ import annotations

import gzip
import io
import os
import socket
import stat
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

import pycontainer as pc
from pycontainer.errors import Conflict, DeadlineExceeded, InvalidImage, InvalidInput, KernelError, NotFound
from pycontainer.testing import killpoints
from tests.support.needs import needs

pytestmark = needs("root", "overlay")

_CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep


@pytest.fixture(params=["running", "stopped"])
def box(request: pytest.FixtureRequest, engine: pc.Engine, busybox: pc.Image) -> Iterator[pc.Container]:
    made = pc.Container.create(busybox, ["sleep", "1000"], engine=engine, tmpfs={"/scratch": "size=1m"})
    if request.param == "running":
        made.start()
    yield made
    made.remove(force=True)


@pytest.fixture
def running(engine: pc.Engine, busybox: pc.Image) -> Iterator[pc.Container]:
    with pc.Container(busybox, ["sleep", "1000"], engine=engine, tmpfs={"/scratch": "size=1m"}) as made:
        yield made


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with one of everything."""
    top = tmp_path / "tree"
    (top / "sub" / "empty").mkdir(parents=True)
    (top / "file").write_text("content")
    os.link(top / "file", top / "sub" / "hard")
    (top / "soft").symlink_to("sub/hard")
    (top / "out").symlink_to("/etc/passwd")
    os.mkfifo(top / "fifo")
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with open(top / "sparse", "wb") as file:
        file.write(b"begin")
        file.seek(1 << 32)
        file.write(b"end")
    (top / "program").write_text("program")
    os.chown(top / "program", 11, 12)
    os.setxattr(top / "program", "user.note", b"kept")
    os.setxattr(top / "program", "security.capability", _CAPABILITY)
    (top / "setuid").write_text("s")
    (top / "setuid").chmod(0o4755)
    (top / os.fsdecode(b"\xff\n")).write_text("odd")
    (top / "sub").chmod(0o2751)
    for path in (top / "file", top / "sub", top):
        os.utime(path, ns=(1, 1_234_567_890_123_456_789))
    return top


def facts(top: Path, *, with_owner: bool) -> dict[str, object]:
    """What two equal trees have in common."""
    found: dict[str, object] = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        fact: list[object] = [status.st_mode, status.st_rdev, status.st_nlink if not path.is_dir() else 0]
        fact += [status.st_uid, status.st_gid] if with_owner else []
        if path.is_symlink():
            fact.append(os.readlink(path))
        elif path.is_file():
            fact += [
                status.st_size,
                status.st_mtime_ns,
                path.name if status.st_size > 100 else path.read_bytes(),
            ]
            fact.append({name: os.getxattr(path, name) for name in os.listxattr(path)})
        found[str(path.relative_to(top))] = fact
    return found


class TestWhere:
    """The table of `docker cp`: what a copy is called, by what is there already."""

    def test_a_file_to_a_name_that_is_free(self, box: pc.Container, tree: Path) -> None:
        box.copy_to(tree / "file", "/tmp/new")
        assert (box.path / "tmp/new").read_text() == "content"

    def test_a_file_to_a_missing_directory(self, box: pc.Container, tree: Path) -> None:
        with pytest.raises(NotFound, match="make it first"):
            box.copy_to(tree / "file", "/tmp/new/")
        with pytest.raises(NotFound, match="is to be in"):
            box.copy_to(tree / "file", "/tmp/no/new")

    def test_a_file_over_a_file_and_into_a_directory(self, box: pc.Container, tree: Path) -> None:
        (box.path / "tmp/there").write_text("longer than before")
        box.copy_to(tree / "file", "/tmp/there")
        box.copy_to(str(tree / "file"), box.path / "tmp")
        assert (box.path / "tmp/there").read_text() == (box.path / "tmp/file").read_text() == "content"

    def test_a_directory_to_a_free_name_into_another_and_its_content(
        self, box: pc.Container, tree: Path
    ) -> None:
        box.copy_to(tree, "/tmp/new")
        box.copy_to(tree, "/tmp/new")
        box.copy_to(f"{tree}/.", "/srv")
        for place in ("tmp/new/sub/hard", "tmp/new/tree/sub/hard", "srv/sub/hard"):
            assert (box.path / place).read_text() == "content"
        assert (box.path / "srv/greeting").exists()

    def test_directories_and_files_do_not_replace_each_other(self, box: pc.Container, tree: Path) -> None:
        (box.path / "tmp/file").mkdir()
        (box.path / "tmp/plain").write_text("x")
        with pytest.raises(Conflict):
            box.copy_to(tree / "file", "/tmp")
        with pytest.raises(Conflict):
            box.copy_to(tree, "/tmp/plain")
        with pytest.raises(Conflict):
            box.copy_to(tree / "file", "/tmp/plain/")
        (box.path / "tmp/tree").write_text("x")
        with pytest.raises(Conflict):
            box.copy_to(tree, "/tmp")
        assert (box.path / "tmp/tree").read_text() == "x"

    def test_links_at_both_ends(self, box: pc.Container, tree: Path, tmp_path: Path) -> None:
        (box.path / "var/place").symlink_to("/srv")
        (box.path / "tmp/dangling").symlink_to("made")
        box.copy_to(tree / "file", "/var/place")
        box.copy_to(tree / "file", "/tmp/dangling")
        assert (box.path / "srv/file").exists()
        assert (box.path / "tmp/made").read_text() == "content"
        box.copy_to(tree / "soft", "/tmp/link")
        assert str((box.path / "tmp/link").readlink()) == "sub/hard"
        box.copy_to(tree / "soft", "/tmp/followed", follow_link=True)
        assert (box.path / "tmp/followed").read_text() == "content"
        box.copy_from("/var/place", tmp_path / "link")
        assert os.readlink(tmp_path / "link") == "/srv"
        box.copy_from("/var/place", tmp_path / "followed", follow_link=True)
        assert (tmp_path / "followed/greeting").exists()

    def test_out_of_the_container_by_the_same_table(self, box: pc.Container, tmp_path: Path) -> None:
        box.copy_from("/srv/greeting", tmp_path / "new")
        (tmp_path / "dir").mkdir()
        box.copy_from("/srv/greeting", tmp_path / "dir")
        box.copy_from("/srv", tmp_path / "dir")
        box.copy_from("/srv/.", f"{tmp_path}/dir/")
        box.copy_from("srv", tmp_path / "free")
        found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("greeting"))
        assert found == ["dir/greeting", "dir/srv/greeting", "free/greeting"]
        assert (tmp_path / "new").read_text() == "hello from the second layer\n"
        with pytest.raises(NotFound):
            box.copy_from("/srv/greeting", f"{tmp_path}/none/")
        with pytest.raises(NotFound):
            box.copy_from("/srv/greeting", tmp_path / "none/there")
        with pytest.raises(NotFound):
            box.copy_from("/srv/none", tmp_path)
        with pytest.raises(Conflict):
            box.copy_from("/srv", tmp_path / "new")
        with pytest.raises(Conflict):
            box.copy_from("/srv/greeting/.", tmp_path)

    def test_sources_that_are_not_there(self, box: pc.Container, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="on this host"):
            box.copy_to(tmp_path / "none", "/tmp")
        with pytest.raises(InvalidInput):
            box.copy_to(tmp_path, "")


class TestWhat:
    def test_a_tree_comes_back_as_it_went(self, box: pc.Container, tree: Path, tmp_path: Path) -> None:
        told = box.copy_to(tree, "/tmp/tree", archive=True)
        back = box.copy_from("/tmp/tree", tmp_path / "back", archive=True)
        assert facts(tmp_path / "back", with_owner=True) == facts(tree, with_owner=True)
        assert (tmp_path / "back").stat().st_mtime_ns == 1_234_567_890_123_456_789
        assert (tmp_path / "back/sparse").stat().st_blocks < 100
        assert told == back
        assert told.skipped == ()

    def test_without_archive_all_becomes_roots(self, box: pc.Container, tree: Path) -> None:
        box.copy_to(tree, "/tmp/tree")
        status = (box.path / "tmp/tree/program").stat()
        assert (status.st_uid, status.st_gid) == (0, 0)
        box.copy_to(tree, "/tmp", archive=True)
        status = (box.path / "tmp/tree/program").stat()
        assert (status.st_uid, status.st_gid) == (11, 12)

    def test_what_gives_powers_stays_in_the_container(
        self, box: pc.Container, tree: Path, tmp_path: Path
    ) -> None:
        box.copy_to(tree, "/tmp/tree", archive=True)
        copied = box.copy_from("/tmp/tree", tmp_path / "back")
        assert copied.skipped == ("back/null",)
        assert not (tmp_path / "back/null").exists()
        assert (tmp_path / "back/setuid").stat().st_mode & 0o7777 == 0o755
        assert (tmp_path / "back/program").stat().st_uid == os.geteuid()
        assert os.listxattr(tmp_path / "back/program") == ["user.note"]
        assert stat.S_ISFIFO((tmp_path / "back/fifo").stat().st_mode)

    def test_sockets_and_devices_are_left_out_and_named_by_all_their_names(
        self, box: pc.Container, tmp_path: Path
    ) -> None:
        (tmp_path / "d").mkdir()
        os.mknod(tmp_path / "d/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.link(tmp_path / "d/null", tmp_path / "d/other")
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(tmp_path / "d/socket"))
            os.link(tmp_path / "d/socket", tmp_path / "d/twin")
            assert box.copy_to(tmp_path / "d", "/tmp", archive=True).skipped == ("d/socket", "d/twin")
        assert box.copy_from("/tmp/d", tmp_path / "back").skipped == ("back/null", "back/other")
        assert os.listdir(tmp_path / "back") == []

    def test_no_name_is_no_place(self, box: pc.Container, tmp_path: Path) -> None:
        for use in (lambda: box.copy_from("/srv", ""), lambda: box.copy_to("", "/srv")):
            with pytest.raises((InvalidInput, NotFound)):
                use()
        assert os.listdir(tmp_path) == []

    def test_what_is_mounted_in_a_running_container(
        self, running: pc.Container, tree: Path, tmp_path: Path
    ) -> None:
        running.copy_to(tree / "file", "/scratch")
        assert not (running._directory / "upper/scratch/file").exists()
        running.copy_from("/scratch/.", tmp_path / "back")
        assert (tmp_path / "back/file").read_text() == "content"
        running.copy_to(tree / "file", "/etc/hosts")
        assert (running.path / "etc/hosts").read_text() == "content"
        running.copy_from("/proc/meminfo", tmp_path / "meminfo")
        assert "MemTotal" in (tmp_path / "meminfo").read_text()
        whole = running.copy_from("/", tmp_path / "whole")
        assert {"whole/proc", "whole/sys"} <= set(whole.skipped)
        assert (tmp_path / "whole/srv/greeting").exists()

    def test_no_space_leaves_the_old_file_and_no_half_one(
        self, running: pc.Container, tmp_path: Path
    ) -> None:
        (tmp_path / "big").write_bytes(b"x" * 3_000_000)
        (running.path / "scratch/big").write_text("old")
        with pytest.raises(KernelError, match=r"No space left.*is full"):
            running.copy_to(tmp_path / "big", "/scratch")
        with pytest.raises(KernelError, match="No space left"):
            running.copy_to(tmp_path / "big", "/scratch/other")
        assert [path.name for path in (running.path / "scratch").iterdir()] == ["big"]
        assert (running.path / "scratch/big").read_text() == "old"

    def test_a_link_that_a_copy_left_is_not_followed_by_the_next(
        self, box: pc.Container, tmp_path: Path
    ) -> None:
        (tmp_path / "victim").mkdir()
        (tmp_path / "victim/file").write_text("the host's")
        (box.path / "tmp/d").symlink_to(str(tmp_path / "victim"))
        (box.path / "tmp/f").symlink_to(str(tmp_path / "victim/file"))
        box.copy_from("/tmp/d", tmp_path / "d")
        box.copy_from("/tmp/f", tmp_path / "f")
        box.copy_from("/tmp", tmp_path / "t")
        for name in ("d", "f"):
            (box.path / "tmp" / name).unlink()
        (box.path / "tmp/d").mkdir()
        (box.path / "tmp/d/file").write_text("from the container")
        (box.path / "tmp/f").write_text("from the container")
        with pytest.raises(Conflict, match="slash"):
            box.copy_from("/tmp/d", tmp_path / "d")
        with pytest.raises(Conflict):
            box.copy_from("/tmp/.", tmp_path / "t")
        box.copy_from("/tmp/f", tmp_path / "f")
        assert not (tmp_path / "f").is_symlink()
        assert (tmp_path / "victim/file").read_text() == "the host's"
        assert os.listdir(tmp_path / "victim") == ["file"]

    def test_a_deep_tree_is_copied_or_refused_clearly(self, box: pc.Container, tmp_path: Path) -> None:
        os.makedirs(tmp_path / "deep" / "/".join("d" * 300))
        box.copy_to(tmp_path / "deep", "/tmp")
        assert (box.path / "tmp/deep" / "/".join("d" * 300)).is_dir()
        top = os.open(tmp_path / "deep" / "/".join("d" * 300), os.O_RDONLY)
        for _ in range(200):
            os.mkdir("d", dir_fd=top)
            below = os.open("d", os.O_RDONLY, dir_fd=top)
            os.close(top)
            top = below
        os.close(top)
        with pytest.raises(InvalidInput, match="directories deep"):
            box.copy_to(tmp_path / "deep", "/tmp")

    def test_a_time_limit_holds(self, running: pc.Container, tmp_path: Path) -> None:
        reader, writer = os.pipe()
        with open(reader, "rb", buffering=0), open(writer, "wb", buffering=0) as stuck:
            with pytest.raises(DeadlineExceeded):
                running.export(stuck, timeout=0.2)


class TestTars:
    def test_a_tar_in_and_out(self, box: pc.Container, tree: Path) -> None:
        (tree / "sparse").unlink()
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as tar:
            tar.add(tree, "t")
        box.copy_to(gzip.compress(made.getvalue()), "/tmp")
        assert (box.path / "tmp/t/program").stat().st_uid == 11
        out = io.BytesIO()
        box.copy_from("/tmp/t", out)
        out.seek(0)
        with tarfile.open(fileobj=out) as tar:
            got = {member.name: (member.type, member.mode, member.uid, member.linkname) for member in tar}
        made.seek(0)
        with tarfile.open(fileobj=made) as tar:
            sent = {member.name: (member.type, member.mode, member.uid, member.linkname) for member in tar}
        kinds = {name: kind for name, (kind, *_) in sent.items()}
        assert {name: kind for name, (kind, *_) in got.items()} == kinds
        assert got["t/program"] == sent["t/program"]
        assert got["t/sub"] == sent["t/sub"]

    def test_a_tree_through_a_tar_comes_back_as_it_went(
        self, box: pc.Container, tree: Path, tmp_path: Path
    ) -> None:
        (tree / "null").unlink()
        box.copy_to(tree, "/tmp/tree", archive=True)
        tar = io.BytesIO()
        box.copy_from("/tmp/tree", tar)
        assert len(tar.getvalue()) < 100_000
        (box.path / "tmp/again").mkdir()
        box.copy_to(tar.getvalue(), "/tmp/again")
        box.copy_from("/tmp/again/tree", tmp_path / "back", archive=True)
        assert facts(tmp_path / "back", with_owner=True) == facts(tree, with_owner=True)

    def test_a_stream_that_is_a_file_of_the_caller(
        self, box: pc.Container, tree: Path, tmp_path: Path
    ) -> None:
        with open(tmp_path / "a.tar", "wb") as file:
            file.write(b"")
            box.copy_from("/srv/.", file)
        with open(tmp_path / "a.tar", "rb") as file:
            box.copy_to(file, "/tmp")
        assert (box.path / "tmp/greeting").exists()
        listed = subprocess.run(["tar", "tf", tmp_path / "a.tar"], capture_output=True, text=True, check=True)
        assert listed.stdout.split() == ["greeting"]

    def test_tars_that_want_out_or_are_none(self, box: pc.Container, tmp_path: Path) -> None:
        def tar_of(*members: tuple[str, bytes, str]) -> bytes:
            made = io.BytesIO()
            with tarfile.open(fileobj=made, mode="w") as tar:
                for name, kind, target in members:
                    entry = tarfile.TarInfo(name)
                    entry.type, entry.linkname = kind, target
                    entry.size = 1 if kind == tarfile.REGTYPE else 0
                    tar.addfile(entry, io.BytesIO(b"x"))
            return made.getvalue()

        file, link, hard = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
        with pytest.raises(InvalidImage, match="leads out"):
            box.copy_to(tar_of(("../../x", file, "")), "/tmp")
        with pytest.raises(InvalidImage):
            box.copy_to(b"no tar at all" * 100, "/tmp")
        with pytest.raises(NotFound):
            box.copy_to(tar_of(("x", file, "")), "/none")
        with pytest.raises(Conflict):
            box.copy_to(tar_of(("x", file, "")), "/srv/greeting")
        with pytest.raises((InvalidImage, KernelError)):
            box.copy_to(tar_of(("h", hard, f"../../../..{tmp_path}/host")), "/tmp")
        (tmp_path / "host").write_text("the host's")
        # Links lead where they lead inside, as for Docker's own.
        box.copy_to(tar_of(("l", link, str(tmp_path)), ("/abs/f", file, "")), "/tmp")
        with pytest.raises((Conflict, KernelError)):
            box.copy_to(tar_of(("l/host", file, "")), "/tmp")
        assert (tmp_path / "host").read_text() == "the host's"
        assert (box.path / "tmp/abs/f").read_text() == "x"

    def test_an_error_of_the_callers_stream_is_the_callers(self, box: pc.Container) -> None:
        class Broken(io.BytesIO):
            def write(self, data: object, /) -> int:
                raise OverflowError("full")

        with pytest.raises(OverflowError):
            box.copy_from("/bin", Broken())


class TestExport:
    def test_is_the_whole_root_without_mounts(self, box: pc.Container, tmp_path: Path) -> None:
        (box.path / "new").write_text("new")
        (box.path / "srv/greeting").unlink()
        if box.state == "running":
            (box.path / "scratch/hidden").write_text("in memory")
        box.export(tmp_path / "root.tar")
        with tarfile.open(tmp_path / "root.tar") as tar:
            names = set(tar.getnames())
        assert {"new", "bin/busybox", "etc/passwd", "proc", "dev", ".dockerenv"} <= names
        assert not [name for name in names if name.startswith(("proc/", "sys/", "scratch/", "/", "./"))]
        assert "srv/greeting" not in names
        assert os.listdir(tmp_path) == ["root.tar"]

    def test_makes_an_image_that_runs(self, engine: pc.Engine, box: pc.Container) -> None:
        made = io.BytesIO()
        box.export(made)
        image = pc.Image.from_tar(made.getvalue(), engine=engine)
        assert pc.run(image, ["/bin/cat", "/srv/greeting"], engine=engine).text.startswith("hello")
        image.remove()

    def test_leaves_no_half_file(self, box: pc.Container, tmp_path: Path) -> None:
        with pytest.raises(DeadlineExceeded):
            box.export(tmp_path / "root.tar", timeout=0)
        assert os.listdir(tmp_path) == []


class TestDiff:
    def test_a_container_that_did_nothing_changed_nothing(self, box: pc.Container) -> None:
        assert [change for change in box.diff() if not change.path.startswith("/scratch")] == []

    def test_tells_added_changed_and_deleted(self, box: pc.Container) -> None:
        (box.path / "srv/greeting").unlink()
        (box.path / "added/below").mkdir(parents=True)
        (box.path / "added/below/file").touch()
        (box.path / "etc/passwd").write_text("changed")
        (box.path / "tmp").chmod(0o700)
        (box.path / "gone").touch()
        (box.path / "gone").unlink()
        told = [str(change) for change in box.diff() if not change.path.startswith("/scratch")]
        assert told == [
            *("A /added", "A /added/below", "A /added/below/file", "C /etc", "C /etc/passwd"),
            *("C /srv", "D /srv/greeting", "C /tmp"),
        ]

    def test_sees_through_a_directory_that_was_made_anew(self, box: pc.Container) -> None:
        (box.path / "srv/greeting").unlink()
        (box.path / "srv").rmdir()
        (box.path / "srv").mkdir()
        (box.path / "srv/other").touch()
        found = {change.path: change.kind for change in box.diff() if change.path.startswith("/srv")}
        assert found == {"/srv": "changed", "/srv/greeting": "deleted", "/srv/other": "added"}


class TestInterrupted:
    @pytest.mark.parametrize("victim", ["caller", "helper", "reacher"])
    @pytest.mark.parametrize("step", killpoints.names("copy"))
    def test_a_kill_leaves_the_old_file_or_the_new(
        self, tmp_path: Path, busybox_layout: Path, step: str, victim: Literal["caller", "helper", "reacher"]
    ) -> None:
        root = tmp_path / "store"
        (tmp_path / "file").write_text("new" * 1000)
        with pc.Engine(root) as engine:
            image = pc.Image.load(busybox_layout, engine=engine)[0]
            made = pc.Container.create(image, ["sleep", "1000"], name="box", engine=engine)
            (made.path / "file").write_text("old")
        setup = f"import pycontainer as pc\nengine = pc.Engine({str(root)!r})\nengine.helper.start()\n"
        setup += "box = pc.Container.get('box', engine=engine)\n"
        verb = "box.copy_to" if step == "copy.file.written" else "box.path.__truediv__('file').write_bytes"
        given = f"{str(tmp_path / 'file')!r}, '/file'" if verb == "box.copy_to" else "b'new' * 1000"
        outcome = killpoints.run_killed(
            f"try:\n    {verb}({given})\nexcept pc.errors.HelperDied:\n    print('died')\nengine.close()",
            step,
            victim=victim,
            setup=setup,
            settle_s=10,
        )
        assert outcome.was_reached, outcome.stderr
        assert outcome.exit_code in (0, -9), outcome.stderr
        with pc.Engine(root) as engine:
            box = pc.Container.get("box", engine=engine)
            assert (box.path / "file").read_text() in ("old", "new" * 1000)
            box.copy_to(tmp_path / "file", "/file")
            assert (box.path / "file").read_text() == "new" * 1000
            box.start()
            assert (box.path / "file").read_text() == "new" * 1000
            box.remove(force=True)

    def test_a_container_does_not_start_while_it_is_copied_to(
        self, engine: pc.Engine, busybox: pc.Image
    ) -> None:
        made = pc.Container.create(busybox, ["cat", "/tmp/late"], engine=engine)
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            entry = tarfile.TarInfo("late")
            entry.size = 4
            archive.addfile(entry, io.BytesIO(b"late"))
        is_begun, may_end = threading.Event(), threading.Event()

        class Slow(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                if self.tell() >= 512:
                    is_begun.set()
                    may_end.wait(30)
                return super().read(512)

        copying = threading.Thread(target=made.copy_to, args=(Slow(tar.getvalue()), "/tmp"))
        starting = threading.Thread(target=made.start)
        copying.start()
        assert is_begun.wait(30)
        starting.start()
        assert made.state == "created"
        may_end.set()
        for thread in (copying, starting):
            thread.join(30)
        made.wait(30)
        assert made.logs().text() == "late"
        made.remove()
