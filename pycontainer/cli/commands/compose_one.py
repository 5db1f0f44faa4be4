"""The commands of `pycontainer compose` about one container: those of containers, by a service's name."""

from __future__ import annotations

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.commands import files, starting
from pycontainer.cli.composing import Asked, pass_asked
from pycontainer.errors import InvalidInput, NotFound

__all__ = ["attach", "commit", "cp", "export"]

_index = click.option("--index", type=int, default=0, help="Number of the container, if there are several.")


@command("attach")
@click.option("--detach-keys", metavar="KEYS", help="Keys to leave it by: ctrl-p,ctrl-q unless given.")
@_index
@flag("--no-stdin", help="Pass no input on to it.")
@flag("--sig-proxy", default=True, help="Pass signals on to it.")
@click.argument("service")
@pass_asked
@click.pass_context
def attach(
    ctx: click.Context,
    asked: Asked,
    /,
    service: str,
    index: int,
    detach_keys: str | None,
    no_stdin: bool,
    sig_proxy: bool,
) -> int:
    """Join the terminal to a container of a service; ends with its exit code."""
    code: int = ctx.invoke(
        starting.attach,
        detach_keys=detach_keys,
        no_stdin=no_stdin,
        sig_proxy=sig_proxy,
        name=asked.container(service, index).id,
    )
    return code


@command("commit")
@click.option("-a", "--author", default="", metavar="TEXT", help="Who made it.")
@click.option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help="As in a Dockerfile.")
@_index
@click.option("-m", "--message", default="", metavar="TEXT", help="What was done.")
@flag("-p", "--pause", default=True, help="Pause it meanwhile.")
@click.argument("service")
@click.argument("target", metavar="[NAME[:TAG]]", required=False)
@pass_asked
@click.pass_context
def commit(
    ctx: click.Context,
    asked: Asked,
    /,
    service: str,
    target: str | None,
    index: int,
    author: str,
    changes: tuple[str, ...],
    message: str,
    pause: bool,
) -> None:
    """Make an image of a service's image and what its container changed, and print its id."""
    ctx.invoke(
        files.commit,
        author=author,
        changes=changes,
        message=message,
        pause=pause,
        name=asked.container(service, index).id,
        target=target,
    )


@command("export")
@_index
@click.option("-o", "--output", metavar="FILE", help="Write to this file, not to standard output.")
@click.argument("service")
@pass_asked
@click.pass_context
def export(ctx: click.Context, asked: Asked, /, service: str, index: int, output: str | None) -> None:
    """Write the files of a service's container as a tar."""
    ctx.invoke(files.export, output=output, name=asked.container(service, index).id)


@command("cp")
@flag("-a", "--archive", help="Keep user and group ids.")
@flag("-L", "--follow-link", help="Copy what a link as source points to.")
@_index
@flag("--all", "is_all", help="To one-off containers, too.")
@click.argument("source", metavar="[SERVICE:]SOURCE|-")
@click.argument("target", metavar="[SERVICE:]TARGET|-")
@pass_asked
@click.pass_context
def cp(
    ctx: click.Context,
    asked: Asked,
    /,
    archive: bool,
    follow_link: bool,
    index: int,
    is_all: bool,
    source: str,
    target: str,
) -> None:
    """Copy files from a container of a service, or to all of them; - is a tar on standard input or output."""
    (source_name, source_path), (target_name, target_path) = files.split(source), files.split(target)
    if bool(source_name) == bool(target_name):
        raise InvalidInput("one of source and target is SERVICE:PATH, the other a path of this host")
    application = asked.application()
    name = source_name or target_name
    if index:
        found = [application[name].numbered(index)]
    else:
        found = application[name].containers + (application[name].oneoffs if is_all else [])
    if not found:
        raise NotFound(f"service {name} has no container; bring it up first")
    if len(found) > 1 and source == "-":
        raise InvalidInput("standard input can be read once; choose a container with --index")
    for container in found[:1] if source_name else found:
        ctx.invoke(
            files.cp,
            archive=archive,
            follow_link=follow_link,
            quiet=False,
            source=f"{container.id}:{source_path}" if source_name else source,
            target=target if source_name else f"{container.id}:{target_path}",
        )
