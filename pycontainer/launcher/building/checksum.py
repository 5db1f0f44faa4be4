"""The checksum of what an instruction takes: names, kinds, modes, owners, attributes and content, no times.

Theory of operation. What is known of a file is kept in a table by its path, and stays true while device,
inode, size and both times are the same; so an unchanged tree costs one stat(2) per file. A file that changed
in the last moments is not entered: a further change might leave its times as they are.
"""

from __future__ import annotations

import errno
import hashlib
import marshal
import os
import stat
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pycontainer.errors import InvalidInput
from pycontainer.launcher.building.choosing import Source, choose, explained, walk
from pycontainer.launcher.building.roots import open_beneath, open_layers
from pycontainer.launcher.files.entering import Cell
from pycontainer.launcher.files.walking import attributes, open_pinned
from pycontainer.layers import kind_of
from pycontainer.patterns import PatternMatcher

__all__ = ["checksum", "open_source"]

_FORMAT = 2
_RACY_NS = 2_000_000_000  # the coarsest clock of a file system (vfat)
_PIECE = 1 << 20
_MAX_TABLE_BYTES = 1 << 30

# Path to what was seen of the file (device, inode, size, times) and the digest of all that counts of it, as
# one object: a table of a large context is read and written whole.
Table = dict[str, bytes]
_SEEN = struct.Struct("<QQQqq")
_SEEN_BYTES, _pack = _SEEN.size, _SEEN.pack


def open_source(source: Mapping[str, Any], fds: list[int]) -> int:
    """The root a job takes files from: "fd", the index of a descriptor, or the "layers" of a stage."""
    return fds[source["fd"]] if "fd" in source else open_layers(source["layers"])


def checksum(params: dict[str, Any], fds: list[int], report: object) -> dict[str, Any]:
    """Job: sum up what the sources mean. fds: what the source says, then with "table" a directory to keep it
    in.

    params: source (see open_source; "ignore": patterns), patterns, excludes, parents, is_plain (owners do not
    count, everything becomes root's), table (a name, or None). Returns: digest, entries, hashed_bytes, kinds
    (of each source found). Raises: NotFound naming a source that is not there; KernelError; InvalidInput.
    """
    cell = Cell()
    source = params["source"]
    root = open_source(source, fds)
    keeper = fds[-1] if params.get("table") else None
    cell.lock([] if keeper is None else [keeper], [root])
    table = _loaded(keeper, params["table"]) if keeper is not None else {}
    summing = _Summing(root, bool(params.get("is_plain")), table)
    ignored, excluded = (
        PatternMatcher(source.get("ignore") or ()),
        PatternMatcher(params.get("excludes") or ()),
    )
    for chosen in choose(root, params["patterns"], ignored, parents=bool(params.get("parents"))):
        summing.add(chosen, ignored, excluded)
    if keeper is not None and summing.is_changed:
        _keep(keeper, params["table"], summing.table)
    return {
        "digest": f"sha256:{summing.hasher.hexdigest()}",
        "entries": summing.entries,
        "hashed_bytes": summing.hashed,
        "kinds": summing.kinds,
    }


