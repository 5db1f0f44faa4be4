"""Unpacked layers, behind one small interface."""

from pycontainer.store.snapshots.base import Preparation, Snapshotter, direct_key, is_stacked, stacked_key
from pycontainer.store.snapshots.overlay import OverlaySnapshotter

__all__ = ["OverlaySnapshotter", "Preparation", "Snapshotter", "direct_key", "is_stacked", "stacked_key"]
