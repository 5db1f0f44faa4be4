"""Volumes: what they keep, who may use them, what they begin with, and what becomes of them."""

from __future__ import annotations

import io
import os
import pickle
import re
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.engine import mounting
from tests.support import images

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


def sh(engine: pc.Engine, image: pc.Image, script: str, **options: Any) -> pc.RunResult:
    return pc.run(image, ["sh", "-c", script], engine=engine, **options)


def test_a_volume_outlives_the_containers_that_use_it(engine: pc.Engine, busybox: pc.Image) -> None:
    made = pc.Volume.create("data", labels={"team": "a"}, engine=engine)
    sh(engine, busybox, "echo kept > /data/file", volumes={"data": "/data"}).check()
    assert sh(engine, busybox, "cat /other/file", volumes=["data:/other:ro"]).text == "kept\n"
    assert (made.mountpoint / "file").read_text() == "kept\n"
    assert pickle.loads(pickle.dumps(made)).name == "data"
    assert made.inspect()["Mountpoint"] == str(made.mountpoint)
    assert (made.labels, made.driver, made.is_anonymous) == ({"team": "a"}, "local", False)
    made.remove()
    with pytest.raises(errors.NotFound, match="data"):
        pc.Volume.get("data", engine=engine)
    with pytest.raises(errors.NotFound):
        made.remove()
    with pytest.raises(errors.NotFound):
        _ = made.mountpoint
    made.remove(force=True)


def test_a_volume_that_is_named_by_a_container_is_made(engine: pc.Engine, busybox: pc.Image) -> None:
    sh(engine, busybox, "touch /data/x", volumes={"new": "/data"}).check()
    assert [volume.name for volume in pc.Volume.list(engine=engine)] == ["new"]


def test_read_only_is_the_kernel_s(engine: pc.Engine, busybox: pc.Image) -> None:
    done = sh(engine, busybox, "touch /data/x", volumes={"data": ("/data", "ro")})
    assert b"Read-only file system" in done.stderr


