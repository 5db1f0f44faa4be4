"""Where an engine keeps its things, and whom it asks: the one place that reads environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from pycontainer.errors import InvalidOption
from pycontainer.values import Value

if TYPE_CHECKING:
    from pycontainer.registry import RegistryConfig
    from pycontainer.trust import SignaturePolicy

__all__ = ["EngineConfig"]

CGROUP_MANAGERS = ("cgroupfs", "systemd")


def users_root(environ: Mapping[str, str] = os.environ) -> Path:
    """Where this user's store is, unless another directory is asked for."""
    if os.geteuid() == 0:
        return Path("/var/lib/pycontainer")
    home = environ.get("XDG_DATA_HOME") or os.path.join(environ.get("HOME", "/"), ".local/share")
    return Path(home, "pycontainer").absolute()


@frozen(kw_only=True, eq=False, repr=False)
class EngineConfig(Value):
    """Settings of one engine.

    root: directory of the store.
    python: the interpreter the helper runs on; None is sys.executable.
    registry: how registries are reached; None is as the environment says.
    policy: which images may be pulled and run; None is any. See SignaturePolicy.
    lock: a file of pinned digests; names that are not in it are neither pulled nor run. See LockFile.
    progress: "auto" (a bar on a terminal or in a notebook), "plain" or "off".
    cgroup_manager: "cgroupfs" writes into the cgroup file system; "systemd" has systemd make a transient,
    delegated scope for each container that this engine starts, pycontainer-STORE-ID.scope in system.slice or
    in the slice that cgroup_parent names. It needs systemd and cgroup version 2 alone. Containers that run
    already stay where they are, and engines with either may share a store.
    Raises: InvalidOption for another word, or a registry that is no RegistryConfig.
    """

    root: Path
    python: str | None = None
    registry: RegistryConfig | None = field(default=None)
    policy: SignaturePolicy | None = None
    lock: Path | None = None
    progress: str = "auto"
    cgroup_manager: str = field(default="cgroupfs")

    @registry.validator
    def _check_registry(self, _: object, value: object) -> None:
        if value is None:
            return
        from pycontainer.registry import RegistryConfig  # whoever passes one has it loaded

        if not isinstance(value, RegistryConfig):
            raise InvalidOption(
                f"option registry: {type(value).__name__} will not do; give "
                'pc.RegistryConfig(credentials={"ghcr.io": pc.Credentials(...)})'
            )

    @cgroup_manager.validator
    def _check_cgroup_manager(self, _: object, value: str) -> None:
        if value not in CGROUP_MANAGERS:
            raise InvalidOption(f"cgroup_manager={value!r}: it is one of {', '.join(CGROUP_MANAGERS)}")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> EngineConfig:
        """The defaults of this user.

        PYCONTAINER_ROOT, else /var/lib/pycontainer as root, else $XDG_DATA_HOME/pycontainer
        (~/.local/share/pycontainer). PYCONTAINER_PROGRESS: auto, plain or off.
        PYCONTAINER_CGROUP_MANAGER: cgroupfs or systemd.
        """
        chosen = environ.get("PYCONTAINER_ROOT")
        return cls(
            root=Path(chosen).absolute() if chosen else users_root(environ),
            progress=environ.get("PYCONTAINER_PROGRESS", "auto"),
            cgroup_manager=environ.get("PYCONTAINER_CGROUP_MANAGER") or "cgroupfs",
        )
