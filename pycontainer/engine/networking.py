"""Containers in networks: their places, the namespace that a start needs, and what changes while they run.

Theory of operation. A container's places are rows that it keeps until it is disconnected or removed, so its
addresses stay. Each start makes a new network namespace, with a link for each place; it lives as long as the
container's monitor holds it, over restarts too, and with it go the links. What a kill leaves are the rows,
which name their container, and what networks have on the host (engine.bridging).
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from attrs import frozen

from pycontainer.checkpoints import reached
from pycontainer.engine import addressing, bridging, driveroptions, egress, naming, netahead, restoring
from pycontainer.errors import (
    AlreadyExists,
    DeadlineExceeded,
    InUse,
    InvalidOption,
    KernelError,
    NotFound,
    Unsupported,
)
from pycontainer.options import DEFAULT_NETWORK, Place, RunOptions, places
from pycontainer.store import EndpointRecord, NetworkRecord

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.engine.engine import Engine
    from pycontainer.network import Published
    from pycontainer.oci import ImageConfig
    from pycontainer.oci.runtime import Spec
    from pycontainer.store import ContainerRecord

__all__ = [
    "DEFAULT",
    "KILL_POINTS",
    "Prepared",
    "attach",
    "choose_places",
    "default_network",
    "detach",
    "free_link_name",
    "memberships",
    "networks_of",
    "open_route",
    "places_of",
    "prepare",
    "recheck",
    "reserve_place",
    "tell",
]

KILL_POINTS = (
    "network.namespace.made",
    "network.links.made",
    "network.ports.published",
)

DEFAULT = DEFAULT_NETWORK
"""The network of those that ask for no other: without names, as with Docker."""

_JOB_S = 30.0
_ATTEMPTS = 16
# Addresses are given to one container each, so nobody need be asked whether they are in use.
_SETTINGS = {
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/default/accept_ra": "0",
    "ipv4/conf/default/arp_notify": "1",
    "ipv6/conf/default/ndisc_notify": "1",
}


@frozen(kw_only=True)
class Prepared:
    """What a launch gets of its networks. fds are the caller's to close.

    namespace: what kind of namespace the next container will want if it is like this one. connect: makes the
    links, which is done while the launch goes on, up to where that awaits them; None where they are there.
    """

    fds: dict[str, int]
    params: dict[str, Any]
    memberships: tuple[naming.Membership, ...]
    namespace: Mapping[str, Any]
    connect: Callable[[], None] | None


# -- networks --------------------------------------------------------------------------------------


def default_network(engine: Engine) -> NetworkRecord:
    """The network of those that ask for no other, made on its first use."""
    from pycontainer.engine.netmaking import make_network

    networks = engine.store.state.networks
    with suppress(NotFound):
        return networks.find(DEFAULT)
    try:
        return make_network(engine, DEFAULT, bridge=f"pc0-{engine.store_tag[:8]}", is_default=True)
    except AlreadyExists:
        return networks.find(DEFAULT)


def expect(engine: Engine, name: str) -> None:
    """Have a namespace made for the one container to come, in this network, while its caller makes the rest.

    A network that is not there yet is none to wait for, and what does not fit its start is let go of.
    """
    with suppress(NotFound):
        network = engine.store.state.networks.find(DEFAULT if name == "default" else name)
        wanted = _wanted([network], has_names=network.name != DEFAULT)
        engine.networks_ahead.begin(engine.helper, wanted)


# -- places ----------------------------------------------------------------------------------------


def choose_places(engine: Engine, container_id: str, options: RunOptions) -> list[EndpointRecord]:
    """The places of a new container, with addresses that are free. Raises NotFound, InvalidOption, InUse."""
    first = (options.ip, options.ip6, options.mac_address, options.network_alias, options.link_local_ip)
    asked = places(options.network, *first)
    found = [(place, _find(engine, place.network)) for place in asked]
    if len({network.id for _, network in found}) < len(found):
        raise InvalidOption(f"option network={options.network!r} names one network twice; give it once")
    egress.check(options, [network for _, network in found])
    egress.check_places(options, [place for place, _ in found])
    taken = {place.ifname for place, _ in found if place.ifname}
    chosen = []
    for place, network in found:
        ifname = place.ifname or free_link_name(network, taken)
        taken.add(ifname)
        chosen.append(_chosen(engine, container_id, network, place, ifname))
    return chosen


def free_link_name(network: NetworkRecord, taken: Collection[str]) -> str:
    """What the next link to a network is called in a container that has these already."""
    prefix = driveroptions.prefix_of(network)
    return next(name for number in itertools.count() if (name := f"{prefix}{number}") not in taken)


def _find(engine: Engine, name: str) -> NetworkRecord:
    if name in (DEFAULT, "default"):
        return default_network(engine)
    try:
        return engine.store.state.networks.find(name)
    except NotFound:
        raise NotFound(f"network {name} not found; make it with Network.create({name!r})") from None


def reserve_place(
    engine: Engine, container_id: str, network: NetworkRecord, place: Place, *, ifname: str
) -> EndpointRecord:
    """Give a container a place with free addresses. Raises AlreadyExists, InvalidOption, InUse, NotFound."""
    for attempt in range(_ATTEMPTS):
        endpoint = _chosen(engine, container_id, network, place, ifname)
        try:
            engine.store.state.endpoints.insert(endpoint)
            return endpoint
        except InUse:
            # Another process has taken the same address between our look and this.
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _chosen(
    engine: Engine, container_id: str, network: NetworkRecord, place: Place, ifname: str
) -> EndpointRecord:
    from pycontainer.network import choose_address, mac_of

    taken = {made.gateway for made in network.subnets}
    aux = network.options.get("aux_addresses")
    taken |= {str(each) for each in (aux.values() if isinstance(aux, Mapping) else ())}
    for other in engine.store.state.endpoints.of_network(network.id):
        taken |= {address for address in (other.ipv4, other.ipv6) if address}
    found: dict[int, str] = {}
    for made in network.subnets:
        version = 6 if ":" in made.subnet else 4
        wanted = place.ip6 if version == 6 else place.ip
        found[version] = choose_address(
            made.subnet,
            taken,
            ip_range=made.ip_range,
            wanted=wanted or None,
            after="" if wanted else addressing.last_given(engine, network, version),
        )
        if not wanted:
            addressing.note_given(engine, network, version, found[version])
    for version, wanted, option in ((4, place.ip, "ip"), (6, place.ip6, "ip6")):
        if wanted and version not in found:
            raise InvalidOption(f"{option}={wanted}: network {network.name} has no IPv{version} subnet")
    if 6 not in found and any(":" in each for each in place.link_local):
        raise InvalidOption(f"link_local_ip={place.link_local}: network {network.name} has no IPv6 subnet")
    return EndpointRecord(
        network_id=network.id,
        container_id=container_id,
        mac=place.mac or mac_of(found.get(4), found.get(6)),
        ifname=ifname,
        ipv4=found.get(4),
        ipv6=found.get(6),
        options={
            "aliases": list(place.aliases),
            "gw_priority": place.priority,
            **({"link_local_ips": list(place.link_local)} if place.link_local else {}),
            **({"sysctls": list(place.sysctls)} if place.sysctls else {}),
            **({"links": list(place.links)} if place.links else {}),
            **({"asked": asked} if (asked := _asked(place)) else {}),
        },
    )


def _asked(place: Place) -> dict[str, str]:
    """The addresses that were asked for, by Docker's names."""
    return {name: text for name, text in (("IPv4Address", place.ip), ("IPv6Address", place.ip6)) if text}


