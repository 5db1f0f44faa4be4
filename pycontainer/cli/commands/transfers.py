"""`pycontainer pull` and `pycontainer push`."""

from __future__ import annotations

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.completing import images
from pycontainer.cli.session import Session, pass_session
from pycontainer.errors import NotFound

__all__ = ["pull", "push"]

_trust = flag("--disable-content-trust", default=True, help="Without effect.", hidden=True)


@command("pull")
@flag("-a", "--all-tags", help="Pull every tag of the repository.")
@_trust
@click.option("--platform", metavar="PLATFORM", help="As linux/arm64; this host's by default.")
@flag("-q", "--quiet", help="Show nothing but the name.")
@click.argument("name", metavar="NAME[:TAG|@DIGEST]")
@pass_session
def pull(
    session: Session,
    all_tags: bool,
    disable_content_trust: bool,
    platform: str | None,
    quiet: bool,
    name: str,
) -> None:
    """Bring an image from its registry."""
    from pycontainer.engine import Image
    from pycontainer.oci import Reference

    if quiet:
        session.progress = "off"
    platform = platform or session.platform
    reference = Reference.parse(name)
    if all_tags:
        pulled = Image.pull_all(name, platform=platform, engine=session.engine)
        if not quiet:
            click.echo(f"Status: Downloaded {len(pulled)} images of {reference.repository}")
        click.echo(reference.repository)
        return
    if not quiet and reference.tag == "latest" and ":" not in name.rpartition("/")[2]:
        click.echo("Using default tag: latest", err=True)
    before = _digest(session, name)
    image = Image.pull(name, platform=platform, engine=session.engine)
    if not quiet:
        click.echo(f"Digest: {image.digest}")
        is_same = before == image.digest
        told = "Image is up to date for" if is_same else "Downloaded newer image for"
        click.echo(f"Status: {told} {reference.familiar}")
    click.echo(str(reference))


def _digest(session: Session, name: str) -> str | None:
    from pycontainer.engine import Image

    try:
        return Image.get(name, engine=session.engine).digest
    except NotFound:
        return None


@command("push")
@flag("-a", "--all-tags", help="Push every tag of the repository.")
@_trust
@click.option("--platform", metavar="PLATFORM", help="Only the image for this one.")
@flag("-q", "--quiet", help="Show nothing but the name.")
@click.argument("name", metavar="NAME[:TAG]", shell_complete=images)
@pass_session
def push(
    session: Session,
    all_tags: bool,
    disable_content_trust: bool,
    platform: str | None,
    quiet: bool,
    name: str,
) -> None:
    """Upload an image to the registry that its name says."""
    from pycontainer.engine import Image
    from pycontainer.oci import Reference

    if quiet:
        session.progress = "off"
    reference = Reference.parse(name)
    names = [name]
    if all_tags:
        found = [tag for image in Image.list(engine=session.engine) for tag in image.tags]
        names = [tag for tag in found if Reference.parse(tag).repository == reference.repository]
        if not names:
            raise NotFound(f"no image in the store has the repository {reference.familiar_repository}")
    for each in names:
        image = Image.get(each, engine=session.engine)
        digest = image.push(each, platform=platform)
        if not quiet:
            click.echo(
                f"{Reference.parse(each).tag}: digest: {digest} size: {len(image.view.manifest_bytes)}"
            )
    if quiet:
        click.echo(str(reference))
