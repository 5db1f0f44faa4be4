"""What is written appears whole or not at all, also where a process is killed at any step of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontainer import checkpoints
from pycontainer.errors import KernelError
from pycontainer.image import (
    Archive,
    ImageView,
    Layout,
    Target,
    validate_image,
    whole_file,
    write_oci_archive,
)
from pycontainer.oci import Reference
from pycontainer.testing import killpoints

NAME = Reference.parse("app:1")


def killed_at(step: str, work: Callable[[], object]) -> None:
    """Do it in a child that is killed when it comes to the step."""
    if (pid := os.fork()) == 0:
        try:
            checkpoints.arm(step)
            work()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9, f"it did not come to {step}"


def old_and_whole(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read() == b"old"


@pytest.mark.parametrize("step", killpoints.names("layout"))
def test_a_layout_goes_on_where_another_process_was_killed(
    view: ImageView, tmp_path: Path, step: str
) -> None:
    place = tmp_path / "new"

    def copied() -> Layout:
        made = Layout.create(place)
        made.add(Target.of(view), [NAME])
        return made

    killed_at(step, copied)
    layout = copied()
    assert layout.view(NAME).id == view.id
    assert validate_image(layout, layout.index.manifests[0]) == []
    assert sorted(path.name for path in place.iterdir()) == ["blobs", "index.json", "oci-layout"]
    assert len(list((place / "blobs/sha256").iterdir())) == 1 + len(view.blobs)


@pytest.mark.parametrize("step", killpoints.names("save"))
def test_an_archive_that_was_cut_off_leaves_the_old_one(view: ImageView, tmp_path: Path, step: str) -> None:
    path = tmp_path / "app.tar"
    path.write_bytes(b"old")
    killed_at(step, lambda: write_oci_archive(path, [(view, [NAME])]))
    assert old_and_whole(path)
    if step == "save.content.written":
        assert os.listdir(tmp_path) == ["app.tar", "layout"]
    write_oci_archive(path, [(view, [NAME])])
    with Archive(path) as archive:
        assert [found.view.id for found in archive.images()] == [view.id]


@pytest.mark.parametrize("has_unnamed", [True, False])
def test_a_file_is_as_a_plain_open_makes_it_and_after_an_error_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_unnamed: bool
) -> None:
    if not has_unnamed:  # as on NFS
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_WRONLY)
    path, plain = tmp_path / "file", tmp_path / "plain"
    plain.write_bytes(b"")
    with whole_file(path) as file:
        file.write(b"old")
        assert not path.exists()
    assert old_and_whole(path)
    assert path.stat().st_mode == plain.stat().st_mode
    with pytest.raises(TypeError), whole_file(path) as file:
        file.write("no bytes")  # type: ignore[arg-type]
    assert old_and_whole(path)
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "none/file"):
        raise AssertionError("it was opened")
    with pytest.raises(IsADirectoryError), whole_file(tmp_path):
        pass
    assert sorted(os.listdir(tmp_path)) == ["file", "plain"]


def test_a_link_stays_and_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"")
    (tmp_path / "link").symlink_to("real")
    with whole_file(tmp_path / "link") as file:
        file.write(b"old")
    assert (tmp_path / "link").is_symlink()
    assert old_and_whole(tmp_path / "real")
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    with whole_file(tmp_path / "fifo") as file:
        file.write(b"old")
    assert os.read(reader, 10) == b"old"
    os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["fifo", "link", "real"]


def test_a_pipe_is_written_to_by_its_number() -> None:
    reader, writer = os.pipe()
    with whole_file(f"/dev/fd/{writer}") as file:
        file.write(b"told")
    os.close(writer)
    with open(reader, "rb") as told:
        assert told.read() == b"told"


def test_an_error_of_who_writes_to_no_file_is_theirs() -> None:
    with pytest.raises(FileNotFoundError, match="theirs"), whole_file("/dev/null"):
        raise FileNotFoundError("theirs")


def test_where_there_is_no_room_is_told() -> None:
    with pytest.raises(KernelError, match=r"write\(/dev/full\): No space left.*free space") as caught:
        with whole_file("/dev/full") as file:
            file.write(b"x")
    assert (caught.value.errno, caught.value.path) == (errno.ENOSPC, "/dev/full")
