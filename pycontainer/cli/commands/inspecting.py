"""`pycontainer inspect`, and the same of containers, images, networks and volumes alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.completing import containers, images, networks, volumes
from pycontainer.cli.edge import Failed, tell
from pycontainer.cli.formatting import Template, TemplateError
from pycontainer.cli.hostnetworks import find_host_network
from pycontainer.cli.session import Session, pass_session
from pycontainer.errors import InvalidInput, NotFound

__all__ = ["inspect", "inspect_containers", "inspect_images", "inspect_networks", "inspect_volumes"]

F = TypeVar("F", bound=Callable[..., Any])
Document = Mapping[str, Any]

_format = click.option("-f", "--format", "form", metavar="FORMAT", help="json, or a template.")
_size = flag("-s", "--size", help="Tell how much room a container's files take.")


def _container(session: Session, name: str, size: bool = False) -> Document:
    from pycontainer.engine import Container

    found = Container.get(name, engine=session.engine)
    document = found.inspect()
    if size:
        own = found.size_bytes
        document |= {"SizeRw": own, "SizeRootFs": own + found.image.unpacked_bytes}
    return document


def _image(session: Session, name: str, _: bool = False) -> Document:
    from pycontainer.engine import Image

    return Image.get(name, engine=session.engine).inspect()


def _network(session: Session, name: str, _: bool = False) -> Document:
    from pycontainer.engine import Network

    if (found := find_host_network(name)) is not None:
        return found.inspect(session.engine)
    return Network.get(name, engine=session.engine).inspect()


def _volume(session: Session, name: str, _: bool = False) -> Document:
    from pycontainer.engine import Volume

    return Volume.get(name, engine=session.engine).inspect()


_KINDS: Mapping[str, Callable[[Session, str, bool], Document]] = {
    "container": _container,
    "image": _image,
    "network": _network,
    "volume": _volume,
}


def _of(session: Session, kinds: Iterable[str], size: bool = False) -> Callable[[str], Document]:
    """Looks for the first kind of object that has a name, in Docker's order."""

    def look(name: str) -> Document:
        for kind in kinds:
            try:
                return _KINDS[kind](session, name, size)
            except (NotFound, InvalidInput):
                continue
        [kind, *others] = kinds
        if others:
            kind = "object"
        raise NotFound(f"network {name} not found" if kind == "network" else f"no such {kind}: {name}")

    return look


def _show(names: Iterable[str], look: Callable[[str], Document], form: str | None) -> int:
    """Print what is found of each name; 1 when something is not."""
    template = None
    if form not in (None, "", "json"):
        try:
            template = Template(str(form))
        except TemplateError as problem:
            raise Failed(f"template parsing error: {problem}", 64) from None
    found, code = [], 0
    for name in names:
        try:
            found.append(look(name))
        except NotFound as error:
            tell(error)
            code = 1
    if template is None:
        indent = None if form == "json" else 4
        separators = (",", ":") if form == "json" else None
        click.echo(json.dumps(found, indent=indent, separators=separators, ensure_ascii=False))
        return code
    for document in found:
        try:
            click.echo(template.render(document))
        except TemplateError as problem:
            tell(problem)
            code = 1
    return code


@command("inspect")
@_format
@_size
@click.option("--type", "kind", type=click.Choice(list(_KINDS)), help="Look among these alone.")
@click.argument("names", metavar="NAME|ID...", nargs=-1, required=True, shell_complete=containers())
@pass_session
def inspect(session: Session, form: str | None, size: bool, kind: str | None, names: tuple[str, ...]) -> int:
    """Show everything about containers, images, networks or volumes, as JSON."""
    return _show(names, _of(session, _KINDS if kind is None else (kind,), size), form)


@command("inspect")
@_format
@_size
@click.argument("names", metavar="CONTAINER...", nargs=-1, required=True, shell_complete=containers())
@pass_session
def inspect_containers(session: Session, form: str | None, size: bool, names: tuple[str, ...]) -> int:
    """Show everything about containers, as JSON."""
    return _show(names, _of(session, ("container",), size), form)


@command("inspect")
@_format
@click.option("--platform", metavar="PLATFORM", help="Which of several of the name.")
@click.argument("names", metavar="IMAGE...", nargs=-1, required=True, shell_complete=images)
@pass_session
def inspect_images(session: Session, form: str | None, platform: str | None, names: tuple[str, ...]) -> int:
    """Show everything about images, as JSON."""
    from pycontainer.engine import Image

    def look(name: str) -> Document:
        return Image.get(name, platform=platform, engine=session.engine).inspect()

    return _show(names, look, form)


@command("inspect")
@_format
@flag("-v", "--verbose", help="Without effect.", hidden=True)
@click.argument("names", metavar="NETWORK...", nargs=-1, required=True, shell_complete=networks)
@pass_session
def inspect_networks(session: Session, form: str | None, verbose: bool, names: tuple[str, ...]) -> int:
    """Show everything about networks, as JSON."""
    return _show(names, _of(session, ("network",)), form)


@command("inspect")
@_format
@click.argument("names", metavar="VOLUME...", nargs=-1, required=True, shell_complete=volumes)
@pass_session
def inspect_volumes(session: Session, form: str | None, names: tuple[str, ...]) -> int:
    """Show everything about volumes, as JSON."""
    return _show(names, _of(session, ("volume",)), form)
