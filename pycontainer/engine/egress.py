"""Policies of what containers may reach outside of their own networks, and their way into the packet filter.

Theory of operation. A policy is one of the container's options, and its rules are of its places: they are
there before its program is, and go when the place does, not with the run. So what must hold follows from the
database alone, and whoever makes the rules anew makes these, too. Both are changed under the lock of the
store's rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pycontainer.engine import bridging
from pycontainer.errors import InvalidOption, Unsupported
from pycontainer.options import DEFAULT_NETWORK, parse_run_options, split_allowed

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.network import Egress
    from pycontainer.options import RunOptions
    from pycontainer.store import EndpointRecord, NetworkRecord

__all__ = ["apply", "apply_locked", "check", "is_limited", "names_of", "policies", "release"]


def is_limited(options: RunOptions | Mapping[str, Any]) -> bool:
    """Whether a container may not reach everything."""
    return (options.get("egress") if isinstance(options, Mapping) else options.egress) == "deny"


def names_of(options: RunOptions) -> tuple[str, ...]:
    """The domains that a container with a policy may reach."""
    return split_allowed(options.egress_allow or ())[1]


def check(options: RunOptions, networks: Iterable[NetworkRecord]) -> None:
    """Refuse what cannot be held on these networks. Raises InvalidOption, Unsupported."""
    if not is_limited(options):
        return
    networks = list(networks)
    for network in networks:
        if network.bridge is None:
            raise Unsupported(
                f"network {network.name} is of driver {network.driver}: its packets pass no filter of the "
                "host, so egress cannot be denied there",
                "choose a network of driver bridge, or leave egress out",
            )
    if names_of(options) and all(network.name == DEFAULT_NETWORK for network in networks):
        raise InvalidOption(
            f"option egress_allow={names_of(options)[0]!r}: network {DEFAULT_NETWORK} has no name server to "
            "tell its addresses; make a network with Network.create, or give addresses"
        )


def apply(engine: Engine, container_id: str, options: RunOptions, *, keeps_named: bool = False) -> None:
    """Have the packet filter hold what the options say, of all the container's places.

    keeps_named: what it was let to by name stays. Raises KernelError, Unsupported, DeadlineExceeded.
    """
    with bridging.rules_lock(engine):
        apply_locked(engine, container_id, options, keeps_named=keeps_named)


def apply_locked(engine: Engine, container_id: str, options: RunOptions, *, keeps_named: bool) -> None:
    """The same for one who holds the lock of the store's rules."""
    from pycontainer.network import guard, lift, restrict

    own = _policy(engine.store.state.endpoints.of_container(container_id), options.egress_allow or ())
    if is_limited(options):
        guard(engine.store_tag, [*policies(engine), own])
        restrict(engine.store_tag, own, keeps_named=keeps_named)
    else:
        lift(engine.store_tag, own.places)


def release(engine: Engine, endpoints: Sequence[EndpointRecord]) -> None:
    """Forget what was allowed to, and denied, those places; idempotent. Raises as apply."""
    from pycontainer.network import guard, lift

    with bridging.rules_lock(engine):
        lift(engine.store_tag, _policy(endpoints, ()).places)
        gone = {(each.container_id, each.network_id) for each in endpoints}
        guard(engine.store_tag, policies(engine, without=gone))


def policies(engine: Engine, *, without: Iterable[tuple[str, str]] = ()) -> list[Egress]:
    """Those of every container of the store, but for some places as (container, network)."""
    excepted = set(without)
    places: dict[str, list[EndpointRecord]] = {}
    for endpoint in engine.store.state.endpoints.list():
        if (endpoint.container_id, endpoint.network_id) not in excepted:
            places.setdefault(endpoint.container_id, []).append(endpoint)
    found = []
    for container_id, own in places.items():
        record = engine.store.state.containers.get(container_id)
        if record is not None and is_limited(record.options):
            options = parse_run_options(**record.options)
            found.append(_policy(own, options.egress_allow or ()))
    return found


def _policy(endpoints: Iterable[EndpointRecord], allowed: Sequence[str]) -> Egress:
    from pycontainer.network import Egress

    places = tuple(
        (bridging.link_name(endpoint), address)
        for endpoint in endpoints
        for address in (endpoint.ipv4, endpoint.ipv6)
        if address
    )
    return Egress(places=places, allowed=split_allowed(allowed)[0])
