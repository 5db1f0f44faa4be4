"""The status file and the report of a failing start."""

from __future__ import annotations

import os
from pathlib import Path

from pycontainer.launcher import child, status


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    assert status.read(str(tmp_path)) is None
    fd = os.open(tmp_path, os.O_RDONLY)
    status.prepare(fd, {"state": "running"})
    assert status.read(str(tmp_path)) is None
    status.replace(fd)
    assert status.read(fd) == {"state": "running"}
    status.prepare(fd, {"state": "exited"})
    assert status.read(fd) == {"state": "running"}
    os.close(fd)


def test_the_boot_is_the_kernel_s() -> None:
    assert Path("/proc/sys/kernel/random/boot_id").read_text().strip() == status.BOOT_ID


def test_reports_are_read_back() -> None:
    assert child.parse(b"") == (False, None)
    assert child.parse(child.READY) == (True, None)
    reader, writer = os.pipe()
    child.report(writer, child.Failure(7, 13, 126, "no \udcff way" + "x" * 9000))
    os.close(writer)
    is_ready, failure = child.parse(os.read(reader, 65536))
    os.close(reader)
    assert not is_ready
    assert failure is not None
    assert failure[:3] == (7, 13, 126)
    assert failure.text.startswith("no � way")
