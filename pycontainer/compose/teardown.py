"""Taking down what a project has, in the opposite order of its start; labels alone say what that is."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from pycontainer.compose import members
from pycontainer.compose.graph import each_of, in_order, reversed_graph
from pycontainer.compose.labels import Member, find_members, settle
from pycontainer.compose.resources import remove_networks, remove_volumes
from pycontainer.engine import Image
from pycontainer.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from pycontainer.compose.model import Project
    from pycontainer.engine import Engine

__all__ = ["doomed_images", "orphans", "remove_orphans", "stop_members", "take_down"]


def orphans(project: Project, found: Iterable[Member]) -> list[Member]:
    """The containers of services that the project's files no longer have."""
    known = {*project.services, *project.disabled}
    return [each for each in found if each.service not in known]


def remove_orphans(engine: Engine, project: Project, *, timeout_s: float | None = None) -> None:
    """Stop and remove the containers of services that the project's files no longer have."""
    left = orphans(project, find_members(engine, project.name))
    each_of(left, lambda each: members.remove(engine, each, timeout_s=timeout_s))


def stop_members(
    found: Collection[Member], project: Project | None, *, timeout_s: float | None = None
) -> None:
    """Stop these, those first that depend on others."""

    def stop(name: str) -> None:
        service = project.services.get(name) if project is not None else None
        mine = [each for each in found if each.service == name]
        each_of(mine, lambda each: members.stop(each.container, timeout_s, service))

    in_order(_backwards(found), stop)


def _backwards(found: Collection[Member]) -> dict[str, list[str]]:
    graph: dict[str, list[str]] = {}
    for each in found:
        graph.setdefault(each.service, []).extend(each.depends_on)
    return reversed_graph(graph)


def take_down(
    engine: Engine,
    name: str,
    project: Project | None,
    *,
    services: Collection[str] = (),
    volumes: bool = False,
    images: str | None = None,
    remove_orphans: bool = False,
    timeout_s: float | None = None,
) -> list[str]:
    """Remove the containers of a project, or of some services, and without those also its networks.

    volumes: also its volumes, anonymous ones too. images: "all" of its services, or "local" for those that
    were built without a name. Warnings are given back. Raises: InvalidInput; and as Container.stop.
    """
    if images not in (None, "all", "local"):
        raise InvalidInput(f"images={images!r}: give all or local")
    settle(engine, name)
    found = find_members(engine, name)
    warnings: list[str] = []
    if project is not None and not remove_orphans:
        left = orphans(project, found)
        if left:
            names = ", ".join(each.container.name for each in left)
            warnings.append(
                f"containers of services that are no longer there stay: {names}; remove_orphans removes them"
            )
        found = [each for each in found if each not in left]
    chosen = [each for each in found if not services or each.service in services]

    def remove(service_name: str) -> None:
        service = project.services.get(service_name) if project is not None else None
        mine = [each for each in chosen if each.service == service_name]
        each_of(
            mine,
            lambda each: members.remove(engine, each, timeout_s=timeout_s, service=service, volumes=volumes),
        )

    in_order(_backwards(chosen), remove)
    if not services:
        warnings += remove_networks(engine, name)
        if volumes:
            warnings += remove_volumes(engine, name)
        if images and project is not None:
            warnings += _remove_images(engine, project, images)
    return warnings


def doomed_images(project: Project, which: str) -> list[str]:
    """The names of the images that are removed with it. which: "all" or "local", see take_down."""
    every = [*project.services.values(), *project.disabled.values()]
    return sorted({each.image for each in every if which == "all" or "image" not in each.keys})


def _remove_images(engine: Engine, project: Project, which: str) -> list[str]:
    warnings = []
    for name in doomed_images(project, which):
        with suppress(NotFound):
            try:
                Image.get(name, engine=engine).remove(name)
            except Conflict as error:
                warnings.append(f"image {name} stays: {error}")
    return warnings
