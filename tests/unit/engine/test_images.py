"""What an image's handle tells without its engine."""

from __future__ import annotations

from pathlib import Path

import pycontainer as pc
from pycontainer.oci import Digest
from pycontainer.store import ImageRecord


def test_the_handle_of_a_closed_engine_can_still_be_shown(tmp_path: Path) -> None:
    engine = pc.Engine(tmp_path / "store")
    image = pc.Image(engine, _record())
    engine.close()
    assert repr(image) == "Image('', id='sha256:000000000000')"


def _record() -> ImageRecord:
    digest = Digest("sha256:" + "0" * 64)
    return ImageRecord(
        id=digest, manifest_digest=digest, target_digest=digest, platform="linux/amd64", size=1, created_at=0
    )
