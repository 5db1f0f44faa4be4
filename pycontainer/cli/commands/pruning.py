"""What removes what is not used: the prunes of containers, images, networks, volumes, and of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.edge import Failed
from pycontainer.cli.filters import prune_filter_option
from pycontainer.cli.formatting import decimal_size
from pycontainer.cli.session import Session, pass_session

if TYPE_CHECKING:
    from pycontainer.engine import Engine

__all__ = [
    "confirm",
    "prune_containers",
    "prune_images",
    "prune_networks",
    "prune_system",
    "prune_volumes",
]

F = TypeVar("F", bound=Callable[..., Any])
_force = flag("-f", "--force", help="Do not ask.")


def confirm(force: bool, warning: str) -> None:
    """Ask on a terminal whether to go on. Raises: Failed when the answer is not yes."""
    if force:
        return
    click.echo(f"WARNING! This will remove {warning}.", err=True)
    try:
        answer = click.prompt(
            "Are you sure you want to continue? [y/N]",
            default="n", show_default=False, prompt_suffix=" ", err=True,
        )  # fmt: skip
    except click.Abort:
        answer = "n"
    if answer.strip().lower() not in ("y", "yes"):
        raise Failed("nothing was removed; -f removes without asking")


def _tell(title: str, names: Iterable[str]) -> None:
    names = list(names)
    if names:
        click.echo(f"{title}:")
        for name in names:
            click.echo(name)
        click.echo()


def _tell_freed(size_bytes: int) -> None:
    click.echo(f"Total reclaimed space: {decimal_size(size_bytes)}")


def _volume_sizes(engine: Engine) -> Mapping[str, int]:
    """Bytes of each volume's files, if any might be pruned."""
    from pycontainer.engine import Volume, volume_usages

    if not Volume.list(filters={"dangling": True}, engine=engine):
        return {}
    return {each.name: each.size_bytes or 0 for each in volume_usages(engine)}


@command("prune")
@prune_filter_option
@_force
@pass_session
def prune_containers(session: Session, filters: Mapping[str, list[str]], force: bool) -> None:
    """Remove all containers that do not run."""
    from pycontainer.engine import Container

    confirm(force, "all stopped containers")
    pruned = Container.prune(filters=filters, engine=session.engine)
    _tell("Deleted Containers", pruned.containers)
    _tell_freed(pruned.freed_bytes)


@command("prune")
@flag("-a", "--all", "is_all", help="All that no container uses, not just those without a name.")
@prune_filter_option
@_force
@pass_session
def prune_images(session: Session, is_all: bool, filters: Mapping[str, list[str]], force: bool) -> None:
    """Remove images without a name, or all that no container uses."""
    from pycontainer.engine import Image

    what = "all images without at least one container associated to them" if is_all else "all dangling images"
    confirm(force, what)
    pruned = Image.prune(all=is_all, filters=filters, engine=session.engine)
    _tell("Deleted Images", (f"deleted: {image}" for image in pruned.images))
    _tell_freed(pruned.freed_bytes)


@command("prune")
@prune_filter_option
@_force
@pass_session
def prune_networks(session: Session, filters: Mapping[str, list[str]], force: bool) -> None:
    """Remove all networks that no container has a place in."""
    from pycontainer.engine import Network

    confirm(force, "all custom networks not used by at least one container")
    _tell("Deleted Networks", Network.prune(filters=filters, engine=session.engine))


@command("prune")
@flag("-a", "--all", "is_all", help="Also those with a name.")
@prune_filter_option
@_force
@pass_session
def prune_volumes(session: Session, is_all: bool, filters: Mapping[str, list[str]], force: bool) -> None:
    """Remove volumes that no container uses: those made without a name, or all."""
    from pycontainer.engine import Volume

    kind = "" if is_all else "anonymous "
    confirm(force, f"{kind}local volumes not used by at least one container")
    sizes = _volume_sizes(session.engine)
    pruned = Volume.prune(all=is_all, filters=filters, engine=session.engine)
    _tell("Deleted Volumes", pruned)
    _tell_freed(sum(sizes.get(name, 0) for name in pruned))


@command("prune")
@flag("-a", "--all", "is_all", help="All images that no container uses, not just those without a name.")
@prune_filter_option
@_force
@flag("--volumes", help="Also volumes made without a name that no container uses.")
@pass_session
def prune_system(
    session: Session, is_all: bool, filters: Mapping[str, list[str]], force: bool, volumes: bool
) -> None:
    """Remove containers that do not run, unused networks and images, and what builds have kept."""
    from pycontainer.engine import Container, Image, Network, Volume, prune_build_cache

    if unknown := set(filters) - {"label", "label!", "until"}:
        raise click.UsageError(f"prunes have no filter {min(unknown)!r}; there are label, label! and until")
    if volumes and "until" in filters:
        raise click.UsageError("volumes have no time: --volumes goes not with --filter until")
    images = "all images without at least one container" if is_all else "all dangling images"
    confirm(
        force,
        "all stopped containers, all networks not used by at least one container, "
        + ("all anonymous volumes not used by at least one container, " if volumes else "")
        + f"{images}, unused build cache",
    )
    engine = session.engine
    containers = Container.prune(filters=filters, engine=engine)
    _tell("Deleted Containers", containers.containers)
    _tell("Deleted Networks", Network.prune(filters=filters, engine=engine))
    freed = containers.freed_bytes
    if volumes:
        sizes = _volume_sizes(engine)
        pruned = Volume.prune(filters=filters, engine=engine)
        _tell("Deleted Volumes", pruned)
        freed += sum(sizes.get(name, 0) for name in pruned)
    found = Image.prune(all=is_all, filters=filters, engine=engine)
    _tell("Deleted Images", (f"deleted: {image}" for image in found.images))
    freed += found.freed_bytes
    if not filters:
        freed += prune_build_cache(engine=engine).freed_bytes
    _tell_freed(freed)
