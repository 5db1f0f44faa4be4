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
    from pycontainer.options import Place, RunOptions
    from pycontainer.store import ContainerRecord, EndpointRecord, NetworkRecord

__all__ = [
    "apply",
    "apply_locked",
    "check",
    "check_places",
    "forget",
    "is_limited",
    "names_of",
    "policies",
    "policy_of",
    "release",
]


def is_limited(options: RunOptions | Mapping[str, Any]) -> bool:
    """Whether a container may not reach everything."""
    return (options.get("egress") if isinstance(options, Mapping) else options.egress) == "deny"


def names_of(options: RunOptions) -> tuple[str, ...]:
    """The domains that a container with a policy may reach."""
    return split_allowed(options.egress_allow or ())[1]


def check(options: RunOptions, networks: Sequence[NetworkRecord]) -> None:
    """Refuse what cannot be held by a container on these networks. Raises InvalidOption, Unsupported."""
    if not is_limited(options):
        return
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


def check_places(options: RunOptions, asked: Sequence[Place]) -> None:
    """Refuse addresses that a container with a policy could send from unseen. Raises InvalidOption."""
    for place in asked if is_limited(options) else ():
        if place.link_local:
            raise InvalidOption(
                f"link_local_ip={place.link_local[0]!r}: a container whose egress is denied sends from its "
                "networks' addresses alone; leave out one of the two"
            )


def apply(engine: Engine, container_id: str, options: RunOptions, *, keeps_named: bool = False) -> None:
    """Have the packet filter hold what the options say, of all the container's places.

    keeps_named: what it was let to by name stays. Raises KernelError, Unsupported, DeadlineExceeded.
    """
    with bridging.rules_lock(engine):
        apply_locked(engine, container_id, options, keeps_named=keeps_named)


def apply_locked(engine: Engine, container_id: str, options: RunOptions, *, keeps_named: bool) -> None:
    """The same for one who holds the lock of the store's rules."""
    from pycontainer.network import guard, is_guarded, lift, restrict

    own = policy_of(engine, container_id, options)
    if not is_limited(options):
        lift(engine.store_tag, own.places)
        return
    if not is_guarded(engine.store_tag):
        guard(engine.store_tag, [*policies(engine), own])
    restrict(engine.store_tag, own, keeps_named=keeps_named)


def release(engine: Engine, endpoints: Sequence[EndpointRecord]) -> None:
    """Forget what was allowed to, and denied, those places; idempotent. Raises as apply."""
    from pycontainer.network import lift

    with bridging.rules_lock(engine):
        lift(engine.store_tag, _policy(endpoints, ()).places)


def forget(engine: Engine, record: ContainerRecord) -> None:
    """Release the places of a container that is removed, while they are its own still: whoever has one of
    the addresses next is not limited by it. Raises as apply.
    """
    if is_limited(record.options):
        release(engine, engine.store.state.endpoints.of_container(record.id))


def policies(engine: Engine) -> list[Egress]:
    """Those of every container of the store."""
    places: dict[str, list[EndpointRecord]] = {}
    for endpoint in engine.store.state.endpoints.list():
        places.setdefault(endpoint.container_id, []).append(endpoint)
    found = []
    for container_id, own in places.items():
        record = engine.store.state.containers.get(container_id)
        if record is not None and is_limited(record.options):
            options = parse_run_options(**record.options)
            found.append(_policy(own, options.egress_allow or ()))
    return found


def policy_of(engine: Engine, container_id: str, options: RunOptions) -> Egress:
    """That of one container, by its places and these options."""
    return _policy(engine.store.state.endpoints.of_container(container_id), options.egress_allow or ())


def _policy(endpoints: Iterable[EndpointRecord], allowed: Sequence[str]) -> Egress:
    from pycontainer.network import Egress

    places = tuple(
        (bridging.link_name(endpoint), address)
        for endpoint in endpoints
        for address in (endpoint.ipv4, endpoint.ipv6)
        if address
    )
    return Egress(places=places, allowed=split_allowed(allowed)[0])
