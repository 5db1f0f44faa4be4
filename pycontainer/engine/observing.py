"""What a container lets one see of it while it runs: the part of `Container` that only looks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pycontainer.options import given_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from pycontainer.engine.engine import Engine
    from pycontainer.engine.eventstream import Events
    from pycontainer.engine.filters import FilterValues
    from pycontainer.engine.moments import Moment
    from pycontainer.engine.processes import Top
    from pycontainer.engine.state import Observed
    from pycontainer.engine.stats import Stats, StatsStream
    from pycontainer.store import ContainerRecord

__all__ = ["Observable"]


class Observable:
    """Methods of a container that read what the kernel counts and what the log tells."""

    if TYPE_CHECKING:
        _engine: Engine

        @property
        def id(self) -> str: ...
        @property
        def name(self) -> str: ...
        @property
        def _current(self) -> ContainerRecord: ...
        @property
        def _directory(self) -> Path: ...
        @property
        def _observed(self) -> Observed: ...

    @property
    def size_bytes(self) -> int:
        """Bytes of the files that it has written or changed, without its image; measured now."""
        from pycontainer.engine.diskusage import writable_sizes

        return writable_sizes(self._engine, [self.id])[self.id]

    def stats(self) -> Stats:
        """What it uses now: processor, memory, disks, network. Raises WrongState when it does not run."""
        from pycontainer.engine.stats import read_stats

        return read_stats(self._directory, self._engine.host, self.name)

    def stats_stream(
        self,
        interval: float | str | timedelta = 1.0,
        *,
        timeout: float | str | timedelta | None = None,
    ) -> StatsStream:
        """One look each interval, with the CPU use since the one before, until it ends.

        interval: seconds, from 0.01; times do not drift. timeout: seconds after which the iteration ends.
        Raises WrongState when it does not run; InvalidOption.
        """
        from pycontainer.engine.stats import StatsStream

        limit_s = None if timeout is None else given_seconds(timeout)
        return StatsStream(self._directory, self._engine.host, self.name, given_seconds(interval), limit_s)

    def top(self) -> Top:
        """Its processes, by their ids here and inside. Raises WrongState when it does not run."""
        from pycontainer.engine.events import emit_container
        from pycontainer.engine.processes import top

        found = top(self._observed, self._engine.host, self.name)
        emit_container(self._engine, "top", self._current)
        return found

    def events(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        filters: FilterValues | None = None,
        follow: bool = False,
        timeout: float | str | timedelta | None = None,
    ) -> Events:
        """What happened to it; see `pycontainer.events`."""
        from pycontainer.engine.eventstream import read_events

        wanted = {**(filters or {}), "container": self.id}
        return read_events(
            since=since, until=until, filters=wanted, follow=follow, timeout=timeout, engine=self._engine
        )
