"""The cache of builds in the database: what is kept, and what counts as used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from pycontainer.oci import Digest
from pycontainer.store import BuildRecord, SnapshotKey, StateDB
from pycontainer.store.layout import Layout

DIGEST = Digest("sha256:" + "a" * 64)


def record(key: str, created: str = "1") -> BuildRecord:
    return BuildRecord(
        key=key, diff_id=DIGEST, digest=DIGEST, media_type="m", size=3, snapshot=SnapshotKey("a" * 64),
        created=created, description="RUN x", used_at=1.0,
    )  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDB]:
    layout = Layout(tmp_path / "store")
    layout.create()
    made = StateDB(layout)
    yield made
    made.close()


def test_the_first_of_two_builds_is_kept_unless_it_is_replaced(state: StateDB) -> None:
    assert state.builds.get("k") is None
    assert state.builds.put(record("k")) == record("k")
    assert state.builds.put(record("k", "2")).created == "1"
    state.builds.replace(record("k", "3"))
    found = state.builds.get("k")
    assert found is not None
    assert found.created == "3"


def test_what_is_given_counts_as_used(state: StateDB) -> None:
    state.builds.put(record("old"))
    state.builds.put(evolve(record("new"), used_at=2.0))
    assert [each.key for each in state.builds.list()] == ["old", "new"]
    state.builds.get("old")
    assert [each.key for each in state.builds.list()] == ["new", "old"]
    state.builds.delete(["new"])
    assert [each.key for each in state.builds.list()] == ["old"]


def test_checksums_are_kept_until_they_are_old(state: StateDB) -> None:
    state.builds.keep_sum("k", "sha256:x")
    assert state.builds.sum("k") == "sha256:x"
    state.builds.forget_sums(before=1.0)
    assert state.builds.sum("k") == "sha256:x"
    state.builds.forget_sums(before=1e12)
    assert state.builds.sum("k") is None
