"""Volumes in the database, and which containers use them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable

from pycontainer.errors import AlreadyExists, InUse, NotFound
from pycontainer.store.database import Database
from pycontainer.store.records import VolumeRecord

__all__ = ["VolumeTable"]

_COLUMNS = "name, driver, created_at, options, labels, is_anonymous, goes_with"


class VolumeTable:
    """Volumes by name; a container's uses go with its row. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, record: VolumeRecord) -> None:
        """Add a volume. Raises: AlreadyExists if the name is taken."""
        row = (
            record.name, record.driver, record.created_at, json.dumps(dict(record.options)),
            json.dumps(dict(record.labels)), record.is_anonymous, record.goes_with,
        )  # fmt: skip
        with self._database.transaction() as connection:
            try:
                connection.execute(f"INSERT INTO volumes ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            except sqlite3.IntegrityError:
                raise AlreadyExists(f"a volume named {record.name!r} exists already") from None

    def get(self, name: str) -> VolumeRecord | None:
        """The volume of this name."""
        found = self._select("WHERE name = ?", name)
        return found[0] if found else None

    def of_container(self, container_id: str) -> list[VolumeRecord]:
        """The volumes that a container uses."""
        return self._select(
            "WHERE name IN (SELECT volume FROM volume_uses WHERE container_id = ?) ORDER BY name",
            container_id,
        )

    def use(self, container_id: str, names: Iterable[str]) -> None:
        """Write down that a container uses these volumes. Raises: NotFound naming one that is not there."""
        with self._database.transaction() as connection:
            for name in names:
                if not connection.execute("SELECT 1 FROM volumes WHERE name = ?", (name,)).fetchone():
                    raise NotFound(f"no such volume: {name}")
                connection.execute("INSERT OR IGNORE INTO volume_uses VALUES (?, ?)", (name, container_id))

    def keep(self, container_id: str) -> None:
        """Let the anonymous volumes of a container stay when it is removed."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE volumes SET goes_with = NULL WHERE goes_with = ?", (container_id,))

    def orphans(self) -> list[str]:
        """Names of the volumes that should have gone with a container that is there no more."""
        rows = self._database.query(
            "SELECT name FROM volumes WHERE goes_with IS NOT NULL "
            "AND goes_with NOT IN (SELECT id FROM containers) ORDER BY name"
        )
        return [row[0] for row in rows]

    def users(self, name: str) -> list[str]:
        """Ids of the containers that use a volume."""
        rows = self._database.query(
            "SELECT container_id FROM volume_uses WHERE volume = ? ORDER BY container_id", (name,)
        )
        return [row[0] for row in rows]

    def delete(self, name: str) -> bool:
        """Drop a volume's row; False if there was none. Raises: InUse naming the containers that use it."""
        with self._database.transaction() as connection:
            users = connection.execute(
                "SELECT c.name FROM volume_uses u JOIN containers c ON c.id = u.container_id "
                "WHERE u.volume = ?",
                (name,),
            ).fetchall()
            if users:
                named = ", ".join(sorted(user for (user,) in users))
                raise InUse(f"volume {name} is used by {named}; remove the containers first")
            changed = connection.execute("DELETE FROM volumes WHERE name = ?", (name,)).rowcount
        return changed > 0

    def _select(self, rest: str, *values: object) -> list[VolumeRecord]:
        rows = self._database.query(f"SELECT {_COLUMNS} FROM volumes {rest}", values)
        return [
            VolumeRecord(
                name=row[0],
                driver=row[1],
                created_at=row[2],
                options=json.loads(row[3]),
                labels=json.loads(row[4]),
                is_anonymous=bool(row[5]),
                goes_with=row[6],
            )
            for row in rows
        ]

    def list(self) -> list[VolumeRecord]:
        """All volumes, by name."""
        return self._select("ORDER BY name")
