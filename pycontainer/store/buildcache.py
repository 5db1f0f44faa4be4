"""The cache of builds: what a step made, by a key of all that it was made from."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from attrs import frozen

from pycontainer.oci import Digest
from pycontainer.store.database import Database
from pycontainer.store.records import SnapshotKey
from pycontainer.values import Value

__all__ = ["BuildCacheTable", "BuildRecord"]

_COLUMNS = "key, diff_id, digest, media_type, size, snapshot, created, description, used_at"
_VALUES = f"INTO build_cache ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_USED_GAP_S = 60.0  # the time of use need not be exact, and writing is slower than reading


@frozen(kw_only=True, eq=False, repr=False)
class BuildRecord(Value):
    """The layer a step made.

    key: of the step; diff_id, digest, media_type, size: of the layer and its blob; snapshot: where it is
    unpacked; created: when it was made, RFC 3339; description: the step, for people; used_at: when the cache
    last gave it.
    """

    key: str
    diff_id: Digest
    digest: Digest
    media_type: str
    size: int
    snapshot: SnapshotKey
    created: str
    description: str = ""
    used_at: float = 0.0


class BuildCacheTable:
    """Layers by the key of the step that made them, and checksums of files of stages."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str) -> BuildRecord | None:
        """What the step of this key made; it counts as used."""
        rows = self._database.query(f"SELECT {_COLUMNS} FROM build_cache WHERE key = ?", (key,))
        if not rows:
            return None
        found, now = _record(rows[0]), time.time()
        if now - found.used_at > _USED_GAP_S:
            with self._database.transaction() as connection:
                connection.execute("UPDATE build_cache SET used_at = ? WHERE key = ?", (now, key))
        return found

    def put(self, record: BuildRecord) -> BuildRecord:
        """Keep what a step made, unless another build was faster; gives what is kept."""
        with self._database.transaction() as connection:
            connection.execute(f"INSERT OR IGNORE {_VALUES}", _row(record))
            rows = connection.execute(f"SELECT {_COLUMNS} FROM build_cache WHERE key = ?", (record.key,))
            return _record(rows.fetchone())

    def replace(self, record: BuildRecord) -> None:
        """Keep what a step made, whatever was kept until now."""
        with self._database.transaction() as connection:
            connection.execute(f"INSERT OR REPLACE {_VALUES}", _row(record))

    def list(self) -> list[BuildRecord]:
        """All, the one not used for the longest time first."""
        rows = self._database.query(f"SELECT {_COLUMNS} FROM build_cache ORDER BY used_at, key")
        return [_record(row) for row in rows]

    def delete(self, keys: Iterable[str]) -> None:
        """Forget what steps made; layers that nothing else needs go with the next collection."""
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM build_cache WHERE key = ?", [(key,) for key in keys])

    def sum(self, key: str) -> str | None:
        """A checksum kept under this key."""
        rows = self._database.query("SELECT digest FROM build_sums WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def keep_sum(self, key: str, digest: str) -> None:
        """Keep a checksum."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO build_sums VALUES (?, ?, ?)", (key, digest, time.time())
            )

    def forget_sums(self, before: float) -> None:
        """Forget the checksums that were kept before a time."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM build_sums WHERE used_at < ?", (before,))


def _row(record: BuildRecord) -> tuple[object, ...]:
    return (
        record.key,
        record.diff_id,
        record.digest,
        record.media_type,
        record.size,
        record.snapshot,
        record.created,
        record.description,
        record.used_at or time.time(),
    )


def _record(row: tuple[Any, ...]) -> BuildRecord:
    return BuildRecord(
        key=row[0],
        diff_id=Digest(row[1]),
        digest=Digest(row[2]),
        media_type=row[3],
        size=row[4],
        snapshot=SnapshotKey(row[5]),
        created=row[6],
        description=row[7],
        used_at=row[8],
    )
