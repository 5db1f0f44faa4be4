"""An image's configuration: what to run by default, and which layers make its file system.

Source: OCI image-spec, config.md; moby, image/spec and api/types/container/config.go for the
fields OCI reserves for Docker (Healthcheck, Shell, OnBuild).
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import Factory, frozen

from pycontainer.oci.digest import Digest
from pycontainer.values import Value

__all__ = ["ContainerConfig", "Healthcheck", "History", "ImageConfig"]


@frozen(kw_only=True, eq=False, repr=False)
class Healthcheck(Value):
    """How to see whether a container does its work. Times in nanoseconds, 0 means the default.

    Attributes: test: empty (inherit), ("NONE",), ("CMD", arg…) or ("CMD-SHELL", command).
    """

    test: tuple[str, ...] = ()
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0
    extra: Mapping[str, object] = Factory(dict)


@frozen(kw_only=True, eq=False, repr=False)
class ContainerConfig(Value):
    """Defaults for containers of an image.

    Attributes: env as NAME=value; entrypoint, cmd and shell are None where the image sets none,
    which differs from an empty list; exposed_ports as port/protocol.
    """

    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    working_dir: str = ""
    labels: Mapping[str, str] = Factory(dict)
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] | None = None
    on_build: tuple[str, ...] = ()
    extra: Mapping[str, object] = Factory(dict)


@frozen(kw_only=True, eq=False, repr=False)
class History(Value):
    """One step of how the image was made; created is an RFC 3339 time as written."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False
    extra: Mapping[str, object] = Factory(dict)


@frozen(kw_only=True, eq=False, repr=False)
class ImageConfig(Value):
    """The whole document. Attributes: diff_ids (digests of the uncompressed layers), bottom first."""

    architecture: str = ""
    os: str = "linux"
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    config: ContainerConfig = Factory(ContainerConfig)
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()
    created: str = ""
    author: str = ""
    rootfs_extra: Mapping[str, object] = Factory(dict)
    extra: Mapping[str, object] = Factory(dict)
