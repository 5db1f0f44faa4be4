"""`pycontainer mount`: the way to a running container's files, as podman's command of that name gives it."""

from __future__ import annotations

import click

from pycontainer.cli.command import command
from pycontainer.cli.completing import containers
from pycontainer.cli.session import Session, pass_session
from pycontainer.errors import WrongState

__all__ = ["mount"]


@command("mount")
@click.argument("names", metavar="[CONTAINER]...", nargs=-1, shell_complete=containers("running"))
@pass_session
def mount(session: Session, names: tuple[str, ...]) -> None:
    """Print where the files of running containers are seen on this host, as long as they run.

    Nothing is mounted, so there is nothing to unmount. Files of one that does not run: cp, export.
    """
    from pycontainer.engine import Container

    if names:
        for name in names:
            container = Container.get(name, engine=session.engine)
            if container.pid is None:
                raise WrongState(
                    f"container {name} does not run; start it, or use cp or export",
                    verb="mount",
                    state=container.state,
                )
            click.echo(f"/proc/{container.pid}/root")
        return
    for container in Container.list(engine=session.engine):
        click.echo(f"{container.id[:12]} /proc/{container.pid}/root")