def places_of(engine: Engine, container_id: str) -> list[tuple[EndpointRecord, NetworkRecord]]:
    """A container's places, the one of its default route first."""
    state = engine.store.state
    found = []
    for endpoint in state.endpoints.of_container(container_id):
        network = state.networks.get(endpoint.network_id)
        if network is not None:
            found.append((endpoint, network))
    return sorted(found, key=_rank)


def networks_of(engine: Engine, container_id: str) -> list[NetworkRecord]:
    """The networks a container has a place in."""
    return [network for _, network in places_of(engine, container_id)]


def _rank(found: tuple[EndpointRecord, NetworkRecord]) -> tuple[bool, int, str]:
    endpoint, network = found
    priority = endpoint.options.get("gw_priority", 0)
    return (
        bool(network.options.get("internal")),
        -(priority if isinstance(priority, int) else 0),
        network.name,
    )


def memberships(engine: Engine, container_id: str) -> tuple[naming.Membership, ...]:
    """A container's places as far as names go, the one of its default route first."""
    return _memberships(places_of(engine, container_id))


def _memberships(places: Iterable[tuple[EndpointRecord, NetworkRecord]]) -> tuple[naming.Membership, ...]:
    found = []
    for endpoint, network in places:
        found.append(
            naming.Membership(
                network_id=network.id,
                network=network.name,
                subnets=tuple(made.subnet for made in network.subnets),
                gateways=tuple(made.gateway for made in network.subnets if made.gateway and network.bridge),
                is_internal=bool(network.options.get("internal")),
                is_default=network.name == DEFAULT,
                ipv4=endpoint.ipv4,
                ipv6=endpoint.ipv6,
                aliases=tuple(map(str, _listed(endpoint, "aliases"))),
                links=tuple(map(str, _listed(endpoint, "links"))),
            )
        )
    return tuple(found)


