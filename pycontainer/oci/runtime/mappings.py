"""User namespaces: config-linux.md, "User namespace mappings"."""

from __future__ import annotations

import attrs

from pycontainer.oci.runtime.model import Extra, Model, model

__all__ = ["IdMapping"]


@model()
class IdMapping(Model):
    """A range of ids: `size` ids from `container_id` inside are those from `host_id` outside."""

    container_id: int
    host_id: int
    size: int
    extra: Extra = attrs.field(factory=dict)
