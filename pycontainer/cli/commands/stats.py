"""`pycontainer stats`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.completing import containers
from pycontainer.cli.formatting import Field, Listing, binary_size, decimal_size
from pycontainer.cli.screen import refreshed
from pycontainer.cli.session import Session, pass_session
from pycontainer.errors import NotFound, WrongState

if TYPE_CHECKING:
    from pycontainer.engine import Container, Stats

__all__ = ["stats"]

_INTERVAL_S = 1.0
_NOTHING = "--"


class _Look(NamedTuple):
    """A container, what it uses (None when it does not run), and the CPU use since the look before."""

    container: Container
    stats: Stats | None
    cpu_percent: float | None
    is_whole: bool

    @property
    def id(self) -> str:
        return self.container.id if self.is_whole else self.container.id[:12]

    @property
    def cpu(self) -> str:
        return _NOTHING if self.cpu_percent is None else f"{self.cpu_percent:.2f}%"

    @property
    def memory(self) -> str:
        if self.stats is None:
            return f"{_NOTHING} / {_NOTHING}"
        used, limit = self.stats.memory_bytes, self.stats.memory_limit_bytes
        return f"{_NOTHING if used is None else binary_size(used)} / {binary_size(limit)}"

    @property
    def memory_percent(self) -> str:
        found = None if self.stats is None else self.stats.memory_percent
        return _NOTHING if found is None else f"{found:.2f}%"

    @property
    def network(self) -> str:
        found = self.stats
        return _pair(None, None) if found is None else _pair(found.received_bytes, found.sent_bytes)

    @property
    def block(self) -> str:
        found = self.stats
        return _pair(None, None) if found is None else _pair(found.read_bytes, found.written_bytes)

    @property
    def pids(self) -> str:
        return _NOTHING if self.stats is None or self.stats.pids is None else str(self.stats.pids)


def _pair(first: int | None, second: int | None) -> str:
    return " / ".join(_NOTHING if each is None else decimal_size(each, 3) for each in (first, second))


_LISTING: Listing[_Look] = Listing(
    {
        "Container": Field("CONTAINER", lambda each: each.id),
        "ID": Field("CONTAINER ID", lambda each: each.id),
        "Name": Field("NAME", lambda each: each.container.name),
        "CPUPerc": Field("CPU %", lambda each: each.cpu),
        "MemUsage": Field("MEM USAGE / LIMIT", lambda each: each.memory),
        "MemPerc": Field("MEM %", lambda each: each.memory_percent),
        "NetIO": Field("NET I/O", lambda each: each.network),
        "BlockIO": Field("BLOCK I/O", lambda each: each.block),
        "PIDs": Field("PIDS", lambda each: each.pids),
    },
    ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"),
)


class _Watch:
    """The looks before, by container, which CPU use is counted from."""

    def __init__(self, is_whole: bool) -> None:
        self._earlier: dict[str, Stats] = {}
        self._is_whole = is_whole

    def look(self, container: Container) -> _Look | None:
        """What the container uses now; None when it is gone."""
        try:
            now = container.stats()
        except WrongState:
            return _Look(container, None, None, self._is_whole)
        except NotFound:
            return None
        earlier = self._earlier.get(container.id)
        self._earlier[container.id] = now
        percent = None if earlier is None else now.cpu_percent_since(earlier)
        return _Look(container, now, percent, self._is_whole)


@command("stats")
@flag("-a", "--all", "is_all", help="Also those that do not run.")
@click.option("--format", "form", metavar="FORMAT", help="table, json, or a template.")
@flag("--no-stream", help="Look once.")
@flag("--no-trunc", "is_whole", help="Do not shorten ids.")
@click.argument("names", metavar="[CONTAINER]...", nargs=-1, shell_complete=containers("running"))
@pass_session
def stats(
    session: Session, is_all: bool, form: str | None, no_stream: bool, is_whole: bool, names: tuple[str, ...]
) -> None:
    """Watch what containers use, those that run or the named ones, until interrupted."""
    from pycontainer.engine import Container

    named = [Container.get(name, engine=session.engine) for name in names]
    watch = _Watch(is_whole)
    wanted = session.form(form, "statsFormat")

    def lines() -> list[str]:
        found = named or Container.list(all=is_all, engine=session.engine)
        looks = [look for each in found if (look := watch.look(each)) is not None]
        return _LISTING.lines(looks, wanted)

    lines()  # the CPU use is that since a look before
    time.sleep(_INTERVAL_S)
    if no_stream:
        for line in lines():
            click.echo(line)
    else:
        refreshed(lines, interval_s=_INTERVAL_S)
