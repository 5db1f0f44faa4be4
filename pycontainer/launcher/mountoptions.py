"""The option words of a mount, sorted by what they act on. Pure.

Source: opencontainers/runtime-spec config.md, "Linux mount options"; mount(8).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pycontainer.kernel import mounts

INSIDE = "org.pycontainer.inside"
"""Key of a mount of a specification: the path in the container's root of what is bound."""
_ATIME = mounts.ATTR_ATIME_MASK

# word -> (attributes set, attributes cleared)
_ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (mounts.ATTR_RDONLY, 0),
    "rw": (0, mounts.ATTR_RDONLY),
    "nosuid": (mounts.ATTR_NOSUID, 0),
    "suid": (0, mounts.ATTR_NOSUID),
    "nodev": (mounts.ATTR_NODEV, 0),
    "dev": (0, mounts.ATTR_NODEV),
    "noexec": (mounts.ATTR_NOEXEC, 0),
    "exec": (0, mounts.ATTR_NOEXEC),
    "nosymfollow": (mounts.ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, mounts.ATTR_NOSYMFOLLOW),
    "nodiratime": (mounts.ATTR_NODIRATIME, 0),
    "diratime": (0, mounts.ATTR_NODIRATIME),
    "noatime": (mounts.ATTR_NOATIME, _ATIME),
    "atime": (0, _ATIME),
    "relatime": (0, _ATIME),
    "norelatime": (0, _ATIME),
    "strictatime": (mounts.ATTR_STRICTATIME, _ATIME),
    "nostrictatime": (0, _ATIME),
}

_PROPAGATION = {
    "private": mounts.MS_PRIVATE,
    "slave": mounts.MS_SLAVE,
    "shared": mounts.MS_SHARED,
    "unbindable": mounts.MS_UNBINDABLE,
}

_IGNORED = frozenset(
    {"bind", "rbind", "defaults", "auto", "noauto", "user", "nouser", "_netdev", "async", "silent", "loud"}
    # What these ask for is done elsewhere: where the trees are copied, or instead of a mount.
    | {"idmap", "ridmap", "remount"}
)


class MountOptions(NamedTuple):
    """What the words say."""

    attributes: int
    cleared: int
    tree_attributes: int
    tree_cleared: int
    propagation: int
    """MS_* or 0 when no word names one."""
    propagates_recursively: bool
    data: tuple[tuple[bytes, bytes | None], ...]
    """What the file system itself is told."""


def parse(words: Iterable[str]) -> MountOptions:
    """Sort the words; the later of two that contradict wins, as in mount(8)."""
    propagates_recursively = False
    here, tree = [0, 0], [0, 0]
    propagation = 0
    data: list[tuple[bytes, bytes | None]] = []
    for word in words:
        if word in _ATTRIBUTES:
            _apply(here, _ATTRIBUTES[word])
        elif word[:1] == "r" and word[1:] in _ATTRIBUTES:
            _apply(tree, _ATTRIBUTES[word[1:]])
        elif word in _PROPAGATION:
            propagation, propagates_recursively = _PROPAGATION[word], False
        elif word[:1] == "r" and word[1:] in _PROPAGATION:
            propagation, propagates_recursively = _PROPAGATION[word[1:]], True
        elif word and word not in _IGNORED:
            key, equals, value = word.partition("=")
            data.append((_encode(key), _encode(value) if equals else None))
    return MountOptions(
        attributes=here[0],
        cleared=here[1],
        tree_attributes=tree[0],
        tree_cleared=tree[1],
        propagation=propagation,
        propagates_recursively=propagates_recursively,
        data=tuple(data),
    )


def words() -> list[str]:
    """Every word that is known here, and not passed to the file system."""
    plain = {*_ATTRIBUTES, *_PROPAGATION, *_IGNORED}
    return sorted(plain | {f"r{word}" for word in (*_ATTRIBUTES, *_PROPAGATION)})


def _apply(flags: list[int], change: tuple[int, int]) -> None:
    set_, clear = change
    flags[0] = flags[0] & ~clear | set_
    flags[1] = flags[1] & ~set_ | clear


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def is_bind(entry: Mapping[str, Any]) -> bool:
    """Whether a mount of a specification shows a tree of the host.

    One with INSIDE shows what earlier mounts have put into the container's own root.
    """
    words = entry.get("options") or ()
    if INSIDE in entry:
        return False
    is_asked = entry.get("type") == "bind" or "bind" in words or "rbind" in words
    return is_asked and "remount" not in words
