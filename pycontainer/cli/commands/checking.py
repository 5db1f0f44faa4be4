"""`pycontainer system check`."""

from __future__ import annotations

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.session import Session, pass_session

__all__ = ["check"]


@command("check")
@flag("-r", "--repair", help="Unpack damaged layers anew, and remove damaged blobs.")
@pass_session
def check(session: Session, repair: bool) -> int:
    """Check all that is stored, byte by byte, and repair it. Ends with 1 while something is damaged."""
    found = session.engine.check(repair=repair)
    for damage in found:
        end = " (repaired)" if damage.is_repaired else ""
        images = ", ".join(damage.images) or "no image"
        click.echo(f"{damage.kind} {damage.name} of {images}: {damage.problem}{end}")
    if not found:
        click.echo("All blobs and layers are as they came.")
    return int(any(not damage.is_repaired for damage in found))
