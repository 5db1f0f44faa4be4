"""`pycontainer manifest`: indexes of images that lie in registries, put together over several calls.

What was begun is kept as JSON in the store's directory, one file for each index, until it is pushed and
forgotten. Only names and what was said of them are kept: the images stay where they are.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pycontainer.cli.command import command, flag
from pycontainer.cli.edge import each
from pycontainer.cli.session import Session, pass_session
from pycontainer.errors import AlreadyExists, InvalidInput, NotFound
from pycontainer.oci import Reference

if TYPE_CHECKING:
    from pycontainer.engine import ImageIndex

__all__ = ["annotate", "create", "inspect", "push", "remove"]

Entry = dict[str, Any]
"""image: pinned by its digest. platform, os_version: what was said of it, or ""."""

_insecure = flag("--insecure", help="Without effect: loopback and registries.conf decide.", hidden=True)


def _place(session: Session, name: str) -> Path:
    key = hashlib.sha256(str(Reference.parse(name)).encode()).hexdigest()
    return session.engine.root / "manifests" / f"{key}.json"


def _read(session: Session, name: str) -> list[Entry] | None:
    try:
        document = json.loads(_place(session, name).read_bytes())
    except FileNotFoundError:
        return None
    return list(document["entries"])


def _known(session: Session, name: str) -> list[Entry]:
    found = _read(session, name)
    if found is None:
        raise NotFound(f"no manifest list named {name}; begin it with manifest create")
    return found


def _write(session: Session, name: str, entries: list[Entry]) -> None:
    place = _place(session, name)
    place.parent.mkdir(mode=0o700, exist_ok=True)
    partial = place.with_name(f"{place.name}.{os.urandom(4).hex()}.part")
    partial.write_text(json.dumps({"name": str(Reference.parse(name)), "entries": entries}))
    partial.rename(place)


def _pinned(session: Session, name: str) -> str:
    """The image's name with the digest that it has in its registry now."""
    from pycontainer.engine import RemoteImage

    return f"{Reference.parse(name).repository}@{RemoteImage(name, engine=session.engine).digest}"


def _index(session: Session, entries: list[Entry]) -> ImageIndex:
    from pycontainer.engine import ImageIndex

    index = ImageIndex(engine=session.engine)
    for entry in entries:
        index = index.add(entry["image"], platform=entry["platform"] or None)
        if entry["os_version"]:
            digest = entry["image"].rpartition("@")[2]
            index = index.annotate_entry(digest, os_version=entry["os_version"])
    return index


@command("create")
@flag("-a", "--amend", help="Add to one that was begun.")
@_insecure
@click.argument("name", metavar="INDEX")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@pass_session
def create(session: Session, amend: bool, insecure: bool, name: str, images: tuple[str, ...]) -> None:
    """Begin an index of images that lie in registries."""
    entries = _read(session, name)
    if entries is not None and not amend:
        raise AlreadyExists(f"manifest list {name} was begun already; add to it with --amend, or remove it")
    entries = entries or []
    for image in images:
        pinned = _pinned(session, image)
        entries = [entry for entry in entries if entry["image"] != pinned]
        entries.append({"image": pinned, "platform": "", "os_version": ""})
    _write(session, name, entries)
    click.echo(f"Created manifest list {Reference.parse(name)}")


@command("annotate")
@click.option("--arch", metavar="NAME", help="Architecture.")
@click.option("--os", "system", metavar="NAME", help="Operating system.")
@click.option("--os-version", metavar="TEXT", help="Version of the operating system.")
@click.option("--os-features", hidden=True)
@click.option("--variant", metavar="NAME", help="Variant of the architecture.")
@click.argument("name", metavar="INDEX")
@click.argument("image", metavar="IMAGE")
@pass_session
def annotate(
    session: Session,
    arch: str | None,
    system: str | None,
    os_version: str | None,
    os_features: str | None,
    variant: str | None,
    name: str,
    image: str,
) -> None:
    """Say which platform an image of an index is for."""
    from pycontainer.engine import RemoteImage
    from pycontainer.oci import Platform

    if os_features:
        raise InvalidInput("--os-features is not here; leave it out")
    entries = _known(session, name)
    pinned = _pinned(session, image)
    for entry in entries:
        if entry["image"] == pinned:
            own = entry["platform"] or RemoteImage(pinned, engine=session.engine).platforms[0]
            known = Platform.parse(own)
            made = Platform(
                os=system or known.os,
                architecture=arch or known.architecture,
                variant=known.variant if variant is None else variant,
            )
            entry["platform"] = str(made)
            entry["os_version"] = os_version or entry["os_version"]
            _write(session, name, entries)
            return
    raise NotFound(f"manifest list {name} has no {image}; add it with manifest create --amend")


@command("inspect")
@_insecure
@flag("-v", "--verbose", help="Also where it is.")
@click.argument("names", metavar="[INDEX] IMAGE", nargs=-1, required=True)
@pass_session
def inspect(session: Session, insecure: bool, verbose: bool, names: tuple[str, ...]) -> None:
    """Show an index that was begun, else the manifest or index that a name stands for in its registry."""
    from pycontainer.engine import RemoteImage

    name = names[-1]
    entries = _read(session, name)
    document: Mapping[str, Any]
    if entries is not None:
        document = _index(session, entries).inspect()
    else:
        remote = RemoteImage(name, engine=session.engine)
        document = remote.manifest
        if verbose:
            document = {"Ref": remote.reference, "Digest": remote.digest, "Manifest": document}
    click.echo(json.dumps(document, indent="\t", ensure_ascii=False))


@command("push")
@_insecure
@flag("-p", "--purge", help="Forget it afterwards.")
@click.argument("name", metavar="INDEX")
@pass_session
def push(session: Session, insecure: bool, purge: bool, name: str) -> None:
    """Upload an index that was begun, with its images, and print its digest."""
    digest = _index(session, _known(session, name)).push(name)
    click.echo(digest)
    if purge:
        with suppress(FileNotFoundError):
            _place(session, name).unlink()


@command("rm")
@click.argument("names", metavar="INDEX...", nargs=-1, required=True)
@pass_session
def remove(session: Session, names: tuple[str, ...]) -> int:
    """Forget indexes that were begun; what was pushed stays where it is."""

    def remove_one(name: str) -> None:
        _known(session, name)
        _place(session, name).unlink(missing_ok=True)

    return each(names, remove_one)
