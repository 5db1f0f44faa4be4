"""The group of all commands; each is named in one table and imported when it is called."""

from __future__ import annotations

import importlib
from typing import Any

import click

COMMANDS = {
    "compose": "Bring up and take down applications of several containers.",
    "doctor": "Tell what this host can do, and the remedy for what it cannot.",
    "start-all": "Start the containers that are to run again after a reboot.",
    "stop-all": "Stop them for a shutdown, after which they are to run again.",
    "systemd": "Print a systemd unit that does so at boot.",
    "version": "Tell the versions of this package and of what it runs on.",
}


class _Lazy(click.Group):
    """A group whose commands are imported on use, so that `--help` loads none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pycontainer.cli.commands.{cmd_name.replace('-', '_')}")
        command: Any = module.command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
def app() -> None:
    """Containers without a daemon."""
