"""Names of compose files that are not of this host: artifacts of registries, and git repositories."""

from __future__ import annotations

from typing import Final

from pycontainer.build import is_git

__all__ = ["OCI", "is_remote"]

OCI: Final = "oci:"
_OTHER_SCHEMES = ("http://", "https://", "ftp://")


def is_remote(place: str) -> bool:
    """Whether a file is named that is not of this host."""
    return place.startswith((OCI, *_OTHER_SCHEMES)) or is_git(place)
