"""The ids of containers: a sequence that a helper and its caller both know, and nobody else can guess."""

from __future__ import annotations

import hashlib

__all__ = ["container_id"]


def container_id(seed: str, number: int) -> str:
    """The id of the number-th container: 64 hexadecimal digits."""
    return hashlib.sha256(f"{seed} {number}".encode()).hexdigest()
