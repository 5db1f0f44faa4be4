"""Limits of processes and of cgroups: config.md, "POSIX process"; config-linux.md, "Control groups"."""

from __future__ import annotations

import attrs

from pycontainer.oci.runtime.model import Extra, Model, model

__all__ = ["Cpu", "HugepageLimit", "Memory", "Pids", "Rlimit"]


@model()
class Rlimit(Model):
    """One resource limit, as RLIMIT_NOFILE."""

    type: str
    soft: int
    hard: int
    extra: Extra = attrs.field(factory=dict)


@model()
class Memory(Model):
    """Memory limits in bytes; `swap` is memory and swap together."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None
    extra: Extra = attrs.field(factory=dict)


@model()
class Cpu(Model):
    """CPU limits; times in microseconds."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str | None = None
    mems: str | None = None
    idle: int | None = None
    extra: Extra = attrs.field(factory=dict)


@model()
class Pids(Model):
    """The most processes; -1 is no limit."""

    limit: int | None = None
    extra: Extra = attrs.field(factory=dict)


@model()
class HugepageLimit(Model):
    """A limit in bytes for one huge page size, named as "2MB"."""

    page_size: str
    limit: int
    extra: Extra = attrs.field(factory=dict)
