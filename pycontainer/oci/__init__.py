"""The data of container images: names, digests, platforms, manifests, configurations. No I/O.

Frozen models, and a strict codec between them and JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycontainer.frontdoor import opened

if TYPE_CHECKING:
    from pycontainer.oci import jsontext, mediatype
    from pycontainer.oci.codec import (
        CONFIG_LIMIT,
        MANIFEST_HARD_LIMIT,
        MANIFEST_LIMIT,
        MAX_LAYERS,
        decode_config,
        decode_manifest,
        encode,
    )
    from pycontainer.oci.descriptor import Descriptor
    from pycontainer.oci.digest import Digest, Hasher, chain_ids, parse_digest, sha256
    from pycontainer.oci.digest import split as split_digest
    from pycontainer.oci.imageconfig import ContainerConfig, Healthcheck, History, ImageConfig
    from pycontainer.oci.manifest import Index, Manifest
    from pycontainer.oci.platform import Platform, choose
    from pycontainer.oci.reference import DEFAULT_DOMAIN, DEFAULT_TAG, Reference

__all__ = [
    "CONFIG_LIMIT",
    "DEFAULT_DOMAIN",
    "DEFAULT_TAG",
    "MANIFEST_HARD_LIMIT",
    "MANIFEST_LIMIT",
    "MAX_LAYERS",
    "ContainerConfig",
    "Descriptor",
    "Digest",
    "Hasher",
    "Healthcheck",
    "History",
    "ImageConfig",
    "Index",
    "Manifest",
    "Platform",
    "Reference",
    "chain_ids",
    "choose",
    "decode_config",
    "decode_manifest",
    "encode",
    "jsontext",
    "mediatype",
    "parse_digest",
    "sha256",
    "split_digest",
]

_HOMES = {
    "CONFIG_LIMIT": "codec",
    "ContainerConfig": "imageconfig",
    "DEFAULT_DOMAIN": "reference",
    "DEFAULT_TAG": "reference",
    "Descriptor": "descriptor",
    "Digest": "digest",
    "Hasher": "digest",
    "Healthcheck": "imageconfig",
    "History": "imageconfig",
    "ImageConfig": "imageconfig",
    "Index": "manifest",
    "MANIFEST_HARD_LIMIT": "codec",
    "MANIFEST_LIMIT": "codec",
    "MAX_LAYERS": "codec",
    "Manifest": "manifest",
    "Platform": "platform",
    "Reference": "reference",
    "chain_ids": "digest",
    "choose": "platform",
    "decode_config": "codec",
    "decode_manifest": "codec",
    "encode": "codec",
    "jsontext": "",
    "mediatype": "",
    "parse_digest": "digest",
    "sha256": "digest",
    "split_digest": "digest:split",
}


def __getattr__(name: str) -> object:
    return opened(__name__, _HOMES, name)
