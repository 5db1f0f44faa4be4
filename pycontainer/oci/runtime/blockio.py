"""Limits of block devices: config-linux.md, "Block IO"."""

from __future__ import annotations

import attrs

from pycontainer.oci.runtime.model import Extra, Model, model

__all__ = ["BlockIO", "ThrottleDevice", "WeightDevice"]


@model()
class WeightDevice(Model):
    """A share of one block device's time."""

    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None
    extra: Extra = attrs.field(factory=dict)


@model()
class ThrottleDevice(Model):
    """A rate limit of one block device, in bytes or operations per second."""

    major: int
    minor: int
    rate: int
    extra: Extra = attrs.field(factory=dict)


@model(
    weight_device="WeightDevice",
    throttle_read_bps_device="ThrottleDevice",
    throttle_write_bps_device="ThrottleDevice",
    throttle_read_iops_device="ThrottleDevice",
    throttle_write_iops_device="ThrottleDevice",
)
class BlockIO(Model):
    """Block device limits."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = ()
    extra: Extra = attrs.field(factory=dict)
