"""Making a network: what is asked for, a subnet that is free, the row and the link; all or nothing."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from pycontainer.checkpoints import reached
from pycontainer.engine import bridging, vlans
from pycontainer.engine.events import emit
from pycontainer.errors import AlreadyExists, InvalidOption, NotFound
from pycontainer.options import parse_network_name
from pycontainer.store import NetworkRecord, SubnetRecord

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine

__all__ = ["KILL_POINTS", "PREDEFINED", "aligned", "make_network"]

KILL_POINTS = ("network.create.inserted",)

PREDEFINED = ("bridge", "default", "host", "none")
"""Names that are nobody's to give or to remove."""

_DRIVERS = ("bridge", "macvlan", "ipvlan")
_MODES = {"macvlan": ("bridge", "private", "vepa", "passthru"), "ipvlan": ("l2", "l3", "l3s")}
_ICC = "com.docker.network.bridge.enable_icc"
_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
_MTU = "com.docker.network.driver.mtu"
_NAME = "com.docker.network.bridge.name"
_BRIDGE_OPTIONS = (_ICC, _MASQUERADE, _MTU, _NAME)


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
    described = _described(engine, driver, dict(options or {}), internal=internal)
    network_id = secrets.token_hex(32)
    if driver == "bridge":
        bridge = bridge or dict(options or {}).get(_NAME) or f"pc-{network_id[:10]}"
        if not is_default and os.path.exists(f"/sys/class/net/{bridge}"):
            raise AlreadyExists(
                f"the host has a link named {bridge} already; choose another name for the bridge"
            )
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
        # Until its bridge is there no other store could see that the subnet is taken.
        record = _insert(engine, record, subnets, ipv6=ipv6)
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
    engine: Engine, record: NetworkRecord, given: Sequence[tuple[str, str, str]], *, ipv6: bool
) -> NetworkRecord:
    """Record it with subnets that are free, with the host's lock held."""
    from pycontainer.network import check_subnet, choose_subnet, gateway_of, host_subnets, overlaps

    taken = [
        *host_subnets(),
        *(made.subnet for each in engine.store.state.networks.list() for made in each.subnets),
    ]
    chosen: list[SubnetRecord] = []
    for entry in given:
        subnet, gateway, ip_range = check_subnet(*entry)
        # Beside a link of the host its own subnet is what a network has.
        other = overlaps(subnet, taken) if record.driver == "bridge" else None
        if other is not None:
            raise AlreadyExists(
                f"subnet {subnet} overlaps {other}, which the host or another network has; choose another"
            )
        chosen.append(SubnetRecord(subnet=subnet, gateway=gateway or gateway_of(subnet), ip_range=ip_range))
    if not any(":" not in made.subnet for made in chosen):
        subnet = choose_subnet(taken)
        chosen.insert(0, SubnetRecord(subnet=subnet, gateway=gateway_of(subnet)))
    if ipv6 and not any(":" in made.subnet for made in chosen):
        subnet = choose_subnet(taken, seed=int(record.id[:14], 16))
        chosen.append(SubnetRecord(subnet=subnet, gateway=gateway_of(subnet)))
    made = attrs.evolve(record, subnets=tuple(sorted(chosen, key=lambda each: ":" in each.subnet)))
    engine.store.state.networks.insert(made)
    return made


def _described(engine: Engine, driver: str, options: dict[str, str], *, internal: bool) -> dict[str, object]:
    """The options as the rest reads them. Raises InvalidOption, Unsupported."""
    if driver not in _DRIVERS:
        raise InvalidOption(f"driver={driver!r}; give {', '.join(_DRIVERS)}")
    found: dict[str, object] = {"internal": internal, "driver_options": dict(options)}
    if driver == "bridge":
        for key in options:
            if key not in _BRIDGE_OPTIONS:
                raise InvalidOption(
                    f"options: the driver bridge has no {key!r}; give {', '.join(_BRIDGE_OPTIONS)}"
                )
        found["icc"] = _flag(options, _ICC)
        found["masquerade"] = _flag(options, _MASQUERADE)
    else:
        mode_key = f"{driver}_mode"
        for key in options:
            if key not in ("parent", mode_key, _MTU):
                raise InvalidOption(
                    f"options: the driver {driver} has no {key!r}; give parent and {mode_key}"
                )
        mode = options.get(mode_key, _MODES[driver][0])
        if mode not in _MODES[driver]:
            raise InvalidOption(f"options: {mode_key}={mode!r}; give {', '.join(_MODES[driver])}")
        parent = options.get("parent", "")
        if not parent or ("." not in parent and not os.path.exists(f"/sys/class/net/{parent}")):
            raise NotFound(f"options: parent={parent!r} is no link of this host")
        # Also when another network has had it made: the last one takes it away.
        is_vlan_made = vlans.check(parent) or bridging.is_ours(engine, parent)
        from pycontainer.network import check_kind

        check_kind(driver)
        found.update(parent=parent, mode=mode, is_vlan_made=is_vlan_made)
    if _MTU in options:
        if not options[_MTU].isdigit() or not 68 <= int(options[_MTU]) <= 65535:
            raise InvalidOption(f"options: {_MTU}={options[_MTU]!r}; give 68 to 65535")
        found["mtu"] = int(options[_MTU])
    return found


def _flag(options: Mapping[str, str], key: str) -> bool:
    text = options.get(key, "true").lower()
    if text not in ("true", "1", "false", "0"):
        raise InvalidOption(f"options: {key}={text!r}; give true or false")
    return text in ("true", "1")
