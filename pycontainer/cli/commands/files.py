"""The commands about a container's files: cp, diff, export and commit."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.completing import containers
from pycontainer.cli.edge import Failed
from pycontainer.cli.formatting import decimal_size
from pycontainer.cli.session import Session, pass_session

if TYPE_CHECKING:
    from pycontainer.engine import Copied

__all__ = ["commit", "cp", "diff", "export", "split"]


@command("cp")
@flag("-a", "--archive", help="Keep user and group ids.")
@flag("-L", "--follow-link", help="Copy what a link as source points to.")
@flag("-q", "--quiet", help="Do not tell how much was copied.")
@click.argument("source", metavar="[CONTAINER:]SOURCE|-")
@click.argument("target", metavar="[CONTAINER:]TARGET|-")
@pass_session
def cp(session: Session, archive: bool, follow_link: bool, quiet: bool, source: str, target: str) -> None:
    """Copy files between a container and this host; - is a tar on standard input or output."""
    from pycontainer.engine import Container

    (source_name, source_path), (target_name, target_path) = split(source), split(target)
    if source_name and target_name:
        raise Failed("Error: copying between containers is not supported; copy to this host first")
    if not source_name and not target_name:
        raise Failed("Error: must specify at least one container source; write it as CONTAINER:PATH")
    container = Container.get(source_name or target_name, engine=session.engine)
    if source_name:
        if target_path == "-":
            _refuse_terminal("use a file, or redirect")
            container.copy_from(source_path, sys.stdout.buffer, archive=archive, follow_link=follow_link)
            return
        copied = container.copy_from(source_path, target_path, archive=archive, follow_link=follow_link)
        where = target_path
    elif source_path == "-":
        copied = container.copy_to(sys.stdin.buffer, target_path, archive=archive, follow_link=follow_link)
        where = target
    else:
        copied = container.copy_to(source_path, target_path, archive=archive, follow_link=follow_link)
        where = target
    if not quiet:
        _tell_copied(copied, where)


def split(text: str) -> tuple[str, str]:
    """Container and path; a path that begins with / or . is this host's, whatever colons it holds."""
    if text == "-" or text.startswith(("/", ".")) or ":" not in text:
        return "", text
    name, _, path = text.partition(":")
    return name, path or "/"


def _tell_copied(copied: Copied, where: str) -> None:
    if os.isatty(2):
        click.echo(f"Successfully copied {decimal_size(copied.size_bytes, 3)} to {where}", err=True)
    for path in copied.skipped:
        click.echo(f"left out: {path}", err=True)


def _refuse_terminal(remedy: str) -> None:
    if os.isatty(1):
        raise Failed(f"Error: cowardly refusing to save to a terminal; {remedy}")


@command("diff")
@click.argument("name", metavar="CONTAINER", shell_complete=containers())
@pass_session
def diff(session: Session, name: str) -> None:
    """List what a container added (A), changed (C) and deleted (D) of its image's files."""
    from pycontainer.engine import Container

    for change in Container.get(name, engine=session.engine).diff():
        click.echo(str(change))


@command("export")
@click.option("-o", "--output", metavar="FILE", help="Write to this file, not to standard output.")
@click.argument("name", metavar="CONTAINER", shell_complete=containers())
@pass_session
def export(session: Session, output: str | None, name: str) -> None:
    """Write the files of a container as a tar."""
    from pycontainer.engine import Container

    container = Container.get(name, engine=session.engine)
    if output is not None:
        container.export(output)
        return
    _refuse_terminal("use the -o flag or redirect")
    container.export(sys.stdout.buffer)


@command("commit")
@click.option("-a", "--author", default="", metavar="TEXT", help="Who made it.")
@click.option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help="As in a Dockerfile.")
@click.option("-m", "--message", default="", metavar="TEXT", help="What was done.")
@flag("-p", "--pause", default=True, help="Pause it meanwhile.")
@click.argument("name", metavar="CONTAINER", shell_complete=containers())
@click.argument("target", metavar="[NAME[:TAG]]", required=False)
@pass_session
def commit(
    session: Session,
    author: str,
    changes: tuple[str, ...],
    message: str,
    pause: bool,
    name: str,
    target: str | None,
) -> None:
    """Make an image of a container's image and what it changed, and print its id."""
    from pycontainer.engine import Container

    made = Container.get(name, engine=session.engine).commit(
        target, author=author, message=message, changes=changes, pause=pause
    )
    click.echo(made.id)
