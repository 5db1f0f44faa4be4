"""The store's directory: private, and refused where others could write."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput, KernelError, Unsupported
from pycontainer.store.layout import Layout


@pytest.mark.parametrize("umask", [0, 0o077, 0o777], ids=oct)
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    layout = Layout(tmp_path / "store")
    old = os.umask(umask)
    try:
        layout.create()
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [layout.root, *layout.root.iterdir()]}
    assert modes == {
        "store": 0o710,
        "content": 0o700,
        "snapshots": 0o700,
        "containers": 0o700,
        "events": 0o700,
        "trash": 0o700,
        "locks": 0o700,
    }


def test_layers_are_spread_over_the_disk_where_the_file_system_can(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    if subprocess.run(["chattr", "+T", other], capture_output=True).returncode:
        pytest.skip("the file system of the tests' directory has no flag for it")
    layout = Layout(tmp_path / "store")
    layout.create()
    flags = subprocess.run(
        ["lsattr", "-d", layout.snapshots, layout.containers], capture_output=True, text=True, check=True
    )
    assert ["T" in line.split()[0] for line in flags.stdout.splitlines()] == [True, False]


def test_creating_again_changes_nothing(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "a" / "b" / "store")
    layout.create()
    layout.root.chmod(0o700)
    layout.create()
    assert stat.S_IMODE(layout.root.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o1777], ids=oct)
def test_a_root_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(mode)
    with pytest.raises(InvalidInput, match="chmod go-w"):
        Layout(tmp_path / "store").create()


def test_a_file_in_the_place_of_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    with pytest.raises(InvalidInput, match="not a directory"):
        Layout(tmp_path / "store").create()


def test_a_root_that_cannot_be_made_is_a_kernel_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KernelError, match="PYCONTAINER_ROOT"):
        Layout(tmp_path / "file" / "store").create()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
def test_a_root_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(0o700)
    os.chown(tmp_path / "store", 12345, 0)
    with pytest.raises(InvalidInput, match="belongs to user 12345"):
        Layout(tmp_path / "store").create()


def test_a_file_system_that_folds_names_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "store")
    layout.create()
    (layout.root / "SNAPSHOTS").symlink_to("snapshots")  # there, too, both names mean one directory
    with pytest.raises(Unsupported, match="does not tell A from a") as caught:
        layout.create()
    assert "PYCONTAINER_ROOT" in str(caught.value)
