"""Images out of the ordinary: each runs as Docker would run it, or the error says what is wrong with it."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer import errors
from tests.support import images

pytestmark = pytest.mark.needs("root", "overlay")

PATH = {"Env": ["PATH=/bin"]}
SCRIPTS = images.tar_with(
    {
        "srv/": None,
        "srv/run": b'#!/bin/sh\necho "$0 $@ in $(pwd)"\n',
        "srv/plain": b"echo no shebang\n",
        "srv/lost": b"#!/no/such/shell\n",
        "srv/empty": b"",
    },
    mode=0o755,
)
# Source: elf(5); e_machine of aarch64 is 183, of x86-64 62
FOREIGN_MACHINE = 62 if pc.Platform.host().architecture == "arm64" else 183
FOREIGN = "amd64" if FOREIGN_MACHINE == 62 else "arm64"
FOREIGN_PROGRAM = struct.pack(
    "<4sBBBB8xHHIQQQIHHHHHH",
    *(b"\x7fELF", 2, 1, 1, 0, 2, FOREIGN_MACHINE, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0),
)
Make = Callable[..., pc.Image]


@pytest.fixture(scope="module")
def base(busybox_rootfs: Path) -> bytes:
    return images.tar_of(busybox_rootfs)


@pytest.fixture
def make(engine: pc.Engine, base: bytes, tmp_path: Path) -> Iterator[Make]:
    """Load an image of busybox with this configuration and further layers; gone with the test."""
    made: list[pc.Image] = []

    def make_one(config: Mapping[str, Any], *layers: bytes, bare: bool = False, **more: Any) -> pc.Image:
        below: Sequence[bytes] = () if bare else (base,)
        target = tmp_path / f"layout{len(made)}"
        images.oci_layout(target, [*below, *layers], config=config, tags=(f"odd:{len(made)}",), **more)
        made.extend(pc.Image.load(target, engine=engine))
        return made[-1]

    yield make_one
    for image in made:
        image.remove(force=True)


@pytest.fixture
def run(engine: pc.Engine) -> Callable[..., pc.RunResult]:
    return lambda image, *arguments, **options: pc.run(image, *arguments, engine=engine, **options)


Run = Callable[..., pc.RunResult]


def push_elsewhere(layout: Path, name: str) -> None:
    """Push with an engine of its own, whose connections end with it."""
    with pc.Engine(layout.parent / "pushing"):
        pc.Image.load(layout)[0].push(name)


@pytest.mark.parametrize("config", [PATH, {**PATH, "Cmd": None}, {**PATH, "Cmd": [], "Entrypoint": []}])
def test_an_image_that_names_no_command_needs_one(make: Make, run: Run, config: dict[str, Any]) -> None:
    image = make(config)
    with pytest.raises(errors.InvalidOption, match="the image names none; give a command"):
        run(image)
    with pytest.raises(errors.InvalidOption, match="the image names none"):
        pc.Container.create(image, engine=image._engine)
    assert run(image, ["echo", "given"]).text == "given\n"


@pytest.mark.parametrize(
    ("user", "complaint"),
    [("nobody-here", "unable to find user 'nobody-here'"), ("web:nothing", "unable to find group 'nothing'")],
)
def test_a_user_the_image_does_not_know_is_named(make: Make, run: Run, user: str, complaint: str) -> None:
    image = make({**PATH, "User": user, "Cmd": ["id"]})
    with pytest.raises(errors.LaunchError, match=complaint) as caught:
        run(image)
    assert (caught.value.exit_code, caught.value.step) == (125, "user")
    assert run(image, user="web").text.startswith("uid=1000(web)")


def test_a_stop_signal_that_is_none_is_told_before_a_container_could_not_be_stopped(
    make: Make, engine: pc.Engine
) -> None:
    image = make({**PATH, "StopSignal": "SIGNOTHING", "Cmd": ["sleep", "100"]})
    with pytest.raises(errors.InvalidImage, match=r"SIGNOTHING.*pass stop_signal="):
        pc.Container.create(image, engine=engine)
    box = pc.Container.create(image, engine=engine, stop_signal="SIGKILL")
    box.start()
    box.stop()
    assert box.exit_code == 137
    box.remove()


def test_a_user_by_number_needs_no_entry(make: Make, run: Run) -> None:
    assert run(make({**PATH, "User": "4242:77", "Cmd": ["id"]})).text == "uid=4242 gid=77 groups=77\n"


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ("../usr/share/passwd", "uid=7(far)"),
        ("/usr/share/passwd", "uid=7(far)"),
        ("/usr/share/none", "far"),
        ("../../../../usr/share/passwd", "uid=7(far)"),
        ("/dev/zero", "regular file"),
        ("/proc/self/root/etc/passwd", "far"),
        ("/proc/kmsg", "far"),
    ],
)
def test_users_are_looked_up_behind_links_that_stay_in_the_image(
    make: Make, run: Run, link: str, told: str
) -> None:
    """An image may keep the file elsewhere; it reaches neither the host's nor a device (CVE-2024-9676)."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, target in (("etc/passwd", link), ("usr/share/passwd", "")):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = (tarfile.SYMTYPE, target) if target else (tarfile.REGTYPE, "")
            data = b"" if target else b"far:x:7:7::/:/bin/sh\n"
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        if link.startswith("/dev/"):
            device = tarfile.TarInfo("dev/zero")
            device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 5
            tar.addfile(device)
    image = make({**PATH, "Cmd": ["id"]}, content.getvalue())
    if told.startswith("uid="):
        assert run(image, user="far").text.startswith(told)
    else:
        with pytest.raises(errors.LaunchError, match=told):
            run(image, user="far")


