"""Containers in the database: rows, unique names and the look-up rules."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable
from typing import Any

from pycontainer.checkpoints import reached
from pycontainer.errors import AlreadyExists, InvalidInput, NotFound
from pycontainer.store.database import Database
from pycontainer.store.networks import insert_endpoint
from pycontainer.store.records import ContainerRecord, EndpointRecord, Owner

__all__ = ["KILL_POINTS", "ContainerTable"]

KILL_POINTS = (
    "create.container.inserted",  # the row is there, and the name taken
    "remove.container.deleted",  # the row is gone, the directory is not
)

_COLUMNS = (
    "id, name, image_id, image_ref, created_at, options, snapshots, auto_remove, "
    "owner_pid, owner_start, owner_boot"
)
_INSERT = f"INSERT INTO containers ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_HEX = re.compile(r"[0-9a-f]{1,64}")


class ContainerTable:
    """Containers by id, by unique prefix of it, or by name. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, record: ContainerRecord, endpoints: Iterable[EndpointRecord] = ()) -> None:
        """Add a container with its places in networks; its image cannot be removed from now on.

        Raises: AlreadyExists if the name is taken; InUse if an address is another's; NotFound if the image or
        a network has gone meanwhile.
        """
        with self._database.transaction() as connection:
            if record.image_id:
                if not connection.execute("SELECT 1 FROM images WHERE id = ?", (record.image_id,)).fetchone():
                    raise NotFound(f"image {record.image_id} was removed meanwhile; pull it again")
            try:
                connection.execute(_INSERT, _row(record))
            except sqlite3.IntegrityError:
                holder = connection.execute(
                    "SELECT id FROM containers WHERE name = ?", (record.name,)
                ).fetchone()
                if holder is None:
                    raise AlreadyExists(f"container {record.id} exists already") from None
                raise _taken(record.name, holder[0]) from None
            for endpoint in endpoints:
                insert_endpoint(connection, endpoint)
        reached("create.container.inserted")

    def get(self, container_id: str) -> ContainerRecord | None:
        """The container with this full id."""
        rows = self._database.query(f"SELECT {_COLUMNS} FROM containers WHERE id = ?", (container_id,))
        return _record(rows[0]) if rows else None

    def find(self, text: str) -> ContainerRecord:
        """The container with this full id, else this name, else an id that alone begins so.

        Raises: NotFound; InvalidInput if several ids begin so.
        """
        rows = self._database.query(
            f"SELECT {_COLUMNS} FROM containers WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC LIMIT 1",
            (text,),
        )
        if not rows and _HEX.fullmatch(text):
            rows = self._database.query(
                f"SELECT {_COLUMNS} FROM containers WHERE id >= ? AND id < ? LIMIT 2", (text, text + "g")
            )
            if len(rows) > 1:
                raise InvalidInput(f"several containers have an id that begins with {text}; give more digits")
        if not rows:
            raise NotFound(f"no such container: {text}")
        return _record(rows[0])

    def ids(self) -> set[str]:
        """Ids of all containers."""
        return {row[0] for row in self._database.query("SELECT id FROM containers")}

    def of_image(self, image_id: str) -> list[ContainerRecord]:
        """The containers made from an image."""
        rows = self._database.query(f"SELECT {_COLUMNS} FROM containers WHERE image_id = ?", (image_id,))
        return [_record(row) for row in rows]

    def going_by_themselves(self) -> list[ContainerRecord]:
        """Those that are to go with their end, or with their owner's."""
        rows = self._database.query(
            f"SELECT {_COLUMNS} FROM containers WHERE auto_remove OR owner_pid IS NOT NULL"
        )
        return [_record(row) for row in rows]

    def rename(self, container_id: str, name: str) -> None:
        """Give a container another name, in its options as well. Raises: AlreadyExists; NotFound."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT options FROM containers WHERE id = ?", (container_id,)
            ).fetchone()
            options = {**json.loads(row[0]), "name": name} if row else {}
            try:
                changed = connection.execute(
                    "UPDATE containers SET name = ?, options = ? WHERE id = ?",
                    (name, json.dumps(options), container_id),
                ).rowcount
            except sqlite3.IntegrityError:
                holder = connection.execute("SELECT id FROM containers WHERE name = ?", (name,)).fetchone()
                raise _taken(name, holder[0]) from None
        if not changed:
            raise NotFound(f"no container {container_id}")

    def set_owner(self, container_id: str, owner: Owner | None) -> None:
        """Let the container belong to another process, or to none. Raises: NotFound."""
        row = (owner.pid, owner.start, owner.boot_id) if owner else (None, None, None)
        with self._database.transaction() as connection:
            changed = connection.execute(
                "UPDATE containers SET owner_pid = ?, owner_start = ?, owner_boot = ? WHERE id = ?",
                (*row, container_id),
            ).rowcount
        if not changed:
            raise NotFound(f"no container {container_id}")

    def set_options(self, container_id: str, options: dict[str, object]) -> None:
        """Replace the recorded options. Raises: NotFound."""
        with self._database.transaction() as connection:
            changed = connection.execute(
                "UPDATE containers SET options = ? WHERE id = ?", (json.dumps(options), container_id)
            ).rowcount
        if not changed:
            raise NotFound(f"no container {container_id}")

    def delete(self, container_id: str) -> bool:
        """Drop a container's row, which frees its name; False if there was none."""
        with self._database.transaction() as connection:
            changed = connection.execute("DELETE FROM containers WHERE id = ?", (container_id,)).rowcount
        reached("remove.container.deleted")
        return changed > 0

    def list(self) -> list[ContainerRecord]:
        """All containers, the newest first."""
        rows = self._database.query(f"SELECT {_COLUMNS} FROM containers ORDER BY created_at DESC, id")
        return [_record(row) for row in rows]


def _taken(name: str, holder: str) -> AlreadyExists:
    return AlreadyExists(
        f"the name {name!r} is taken by container {holder[:12]}; "
        "remove or rename that one, or choose another name"
    )


def _row(record: ContainerRecord) -> tuple[object, ...]:
    owner = record.owner
    return (
        record.id,
        record.name,
        record.image_id,
        record.image_ref,
        record.created_at,
        json.dumps(record.options),
        json.dumps(record.snapshots),
        record.auto_remove,
        *((owner.pid, owner.start, owner.boot_id) if owner else (None, None, None)),
    )


def _record(row: tuple[Any, ...]) -> ContainerRecord:
    return ContainerRecord(
        id=row[0],
        name=row[1],
        image_id=row[2],
        image_ref=row[3],
        created_at=row[4],
        options=json.loads(row[5]),
        snapshots=tuple(json.loads(row[6])),
        auto_remove=bool(row[7]),
        owner=None if row[8] is None else Owner(pid=row[8], start=row[9], boot_id=row[10]),
    )
