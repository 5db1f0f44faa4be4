"""When images are brought here."""

from __future__ import annotations

from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.errors import InvalidInput


def test_a_policy_of_pulling_is_one_of_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {image: x}}")
    with pc.Engine(tmp_path / "store") as engine:
        app = pc.Compose(tmp_path / "compose.yaml", env={}, engine=engine)
        with pytest.raises(InvalidInput, match="pull='sometimes': give always, missing or never"):
            app.up(pull="sometimes")
