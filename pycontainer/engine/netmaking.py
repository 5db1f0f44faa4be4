"""Making a network: what is asked for, a subnet that is free, the row and the link; all or nothing."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from pycontainer.checkpoints import reached
from pycontainer.engine import bridging, driveroptions, givenbridges, parents
from pycontainer.engine.events import emit
from pycontainer.errors import AlreadyExists, InvalidOption
from pycontainer.options import parse_network_name
from pycontainer.store import NetworkRecord, SubnetRecord

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine

__all__ = ["KILL_POINTS", "PREDEFINED", "aligned", "make_network"]

KILL_POINTS = ("network.create.inserted",)

_LEAST_MTU6 = 1280  # RFC 8200, section 5
PREDEFINED = ("bridge", "default", "host", "none")
"""Names that are nobody's to give or to remove."""


def aligned(*given: str | Sequence[str] | None) -> list[tuple[str, str, str]]:
    """Subnets with the gateway and range of the same kind of addresses each. Raises InvalidOption."""
    lists = [[] if each is None else [each] if isinstance(each, str) else list(each) for each in given]
    subnets, gateways, ranges = lists
    found = []
    for subnet in subnets:
        of_kind = [[each for each in some if (":" in each) == (":" in subnet)] for some in (gateways, ranges)]
        if any(len(each) > 1 for each in of_kind):
            raise InvalidOption(f"subnet={subnet!r} has several gateways or ranges; give one of each")
        gateway_, range_ = (each[0] if each else "" for each in of_kind)
        found.append((subnet, gateway_, range_))
    used = {each for entry in found for each in entry}
    for each in (*gateways, *ranges):
        if each not in used:
            raise InvalidOption(f"{each!r} is of no subnet; give subnet= with it")
    if len({":" in subnet for subnet in subnets}) < len(subnets):
        raise InvalidOption("give one subnet of IPv4 and one of IPv6 at most")
    return found


def make_network(
    engine: Engine,
    name: str,
    *,
    driver: str = "bridge",
    subnets: Sequence[tuple[str, str, str]] = (),
    ipv4: bool = True,
    ipv6: bool = False,
    internal: bool = False,
    labels: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
    aux_addresses: Mapping[str, str] | None = None,
    bridge: str | None = None,
    is_default: bool = False,
) -> NetworkRecord:
    """Record a network and make its link. See Network.create."""
    parse_network_name(name)
    if name in PREDEFINED and not is_default:
        raise InvalidOption(f"network {name!r} is predefined; choose another name")
    options = dict(options or {})
    network_id = secrets.token_hex(32)
    described = _described(engine, network_id, driver, options, internal=internal)
    versions = [
        version
        for version, given in ((4, ipv4), (6, ipv6))
        if driveroptions.switched(options, version, given)
    ]
    if driver == "bridge":
        bridge = bridge or options.get(driveroptions.NAME) or f"pc-{network_id[:10]}"
    record = NetworkRecord(
        id=network_id,
        name=name,
        driver=driver,
        bridge=bridge,
        created_at=time.time(),
        options={**described, "aux_addresses": dict(aux_addresses or {})},
        labels=dict(labels or {}),
    )
    with bridging.host_lock():
        bridging.sweep_abandoned()
        if record.bridge is not None and not is_default and givenbridges.check(engine, record.bridge):
            record = attrs.evolve(record, options={**record.options, "is_bridge_given": True})
            subnets = givenbridges.subnets_of(str(record.bridge), subnets, versions)
        # Until its bridge is there no other store could see that the subnet is taken.
        record = _insert(engine, record, subnets, versions)
        reached("network.create.inserted")
        try:
            bridging.make_bridge(engine, record)
        except BaseException:
            engine.store.state.networks.delete(record.id)
            bridging.forget(engine, [record.id])
            raise
    try:
        bridging.make_link(engine, record)
        bridge_rules = bridging.bridge_of(record)
        if bridge_rules is not None:
            bridging.firewall_of(engine).add_bridge(bridge_rules)
    except BaseException:
        with bridging.host_lock():
            engine.store.state.networks.delete(record.id)
            bridging.remove_link(engine, record)
        raise
    emit(engine, "network", "create", record.id, {"name": name, "type": driver})
    return record


