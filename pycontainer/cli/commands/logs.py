"""`pycontainer logs`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote_plus

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.completing import containers
from pycontainer.cli.session import Session, pass_session

if TYPE_CHECKING:
    from pycontainer.engine import LogLine

__all__ = ["logs", "write_line"]


@command("logs")
@flag("--details", help="Begin lines with what the log driver was asked to add.")
@flag("-f", "--follow", help="Go on until the container has ended.")
@click.option("--since", metavar="TIME", help="From a time on, as 2026-01-31T12:00:00Z or 10m (ago).")
@click.option("-n", "--tail", default="all", metavar="NUMBER", help="So many of the last lines.")
@flag("-t", "--timestamps", help="Begin lines with their time.")
@click.option("--until", metavar="TIME", help="Up to a time.")
@click.argument("name", metavar="CONTAINER", shell_complete=containers())
@pass_session
def logs(
    session: Session,
    details: bool,
    follow: bool,
    since: str | None,
    tail: str,
    timestamps: bool,
    until: str | None,
    name: str,
) -> None:
    """Show what a container wrote, to standard output and standard error as it did."""
    from pycontainer.engine import Container

    found = Container.get(name, engine=session.engine).logs(
        follow=follow, tail=_count(tail), since=since, until=until
    )
    goes_on = {"stdout": False, "stderr": False}
    for line in found:
        goes_on[line.stream] = write_line(
            line, timestamps=timestamps, details=details, goes_on=goes_on[line.stream]
        )


def _count(tail: str) -> int | None:
    if tail == "all":
        return None
    try:
        count = int(tail)
    except ValueError:
        raise click.BadParameter(f"{tail!r}: give a number of lines, or all", param_hint="--tail") from None
    return None if count < 0 else count


def write_line(
    line: LogLine, *, timestamps: bool = False, details: bool = False, goes_on: bool = False, prefix: str = ""
) -> bool:
    """Write a line to the stream it came from; whether it goes on in the next one.

    goes_on: it goes on from the one before, and so begins with nothing of its own.
    """
    out: BinaryIO = sys.stdout.buffer if line.stream == "stdout" else sys.stderr.buffer
    if not goes_on:
        head = prefix
        if timestamps:
            head += line.at.strftime("%Y-%m-%dT%H:%M:%S.%f000Z ")
        if details:
            pairs = (
                f"{quote_plus(key)}={quote_plus(line.attributes[key])}" for key in sorted(line.attributes)
            )
            head += ",".join(pairs) + " "
        out.write(head.encode())
    out.write(line.content)
    out.flush()
    return line.is_partial
