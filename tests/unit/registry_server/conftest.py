"""A running registry, and a client that adds nothing to what a test says."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from pycontainer.registry.server import Registry


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as running:
        yield running


@pytest.fixture
def client(registry: Registry) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=registry.url, trust_env=False, timeout=10) as opened:
        yield opened