def test_one_in_use_is_not_removed_whether_its_container_runs_or_not(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    box = pc.Container.create(busybox, ["true"], name="user", volumes={"data": "/data"}, engine=engine)
    volume = pc.Volume.get("data", engine=engine)
    with pytest.raises(errors.InUse, match="used by user"):
        volume.remove()
    assert [user.name for user in volume.in_use_by] == ["user"]
    assert pc.Volume.prune(all=True, engine=engine) == ()
    box.remove()
    volume.remove()


class TestOfItsOwn:
    """Volumes without a name, which are a container's own."""

    def test_it_goes_with_a_container_that_removes_itself(self, engine: pc.Engine, busybox: pc.Image) -> None:
        sh(engine, busybox, "echo x > /cache/x", volumes="/cache").check()
        with pc.Container(busybox, ["sleep", "100"], volumes="/cache", engine=engine):
            (volume,) = pc.Volume.list(engine=engine)
            assert volume.is_anonymous
        assert pc.Volume.list(engine=engine) == []

    def test_it_stays_when_its_container_is_removed_unless_asked(
        self, engine: pc.Engine, busybox: pc.Image
    ) -> None:
        box = pc.Container.create(
            busybox, ["sh", "-c", "echo x >> /cache/x"], volumes="/cache", engine=engine
        )
        for _ in range(2):
            box.start()
            assert box.wait(30) == 0
        (volume,) = pc.Volume.list(engine=engine)
        assert (volume.mountpoint / "x").read_text() == "x\nx\n"
        box.remove()
        assert pc.Volume.list(filters={"dangling": True}, engine=engine) == [volume]
        assert pc.Volume.prune(engine=engine) == (volume.name,)
        pc.Container.create(busybox, ["true"], volumes="/cache", engine=engine).remove(volumes=True)
        assert pc.Volume.list(engine=engine) == []

    def test_others_get_it_from_the_container(
        self, engine: pc.Engine, busybox: pc.Image, tmp_path: Path
    ) -> None:
        binds = ["/cache", f"{tmp_path}:/host"]
        (tmp_path / "file").write_text("of the host\n")
        with pc.Container(busybox, ["sleep", "100"], volumes=binds, engine=engine) as box:
            box.exec(["sh", "-c", "echo shared > /cache/file"]).check()
            assert sh(engine, busybox, "cat /cache/file /host/file", volumes_from=box.name).text == (
                "shared\nof the host\n"
            )
            done = sh(engine, busybox, "touch /cache/x", volumes_from=[f"{box.name}:ro"])
            assert b"Read-only" in done.stderr
            assert (box.path / "cache/file").read_text() == "shared\n"
            own = {"volumes_from": box.name, "mounts": "type=tmpfs,target=/own"}
            with pc.Container.create(busybox, ["true"], engine=engine, **own) as other:  # type: ignore[arg-type]
                assert [each["Target"] for each in other.inspect()["HostConfig"]["Mounts"]] == ["/own"]


class TestFilled:
    """What an empty volume gets of the image."""

    @pytest.fixture
    def image(self, engine: pc.Engine, tmp_path: Path) -> pc.Image:
        root = images.busybox_rootfs(tmp_path / "root")
        place = root / "srv/app"
        (place / "sub").mkdir(parents=True)
        (place / "seed").write_text("seed\n")
        (place / "seed").chmod(0o4750)
        (place / "link").symlink_to("/etc/passwd")
        os.mkfifo(place / "sub/fifo")
        (place / "sub/fifo").chmod(0o622)
        (place / "sub/deep").write_text("deep\n")
        os.link(place / "sub/deep", place / "same")
        place.chmod(0o751)
        layers = [images.tar_of(root), images.tar_with({"srv/app/second": b"second\n"})]
        return pc.Image.load(images.oci_layout(tmp_path / "layout", layers), engine=engine)[0]

    def test_it_has_owner_mode_links_and_all_layers(self, engine: pc.Engine, image: pc.Image) -> None:
        script = "cd /srv/app; find . | sort; stat -c '%a %F' . seed sub/fifo; readlink link; stat -c %h same"
        plain = sh(engine, image, script).text
        assert sh(engine, image, script, volumes={"data": "/srv/app"}).text == plain
        assert {"./second", "4750", "622"} <= set(plain.split())
        assert plain.split()[-1] == "2"

    def test_it_is_filled_once(self, engine: pc.Engine, image: pc.Image) -> None:
        sh(engine, image, "rm -r /srv/app/sub /srv/app/seed", volumes={"data": "/srv/app"}).check()
        assert sh(engine, image, "ls /srv/app", volumes={"data": "/srv/app"}).text == "link\nsame\nsecond\n"

    def test_it_is_not_filled_if_that_is_not_wanted(self, engine: pc.Engine, image: pc.Image) -> None:
        assert sh(engine, image, "ls /srv/app", volumes=["data:/srv/app:nocopy"]).text == ""
        assert sh(engine, image, "ls /srv/app", mounts="source=data,target=/srv/app,volume-nocopy").text == ""

    def test_it_is_given_to_the_container_s_user_if_asked(
        self, engine: pc.Engine, busybox: pc.Image, tmp_path: Path
    ) -> None:
        (tmp_path / "given/deep").mkdir(parents=True)
        (tmp_path / "given/link").symlink_to(tmp_path)
        (tmp_path / "kept").touch()
        places = [f"{tmp_path}/given:/given:U", "data:/data:U"]
        mapped = {"userns": "private", "uid_map": "0:700000:65536"}
        users: tuple[tuple[str, dict[str, str], int], ...] = (
            ("web", {}, 1000), ("5:6", {}, 5), ("7", mapped, 700007),
        )  # fmt: skip
        for user, options, owner in users:
            asked: dict[str, Any] = {"user": user, "volumes": places, **options}
            sh(engine, busybox, "touch /given/deep/x /data/y", **asked).check()
            tops = tmp_path / "given", pc.Volume.get("data", engine=engine).mountpoint
            for top, expected in zip(tops, (owner, owner % 700000), strict=True):
                assert {path.lstat().st_uid for path in (top, *top.rglob("*"))} == {expected}, top
        assert (tmp_path / "kept").stat().st_uid == tmp_path.stat().st_uid == 0
        with pytest.raises(errors.InvalidOption, match="/usr is the host's own"):
            sh(engine, busybox, "true", volumes=["/usr:/given:U"])

    def test_its_files_are_the_same_users_whatever_ids_these_have_on_the_host(
        self, engine: pc.Engine, image: pc.Image
    ) -> None:
        script = "touch /srv/app/new; stat -c %u /srv/app/*; rm /srv/app/new"
        for maps in ("0:700000:65536", "0:900000:65536", None):
            users: dict[str, Any] = {"userns": "private", "uid_map": maps} if maps else {}
            done = sh(engine, image, script, volumes=["data:/srv/app"], **users)
            assert set(done.check().text.split()) == {"0"}, maps

    @pytest.mark.parametrize("maps", [None, "0:700000:65536"], ids=["the host's ids", "its own ids"])
    def test_it_stays_as_it_is_under_a_copy_on_write(
        self, engine: pc.Engine, busybox: pc.Image, maps: str | None
    ) -> None:
        users: dict[str, Any] = {"userns": "private", "uid_map": maps} if maps else {}
        sh(engine, busybox, "echo kept > /data/kept; chown 5 /data/kept", volumes=["data:/data"], **users)
        script = "cd /data; echo new > new; echo more >> kept; stat -c %u . kept new; cat kept"
        box = pc.Container.create(
            busybox, ["sh", "-c", script], volumes=["data:/data:O"], engine=engine, **users
        )
        data = pc.Volume.get("data", engine=engine)
        for count in (1, 2):  # what it wrote is there when it starts again
            box.start()
            assert box.wait(timeout=20) == 0
            lines = [line.text.strip() for line in box.logs()]
            assert lines[-4 - count :] == ["0", "5", "0", "kept", *["more"] * count]
        assert [path.name for path in data.path.iterdir()] == ["kept"]
        assert (data.path / "kept").read_text() == "kept\n"
        changed = {change.path: change.kind for change in box.diff("/data")}
        assert changed == {"/kept": "changed", "/new": "added"}
        box.apply("/data")
        assert (data.path / "new").read_text() == "new\n"
        assert (data.mountpoint / "new").stat().st_uid == 0  # as every container finds it, whatever its maps

    def test_one_of_memory_or_of_a_server_has_no_copy_on_write(
        self, engine: pc.Engine, busybox: pc.Image
    ) -> None:
        pc.Volume.create("memory", options={"type": "tmpfs", "device": "tmpfs"}, engine=engine)
        with pytest.raises(errors.InvalidOption, match="leave O out"):
            sh(engine, busybox, "true", volumes=["memory:/data:O"])

    def test_many_that_start_at_once_fill_it_once(self, engine: pc.Engine, image: pc.Image) -> None:
        pc.Volume.create("data", engine=engine)
        with ThreadPoolExecutor(6) as pool:
            found = list(
                pool.map(
                    lambda _: sh(engine, image, "cat /srv/app/sub/deep", volumes={"data": "/srv/app"}).text,
                    range(12),
                )
            )
        assert found == ["deep\n"] * 12

    @pytest.mark.parametrize("link", ["/etc", "../../../../../../etc"], ids=["absolute", "climbing"])
    def test_a_link_of_the_image_gives_it_nothing_of_the_host(
        self, engine: pc.Engine, busybox_rootfs: Path, tmp_path: Path, link: str
    ) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            entry = tarfile.TarInfo("data")
            entry.type, entry.linkname = tarfile.SYMTYPE, link
            archive.addfile(entry)
        layers = [images.tar_of(busybox_rootfs), buffer.getvalue()]
        image = pc.Image.load(images.oci_layout(tmp_path / "layout", layers), engine=engine)[0]
        listed = sh(engine, image, "ls /etc").text
        assert set(sh(engine, image, "ls /data", volumes={"kept": "/data"}).text.split()) <= set(
            listed.split()
        )


class TestLocalOptions:
    """Volumes that are mounted by the driver's options."""

    def test_memory_is_as_large_as_asked(self, engine: pc.Engine, busybox: pc.Image) -> None:
        pc.Volume.create("mem", options={"type": "tmpfs", "o": "size=1m,mode=700"}, engine=engine)
        shown = sh(engine, busybox, "df -k /m | tail -1; stat -c %a /m", volumes={"mem": "/m"}).text
        assert (shown.split()[1], shown.split()[-1]) == ("1024", "700")

    def test_a_directory_of_the_host(self, engine: pc.Engine, busybox: pc.Image, tmp_path: Path) -> None:
        pc.Volume.create("host", options={"o": "bind", "device": str(tmp_path)}, engine=engine)
        sh(engine, busybox, "echo x > /m/x", volumes={"host": "/m"}).check()
        assert (tmp_path / "x").read_text() == "x\n"

    def test_a_device_is_mounted_for_each_container_and_is_the_same(
        self, engine: pc.Engine, busybox: pc.Image, tmp_path: Path
    ) -> None:
        disk = tmp_path / "disk"
        disk.write_bytes(b"")
        os.truncate(disk, 16 << 20)
        subprocess.run(["mkfs.ext4", "-q", str(disk)], check=True)
        loop = subprocess.run(
            ["losetup", "--find", "--show", str(disk)], check=True, capture_output=True, text=True
        )
        device = loop.stdout.strip()
        try:
            options = {"type": "ext4", "device": device, "o": "noexec,commit=30"}
            pc.Volume.create("disk", options=options, engine=engine)
            reader = pc.Container.create(
                busybox, ["sleep", "1000"], volumes=["disk:/m:ro"], userns="private", engine=engine
            )
            reader.start()
            sh(engine, busybox, "echo x > /m/x", volumes={"disk": "/m"}).check()
            shown = reader.exec(["sh", "-c", "cat /m/x; grep ' /m ' /proc/self/mountinfo; touch /m/y"])
            assert shown.text.startswith("x\n")
            assert {"ro", "noexec"} <= set(shown.text.splitlines()[1].split()[5].split(","))
            assert "commit=30" in shown.text
            assert b"Read-only" in shown.stderr
            reader.remove(force=True)
            part = "source=disk,target=/m,volume-subpath=lost+found"
            assert sh(engine, busybox, "ls -a /m", mounts=part).text.split() == [".", ".."]
        finally:
            subprocess.run(["losetup", "--detach", device], check=True)

    def test_a_server_is_named_by_its_address_and_missing_support_by_its_name(
        self, engine: pc.Engine, busybox: pc.Image
    ) -> None:
        options = {"type": "nfs", "o": "addr=localhost,soft,timeo=1,retrans=1", "device": ":/nowhere"}
        pc.Volume.create("share", options=options, engine=engine)
        with pytest.raises(errors.LaunchError, match="mount /m: nfs :/nowhere: "):
            sh(engine, busybox, "true", volumes={"share": "/m"})
        with open("/proc/filesystems") as file:
            has_nfs = any(line.split()[-1] == "nfs" for line in file)
        if not has_nfs:
            with pytest.raises(errors.LaunchError, match="load its module"):
                sh(engine, busybox, "true", volumes={"share": "/m"})

    @pytest.mark.parametrize(
        ("fstype", "device", "words", "expected"),
        [
            ("nfs", ":/x", ["addr=localhost", "rw"], ["rw", "addr=ADDRESS"]),
            ("nfs", ":/x", ["addr=10.0.0.1", "rw"], ["rw", "addr=10.0.0.1"]),
            ("nfs4", ":/x", ["addr=fd00::1"], ["addr=fd00::1"]),
            ("nfs", "localhost:/x", ["vers=4.2"], ["vers=4.2", "addr=ADDRESS"]),
            ("nfs4", "[fd00::1]:/x", [], ["addr=fd00::1"]),
            ("cifs", "//localhost/x", ["guest"], ["guest", "addr=ADDRESS"]),
            ("ext4", "/dev/x", ["addr=localhost"], ["addr=localhost"]),
        ],
    )
    def test_the_kernel_is_told_addresses(
        self, fstype: str, device: str, words: list[str], expected: list[str]
    ) -> None:
        found = mounting.addressed("share", fstype, device, words)
        assert [re.sub(r"^addr=(127\.0\.0\.1|::1)$", "addr=ADDRESS", word) for word in found] == expected

    def test_the_long_form_makes_one_with_options(self, engine: pc.Engine, busybox: pc.Image) -> None:
        words = '"volume-opt=o=size=2m,uid=3"'
        long = f"source=mem,target=/m,volume-opt=type=tmpfs,{words},volume-label=a=b"
        assert sh(engine, busybox, "df -k /m | tail -1", mounts=long).text.split()[1] == "2048"
        made = pc.Volume.get("mem", engine=engine)
        assert (made.options, made.labels) == ({"type": "tmpfs", "o": "size=2m,uid=3"}, {"a": "b"})

    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            ({"colour": "red"}, "'colour'"),
            ({"o": "size=1m"}, "type="),
            ({"type": "nfs"}, "device="),
            (
                {"type": "nonesuch", "device": "x"},
                "mount /m: nonesuch x: the kernel has no file system nonesuch",
            ),
            ({"type": "ext4", "device": "/nowhere"}, "mount /m: ext4 /nowhere"),
            ({"type": "nfs", "device": ":/x", "o": "addr=nowhere.invalid"}, "the server 'nowhere.invalid'"),
            ({"type": "nfs", "device": ":/x", "o": "vers=4"}, "nfs :/x names no server; add addr="),
            ({"type": "cifs", "device": "//nowhere.invalid/x"}, "the server 'nowhere.invalid'"),
            ({"o": "bind", "device": "/nowhere"}, "/nowhere"),
        ],
    )
    def test_what_cannot_be_is_refused_by_name(
        self, engine: pc.Engine, busybox: pc.Image, options: dict[str, str], complaint: str
    ) -> None:
        def use() -> None:
            pc.Volume.create("bad", options=options, engine=engine)
            sh(engine, busybox, "true", volumes={"bad": "/m"})

        with pytest.raises(errors.PycontainerError, match=complaint):
            use()
        assert pc.Container.list(all=True, engine=engine) == []


