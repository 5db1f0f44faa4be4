"""Manifests (one image) and indexes (one image per platform), of OCI and of Docker's schema 2.

Source: OCI image-spec, manifest.md and image-index.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import Factory, frozen

from pycontainer.oci.descriptor import Descriptor
from pycontainer.oci.mediatype import OCI_INDEX, OCI_MANIFEST
from pycontainer.values import Value

__all__ = ["Index", "Manifest"]


@frozen(kw_only=True, eq=False, repr=False)
class Manifest(Value):
    """One image. Attributes: layers, bottom first; extra (keys this version does not know)."""

    media_type: str = OCI_MANIFEST
    config: Descriptor
    layers: tuple[Descriptor, ...] = ()
    annotations: Mapping[str, str] = Factory(dict)
    subject: Descriptor | None = None
    artifact_type: str = ""
    extra: Mapping[str, object] = Factory(dict)


@frozen(kw_only=True, eq=False, repr=False)
class Index(Value):
    """A list of manifests or further indexes, usually one per platform."""

    media_type: str = OCI_INDEX
    manifests: tuple[Descriptor, ...] = ()
    annotations: Mapping[str, str] = Factory(dict)
    subject: Descriptor | None = None
    artifact_type: str = ""
    extra: Mapping[str, object] = Factory(dict)
