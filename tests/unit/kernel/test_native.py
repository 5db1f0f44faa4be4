"""Scripts that the processor carries out in a process on its parent's memory."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from pycontainer.kernel import native, syscalls
from pycontainer.kernel.script import Script
from pycontainer.launcher.steps import process
from pycontainer.launcher.steps.context import Context, Refused

pytestmark = pytest.mark.skipif(
    not native.is_possible(), reason=f"there is no code for this processor, {platform.machine()}"
)

ASSEMBLERS = {"x86_64": ("as", "objcopy"), "aarch64": ("aarch64-linux-gnu-as", "aarch64-linux-gnu-objcopy")}


@pytest.mark.parametrize("machine", native.CODE)
def test_the_code_is_its_source_assembled(machine: str, tmp_path: Path) -> None:
    assembler, objcopy = ASSEMBLERS[machine]
    if machine == platform.machine():
        assembler, objcopy = "as", "objcopy"
    if not shutil.which(assembler):
        pytest.skip(f"{assembler} is not installed")
    syntax = ".intel_syntax noprefix\n" if machine == "x86_64" else ""
    (tmp_path / "code.s").write_text(syntax + native.SOURCES[machine])
    subprocess.run([assembler, tmp_path / "code.s", "-o", tmp_path / "code.o"], check=True)
    command = [objcopy, "-O", "binary", "-j", ".text", tmp_path / "code.o", tmp_path / "code.bin"]
    subprocess.run(command, check=True)
    assert (tmp_path / "code.bin").read_bytes().hex() == native.CODE[machine]


class Outcome:
    """What became of scripts, and of the process that had them to carry out."""

    def __init__(self, *scripts: Script) -> None:
        self.ended = native.spawn(scripts, 0)
        os.close(self.ended.pidfd)
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.ended.pid, 0)[1])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.touch()
    return path


def shell(text: bytes) -> Script:
    script = Script()
    script.execve((b"/nothing/sh", b"/bin/sh"), (b"sh", b"-c", text), (b"CODE=7",))
    return script


def test_the_calls_are_made_and_a_program_is_executed(file: Path) -> None:
    script = Script()
    directory = script.openat2(syscalls.AT_FDCWD, os.fsencode(file.parent), os.O_PATH | os.O_DIRECTORY, 0)
    script.write(script.openat2(directory, b"file", os.O_WRONLY, syscalls.RESOLVE_BENEATH), b"written")
    outcome = Outcome(script, Script(), shell(b"exit $CODE"))
    assert (outcome.code, outcome.ended.errno, outcome.ended.script) == (7, 0, 2)
    assert outcome.ended.results[0] == errno.ENOENT
    assert file.read_bytes() == b"written"


def test_nothing_of_this_process_is_changed() -> None:
    before = os.umask(0o027)
    try:
        script = Script()
        script.umask(0)
        script.close_range(3, 0xFFFFFFFF, 0)
        script.fchdir(99)
        opened = os.open("/", os.O_PATH)
        assert Outcome(script).ended.errno == errno.EBADF
        os.close(opened)
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_it_ends_at_the_first_call_that_fails_and_tells_which(file: Path) -> None:
    first, second = Script(), Script()
    first.setsid()
    second.write(second.openat2(-100, os.fsencode(file), os.O_WRONLY, 0), b"before")
    second.fchdir(99)
    second.write(second.openat2(-100, os.fsencode(file), os.O_WRONLY, 0), b"behind")
    outcome = Outcome(first, second, shell(b"exit 0"))
    assert outcome.code == 125
    assert outcome.ended[2:5] == (errno.EBADF, 1, 2)
    assert file.read_bytes() == b"before"


def test_what_need_not_be_there_is_left_out_with_what_follows_from_it(file: Path) -> None:
    script = Script()
    missing = script.openat2(-100, os.fsencode(file) + b"-missing", os.O_WRONLY, 0, skips=1)
    script.write(missing, b"never")
    script.write(script.openat2(-100, os.fsencode(file), os.O_WRONLY, 0), b"behind")
    assert Outcome(script, shell(b"exit 0")).code == 0
    assert file.read_bytes() == b"behind"


def test_that_no_program_can_be_executed_is_told() -> None:
    script = Script()
    script.execve((b"/nothing/sh", b"/etc"), (b"sh",), ())
    outcome = Outcome(Script(), script)
    assert (outcome.code, outcome.ended.errno) == (125, 0)
    assert outcome.ended[3:5] == (1, 2)
    assert list(outcome.ended.results) == [errno.ENOENT, errno.EACCES]


def test_one_that_is_killed_has_not_come_to_its_program() -> None:
    script = Script()
    number = {"x86_64": 39, "aarch64": 172}[platform.machine()]
    script.add({"x86_64": 62, "aarch64": 129}[platform.machine()], script.add(number), signal.SIGKILL)
    outcome = Outcome(script, shell(b"exit 0"))
    assert outcome.code == -signal.SIGKILL
    assert outcome.ended[2:5] == (0, 0, 1)


def test_the_death_of_the_one_that_must_live_is_a_failure() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    pidfd = os.pidfd_open(child)
    os.waitpid(child, 0)
    script = Script()
    script.must_live(pidfd)
    assert Outcome(script, shell(b"exit 0")).ended.errno == errno.ESRCH
    os.close(pidfd)


def test_a_working_directory_that_no_path_leads_to_is_refused(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    directory = os.open(gone, os.O_PATH | os.O_DIRECTORY)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    check = process.checking_directory(Context(monitor=-1, go=-1, error=-1, fds={}))
    for place, code in ((root, 0), (directory, 125)):
        gone.rmdir() if place == directory else None
        script = Script()
        script.fchdir(place)
        outcome = Outcome(script, check, shell(b"exit 0"))
        assert outcome.code == code
    assert isinstance(check.failure(outcome.ended.call, outcome.ended.errno), Refused)
    os.close(directory)
    os.close(root)


def test_many_arguments_results_and_limits_come_through() -> None:
    script = Script()
    script.prlimit(7, 64, 64)  # RLIMIT_NOFILE
    words = tuple(b"w%d" % number for number in range(500))
    run = Script()
    run.execve((b"/bin/sh",), (b"sh", b"-c", b'test $# -eq 500 && exit "$(ulimit -n)"', b"sh", *words), ())
    assert Outcome(script, run).code == 64