# -- a start ---------------------------------------------------------------------------------------


def prepare(
    engine: Engine,
    record: ContainerRecord,
    options: RunOptions,
    config: ImageConfig,
    cleanup: ExitStack,
    *,
    spec: Spec,
    users: int | None = None,
) -> Prepared:
    """Make the namespace, links, ports and names of a container that starts: all or none.

    users: the user namespace that it joins; with a private one that is made here.

    cleanup: closes what is not the container's any more once the launch has it, and undoes on an exception.
    Raises InUse, InvalidOption, KernelError, NotFound, Unsupported, DeadlineExceeded.
    """
    found = places_of(engine, record.id)
    for _, network in found:
        bridging.make_link(engine, network)
    if egress.is_limited(options):
        egress.apply(engine, record.id, options)
        bridging.rules_are_ours(engine)
    placed = _memberships(found)
    names = naming.described(engine, record, options, placed)
    wanted = _wanted((network for _, network in found), names is not None, _users(options, spec))
    namespace, route, *sockets = netahead.take(engine, wanted, users)
    for fd in (namespace, route, *sockets):
        cleanup.callback(os.close, fd)
    reached("network.namespace.made")

    def connect() -> None:
        _connect_all(engine, found, namespace, os.dup(route))
        reached("network.links.made")

    # Those of other kinds can fail by what was asked for, and a container that fails so was never launched.
    is_later = all(network.bridge and not _listed(place, "sysctls") for place, network in found)
    if not is_later:
        connect()
    fds: dict[str, int] = {"ns:network": namespace}
    if wanted["users"]:
        fds["ns:user"] = sockets.pop()
    params: dict[str, Any] = {}
    if names is not None:
        params["dns"] = names
        fds.update(zip(naming.SERVER_SOCKETS, sockets, strict=True))
    published: Sequence[Published] = ()
    if options.ports or options.publish_all:
        published = _publish(engine, options, config, found, fds, params, cleanup)
    networks = [network for _, network in found]
    params["rules"] = restoring.described(engine, record.id, options, published, networks)
    params["awaits_links"] = is_later
    return Prepared(
        fds=fds,
        params=params,
        memberships=placed,
        namespace=wanted,
        connect=connect if is_later else None,
    )


