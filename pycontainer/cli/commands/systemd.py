"""`pycontainer systemd`."""

from __future__ import annotations

from pathlib import Path

import click

from pycontainer.engine import Engine

__all__ = ["command"]


@click.command("systemd")
@click.option(
    "--root", type=click.Path(path_type=Path), help="The store's directory; default as for the library."
)
@click.argument("names", nargs=-1, metavar="[CONTAINER]...")
def command(root: Path | None, names: tuple[str, ...]) -> None:
    """Print a systemd unit that starts the containers with restart policy always or unless-stopped at boot.

    With names only those. Put it where systemd looks, as /etc/systemd/system/pycontainer.service, and enable
    it.
    """
    with Engine(root) as engine:
        click.echo(engine.systemd_unit(*names), nl=False)
