"""The store's database as typed tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pycontainer.store.containers import ContainerTable
from pycontainer.store.database import Database
from pycontainer.store.images import ImageTable
from pycontainer.store.layers import LayerTable
from pycontainer.store.layout import Layout
from pycontainer.store.networks import EndpointTable, NetworkTable
from pycontainer.store.volumes import VolumeTable

if TYPE_CHECKING:
    from pycontainer.store.buildcache import BuildCacheTable

__all__ = ["StateDB"]


class StateDB:
    """Attributes: images, containers, layers, networks, endpoints, volumes. Thread-safe and fork-safe."""

    def __init__(self, layout: Layout) -> None:
        self._database = Database(layout.database, layout.store_lock)
        self.images: ImageTable = ImageTable(self._database)
        self.containers: ContainerTable = ContainerTable(self._database)
        self.layers: LayerTable = LayerTable(self._database)
        self.networks: NetworkTable = NetworkTable(self._database)
        self.endpoints: EndpointTable = EndpointTable(self._database)
        self.volumes: VolumeTable = VolumeTable(self._database)

    @property
    def builds(self) -> BuildCacheTable:
        """The cache of builds."""
        from pycontainer.store.buildcache import BuildCacheTable

        return BuildCacheTable(self._database)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Several calls of the tables as one transaction: all of them or none. Keep it short."""
        with self._database.transaction():
            yield

    def checkpoint(self) -> None:
        """Move the write-ahead log into the database."""
        self._database.checkpoint()

    def close(self, *, process_ends: bool = False) -> None:
        """Close the connection; idempotent. process_ends: see Database.close."""
        self._database.close(process_ends=process_ends)
