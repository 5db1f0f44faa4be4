from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.launcher import Helper
from pycontainer.store import Store
from pycontainer.store.content import ContentStore
from pycontainer.store.layout import Layout
from pycontainer.store.leases import Leases
from pycontainer.store.statedb import StateDB


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "store")
    made.create()
    return made


@pytest.fixture
def leases(layout: Layout) -> Leases:
    return Leases(layout)


@pytest.fixture
def content(layout: Layout, leases: Leases) -> ContentStore:
    return ContentStore(layout, leases.touch)


@pytest.fixture
def state(layout: Layout) -> Iterator[StateDB]:
    made = StateDB(layout)
    yield made
    made.close()


@pytest.fixture(scope="session")
def helper() -> Iterator[Helper]:
    made = Helper()
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path, helper: Helper) -> Iterator[Store]:
    made = Store(tmp_path / "store", helper)
    yield made
    made.close()
