"""Wrappers that need no privilege: what they return and how they fail."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from pathlib import Path

import pytest

from pycontainer.kernel import caps, pidfd, syscalls


def test_an_error_carries_its_number() -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        syscalls.openat2(syscalls.AT_FDCWD, b"/no/such", os.O_PATH, 0)
    assert caught.value.errno == errno.ENOENT


def test_a_path_with_a_nul_is_refused_not_cut(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        syscalls.open_tree(syscalls.AT_FDCWD, os.fsencode(tmp_path) + b"\0/etc", 0)
    assert caught.value.errno == errno.EINVAL


def test_a_limit_is_read_and_set_in_a_child() -> None:
    soft, hard = syscalls.prlimit(0, 7)
    child = os.fork()
    if child == 0:
        syscalls.prlimit(0, 7, (min(50, hard), min(60, hard)))
        os._exit(0 if syscalls.prlimit(0, 7) == (min(50, hard), min(60, hard)) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert syscalls.prlimit(0, 7) == (soft, hard)


def test_capabilities_have_names_and_numbers() -> None:
    assert caps.mask(["CAP_CHOWN", "SYS_ADMIN"]) == 1 | 1 << 21
    assert caps.names(1 | 1 << 21) == ["CAP_CHOWN", "CAP_SYS_ADMIN"]
    with pytest.raises(ValueError, match="CAP_FLY"):
        caps.mask(["CAP_FLY"])


def test_the_process_s_capabilities_agree_with_proc() -> None:
    text = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in text.splitlines() if line.startswith("CapEff"))
    assert syscalls.capget()[0] == int(effective, 16)
    assert caps.supported() >= int(effective, 16)


def test_a_process_is_told_from_its_successor() -> None:
    child = subprocess.Popen(["sleep", "60"])
    started = pidfd.start_time(child.pid)
    fd = pidfd.open_checked(child.pid, started)
    assert fd is not None
    assert pidfd.open_checked(child.pid, started + 1) is None
    assert not pidfd.has_ended(fd)
    assert pidfd.send_signal(fd, signal.SIGKILL)
    child.wait()
    assert pidfd.has_ended(fd)
    assert not pidfd.send_signal(fd, signal.SIGKILL)
    assert pidfd.open_checked(child.pid, started) is None
    os.close(fd)


def test_close_range_marks_without_closing() -> None:
    fd = os.dup2(os.open("/dev/null", os.O_RDONLY), 900)
    os.set_inheritable(fd, True)
    syscalls.close_range(900, 900, 4)
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_a_filter_must_be_whole_instructions() -> None:
    with pytest.raises(OSError, match="eight-byte"):
        syscalls.seccomp_load(b"1234567", 0)
