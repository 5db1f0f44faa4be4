"""The store as a whole: one directory, shared by many processes without a daemon."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve

from pycontainer.checkpoints import reached
from pycontainer.errors import AlreadyExists, DeadlineExceeded, KernelError, NotFound
from pycontainer.launcher import Helper
from pycontainer.store.content import ContentStore
from pycontainer.store.durability import Durability
from pycontainer.store.gc import STALE_INGEST_S, Collected, Collector
from pycontainer.store.layout import Layout
from pycontainer.store.leases import Lease, Leases
from pycontainer.store.locks import FileLock, shared
from pycontainer.store.records import ContainerRecord, EndpointRecord, ImageRecord, SnapshotKey
from pycontainer.store.removal import RemovedImage, find_image, forget_image
from pycontainer.store.repair import Repaired, Repairer
from pycontainer.store.snapshots import OverlaySnapshotter, Snapshotter
from pycontainer.store.snapshots.initlayer import make_init_layer
from pycontainer.store.snapshots.writable import make_writable_layer
from pycontainer.store.statedb import StateDB
from pycontainer.store.trash import Trash

if TYPE_CHECKING:
    from pycontainer.image import OnEvent
    from pycontainer.store.check import Damage
    from pycontainer.store.newlayers import NewLayer
    from pycontainer.store.unpack import LayerToUnpack, Unpacker

__all__ = ["KILL_POINTS", "Store"]

KILL_POINTS = ("create.container.prepared",)  # the directory is there, the row is not

# Holders keep the store's lock for milliseconds; one that was stopped must not keep others from opening.
_REPAIR_WAIT_S = 5.0


class Store:
    """Images, unpacked layers and containers below one directory. Thread-safe; survives a fork.

    Attributes: root; content (blobs); snapshots (unpacked layers); state (images, containers, layers);
    leases; init_layer (the read-only layer of mount points that lies above every image); repaired
    (what opening found to put right).
    Raises: InvalidInput if others could write to the directory; Unsupported if a newer version wrote
    it; KernelError.
    """

    def __init__(self, root: Path, helper: Helper) -> None:
        self.root = root
        self._layout = Layout(root)
        self._layout.create()
        self.state: StateDB = StateDB(self._layout)
        self.leases: Leases = Leases(self._layout)
        self.content: ContentStore = ContentStore(self._layout, self.leases.touch)
        self._trash = Trash(self._layout, helper)
        self.snapshots: Snapshotter = OverlaySnapshotter(self._layout.snapshots, self._trash.remove)
        self.init_layer: Path = make_init_layer(root, self._layout.store_lock)
        parts = (self._layout, self.state, self.content, self.snapshots)
        self._helper = helper
        self._kept_unpacker: Unpacker | None = None
        self._durability = Durability(*parts, helper)
        self._collector = Collector(*parts, self.leases, self._trash)
        self._repairer = Repairer(*parts, self.leases, self._trash, self._collector)
        self.repaired: Repaired = self.repair()

    def repair(self) -> Repaired:
        """Put right what crashes left; done at opening, and harmless at any time."""
        lock = FileLock(self._layout.store_lock)
        try:
            lock.acquire(_REPAIR_WAIT_S)
        except DeadlineExceeded:
            # Its holder was stopped in the middle; whoever opens the store after that repairs it.
            return Repaired()
        try:
            return self._repairer.repair()
        finally:
            lock.release()

    # Images

    def lease(self, purpose: str) -> AbstractContextManager[Lease]:
        """Protect what a block names, and every blob this process touches in it, from collection."""
        return self.leases.hold(purpose)

    def pin(self, purpose: str) -> Lease:
        """A lease for what an object of the caller's needs, which protects only what it is told."""
        return self.leases.pin(purpose)

    def unpack(
        self,
        layers: Sequence[LayerToUnpack],
        *,
        lease: Lease,
        on_event: OnEvent | None = None,
        follow: bool = False,
        stop: threading.Event | None = None,
    ) -> list[SnapshotKey]:
        """The keys of the layers, bottom first, unpacking what is missing; see Unpacker.unpack."""
        return self._unpacker.unpack(layers, lease=lease, on_event=on_event, follow=follow, stop=stop)

    @property
    def _unpacker(self) -> Unpacker:
        # No lock, which a forked child might find held: of two that are made one is used no more.
        if self._kept_unpacker is None:
            from pycontainer.store.unpack import Unpacker  # only for images that come

            parts = (self._layout, self.state, self.content, self.snapshots)
            self._kept_unpacker = Unpacker(*parts, self._helper)
        return self._kept_unpacker

    def new_layer(self, below: Sequence[SnapshotKey], lease: Lease) -> AbstractContextManager[NewLayer]:
        """A layer to be made on top of others, whole or not at all; see NewLayers.begun."""
        from pycontainer.store.newlayers import NewLayers  # only for builds

        return NewLayers(self._layout, self.state, self.snapshots, self._trash).begun(below, lease)

    def find_image(self, text: str) -> ImageRecord:
        """The image meant by a full id, a name, or a unique prefix of an id.

        Raises: NotFound; InvalidInput if several ids begin so.
        """
        return find_image(self.state.images, text)[0]

    def is_unpacked(self, image: ImageRecord) -> bool:
        """Whether a container can be made from the image at once."""
        return all(layer.snapshot and self.snapshots.has(layer.snapshot) for layer in image.layers)

    def remove_image(self, text: str, *, force: bool = False) -> RemovedImage:
        """Drop a name, or with the last one (or by id) the image and all that only it needed.

        Raises: NotFound; InUse naming its containers or its several names, unless forced.
        """
        removed = forget_image(self.state, text, force=force)
        if removed.deleted is None:
            return removed
        return evolve(removed, freed_bytes=self.collect_garbage().bytes)

    def prune_image(self, image_id: str, *, also_named: bool) -> RemovedImage | None:
        """Drop an image that no container was made from, and that has no name unless also_named.

        Its files stay until garbage is collected. Gives None when it is needed, or gone already.
        """
        with self.state.transaction():
            if self.state.containers.of_image(image_id):
                return None
            if not also_named and self.state.images.tags(image_id):
                return None
            try:
                return forget_image(self.state, image_id, force=True)
            except NotFound:
                return None

    def lower_dirs(self, keys: Sequence[SnapshotKey]) -> list[Path]:
        """Directories of layers for an overlay mount, top first, without the init layer. Raises: NotFound."""
        return self.snapshots.lower_dirs(keys)

    def sync_later(self) -> None:
        """Write everything stored so far to disk in the background, and remember that it is there."""
        self._durability.settle()

    def sync(self) -> None:
        """Write everything stored so far to disk, and wait for it."""
        self._durability.settle(wait=True)

    # Containers

    def container_dir(self, container_id: str) -> Path:
        """Directory of a container: upper, work, status and log."""
        return self._layout.container(container_id)

    def add_container(self, record: ContainerRecord, endpoints: Iterable[EndpointRecord] = ()) -> Path:
        """Make a container's directory with an empty writable layer, and record it under its name.

        endpoints: its places in networks, recorded with it. Raises: AlreadyExists if the name is taken;
        InUse if an address is another's; NotFound if the image or a network was removed meanwhile or a layer
        is missing; KernelError.
        """
        directory = self._layout.container(record.id)
        root = self.snapshots.path(record.snapshots[-1]) if record.snapshots else None
        # Shared: to repair and collector, a directory without a row would be an orphan.
        with shared(self._layout.store_lock):
            try:
                make_writable_layer(directory, root)
            except FileExistsError:
                raise AlreadyExists(f"container {record.id} exists already") from None
            except OSError as error:
                self._trash.remove(directory)
                if root is not None and not root.is_dir():
                    raise NotFound(f"image {record.image_id} was removed meanwhile; pull it again") from None
                raise KernelError(error.errno or 0, "mkdir", str(error.filename or directory)) from error
            try:
                reached("create.container.prepared")
                self.state.containers.insert(record, endpoints)
            except BaseException:
                self._trash.remove(directory)
                raise
        return directory

    def remove_container(self, container_id: str) -> bool:
        """Forget a container that does not run, and delete its directory; False if there was no such one."""
        try:
            was_known = self.state.containers.delete(container_id)
        except KernelError:
            # On a full disk its files have to make room first; a row without files is repaired.
            self._trash.remove(self._layout.container(container_id))
            return self.state.containers.delete(container_id)
        self._trash.remove(self._layout.container(container_id))
        return was_known

    @contextmanager
    def container_lock(self, container_id: str, timeout_s: float | None = None) -> Iterator[None]:
        """Let one thread of one process at a time change a container's state.

        Raises: DeadlineExceeded after timeout_s.
        """
        with FileLock(self._layout.container_locks / container_id).held(timeout_s, remove=True):
            yield

    @contextmanager
    def id_ranges_lock(self) -> Iterator[None]:
        """Let one container at a time be given ids that no other has."""
        with FileLock(self._layout.container_locks / "id-ranges").held(None, remove=True):
            yield

    @property
    def containers_dir(self) -> Path:
        """Directory of the containers' directories."""
        return self._layout.containers

    @property
    def events_dir(self) -> Path:
        """Directory of the log of what happens in this store."""
        return self._layout.events

    # Housekeeping

    def check(self, *, repair: bool = False) -> tuple[Damage, ...]:
        """What is not as it was when it came, every byte read; see Checker.damages."""
        from pycontainer.store.check import Checker  # few ask

        parts = (self._layout, self.state, self.content, self.snapshots, self._trash)
        with self.lease("check the store") as lease:
            found = tuple(Checker(*parts, self._unpacker, self._helper, lease).damages(repair=repair))
        if repair and found:
            self.sync_later()
        return found

    def collect_garbage(self, *, stale_ingest_s: float = STALE_INGEST_S) -> Collected:
        """Delete what no image, container or live lease needs; see Collector.collect."""
        return self._collector.collect(stale_ingest_s=stale_ingest_s)

    def remove_tree(self, path: Path) -> None:
        """Take a tree below the root out of sight at once, then delete it. Missing is done."""
        self._trash.remove(path)

    def close(self, *, process_ends: bool = False) -> None:
        """Close the database and stop background work; idempotent. process_ends: see Database.close."""
        self._durability.close()
        self.leases.close()
        self.state.close(process_ends=process_ends)
