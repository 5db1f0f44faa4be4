"""How long tests wait: a host that is slow, as an emulated one, gets a multiple of what others get."""

from __future__ import annotations

import os

VARIABLE = "PYCONTAINER_TEST_PATIENCE"
FACTOR = float(os.environ.get(VARIABLE, "1"))
"""By what deadlines of tests are multiplied."""


def patient(seconds: float) -> float:
    """A deadline that is meant to be long enough, for this host."""
    return seconds * FACTOR
