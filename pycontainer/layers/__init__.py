"""Layers: reading and writing tars, codecs, applying a layer to a directory and taking one from it.

Everything here runs in the helper's children, so it needs the standard library only; codecs outside
it are imported when a layer asks for them.
"""

from pycontainer.layers.apply import Applied, Applier
from pycontainer.layers.attributes import clamp_time, is_kept, set_xattr
from pycontainer.layers.codecs import HEAD_SIZE, Decoder, detect, open_decoder
from pycontainer.layers.confine import confine_to
from pycontainer.layers.diff import Differ, HashedOutput
from pycontainer.layers.entry import KINDS, Entry, describe, kind_of
from pycontainer.layers.jobs import JOBS, mount_overlay
from pycontainer.layers.limits import Limits
from pycontainer.layers.pipeline import COMPLETE, BlobReader, Inflater
from pycontainer.layers.stacked import StackedApplier
from pycontainer.layers.tarreader import FileBlocks, TarReader
from pycontainer.layers.tarwriter import TarWriter
from pycontainer.layers.tree import clean

__all__ = [
    "COMPLETE",
    "HEAD_SIZE",
    "JOBS",
    "KINDS",
    "Applied",
    "Applier",
    "BlobReader",
    "Decoder",
    "Differ",
    "Entry",
    "FileBlocks",
    "HashedOutput",
    "Inflater",
    "Limits",
    "StackedApplier",
    "TarReader",
    "TarWriter",
    "clamp_time",
    "clean",
    "confine_to",
    "describe",
    "detect",
    "is_kept",
    "kind_of",
    "mount_overlay",
    "open_decoder",
    "set_xattr",
]
