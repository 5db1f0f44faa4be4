"""What a cgroup carries: config-linux.md, "Control groups"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pycontainer.oci.runtime.model import Extra, Model, model

if TYPE_CHECKING:
    from pycontainer.oci.runtime.blockio import BlockIO
    from pycontainer.oci.runtime.limits import Cpu, HugepageLimit, Memory, Pids

__all__ = ["DeviceRule", "Resources"]


@model()
class DeviceRule(Model):
    """Allow or deny access to devices; a None number means every one. Later rules win."""

    allow: bool
    type: str | None = None
    major: int | None = None
    minor: int | None = None
    access: str | None = None
    extra: Extra = attrs.field(factory=dict)


@model(
    devices="DeviceRule",
    memory="Memory",
    cpu="Cpu",
    pids="Pids",
    block_io="BlockIO",
    hugepage_limits="HugepageLimit",
)
class Resources(Model):
    """Every limit that a cgroup carries."""

    devices: tuple[DeviceRule, ...] = ()
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = None
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    unified: dict[str, str] = attrs.field(factory=dict)
    extra: Extra = attrs.field(factory=dict)
