"""Networks and volumes of a project: found by name and label, made when they are missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal, cast

from pycontainer.compose.labels import CONFIG_HASH, NETWORK, PROJECT, VOLUME, find_members, resource_labels
from pycontainer.compose.mapping import digest_of
from pycontainer.engine import Network, Volume
from pycontainer.errors import AlreadyExists, Conflict, InUse, NotFound, Unsupported
from pycontainer.store import FileLock

if TYPE_CHECKING:
    from pycontainer.compose.model import NetworkSpec, Project, ServiceSpec
    from pycontainer.engine import Engine

__all__ = [
    "check_external",
    "ensure_networks",
    "ensure_volumes",
    "missing_networks",
    "missing_volumes",
    "network_hash",
    "project_networks",
    "project_volumes",
    "remove_networks",
    "remove_volumes",
    "taking_turns",
]

_TURN_S = 600.0
"""How long to wait for another process that makes containers, which may have to stop others first."""
_DRIVERS = ("bridge", "macvlan", "ipvlan")


@contextmanager
def taking_turns(engine: Engine, project: str) -> Iterator[None]:
    """Let one thread of one process at a time make what a project has. Raises: DeadlineExceeded."""
    place = engine.store.root / "locks" / "compose"
    place.mkdir(mode=0o700, exist_ok=True)
    with FileLock(place / project).held(_TURN_S, remove=True):
        yield


def project_networks(engine: Engine, project: str) -> list[Network]:
    """The networks that were made for a project."""
    return Network.list(filters={"label": f"{PROJECT}={project}"}, engine=engine)


def project_volumes(engine: Engine, project: str) -> list[Volume]:
    """The volumes that were made for a project."""
    return Volume.list(filters={"label": f"{PROJECT}={project}"}, engine=engine)


def network_hash(spec: NetworkSpec) -> str:
    """What changes when a network has to be made anew."""
    content = {key: value for key, value in spec.keys.items() if key != "labels"}
    return digest_of([spec.name, content])


def check_external(engine: Engine, project: Project, services: Iterable[ServiceSpec]) -> None:
    """Look whether there is what these services use and others are to have made. Raises: NotFound."""
    specs = list(services)
    for key in _used_networks(specs):
        if project.networks[key].is_external:
            _check_there(Network, project.networks[key].name, engine)
    for key in _used_volumes(specs):
        if project.volumes[key].is_external:
            _check_there(Volume, project.volumes[key].name, engine)


def _check_there(kind: type[Network | Volume], name: str, engine: Engine) -> None:
    try:
        kind.get(name, engine=engine)
    except NotFound:
        word = kind.__name__.lower()
        raise NotFound(
            f"{word} {name} is external and does not exist; make it: pycontainer {word} create {name}"
        ) from None


def _used_networks(services: Iterable[ServiceSpec]) -> list[str]:
    return sorted({key for service in services for key in service.keys["networks"]})


def _used_volumes(services: Iterable[ServiceSpec]) -> list[str]:
    return sorted(
        {
            each["source"]
            for service in services
            for each in service.keys.get("volumes", ())
            if each["type"] == "volume" and each.get("source")
        }
    )


def ensure_networks(engine: Engine, project: Project, services: Iterable[ServiceSpec]) -> None:
    """Have the networks that these services are on.

    One whose section has changed is made anew; the containers on it are stopped, and made anew after it.
    Raises: Conflict for one of somebody else's; InvalidOption, Unsupported.
    """
    for key in _used_networks(services):
        if not project.networks[key].is_external:
            _ensure_network(engine, project, project.networks[key])


def _ensure_network(engine: Engine, project: Project, spec: NetworkSpec) -> None:
    try:
        found = Network.get(spec.name, engine=engine)
    except NotFound:
        pass
    else:
        labels = found.labels
        if labels.get(PROJECT) != project.name or labels.get(NETWORK) != spec.key:
            raise Conflict(
                f"network {spec.name} was not made for this project; give networks.{spec.key} another "
                "name, or external: true"
            )
        if labels.get(CONFIG_HASH) == network_hash(spec):
            return
        _clear(engine, project, found)
    with suppress(AlreadyExists):  # another process was faster; what it made is looked at the next time
        _make_network(engine, project, spec)


def _clear(engine: Engine, project: Project, network: Network) -> None:
    members = {each.container.id for each in find_members(engine, project.name)}
    for container in network.containers:
        if container.id in members:
            container.stop()
            network.disconnect(container, force=True)
    network.remove()


def _make_network(engine: Engine, project: Project, spec: NetworkSpec) -> None:
    keys = spec.keys
    ipam: dict[str, Any] = keys.get("ipam", {})
    driver = keys.get("driver", "bridge")
    if driver in ("", "default"):
        driver = "bridge"
    if driver not in _DRIVERS:
        raise Unsupported(
            f"networks.{spec.key}.driver: there is no driver {driver!r}", f"give one of {', '.join(_DRIVERS)}"
        )
    if ipam.get("driver", "default") != "default":
        raise Unsupported(f"networks.{spec.key}.ipam.driver: there is only the default one")
    blocks = ipam.get("config", [])
    labels = {**keys.get("labels", {}), CONFIG_HASH: network_hash(spec)}
    Network.create(
        spec.name,
        driver=cast(Literal["bridge", "macvlan", "ipvlan"], driver),
        subnet=[each["subnet"] for each in blocks if "subnet" in each] or None,
        gateway=[each["gateway"] for each in blocks if "gateway" in each] or None,
        ip_range=[each["ip_range"] for each in blocks if "ip_range" in each] or None,
        ipv4=keys.get("enable_ipv4", True) is not False,
        ipv6=keys.get("enable_ipv6", False),
        internal=keys.get("internal", False),
        labels=resource_labels(project.name, NETWORK, spec.key, labels),
        options=keys.get("driver_opts"),
        aux_addresses={
            name: address for each in blocks for name, address in each.get("aux_addresses", {}).items()
        }
        or None,
        engine=engine,
    )


def missing_networks(
    engine: Engine, project: Project, services: Iterable[ServiceSpec]
) -> Iterator[tuple[str, bool]]:
    """The networks that `ensure_networks` would make, each with whether there is one that it replaces."""
    for key in _used_networks(services):
        spec = project.networks[key]
        if spec.is_external:
            continue
        try:
            labels = Network.get(spec.name, engine=engine).labels
        except NotFound:
            yield spec.name, False
        else:
            if labels.get(CONFIG_HASH) != network_hash(spec):
                yield spec.name, True


def missing_volumes(engine: Engine, project: Project, services: Iterable[ServiceSpec]) -> Iterator[str]:
    """The volumes that `ensure_volumes` would make."""
    for key in _used_volumes(services):
        spec = project.volumes[key]
        if not spec.is_external:
            try:
                Volume.get(spec.name, engine=engine)
            except NotFound:
                yield spec.name


def ensure_volumes(engine: Engine, project: Project, services: Iterable[ServiceSpec]) -> list[str]:
    """Have the volumes that these services mount; warnings about those of others.

    Raises: AlreadyExists for one with other options; InvalidOption.
    """
    warnings = []
    for key in _used_volumes(services):
        spec = project.volumes[key]
        if spec.is_external:
            continue
        volume = Volume.create(
            spec.name,
            driver=spec.keys.get("driver", "local") or "local",
            options=spec.keys.get("driver_opts"),
            labels=resource_labels(project.name, VOLUME, key, spec.keys.get("labels", {})),
            engine=engine,
        )
        if volume.labels.get(PROJECT) != project.name:
            warnings.append(
                f"volume {spec.name} was not made for this project, and stays; say external: true"
            )
    return warnings


def remove_networks(engine: Engine, project: str) -> list[str]:
    """Remove the networks of a project; warnings about those that are in use."""
    warnings = []
    for network in project_networks(engine, project):
        name = network.name
        try:
            network.remove()
        except InUse as error:
            warnings.append(f"network {name} stays: {error}")
        except NotFound:
            continue
    return warnings


def remove_volumes(engine: Engine, project: str) -> list[str]:
    """Remove the volumes of a project with their files; warnings about those that are in use."""
    warnings = []
    for volume in project_volumes(engine, project):
        try:
            volume.remove(force=True)
        except InUse as error:
            warnings.append(f"volume {volume.name} stays: {error}")
    return warnings
