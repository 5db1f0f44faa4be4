"""System call filters: config-linux.md, "Seccomp"."""

from __future__ import annotations

import attrs

from pycontainer.oci.runtime.model import Extra, Model, model

__all__ = ["Seccomp", "SeccompArg", "SeccompRule"]


@model()
class SeccompArg(Model):
    """A test of one system call argument; for SCMP_CMP_MASKED_EQ `value` is the mask."""

    index: int
    value: int
    op: str
    value_two: int = 0
    extra: Extra = attrs.field(factory=dict)


@model(args="SeccompArg")
class SeccompRule(Model):
    """An action for the named system calls, when all the argument tests hold."""

    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[SeccompArg, ...] = ()
    extra: Extra = attrs.field(factory=dict)


@model(syscalls="SeccompRule")
class Seccomp(Model):
    """A system call filter, in symbolic form."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    syscalls: tuple[SeccompRule, ...] = ()
    extra: Extra = attrs.field(factory=dict)
