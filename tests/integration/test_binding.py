"""Mounts from descriptors: binds, parts of them, layers and copies on write, as containers see them."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pycontainer import errors
from pycontainer.kernel import syscalls
from pycontainer.launcher import Helper
from tests.support.launching import MOUNTS, Ended, Launcher
from tests.support.needs import needs

pytestmark = [needs("root", "overlay")]

USERS = {
    "linux": {
        "namespaces": [{"type": kind} for kind in ("user", "pid", "mount", "uts", "ipc", "network")],
        "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
    }
}


@pytest.fixture(scope="module")
def helper() -> Iterator[Helper]:
    made = Helper()
    made.start()
    yield made
    made.close()


@pytest.fixture
def launcher(helper: Helper, tmp_path: Path, busybox_rootfs: Path) -> Launcher:
    return Launcher(helper, tmp_path, busybox_rootfs)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory of the host with a file, a directory and links."""
    top = tmp_path / "source"
    (top / "inner/deep").mkdir(parents=True)
    (top / "file").write_text("of the host\n")
    (top / "inner/deep/file").write_text("deep\n")
    (top / "out").symlink_to("/etc")
    (top / "up").symlink_to("inner")
    return top


def mounting(
    options: Sequence[str] = ("rbind",), place: str = "/mnt", extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A specification with one bind, whose path must not be looked at."""
    bind = {"destination": place, "type": "bind", "source": "/nonexistent", "options": list(options)}
    return {"mounts": [*MOUNTS, bind], **(extra or {})}


def run(
    launcher: Launcher,
    script: str,
    source: Path,
    *,
    options: Sequence[str] = ("rbind",),
    extra: Mapping[str, Any] | None = None,
    **described: Any,
) -> Ended:
    fd = os.open(source, os.O_PATH)
    try:
        return launcher.run(
            ["sh", "-c", script],
            mounting(options, extra=extra),
            fds={"mount:0": fd},
            sources={"/mnt": {"fd": "mount:0", **described}},
        )
    finally:
        os.close(fd)


def refused(
    launcher: Launcher,
    source: Path,
    *,
    options: Sequence[str] = ("rbind",),
    extra: Mapping[str, Any] | None = None,
    **described: Any,
) -> errors.LaunchError:
    fd = os.open(source, os.O_PATH)
    try:
        return launcher.failure(
            ["true"],
            mounting(options, extra=extra),
            fds={"mount:0": fd},
            sources={"/mnt": {"fd": "mount:0", **described}},
        )
    finally:
        os.close(fd)


@contextmanager
def mounted_tmpfs(place: Path, *options: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        for option in options:
            subprocess.run(["mount", option, place], check=True)
        yield
    finally:
        subprocess.run(["umount", "-R", place], check=True)


class TestBinds:
    def test_what_is_mounted_is_what_was_opened_whatever_has_its_name_now(
        self, launcher: Launcher, source: Path, tmp_path: Path
    ) -> None:
        fd = os.open(source, os.O_PATH)
        source.rename(tmp_path / "elsewhere")
        source.symlink_to("/etc")
        done = launcher.run(
            ["cat", "/mnt/file"],
            mounting(),
            fds={"mount:0": fd},
            sources={"/mnt": {"fd": "mount:0"}},
        )
        os.close(fd)
        assert done.stdout == "of the host\n"

    def test_a_file_a_fifo_and_a_socket_are_mounted_as_what_they_are(
        self, launcher: Launcher, source: Path
    ) -> None:
        assert run(launcher, "cat /mnt", source / "file").stdout == "of the host\n"
        os.mkfifo(source / "fifo")
        assert run(launcher, "[ -p /mnt ] && echo fifo", source / "fifo").stdout == "fifo\n"
        os.mknod(source / "null", 0o20666, os.makedev(1, 3))
        assert run(launcher, "echo x > /mnt && echo gone", source / "null").stdout == "gone\n"

    def test_the_words_of_a_mount_are_what_the_container_s_kernel_shows(
        self, launcher: Launcher, source: Path
    ) -> None:
        done = run(
            launcher,
            "grep ' /mnt ' /proc/self/mountinfo; touch /mnt/new",
            source,
            options=("bind", "ro", "nosuid", "nodev", "noexec"),
        )
        words = set(done.stdout.split()[5].split(","))
        assert words >= {"ro", "nosuid", "nodev", "noexec"}
        assert "Read-only file system" in done.stderr

    @pytest.mark.parametrize(("words", "is_readonly"), [(("ro",), False), (("ro", "rro"), True)])
    def test_read_only_goes_down_to_mounts_below_if_it_is_recursive(
        self, launcher: Launcher, source: Path, words: Sequence[str], is_readonly: bool
    ) -> None:
        with mounted_tmpfs(source / "inner"):
            done = run(launcher, "touch /mnt/inner/new; touch /mnt/new", source, options=("rbind", *words))
            assert (source / "inner/new").exists() != is_readonly
        assert "/mnt/new: Read-only" in done.stderr

    def test_a_bind_that_is_not_recursive_shows_no_mounts_below(
        self, launcher: Launcher, source: Path
    ) -> None:
        with mounted_tmpfs(source / "inner"):
            (source / "inner/only here").touch()
            assert run(launcher, "ls /mnt/inner", source, options=("bind",)).stdout == "deep\n"
            assert run(launcher, "ls /mnt/inner", source).stdout == "only here\n"


class TestPropagation:
    def test_a_slave_sees_what_the_host_mounts_and_the_host_nothing_of_its_own(
        self, launcher: Launcher, source: Path
    ) -> None:
        with mounted_tmpfs(source, "--make-shared"):
            (source / "sub").mkdir()
            fd = os.open(source, os.O_PATH)
            params = launcher.params(
                ["sh", "-c", "echo ready > /mnt/ready; until [ -e /mnt/sub/seen ]; do :; done"],
                mounting(("rbind", "rslave")),
                sources={"/mnt": {"fd": "mount:0"}},
            )
            job, _ = launcher.start(params, {"mount:0": fd})
            os.close(fd)
            with job, mounted_tmpfs(source / "sub"):
                (source / "sub/seen").touch()
                message = job.receive(20)
                assert job.receive(20) is None
            assert message is not None
            assert message["exit_code"] == 0
            assert not (source / "sub/ready").exists()

    @pytest.mark.parametrize("word", ["shared", "rshared", "slave", "rslave"])
    def test_a_source_on_a_private_mount_is_refused(
        self, launcher: Launcher, source: Path, word: str
    ) -> None:
        with mounted_tmpfs(source, "--make-private"):
            assert "--make-shared" in str(refused(launcher, source, options=("rbind", word)))

    def test_a_container_with_its_own_users_shares_no_mounts_with_the_host(
        self, launcher: Launcher, source: Path
    ) -> None:
        with mounted_tmpfs(source, "--make-shared"):
            error = refused(launcher, source, options=("rbind", "rshared"), extra=USERS)
        assert "user namespace" in str(error)


class TestSubpaths:
    def test_a_part_of_the_source_is_mounted_alone(self, launcher: Launcher, source: Path) -> None:
        assert run(launcher, "ls /mnt", source, subpath="inner/deep").stdout == "file\n"
        assert run(launcher, "cat /mnt", source, subpath="inner/deep/file").stdout == "deep\n"

    @pytest.mark.parametrize(
        ("subpath", "words"),
        [
            ("out", "symbolic link"),
            ("out/passwd", "symbolic link"),
            ("up/deep", "symbolic link"),
            ("..", "out of the source"),
            ("inner/../../c1", "out of the source"),
            ("/etc", "out of the source"),
            ("missing", "No such file"),
            ("file/below", "Not a directory"),
        ],
    )
    def test_what_leads_out_or_through_a_link_is_refused(
        self, launcher: Launcher, source: Path, subpath: str, words: str
    ) -> None:
        error = refused(launcher, source, subpath=subpath)
        assert words in str(error)
        assert subpath in str(error)

    def test_links_that_are_exchanged_meanwhile_never_lead_out(
        self, launcher: Launcher, source: Path, tmp_path: Path
    ) -> None:
        secret = tmp_path / "secret"
        (secret / "deep").mkdir(parents=True)
        (secret / "deep/file").write_text("secret\n")
        (source / "link").symlink_to(secret)
        stop = threading.Event()

        def swap() -> None:
            while not stop.is_set():
                syscalls.renameat2(-100, str(source / "inner"), -100, str(source / "link"), 2)

        thread = threading.Thread(target=swap)
        thread.start()
        seen, refusals = set(), set()
        try:
            for _ in range(25):
                try:
                    seen.add(run(launcher, "cat /mnt/file", source, subpath="inner/deep").stdout)
                except errors.LaunchError as error:
                    refusals.add("symbolic link" in str(error))
        finally:
            stop.set()
            thread.join()
        assert seen <= {"deep\n"}
        assert refusals <= {True}


class TestIds:
    @pytest.mark.parametrize("word", ["idmap", "ridmap"])
    def test_files_stay_the_caller_s_on_disk_and_are_the_container_s_inside(
        self, launcher: Launcher, source: Path, word: str
    ) -> None:
        done = run(
            launcher,
            "stat -c %u /mnt/file; echo x > /mnt/new; stat -c %u /mnt/new",
            source,
            options=("rbind", word),
            extra=USERS,
        )
        assert (done.stdout, done.stderr) == ("0\n0\n", "")
        assert (source / "new").stat().st_uid == 0

    def test_without_it_the_host_s_files_are_nobody_s(self, launcher: Launcher, source: Path) -> None:
        assert run(launcher, "stat -c %u /mnt/file", source, extra=USERS).stdout == "65534\n"

    def test_maps_are_missing_where_there_are_no_users(self, launcher: Launcher, source: Path) -> None:
        assert "there are no maps" in str(refused(launcher, source, options=("rbind", "idmap")))

    def test_a_file_system_that_cannot_is_named(self, launcher: Launcher) -> None:
        fd = os.open("/proc/sys", os.O_PATH)
        with pytest.raises(errors.Unsupported, match=r"\(proc\)"):
            launcher.failure(
                ["true"],
                mounting(("bind", "idmap"), extra=USERS),
                fds={"mount:0": fd},
                sources={"/mnt": {"fd": "mount:0"}},
            )
        os.close(fd)


class TestLayers:
    def layered(self, tmp_path: Path) -> list[str]:
        for name, files in (("top", {"a": "top"}), ("base", {"a": "base", "b": "base", "dir/c": "base"})):
            for path, text in files.items():
                (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name / path).write_text(f"{text}\n")
        return [str(tmp_path / "top"), str(tmp_path / "base")]

    def mount(self, launcher: Launcher, script: str, **described: Any) -> Ended:
        spec = mounting(("rbind", "ro"))
        return launcher.run(["sh", "-c", script], spec, sources={"/mnt": described})

    def test_an_image_s_files_are_there_and_cannot_be_changed(
        self, launcher: Launcher, tmp_path: Path
    ) -> None:
        layers = self.layered(tmp_path)
        done = self.mount(launcher, "cat /mnt/a /mnt/b /mnt/dir/c; touch /mnt/new", layers=layers)
        assert done.stdout == "top\nbase\nbase\n"
        assert "Read-only" in done.stderr
        assert not (tmp_path / "top/new").exists()

    def test_an_image_of_one_layer_is_that(self, launcher: Launcher, tmp_path: Path) -> None:
        layers = self.layered(tmp_path)[1:]
        done = self.mount(launcher, "ls /mnt; touch /mnt/new", layers=layers)
        assert (done.stdout, "Read-only" in done.stderr) == ("a\nb\ndir\n", True)

    def test_a_part_of_an_image_is_mounted_alone(self, launcher: Launcher, tmp_path: Path) -> None:
        layers = self.layered(tmp_path)
        assert self.mount(launcher, "ls /mnt", layers=layers[1:], subpath="dir").stdout == "c\n"
        if syscalls.kernel_version() >= (6, 15):
            assert self.mount(launcher, "ls /mnt", layers=layers, subpath="dir").stdout == "c\n"


class TestCopiesOnWrite:
    def written(self, tmp_path: Path) -> dict[str, str]:
        for name in ("upper", "work"):
            (tmp_path / "cow" / name).mkdir(parents=True)
        return {name: str(tmp_path / "cow" / name) for name in ("upper", "work")}

    def test_the_host_s_directory_stays_as_it_is_whatever_the_container_does(
        self, launcher: Launcher, source: Path, tmp_path: Path
    ) -> None:
        before = sorted(str(path) for path in source.rglob("*"))
        script = "echo more >> /mnt/file; rm -r /mnt/inner; touch /mnt/new; cat /mnt/file; ls /mnt"
        cow = self.written(tmp_path)
        done = run(launcher, script, source, cow=cow)
        assert done.stdout.split() == ["of", "the", "host", "more", "file", "new", "out", "up"]
        assert sorted(str(path) for path in source.rglob("*")) == before
        assert (source / "file").read_text() == "of the host\n"
        again = run(launcher, "cat /mnt/file; ls /mnt", source, cow=cow)
        assert again.stdout == done.stdout

    def test_no_path_of_the_host_shows(self, launcher: Launcher, source: Path, tmp_path: Path) -> None:
        text = run(launcher, "cat /proc/self/mountinfo", source, cow=self.written(tmp_path)).stdout
        assert str(tmp_path) not in text

    @pytest.mark.parametrize(("path", "words"), [("source/file", "only a directory"), ("", "the store")])
    def test_a_file_and_a_directory_that_holds_the_copies_are_refused(
        self, launcher: Launcher, source: Path, tmp_path: Path, path: str, words: str
    ) -> None:
        assert words in str(refused(launcher, tmp_path / path, cow=self.written(tmp_path)))
