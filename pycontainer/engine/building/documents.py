"""An image's configuration and manifest, as blobs of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pycontainer.image import ImageView
from pycontainer.oci import Descriptor, ImageConfig, Manifest, encode, mediatype

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine

__all__ = ["stored_view"]


def stored_view(
    engine: Engine, config: ImageConfig, layers: Sequence[Descriptor], *, annotations: Mapping[str, str]
) -> ImageView:
    """The view of an image of this configuration and these layers, whose blobs are in the store."""
    config_bytes = encode(config)
    manifest_bytes = encode(
        Manifest(
            media_type=mediatype.OCI_MANIFEST,
            config=Descriptor.of(config_bytes, mediatype.OCI_CONFIG),
            layers=tuple(layers),
            annotations=dict(annotations),
        )
    )
    content = engine.store.content
    content.put(config_bytes)
    content.put(manifest_bytes)
    return ImageView(manifest_bytes, config_bytes, content)
