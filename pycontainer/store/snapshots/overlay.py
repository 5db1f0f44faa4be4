"""Layers as directories in overlayfs form: whiteouts are devices 0:0, opaque directories have an xattr."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from pycontainer.errors import NotFound
from pycontainer.store.records import SnapshotKey
from pycontainer.store.snapshots.base import Preparation, check_key

__all__ = ["OverlaySnapshotter"]

_TEMPORARY = "."


class OverlaySnapshotter:
    """snapshots/<key>/fs, renamed there when whole.

    discard: takes a tree out of sight at once and has it deleted.
    """

    def __init__(self, directory: Path, discard: Callable[[Path], None]) -> None:
        self._directory = directory
        self._discard = discard
        self._fs: Callable[[SnapshotKey], Path] = lru_cache(maxsize=256)(lambda key: directory / key / "fs")
        """Where a layer's files are: each start asks for those of all its layers."""

    def has(self, key: SnapshotKey) -> bool:
        """Whether the layer is there, whole."""
        check_key(key)
        return self._fs(key).is_dir()

    def prepare(self, key: SnapshotKey) -> Preparation:
        """An empty place that nobody sees."""
        check_key(key)
        directory = self._directory / f"{_TEMPORARY}{key}.{secrets.token_hex(4)}"
        made = Preparation(key=key, directory=directory, fs=directory / "fs", work=directory / "work")
        directory.mkdir(0o700)
        for path, mode in ((made.fs, 0o755), (made.work, 0o700)):
            path.mkdir(mode)
            path.chmod(mode)
        return made

    def commit(self, preparation: Preparation) -> None:
        """Make it visible, at once and whole. If the key is there already, that one stays."""
        try:
            preparation.work.rmdir()
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            # overlayfs leaves a directory of its own in there.
            self._discard(preparation.work)
        try:
            os.rename(preparation.directory, self._directory / preparation.key)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            self._discard(preparation.directory)

    def abandon(self, preparation: Preparation) -> None:
        """Delete it; idempotent."""
        self._discard(preparation.directory)

    def path(self, key: SnapshotKey) -> Path:
        """Directory of the layer's files, read-only. Raises: NotFound."""
        check_key(key)
        path = self._fs(key)
        if not path.is_dir():
            raise NotFound(f"layer {key} is not unpacked; pull the image again")
        return path

    def lower_dirs(self, keys: Sequence[SnapshotKey]) -> list[Path]:
        """Directories for an overlay mount, top first, of keys given bottom first.

        Of a layer that occurs twice only the upper one counts: it hides the lower one wholly, and the
        kernel refuses to mount a directory twice (ELOOP). Raises: NotFound.
        """
        return [self.path(key) for key in dict.fromkeys(reversed(keys))]

    def committed(self) -> Iterator[SnapshotKey]:
        """Every layer that is there."""
        for entry in os.scandir(self._directory):
            if not entry.name.startswith(_TEMPORARY):
                yield SnapshotKey(entry.name)

    def preparations(self) -> Iterator[tuple[SnapshotKey, Path]]:
        """Key and directory of every preparation, those included whose process has died."""
        for entry in os.scandir(self._directory):
            if entry.name.startswith(_TEMPORARY):
                yield SnapshotKey(entry.name[1:].partition(".")[0]), Path(entry.path)

    def remove(self, key: SnapshotKey) -> bool:
        """Make the layer invisible at once, and delete it; False if it is not there."""
        check_key(key)
        path = self._directory / key
        if not path.exists():
            return False
        self._discard(path)
        return True
