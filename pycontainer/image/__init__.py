"""Images as data: what they are made of, where they come from and where they go.

Names load their module on first use, so that a program which only runs containers does not pay for
archives and builders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycontainer.image.archive import Archive, ArchivedImage, images_in_layout
    from pycontainer.image.archivewriter import NamedImage, write_docker_archive, write_oci_archive
    from pycontainer.image.blobs import BlobSink, BlobSource, BlobStore, Ingest
    from pycontainer.image.events import Action, OnEvent, Progress
    from pycontainer.image.layerwriter import LayerWriter, WrittenLayer
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
    from pycontainer.image.validate import Problem, validate_image
    from pycontainer.image.view import ImageView, copy_blob

__all__ = [
    "Action",
    "Archive",
    "ArchivedImage",
    "BlobSink",
    "BlobSource",
    "BlobStore",
    "File",
    "Files",
    "ImageView",
    "Ingest",
    "LayerWriter",
    "Layout",
    "NamedImage",
    "OnEvent",
    "Problem",
    "Progress",
    "Symlink",
    "WrittenLayer",
    "assemble",
    "copy_blob",
    "from_directory",
    "from_files",
    "from_host",
    "from_tar",
    "images_in_layout",
    "validate_image",
    "write_docker_archive",
    "write_oci_archive",
]

_MODULES = {
    "archive": ("Archive", "ArchivedImage", "images_in_layout"),
    "archivewriter": ("NamedImage", "write_docker_archive", "write_oci_archive"),
    "blobs": ("BlobSink", "BlobSource", "BlobStore", "Ingest"),
    "events": ("Action", "OnEvent", "Progress"),
    "layerwriter": ("LayerWriter", "WrittenLayer"),
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
    "validate": ("Problem", "validate_image"),
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
