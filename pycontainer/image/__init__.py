"""Images as data: what they are made of, where they come from and where they go.

Names load their module on first use, so that a program which only runs containers does not pay for
archives and builders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycontainer.frontdoor import opened

if TYPE_CHECKING:
    from pycontainer.image import settings
    from pycontainer.image.algebra import derived, keep, rebased, recompressed, scratch, squashed
    from pycontainer.image.archive import Archive, ArchivedImage, images_in_layout
    from pycontainer.image.archivewriter import NamedImage, write_docker_archive, write_oci_archive
    from pycontainer.image.blobs import BlobSink, BlobSource, BlobStore, Ingest
    from pycontainer.image.compression import Compression
    from pycontainer.image.contents import Contents, Document, Documents, Target
    from pycontainer.image.events import Action, OnEvent, Progress
    from pycontainer.image.layerwriter import LayerWriter, WrittenLayer
    from pycontainer.image.layout import Layout
    from pycontainer.image.merged import MergedTree
    from pycontainer.image.mutate import (
        EPOCH,
        File,
        Files,
        Symlink,
        add_files,
        assemble,
        copy_tar,
        from_directory,
        from_files,
        from_host,
        from_tar,
        write_layer,
    )
    from pycontainer.image.names import named_entries
    from pycontainer.image.tree import Tree
    from pycontainer.image.validate import Problem, validate_image
    from pycontainer.image.view import ImageView, copy_blob
    from pycontainer.image.wholefile import whole_file

__all__ = [
    "Action",
    "Archive",
    "ArchivedImage",
    "BlobSink",
    "BlobSource",
    "BlobStore",
    "Compression",
    "Contents",
    "Document",
    "Documents",
    "EPOCH",
    "File",
    "Files",
    "ImageView",
    "Ingest",
    "LayerWriter",
    "Layout",
    "MergedTree",
    "NamedImage",
    "OnEvent",
    "Problem",
    "Progress",
    "Symlink",
    "Target",
    "Tree",
    "WrittenLayer",
    "add_files",
    "assemble",
    "copy_blob",
    "copy_tar",
    "derived",
    "from_directory",
    "from_files",
    "from_host",
    "from_tar",
    "images_in_layout",
    "keep",
    "named_entries",
    "rebased",
    "recompressed",
    "scratch",
    "settings",
    "squashed",
    "validate_image",
    "whole_file",
    "write_docker_archive",
    "write_layer",
    "write_oci_archive",
]

_MODULES = {
    "algebra": ("derived", "keep", "rebased", "recompressed", "scratch", "squashed"),
    "archive": ("Archive", "ArchivedImage", "images_in_layout"),
    "archivewriter": ("NamedImage", "write_docker_archive", "write_oci_archive"),
    "blobs": ("BlobSink", "BlobSource", "BlobStore", "Ingest"),
    "compression": ("Compression",),
    "contents": ("Contents", "Document", "Documents", "Target"),
    "events": ("Action", "OnEvent", "Progress"),
    "layerwriter": ("LayerWriter", "WrittenLayer"),
    "layout": ("Layout",),
    "merged": ("MergedTree",),
    "mutate": (
        "EPOCH",
        "File",
        "Files",
        "Symlink",
        "add_files",
        "assemble",
        "copy_tar",
        "from_directory",
        "from_files",
        "from_host",
        "from_tar",
        "write_layer",
    ),
    "names": ("named_entries",),
    "tree": ("Tree",),
    "validate": ("Problem", "validate_image"),
    "view": ("ImageView", "copy_blob"),
    "wholefile": ("whole_file",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names} | {"settings": ""}


def __getattr__(name: str) -> object:
    return opened(__name__, _HOMES, name)
