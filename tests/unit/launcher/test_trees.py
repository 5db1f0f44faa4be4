"""Deleting trees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pycontainer.launcher import trees


def remove(parent: Path, name: str) -> int:
    fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return trees.remove(fd, name)
    finally:
        os.close(fd)


def test_a_tree_goes_and_its_neighbours_stay(tmp_path: Path) -> None:
    (tmp_path / "tree/a/b").mkdir(parents=True)
    (tmp_path / "tree/a/b/file").write_text("x")
    (tmp_path / "tree/a/link").symlink_to("/etc")
    (tmp_path / "stays").write_text("x")
    assert remove(tmp_path, "tree") == 5
    assert [path.name for path in tmp_path.iterdir()] == ["stays"]


def test_links_are_deleted_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/kept").touch()
    (tmp_path / "tree").symlink_to("outside")
    assert remove(tmp_path, "tree") == 1
    assert (tmp_path / "outside/kept").exists()


def test_missing_is_done(tmp_path: Path) -> None:
    assert remove(tmp_path, "nothing") == 0


def test_a_file_is_a_tree_of_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert remove(tmp_path, "file") == 1


@pytest.mark.parametrize("mode", [0o000, 0o500, 0o300])
def test_permissions_do_not_stop_the_owner(tmp_path: Path, mode: int) -> None:
    (tmp_path / "tree/closed/inner").mkdir(parents=True)
    (tmp_path / "tree/closed/file").touch()
    (tmp_path / "tree/closed").chmod(mode)
    fd = os.open(tmp_path, os.O_RDONLY)
    if os.geteuid() == 0:
        for path in (tmp_path, tmp_path / "tree", tmp_path / "tree/closed", tmp_path / "tree/closed/inner"):
            os.chown(path, 65534, 65534)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            status = 0 if trees.remove(fd, "tree") == 4 else 2
        finally:
            os._exit(status)
    os.close(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not (tmp_path / "tree").exists()


def test_depth_costs_no_descriptors(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    os.mkdir("tree", dir_fd=here)
    fd = os.open("tree", os.O_RDONLY, dir_fd=here)
    for _ in range(1200):
        os.mkdir("d", dir_fd=fd)
        deeper = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)
    assert trees.remove(here, "tree") == 1201
    os.close(here)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/"])
def test_a_name_must_be_a_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not the name"):
        remove(tmp_path, name)
