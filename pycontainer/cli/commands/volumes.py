"""`pycontainer volume`: create, ls, rm, export, import."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.completing import volumes
from pycontainer.cli.edge import Failed, each
from pycontainer.cli.filters import filter_option
from pycontainer.cli.formatting import Field, Listing
from pycontainer.cli.pairs import pairs
from pycontainer.cli.session import Session, pass_session
from pycontainer.errors import InvalidOption

if TYPE_CHECKING:
    from pycontainer.engine import Volume

__all__ = ["create", "export", "import_", "ls", "remove"]

_OF_CLUSTERS = (
    *("availability", "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing"),
    *("topology-preferred", "topology-required", "type"),
)


def _of_clusters(function: click.decorators.FC) -> click.decorators.FC:
    for name in _OF_CLUSTERS:
        function = click.option(f"--{name}", hidden=True)(function)
    return function


@command("create")
@click.option("-d", "--driver", default="local", metavar="NAME", help="local.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Labels.")
@click.option(
    "-o", "--opt", "options", multiple=True, metavar="KEY=VALUE", help="type, o, device of mount(8)."
)
@_of_clusters
@click.argument("name", metavar="[VOLUME]", required=False)
@pass_session
def create(
    session: Session,
    /,
    driver: str,
    labels: Sequence[str],
    options: Sequence[str],
    name: str | None,
    **of_clusters: str | None,
) -> None:
    """Make a volume, and print its name."""
    from pycontainer.engine import Volume

    for given, value in of_clusters.items():
        if value is not None:
            raise InvalidOption(f"--{given.replace('_', '-')} is for volumes of a cluster; leave it out")
    made = Volume.create(
        name,
        driver=driver,
        options=pairs(options) or None,
        labels=pairs(labels) or None,
        engine=session.engine,
    )
    click.echo(made.name)


_LISTING: Listing[Volume] = Listing(
    {
        "Name": Field("VOLUME NAME", lambda each: each.name),
        "Driver": Field("DRIVER", lambda each: each.driver),
        "Scope": Field("SCOPE", lambda each: "local"),
        "Mountpoint": Field("MOUNTPOINT", lambda each: str(each.mountpoint)),
        "Labels": Field("LABELS", lambda each: ",".join(f"{k}={v}" for k, v in sorted(each.labels.items()))),
        "Label": Field("", lambda each: lambda name: each.labels.get(name, ""), is_method=True),
        "Links": Field("LINKS", lambda each: str(len(each.in_use_by))),
        "Size": Field("SIZE", lambda each: "N/A"),
        "Availability": Field("AVAILABILITY", lambda each: "N/A"),
        "Group": Field("GROUP", lambda each: "N/A"),
        "Status": Field("STATUS", lambda each: "N/A"),
    },
    ("Driver", "Name"),
)


@command("ls")
@flag("--cluster", hidden=True)
@filter_option
@click.option("--format", "form", metavar="FORMAT", help="table, json, or a template.")
@flag("-q", "--quiet", help="Print names alone.")
@pass_session
def ls(
    session: Session, cluster: bool, filters: Mapping[str, list[str]], form: str | None, quiet: bool
) -> None:
    """List volumes."""
    from pycontainer.engine import Volume

    if cluster:
        raise InvalidOption("--cluster is for volumes of a cluster; leave it out")
    found = Volume.list(filters=filters, engine=session.engine)
    if quiet and not form:
        for volume in found:
            click.echo(volume.name)
        return
    for line in _LISTING.lines(found, session.form(form, "volumesFormat")):
        click.echo(line)


@command("rm")
@flag("-f", "--force", help="No error for one that does not exist.")
@click.argument("names", metavar="VOLUME...", nargs=-1, required=True, shell_complete=volumes)
@pass_session
def remove(session: Session, force: bool, names: tuple[str, ...]) -> int:
    """Remove volumes that no container uses; print their names."""
    from pycontainer.engine import Volume

    return each(names, lambda name: Volume(name, session.engine).remove(force=force))


@command("export")
@click.option("-o", "--output", metavar="FILE", help="Write to this file, not to standard output.")
@click.argument("name", metavar="VOLUME", shell_complete=volumes)
@pass_session
def export(session: Session, output: str | None, name: str) -> None:
    """Write the files of a volume as a tar."""
    from pycontainer.engine import Volume

    volume = Volume.get(name, engine=session.engine)
    if output is None and os.isatty(1):
        raise Failed("Error: cowardly refusing to save to a terminal; use the -o flag or redirect")
    volume.export(sys.stdout.buffer if output is None else output)


@command("import")
@click.argument("name", metavar="VOLUME", shell_complete=volumes)
@click.argument("source", metavar="FILE|-", default="-")
@pass_session
def import_(session: Session, name: str, source: str) -> None:
    """Unpack a tar, compressed or not, over what is in a volume."""
    from pycontainer.engine import Volume

    Volume.get(name, engine=session.engine).load(sys.stdin.buffer if source == "-" else source)
