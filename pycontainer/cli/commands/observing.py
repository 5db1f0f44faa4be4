"""`pycontainer top` and `pycontainer port`."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from pycontainer.cli.command import command
from pycontainer.cli.completing import containers
from pycontainer.cli.edge import Failed
from pycontainer.cli.printable import printable
from pycontainer.cli.session import Session, pass_session

__all__ = ["port", "top"]

_PS_TIMEOUT_S = 30.0


@command("top", passes_rest=True)
@click.argument("name", metavar="CONTAINER", shell_complete=containers("running"))
@click.argument("options", metavar="[PS OPTIONS]...", nargs=-1, type=click.UNPROCESSED)
@pass_session
def top(session: Session, name: str, options: tuple[str, ...]) -> None:
    """List the processes of a container; with options of ps(1), as this host's ps shows them."""
    from pycontainer.engine import Container

    found = Container.get(name, engine=session.engine).top()
    if options and options != ("-ef",):
        lines = _of_ps(options, {process.pid for process in found})
    else:
        lines = str(found).split("\n")
    for line in lines:
        click.echo(printable(line))


def _of_ps(options: Sequence[str], pids: set[int]) -> list[str]:
    """The lines of ps(1) of these processes, found by its column PID, as Docker's daemon does it."""
    import subprocess

    try:
        done = subprocess.run(
            ["ps", *options], capture_output=True, text=True, check=False, timeout=_PS_TIMEOUT_S,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except FileNotFoundError:
        raise Failed("Error: this host has no ps; leave its options out, or install procps") from None
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        raise Failed(f"Error: ps {' '.join(options)}: {done.stderr.strip() or 'it shows nothing'}")
    titles = lines[0].split()
    if "PID" not in titles:
        raise Failed("Error: the options of ps leave the column PID out; add it, as -o pid,comm")
    column = titles.index("PID")
    return [lines[0], *(line for line in lines[1:] if _number(line.split(), column) in pids)]


def _number(fields: list[str], column: int) -> int:
    text = fields[column] if column < len(fields) else ""
    return int(text) if text.isdigit() else -1


@command("port")
@click.argument("name", metavar="CONTAINER", shell_complete=containers("running"))
@click.argument("private", metavar="[PORT[/PROTOCOL]]", required=False)
@pass_session
def port(session: Session, name: str, private: str | None) -> None:
    """List the published ports of a container, or where one of them is found."""
    from pycontainer.engine import Container

    ports = Container.get(name, engine=session.engine).inspect()["NetworkSettings"]["Ports"]
    # On a network that is routed none is the host's.
    ports = {key: [each for each in found or () if each["HostPort"]] for key, found in ports.items()}
    if private is None:
        for key in sorted(ports):
            for each in ports[key]:
                click.echo(f"{key} -> {_where(each)}")
        return
    key = private if "/" in private else f"{private}/tcp"
    if not ports.get(key):
        raise Failed(f"Error: No public port '{key}' published for {name}")
    for each in ports[key]:
        click.echo(_where(each))


def _where(bound: dict[str, str]) -> str:
    address = bound["HostIp"]
    return f"[{address}]:{bound['HostPort']}" if ":" in address else f"{address}:{bound['HostPort']}"
