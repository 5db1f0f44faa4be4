"""What would be done to an application, told without doing it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

from pycontainer.compose import images, mapping, members, resources, teardown
from pycontainer.compose.bringing import chosen, scales_of, wishes_of
from pycontainer.compose.converge import Convergence
from pycontainer.compose.labels import find_members
from pycontainer.compose.steering import restarted_with
from pycontainer.errors import InvalidInput

if TYPE_CHECKING:
    from pycontainer.compose.labels import Member
    from pycontainer.compose.model import Project
    from pycontainer.engine import Engine

__all__ = ["PlannedChange", "from_files", "from_members"]

_WISHES = ("force_recreate", "no_recreate", "always_recreate_deps")
_STATES = {
    "start": ("created", "exited"),
    "stop": ("running", "paused", "restarting"),
    "kill": ("running",),
    "pause": ("running",),
    "unpause": ("paused",),
}
"""By verb the states of the containers that it does something to."""


@frozen
class PlannedChange:
    """A change that would be made. action: as "create", "recreate", "pull"; name: of the object."""

    action: str
    kind: Literal["image", "network", "volume", "container"]
    name: str


def from_files(
    engine: Engine, project: Project, verb: str, names: Sequence[str], options: Mapping[str, Any]
) -> list[PlannedChange]:
    """What up, build, pull and push would do. options: those of the methods of Compose."""
    if verb == "up":
        return list(_up(engine, project, names, options))
    specs = list(chosen(project, names, no_deps=True).values())
    if verb == "push":
        wanted = [each.image for each in specs if "image" in each.keys]
    else:
        wanted = [each.image for each in specs if images.is_built(each) == (verb == "build")]
    if options.get("missing"):
        here = images.present_images(engine, specs)
        wanted = [each.image for each in specs if each.image in wanted and each.name not in here]
    return [PlannedChange(verb, "image", name) for name in dict.fromkeys(wanted)]


def _up(
    engine: Engine, project: Project, names: Sequence[str], options: Mapping[str, Any]
) -> Iterator[PlannedChange]:
    mapping.check(project)
    services = chosen(project, names, no_deps=options.get("no_deps", False))
    specs = list(services.values())
    resources.check_external(engine, project, specs)
    to_build, to_pull = images.missing_images(
        engine, specs, pull=options.get("pull"), build=options.get("build")
    )
    for action, wanted in (("pull", to_pull), ("build", to_build)):
        for image in dict.fromkeys(each.image for each in wanted):
            yield PlannedChange(action, "image", image)
    if options.get("remove_orphans"):
        yield from _removals(teardown.orphans(project, find_members(engine, project.name)))
    for name, is_there in resources.missing_networks(engine, project, specs):
        yield PlannedChange("recreate" if is_there else "create", "network", name)
    for name in resources.missing_volumes(engine, project, specs):
        yield PlannedChange("create", "volume", name)
    running = Convergence(
        engine=engine,
        project=project,
        services=services,
        scales=scales_of(project, services, options.get("scale") or {}),
        images=images.present_images(engine, specs),
        wishes=wishes_of(**{key: options.get(key, False) for key in _WISHES}),
        named=names,
    )
    starts = options.get("start", True)
    restarted: set[str] = set()
    for name, steps in running.steps().items():
        numbers = [(each.number, "recreate") for each in steps.obsolete]
        made = numbers + [(number, "create") for number in steps.missing]
        yield from _removals(steps.surplus)
        if steps.obsolete:
            restarted |= {*restarted_with(services, [name])}
        for number, action in sorted(made):
            yield PlannedChange(action, "container", mapping.container_name(project, name, number))
        if not starts:
            continue
        for number, _ in sorted(made):
            yield PlannedChange("start", "container", mapping.container_name(project, name, number))
        for each in steps.kept:
            if name in restarted or not members.is_live(each.container):
                action = "restart" if members.is_live(each.container) else "start"
                yield PlannedChange(action, "container", each.container.name)


def from_members(
    engine: Engine,
    name: str,
    project: Project | None,
    verb: str,
    services: Collection[str],
    found: Collection[Member],
    options: Mapping[str, Any],
) -> list[PlannedChange]:
    """What the other verbs would do to the containers there are. options: those of the methods of Compose.

    Raises: InvalidInput.
    """
    if verb == "down":
        return list(_down(engine, name, project, services, found, options))
    if verb == "remove":
        return list(
            _removals(each for each in found if options.get("stop") or not members.is_live(each.container))
        )
    if verb == "restart":
        return [PlannedChange("restart", "container", each.container.name) for each in found]
    if verb not in _STATES:
        known = ", ".join(("up", "down", "remove", "restart", *_STATES, "build", "pull", "push"))
        raise InvalidInput(f"nothing is planned for {verb!r}; give one of {known}")
    concerned = [each.container.name for each in found if each.container.state in _STATES[verb]]
    return [PlannedChange(verb, "container", each) for each in concerned]


def _down(
    engine: Engine,
    name: str,
    project: Project | None,
    services: Collection[str],
    found: Collection[Member],
    options: Mapping[str, Any],
) -> Iterator[PlannedChange]:
    left = teardown.orphans(project, found) if project and not options.get("remove_orphans") else []
    yield from _removals(each for each in found if each not in left)
    if services:
        return
    for network in resources.project_networks(engine, name):
        yield PlannedChange("remove", "network", network.name)
    for volume in resources.project_volumes(engine, name) if options.get("volumes") else ():
        yield PlannedChange("remove", "volume", volume.name)
    if options.get("images") and project is not None:
        for image in teardown.doomed_images(project, options["images"]):
            yield PlannedChange("remove", "image", image)


def _removals(found: Iterable[Member]) -> Iterator[PlannedChange]:
    for each in found:
        if members.is_live(each.container):
            yield PlannedChange("stop", "container", each.container.name)
        yield PlannedChange("remove", "container", each.container.name)
