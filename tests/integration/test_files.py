"""`c.path`: files of running and stopped containers, as pathlib would show and change them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

import pycontainer as pc
from pycontainer.errors import InvalidInput, NotFound, WrongState
from pycontainer.launcher.files.entering import Cell, named
from tests.support.needs import needs

pytestmark = needs("root", "overlay")


@pytest.fixture(params=["running", "stopped", "paused"])
def box(request: pytest.FixtureRequest, engine: pc.Engine, busybox: pc.Image) -> Iterator[pc.Container]:
    """A container in each state."""
    made = pc.Container.create(busybox, ["sleep", "1000"], engine=engine, tmpfs={"/scratch": "size=1m"})
    if request.param != "stopped":
        made.start()
    if request.param == "paused":
        made.pause()
    yield made
    made.remove(force=True)


@pytest.fixture
def running(engine: pc.Engine, busybox: pc.Image) -> Iterator[pc.Container]:
    with pc.Container(busybox, ["sleep", "1000"], engine=engine, tmpfs={"/scratch": "size=1m"}) as made:
        yield made


class TestLooking:
    def test_reads_what_the_image_has(self, box: pc.Container) -> None:
        path = box.path / "srv" / "greeting"
        assert path.read_text() == "hello from the second layer\n"
        assert path.read_bytes() == b"hello from the second layer\n"
        with path.open() as file:
            assert file.readline() == "hello from the second layer\n"

    def test_tells_what_is_there(self, box: pc.Container) -> None:
        assert (box.path / "srv").is_dir()
        assert (box.path / "srv" / "greeting").is_file()
        assert not (box.path / "srv" / "missing").exists()
        assert not (box.path / "srv" / "greeting" / "below").exists()
        status = (box.path / "srv" / "greeting").stat()
        assert (status.st_size, stat.S_ISREG(status.st_mode), status.st_uid) == (28, True, 0)
        assert status.st_mtime_ns == int(status.st_mtime * 1e9)

    def test_lists_a_directory_sorted(self, box: pc.Container) -> None:
        names = [path.name for path in box.path.iterdir()]
        assert names == sorted(names)
        assert {"bin", "etc", "srv"} <= set(names)

    def test_missing_files_are_the_errors_of_pathlib(self, box: pc.Container) -> None:
        with pytest.raises(FileNotFoundError, match="/nope"):
            (box.path / "nope").read_bytes()
        with pytest.raises(NotADirectoryError):
            (box.path / "srv/greeting/x").stat()
        with pytest.raises(IsADirectoryError):
            (box.path / "etc").read_bytes()
        with pytest.raises(NotADirectoryError):
            list((box.path / "srv/greeting").iterdir())
        with pytest.raises(ValueError, match="null byte"):
            (box.path / "a\0b").exists()

    def test_globs_like_pathlib(self, box: pc.Container, tmp_path: Path) -> None:
        tree = ("t/a.py", "t/b.txt", "t/sub/c.py", "t/sub/deep/d.py", "t/.hidden.py", "t/[odd].py")
        for root in (tmp_path, box.path):
            for name in tree:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text("x")
            (root / "t/link").symlink_to("sub")
        for pattern in ("*.py", "**/*.py", "*/*.py", "sub/deep", "**", "?.*", "[[]odd].py", "link/*", "no*"):
            here = {str(path.relative_to(tmp_path)) for path in (tmp_path / "t").glob(pattern)}
            there = {str(path).lstrip("/") for path in (box.path / "t").glob(pattern)}
            assert there == here, pattern
        assert sorted(path.name for path in (box.path / "t").rglob("?.py")) == ["a.py", "c.py", "d.py"]


class TestChanging:
    def test_writes_and_replaces_whole_files(self, box: pc.Container) -> None:
        path = box.path / "tmp" / "file"
        assert path.write_text("ä") == 1
        assert path.read_bytes() == "ä".encode()
        path.chmod(0o4640)
        path.chown(12, 34)
        path.write_bytes(b"x" * 3_000_000)
        status = path.stat()
        # As after any write by another, what gave the file powers is gone.
        assert (status.st_size, status.st_mode & 0o7777, status.st_uid, status.st_gid) == (
            3_000_000,
            0o640,
            12,
            34,
        )
        assert [entry.name for entry in (box.path / "tmp").iterdir()] == ["file"]

    def test_all_modes_of_opening(self, box: pc.Container) -> None:
        path = box.path / "tmp" / "file"
        with path.open("x") as file:
            file.write("one\n")
        with pytest.raises(FileExistsError):
            path.open("x")
        with path.open("a") as file:
            file.write("two\n")
        with path.open("r+b") as file:
            file.write(b"ONE")
        assert path.read_text() == "ONE\ntwo\n"
        with path.open("w+b") as file:
            file.write(b"three")
            file.seek(0)
            assert file.read() == b"three"
        for wrong in ("rw", "q", "rbt", ""):
            with pytest.raises(ValueError, match="mode"):
                path.open(wrong)

    def test_makes_moves_and_removes(self, box: pc.Container) -> None:
        top = box.path / "tmp" / "top"
        with pytest.raises(FileNotFoundError):
            (top / "a" / "b").mkdir()
        (top / "a" / "b").mkdir(parents=True)
        (top / "a" / "b").mkdir(exist_ok=True)
        with pytest.raises(FileExistsError):
            (top / "a").mkdir()
        (top / "a" / "f").touch(mode=0o600)
        with pytest.raises(FileExistsError):
            (top / "a" / "f").touch(exist_ok=False)
        moved = (top / "a" / "f").rename(top / "g")
        assert moved == top / "g"
        assert moved.stat().st_mode & 0o777 == 0o600
        (top / "h").hardlink_to(top / "g")
        assert moved.stat().st_nlink == 2
        (top / "l").symlink_to("g")
        assert (top / "l").readlink() == PurePosixPath("g")
        assert (top / "l").is_symlink()
        assert (top / "l").is_file()
        with pytest.raises(OSError, match="not empty"):
            top.rmdir()
        for name in ("g", "h", "l"):
            (top / name).unlink()
        (top / "g").unlink(missing_ok=True)
        for name in ("a/b", "a", "."):
            if name != ".":
                (top / name).rmdir()
        top.rmdir()
        assert not top.exists()

    def test_writing_through_a_link_changes_its_target(self, box: pc.Container) -> None:
        (box.path / "tmp/link").symlink_to("../tmp/./target")
        (box.path / "tmp/link").write_text("through")
        assert (box.path / "tmp/target").read_text() == "through"
        assert (box.path / "tmp/link").is_symlink()

    def test_other_names_of_a_file_see_what_is_written(self, box: pc.Container) -> None:
        (box.path / "tmp/one").write_text("long content")
        (box.path / "tmp/two").hardlink_to("/tmp/one")
        (box.path / "tmp/one").write_text("short")
        assert (box.path / "tmp/two").read_text() == "short"

    def test_what_was_written_is_there_after_a_start(self, engine: pc.Engine, busybox: pc.Image) -> None:
        made = pc.Container.create(busybox, ["cat", "/new/file"], engine=engine)
        (made.path / "new").mkdir()
        (made.path / "new" / "file").write_text("before the start")
        made.start()
        made.wait(30)
        assert made.logs().text() == "before the start"
        made.remove()

    def test_names_that_are_no_text(self, box: pc.Container) -> None:
        name = os.fsdecode(b"\xff\xfe\n name")
        (box.path / "tmp" / name).write_text("odd")
        (found,) = (box.path / "tmp").iterdir()
        assert os.fsencode(found.name) == b"\xff\xfe\n name"
        assert found.read_text() == "odd"


class TestStayingInside:
    def test_links_lead_where_they_lead_inside(self, box: pc.Container, tmp_path: Path) -> None:
        (tmp_path / "host").write_text("the host's")
        (box.path / "tmp/abs").symlink_to(str(tmp_path / "host"))
        (box.path / "tmp/up").symlink_to("../" * 30 + "srv/greeting")
        (box.path / "var/place").symlink_to("/srv")
        with pytest.raises(FileNotFoundError):
            (box.path / "tmp/abs").read_text()
        assert (box.path / "tmp/up").read_text() == "hello from the second layer\n"
        assert (box.path / "var/place/../srv/greeting").read_text() == "hello from the second layer\n"
        assert (box.path / "../../../srv/greeting").exists()

    def test_devices_fifos_and_sockets_are_not_opened(self, box: pc.Container) -> None:
        made = os.fspath(box._directory / "upper" / "tmp")
        os.makedirs(made, exist_ok=True)
        for name, kind, device in (("null", stat.S_IFCHR, (1, 3)), ("pipe", stat.S_IFIFO, (0, 0))):
            os.mknod(f"{made}/{name}", kind | 0o666, os.makedev(*device))
        for name in ("null", "pipe"):
            path = box.path / "tmp" / name
            for verb, given in (("read_bytes", ()), ("write_bytes", (b"x",)), ("open", ("ab",))):
                with pytest.raises(OSError, match="device, FIFO or socket") as caught:
                    getattr(path, verb)(*given)
                assert caught.value.errno == errno.ENXIO

    def test_the_kernels_files_are_shown_and_not_changed(self, running: pc.Container) -> None:
        assert "MemTotal" in (running.path / "proc/meminfo").read_text()
        with pytest.raises(OSError) as caught:
            (running.path / "proc/meminfo").write_text("x")
        assert caught.value.errno == errno.EROFS
        for magic in ("proc/1/root/etc/passwd", "proc/1/cwd", "proc/self/exe"):
            with pytest.raises(OSError):
                (running.path / magic).read_bytes()
        with pytest.raises(PermissionError):
            (running.path / "proc/1/mem").read_bytes()

    def test_a_cell_holds_its_process(self, tmp_path: Path) -> None:
        (tmp_path / "own").write_text("own")
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                cell = Cell()
                root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
                cell.lock([root])
                said = []
                for path in ("/etc/passwd", "/proc/self/environ", ".", ".."):
                    try:
                        os.close(os.open(path, os.O_RDONLY))
                        said.append(path)
                    except OSError:
                        pass
                inside = os.open("own", os.O_RDONLY, dir_fd=root)
                said.append(os.read(inside, 3).decode() + str(os.path.isfile(named(inside))))
                try:
                    os.chroot(named(root))
                    said.append("chroot")
                except PermissionError:
                    pass
                os.write(writer, "\n".join(said).encode())
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        said = os.read(reader, 1000).decode().split("\n")
        os.close(reader)
        assert set(said) - {".", ".."} == {"ownTrue"}


class TestMounts:
    def test_what_is_mounted_in_a_running_container_shows(self, running: pc.Container) -> None:
        (running.path / "scratch/file").write_text("in memory")
        assert (running.path / "scratch/file").read_text() == "in memory"
        assert not (running._directory / "upper/scratch/file").exists()

    def test_files_that_are_mounts_are_overwritten_in_place(self, running: pc.Container) -> None:
        path = running.path / "etc/hosts"
        before = path.stat().st_ino
        path.write_text("127.0.0.1 localhost changed\n")
        assert path.read_text() == "127.0.0.1 localhost changed\n"
        assert path.stat().st_ino == before

    def test_no_space_leaves_the_old_content(self, running: pc.Container) -> None:
        path = running.path / "scratch/file"
        path.write_text("old")
        with pytest.raises(OSError, match="No space left") as caught:
            path.write_bytes(b"x" * 4_000_000)
        assert caught.value.errno == errno.ENOSPC
        assert path.read_text() == "old"
        assert [entry.name for entry in (running.path / "scratch").iterdir()] == ["file"]

    def test_a_read_only_root_says_so(self, engine: pc.Engine, busybox: pc.Image) -> None:
        with pc.Container(busybox, ["sleep", "1000"], engine=engine, read_only=True) as made:
            with pytest.raises(OSError) as caught:
                (made.path / "tmp/x").write_text("x")
            assert caught.value.errno == errno.EROFS


class TestHandles:
    def test_arithmetic_is_that_of_pure_paths(self, engine: pc.Engine, busybox: pc.Image) -> None:
        made = pc.Container.create(busybox, engine=engine)
        path = made.path / "etc" / "conf.d/a.tar.gz"
        pure = PurePosixPath("/etc/conf.d/a.tar.gz")
        assert str(path) == str(pure)
        assert (path.name, path.stem, path.suffix, path.suffixes) == (
            pure.name,
            pure.stem,
            pure.suffix,
            pure.suffixes,
        )
        assert path.parent == made.path / "etc/conf.d"
        assert [str(above) for above in path.parents] == [str(above) for above in pure.parents]
        assert path.with_name("b") == made.path / "etc/conf.d/b"
        assert path.relative_to("/etc") == PurePosixPath("conf.d/a.tar.gz")
        assert made.path / "/absolute" == made.path / "absolute"
        assert made.path.joinpath("a", "b") == made.path / "a/b"
        assert len({made.path / "a", made.path / "a", made.path / "b"}) == 2
        made.remove()

    def test_the_hosts_open_does_not_take_it(self, running: pc.Container) -> None:
        with pytest.raises(TypeError):
            os.open(running.path / "etc/passwd", os.O_RDONLY)  # type: ignore[arg-type]

    def test_paths_of_two_containers_do_not_mix(self, engine: pc.Engine, busybox: pc.Image) -> None:
        one, two = (pc.Container.create(busybox, engine=engine) for _ in range(2))
        with pytest.raises(InvalidInput, match="another container"):
            (one.path / "a").rename(two.path / "a")
        for made in (one, two):
            made.remove()

    def test_a_removed_container_has_no_files(self, engine: pc.Engine, busybox: pc.Image) -> None:
        made = pc.Container.create(busybox, engine=engine)
        path = made.path / "etc/passwd"
        made.remove()
        with pytest.raises(NotFound):
            path.read_text()
        with pytest.raises(WrongState):
            _ = pc.Container(busybox, engine=engine).path.exists()

    def test_looks_while_it_starts_and_ends_all_the_time(self, engine: pc.Engine, busybox: pc.Image) -> None:
        made = pc.Container.create(busybox, ["true"], engine=engine)
        for _ in range(5):
            made.start()
            assert (made.path / "srv/greeting").is_file()
            made.wait(30)
            assert (made.path / "srv/greeting").is_file()
        made.remove()

    def test_between_two_runs_it_says_what_to_do(self, engine: pc.Engine, busybox: pc.Image) -> None:
        made = pc.Container.create(busybox, ["false"], restart="always", engine=engine)
        made.start()

        def read_on() -> None:
            while True:  # the waits between its runs double each time
                (made.path / "srv/greeting").read_text()

        with pytest.raises(WrongState, match="stop it first"):
            read_on()
        made.stop()
        assert (made.path / "srv/greeting").is_file()
        made.remove()
