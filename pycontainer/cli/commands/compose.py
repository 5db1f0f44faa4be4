"""`pycontainer compose`: applications of several containers, with Docker Compose's commands and flags."""

from __future__ import annotations

from typing import Any

import click

from pycontainer.cli.command import Entry, Group, flag
from pycontainer.cli.composing import Asked
from pycontainer.cli.session import Session

__all__ = ["command"]

_COMMANDS = {
    "attach": Entry("compose_one:attach", "Join the terminal to a container of a service"),
    "build": Entry("compose_life:build", "Build the images of services"),
    "commit": Entry("compose_one:commit", "Make an image of what a service's container changed"),
    "config": Entry("compose_config:config", "Print the files put together, with all variables put in"),
    "convert": Entry("compose_config:config", "", True),
    "cp": Entry("compose_one:cp", "Copy files between a service's containers and this host"),
    "create": Entry("compose_life:create", "Make containers, and start none"),
    "down": Entry("compose_life:down", "Stop and remove containers and networks"),
    "events": Entry("compose_watch:events", "Print what happens to the containers, as it happens"),
    "exec": Entry("compose_look:execute", "Run a further program in a container of a service"),
    "export": Entry("compose_one:export", "Write the files of a service's container as a tar"),
    "images": Entry("compose_watch:images", "List the images of the containers"),
    "kill": Entry("compose_life:kill", "Send the running containers a signal"),
    "logs": Entry("compose_look:logs", "Show what the containers wrote"),
    "ls": Entry("compose_look:ls", "List applications that have containers"),
    "pause": Entry("compose_life:pause", "Stop all processes of containers where they are"),
    "port": Entry("compose_look:port", "Print where a port of a service is found on this host"),
    "ps": Entry("compose_look:ps", "List the containers of an application"),
    "publish": Entry("compose_life:publish", "Push images, and the files themselves as an artifact"),
    "pull": Entry("compose_life:pull", "Pull the images of services"),
    "push": Entry("compose_life:push", "Upload the images of services"),
    "restart": Entry("compose_life:restart", "Stop containers and start them again"),
    "rm": Entry("compose_life:rm", "Remove stopped containers"),
    "run": Entry("compose_look:run", "Run a one-off container of a service"),
    "scale": Entry("compose_life:scale", "Have other numbers of containers"),
    "start": Entry("compose_life:start", "Start the containers there are"),
    "stats": Entry("compose_watch:stats", "Watch what the containers use"),
    "stop": Entry("compose_life:stop", "Stop containers; they stay"),
    "top": Entry("compose_watch:top", "List the processes of the containers"),
    "unpause": Entry("compose_life:unpause", "Let the processes of containers go on"),
    "up": Entry("compose_life:up", "Make and start containers, and show their output until they end"),
    "version": Entry("compose_config:version", "Tell the version"),
    "volumes": Entry("compose_watch:volumes", "List the volumes of an application"),
    "wait": Entry("compose_watch:wait", "Wait until containers have ended"),
    "watch": Entry("compose_watch:watch", "Bring files that change into what runs"),
}

_PLANNED = (
    *("build", "create", "down", "kill", "pause", "pull", "push"),
    *("restart", "rm", "scale", "start", "stop", "unpause", "up"),
)
"""Commands that tell what they would do."""
_LOOKING = (
    *("config", "convert", "events", "images", "logs", "ls", "port", "ps"),
    *("stats", "top", "version", "volumes"),
)
"""Commands that change nothing."""
_REFUSED = {"bridge": "its converters to other engines are images of Docker's"}


class _Commands(Group):
    """The table above; the group itself takes which application is meant."""

    def __init__(self, name: str | None = None, **settings: Any) -> None:
        super().__init__(name, table=_COMMANDS, refused=_REFUSED, **settings)


@click.group("compose", cls=_Commands)
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
@flag("--dry-run", "is_dry", help="Tell what would be done, and do nothing.")
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
    is_dry: bool,
    ansi: str | None,
    progress: str | None,
) -> None:
    """Bring up and take down applications of several containers."""
    if is_dry and ctx.invoked_subcommand not in (*_PLANNED, *_LOOKING):
        raise click.UsageError(
            f"--dry-run goes not with {ctx.invoked_subcommand}: give one of {', '.join(_PLANNED)}"
        )
    ctx.obj = Asked(
        files=files,
        project=project,
        profiles=profiles,
        env_files=env_files,
        directory=directory,
        session=ctx.ensure_object(Session),
        is_dry=is_dry,
    )
