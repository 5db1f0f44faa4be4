"""The commands that steer containers: stop, restart, kill, pause, unpause, wait, rename, update, rm."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pycontainer.cli.command import Misuse, command, flag
from pycontainer.cli.completing import containers
from pycontainer.cli.declared import declared
from pycontainer.cli.edge import Failed, each, tell
from pycontainer.cli.session import Session, pass_session
from pycontainer.cli.spelling import given
from pycontainer.options import OPTIONS, parse_seconds, parse_signal

if TYPE_CHECKING:
    from pycontainer.engine import Container

__all__ = ["kill", "pause", "remove", "rename", "restart", "stop", "unpause", "update", "wait"]

F = TypeVar("F", bound=Callable[..., Any])


def _several(*states: str) -> Callable[[F], F]:
    return click.argument(
        "names", metavar="CONTAINER...", nargs=-1, required=True, shell_complete=containers(*states)
    )


def _get(session: Session, name: str) -> Container:
    from pycontainer.engine import Container

    return Container.get(name, engine=session.engine)


def _signal(ctx: click.Context, _: click.Parameter, text: str | None) -> int | None:
    """Its number. Raises: Failed, as Docker's daemon does."""
    try:
        return None if text is None else parse_signal(text)
    except ValueError as problem:
        raise Failed(f"Error: invalid signal: {text}; {problem}") from None


def _seconds(ctx: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else parse_seconds(text, minus_one=True)
    except ValueError as problem:
        raise click.BadParameter(f"{text!r}: {problem}", ctx, parameter) from None


_time = click.option(
    "-t", "--timeout", "--time", metavar="SECONDS", callback=_seconds,
    help="Wait so long before it is killed; -1 for ever.",
)  # fmt: skip


@command("stop")
@click.option(
    "-s", "--signal", metavar="SIGNAL", callback=_signal, help="Signal to send, instead of its own."
)
@_time
@_several("running", "paused", "restarting")
@pass_session
def stop(session: Session, signal: int | None, timeout: float | None, names: tuple[str, ...]) -> int:
    """Ask containers to end, and kill those that have not after a while; print their names."""
    return each(names, lambda name: _get(session, name).stop(timeout, signal=signal))


@command("restart")
@click.option(
    "-s", "--signal", metavar="SIGNAL", callback=_signal, help="Signal to send, instead of its own."
)
@_time
@_several()
@pass_session
def restart(session: Session, signal: int | None, timeout: float | None, names: tuple[str, ...]) -> int:
    """Stop containers, if they run, and start them again; print their names."""
    return each(names, lambda name: _get(session, name).restart(timeout, signal=signal))


@command("kill")
@click.option(
    "-s", "--signal", default="KILL", metavar="SIGNAL", callback=_signal,
    help="Signal to send; KILL unless given.",
)  # fmt: skip
@_several("running", "paused", "restarting")
@pass_session
def kill(session: Session, signal: int, names: tuple[str, ...]) -> int:
    """Send the first process of containers a signal; print their names."""
    return each(names, lambda name: _get(session, name).kill(signal))


@command("pause")
@_several("running")
@pass_session
def pause(session: Session, names: tuple[str, ...]) -> int:
    """Stop all processes of containers where they are; print their names."""
    return each(names, lambda name: _get(session, name).pause())


@command("unpause")
@_several("paused")
@pass_session
def unpause(session: Session, names: tuple[str, ...]) -> int:
    """Let the processes of containers go on; print their names."""
    return each(names, lambda name: _get(session, name).unpause())


@command("wait")
@_several()
@pass_session
def wait(session: Session, names: tuple[str, ...]) -> int:
    """Wait until containers have ended, and print their exit codes."""

    def await_one(name: str) -> None:
        click.echo(_get(session, name).wait())

    return each(names, await_one, echoes=False)


@command("rename")
@click.argument("name", metavar="CONTAINER", shell_complete=containers())
@click.argument("new_name")
@pass_session
def rename(session: Session, name: str, new_name: str) -> None:
    """Give a container another name."""
    _get(session, name).rename(new_name)


@command("rm")
@flag("-f", "--force", help="Kill those that run.")
@flag("-v", "--volumes", help="Remove their anonymous volumes as well.")
@flag("-l", "--link", hidden=True)
@_several()
@pass_session
def remove(session: Session, force: bool, volumes: bool, link: bool, names: tuple[str, ...]) -> int:
    """Remove containers; print their names."""
    from pycontainer.errors import NotFound

    if link:
        raise click.UsageError("links are part of a container here; remove that")

    def remove_one(name: str) -> None:
        try:
            _get(session, name).remove(force=force, volumes=volumes)
        except NotFound as error:
            if not force:
                raise
            tell(error)  # which is no failure with force, as in Docker
        else:
            click.echo(name)

    return each(names, remove_one, echoes=False)


@command("update")
@declared([name for name, info in OPTIONS.items() if info.update])
@_several()
@pass_session
def update(session: Session, /, names: tuple[str, ...], **params: Any) -> int:
    """Change limits and the restart policy of containers, also while they run; print their names."""
    changes = given(params)
    if not changes:
        raise Misuse("give at least one flag of what to change", click.get_current_context())
    return each(names, lambda name: _get(session, name).update(**changes))
