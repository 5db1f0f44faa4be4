"""Unpacked layers in the database, and which blobs and layers have reached the disk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pycontainer.oci import Digest
from pycontainer.store.database import Database
from pycontainer.store.records import LayerRecord, SnapshotKey

__all__ = ["LayerTable"]


class LayerTable:
    """What is known of each snapshot; the directory is the truth of its existence."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, record: LayerRecord) -> None:
        """Insert or replace one layer."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?, ?)",
                (record.key, record.diff_id, record.size, record.entries, record.is_durable),
            )

    def get(self, key: str) -> LayerRecord | None:
        """One layer."""
        rows = self._database.query("SELECT * FROM layers WHERE key = ?", (key,))
        return _record(rows[0]) if rows else None

    def list(self) -> list[LayerRecord]:
        """All layers."""
        return [_record(row) for row in self._database.query("SELECT * FROM layers ORDER BY key")]

    def delete(self, keys: Iterable[str]) -> None:
        """Forget layers."""
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM layers WHERE key = ?", [(key,) for key in keys])

    def durable_blobs(self) -> set[Digest]:
        """Blobs that are known to have reached the disk."""
        return {row[0] for row in self._database.query("SELECT digest FROM durable_blobs")}

    def set_durable(self, keys: Iterable[str], digests: Iterable[str]) -> None:
        """Record that these layers and blobs have reached the disk."""
        with self._database.transaction() as connection:
            connection.executemany("UPDATE layers SET is_durable = 1 WHERE key = ?", [(key,) for key in keys])
            connection.executemany(
                "INSERT OR IGNORE INTO durable_blobs VALUES (?)", [(digest,) for digest in digests]
            )

    def forget_blobs(self, digests: Iterable[str]) -> None:
        """Blobs that are no longer there."""
        with self._database.transaction() as connection:
            connection.executemany(
                "DELETE FROM durable_blobs WHERE digest = ?", [(digest,) for digest in digests]
            )

    def boot_id(self) -> str:
        """The boot in which the store was last opened, "" for a new one."""
        rows = self._database.query("SELECT value FROM meta WHERE key = 'boot_id'")
        return str(rows[0][0]) if rows else ""

    def set_boot_id(self, boot_id: str) -> None:
        """Record the boot in which the store is open."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('boot_id', ?)", (boot_id,))


def _record(row: tuple[Any, ...]) -> LayerRecord:
    return LayerRecord(
        key=SnapshotKey(row[0]), diff_id=row[1], size=row[2], entries=row[3], is_durable=bool(row[4])
    )
