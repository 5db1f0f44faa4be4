"""`pycontainer compose`: applications of several containers, with Docker Compose's commands and flags."""

from __future__ import annotations

import importlib
from typing import Any

import click

from pycontainer.cli.composing import Asked, explained

__all__ = ["command"]

_LIFE, _LOOK = "compose_life", "compose_look"
_COMMANDS = {
    "build": (_LIFE, "Build the images of services"),
    "config": (_LOOK, "Print the files put together, with all variables put in"),
    "create": (_LIFE, "Make containers, and start none"),
    "down": (_LIFE, "Stop and remove containers and networks"),
    "exec": (_LOOK, "Run a further program in a container of a service"),
    "kill": (_LIFE, "Send the running containers a signal"),
    "logs": (_LOOK, "Show what the containers wrote"),
    "ls": (_LOOK, "List applications that have containers"),
    "pause": (_LIFE, "Stop all processes of containers where they are"),
    "port": (_LOOK, "Print where a port of a service is found on this host"),
    "ps": (_LOOK, "List the containers of an application"),
    "pull": (_LIFE, "Pull the images of services"),
    "restart": (_LIFE, "Stop containers and start them again"),
    "rm": (_LIFE, "Remove stopped containers"),
    "run": (_LOOK, "Run a one-off container of a service"),
    "scale": (_LIFE, "Have other numbers of containers"),
    "start": (_LIFE, "Start the containers there are"),
    "stop": (_LIFE, "Stop containers; they stay"),
    "unpause": (_LIFE, "Let the processes of containers go on"),
    "up": (_LIFE, "Make and start containers, and show their output until they end"),
}
"""By name the module that has the command, and what it does."""


class _Lazy(click.Group):
    """Commands that are imported when they are called, and tell errors of this package in a line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"pycontainer.cli.commands.{_COMMANDS[cmd_name][0]}")
        found: object = getattr(module, {"exec": "execute"}.get(cmd_name, cmd_name))
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(_COMMANDS.items())])

    def invoke(self, ctx: click.Context) -> Any:
        with explained():
            return super().invoke(ctx)


@click.group("compose", cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    metavar="FILE",
    help="A compose file; several go on top of each other.",
)
@click.option("-p", "--project-name", "project", metavar="NAME", help="Name of the project.")
@click.option("--profile", "profiles", multiple=True, metavar="NAME", help="A profile that is on; * for all.")
@click.option(
    "--env-file", "env_files", multiple=True, metavar="FILE", help="A file of variables, instead of .env."
)
@click.option("--project-directory", "directory", metavar="PATH", help="Where relative paths begin.")
@click.option("--ansi", type=click.Choice(["never", "always", "auto"]), help="Taken for Docker's sake.")
@click.option("--progress", metavar="KIND", help="Taken for Docker's sake.")
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[str, ...],
    project: str | None,
    profiles: tuple[str, ...],
    env_files: tuple[str, ...],
    directory: str | None,
    ansi: str | None,
    progress: str | None,
) -> None:
    """Bring up and take down applications of several containers."""
    ctx.obj = Asked(
        files=files,
        project=project,
        profiles=profiles,
        env_files=env_files,
        directory=directory,
        engine=getattr(ctx.find_root().obj, "engine", None),
    )