def _wanted(
    networks: Iterable[NetworkRecord], has_names: bool, users: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The kind of a namespace, as the job takes it that makes one."""
    return {"settings": _settings(networks), "has_names": has_names, "users": users or {}}


def _users(options: RunOptions, spec: Spec) -> dict[str, Any]:
    """The id maps of a user namespace of its own, to which its network is to belong; {} for none."""
    if options.userns != "private":
        return {}
    linux = spec.to_dict()["linux"]
    return {"uidMappings": linux["uidMappings"], "gidMappings": linux["gidMappings"]}


def _publish(
    engine: Engine,
    options: RunOptions,
    config: ImageConfig,
    found: Sequence[tuple[EndpointRecord, NetworkRecord]],
    fds: dict[str, int],
    params: dict[str, Any],
    cleanup: ExitStack,
) -> Sequence[Published]:
    from pycontainer.engine.publishing import outlet_of, take, wanted

    firewall = bridging.firewall_of(engine)
    taken = take(engine, firewall, wanted(options, config), outlet_of(found), cleanup)
    firewall.publish(taken.published)
    bridging.rules_are_ours(engine)

    def withdraw(kind: object, error: object, trace: object) -> None:
        if kind is not None:
            firewall.withdraw(taken.published)

    cleanup.push(withdraw)
    reached("network.ports.published")
    fds.update(taken.fds)
    if taken.published:
        params["ports"] = taken.params
    return taken.published


def _settings(networks: Iterable[NetworkRecord]) -> dict[str, str]:
    """Kernel settings for the links of these networks: no IPv6 where none of them has it."""
    has_ipv6 = any(":" in made.subnet for network in networks for made in network.subnets)
    return {**_SETTINGS, "ipv6/conf/default/disable_ipv6": "0" if has_ipv6 else "1"}


def _taken(job: Any) -> tuple[int, int]:
    if job.receive(_JOB_S) is None:
        raise NotFound("the job that makes a network namespace was killed")
    namespace, route = job.take_fds()
    return namespace, route


def _connect_all(
    engine: Engine,
    found: Sequence[tuple[EndpointRecord, NetworkRecord]],
    namespace: int,
    route: int,
    routed: Sequence[tuple[EndpointRecord, NetworkRecord]] | None = None,
) -> None:
    """Make the links of these places in a namespace. route: a netlink socket in it, closed here.

    routed: all places there, of which one has the default route, if there are others.
    """
    from pycontainer.engine import impairing  # which knows of places, too
    from pycontainer.network import Route

    with Route(route) as inner, Route() as host:
        for endpoint, network in found:
            _add_link(host, endpoint, network, namespace)
        host.send()
        _set_links(engine, namespace, [endpoint for endpoint, _ in found])
        for endpoint, network in found:
            _configure(inner, endpoint, network)
        _set_routes(inner, found if routed is None else routed)
        inner.send()
        impairing.restore(engine, found, host, inner)


def _add_link(host: Any, endpoint: EndpointRecord, network: NetworkRecord, namespace: int) -> None:
    size = network.options.get("mtu")
    mtu = size if isinstance(size, int) else None
    if network.bridge is not None:
        if os.path.exists(f"/sys/class/net/{bridging.link_name(endpoint)}"):
            # The last run's: the kernel takes a namespace apart a while after its last process.
            bridging.delete_link(bridging.link_name(endpoint))
        host.add_veth(
            bridging.link_name(endpoint),
            socket.if_nametoindex(network.bridge),
            endpoint.ifname,
            namespace,
            mac=endpoint.mac,
            mtu=mtu,
            is_isolated=network.options.get("icc") is False,
        )
        return
    parent = str(network.options.get("parent", ""))
    try:
        index = socket.if_nametoindex(parent)
    except OSError:
        raise NotFound(f"network {network.name}: the host has no link {parent!r} to attach to") from None
    mode = str(network.options.get("mode", ""))
    if network.driver == "macvlan":
        host.add_macvlan(index, endpoint.ifname, namespace, mode=mode, mac=endpoint.mac, mtu=mtu)
    else:
        flag = str(network.options.get("flag", "bridge"))
        host.add_ipvlan(index, endpoint.ifname, namespace, mode=mode, flag=flag, mtu=mtu)


def _set_links(engine: Engine, namespace: int, endpoints: Iterable[EndpointRecord]) -> None:
    """Give links in a namespace the kernel settings that were asked for. Raises NotFound, KernelError."""
    wanted = {}
    for endpoint in endpoints:
        for each in map(str, _listed(endpoint, "sysctls")):
            name, _, content = each.partition("=")
            _, *path = name.split(".")
            wanted["/".join(path).replace("/IFNAME/", f"/{endpoint.ifname}/")] = content
    if wanted:
        engine.helper.run("set_links", {"settings": wanted}, [namespace], timeout_s=_JOB_S)


def _listed(endpoint: EndpointRecord, key: str) -> list[object]:
    found = endpoint.options.get(key)
    return found if isinstance(found, list) else []


def _configure(inner: Any, endpoint: EndpointRecord, network: NetworkRecord) -> None:
    index = inner.index(endpoint.ifname)
    for made in network.subnets:
        address = endpoint.ipv6 if ":" in made.subnet else endpoint.ipv4
        if address:
            inner.add_address(index, address, made.subnet)
    for address in map(str, _listed(endpoint, "link_local_ips")):
        inner.add_address(index, address, f"{address}/{64 if ':' in address else 16}")
    inner.raise_link(endpoint.ifname)


def _set_routes(inner: Any, found: Sequence[tuple[EndpointRecord, NetworkRecord]]) -> None:
    """Let the first place that leads out be the way to everywhere else."""
    for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
        for endpoint, network in found:
            gateway = next(
                (each.gateway for each in network.subnets if (":" in each.subnet) == (version == 6)), None
            )
            if gateway and not network.options.get("internal"):
                inner.set_default_route(gateway, inner.index(endpoint.ifname), family)
                break


def recheck(engine: Engine) -> None:
    """Make the rules again that were deleted while a container started: its monitor looks only since then."""
    # One that cannot be made is the next start's to complain of: this container runs.
    with suppress(KernelError, Unsupported, DeadlineExceeded):
        bridging.ensure_rules(engine)


# -- while it runs ---------------------------------------------------------------------------------


def attach(engine: Engine, container_id: str, process: int, endpoint: EndpointRecord) -> None:
    """Make a place's link in a container that runs. process: a pidfd of its first process.

    Raises KernelError, NotFound, DeadlineExceeded.
    """
    network = engine.store.state.networks.get(endpoint.network_id)
    if network is None:
        raise NotFound("the network was removed meanwhile")
    bridging.make_link(engine, network)
    namespace, route = _open(engine, process, _settings([network]))
    try:
        _connect_all(engine, [(endpoint, network)], namespace, route, places_of(engine, container_id))
    finally:
        os.close(namespace)


def detach(engine: Engine, container_id: str, process: int, endpoint: EndpointRecord) -> None:
    """Delete a place's link of a container that runs; the row must be gone."""
    from pycontainer.network import Route

    namespace, route = _open(engine, process)
    os.close(namespace)
    with Route(route) as inner:
        inner.delete_link(endpoint.ifname)
        with suppress(KernelError):  # the container may have deleted it itself
            inner.send()
        _set_routes(inner, places_of(engine, container_id))
        inner.send()


def tell(container: Container, options: RunOptions) -> None:
    """Have a container that runs know names, and be known, as its places and these options have it; and have
    its monitor know its rules.

    Raises WrongState when it does not run, DeadlineExceeded, KernelError.
    """
    restoring.tell(container, options)
    engine, record = container._engine, container._current
    placed = memberships(engine, record.id)
    links = naming.linked(engine, options, placed, is_running=True)
    files = naming.network_files(options.hostname or record.id[:12], options, placed, links)
    naming.change(container, naming.described(engine, record, options, placed), files)


def open_route(engine: Engine, process: int) -> int:
    """A netlink socket in the network of a container that runs. Raises NotFound, DeadlineExceeded."""
    namespace, route = _open(engine, process)
    os.close(namespace)
    return route


def _open(engine: Engine, process: int, settings: Mapping[str, str] | None = None) -> tuple[int, int]:
    with engine.helper.submit("open_route", {"settings": dict(settings or {})}, [process]) as job:
        return _taken(job)
