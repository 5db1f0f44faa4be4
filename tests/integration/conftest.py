"""An engine on a store of its own, and a busybox image in it, for tests of the SDK."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainer as pc


@pytest.fixture(scope="module")
def warm_engine(
    tmp_path_factory: pytest.TempPathFactory, busybox_layout: Path
) -> Iterator[tuple[pc.Engine, pc.Image]]:
    """An engine whose helper and store are up before the leak oracle looks, with busybox loaded."""
    engine = pc.Engine(tmp_path_factory.mktemp("engine") / "store")
    image = pc.Image.load(busybox_layout, engine=engine)[0].tag("busybox:latest")
    pc.run(image, ["true"], engine=engine)
    yield engine, image
    engine.close()


@pytest.fixture
def engine(warm_engine: tuple[pc.Engine, pc.Image]) -> Iterator[pc.Engine]:
    """The engine; whatever a test leaves running in it is an error of that test."""
    made, _ = warm_engine
    yield made
    left = pc.Container.list(all=True, engine=made)
    for container in left:
        container.remove(force=True)
    assert [container.name for container in left] == []


@pytest.fixture
def busybox(warm_engine: tuple[pc.Engine, pc.Image]) -> pc.Image:
    """A busybox image of two layers in the engine's store."""
    return warm_engine[1]
