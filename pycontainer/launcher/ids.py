"""The ids of containers: a sequence that a helper and its caller both know, and nobody else can guess.

An id is 48 random-looking digits made of the seed and the number, and 16 that hide the number: whoever
has the seed reads it back, so that nobody has to search for it.
"""

from __future__ import annotations

import hashlib

__all__ = ["ID_LENGTH", "container_id", "number_of"]

_HEAD = 48
_TAIL = 16
ID_LENGTH = _HEAD + _TAIL


def container_id(seed: str, number: int) -> str:
    """The id of the number-th container, below 2**64: 64 hexadecimal digits."""
    head = _digits(f"{seed} {number}", _HEAD)
    return f"{head}{number ^ _mask(seed, head):0{_TAIL}x}"


def number_of(seed: str, own_id: str) -> int | None:
    """The number of a container's id, None when it is not one of this seed's."""
    try:
        number = int(own_id[_HEAD:], 16) ^ _mask(seed, own_id[:_HEAD])
    except ValueError:
        return None
    return number if container_id(seed, number) == own_id else None


def _mask(seed: str, head: str) -> int:
    return int(_digits(f"{seed} {head}", _TAIL), 16)


def _digits(text: str, count: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:count]
