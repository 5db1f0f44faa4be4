"""`pycontainer events`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from pycontainer.cli.command import command
from pycontainer.cli.filters import filter_option
from pycontainer.cli.formatting import Template
from pycontainer.cli.printable import printable
from pycontainer.cli.session import Session, pass_session

if TYPE_CHECKING:
    from pycontainer.engine import Event

__all__ = ["events"]


@command("events")
@filter_option
@click.option("--format", "form", metavar="FORMAT", help="json, or a template.")
@click.option("--since", metavar="TIME", help="Also what happened from a time on, as 10m (ago).")
@click.option("--until", metavar="TIME", help="Up to a time.")
@pass_session
def events(
    session: Session, filters: Mapping[str, list[str]], form: str | None, since: str | None, until: str | None
) -> None:
    """Print what happens to containers, images, networks and volumes, until interrupted."""
    from pycontainer.engine import read_events

    template = None if not form else Template("{{json .}}" if form == "json" else form)
    with read_events(since=since, until=until, filters=filters, follow=True, engine=session.engine) as found:
        for event in found:
            click.echo(_line(event) if template is None else template.render(_fields(event)))


def _fields(event: Event) -> Mapping[str, object]:
    document = event.to_dict()
    lower = {"ID": event.id, "Status": event.action, "From": event.image, "Scope": "local"}
    hidden = {"Time": document["time"], "TimeNano": document["timeNano"]}
    return _Event(document, {**lower, **hidden})


class _Event(dict[str, object]):
    """The JSON of an event; a template finds Docker's other names of its fields as well."""

    def __init__(self, document: Mapping[str, object], others: Mapping[str, object]) -> None:
        super().__init__(document)
        self._others = others

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._others

    def __missing__(self, name: str) -> object:
        return self._others[name]


def _line(event: Event) -> str:
    """As Docker prints it: time, type, action, id, attributes."""
    local = event.time.astimezone()
    zone = local.strftime("%z")
    shown = local.strftime("%Y-%m-%dT%H:%M:%S.") + f"{event.time_ns % 10**9:09d}{zone[:3]}:{zone[3:]}"
    pairs = ", ".join(f"{key}={event.attributes[key]}" for key in sorted(event.attributes))
    text = f"{shown} {event.type} {event.action} {event.id}" + (f" ({pairs})" if pairs else "")
    return printable(text)