@pytest.mark.parametrize("is_readonly", [False, True], ids=["writable", "read-only"])
def test_a_working_directory_that_is_missing_is_made(make: Make, run: Run, is_readonly: bool) -> None:
    image = make(
        {**PATH, "WorkingDir": "/not/there", "User": "web", "Cmd": ["sh", "-c", "pwd; stat -c %u ."]}
    )
    assert run(image, read_only=is_readonly).check().text == "/not/there\n0\n"


@pytest.mark.parametrize("is_readonly", [False, True], ids=["writable", "read-only"])
def test_a_working_directory_that_is_a_file_is_told(make: Make, run: Run, is_readonly: bool) -> None:
    image = make({**PATH, "WorkingDir": "/etc/passwd", "Cmd": ["pwd"]})
    with pytest.raises(errors.LaunchError, match="/etc/passwd in the image is not a directory") as caught:
        run(image, read_only=is_readonly)
    assert (caught.value.exit_code, caught.value.step) == (125, "cwd")


@pytest.mark.parametrize(
    ("entrypoint", "directory"), [("./run", "/srv"), ("srv/run", "/"), ("../srv/run", "/etc")]
)
def test_a_relative_entrypoint_starts_at_the_working_directory(
    make: Make, run: Run, entrypoint: str, directory: str
) -> None:
    image = make({**PATH, "Entrypoint": [entrypoint], "Cmd": ["a b"], "WorkingDir": directory}, SCRIPTS)
    assert run(image).check().text == f"{entrypoint} a b in {directory}\n"


@pytest.mark.parametrize(
    ("program", "exit_code", "complaint"),
    [
        ("/srv/plain", 126, "exec format error"),
        ("/srv/empty", 126, "exec format error"),
        ("/etc/passwd", 126, "permission denied"),
        ("/srv", 126, "is a directory"),
        ("/srv/lost", 127, "its interpreter /no/such/shell is not in the image"),
        ("/srv/none", 127, "no such file or directory"),
        ("run", 127, r"executable file not found in \$PATH"),
    ],
)
def test_an_entrypoint_that_cannot_be_executed_has_dockers_exit_code(
    make: Make, run: Run, program: str, exit_code: int, complaint: str
) -> None:
    image = make({**PATH, "Entrypoint": [program], "WorkingDir": "/srv"}, SCRIPTS)
    with pytest.raises(errors.LaunchError, match=complaint) as caught:
        run(image)
    assert (caught.value.exit_code, caught.value.step) == (exit_code, "exec")
    assert program in str(caught.value)


