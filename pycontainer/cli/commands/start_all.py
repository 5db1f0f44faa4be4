"""`pycontainer start-all`: what the systemd unit calls at boot."""

from __future__ import annotations

from pathlib import Path

import click

from pycontainer.engine import Container, Engine

__all__ = ["command"]


@click.command("start-all")
@click.option(
    "--root", type=click.Path(path_type=Path), help="The store's directory; default as for the library."
)
@click.argument("names", nargs=-1, metavar="[CONTAINER]...")
def command(root: Path | None, names: tuple[str, ...]) -> None:
    """Start the containers whose restart policy has them run again after a reboot; print their names.

    "always" starts what has ever run, "unless-stopped" what was not stopped by hand. With names only those
    of them. A container starts after the one whose namespaces it shares.
    """
    with Engine(root) as engine:
        for container in Container.start_all(Container.returning(*names, engine=engine), engine=engine):
            click.echo(container.name)
