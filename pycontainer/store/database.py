"""The connection to state.db: SQLite in WAL mode, shared by threads, processes and forked children.

Every change is one short transaction. A commit is not synced (synchronous=NORMAL): after a power cut
the last few are missing, whole, and what they named is garbage that the next opening collects.
Source: sqlite.org/wal.html, sqlite.org/pragma.html.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pycontainer.errors import DeadlineExceeded, IntegrityError, KernelError, PycontainerError, Unsupported
from pycontainer.store.locks import FileLock

__all__ = ["SCHEMA_VERSION", "Database"]

SCHEMA_VERSION = 3
BUSY_TIMEOUT_S = 30.0

# Pages of the log after which a commit also checkpoints. Large, because that commit pays for two fsyncs;
# closing and collecting garbage checkpoint earlier, off the path of a starting container.
_CHECKPOINT_PAGES = 4000
_SHORT_LOG_BYTES = 1 << 20  # is read in a millisecond

_SCHEMA = """
CREATE TABLE images (
    id TEXT PRIMARY KEY, manifest_digest TEXT NOT NULL, target_digest TEXT NOT NULL, platform TEXT NOT NULL,
    size INTEGER NOT NULL, created_at REAL NOT NULL, layers TEXT NOT NULL, blobs TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE tags (
    name TEXT PRIMARY KEY, image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
    target_digest TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX tags_by_image ON tags(image_id);
CREATE TABLE containers (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, image_id TEXT NOT NULL, image_ref TEXT NOT NULL,
    created_at REAL NOT NULL, options TEXT NOT NULL, snapshots TEXT NOT NULL, auto_remove INTEGER NOT NULL,
    owner_pid INTEGER, owner_start INTEGER, owner_boot TEXT
);
CREATE TABLE layers (
    key TEXT PRIMARY KEY, diff_id TEXT NOT NULL, size INTEGER NOT NULL, entries INTEGER NOT NULL,
    is_durable INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE durable_blobs (digest TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

_NETWORKS_AND_VOLUMES = """
CREATE TABLE networks (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, driver TEXT NOT NULL, bridge TEXT UNIQUE,
    created_at REAL NOT NULL, options TEXT NOT NULL, labels TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE subnets (
    subnet TEXT PRIMARY KEY, network_id TEXT NOT NULL REFERENCES networks(id) ON DELETE CASCADE,
    gateway TEXT NOT NULL, ip_range TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE endpoints (
    network_id TEXT NOT NULL REFERENCES networks(id),
    container_id TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
    ipv4 TEXT, ipv6 TEXT, mac TEXT NOT NULL, ifname TEXT NOT NULL, options TEXT NOT NULL,
    PRIMARY KEY (network_id, container_id), UNIQUE (network_id, ipv4), UNIQUE (network_id, ipv6)
) WITHOUT ROWID;
CREATE INDEX endpoints_by_container ON endpoints(container_id);
CREATE TABLE volumes (
    name TEXT PRIMARY KEY, driver TEXT NOT NULL, created_at REAL NOT NULL, options TEXT NOT NULL,
    labels TEXT NOT NULL, is_anonymous INTEGER NOT NULL, goes_with TEXT
) WITHOUT ROWID;
CREATE TABLE volume_uses (
    volume TEXT NOT NULL REFERENCES volumes(name),
    container_id TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
    PRIMARY KEY (volume, container_id)
) WITHOUT ROWID;
CREATE INDEX volume_uses_by_container ON volume_uses(container_id);
"""

_BUILDS = """
CREATE TABLE build_cache (
    key TEXT PRIMARY KEY, diff_id TEXT NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL,
    size INTEGER NOT NULL, snapshot TEXT NOT NULL, created TEXT NOT NULL, description TEXT NOT NULL,
    used_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE build_sums (key TEXT PRIMARY KEY, digest TEXT NOT NULL, used_at REAL NOT NULL) WITHOUT ROWID;
"""

_STEPS = (_SCHEMA, _NETWORKS_AND_VOLUMES, _BUILDS)
"""What brings a database from each version to the next, from nothing on."""

_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_creating = threading.Lock()
# A forked child may neither use nor close its parent's connections (sqlite.org/howtocorrupt.html), and
# finalising one would close it: they are kept here for ever, like those that the end of the process closes.
_never_closed: list[sqlite3.Connection] = []


class Database:
    """One connection behind one lock; a forked child opens its own.

    Raises: Unsupported if a newer version wrote the database; IntegrityError if it is none;
    KernelError; DeadlineExceeded if another program kept it busy for half a minute.
    """

    def __init__(self, path: Path, creation_lock: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        _databases.add(self)
        with self._lock, self._explained():
            self._prepare(self._connected(), creation_lock)

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            _create(self._path)
            self._connection = sqlite3.connect(
                self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        return self._connection

    def _prepare(self, connection: sqlite3.Connection, creation_lock: Path) -> None:
        version = _version(connection)
        if version < SCHEMA_VERSION:
            # Two processes that turn WAL on at once would get "locked" without the busy timeout.
            with FileLock(creation_lock).held(BUSY_TIMEOUT_S):
                connection.execute("PRAGMA journal_mode = WAL")
                version = _version(connection)
                if version < SCHEMA_VERSION:
                    missing = " ".join(_STEPS[version:])
                    connection.executescript(
                        f"BEGIN IMMEDIATE; {missing} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
                    )
                    return
        if version > SCHEMA_VERSION:
            raise Unsupported(
                f"the store {self._path.parent} was written by a newer pycontainer (schema {version}; "
                f"this one knows {SCHEMA_VERSION})",
                "update pycontainer, or choose another store with PYCONTAINER_ROOT",
            )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: all of it or, on an exception, nothing. Re-entering joins the outer one."""
        with self._lock, self._explained():
            connection = self._connected()
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of one statement that only reads."""
        with self._lock, self._explained():
            return self._connected().execute(sql, values).fetchall()

    def checkpoint(self) -> None:
        """Move the log into the database, as far as other readers allow."""
        with self._lock, self._explained():
            self._connected().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self, *, process_ends: bool = False) -> None:
        """Close the connection; idempotent. Using the database again opens it again.

        process_ends: leave it to the end of this process, unless the log is long. Whoever closes the last
        connection waits for two fsyncs of the checkpoint; a short log costs the next who opens nothing.
        """
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is None:
                return
            if process_ends and self._log_bytes() < _SHORT_LOG_BYTES:
                _never_closed.append(connection)
            else:
                connection.close()

    def _log_bytes(self) -> int:
        try:
            return os.stat(f"{self._path}-wal").st_size
        except FileNotFoundError:
            return 0

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what SQLite's errors mean to the user."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            explained = _explain(error, self._path)
            if explained is None:
                raise
            raise explained from error


def _create(path: Path) -> None:
    """Make an empty database file with a private mode, which the log and index files then get too.

    An existing one must not even be opened: closing it again would drop the locks that another connection
    of this process holds on it (fcntl_locking(2); sqlite.org/howtocorrupt.html, section 2.2).
    """
    with _creating:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            pass


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _explain(error: sqlite3.DatabaseError, path: Path) -> PycontainerError | None:
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return DeadlineExceeded(f"another program kept {path} busy", timeout_s=BUSY_TIMEOUT_S)
    if code == sqlite3.SQLITE_FULL:
        return KernelError(28, "write", str(path), "free some space there, then repeat")
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return KernelError(13 if code != sqlite3.SQLITE_IOERR else 5, "open", str(path), str(error))
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return IntegrityError(f"{path} is damaged ({error}); move it away, and pull the images again")
    return None


class _HeldForFork(threading.local):
    """What the thread that forks holds: several may fork at once."""

    def __init__(self) -> None:
        self.databases: list[Database] = []


_held_for_fork = _HeldForFork()


def _await_statements() -> None:
    """Fork between the statements of other threads, within reason.

    SQLite keeps the locks of a process in its memory: a child that had one copied would wait for it for ever.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    for database in sorted(_databases, key=id):  # else two who fork could wait for each other
        if database._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            _held_for_fork.databases.append(database)


def _go_on_in_parent() -> None:
    while _held_for_fork.databases:
        _held_for_fork.databases.pop()._lock.release()


def _forget_in_child() -> None:
    global _creating
    _creating = threading.Lock()
    _held_for_fork.databases.clear()
    for database in list(_databases):
        database._lock = threading.RLock()
        if database._connection is not None:
            _never_closed.append(database._connection)
            database._connection = None


os.register_at_fork(
    before=_await_statements, after_in_parent=_go_on_in_parent, after_in_child=_forget_in_child
)
