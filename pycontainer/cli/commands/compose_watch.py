"""The commands of `pycontainer compose` that watch: events, images, stats, top, volumes, wait and watch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.composing import Asked, age, pass_asked, services_argument, table
from pycontainer.cli.formatting import Field, Listing, decimal_size
from pycontainer.cli.printable import printable
from pycontainer.errors import NotFound

if TYPE_CHECKING:
    from pycontainer.compose import Compose
    from pycontainer.engine import Container, Event

__all__ = ["events", "images", "stats", "tell_watched", "top", "volumes", "wait", "watch"]

_LABELS = "com.docker.compose."


@command("events")
@flag("--json", "is_json", help="Print each as a line of JSON.")
@click.option("--since", metavar="TIME", help="Also what happened from a time on, as 10m (ago).")
@click.option("--until", metavar="TIME", help="Up to a time.")
@services_argument
@pass_asked
def events(
    asked: Asked, /, services: tuple[str, ...], is_json: bool, since: str | None, until: str | None
) -> None:
    """Print what happens to the containers of an application, until interrupted."""
    from pycontainer.engine import read_events

    application = asked.application()
    mine = {"type": "container", "label": f"{_LABELS}project={application.name}"}
    with read_events(since=since, until=until, filters=mine, follow=True, engine=asked.engine) as found:
        for event in found:
            service = event.attributes.get(f"{_LABELS}service", "")
            if not services or service in services:
                click.echo(_event_json(event, service) if is_json else _event_line(event))


def _own_attributes(event: Event) -> dict[str, str]:
    return {key: value for key, value in sorted(event.attributes.items()) if not key.startswith(_LABELS)}


def _event_line(event: Event) -> str:
    pairs = ", ".join(f"{key}={value}" for key, value in _own_attributes(event).items())
    moment = event.time.astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")
    return printable(f"{moment} container {event.action} {event.id} ({pairs})")


def _event_json(event: Event, service: str) -> str:
    return json.dumps(
        {
            "time": event.time.isoformat(),
            "type": "container",
            "service": service,
            "id": event.id,
            "action": event.action,
            "attributes": _own_attributes(event),
        }
    )


@command("images")
@flag("-q", "--quiet", help="Print ids alone.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", help="How to list.")
@services_argument
@pass_asked
def images(asked: Asked, /, services: tuple[str, ...], quiet: bool, form: str) -> None:
    """List the images of the containers of an application."""
    found = []
    for container in _containers(asked, services):
        with suppress(NotFound):  # it has gone meanwhile, with its container
            found.append((container, container.image))
    if quiet:
        for identity in dict.fromkeys(image.id for _, image in found):
            click.echo(identity)
        return
    rows = []
    for container, image in found:
        repository, tag = _name_parts(str(container.inspect()["Config"]["Image"]))
        rows.append((container, image, repository, tag))
    if form == "json":
        documents = [
            {
                "ID": image.id,
                "ContainerName": container.name,
                "Repository": repository,
                "Tag": tag,
                "Platform": image.platform,
                "Size": image.size_bytes,
                "Created": image.config.created,
            }
            for container, image, repository, tag in rows
        ]
        click.echo(json.dumps(documents))
        return
    table(
        ("CONTAINER", "REPOSITORY", "TAG", "PLATFORM", "IMAGE ID", "SIZE", "CREATED"),
        [
            (
                container.name,
                repository,
                tag,
                image.platform,
                image.id.removeprefix("sha256:")[:12],
                decimal_size(image.size_bytes, 3),
                f"{age(image.created_at)} ago",
            )
            for container, image, repository, tag in rows
        ],
    )


def _name_parts(name: str) -> tuple[str, str]:
    from pycontainer.oci import Reference

    reference = Reference.parse(name)
    return reference.familiar_repository, reference.tag or "<none>"


def _containers(asked: Asked, services: tuple[str, ...]) -> list[Container]:
    application = asked.application()
    names = services or tuple(application.services)
    return [each for name in names for each in application[name].containers]


@command("stats")
@flag("-a", "--all", "is_all", help="Also those that do not run.")
@click.option("--format", "form", metavar="FORMAT", help="table, json, or a template.")
@flag("--no-stream", help="Look once.")
@flag("--no-trunc", "is_whole", help="Do not shorten ids.")
@click.argument("service", required=False)
@pass_asked
@click.pass_context
def stats(ctx: click.Context, asked: Asked, /, service: str | None, is_all: bool, **given: Any) -> None:
    """Watch what the containers of an application use, until interrupted."""
    from pycontainer.cli.commands import stats as plain

    found = _containers(asked, (service,) if service else ())
    names = tuple(each.id for each in found if is_all or each.state in ("running", "paused"))
    if names:
        ctx.invoke(plain.stats, names=names, is_all=is_all, **given)
    else:
        click.echo("nothing runs", err=True)


@command("top")
@services_argument
@pass_asked
def top(asked: Asked, /, services: tuple[str, ...]) -> None:
    """List the processes of the containers of an application."""
    application = asked.application()
    titles: tuple[str, ...] = ()
    rows = []
    for name in services or application.services:
        for number, container in application[name].numbers.items():
            if container.state in ("running", "paused"):
                found = container.top().to_dict()
                titles = tuple(found["Titles"])
                rows += [(name, str(number), *row) for row in found["Processes"]]
    table(("SERVICE", "#", *titles), rows)


_VOLUMES: Listing[Any] = Listing(
    {
        "Driver": Field("DRIVER", lambda each: each.driver),
        "Name": Field("VOLUME NAME", lambda each: each.name),
        "Labels": Field("LABELS", lambda each: ",".join(f"{k}={v}" for k, v in sorted(each.labels.items()))),
        "Mountpoint": Field("MOUNTPOINT", lambda each: str(each.mountpoint)),
    },
    ("Driver", "Name"),
)


@command("volumes")
@flag("-q", "--quiet", help="Print names alone.")
@click.option("--format", "form", default="", metavar="FORMAT", help="table, json, or a template.")
@services_argument
@pass_asked
def volumes(asked: Asked, /, services: tuple[str, ...], quiet: bool, form: str) -> None:
    """List the volumes of an application, or those that some services have mounted."""
    from pycontainer.engine import Volume

    application = asked.application()
    found = Volume.list(filters={"label": f"{_LABELS}project={application.name}"}, engine=asked.engine)
    if services:
        mounts = [
            each for container in _containers(asked, services) for each in container.inspect()["Mounts"]
        ]
        names = {each.get("Name") for each in mounts}
        found = [each for each in found if each.name in names]
    for line in [each.name for each in found] if quiet else _VOLUMES.lines(found, form):
        click.echo(line)


@command("wait")
@flag("--down-project", "is_down", help="Take the application down when the first has ended.")
@services_argument
@pass_asked
def wait(asked: Asked, /, services: tuple[str, ...], is_down: bool) -> int:
    """Wait until containers have ended; ends with the exit code of the last."""
    application = asked.application()
    code = 0
    for name, code in application.wait(*services).items():
        click.echo(f'container "{name}" exited with status code {code}')
    if is_down:
        application.down()
    return code


@command("watch")
@flag("--no-up", help="Do not bring it up before.")
@flag("--prune", default=True, help="Remove images that a rebuild leaves without a name.")
@flag("--quiet", help="Show no output of builds.")
@services_argument
@pass_asked
def watch(asked: Asked, /, services: tuple[str, ...], no_up: bool, prune: bool, quiet: bool) -> None:
    """Bring files that change into what runs, as develop.watch of the services says, until interrupted."""
    from pycontainer.cli.composing import changes_told

    application = asked.application(needs_files=True)
    if not no_up:
        with changes_told(application):
            application.up(*services, progress="off" if quiet else "auto")
    tell_watched(application, services, prune=prune)


def tell_watched(application: Compose, services: Sequence[str], *, prune: bool = True) -> None:
    """Bring files that change into what runs, and tell what was done, for ever."""
    click.echo("Watch enabled", err=True)
    for event in application.watch(*services, prune=prune):
        told = f"{event.action} of {event.service}: {', '.join(event.paths[:3])}"
        told += f" and {len(event.paths) - 3} more" if len(event.paths) > 3 else ""
        click.echo(printable(f"{told}: {event.error}" if event.error else told), err=True)
