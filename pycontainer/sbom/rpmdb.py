"""The database of rpm, as it has been since 4.16: SQLite, with one header a package.

Theory of operation. A header is a list of (tag, type, offset, count), each 16 bytes, and a store of values
that these point into; only strings and numbers of a few tags are looked at, and nothing beyond the store.
The database is opened from memory, and a query of it that does not end is given up.
Source: rpm, docs/manual/format_header.md, lib/backend/sqlite.c, include/rpm/rpmtag.h.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator

from pycontainer.sbom.packages import Package

__all__ = ["rpm_packages"]

_NAME, _VERSION, _RELEASE, _EPOCH = 1000, 1001, 1002, 1003
_VENDOR, _LICENSE, _URL, _ARCH, _SOURCE = 1011, 1014, 1020, 1022, 1044
_TEXTS = (6, 9)  # STRING, I18NSTRING
_INT32 = 4
_ENTRY = struct.Struct(">4I")
_MAGIC = b"SQLite format 3\0"
_MAX_VALUE_BYTES = 16 << 20
_MAX_ENTRIES = 1 << 16
_MAX_STEPS = 2_000_000  # of SQLite's machine; a database of 5,000 packages takes 30,000


def rpm_packages(path: str, content: bytes, namespace: str, distro: str) -> Iterator[Package]:
    """The packages that a database tells of; none if it is no database."""
    for blob in _headers(content):
        tags = _tags(blob)
        name, version = tags.get(_NAME, ""), tags.get(_VERSION, "")
        if not name or not version or name == "gpg-pubkey":  # keys are kept as if they were packages
            continue
        release = tags.get(_RELEASE, "")
        yield Package(
            kind="rpm",
            name=name,
            version=f"{version}-{release}" if release else version,
            architecture=tags.get(_ARCH, ""),
            origin=tags.get(_SOURCE, ""),
            license=tags.get(_LICENSE, ""),
            supplier=tags.get(_VENDOR, ""),
            homepage=tags.get(_URL, ""),
            namespace=namespace,
            distro=distro,
            epoch=tags.get(_EPOCH, ""),
            found_in=path,
        )


def _headers(content: bytes) -> list[bytes]:
    if not content.startswith(_MAGIC):
        return []
    connection = sqlite3.connect(":memory:")
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(len(content), _MAX_VALUE_BYTES))
        connection.deserialize(content)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.set_progress_handler(lambda: 1, _MAX_STEPS)
        rows = connection.execute("SELECT blob FROM Packages").fetchall()
        return [row[0] for row in rows if isinstance(row[0], bytes)]
    except (sqlite3.Error, OverflowError):
        return []
    finally:
        connection.close()


def _tags(blob: bytes) -> dict[int, str]:
    """The values of the tags that are looked at, as text."""
    if len(blob) < 8:
        return {}
    count, size = struct.unpack_from(">2I", blob)
    start = 8 + count * _ENTRY.size
    if count > _MAX_ENTRIES or start + size > len(blob):
        return {}
    store = blob[start : start + size]
    found: dict[int, str] = {}
    for tag, kind, offset, _ in _ENTRY.iter_unpack(blob[8:start]):
        if kind in _TEXTS and offset < size:
            end = store.find(b"\0", offset)
            found.setdefault(tag, store[offset : end if end >= 0 else size].decode(errors="replace"))
        elif kind == _INT32 and tag == _EPOCH and offset + 4 <= size:
            found[tag] = str(struct.unpack_from(">I", store, offset)[0])
    return found
