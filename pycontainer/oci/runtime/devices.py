"""Device nodes: config-linux.md, "Devices"."""

from __future__ import annotations

import attrs

from pycontainer.oci.runtime.model import Extra, Model, model

__all__ = ["Device"]


@model()
class Device(Model):
    """A device node to make inside; file_mode holds permission bits only."""

    type: str
    path: str
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    extra: Extra = attrs.field(factory=dict)
