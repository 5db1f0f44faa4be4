"""A compose application, as its files say all together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import Factory, field, frozen

__all__ = ["Dependency", "FileResource", "NetworkSpec", "Project", "ServiceSpec", "VolumeSpec"]


@frozen(kw_only=True)
class Dependency:
    """What one service waits for of another.

    condition: service_started, service_healthy or service_completed_successfully. restarts: whether it is
    restarted with the other one. is_required: whether it does without it when the other one is missing or
    fails.
    """

    condition: str = "service_started"
    restarts: bool = False
    is_required: bool = True


@frozen(kw_only=True)
class ServiceSpec:
    """A service. keys: all keys of the specification in their canonical form, for those that map options."""

    name: str
    image: str
    depends_on: Mapping[str, Dependency] = Factory(dict)
    profiles: tuple[str, ...] = ()
    scale: int = 1
    environment: Mapping[str, str] = field(factory=dict, repr=False)
    labels: Mapping[str, str] = Factory(dict)
    keys: Mapping[str, Any] = field(factory=dict, repr=False)


@frozen(kw_only=True)
class NetworkSpec:
    """A network. name: what it is called in the store."""

    key: str
    name: str
    is_external: bool = False
    keys: Mapping[str, Any] = Factory(dict)


@frozen(kw_only=True)
class VolumeSpec:
    """A volume. name: what it is called in the store."""

    key: str
    name: str
    is_external: bool = False
    keys: Mapping[str, Any] = Factory(dict)


@frozen(kw_only=True)
class FileResource:
    """A secret or a config. file: the path of this host it is read from, "" for one with content."""

    key: str
    file: str = ""
    content: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class Project:
    """The application. services: those that its profiles let run; disabled: the others.

    variables: what was put into the files, and what services may take from the environment. document: all of
    it in canonical form, as `compose config` prints it.
    """

    name: str
    directory: str
    files: tuple[str, ...]
    services: Mapping[str, ServiceSpec]
    disabled: Mapping[str, ServiceSpec] = Factory(dict)
    networks: Mapping[str, NetworkSpec] = Factory(dict)
    volumes: Mapping[str, VolumeSpec] = Factory(dict)
    secrets: Mapping[str, FileResource] = Factory(dict)
    configs: Mapping[str, FileResource] = Factory(dict)
    variables: Mapping[str, str] = field(factory=dict, repr=False)
    document: Mapping[str, Any] = field(factory=dict, repr=False)
