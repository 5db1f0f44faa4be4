"""What an image's handle tells without its engine."""

from __future__ import annotations

from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.oci import Digest
from pycontainer.store import ImageRecord


def test_the_handle_of_a_closed_engine_can_still_be_shown(tmp_path: Path) -> None:
    engine = pc.Engine(tmp_path / "store")
    image = pc.Image(engine, _record())
    engine.close()
    assert repr(image) == "Image('', id='sha256:000000000000')"


def test_of_a_platform_only_what_is_stored_is_removed_and_not_by_a_name(tmp_path: Path) -> None:
    with pc.Engine(tmp_path / "store") as engine:
        with pytest.raises(errors.NotFound, match="not in the store"):
            pc.Image.scratch(engine=engine).label(a="b").remove(platform="linux/arm64")
        with pytest.raises(errors.InvalidInput, match="name and platform"):
            pc.Image(engine, _record()).remove("app:1", platform="linux/arm64")


def _record() -> ImageRecord:
    digest = Digest("sha256:" + "0" * 64)
    return ImageRecord(
        id=digest, manifest_digest=digest, target_digest=digest, platform="linux/amd64", size=1, created_at=0
    )
