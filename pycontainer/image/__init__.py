"""Images as data: what they are made of, where they come from and where they go.

Names load their module on first use, so that a program which only runs containers does not pay for
archives and builders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycontainer.image.blobs import BlobSink, BlobSource, Ingest
    from pycontainer.image.events import Action, Progress

__all__ = [
    "Action",
    "BlobSink",
    "BlobSource",
    "Ingest",
    "Progress",
]

_HOMES = {
    "BlobSink": "blobs",
    "BlobSource": "blobs",
    "Ingest": "blobs",
    "Action": "events",
    "Progress": "events",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
