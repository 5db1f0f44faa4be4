"""What a snapshotter does: keep one directory per unpacked layer, visible only when it is whole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from attrs import frozen

from pycontainer.errors import InvalidInput
from pycontainer.oci import Digest, split_digest
from pycontainer.store.records import SnapshotKey
from pycontainer.values import Value

__all__ = ["Preparation", "Snapshotter", "check_key", "direct_key", "is_stacked", "stacked_key"]

_KEY = re.compile(r"(?:chain-)?(?:[0-9a-f]{64}|[0-9a-f]{128})")


def direct_key(diff_id: Digest) -> SnapshotKey:
    """The key of a layer that needs no other: the same in every image."""
    return SnapshotKey(split_digest(diff_id)[1])


def stacked_key(chain_id: Digest) -> SnapshotKey:
    """The key of a layer that was applied on top of those below it: good for that stack only."""
    return SnapshotKey(f"chain-{split_digest(chain_id)[1]}")


def is_stacked(key: SnapshotKey) -> bool:
    """Whether it is the key of a layer that belongs to one stack."""
    return key.startswith("chain-")


def check_key(key: str) -> None:
    """Raises: InvalidInput for a text that is no key, before it becomes a path."""
    if not _KEY.fullmatch(key):
        raise InvalidInput(
            f"snapshot key {key[:150]!r} is not hex digits of a digest, perhaps after 'chain-'"
        )


@frozen(kw_only=True, eq=False, repr=False)
class Preparation(Value):
    """A layer being unpacked. directory: private to it; fs: where its files go; work: an empty
    directory on the same file system, for an overlay mount."""

    key: SnapshotKey
    directory: Path
    fs: Path
    work: Path


class Snapshotter(Protocol):
    """Layers by key. Thread-safe; `prepare` needs the layer's lock."""

    def has(self, key: SnapshotKey) -> bool:
        """Whether the layer is there, whole."""
        ...

    def prepare(self, key: SnapshotKey) -> Preparation:
        """An empty place that nobody sees."""
        ...

    def commit(self, preparation: Preparation) -> None:
        """Make it visible, at once and whole. If the key is there already, that one stays."""
        ...

    def abandon(self, preparation: Preparation) -> None:
        """Delete it; idempotent."""
        ...

    def path(self, key: SnapshotKey) -> Path:
        """Directory of the layer's files, read-only. Raises: NotFound."""
        ...

    def lower_dirs(self, keys: Sequence[SnapshotKey]) -> list[Path]:
        """Directories for an overlay mount, top first, of keys given bottom first. Raises: NotFound."""
        ...

    def committed(self) -> Iterator[SnapshotKey]:
        """Every layer that is there."""
        ...

    def preparations(self) -> Iterator[tuple[SnapshotKey, Path]]:
        """Key and directory of every preparation, those included whose process has died."""
        ...

    def remove(self, key: SnapshotKey) -> bool:
        """Make the layer invisible at once, and delete it; False if it is not there."""
        ...
