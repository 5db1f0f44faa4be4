"""The document, its root and its mounts: config.md, config-linux.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pycontainer.oci.runtime.model import Extra, Model, model

if TYPE_CHECKING:
    from pycontainer.oci.runtime.devices import Device
    from pycontainer.oci.runtime.mappings import IdMapping
    from pycontainer.oci.runtime.process import Process
    from pycontainer.oci.runtime.resources import Resources
    from pycontainer.oci.runtime.seccomp import Seccomp

__all__ = ["Linux", "Mount", "Namespace", "Root", "Spec"]

VERSION = "1.3.0"


@model()
class Root(Model):
    """The root file system."""

    path: str
    readonly: bool | None = None
    extra: Extra = attrs.field(factory=dict)


@model(uid_mappings="IdMapping", gid_mappings="IdMapping")
class Mount(Model):
    """One mount, in the order of mounting."""

    destination: str
    type: str | None = None
    source: str | None = None
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    extra: Extra = attrs.field(factory=dict)


@model()
class Namespace(Model):
    """A namespace to make, or with a path to join."""

    type: str
    path: str | None = None
    extra: Extra = attrs.field(factory=dict)


@model(
    namespaces="Namespace",
    uid_mappings="IdMapping",
    gid_mappings="IdMapping",
    devices="Device",
    resources="Resources",
    seccomp="Seccomp",
)
class Linux(Model):
    """What only Linux has."""

    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    time_offsets: dict[str, dict[str, int]] = attrs.field(factory=dict)
    devices: tuple[Device, ...] = ()
    cgroups_path: str | None = None
    resources: Resources | None = None
    sysctl: dict[str, str] = attrs.field(factory=dict)
    seccomp: Seccomp | None = None
    rootfs_propagation: str | None = None
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str | None = None
    personality: dict[str, Any] | None = None
    extra: Extra = attrs.field(factory=dict)


@model(process="Process", root="Root", mounts="Mount", linux="Linux")
class Spec(Model):
    """A whole config.json."""

    oci_version: str = VERSION
    process: Process | None = None
    root: Root | None = None
    hostname: str | None = None
    domainname: str | None = None
    mounts: tuple[Mount, ...] = ()
    hooks: dict[str, Any] = attrs.field(factory=dict)
    annotations: dict[str, str] = attrs.field(factory=dict)
    linux: Linux | None = None
    extra: Extra = attrs.field(factory=dict)
