"""Scripts of system calls: made in order, by what earlier ones returned, up to the first that fails."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontainer.kernel import syscalls
from pycontainer.kernel.script import Script


def in_child(work: Callable[[], None]) -> int:
    """What a forked process ends with that does the work: its code, or minus a signal's number."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 255)
        finally:
            os._exit(254)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_what_a_call_returned_is_an_argument_of_later_ones(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    script = Script()
    directory = script.openat2(syscalls.AT_FDCWD, os.fsencode(tmp_path), os.O_PATH | os.O_DIRECTORY, 0)
    opened = script.openat2(directory, b"file", os.O_WRONLY, syscalls.RESOLVE_BENEATH)
    script.write(opened, b"well")
    assert file.read_bytes() == b""
    script.perform()
    assert file.read_bytes() == b"well"
    script.perform()
    assert file.read_bytes() == b"well"


def test_it_ends_at_the_first_call_that_fails(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    script = Script()
    script.write(script.openat2(-100, os.fsencode(file), os.O_WRONLY, 0), b"before")
    script.openat2(-100, os.fsencode(tmp_path / "missing"), os.O_RDONLY, 0)
    script.write(script.openat2(-100, os.fsencode(file), os.O_WRONLY, 0), b"behind")
    with pytest.raises(FileNotFoundError):
        script.perform()
    assert file.read_bytes() == b"before"


def test_what_need_not_be_there_is_left_out_with_what_follows_from_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    script = Script()
    missing = script.openat2(-100, os.fsencode(tmp_path / "missing"), os.O_WRONLY, 0, skips=1)
    script.write(missing, b"never")
    script.write(script.openat2(-100, os.fsencode(file), os.O_WRONLY, 0), b"behind")
    script.perform()
    assert file.read_bytes() == b"behind"


def test_a_program_that_cannot_be_executed_gives_way_to_the_next() -> None:
    def work() -> None:
        script = Script()
        script.execve((b"/nothing/sh", b"/bin/sh"), (b"sh", b"-c", b'exit "$CODE"'), (b"CODE=7",))
        script.perform()

    assert in_child(work) == 7


def test_the_death_of_the_one_that_must_live_is_a_failure() -> None:
    with open(os.devnull) as null, os.fdopen(os.dup(null.fileno())):
        child = os.fork()
        if child == 0:
            os._exit(0)
        pidfd = os.pidfd_open(child)
        script = Script()
        script.must_live(os.pidfd_open(os.getpid()))
        script.perform()
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
        script.must_live(pidfd)
        with pytest.raises(ProcessLookupError):
            script.perform()
        os.waitpid(child, 0)
        os.close(pidfd)


def test_signals_descriptors_and_umask_are_set_for_the_program() -> None:
    reader, writer = os.pipe()

    def work() -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR2,))
        script = Script()
        script.setsid()
        script.umask(0o057)
        script.dup3(writer, 1)
        script.default_signal(signal.SIGUSR1)
        script.unblock_signals()
        script.execve((b"/bin/sh",), (b"sh", b"-c", b"umask; cat /proc/self/status /proc/self/stat"), ())
        script.perform()

    assert in_child(work) == 0
    os.close(writer)
    with os.fdopen(reader) as file:
        mask, *lines = file.read().splitlines()
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert mask == "0057"
    assert not int(fields["SigIgn"], 16) >> (signal.SIGUSR1 - 1) & 1
    assert int(fields["SigBlk"], 16) == 0
    _, _, _, group, session, *_ = lines[-1].split()
    assert group == session


@pytest.mark.parametrize("program", [b"", b"1234567"])
def test_a_filter_must_be_whole_instructions(program: bytes) -> None:
    with pytest.raises(OSError, match="eight-byte"):
        Script().seccomp_load(program, 0)


def test_a_refused_call_has_its_error_s_number() -> None:
    script = Script()
    script.fchdir(-1)
    with pytest.raises(OSError, match="Bad file") as caught:
        script.perform()
    assert caught.value.errno == errno.EBADF


def test_an_included_script_goes_by_results_of_its_own_and_leaves_out_its_own_calls(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    writes = Script()
    missing = writes.openat2(syscalls.AT_FDCWD, os.fsencode(tmp_path / "no"), os.O_WRONLY, 0, skips=1)
    writes.write(missing, b"lost")
    opened = writes.openat2(syscalls.AT_FDCWD, os.fsencode(file), os.O_WRONLY | os.O_APPEND, 0)
    writes.write(opened, b"well")
    script = Script()
    script.umask(0o022)
    script.include(writes)
    script.include(writes)
    script.perform()
    assert file.read_bytes() == b"wellwell"
