"""Layers: reading and writing tars, codecs, applying a layer to a directory and taking one from it.

Everything here runs in the helper's children, so it needs the standard library only; codecs outside
it are imported when a layer asks for them.
"""

from pycontainer.layers.entry import Entry
from pycontainer.layers.tarwriter import TarWriter

__all__ = ["Entry", "TarWriter"]