class _Summing:
    """Sums up trees of one root."""

    def __init__(self, root: int, is_plain: bool, known: Table) -> None:
        self.hasher = hashlib.sha256()
        self.table: Table = dict(known)
        self.is_changed = False
        self.entries = 0
        self.hashed = 0
        self.kinds: list[str] = []
        self._root = root
        self._is_plain = is_plain
        self._known = known
        self._newest = time.time_ns() - _RACY_NS

    def add(self, source: Source, ignored: PatternMatcher, excluded: PatternMatcher) -> None:
        """Add a source, which is a tree or a file."""
        path = source.path
        try:
            fd = open_beneath(self._root, path, os.O_PATH | os.O_NOFOLLOW)
            try:
                status = os.fstat(fd)
                self.kinds.append(kind_of(status.st_mode) or "socket")
                self.hasher.update(b"source %s\0" % os.fsencode(source.name))
                if not stat.S_ISDIR(status.st_mode):
                    above, _, base = path.rpartition("/")
                    parent = open_beneath(self._root, above, os.O_RDONLY | os.O_DIRECTORY)
                    try:
                        self.entries += 1
                        self.hasher.update(self._summed(parent, base, path, status))
                    finally:
                        os.close(parent)
                    return
                self.hasher.update(self._header(status, b""))
                top = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            finally:
                os.close(fd)
            try:
                self._tree(top, path, ignored, excluded)
            finally:
                os.close(top)
        except OSError as error:
            raise explained(error, path or ".") from error

    def _tree(self, top: int, base: str, ignored: PatternMatcher, excluded: PatternMatcher) -> None:
        prefix = f"{base}/" if base else ""
        update, summed = self.hasher.update, self._summed
        for verb, parent, path, status in walk(top, base, ignored, excluded):
            if verb == "leave":
                continue
            self.entries += 1
            whole = prefix + path
            try:
                digest = summed(parent, None, whole, status)
            except OSError as error:
                raise explained(error, whole) from error
            update(path.encode("utf-8", "surrogateescape") + b"\0" + digest)

    def _summed(self, parent: int, base: str | None, path: str, status: os.stat_result) -> bytes:
        """The digest of an entry. base: its name in its parent, None for the end of its path."""
        seen = _pack(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        known = self._known.get(path)
        if known is not None and known.startswith(seen):
            return known[_SEEN_BYTES:]
        digest = self._digest(parent, path.rpartition("/")[2] if base is None else base, path, status)
        if max(status.st_mtime_ns, status.st_ctime_ns) < self._newest:
            self.table[path] = seen + digest
            self.is_changed = True
        elif self.table.pop(path, None) is not None:
            self.is_changed = True
        return digest

    def _digest(self, parent: int, base: str, path: str, status: os.stat_result) -> bytes:
        hasher = hashlib.sha256()
        kind = status.st_mode
        if stat.S_ISREG(kind):
            self._content(parent, base, path, status, hasher)
        elif stat.S_ISLNK(kind):
            hasher.update(os.fsencode(os.readlink(base, dir_fd=parent)))
        elif stat.S_ISDIR(kind):
            fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                _add_attributes(hasher, fd)
            finally:
                os.close(fd)
        return hashlib.sha256(self._header(status, hasher.digest())).digest()

    def _header(self, status: os.stat_result, content: bytes) -> bytes:
        uid, gid = (0, 0) if self._is_plain else (status.st_uid, status.st_gid)
        kind = kind_of(status.st_mode) or ""
        device = status.st_rdev if kind in ("char", "block") else 0
        return f"{kind} {stat.S_IMODE(status.st_mode):o} {uid} {gid} {device} ".encode() + content

    def _content(self, parent: int, base: str, path: str, status: os.stat_result, hasher: Any) -> None:
        pinned = os.open(base, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if not os.path.samestat(os.fstat(pinned), status):
                raise InvalidInput(
                    f"{path} was replaced while it was read; build again when nothing changes it"
                )
            fd = open_pinned(pinned)
        finally:
            os.close(pinned)
        try:
            _add_attributes(hasher, fd)
            rest = status.st_size
            hasher.update(b"%d\0" % rest)
            while rest:
                piece = os.read(fd, min(_PIECE, rest))
                if not piece:
                    raise InvalidInput(
                        f"{path} became shorter while it was read; build again when nothing changes it"
                    )
                hasher.update(piece)
                rest -= len(piece)
            self.hashed += status.st_size
        finally:
            os.close(fd)


def _add_attributes(hasher: Any, fd: int) -> None:
    for name, value in sorted(attributes(fd).items()):
        hasher.update(b"%s %d %s\0" % (name, len(value), value))


def _loaded(directory: int, name: str) -> Table:
    """The table kept under this name; none if it is not there, or is of another format."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return {}
    with open(fd, "rb") as file:
        if os.fstat(fd).st_size > _MAX_TABLE_BYTES:
            return {}
        with suppress(ValueError, EOFError, TypeError):
            version, table = marshal.loads(file.read())
            if version == _FORMAT and isinstance(table, dict):
                return table
    return {}


def _keep(directory: int, name: str, table: Table) -> None:
    partial = f".{name}.{os.urandom(4).hex()}"
    fd = os.open(
        partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory
    )
    try:
        with open(fd, "wb") as file:
            file.write(marshal.dumps((_FORMAT, table)))
        os.rename(partial, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        # A table is a help, not a need: on a full disk the next check reads the files again.
        with suppress(OSError):
            os.unlink(partial, dir_fd=directory)
