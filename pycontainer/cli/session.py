"""What all commands of one call share: the engine, opened when it is first used, and the user's settings."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pycontainer.engine import Engine
    from pycontainer.launcher import Helper

__all__ = ["Session", "pass_session"]


class Session:
    """One call of the command line.

    root: directory of the store; default as for the library. progress: how pulls are shown, see Engine.
    helper: the engine's, if it was begun already. process_ends: nothing comes after this call.
    """

    def __init__(
        self,
        helper: Helper | None = None,
        environ: Mapping[str, str] = os.environ,
        *,
        process_ends: bool = False,
    ) -> None:
        self.environ = environ
        self.root: Path | None = None
        self.progress: str | None = None
        self.config_dir: Path = Path(environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"))
        self._held = ExitStack()
        self._helper = helper
        self._process_ends = process_ends

    @cached_property
    def engine(self) -> Engine:
        """The engine of this call, which is also the current one of the library."""
        from pycontainer.engine import Engine, close_last, use_helper

        engine = Engine(self.root, progress=self.progress)
        if self._helper is not None:
            use_helper(engine, self._helper)
            self._helper = None
        self._held.enter_context(engine)
        if self._process_ends:
            self._held.callback(close_last, engine)
        return engine

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
        """End the engine, if there was one, or the helper that was to be its."""
        self._held.close()
        if self._helper is not None:
            self._helper.close()


def pass_session(function: Callable[..., Any]) -> Any:
    """Decorate a command that takes the session first."""
    import click  # `run` does without

    return click.make_pass_decorator(Session)(function)