class TestVolumes:
    """What VOLUME names is a volume of the container's own, and shows what the image has there."""

    CONFIG: Mapping[str, Any] = {
        **PATH,
        "Volumes": {"/data": {}, "/var/lib/app/": {}, "/srv": {}, "/proc/x": {}, "relative": {}},
        "Cmd": ["sh", "-c", "echo kept | tee /data/file > /var/lib/app/file && touch /srv/new /relative/x"],
    }  # fmt: skip

    @pytest.mark.parametrize("is_readonly", [False, True], ids=["writable", "read-only"])
    def test_they_are_made_and_written_to(self, make: Make, engine: pc.Engine, is_readonly: bool) -> None:
        image = make(self.CONFIG, SCRIPTS)
        assert set(image.inspect()["Config"]["Volumes"]) == set(self.CONFIG["Volumes"])
        box = pc.Container.create(image, read_only=is_readonly, engine=engine)
        try:
            box.start()
            assert box.wait() == 0, box.logs().text()
            kept = {each["Destination"]: Path(each["Source"]) for each in box.inspect()["Mounts"]}
            assert set(kept) == {"/data", "/var/lib/app", "/srv", "/relative"}
            assert [(kept[at] / "file").read_text() for at in ("/data", "/var/lib/app")] == ["kept\n"] * 2
            assert (kept["/srv"] / "new").exists()
        finally:
            box.remove(force=True, volumes=True)
        assert pc.Volume.list(engine=engine) == []

    def test_the_images_files_are_in_them(self, make: Make, run: Run) -> None:
        image = make(self.CONFIG, SCRIPTS)
        assert "run\n" in run(image, ["ls", "/srv"], read_only=True).check().text

    def test_beside_them_a_read_only_root_stays_so(self, make: Make, run: Run) -> None:
        image = make(self.CONFIG, SCRIPTS)
        for path in ("/etc/new", "/proc/sys/kernel/hostname", "/new"):
            assert run(image, ["touch", path], read_only=True).exit_code == 1, path
            assert run(image, ["sh", "-c", f"echo x > {path}"], read_only=True).exit_code != 0, path

    def test_one_that_is_a_file_in_the_image_is_told(self, make: Make, run: Run) -> None:
        image = make({**PATH, "Volumes": {"/etc/passwd": {}}, "Cmd": ["true"]})
        with pytest.raises(errors.LaunchError, match="/etc/passwd in the image is not a directory") as caught:
            run(image)
        assert (caught.value.exit_code, caught.value.step) == (125, "mount /etc/passwd")

    @pytest.mark.parametrize("way", ["", "../../../.."], ids=["absolute", "climbing"])
    def test_a_link_of_the_image_leads_nowhere_outside(
        self, make: Make, run: Run, tmp_path: Path, way: str
    ) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            entry = tarfile.TarInfo("link")
            entry.type, entry.linkname = tarfile.SYMTYPE, f"{way}{outside}"
            archive.addfile(entry)
        command = ["sh", "-c", f"touch /link/a/b && find {outside}"]
        image = make({**PATH, "Volumes": {"/link/a": {}}, "Cmd": command}, buffer.getvalue())
        assert run(image).text.split() == [f"{outside}{name}" for name in ("", "/a", "/a/b")]
        assert list(outside.iterdir()) == []


def test_an_image_without_layers_can_be_kept_and_told_of(
    make: Make, run: Run, engine: pc.Engine, tmp_path: Path
) -> None:
    image = make({"Cmd": ["/program"]}, bare=True)
    assert image.snapshots == ()
    assert image.inspect()["RootFS"]["Layers"] == []
    with pytest.raises(errors.LaunchError, match="/program") as caught:
        run(image)
    assert caught.value.exit_code == 127
    with pc.Registry() as registry:
        push_elsewhere(tmp_path / "layout0", f"{registry.address}/scratch:1")
        with pc.Engine(tmp_path / "fresh"):
            assert pc.Image.pull(f"{registry.address}/scratch:1").id == image.id
    for kind in ("oci-archive", "docker-archive"):
        image.save(tmp_path / kind, format=kind)
        assert pc.Image.load(tmp_path / kind, engine=engine) == [image]


def test_an_image_of_130_layers_runs(make: Make, run: Run) -> None:
    layers = [
        images.tar_with({"many/": None, f"many/{index}": b"", "last": str(index).encode()})
        for index in range(129)
    ]
    image = make(PATH, *layers)
    assert len(image.snapshots) == 130
    assert run(image, ["sh", "-c", "ls /many | wc -l; cat /last"]).check().text == "129\n128"


class TestAnotherArchitecture:
    @pytest.fixture
    def foreign(self, make: Make) -> pc.Image:
        program = images.tar_with({"program": FOREIGN_PROGRAM}, mode=0o755)
        return make({"Cmd": ["/program"]}, program, architecture=FOREIGN)

    def test_its_program_cannot_run_and_the_error_names_both_platforms(
        self, foreign: pc.Image, run: Run
    ) -> None:
        complaint = f"the image is for linux/{FOREIGN}, this host is {pc.Platform.host()}"
        with pytest.raises(errors.LaunchError, match=complaint) as caught:
            run(foreign)
        assert (caught.value.exit_code, caught.value.step) == (126, "exec")

    def test_a_pull_for_a_platform_takes_no_other(self, foreign: pc.Image, tmp_path: Path) -> None:
        with pc.Registry() as registry, pc.Engine(tmp_path / "fresh"):
            name = f"{registry.address}/foreign:1"
            push_elsewhere(tmp_path / "layout0", name)
            with pytest.raises(errors.NotFound, match=f"linux/s390x; there are: linux/{FOREIGN}"):
                pc.Image.pull(name, platform="linux/s390x")
            assert pc.Image.list() == []
            assert pc.Image.pull(name, platform=FOREIGN).platform == f"linux/{FOREIGN}"
            # Without one, what stands alone is taken as it is.
            assert pc.Image.pull(name).id == foreign.id
