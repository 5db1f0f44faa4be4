"""`pycontainer context`: for Docker's sake, as there is one, this machine."""

from __future__ import annotations

import json

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.edge import Failed
from pycontainer.cli.formatting import Field, Listing, Template
from pycontainer.cli.session import Session, pass_session

__all__ = ["inspect", "ls", "show", "use"]

_NAME = "default"
_LISTING: Listing[Session] = Listing(
    {
        "Name": Field("NAME", lambda each: _NAME),
        "Current": Field("CURRENT", lambda each: True),
        "Description": Field("DESCRIPTION", lambda each: "Containers of this machine, without a daemon"),
        "DockerEndpoint": Field("DOCKER ENDPOINT", lambda each: str(each.engine.root)),
        "Error": Field("ERROR", lambda each: ""),
    },
    ("Name", "Description", "DockerEndpoint", "Error"),
)


def _check(name: str) -> None:
    if name != _NAME:
        raise Failed(f"Error: there is no context {name!r}; there is only {_NAME}")


@command("ls")
@click.option("--format", "form", metavar="FORMAT", help="table, json, or a template.")
@flag("-q", "--quiet", help="Print names alone.")
@pass_session
def ls(session: Session, form: str | None, quiet: bool) -> None:
    """List contexts."""
    for line in [_NAME] if quiet and not form else _LISTING.lines([session], form or ""):
        click.echo(line)


@command("show")
def show() -> None:
    """Print the name of the current context."""
    click.echo(_NAME)


@command("use")
@click.argument("name", metavar="CONTEXT")
def use(name: str) -> None:
    """Choose a context."""
    _check(name)
    click.echo(name)


@command("inspect")
@click.option("-f", "--format", "form", metavar="FORMAT", help="json, or a template.")
@click.argument("name", metavar="[CONTEXT]", default=_NAME)
@pass_session
def inspect(session: Session, form: str | None, name: str) -> None:
    """Show everything about the context."""
    _check(name)
    document = {"Name": _NAME, "Metadata": {}, "Endpoints": {"docker": {"Host": str(session.engine.root)}}}
    if form and form != "json":
        click.echo(Template(form).render(document))
    else:
        click.echo(json.dumps([document], indent=4))
