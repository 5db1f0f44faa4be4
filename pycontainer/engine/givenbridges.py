"""Bridges of the host that a network was given by name: used as they are, and left when the network goes.

Theory of operation. Such a bridge keeps what it has; the network's own addresses come beside that, and what
was added is written down before, so that whoever finds the network gone takes just this away again. A note on
the bridge, where it has no other already, tells other stores that it is taken.

Source: moby, daemon/libnetwork/drivers/bridge, BridgeIfaceCreator; unlike it, no address is replaced.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycontainer.engine import driveroptions, naming, restoring
from pycontainer.engine.hostlinks import note_of, set_to, setting
from pycontainer.errors import AlreadyExists, KernelError, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pycontainer.engine.engine import Engine
    from pycontainer.store import NetworkRecord

__all__ = ["check", "is_given", "is_taken", "release", "subnets_of", "take"]

_NOTE = "pycontainer-uses:"
_FILE = "given.json"


def check(engine: Engine, name: str) -> bool:
    """Whether the host has a bridge of this name that a network may be given; False where there is no link.

    Raises AlreadyExists for one that a network has, and a link that is no bridge.
    """
    place = Path("/sys/class/net", name)
    if not place.exists():
        return False
    others = [each for each in engine.store.state.networks.list() if each.bridge == name]
    if others:
        raise AlreadyExists(f"network {others[0].name} has the bridge {name}; choose another")
    if not (place / "bridge").is_dir():
        raise AlreadyExists(
            f"the host has a link named {name} already, which is no bridge; choose another name"
        )
    note = note_of(name)
    if note.startswith("pycontainer") and not _is_abandoned(note):
        raise AlreadyExists(f"a network of another store has the bridge {name}; choose another")
    return True


def subnets_of(
    name: str, given: Sequence[tuple[str, str, str]], versions: Sequence[int]
) -> list[tuple[str, str, str]]:
    """A network's subnets on this bridge, with gateways and ranges: the bridge's own where none is given."""
    import ipaddress  # only who makes such a network

    from pycontainer.network import addresses_of

    own = [
        ipaddress.ip_interface(f"{address}/{prefix}")
        for address, prefix in addresses_of(socket.if_nametoindex(name)).items()
    ]
    found = []
    for subnet, gateway, ip_range in given:
        within = [each for each in own if str(each.network) == subnet]
        found.append((subnet, gateway or (str(within[0].ip) if within else ""), ip_range))
    for version in versions:
        if not any((6 if ":" in subnet else 4) == version for subnet, _, _ in given):
            found += [(str(each.network), str(each.ip), "") for each in own if each.version == version][:1]
    return found


def is_given(network: NetworkRecord) -> bool:
    """Whether a network has a bridge that was there before it."""
    return bool(network.options.get("is_bridge_given"))


def is_taken(engine: Engine, network: NetworkRecord) -> bool:
    """Whether the network's bridge is there, noted as its, with its addresses."""
    return network.bridge is not None and note_of(network.bridge) == f"{_NOTE}{engine.store_tag}"


def take(engine: Engine, network: NetworkRecord) -> None:
    """Give the bridge the network's addresses. Idempotent; the caller holds the host's lock.

    Raises NotFound, KernelError, DeadlineExceeded.
    """
    from pycontainer.network import Route, addresses_of

    name = str(network.bridge)
    try:
        index = socket.if_nametoindex(name)
    except OSError:
        raise NotFound(
            f"network {network.name}: the bridge {name} that it was given is gone; make it again"
        ) from None
    has = addresses_of(index)
    wanted = [
        (made.gateway, made.subnet)
        for made in network.subnets
        if made.gateway and not (driveroptions.is_inhibited(network) and ":" not in made.subnet)
    ]
    added = [[address, subnet] for address, subnet in wanted if address not in has]
    settings = {f"ipv4/conf/{name}/route_localnet": "1"}
    if any(":" in made.subnet for made in network.subnets):
        settings[f"ipv6/conf/{name}/disable_ipv6"] = "0"
    before = {path: content for path in settings if (content := setting(path))}
    kept = _read(engine, network.id)
    # What an attempt that was cut off, or the last one before a reboot, wrote down is still to be undone.
    added += [each for each in kept.get("added", ()) if each not in added]
    _write(engine, network.id, {"bridge": name, "added": added, "before": before | kept.get("before", {})})
    for path, content in settings.items():
        set_to(path, content)
    with Route() as route:
        route.raise_link(name)
        for address, subnet in added:
            route.add_address(index, address, subnet)
        note = note_of(name)
        if not note or note.startswith(_NOTE):
            route.set_alias(name, f"{_NOTE}{engine.store_tag}")
        route.send()


def release(engine: Engine, network_id: str) -> None:
    """Undo what a network that is gone has changed of its bridge; idempotent."""
    from pycontainer.network import Route

    kept = _read(engine, network_id)
    name = str(kept.get("bridge", ""))
    if not name:
        return
    with suppress(OSError, KernelError), Route() as route:
        index = socket.if_nametoindex(name)
        if note_of(name) == f"{_NOTE}{engine.store_tag}":
            route.set_alias(name, "")
            route.send()
        for address, subnet in kept.get("added", ()):
            route.delete_address(index, address, subnet)
            with suppress(KernelError):  # somebody else has
                route.send()
        for path, content in kept.get("before", {}).items():
            set_to(path, content)


def _is_abandoned(note: str) -> bool:
    """Whether the store that took a bridge has no networks any more, or is no more there itself."""
    try:
        return not Path((restoring.STORES / note.removeprefix(_NOTE)).read_text(), "state.db").exists()
    except OSError:
        return note.startswith(_NOTE)


def _place(engine: Engine, network_id: str) -> Path:
    return naming.names_directory(engine.store.root, network_id).parent / _FILE


def _read(engine: Engine, network_id: str) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(_place(engine, network_id).read_text())
        if isinstance(found, dict):
            return found
    return {}


def _write(engine: Engine, network_id: str, content: Mapping[str, Any]) -> None:
    place = _place(engine, network_id)
    new = place.with_suffix(".new")
    new.write_text(json.dumps(content))
    os.replace(new, place)
