"""A descriptor: type, digest and size of one blob, which together make it safe to fetch.

Source: OCI image-spec, descriptor.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import Factory, frozen

from pycontainer.oci.digest import Digest, sha256
from pycontainer.oci.platform import Platform
from pycontainer.values import Value

__all__ = ["Descriptor"]


@frozen(kw_only=True, eq=False, repr=False)
class Descriptor(Value):
    """Points to a blob.

    Attributes: size in bytes; urls (where else the blob may be had); data (the blob itself, verified
    when it was decoded); extra (keys this version does not know, kept on rewriting).
    """

    media_type: str
    digest: Digest
    size: int
    urls: tuple[str, ...] = ()
    annotations: Mapping[str, str] = Factory(dict)
    data: bytes | None = None
    artifact_type: str = ""
    platform: Platform | None = None
    extra: Mapping[str, object] = Factory(dict)

    @classmethod
    def of(cls, data: bytes, media_type: str) -> Descriptor:
        """The descriptor of bytes in memory."""
        return cls(media_type=media_type, digest=sha256(data), size=len(data))
