"""Starting the containers that a project has, in the order of what they depend on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from pycontainer.compose import members
from pycontainer.compose.graph import each_of, in_order, needed, reversed_graph

if TYPE_CHECKING:
    from pycontainer.compose.labels import Member
    from pycontainer.compose.model import Project, ServiceSpec
    from pycontainer.engine import Container

__all__ = ["restarted_with", "start_members"]


def start_members(found: Collection[Member], project: Project | None) -> None:
    """Start those that do not run, each service after those that it depends on. project: if it is known."""
    graph: dict[str, list[str]] = {}
    for each in found:
        graph.setdefault(each.service, []).extend(each.depends_on)

    def begin(name: str) -> None:
        service = project.services.get(name) if project is not None else None

        def start(container: Container) -> None:
            if project is None or service is None:
                container.start()
            else:
                members.start(container, project, service)

        mine = [each.container for each in found if each.service == name]
        each_of([each for each in mine if not members.is_live(each)], start)

    in_order(graph, begin)


def restarted_with(services: Mapping[str, ServiceSpec], names: Collection[str]) -> list[str]:
    """The services that are to be restarted when these are, by what depends_on says."""
    restarting = {
        name: [other for other, how in service.depends_on.items() if how.restarts]
        for name, service in services.items()
    }
    return sorted(needed(reversed_graph(restarting), names) - set(names))
