"""`pycontainer help`."""

from __future__ import annotations

import click

from pycontainer.cli.command import Group, command

__all__ = ["help_"]


@command("help")
@click.argument("words", metavar="[COMMAND...]", nargs=-1)
@click.pass_context
def help_(context: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of a command, or of all."""
    about = context.find_root()
    for word in words:
        if isinstance(about.command, Group):
            name, found, _ = about.command.resolve_command(about, [word])
            assert found is not None
            about = click.Context(found, about, name)
    click.echo(about.get_help())
