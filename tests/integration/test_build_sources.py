"""Builds: files from elsewhere, agents, programs of other machines, full disks, contexts that change."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from backports import zstd

import pycontainer as pc
from pycontainer.errors import BuildError, KernelError
from tests.integration.test_build import build, served, shell, tar_of
from tests.support.needs import needs

pytestmark = needs("root", "overlay")

HANDLERS = Path("/proc/sys/fs/binfmt_misc")
QEMU = Path("/usr/bin/qemu-aarch64-static")
# openat(AT_FDCWD, "/made", O_WRONLY | O_CREAT, 0644), write 8 bytes, exit(0)
AARCH64_CODE = bytes.fromhex(
    "600c809281010010220880d2833480d2080780d2010000d421010010020180d2080880d2010000d4000080d2a80b80d2"
    "010000d42f6d616465000000666f726569676e0a"
)


def aarch64_program() -> bytes:
    """An executable for aarch64 that writes "foreign" to /made."""
    base, size = 0x400000, 120 + len(AARCH64_CODE)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 183, 1, base + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + AARCH64_CODE


@pytest.fixture
def emulator() -> Iterator[None]:
    """The kernel runs programs for aarch64 by qemu, as Debian's package qemu-user-static has it."""
    if not QEMU.exists():
        pytest.skip(f"no {QEMU}: apt-get install qemu-user-static")
    is_mounted = (HANDLERS / "register").exists()
    if not is_mounted and subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", HANDLERS]).returncode:
        pytest.skip("the kernel has no binfmt_misc")
    known = list(HANDLERS.glob("qemu-aarch64*"))
    name = f"qemu-aarch64-test{os.getpid()}"
    magic = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
    if not known:
        (HANDLERS / "register").write_text(f":{name}:M::{magic}:{mask}:{QEMU}:F")
    try:
        yield
    finally:
        if not known:
            (HANDLERS / name).write_text("-1")
        if not is_mounted:
            subprocess.run(["umount", HANDLERS], check=True)


def test_programs_of_another_machine_run_by_its_emulator(
    emulator: None, engine: pc.Engine, busybox: pc.Image
) -> None:
    image = build(
        engine,
        'FROM scratch\nCOPY --chmod=755 program /program\nRUN ["/program"]\n',
        {"program": aarch64_program()},
        platform="linux/arm64",
    )
    assert image.platform == "linux/arm64"
    read = build(
        engine,
        "FROM busybox\nCOPY --from=foreign /made /made\n",
        contexts={"foreign": f"docker-image://{image.id}"},
    )
    assert shell(engine, read, "cat /made") == "foreign\n"
    for made in (read, image):
        made.remove()


@needs("ssh-agent", "ssh-add", "ssh-keygen")
def test_an_agent_answers_in_the_steps_that_ask_for_it(engine: pc.Engine, tmp_path: Path) -> None:
    pc.Image.from_host(["sh", "ssh-add"], tags=["with-ssh"], engine=engine)
    socket, key = tmp_path / "agent", tmp_path / "key"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "of the test", "-f", key], check=True
        )
        while not socket.is_socket():
            assert agent.poll() is None
        environment = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
        subprocess.run(["ssh-add", "-q", key], check=True, env=environment)
        text = (
            "FROM with-ssh\nRUN --mount=type=ssh ssh-add -L > /keys && echo $SSH_AUTH_SOCK > /socket\n"
            "RUN --mount=type=ssh,id=other,target=/run/other SSH_AUTH_SOCK=/run/other ssh-add -L > /others\n"
            "RUN ssh-add -L; echo $? > /none; read socket < /socket; test ! -e $socket\n"
        )
        image = build(engine, text, ssh={"default": str(socket), "other": str(socket)})
        public = key.with_suffix(".pub").read_text()
        told = shell(engine, image, "while read line; do echo $line; done < /keys; read x < /none; echo $x")
        assert told == f"{public}2\n"
        assert "SSH_AUTH_SOCK" not in str(image.config.config)
        image.remove()
        with pytest.raises(BuildError, match="required, and not given"):
            build(engine, "FROM with-ssh\nRUN --mount=type=ssh,required true\n")
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait(10)
    pc.Image.get("with-ssh", engine=engine).remove()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:zst"])
def test_the_url_of_a_tar_is_a_context(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path, mode: str
) -> None:
    files = {"Dockerfile": b"FROM busybox\nCOPY f /f\n", "f": b"content", ".dockerignore": b"*.md\n"}
    content = tar_of(files, mode if mode != "w:zst" else "w")
    (tmp_path / "context").write_bytes(zstd.compress(content) if mode == "w:zst" else content)
    with served(tmp_path) as address:
        image = pc.Image.build(f"{address}/context", engine=engine, network="none")
        assert shell(engine, image, "cat /f") == "content"
        image.remove()
        with pytest.raises(pc.errors.NotFound, match="no such file"):
            pc.Image.build(f"{address}/other", engine=engine)


def test_a_context_that_changes_while_it_is_copied_is_an_error(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    for number in range(400):
        (tmp_path / str(number)).write_bytes(os.urandom(20_000))
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY . /c/\n")
    going, stop = threading.Event(), threading.Event()

    def change() -> None:
        for number in range(1 << 30):
            (tmp_path / str(number % 400)).write_text(str(number))
            going.set()
            if stop.is_set():
                return

    writer = threading.Thread(target=change)
    writer.start()
    try:
        assert going.wait(60)
        with pytest.raises(BuildError, match="chang") as caught:
            pc.Image.build(tmp_path, engine=engine, network="none")
        assert caught.value.line == 2
    finally:
        stop.set()
        writer.join()
    image = pc.Image.build(tmp_path, engine=engine, network="none")
    assert shell(engine, image, "cat /c/7") == (tmp_path / "7").read_text()
    image.remove()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for busybox and some megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_ends_a_build_and_leaves_room_for_the_next(
    small: Path, busybox_layout: Path, tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(os.urandom(30 << 20))
    with pc.Engine(small / "store") as engine:
        pc.Image.load(busybox_layout, engine=engine)[0].tag("busybox:latest")
        with pytest.raises(BuildError) as caught:
            build(engine, "FROM busybox\nRUN head -c 30000000 /dev/urandom > /big\n")
        assert caught.value.exit_code == 1
        assert f"the file system of {small}" in str(caught.value)
        files = {"big": tmp_path / "big"}
        for text, given in (
            ("FROM busybox\nCOPY big /big\n", {"": files}),
            ("FROM busybox\nCOPY --from=files big /big\n", {"files": str(tmp_path)}),
        ):
            main = given.pop("", None)
            with pytest.raises((BuildError, KernelError), match="No space left on device"):
                build(engine, text, main, contexts=given)
        pc.prune_build_cache(all=True, engine=engine)
        assert list((small / "store/builds/scratch").iterdir()) == []
        image = build(engine, "FROM busybox\nRUN head -c 4000000 /dev/urandom > /big\n")
        assert shell(engine, image, "stat -c %s /big") == "4000000\n"
