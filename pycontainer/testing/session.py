"""What one run of pytest has of the engine, made when it is first needed: kept in `config.stash`."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from pycontainer.engine import Engine, EngineConfig
from pycontainer.errors import PycontainerError
from pycontainer.kernel import probe
from pycontainer.testing import marks
from pycontainer.testing.factory import Started, container_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Session", "Watched", "session_of"]

_KEY = pytest.StashKey["Session"]()
_LOG_LINES = 50


@attrs.frozen
class Watched:
    """A container that a fixture has, for the report of a test that uses it and fails."""

    fixture: str
    started: Started


class Session:
    """A run's engine, why there is none, and the containers that its fixtures have."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._engine: Engine | None = None
        self._reason: str | None = None
        self._watched: dict[str, Watched] = {}
        self.owner_pid: int = _controller(config)
        self.reuse: str = config.getoption("pycontainer_reuse")

    @property
    def root(self) -> Path:
        """Directory of the store."""
        given = self._config.getoption("pycontainer_root") or self._config.getini("pycontainer_root")
        return Path(given).absolute() if given else EngineConfig.from_environment().root

    @property
    def reason(self) -> str:
        """Why this host cannot run containers, as the doctor says it; empty where it can."""
        if self._reason is None:
            missing = [
                f"{found.name}: {found.detail}; {found.remedy}"
                for found in probe.examine(str(self.root))
                if found.is_required and not found.is_ok
            ]
            self._reason = "; ".join(missing)
        return self._reason

    def check_host(self) -> None:
        """Skip where the host cannot run containers, or fail if the run is to have them."""
        if not self.reason:
            return
        text = f"no containers on this host: {self.reason}"
        if self._config.getini("pycontainer_required"):
            pytest.fail(text, pytrace=False)
        pytest.skip(text)

    @property
    def engine(self) -> Engine:
        """The engine, opened once what killed runs have left is removed."""
        if self._engine is None:
            self._engine = Engine(self.root)
            marks.forget_abandoned(self._engine)
        return self._engine

    def watch(self, fixture: str, started: Started) -> None:
        """Show the output of this container with tests that use the fixture and fail."""
        self._watched[container_of(started).id] = Watched(fixture, started)

    def forget(self, started: Started) -> None:
        """It is about to be removed."""
        self._watched.pop(container_of(started).id, None)

    def sections(self, fixtures: set[str], since: datetime) -> Iterator[tuple[str, str]]:
        """Title and text for each container of these fixtures: its last lines since then."""
        for watched in list(self._watched.values()):
            if watched.fixture not in fixtures:
                continue
            box = container_of(watched.started)
            with suppress(PycontainerError):  # it may be gone, or keep no log
                text = box.logs(since=since, tail=_LOG_LINES).text()
                code = "" if box.exit_code is None else f", exit code {box.exit_code}"
                title = f"container {box.name} ({watched.fixture}, {box.state}{code})"
                yield title, text or "it wrote nothing during this test"

    def close(self) -> None:
        """Close the engine, and with it end what is still owned; idempotent."""
        if self._engine is not None:
            self._engine.close()


def session_of(config: pytest.Config) -> Session:
    """The run's session, made when it is first asked for."""
    if _KEY not in config.stash:
        config.stash[_KEY] = Session(config)
    return config.stash[_KEY]


def existing(config: pytest.Config) -> Session | None:
    """The run's session if there is one."""
    return config.stash.get(_KEY, None)


def _controller(config: pytest.Config) -> int:
    """The process that the whole run ends with: that of xdist's controller, or this one."""
    given = getattr(config, "workerinput", {}).get("pycontainer_controller")
    # A worker on another machine has nobody there whose death could be seen here.
    return os.getppid() if given == marks.identity(os.getppid()) else os.getpid()