def _insert(
    engine: Engine, record: NetworkRecord, given: Sequence[tuple[str, str, str]], versions: Sequence[int]
) -> NetworkRecord:
    """Record it with subnets that are free, with the host's lock held. versions: of IP, to be had."""
    from pycontainer.network import check_subnet, choose_subnet, host_subnets, overlaps

    is_given = record.bridge is not None and givenbridges.is_given(record)
    taken = [
        *host_subnets(besides=socket.if_nametoindex(str(record.bridge)) if is_given else 0),
        *(made.subnet for each in engine.store.state.networks.list() for made in each.subnets),
    ]
    chosen: dict[int, SubnetRecord] = {}
    for entry in given:
        subnet, gateway, ip_range = check_subnet(*entry)
        # Beside a link of the host its own subnet is what a network has.
        other = overlaps(subnet, taken) if record.driver == "bridge" else None
        if other is not None:
            raise AlreadyExists(
                f"subnet {subnet} overlaps {other}, which the host or another network has; choose another"
            )
        chosen[6 if ":" in subnet else 4] = _subnet(record, subnet, gateway, ip_range)
    # A subnet says that its kind of addresses is wanted; of IPv4, only that it was not ruled out.
    versions = sorted({*versions, *(version for version in chosen if version == 6)})
    if not versions:
        raise InvalidOption(f"network {record.name}: ipv4=False leaves it without addresses; give ipv6=True")
    if 4 in chosen and 4 not in versions:
        raise InvalidOption(f"subnet={chosen[4].subnet!r} is of IPv4, which ipv4=False rules out")
    mtu = record.options.get("mtu")
    if 6 in versions and isinstance(mtu, int) and mtu < _LEAST_MTU6:
        raise InvalidOption(
            f"options: packets of {mtu} bytes are too small for IPv6; give {_LEAST_MTU6} at least"
        )
    for version in versions:
        if version not in chosen:
            seed = int(record.id[:14], 16) if version == 6 else None
            chosen[version] = _subnet(record, choose_subnet(taken, seed=seed))
    made = attrs.evolve(record, subnets=tuple(chosen[version] for version in versions))
    engine.store.state.networks.insert(made)
    return made


def _subnet(record: NetworkRecord, subnet: str, gateway: str = "", ip_range: str = "") -> SubnetRecord:
    from pycontainer.network import gateway_of

    if not driveroptions.has_gateway(record.options, 6 if ":" in subnet else 4):
        if gateway:
            raise InvalidOption(f"gateway={gateway!r}: the options let the host have no address in {subnet}")
        return SubnetRecord(subnet=subnet, gateway="", ip_range=ip_range)
    if not gateway and record.options.get("parent") == parents.own_name(record.id):
        return SubnetRecord(subnet=subnet, gateway="", ip_range=ip_range)  # it leads nowhere
    return SubnetRecord(subnet=subnet, gateway=gateway or gateway_of(subnet), ip_range=ip_range)


def _described(
    engine: Engine, network_id: str, driver: str, options: Mapping[str, str], *, internal: bool
) -> dict[str, object]:
    """The options as the rest reads them. Raises InvalidOption, NotFound, Unsupported."""
    found = driveroptions.described(driver, options, internal=internal)
    if driver != "bridge":
        parent = str(found.get("parent") or parents.own_name(network_id))
        # Also when another network has had it made: the last one takes it away.
        found["is_parent_made"] = parents.check(parent, network_id) or bridging.is_ours(engine, parent)
        found["parent"] = parent
        from pycontainer.network import check_kind

        check_kind(driver)
    return found
