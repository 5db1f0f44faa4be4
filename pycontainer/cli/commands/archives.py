"""Images in files: save, load and import."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import BinaryIO

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.completing import images
from pycontainer.cli.edge import Failed
from pycontainer.cli.session import Session, pass_session

__all__ = ["import_", "load", "save"]

_FETCH_TIMEOUT_S = 60.0


@command("save")
@click.option("-o", "--output", metavar="FILE", help="Write to this file, not to standard output.")
@click.option("--platform", metavar="PLATFORM", help="Only the images for this one.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["docker-archive", "oci-archive", "oci-layout"]),
    default="docker-archive",
    help="Which kind of archive, or directory.",
)
@click.argument("names", metavar="IMAGE...", nargs=-1, required=True, shell_complete=images)
@pass_session
def save(
    session: Session, output: str | None, platform: str | None, form: str, names: tuple[str, ...]
) -> None:
    """Write images with their names to an archive."""
    from pycontainer.engine import Image

    found = [Image.get(name, engine=session.engine) for name in names]
    if output is None and os.isatty(1):
        raise Failed("Error: cowardly refusing to save to a terminal; use the -o flag or redirect")
    target = sys.stdout.buffer if output is None else output
    Image.save_all(found, target, format=form, platform=platform)  # type: ignore[arg-type]  # one of the choices


@command("load")
@click.option("-i", "--input", "source", metavar="FILE", help="Read this file, not standard input.")
@click.option("--platform", metavar="PLATFORM", help="Which one of an image of several.")
@flag("-q", "--quiet", help="Without effect: only the names are printed.")
@pass_session
def load(session: Session, source: str | None, platform: str | None, quiet: bool) -> None:
    """Load images from an archive or layout, and print their names."""
    from pycontainer.engine import Image

    if source is None and os.isatty(0):
        raise Failed("Error: standard input is a terminal; give a file with -i, or redirect")
    given: str | BinaryIO = sys.stdin.buffer if source is None else source
    for image in Image.load(given, platform=platform or session.platform, engine=session.engine):
        for tag in image.tags:
            click.echo(f"Loaded image: {tag}")
        if not image.tags:
            click.echo(f"Loaded image ID: {image.id}")


@command("import")
@click.option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help="As in a Dockerfile.")
@click.option("-m", "--message", default="", metavar="TEXT", help="What was done.")
@click.option("--platform", metavar="PLATFORM", help="Which platform it is for; this host's by default.")
@click.argument("source", metavar="FILE|URL|-")
@click.argument("name", metavar="[NAME[:TAG]]", required=False)
@pass_session
def import_(
    session: Session,
    changes: tuple[str, ...],
    message: str,
    platform: str | None,
    source: str,
    name: str | None,
) -> None:
    """Make an image of a tar of files, and print its id."""
    from pycontainer.engine import Image

    tags = [] if name is None else [name]
    with ExitStack() as held:
        image = Image.from_tar(
            _opened(source, held),
            tags=tags,
            platform=platform or session.platform,
            changes=changes,
            message=message or f"Imported from {source}",
            engine=session.engine,
        )
    click.echo(image.id)


def _opened(source: str, held: ExitStack) -> str | BinaryIO:
    if source == "-":
        return sys.stdin.buffer
    if not source.startswith(("http://", "https://")):
        return source
    from urllib.error import URLError
    from urllib.request import urlopen

    try:
        stream: BinaryIO = held.enter_context(urlopen(source, timeout=_FETCH_TIMEOUT_S))
    except URLError as error:
        raise Failed(f"Error: {source}: {error.reason}") from None
    return stream
