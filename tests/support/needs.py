"""Skip a test where the host cannot run it, with the reason the doctor prints."""

from __future__ import annotations

import shutil
from functools import cache

import pytest

from pycontainer.kernel import probe

needs = pytest.mark.needs
"""`@needs("root", "overlay", "crun")`: features the doctor knows, or else programs on the path."""

_PACKAGES = {"docker-registry": "docker-registry", "dockerd": "docker.io", "docker": "docker.io"}


@cache
def reason_to_skip(feature: str) -> str | None:
    """Why a test that needs the feature cannot run here, or None."""
    if feature in probe.NAMES:
        finding = probe.check(feature)
        return None if finding.is_ok else f"{finding.name}: {finding.detail}; {finding.remedy}"
    if shutil.which(feature) is None:
        return f"{feature} is not installed: apt-get install {_PACKAGES.get(feature, feature)}"
    return None
