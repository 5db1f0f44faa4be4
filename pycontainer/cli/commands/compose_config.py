"""`pycontainer compose config` and `version`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.composing import Asked, pass_asked, services_argument

if TYPE_CHECKING:
    from pycontainer.compose import Compose

__all__ = ["config", "version"]


@command("config")
@click.option("--format", "form", type=click.Choice(["yaml", "json"]), default="yaml", help="How to print.")
@click.option("--services", "only", flag_value="services", help="Print the names of services.")
@click.option("--volumes", "only", flag_value="volumes", help="Print the names of volumes.")
@click.option("--networks", "only", flag_value="networks", help="Print the names of networks.")
@click.option("--images", "only", flag_value="images", help="Print the names of images.")
@click.option("--profiles", "only", flag_value="profiles", help="Print the names of profiles.")
@click.option("--environment", "only", flag_value="environment", help="Print the variables that count.")
@click.option("--hash", "hashed", metavar="SERVICE|*", help="Print hashes of what makes containers new.")
@flag("--no-interpolate", help="Leave variables as they stand.")
@flag("--resolve-image-digests", "is_pinned", help="Say which images the names stand for now.")
@flag("-q", "--quiet", help="Only tell whether all is well.")
@flag("--no-consistency", hidden=True)
@flag("--no-normalize", hidden=True)
@flag("--no-path-resolution", hidden=True)
@click.option("-o", "--output", metavar="FILE", help="Write it to a file.")
@services_argument
@pass_asked
def config(asked: Asked, /, output: str | None, **given: Any) -> None:
    """Print the files put together, with all variables put in."""
    text = _uninterpolated(asked, given) if given["no_interpolate"] else _resolved(asked, given)
    if given["quiet"]:
        return
    if output is None:
        sys.stdout.write(text)
        return
    with open(output, "w") as file:
        file.write(text)


def _uninterpolated(asked: Asked, given: dict[str, Any]) -> str:
    from pycontainer.compose import uninterpolated

    paths = list(asked.paths) or asked.directory
    document = uninterpolated(paths, directory=asked.directory, engine=asked.engine)
    if asked.project:
        document["name"] = asked.project
    if given["only"] in ("services", "volumes", "networks"):
        return _lines(document.get(given["only"], ()))
    if given["services"]:
        chosen = {name: document.get("services", {}).get(name) for name in given["services"]}
        document["services"] = {name: keys for name, keys in chosen.items() if keys is not None}
    return _printed(document, given["form"])


def _resolved(asked: Asked, given: dict[str, Any]) -> str:
    application = asked.application(needs_files=True)
    services = given["services"]
    if given["hashed"]:
        wanted = () if given["hashed"] == "*" else given["hashed"].split(",")
        return _lines(f"{name} {text}" for name, text in application.config_hashes(*wanted).items())
    if given["only"]:
        return _lines(_names(application, given["only"], services))
    return _printed(application.config(*services, resolve_image_digests=given["is_pinned"]), given["form"])


def _names(application: Compose, kind: str, services: tuple[str, ...]) -> list[str]:
    project = application.project
    if kind == "environment":
        return [f"{name}={value}" for name, value in sorted(project.variables.items())]
    if kind == "profiles":
        every = [*project.services.values(), *project.disabled.values()]
        return sorted({name for each in every for name in each.profiles})
    document = application.config(*services)
    if kind == "images":
        return list(dict.fromkeys(project.services[name].image for name in document["services"]))
    return list(document.get(kind, ()))


def _lines(found: Any) -> str:
    return "".join(f"{each}\n" for each in found)


def _printed(document: dict[str, Any], form: str) -> str:
    from pycontainer.compose import dump

    return dump(document) if form == "yaml" else f"{json.dumps(document, indent=2)}\n"


@command("version")
@click.option("-f", "--format", "form", type=click.Choice(["pretty", "json"]), default="pretty", help="How.")
@flag("--short", help="Print the version alone.")
@pass_asked
def version(asked: Asked, /, form: str, short: bool) -> None:
    """Tell the version, which is this package's."""
    from pycontainer import __version__

    if short:
        click.echo(__version__)
    else:
        told = (
            json.dumps({"version": __version__}) if form == "json" else f"pycontainer compose {__version__}"
        )
        click.echo(told)
