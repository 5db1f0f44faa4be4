"""`pycontainer ps`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.filters import filter_option
from pycontainer.cli.formatting import Field, Listing, ago, decimal_size, zone_time
from pycontainer.cli.screen import refreshed
from pycontainer.cli.session import Session, pass_session
from pycontainer.errors import NotFound

if TYPE_CHECKING:
    from pycontainer.engine import Container

__all__ = ["Shown", "ports_text", "ps"]

_COMMAND_CELLS = 20
_ID_DIGITS = 12
_NEVER = "0001-01-01"


class Shown:
    """A container as a list shows it; what it is, is read when it is first asked for."""

    def __init__(self, container: Container, *, is_whole: bool, has_size: bool = True) -> None:
        self.container = container
        self.is_whole = is_whole
        self._has_size = has_size

    @cached_property
    def document(self) -> Mapping[str, Any]:
        """What `inspect` shows. Of a container that was removed meanwhile: nothing."""
        return self.container.inspect()

    @property
    def id(self) -> str:
        """Its id, or the beginning."""
        return self.container.id if self.is_whole else self.container.id[:_ID_DIGITS]

    @property
    def image(self) -> str:
        """The image as it was named, or its id."""
        name = str(self.document["Config"]["Image"])
        found = name or str(self.document["Image"])
        if found.startswith("sha256:") and not self.is_whole:
            return found.removeprefix("sha256:")[:_ID_DIGITS]
        return found

    @property
    def command(self) -> str:
        """Program and arguments in quotes."""
        text = " ".join((self.document["Path"], *self.document["Args"]))
        if not self.is_whole and len(text) > _COMMAND_CELLS:
            text = f"{text[: _COMMAND_CELLS - 1]}…"
        return json.dumps(text, ensure_ascii=False)

    @property
    def running_for(self) -> str:
        """How long it has been there."""
        return f"{_since(self.container.created_at)} ago"

    @property
    def status(self) -> str:
        """Its state in Docker's words, as "Up 5 minutes (healthy)"."""
        state = self.document["State"]
        name = str(state["Status"])
        if name in ("running", "paused"):
            health = state.get("Health", {}).get("Status")
            told = {"paused": "Paused"}.get(name) or _HEALTHS.get(health or "", health)
            return f"Up {_since(_moment(state['StartedAt']))}" + (f" ({told})" if told else "")
        if name in ("exited", "restarting"):
            verb = "Exited" if name == "exited" else "Restarting"
            return f"{verb} ({state['ExitCode']}) {_since(_moment(state['FinishedAt']))} ago"
        return {"created": "Created", "dead": "Dead", "removing": "Removal In Progress"}.get(name, name)

    @property
    def size(self) -> str:
        """Bytes of its own files, and with its image's; 0B where nobody asked for it, as in Docker."""
        if not self._has_size:
            return "0B"
        own = self.container.size_bytes
        return f"{decimal_size(own, 3)} (virtual {decimal_size(own + self._image_bytes(), 3)})"

    def _image_bytes(self) -> int:
        try:
            return self.container.image.unpacked_bytes
        except NotFound:
            return 0

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        found: Mapping[str, str] = self.document["Config"]["Labels"]
        return found

    @property
    def mounts(self) -> str:
        """Names of volumes and directories of the host that are mounted."""
        found = [each.get("Name") or each["Source"] or each["Type"] for each in self.document["Mounts"]]
        return ",".join(name if self.is_whole or len(name) <= 15 else f"{name[:14]}…" for name in found)


_HEALTHS = {"starting": "health: starting"}


def _moment(text: str) -> datetime:
    return datetime.now(UTC) if text.startswith(_NEVER) else datetime.fromisoformat(text)


def _since(moment: datetime) -> str:
    return ago(max(0.0, (datetime.now(UTC) - moment).total_seconds()))


def ports_text(ports: Mapping[str, Iterable[Mapping[str, str]] | None]) -> str:
    """Published and exposed ports as Docker lists them, neighbours as one range."""
    found: set[tuple[str, str, int, int]] = set()
    for key, bindings in ports.items():
        port, _, protocol = key.partition("/")
        # On a network that is routed none is the host's.
        outer = [each for each in bindings or () if each["HostPort"]]
        found.update((protocol, each["HostIp"], int(port), int(each["HostPort"])) for each in outer)
        if not outer:
            found.add((protocol, "", int(port), 0))
    return ", ".join(_grouped(sorted(found)))


