"""Bringing services up: which are meant, with which images, and what is had before their containers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from pycontainer.compose import mapping, members, resources, teardown
from pycontainer.compose.asked import Duration, checked_scale, seconds, unknown
from pycontainer.compose.converge import Convergence, Wishes, oneoff_options
from pycontainer.compose.graph import needed
from pycontainer.compose.images import ensure_images
from pycontainer.compose.labels import find_members
from pycontainer.engine import Container
from pycontainer.errors import InvalidInput

if TYPE_CHECKING:
    from pycontainer.build import OnBuildEvent
    from pycontainer.compose.model import Project, ServiceSpec
    from pycontainer.engine import Engine

__all__ = ["bring", "chosen", "make_oneoff", "prepare", "scales_of", "settle_orphans", "wishes_of"]

Warn: TypeAlias = Callable[[Iterable[str]], None]


def chosen(project: Project, names: Sequence[str], *, no_deps: bool = False) -> dict[str, ServiceSpec]:
    """The services that are meant by name: these and what they depend on, or all. Raises: NotFound."""
    for name in names:
        if name not in project.services:
            raise unknown(name, project.services)
    graph = {name: list(service.depends_on) for name, service in project.services.items()}
    wanted = set(names or graph) if no_deps else needed(graph, names or graph)
    return {name: service for name, service in project.services.items() if name in wanted}


def prepare(
    engine: Engine,
    project: Project,
    names: Sequence[str],
    wishes: Wishes,
    scale: Mapping[str, int],
    *,
    no_deps: bool = False,
    build: bool | None = None,
    pull: str | None = None,
    progress: OnBuildEvent | str | None = None,
) -> Convergence:
    """Check what is asked for, have the images, and know what containers there are to be.

    The options are those of Compose.up. Raises: ComposeFileError, InvalidInput, NotFound before anything is
    done; what pulling and building raise.
    """
    mapping.check(project)
    services = chosen(project, names, no_deps=no_deps)
    scales = scales_of(project, services, scale)
    for service in services.values():
        mapping.given_files(project, service)
    resources.check_external(engine, project, services.values())
    return Convergence(
        engine=engine,
        project=project,
        services=services,
        scales=scales,
        images=ensure_images(engine, project, services.values(), pull=pull, build=build, progress=progress),
        wishes=wishes,
        named=names,
    )


def scales_of(
    project: Project, services: Mapping[str, ServiceSpec], asked: Mapping[str, int]
) -> dict[str, int]:
    """How many containers of each service there are to be. Raises: NotFound, InvalidInput."""
    for name in asked:
        if name not in project.services:
            raise unknown(name, project.services)
    return {name: checked_scale(service, asked.get(name)) for name, service in services.items()}


def wishes_of(
    *,
    force_recreate: bool = False,
    no_recreate: bool = False,
    always_recreate_deps: bool = False,
    renew_volumes: bool = False,
    timeout: Duration | None = None,
    wait_timeout: Duration | None = None,
) -> Wishes:
    """What the options of Compose.up mean for containers. Raises: InvalidInput."""
    if no_recreate and (force_recreate or always_recreate_deps):
        other = "force_recreate" if force_recreate else "always_recreate_deps"
        raise InvalidInput(f"{other} and no_recreate exclude each other; give one")
    return Wishes(
        recreate="always" if force_recreate else "never" if no_recreate else "changed",
        recreates_dependencies=always_recreate_deps,
        renews_volumes=renew_volumes,
        timeout_s=seconds(timeout),
        completion_s=seconds(wait_timeout),
    )


def bring(
    running: Convergence,
    *,
    warn: Warn,
    start: bool = True,
    wait: bool = False,
    wait_timeout_s: float | None = None,
) -> None:
    """Have networks and volumes, make the containers and start them; wait: until all are ready.

    warn: told of what one may want to hear of. Raises as Compose.up.
    """
    try:
        with resources.taking_turns(running.engine, running.project.name):
            _have_resources(running, warn)
            running.create()
        if start:
            running.start()
        if start and wait:
            running.await_ready(wait_timeout_s)
    finally:
        warn(running.warnings)


def _have_resources(running: Convergence, warn: Warn) -> None:
    specs = list(running.services.values())
    resources.ensure_networks(running.engine, running.project, specs)
    warn(resources.ensure_volumes(running.engine, running.project, specs))


def settle_orphans(running: Convergence, *, removes: bool, warn: Warn) -> None:
    """Remove containers of services that the files no longer have, or warn of them."""
    if removes:
        teardown.remove_orphans(running.engine, running.project, timeout_s=running.wishes.timeout_s)
        return
    left = teardown.orphans(running.project, find_members(running.engine, running.project.name))
    if left:
        names = ", ".join(each.container.name for each in left)
        warn([f"containers of services that the files no longer have: {names}; see remove_orphans"])


def make_oneoff(
    engine: Engine,
    project: Project,
    service: ServiceSpec,
    command: Sequence[str] | str | None,
    changes: Mapping[str, Any],
    *,
    no_deps: bool,
    service_ports: bool,
    use_aliases: bool,
    build: bool | None,
    pull: str | None,
    remove_orphans: bool,
    warn: Warn,
) -> Container:
    """Make a one-off container, once what its service depends on runs; see Compose.create_oneoff."""
    others = [] if no_deps else [name for name in service.depends_on if name in project.services]
    if others:
        brought = prepare(engine, project, others, Wishes(), {}, build=build, pull=pull)
        bring(brought, warn=warn)
        brought.await_dependencies(service)
    never = Wishes(recreate="never")
    running = prepare(engine, project, [service.name], never, {}, no_deps=True, build=build, pull=pull)
    if remove_orphans:
        teardown.remove_orphans(engine, project)
    with resources.taking_turns(engine, project.name):
        _have_resources(running, warn)
    own, options = oneoff_options(
        project,
        service,
        running.images[service.name],
        changes,
        service_ports=service_ports,
        use_aliases=use_aliases,
    )
    made = Container.create(
        service.image, own if command is None else command, pull="never", engine=engine, **options
    )
    try:
        members.give_files(made, project, service)
    except BaseException:
        made.remove(force=True, volumes=True)
        raise
    return made
