"""`pycontainer exec` and `pycontainer healthcheck run`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.completing import containers
from pycontainer.cli.edge import Failed
from pycontainer.cli.session import Session, pass_session
from pycontainer.cli.spelling import parse_environment
from pycontainer.errors import LaunchError
from pycontainer.options import parse_run_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycontainer.engine import Container

__all__ = ["check_health", "execute"]


@command("exec", passes_rest=True)
@flag("-d", "--detach", "is_detached", help="Let it run in the background.")
@click.option("--detach-keys", hidden=True)
@click.option("-e", "--env", "lines", multiple=True, metavar="KEY=VALUE", help="Variables.")
@click.option("--env-file", "files", multiple=True, metavar="FILE", help="Files of variables.")
@flag("-i", "--interactive", help="Pass input on to it.")
@flag("--privileged", help="With all capabilities.")
@flag("-t", "--tty", help="Give it a terminal.")
@click.option("-u", "--user", metavar="USER[:GROUP]", help="As this user, by name or number.")
@click.option("-w", "--workdir", metavar="PATH", help="Directory to start in.")
@click.argument("name", metavar="CONTAINER", shell_complete=containers("running"))
@click.argument("words", metavar="COMMAND [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_session
def execute(
    session: Session,
    is_detached: bool,
    detach_keys: str | None,
    lines: tuple[str, ...],
    files: tuple[str, ...],
    interactive: bool,
    privileged: bool,
    tty: bool,
    user: str | None,
    workdir: str | None,
    name: str,
    words: tuple[str, ...],
) -> int:
    """Run a command in a running container; ends with its exit code."""
    from pycontainer.engine import Container

    if detach_keys:
        raise click.UsageError("what exec starts ends with it, so it cannot be left; use -d")
    if tty and interactive and not is_detached and not os.isatty(0):
        raise Failed("the input device is not a TTY")
    container = Container.get(name, engine=session.engine)
    asked: dict[str, Any] = {
        "env": _environment(lines, files),
        "user": user,
        "workdir": workdir,
        "tty": tty,
        "privileged": privileged,
    }
    try:
        return _run(container, words, asked, is_detached, interactive)
    except LaunchError as error:
        # 125 is for flags here: with exec Docker has 126 for all that keeps a program from running.
        raise Failed(f"Error: {error}", max(error.exit_code, 126)) from error


def _environment(lines: tuple[str, ...], files: tuple[str, ...]) -> Mapping[str, str | None]:
    own = parse_environment(lines)
    return {**(parse_run_options(env_file=list(files)).env or {}), **own} if files else own


def _run(
    container: Container,
    words: tuple[str, ...],
    asked: dict[str, Any],
    is_detached: bool,
    interactive: bool,
) -> int:
    from subprocess import DEVNULL, PIPE

    if is_detached:
        container.popen(words, detach=True, **asked)
        return 0
    stdin = PIPE if interactive else DEVNULL
    if asked["tty"]:
        asked["size"] = _terminal_size()
    # The container gets pipes of its own, never our terminal or files, which it could reopen or type into.
    with container.popen(words, stdin=stdin, stdout=PIPE, stderr=PIPE, **asked) as process:
        code = process.interact(detach_keys="", sig_proxy=False)
    assert code is not None  # there are no keys to leave it by
    return code


def _terminal_size() -> tuple[int, int] | None:
    for fd in (1, 0):
        if os.isatty(fd):
            columns, rows = os.get_terminal_size(fd)
            return (rows, columns) if rows and columns else None
    return None


@command("run")
@click.argument("name", metavar="CONTAINER", shell_complete=containers("running"))
@pass_session
def check_health(session: Session, name: str) -> int:
    """Run the health check of a container now: 0 when it passes, else 1, and "unhealthy" is printed."""
    from pycontainer.engine import Container

    container = Container.get(name, engine=session.engine)
    check = container.inspect()["Config"].get("Healthcheck")
    if check is None:
        raise Failed(f"Error: container {name} has no health check; give it one with --health-cmd", 125)
    test = check["Test"]
    timeout_s = check["Timeout"] / 1e9
    result = container.exec(test[1:], timeout=timeout_s or None)
    if result.exit_code != 0:
        click.echo("unhealthy")
        return 1
    return 0
