"""`pycontainer run` and `pycontainer create`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from pycontainer.cli import launching
from pycontainer.cli.command import command, flag
from pycontainer.cli.completing import images
from pycontainer.cli.declared import declared
from pycontainer.cli.launching import REFUSED
from pycontainer.cli.session import Session, pass_session
from pycontainer.options import OPTIONS

__all__ = ["create", "run"]

F = TypeVar("F", bound=Callable[..., Any])

_STREAMS = ("stdin", "stdout", "stderr")
_REFUSED_VALUES = [name for name in REFUSED if name != "use_api_socket"]


def _both(function: F) -> F:
    """The flags that `run` and `create` have in common."""
    decorations: list[Callable[[Any], Any]] = [
        click.option(
            "-a",
            "--attach",
            "streams",
            multiple=True,
            type=click.Choice(_STREAMS, case_sensitive=False),
            help="Attach to these streams alone.",
        ),
        click.option(
            "--cidfile", type=click.Path(path_type=Path), help="Write the container's id to this file."
        ),
        flag("-q", "--quiet", "is_quiet", help="Do not show how the image is pulled."),
        declared(name for name in OPTIONS if name != "command"),
        click.option("--runtime", metavar="NAME", help="Taken for Docker's sake: there is one."),
        click.option("--volume-driver", metavar="NAME", help="Driver of volumes without a name: local."),
        click.option("--isolation", metavar="NAME", help="Taken for Docker's sake: default."),
        flag("--disable-content-trust", default=True, help="Without effect.", hidden=True),
        flag("--use-api-socket", hidden=True),
        *(click.option(f"--{name.replace('_', '-')}", hidden=True) for name in _REFUSED_VALUES),
        click.argument("image", shell_complete=images),
        click.argument("words", metavar="[COMMAND] [ARG]...", nargs=-1, type=click.UNPROCESSED),
        pass_session,
    ]
    made: Any = function
    for decorate in reversed(decorations):
        made = decorate(made)
    return cast("F", made)


@command("create", passes_rest=True)
@_both
def create(session: Session, **params: Any) -> None:
    """Make a container of an image without starting it, and print its id."""
    launching.create(session, params)


@command("run", passes_rest=True)
@flag("-d", "--detach", "is_detached", help="Let it run in the background, and print its id.")
@click.option("--detach-keys", metavar="KEYS", help="Keys to leave it by: ctrl-p,ctrl-q unless given.")
@flag("--sig-proxy", default=True, help="Pass signals on to it.")
@flag("--rmi", "removes_image", help="Remove container and image when it has ended, unless others use it.")
@_both
def run(session: Session, **params: Any) -> int:
    """Make a container of an image, run it, and end with its exit code.

    125 is the code when it could not be run, 126 when its program cannot be executed, 127 when that is not
    there.
    """
    if params["is_detached"] and params["streams"]:
        raise click.UsageError("-d and -a go not together; leave one out")
    if params["is_detached"] and params["removes_image"]:
        raise click.UsageError("-d and --rmi go not together: the image is removed by who waits for the end")
    return launching.run(session, params, click.get_current_context().command_path)
