"""The first process of a container: config.md, "Process"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pycontainer.oci.runtime.model import Extra, Model, model

if TYPE_CHECKING:
    from pycontainer.oci.runtime.limits import Rlimit

__all__ = ["Capabilities", "Process", "User"]


@model()
class User(Model):
    """Who the process is, in numbers; names are resolved inside the root file system."""

    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()
    extra: Extra = attrs.field(factory=dict)


@model()
class Capabilities(Model):
    """The five sets, as CAP_ names."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()
    extra: Extra = attrs.field(factory=dict)


@model(user="User", capabilities="Capabilities", rlimits="Rlimit")
class Process(Model):
    """The container's first process."""

    cwd: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    terminal: bool | None = None
    console_size: dict[str, int] | None = None
    user: User = attrs.field(factory=User)
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool | None = None
    apparmor_profile: str | None = None
    selinux_label: str | None = None
    oom_score_adj: int | None = None
    extra: Extra = attrs.field(factory=dict)
