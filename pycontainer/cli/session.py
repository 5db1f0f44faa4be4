"""What all commands of one call share: the engine, opened when it is first used, and the user's settings."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pycontainer.errors import PycontainerError

if TYPE_CHECKING:
    from pycontainer.engine import Engine

__all__ = ["Session", "pass_session"]


class Session:
    """One call of the command line.

    root: directory of the store; default as for the library. progress: how pulls are shown, see Engine.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self.environ = environ
        self.root: Path | None = None
        self.progress: str | None = None
        self.config_dir: Path = Path(environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"))
        self._held = ExitStack()

    @cached_property
    def engine(self) -> Engine:
        """The engine of this call, which is also the current one of the library."""
        from pycontainer.engine import Engine

        return self._held.enter_context(Engine(self.root, progress=self.progress))

    def warm_up(self) -> None:
        """Have the engine's helper process start on another processor, while this one imports the rest."""
        helper = self.engine.helper

        def start() -> None:
            with suppress(PycontainerError):  # whoever needs it then tries again, and is told why not
                helper.start()

        threading.Thread(target=start, name="pycontainer-helper", daemon=True).start()

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The user's config.json of Docker: formats of lists, detach keys; empty when there is none."""
        try:
            found = json.loads((self.config_dir / "config.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def form(self, given: str | None, setting: str) -> str:
        """The format to list in: as given, else the user's setting of this name, else "" for the usual."""
        return given or str(self.settings.get(setting) or "")

    @property
    def detach_keys(self) -> str:
        """The user's keys for leaving a container."""
        return str(self.settings.get("detachKeys") or "ctrl-p,ctrl-q")

    @property
    def platform(self) -> str | None:
        """The platform that DOCKER_DEFAULT_PLATFORM names."""
        return self.environ.get("DOCKER_DEFAULT_PLATFORM") or None

    def close(self) -> None:
        """End the engine, if there was one."""
        self._held.close()


pass_session: Callable[[Any], Any] = click.make_pass_decorator(Session)
"""Decorate a command that takes the session first."""
