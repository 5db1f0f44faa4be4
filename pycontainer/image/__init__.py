"""Images as data: what they are made of, where they come from and where they go.

Names load their module on first use, so that a program which only runs containers does not pay for
archives and builders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycontainer.image.blobs import BlobSink, BlobSource, BlobStore, Ingest
    from pycontainer.image.events import Action, OnEvent, Progress
    from pycontainer.image.layout import Layout
    from pycontainer.image.mutate import (
        File,
        Files,
        Symlink,
        assemble,
        from_directory,
        from_files,
        from_host,
        from_tar,
    )
    from pycontainer.image.view import ImageView, copy_blob

__all__ = [
    "Action",
    "BlobSink",
    "BlobSource",
    "BlobStore",
    "File",
    "Files",
    "ImageView",
    "Ingest",
    "Layout",
    "OnEvent",
    "Progress",
    "Symlink",
    "assemble",
    "copy_blob",
    "from_directory",
    "from_files",
    "from_host",
    "from_tar",
]

_MODULES = {
    "blobs": ("BlobSink", "BlobSource", "BlobStore", "Ingest"),
    "events": ("Action", "OnEvent", "Progress"),
    "layout": ("Layout",),
    "mutate": (
        "File",
        "Files",
        "Symlink",
        "assemble",
        "from_directory",
        "from_files",
        "from_host",
        "from_tar",
    ),
    "view": ("ImageView", "copy_blob"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
