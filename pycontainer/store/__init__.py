"""One directory of images, unpacked layers and containers, shared by many processes without a daemon.

Names load their module on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycontainer.frontdoor import opened

if TYPE_CHECKING:
    from pycontainer.store.buildcache import BuildRecord
    from pycontainer.store.check import Damage
    from pycontainer.store.content import ContentStore
    from pycontainer.store.gc import Collected
    from pycontainer.store.images import ImageTable
    from pycontainer.store.ingest import Followed
    from pycontainer.store.leases import Lease
    from pycontainer.store.locks import FileLock
    from pycontainer.store.newlayers import NewLayer
    from pycontainer.store.records import (
        ContainerRecord,
        EndpointRecord,
        ImageLayer,
        ImageRecord,
        LayerRecord,
        NetworkRecord,
        Owner,
        SnapshotKey,
        SubnetRecord,
        Tag,
        VolumeRecord,
    )
    from pycontainer.store.removal import RemovedImage
    from pycontainer.store.repair import Repaired
    from pycontainer.store.statedb import StateDB
    from pycontainer.store.store import Store
    from pycontainer.store.unpack import LayerToUnpack, codec_path

_HOMES = {
    "BuildRecord": "buildcache",
    "Collected": "gc",
    "ContainerRecord": "records",
    "ContentStore": "content",
    "EndpointRecord": "records",
    "FileLock": "locks",
    "Followed": "ingest",
    "ImageLayer": "records",
    "ImageRecord": "records",
    "ImageTable": "images",
    "LayerRecord": "records",
    "LayerToUnpack": "unpack",
    "Lease": "leases",
    "NetworkRecord": "records",
    "NewLayer": "newlayers",
    "Owner": "records",
    "RemovedImage": "removal",
    "Damage": "check",
    "Repaired": "repair",
    "SnapshotKey": "records",
    "StateDB": "statedb",
    "Store": "store",
    "SubnetRecord": "records",
    "Tag": "records",
    "VolumeRecord": "records",
    "codec_path": "unpack",
}

__all__ = [
    "BuildRecord",
    "Collected",
    "ContainerRecord",
    "ContentStore",
    "Followed",
    "FileLock",
    "ImageLayer",
    "ImageRecord",
    "ImageTable",
    "LayerRecord",
    "VolumeRecord",
    "SubnetRecord",
    "NetworkRecord",
    "EndpointRecord",
    "LayerToUnpack",
    "Lease",
    "NewLayer",
    "Owner",
    "RemovedImage",
    "Damage",
    "Repaired",
    "SnapshotKey",
    "StateDB",
    "Store",
    "Tag",
    "codec_path",
]


def __getattr__(name: str) -> object:
    return opened(__name__, _HOMES, name)
