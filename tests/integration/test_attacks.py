"""Attacks on container engines that were published, tried against this one. docs/security.md names each."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer import errors
from tests.support import images

pytestmark = pytest.mark.needs("root", "overlay")

Make = Callable[..., pc.Image]


def layer(*links: tuple[str, str], **files: bytes) -> bytes:
    """A layer of symbolic links (name, target) and of executable files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, target in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name.replace("__", "/"))
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def base(busybox_rootfs: Path) -> bytes:
    return images.tar_of(busybox_rootfs)


@pytest.fixture
def make(engine: pc.Engine, base: bytes, tmp_path: Path) -> Iterator[Make]:
    """Load busybox with one more layer and a configuration; gone with the test."""
    made: list[pc.Image] = []

    def make_one(*layers: bytes, **config: Any) -> pc.Image:
        target = tmp_path / f"layout{len(made)}"
        images.oci_layout(
            target, [base, *layers], config={"Env": ["PATH=/bin"], **config}, tags=(f"bad:{len(made)}",)
        )
        made.extend(pc.Image.load(target, engine=engine))
        return made[-1]

    yield make_one
    for image in made:
        image.remove(force=True)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file of the host that nothing may change, and beside which nothing may appear."""
    directory = tmp_path / "host"
    directory.mkdir()
    (directory / "canary").write_text("alive")
    return directory


def untouched(directory: Path) -> bool:
    return [path.name for path in directory.iterdir()] == ["canary"] and (
        directory / "canary"
    ).read_text() == "alive"


@pytest.mark.parametrize("way", ["", "../../../../../.."], ids=["absolute", "climbing"])
@pytest.mark.parametrize(
    "name", ["etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", "dev", "dev/shm"]
)
def test_links_of_the_image_in_the_engines_places_lead_nowhere(
    make: Make, engine: pc.Engine, canary: Path, name: str, way: str
) -> None:
    target = canary if name.startswith("dev") else canary / "canary"
    image = make(layer((name, f"{way}{target}")))
    with suppress(errors.LaunchError):
        pc.run(image, ["sh", "-c", f"echo dead > /{name}/x; echo dead > /{name}"], engine=engine)
    assert untouched(canary)


def test_a_working_directory_through_a_link_makes_nothing_on_the_host(
    make: Make, engine: pc.Engine, canary: Path
) -> None:
    image = make(layer(("work", str(canary))), WorkingDir="/work/deep/er")
    assert pc.run(image, ["pwd"], engine=engine).text == f"{canary}/deep/er\n"  # of the image's own root
    assert untouched(canary)


@pytest.mark.parametrize("name", ["proc", "proc/self/attr", "proc/sys/net/core/somaxconn"])
def test_a_proc_of_the_image_gets_no_setting(make: Make, engine: pc.Engine, canary: Path, name: str) -> None:
    image = make(layer((name, str(canary / "canary"))))
    wanted = {"net.core.somaxconn": "77"}
    with suppress(errors.LaunchError):  # with a link in the way it may refuse to start
        seen = pc.run(image, ["cat", "/proc/sys/net/core/somaxconn"], sysctls=wanted, engine=engine)
        assert seen.check().text == "77\n"
    assert untouched(canary)


def test_programs_and_libraries_of_the_image_are_not_the_engines(
    make: Make, engine: pc.Engine, canary: Path
) -> None:
    # Whatever the engine could look for in the image leaves a mark when it is executed or loaded.
    trap = b"#!/bin/sh\ntouch /trapped\n"
    names = ("bin__unpigz", "bin__xz", "bin__ps", "usr__bin__python3", "usr__bin__nscd", "sbin__init")
    image = make(
        layer(
            **dict.fromkeys(names, trap),
            etc__nsswitch_conf=b"passwd: evil\n",
            lib__libnss_evil_so_2=b"\x7fELF no library",
            usr__lib__python3__encodings____init___py=b"open('/trapped','w')",
        )
    )
    seen = pc.run(image, ["ls", "-d", "/trapped"], user="web", init=True, engine=engine)
    assert seen.exit_code == 1


def test_nothing_of_the_callers_environment_is_inside(
    engine: pc.Engine, busybox: pc.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYCONTAINER_TEST_SECRET", "s3cret")
    with pc.Container(busybox, ["sleep", "1000"], engine=engine) as box:
        assert b"s3cret" not in Path(f"/proc/{box.pid}/environ").read_bytes()
    first = pc.run(busybox, ["env"], env={"ONLY_HERE": "1"}, engine=engine).text
    assert "ONLY_HERE=1" in first
    assert "ONLY_HERE" not in pc.run(busybox, ["env"], engine=engine).text


def test_nothing_listens_where_a_container_with_the_hosts_network_could_reach_it(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    def abstract() -> set[str]:
        lines = Path("/proc/net/unix").read_text().splitlines()[1:]
        return {line.split()[-1] for line in lines if line.split()[-1].startswith("@")}

    before = abstract()
    with pc.Container(busybox, ["sleep", "1000"], network="host", engine=engine) as box:
        assert abstract() <= before
        directory = engine.store.container_dir(box.id)
        sockets = [path for path in directory.iterdir() if stat.S_ISSOCK(path.lstat().st_mode)]
        assert all(stat.S_IMODE(path.lstat().st_mode) == 0o600 for path in sockets)
        assert stat.S_IMODE(directory.stat().st_mode) & 0o077 == 0 or (
            stat.S_IMODE(engine.root.stat().st_mode) & 0o007 == 0
        )


def test_the_monitor_is_out_of_reach_even_with_the_hosts_processes(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    with pc.Container(busybox, ["sleep", "1000"], engine=engine) as box:
        status = Path(f"/proc/{box.pid}/status").read_text()
        monitor = next(line.split()[1] for line in status.splitlines() if line.startswith("PPid"))
        script = (
            f"cd /proc/{monitor}; cat environ || echo no; (: > exe) || echo no; ls root/ || echo no;"
            " for f in fd/*; do readlink $f && echo $f; (: < $f) && echo $f; done; echo no"
        )
        seen = pc.run(busybox, ["sh", "-c", script], pid="host", engine=engine)
        assert seen.text.split() == ["no"] * 4


def test_an_image_that_brings_its_own_console_gets_none_of_the_hosts(
    make: Make, engine: pc.Engine, canary: Path
) -> None:
    image = make(layer(("dev/console", str(canary / "canary")), ("dev/ptmx", "/proc/1/root/x")))
    with pc.Container(image, ["sleep", "1000"], tty=True, engine=engine) as box:
        shown = Path(f"/proc/{box.pid}/mountinfo").read_text()
        console = [line.split() for line in shown.splitlines() if line.split()[4] == "/dev/console"]
        assert all(fields[fields.index("-") + 1] == "devpts" for fields in console)
    assert untouched(canary)


def test_the_store_is_closed_to_other_users(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Container(busybox, ["sleep", "1000"], engine=engine) as box:
        directory = engine.store.container_dir(box.id)
        script = f"cd / && ls {engine.root} {directory}/upper {directory}/work"
        seen = subprocess.run(
            ["sh", "-c", script], user=65534, group=65534, extra_groups=[], capture_output=True
        )
        assert seen.returncode != 0
        assert seen.stdout == b""


def test_variables_that_steer_an_interpreter_do_not_steer_the_helper(
    tmp_path: Path, busybox_layout: Path
) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("sitecustomize.py", "usercustomize.py", "socket.py", "json.py", "startup.py"):
        (trap / name).write_text(f"open({str(tmp_path / 'sprung')!r}, 'a').write(__file__)\n")
    code = (
        "import pycontainer as pc, sys\n"
        f"with pc.Engine({str(tmp_path / 'store')!r}) as engine:\n"
        f"    image = pc.Image.load({str(busybox_layout)!r}, engine=engine)[0]\n"
        "    import os\n"
        f"    os.environ.update(PYTHONPATH={str(trap)!r}, PYTHONSTARTUP={str(trap / 'startup.py')!r},\n"
        "        PYTHONINSPECT='1', LD_PRELOAD='/nowhere.so', GCONV_PATH='/nowhere', PYTHONHOME='/nowhere')\n"
        "    print(pc.run(image, ['env'], engine=engine).check().text)\n"
    )
    seen = subprocess.run(
        [sys.executable, "-c", code], cwd=trap.parent, capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(pc.__file__).parents[1])},
    )  # fmt: skip
    assert seen.returncode == 0, seen.stderr
    assert {line.split("=")[0] for line in seen.stdout.split()} == {"PATH", "HOSTNAME", "HOME"}
    assert not (tmp_path / "sprung").exists()
