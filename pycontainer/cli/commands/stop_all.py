"""`pycontainer stop-all`: what the systemd unit calls at shutdown."""

from __future__ import annotations

from pathlib import Path

import click

from pycontainer.engine import Container, Engine

__all__ = ["command"]


@click.command("stop-all")
@click.option(
    "--root", type=click.Path(path_type=Path), help="The store's directory; default as for the library."
)
@click.argument("names", nargs=-1, metavar="[CONTAINER]...")
def command(root: Path | None, names: tuple[str, ...]) -> None:
    """Stop the containers that `start-all` starts, so that it starts them again: for a shutdown.

    `unless-stopped` takes this for no stop by hand.
    """
    with Engine(root) as engine:
        Container.stop_all(Container.returning(*names, engine=engine), engine=engine)
