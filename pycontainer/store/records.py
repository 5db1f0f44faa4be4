"""What the database holds, as frozen values. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NewType

from attrs import Factory, frozen

from pycontainer.oci import Digest
from pycontainer.values import Value

__all__ = [
    "ContainerRecord",
    "EndpointRecord",
    "ImageLayer",
    "ImageRecord",
    "LayerRecord",
    "NetworkRecord",
    "Owner",
    "SnapshotKey",
    "SubnetRecord",
    "Tag",
    "VolumeRecord",
]

SnapshotKey = NewType("SnapshotKey", str)


@frozen(kw_only=True, eq=False, repr=False)
class ImageLayer(Value):
    """One layer of an image, bottom first in ImageRecord.layers.

    digest: of the compressed blob; diff_id: of its tar; snapshot: "" while it is not unpacked.
    """

    digest: Digest
    diff_id: Digest
    snapshot: SnapshotKey = SnapshotKey("")


@frozen(kw_only=True, eq=False, repr=False)
class ImageRecord(Value):
    """An image in the store.

    id: digest of its configuration, as in Docker. target_digest: what the registry calls it (the index
    if there is one). size: bytes of its blobs. blobs: further digests to keep; those of the
    configuration, the manifest, the target and the layers are kept anyway.
    """

    id: Digest
    manifest_digest: Digest
    target_digest: Digest
    platform: str
    size: int
    created_at: float
    layers: tuple[ImageLayer, ...] = ()
    blobs: tuple[Digest, ...] = ()

    @property
    def snapshots(self) -> tuple[SnapshotKey, ...]:
        """Keys of its unpacked layers, bottom first."""
        return tuple(layer.snapshot for layer in self.layers if layer.snapshot)

    @property
    def digests(self) -> set[Digest]:
        """Every blob this image needs."""
        own = {self.id, self.manifest_digest, self.target_digest, *self.blobs}
        return own | {layer.digest for layer in self.layers}


@frozen(kw_only=True, eq=False, repr=False)
class Tag(Value):
    """A full canonical name ("docker.io/library/alpine:3.20") and what it names."""

    name: str
    image_id: Digest
    target_digest: Digest


@frozen(kw_only=True, eq=False, repr=False)
class Owner(Value):
    """The process whose end is the end of a container; pids repeat, start time and boot do not."""

    pid: int
    start: int
    boot_id: str


@frozen(kw_only=True, eq=False, repr=False)
class ContainerRecord(Value):
    """A container as it was created; its state is in its directory's status file.

    image_id: "" for a step of a build. snapshots: keys of its read-only layers, bottom
    first. options: the run options as JSON values.
    """

    id: str
    name: str
    image_id: str
    image_ref: str
    created_at: float
    options: Mapping[str, object] = Factory(dict)
    snapshots: tuple[SnapshotKey, ...] = ()
    auto_remove: bool = False
    owner: Owner | None = None

    @property
    def mounted_snapshots(self) -> set[SnapshotKey]:
        """Keys of the layers of images that are mounted in it."""
        mounts = self.options.get("mounts")
        points = mounts if isinstance(mounts, list) else []
        return {SnapshotKey(key) for point in points for key in point["snapshots"]}


@frozen(kw_only=True, eq=False, repr=False)
class LayerRecord(Value):
    """An unpacked layer. size: bytes of its files; is_durable: known to have reached the disk."""

    key: SnapshotKey
    diff_id: Digest
    size: int
    entries: int
    is_durable: bool = False


@frozen(kw_only=True, eq=False, repr=False)
class SubnetRecord(Value):
    """Addresses of a network. gateway, ip_range: "" for none; the range is what addresses are chosen of."""

    subnet: str
    gateway: str = ""
    ip_range: str = ""


@frozen(kw_only=True, eq=False, repr=False)
class NetworkRecord(Value):
    """A network. bridge: name of its link on the host, if its driver makes one. options: JSON values."""

    id: str
    name: str
    driver: str
    created_at: float
    bridge: str | None = None
    subnets: tuple[SubnetRecord, ...] = ()
    options: Mapping[str, object] = Factory(dict)
    labels: Mapping[str, str] = Factory(dict)


@frozen(kw_only=True, eq=False, repr=False)
class EndpointRecord(Value):
    """A container's place in a network, which it keeps while it is stopped; ifname is what it sees."""

    network_id: str
    container_id: str
    mac: str
    ifname: str
    ipv4: str | None = None
    ipv6: str | None = None
    options: Mapping[str, object] = Factory(dict)


@frozen(kw_only=True, eq=False, repr=False)
class VolumeRecord(Value):
    """A volume. goes_with: id of the container whose removal removes it as well, if it is anonymous."""

    name: str
    driver: str
    created_at: float
    options: Mapping[str, str] = Factory(dict)
    labels: Mapping[str, str] = Factory(dict)
    is_anonymous: bool = False
    goes_with: str | None = None
