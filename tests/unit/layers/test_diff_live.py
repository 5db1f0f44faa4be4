"""Taking a layer from a directory that others change meanwhile."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from pycontainer.errors import KernelError
from pycontainer.layers import Differ, Limits, TarWriter


class Vanishing(Differ):
    """Lists a file that is gone by the time it is looked at."""

    def _names(self, fd: int) -> list[bytes]:
        return sorted([*super()._names(fd), b"gone"], reverse=True)


def members(top: Path, *, is_live: bool) -> list[str]:
    out = io.BytesIO()
    writer = TarWriter(out)
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        Vanishing(fd, writer, Limits(), is_live=is_live).run()
    finally:
        os.close(fd)
    writer.close()
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        return tar.getnames()


def test_what_vanishes_is_left_out_of_a_live_layer(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("x")
    assert members(tmp_path, is_live=True) == [".", "kept"]


def test_what_vanishes_is_an_error_otherwise(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="gone"):
        members(tmp_path, is_live=False)
