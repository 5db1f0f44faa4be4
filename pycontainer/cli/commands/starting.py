"""`pycontainer start` and `pycontainer attach`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.completing import containers
from pycontainer.cli.edge import each
from pycontainer.cli.session import Session, pass_session
from pycontainer.errors import WrongState

if TYPE_CHECKING:
    from pycontainer.engine import Container

__all__ = ["attach", "start"]


@command("start")
@flag("-a", "--attach", "is_attached", help="Show what it writes, and pass signals on to it.")
@flag("-i", "--interactive", "is_interactive", help="Pass input on to it.")
@click.option("--detach-keys", metavar="KEYS", help="Keys to leave it by: ctrl-p,ctrl-q unless given.")
@click.argument(
    "names", metavar="CONTAINER...", nargs=-1, required=True, shell_complete=containers("created", "exited")
)
@pass_session
def start(
    session: Session, is_attached: bool, is_interactive: bool, detach_keys: str | None, names: tuple[str, ...]
) -> int:
    """Start containers that do not run; with -a end with the exit code of the one."""
    from pycontainer.engine import Container

    if not is_attached and not is_interactive:
        return each(names, lambda name: _start(Container.get(name, engine=session.engine)))
    if len(names) > 1:
        raise click.UsageError("several containers cannot be attached to at once; give one")
    code = Container.get(names[0], engine=session.engine).interact(
        start=True,
        stdin=is_interactive,
        detach_keys=session.detach_keys if detach_keys is None else detach_keys,
    )
    return 0 if code is None else code


def _start(container: Container) -> None:
    if container.state not in ("running", "paused"):  # starting what runs is no error, as in Docker
        container.start()


@command("attach")
@click.option("--detach-keys", metavar="KEYS", help="Keys to leave it by: ctrl-p,ctrl-q unless given.")
@flag("--no-stdin", help="Pass no input on to it.")
@flag("--sig-proxy", default=True, help="Pass signals on to it.")
@click.argument("name", metavar="CONTAINER", shell_complete=containers("running"))
@pass_session
def attach(session: Session, detach_keys: str | None, no_stdin: bool, sig_proxy: bool, name: str) -> int:
    """Join the terminal to a running container; ends with its exit code."""
    from pycontainer.engine import Container

    container = Container.get(name, engine=session.engine)
    if container.state == "paused":
        raise WrongState(f"container {name} is paused; unpause it first", verb="attach", state="paused")
    code = container.interact(
        stdin=not no_stdin,
        sig_proxy=sig_proxy,
        detach_keys=session.detach_keys if detach_keys is None else detach_keys,
    )
    return 0 if code is None else code