def _grouped(found: list[tuple[str, str, int, int]]) -> Iterator[str]:
    def neighbours(item: tuple[int, tuple[str, str, int, int]]) -> tuple[object, ...]:
        number, (protocol, address, port, host_port) = item
        return protocol, address, port - number, host_port and host_port - number

    for _, group in groupby(enumerate(found), neighbours):
        items = [each for _, each in group]
        (protocol, address, first, host_first), (_, _, last, host_last) = items[0], items[-1]
        inner = f"{_range(first, last)}/{protocol}"
        if not address:
            yield inner
        else:
            shown = f"[{address}]" if ":" in address else address
            yield f"{shown}:{_range(host_first, host_last)}->{inner}"


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


_LISTING: Listing[Shown] = Listing(
    {
        "ID": Field("CONTAINER ID", lambda each: each.id),
        "Image": Field("IMAGE", lambda each: each.image),
        "Command": Field("COMMAND", lambda each: each.command),
        "CreatedAt": Field("CREATED AT", lambda each: zone_time(each.container.created_at)),
        "RunningFor": Field("CREATED", lambda each: each.running_for),
        "Status": Field("STATUS", lambda each: each.status),
        "State": Field("STATE", lambda each: each.document["State"]["Status"]),
        "Ports": Field("PORTS", lambda each: ports_text(each.document["NetworkSettings"]["Ports"])),
        "Names": Field("NAMES", lambda each: each.container.name),
        "Size": Field("SIZE", lambda each: each.size),
        "Labels": Field("LABELS", lambda each: ",".join(f"{k}={v}" for k, v in sorted(each.labels.items()))),
        "Label": Field("", lambda each: lambda name: each.labels.get(name, ""), is_method=True),
        "Mounts": Field("MOUNTS", lambda each: each.mounts),
        "LocalVolumes": Field(
            "LOCAL VOLUMES",
            lambda each: str(sum(mount["Type"] == "volume" for mount in each.document["Mounts"])),
        ),
        "Networks": Field("NETWORKS", lambda each: ",".join(each.document["NetworkSettings"]["Networks"])),
        "Platform": Field("PLATFORM", lambda each: each.document["Platform"]),
    },
    ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"),
)


@command("ps")
@flag("-a", "--all", "is_all", help="Also those that do not run.")
@filter_option
@click.option("--format", "form", metavar="FORMAT", help="table, json, or a template.")
@click.option("-n", "--last", type=int, default=-1, metavar="NUMBER", help="The last so many, in any state.")
@flag("-l", "--latest", help="The last one, in any state.")
@flag("--no-trunc", "is_whole", help="Do not shorten what is long.")
@flag("-q", "--quiet", help="Print ids alone.")
@flag("-s", "--size", help="Tell how much room their own files take.")
@flag("-w", "--watch", help="Show the list anew every second, until interrupted.")
@pass_session
def ps(
    session: Session,
    is_all: bool,
    filters: Mapping[str, list[str]],
    form: str | None,
    last: int,
    latest: bool,
    is_whole: bool,
    quiet: bool,
    size: bool,
    watch: bool,
) -> None:
    """List the containers that run, the newest first."""
    limit = 1 if latest else last if last > 0 else None

    def lines() -> list[str]:
        from pycontainer.engine import Container

        found = Container.list(all=is_all, filters=filters, limit=limit, engine=session.engine)
        wanted = session.form(form, "psFormat")
        has_size = size or wanted.strip() != "json"
        shown = [Shown(each, is_whole=is_whole, has_size=has_size) for each in found]
        if quiet and not form:
            return [each.id for each in shown]
        columns = (*_LISTING.columns, "Size") if size else _LISTING.columns
        return _LISTING.lines(_alive(shown), wanted, columns)

    if watch:
        refreshed(lines, interval_s=1.0)
    else:
        for line in lines():
            click.echo(line)


def _alive(shown: Iterable[Shown]) -> Iterator[Shown]:
    """Those that are still there when their turn comes."""
    for each in shown:
        try:
            _ = each.document
        except NotFound:
            continue
        yield each