def test_volumes_that_are_pruned_while_a_container_is_made_are_made_again(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    may_end = threading.Event()

    def prune() -> None:
        while not may_end.is_set():
            pc.Volume.prune(all=True, engine=engine)

    pruner = threading.Thread(target=prune)
    pruner.start()
    try:
        for _ in range(15):
            box = pc.Container.create(busybox, ["true"], volumes=["a:/a", "/own"], engine=engine)
            assert len(pc.Volume.list(filters={"dangling": False}, engine=engine)) == 2
            box.remove(volumes=True)
    finally:
        may_end.set()
        pruner.join()


@pytest.mark.parametrize("name", ["", "-x", "a/b", "../x", "a" * 300, "x y"])
def test_a_bad_name_is_refused(engine: pc.Engine, name: str) -> None:
    with pytest.raises(errors.InvalidOption, match="start with a letter"):
        pc.Volume.create(name, engine=engine)


def test_the_same_name_with_other_options_is_refused(engine: pc.Engine) -> None:
    made = pc.Volume.create("data", engine=engine)
    assert pc.Volume.create("data", engine=engine) == made
    with pytest.raises(errors.AlreadyExists, match="other options"):
        pc.Volume.create("data", options={"type": "tmpfs"}, engine=engine)
    with pytest.raises(errors.InvalidOption, match="local"):
        pc.Volume.create("other", driver="nfs", engine=engine)


def test_a_volume_that_went_meanwhile_is_named(engine: pc.Engine, busybox: pc.Image) -> None:
    with pytest.raises(errors.NotFound, match="nobody"):
        pc.run(busybox, ["true"], volumes_from="nobody", engine=engine)
    with pytest.raises(errors.InvalidOption, match="/data"):
        pc.run(busybox, ["true"], volumes={"a": "/data"}, mounts="source=b,target=/data", engine=engine)
    assert pc.Container.list(all=True, engine=engine) == []


def test_what_is_on_a_volume_is_no_change_of_the_container(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Container(busybox, ["sleep", "100"], volumes={"data": "/srv"}, engine=engine) as box:
        box.exec(["sh", "-c", "echo x > /srv/new; echo y > /elsewhere"]).check()
        changed = {change.path for change in box.diff()}
        assert changed & {"/elsewhere", "/srv/new"} == {"/elsewhere"}
        (mount,) = box.inspect()["Mounts"]
        assert (mount["Type"], mount["Name"], mount["Destination"], mount["RW"]) == (
            "volume",
            "data",
            "/srv",
            True,
        )
        assert pc.Container.list(filters={"volume": "data"}, engine=engine) == [box]
