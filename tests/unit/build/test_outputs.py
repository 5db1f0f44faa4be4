"""What a build is asked to write, before anything is built."""

from __future__ import annotations

import io

import pytest

from pycontainer.engine.building.outputs import understood_outputs
from pycontainer.errors import InvalidOption


def test_a_layout_is_not_written_to_a_stream() -> None:
    with pytest.raises(InvalidOption, match="tar=false needs the path"):
        understood_outputs({"type": "oci", "tar": "false", "dest": io.BytesIO()})
    assert understood_outputs("type=oci,tar=false,dest=out")[0].dest == "out"
