"""Measuring trees: lengths of files, links once, nothing followed."""

from __future__ import annotations

import os
from pathlib import Path

from pycontainer.launcher.sizes import measure, tree_size


def test_sizes_are_lengths_with_each_file_once(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "a/b").mkdir(parents=True)
    (top / "one").write_bytes(b"1" * 100)
    (top / "a/b/two").write_bytes(b"2" * 30)
    os.link(top / "one", top / "a/again")
    (tmp_path / "outside").write_bytes(b"x" * 5000)
    (top / "link").symlink_to("../outside")
    (top / "directory").symlink_to("/usr")
    parent = os.open(tmp_path, os.O_RDONLY)
    try:
        expected = 100 + 30 + len("../outside") + len("/usr")
        assert tree_size(parent, "top") == expected
        assert measure({"names": ["top/a/b", "gone", "directory"]}, [parent], lambda _: None) == {
            "sizes": [30, 0, 0]
        }
        assert tree_size(parent, "top/directory") == 0
    finally:
        os.close(parent)


def test_a_tree_deeper_than_there_are_descriptors_is_no_error(tmp_path: Path) -> None:
    parent = os.open(tmp_path, os.O_RDONLY)
    os.mkdir(tmp_path / "top")
    current = os.open(tmp_path / "top", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=current)
        below = os.open("d", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = below
    os.close(current)
    try:
        assert tree_size(parent, "top") == 0
    finally:
        os.close(parent)
        from pycontainer.launcher.trees import remove

        again = os.open(tmp_path, os.O_RDONLY)
        remove(again, "top")
        os.close(again)
