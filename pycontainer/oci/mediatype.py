"""Media types of OCI and of Docker's schema 2, and what each says.

Source: OCI image-spec, media-types.md; distribution, docs/spec/manifest-v2-2.md.
"""

from __future__ import annotations

from typing import Final, Literal

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_FOREIGN: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar"
OCI_FOREIGN_GZIP: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
OCI_FOREIGN_ZSTD: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD: Final = "application/vnd.docker.image.rootfs.diff.tar.zstd"
DOCKER_FOREIGN: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar"
DOCKER_FOREIGN_GZIP: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

DOCKER_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"

Compression = Literal["plain", "gzip", "zstd"]

_LAYERS: dict[str, Compression] = {
    OCI_LAYER: "plain",
    OCI_LAYER_GZIP: "gzip",
    OCI_LAYER_ZSTD: "zstd",
    OCI_FOREIGN: "plain",
    OCI_FOREIGN_GZIP: "gzip",
    OCI_FOREIGN_ZSTD: "zstd",
    DOCKER_LAYER: "plain",
    DOCKER_LAYER_GZIP: "gzip",
    DOCKER_LAYER_ZSTD: "zstd",
    DOCKER_FOREIGN: "plain",
    DOCKER_FOREIGN_GZIP: "gzip",
}
_FOREIGN = frozenset({OCI_FOREIGN, OCI_FOREIGN_GZIP, OCI_FOREIGN_ZSTD, DOCKER_FOREIGN, DOCKER_FOREIGN_GZIP})
_AS_OCI = {
    DOCKER_LAYER: OCI_LAYER,
    DOCKER_LAYER_GZIP: OCI_LAYER_GZIP,
    DOCKER_LAYER_ZSTD: OCI_LAYER_ZSTD,
    DOCKER_FOREIGN: OCI_FOREIGN,
    DOCKER_FOREIGN_GZIP: OCI_FOREIGN_GZIP,
}
_SCHEMA1 = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})

ACCEPTED: Final = (OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST)  # for a registry's Accept header


def is_manifest(media_type: str) -> bool:
    """Whether it names the manifest of one image."""
    return media_type in (OCI_MANIFEST, DOCKER_MANIFEST)


def is_index(media_type: str) -> bool:
    """Whether it names a list of manifests."""
    return media_type in (OCI_INDEX, DOCKER_INDEX)


def is_config(media_type: str) -> bool:
    """Whether it names the configuration of a container image."""
    return media_type in (OCI_CONFIG, DOCKER_CONFIG)


def is_layer(media_type: str) -> bool:
    """Whether it names a file system layer, in any compression."""
    return media_type in _LAYERS


def is_foreign(media_type: str) -> bool:
    """Whether it names a layer that is fetched from elsewhere and never pushed."""
    return media_type in _FOREIGN


def is_schema1(media_type: str) -> bool:
    """Whether it names Docker's first manifest format, which nothing here reads."""
    return media_type in _SCHEMA1


def compression_of(media_type: str) -> Compression | None:
    """The compression a layer's type states, or None if it is no known layer type."""
    return _LAYERS.get(media_type)


def as_oci_layer(media_type: str) -> str:
    """OCI's name for the same kind of layer; another type stays as it is."""
    return _AS_OCI.get(media_type, media_type)
