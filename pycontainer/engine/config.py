"""Where an engine keeps its things, and whom it asks: the one place that reads environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from pycontainer.registry import RegistryConfig

__all__ = ["EngineConfig"]


@attrs.frozen(kw_only=True)
class EngineConfig:
    """Settings of one engine.

    root: directory of the store.
    python: the interpreter the helper runs on; None is sys.executable.
    registry: how registries are reached; None is as the environment says.
    progress: "auto" (a bar on a terminal or in a notebook), "plain" or "off".
    """

    root: Path
    python: str | None = None
    registry: RegistryConfig | None = None
    progress: str = "auto"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> EngineConfig:
        """The defaults of this user.

        PYCONTAINER_ROOT, else /var/lib/pycontainer as root, else $XDG_DATA_HOME/pycontainer
        (~/.local/share/pycontainer). PYCONTAINER_PROGRESS: auto, plain or off.
        """
        chosen = environ.get("PYCONTAINER_ROOT")
        if chosen:
            root = Path(chosen)
        elif os.geteuid() == 0:
            root = Path("/var/lib/pycontainer")
        else:
            home = environ.get("XDG_DATA_HOME") or os.path.join(environ.get("HOME", "/"), ".local/share")
            root = Path(home, "pycontainer")
        return cls(root=root.absolute(), progress=environ.get("PYCONTAINER_PROGRESS", "auto"))
