"""Images and their tags in the database."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from attrs import evolve

from pycontainer.checkpoints import reached
from pycontainer.errors import InvalidInput, NotFound
from pycontainer.oci import Digest
from pycontainer.store.database import Database
from pycontainer.store.records import ImageLayer, ImageRecord, SnapshotKey, Tag

__all__ = ["KILL_POINTS", "ImageTable"]

KILL_POINTS = (
    "pull.image.recording",  # layers are unpacked, nothing names them yet
    "pull.image.recorded",  # image and tags are there
)

_COLUMNS = "id, manifest_digest, target_digest, platform, size, created_at, layers, blobs"


class ImageTable:
    """Images by id, and tags by full canonical name. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, record: ImageRecord, tags: Iterable[str] = ()) -> ImageRecord:
        """Insert or replace an image and point the tags at it, all at once.

        An image that is there already keeps the blobs of its earlier manifest too: tags and digests
        may still name them. Gives the record as stored.
        """
        reached("pull.image.recording")
        with self._database.transaction() as connection:
            earlier = connection.execute(
                f"SELECT {_COLUMNS} FROM images WHERE id = ?", (record.id,)
            ).fetchone()
            if earlier is not None:
                record = _merged(record, _record(earlier))
            connection.execute(
                f"INSERT INTO images ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT(id) DO UPDATE SET "
                "manifest_digest = excluded.manifest_digest, target_digest = excluded.target_digest, "
                "platform = excluded.platform, size = excluded.size, created_at = excluded.created_at, "
                "layers = excluded.layers, blobs = excluded.blobs",
                _row(record),
            )
            for name in tags:
                self.tag(name, record.id, record.target_digest)
        reached("pull.image.recorded")
        return record

    def let_go(self, image_id: str, digests: Iterable[Digest]) -> None:
        """No longer keep these blobs with an image; those of its own manifest stay. Raises: NotFound."""
        with self._database.transaction() as connection:
            left = set(self.get(image_id).blobs).difference(digests)
            connection.execute(
                "UPDATE images SET blobs = ? WHERE id = ?", (json.dumps(sorted(left)), image_id)
            )

    def get(self, image_id: str) -> ImageRecord:
        """The image with this full id. Raises: NotFound."""
        rows = self._database.query(f"SELECT {_COLUMNS} FROM images WHERE id = ?", (image_id,))
        if not rows:
            raise NotFound(f"no image {image_id} in the store")
        return _record(rows[0])

    def tagged(self, name: str) -> ImageRecord | None:
        """The image a full canonical name stands for."""
        rows = self._database.query(
            f"SELECT {_COLUMNS} FROM images WHERE id = (SELECT image_id FROM tags WHERE name = ?)", (name,)
        )
        return _record(rows[0]) if rows else None

    def with_digest(self, repository: str, digest: str) -> ImageRecord | None:
        """The image that a tag of this repository got by this digest, of its index or its manifest."""
        rows = self._database.query(
            "SELECT DISTINCT image_id FROM tags JOIN images ON images.id = image_id "
            "WHERE (tags.target_digest = ?1 OR images.manifest_digest = ?1) "
            "AND (substr(name, 1, ?3) = ?2 || ':' OR substr(name, 1, ?3) = ?2 || '@')",
            (digest, repository, len(repository) + 1),
        )
        return self.get(rows[0][0]) if rows else None

    def with_id_prefix(self, digits: str) -> ImageRecord | None:
        """The image whose id begins so. Raises: InvalidInput if there are several."""
        low = f"sha256:{digits}"
        rows = self._database.query(
            f"SELECT {_COLUMNS} FROM images WHERE id >= ? AND id < ? LIMIT 2", (low, low + "g")
        )
        if len(rows) > 1:
            raise InvalidInput(f"several images have an id that begins with {digits}; give more digits")
        return _record(rows[0]) if rows else None

    def tag(self, name: str, image_id: str, target_digest: str) -> None:
        """Point a full canonical name at an image, wherever it pointed before. Raises: NotFound."""
        with self._database.transaction() as connection:
            if not connection.execute("SELECT 1 FROM images WHERE id = ?", (image_id,)).fetchone():
                raise NotFound(f"no image {image_id} in the store")
            connection.execute(
                "INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", (name, image_id, target_digest)
            )

    def untag(self, name: str) -> bool:
        """Drop a name; False if there was none."""
        with self._database.transaction() as connection:
            return connection.execute("DELETE FROM tags WHERE name = ?", (name,)).rowcount > 0

    def tags(self, image_id: str | None = None) -> list[Tag]:
        """The tags of one image, or all, sorted by name."""
        where, values = ("", ()) if image_id is None else ("WHERE image_id = ?", (image_id,))
        rows = self._database.query(
            f"SELECT name, image_id, target_digest FROM tags {where} ORDER BY name", values
        )
        return [
            Tag(name=name, image_id=Digest(of), target_digest=Digest(target)) for name, of, target in rows
        ]

    def delete(self, image_id: str) -> None:
        """Drop an image and its tags; what it needed stays until garbage is collected."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM images WHERE id = ?", (image_id,))

    def list(self) -> list[ImageRecord]:
        """All images, the newest first."""
        rows = self._database.query(f"SELECT {_COLUMNS} FROM images ORDER BY created_at DESC, id")
        return [_record(row) for row in rows]


def _merged(record: ImageRecord, earlier: ImageRecord) -> ImageRecord:
    known = {layer.diff_id: layer.snapshot for layer in earlier.layers}
    layers = tuple(
        layer if layer.snapshot else evolve(layer, snapshot=known.get(layer.diff_id, SnapshotKey("")))
        for layer in record.layers
    )
    blobs = (earlier.digests | set(record.blobs)) - evolve(record, blobs=()).digests
    return evolve(record, layers=layers, blobs=tuple(sorted(blobs)), created_at=earlier.created_at)


def _row(record: ImageRecord) -> tuple[object, ...]:
    return (
        record.id,
        record.manifest_digest,
        record.target_digest,
        record.platform,
        record.size,
        record.created_at,
        json.dumps([(layer.digest, layer.diff_id, layer.snapshot) for layer in record.layers]),
        json.dumps(record.blobs),
    )


def _record(row: tuple[Any, ...]) -> ImageRecord:
    layers = [
        ImageLayer(digest=digest, diff_id=diff_id, snapshot=key)
        for digest, diff_id, key in json.loads(row[6])
    ]
    return ImageRecord(
        id=row[0],
        manifest_digest=row[1],
        target_digest=row[2],
        platform=row[3],
        size=row[4],
        created_at=row[5],
        layers=tuple(layers),
        blobs=tuple(json.loads(row[7])),
    )
