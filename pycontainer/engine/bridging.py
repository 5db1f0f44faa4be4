"""What a network has on the host, its bridge and rules of the packet filter, and what a kill leaves of them.

Theory of operation. Bridges and rules outlive every process. A bridge has a note of whose it is, which is
written last: the next process can tell a whole one from one that was being made. Rules
lie in the store's own table, and are made anew as a whole only when another program has deleted them: here,
by the next start. Until then the monitors have made those of the containers that run (engine.restoring).

One lock of the host is held while a subnet is chosen and its bridge made: then the route tells every other
store that it is taken.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import weakref
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pycontainer.checkpoints import reached
from pycontainer.engine import driveroptions, givenbridges, naming, parents, restoring
from pycontainer.engine.hostlinks import note_of, set_to
from pycontainer.engine.state import observe
from pycontainer.errors import AlreadyExists, KernelError, Unsupported
from pycontainer.kernel import nfnetlink
from pycontainer.store import EndpointRecord, FileLock, NetworkRecord

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.network import Bridge, Firewall

__all__ = [
    "KILL_POINTS",
    "bridge_of",
    "delete_link",
    "ensure_rules",
    "firewall_of",
    "forget",
    "host_lock",
    "is_ours",
    "link_name",
    "make_bridge",
    "make_link",
    "make_parent",
    "remove_link",
    "rules_are_ours",
    "rules_lock",
    "sweep",
    "sweep_abandoned",
]

KILL_POINTS = (
    "network.bridge.added",  # a bridge is there, without addresses
    "network.link.made",  # it is whole, and its rules are not there
    "network.link.deleted",  # and the network's files are there
)

_HOST_LOCK = Path("/run/pycontainer/network.lock")
_LOCK_S = 30.0
_FILES = "networks"
_END = "pcv"  # the host's ends of containers' links
_ALIAS = "pycontainer:"
_generations: weakref.WeakKeyDictionary[Engine, int] = weakref.WeakKeyDictionary()


@contextmanager
def host_lock() -> Iterator[None]:
    """Let one process of the host at a time choose addresses and make links. Raises DeadlineExceeded."""
    _HOST_LOCK.parent.mkdir(0o755, parents=True, exist_ok=True)
    with FileLock(_HOST_LOCK).held(_LOCK_S):
        yield


def make_link(engine: Engine, network: NetworkRecord) -> None:
    """Make the network's bridge and rules, if they are not there: after a reboot they are gone.

    Raises KernelError, Unsupported, DeadlineExceeded.
    """
    if network.bridge is not None and not _is_there(engine, network):
        with host_lock():
            make_bridge(engine, network)
    elif parents.made_for([network]):
        with host_lock():
            make_parent(engine, network)
    reached("network.link.made")
    ensure_rules(engine)


def make_parent(engine: Engine, network: NetworkRecord) -> None:
    """Make the link that the network's links are to be beside, if that is not there.

    The caller holds the host's lock. Raises KernelError, NotFound, Unsupported, DeadlineExceeded.
    """
    from pycontainer.network import Route

    name = str(network.options["parent"])
    if not os.path.exists(f"/sys/class/net/{name}"):
        naming.names_directory(engine.store.root, network.id).mkdir(0o700, parents=True, exist_ok=True)
        _claim(engine)
        with Route() as route:
            parents.add(route, network, f"{_ALIAS}{engine.store_tag}")
            route.send()


def is_ours(engine: Engine, name: str) -> bool:
    """Whether a link of the host is this store's."""
    return _is_whole(engine, name)


def _is_there(engine: Engine, network: NetworkRecord) -> bool:
    """Whether a network's bridge is there with all that it needs."""
    if givenbridges.is_given(network):
        return givenbridges.is_taken(engine, network)
    return network.bridge is not None and _is_whole(engine, network.bridge)


def _is_whole(engine: Engine, bridge: str) -> bool:
    """Whether a bridge is there, and this store's; its note is written when all else is done."""
    return note_of(bridge) == f"{_ALIAS}{engine.store_tag}"


def make_bridge(engine: Engine, network: NetworkRecord) -> None:
    """Make the network's bridge if it has one and it is not there; the caller holds the host's lock.

    One that was left half made is made anew. Raises AlreadyExists, KernelError, DeadlineExceeded.
    """
    from pycontainer.network import Route

    name = network.bridge
    if name is None or _is_there(engine, network):
        return
    mtu = network.options.get("mtu")
    # These tell the next process that there may be a bridge, should the row go and the rest not.
    naming.names_directory(engine.store.root, network.id).mkdir(0o700, parents=True, exist_ok=True)
    _claim(engine)
    restoring.unsee(engine.store_tag)  # a host without its bridge is not the one that was looked at
    if givenbridges.is_given(network):
        givenbridges.take(engine, network)
        _forward(network)
        return
    if os.path.exists(f"/sys/class/net/{name}"):
        _check_unclaimed(name)
        delete_link(name)
    with Route() as route:
        # With one of its own the address does not follow those of its ports, which come and go.
        route.add_bridge(name, mac=_mac_of_bridge(name), mtu=mtu if isinstance(mtu, int) else None)
        route.send()
        try:
            reached("network.bridge.added")
            index = socket.if_nametoindex(name)
            has_ipv6 = any(":" in made.subnet for made in network.subnets)
            set_to(f"ipv4/conf/{name}/route_localnet", "1")
            set_to(f"ipv6/conf/{name}/accept_ra", "0")
            set_to(f"ipv6/conf/{name}/disable_ipv6", "0" if has_ipv6 else "1")
            for made in network.subnets:
                if made.gateway and not (driveroptions.is_inhibited(network) and ":" not in made.subnet):
                    route.add_address(index, made.gateway, made.subnet)
            route.set_alias(name, f"{_ALIAS}{engine.store_tag}")
            route.send()
        except BaseException:
            route.delete_link(name)
            with suppress(KernelError):
                route.send()
            raise
    _forward(network)


def _forward(network: NetworkRecord) -> None:
    """Let the host pass on what goes out of the network, and comes in."""
    if not network.options.get("internal"):
        set_to("ipv4/ip_forward", "1")
        if any(":" in made.subnet for made in network.subnets):
            set_to("ipv6/conf/all/forwarding", "1")


def _check_unclaimed(bridge: str) -> None:
    """Refuse a link that is somebody else's: a bridge of ours has no note only while it is being made."""
    directory = Path("/sys/class/net", bridge)
    with suppress(FileNotFoundError):
        is_bare = (directory / "bridge").is_dir() and not any((directory / "brif").iterdir())
        if not is_bare or note_of(bridge):
            raise AlreadyExists(
                f"the host has a link named {bridge} already; choose another name for the bridge"
            )


def _mac_of_bridge(name: str) -> str:
    return f"02:42:{hashlib.sha256(name.encode()).digest()[:4].hex(':')}"


def firewall_of(engine: Engine) -> Firewall:
    """The packet filter of the engine's store."""
    from pycontainer.network import Firewall

    return Firewall(engine.store_tag)


def bridge_of(network: NetworkRecord) -> Bridge | None:
    """A network as the packet filter sees it; None if its packets do not pass one."""
    from pycontainer.network import Bridge

    if network.bridge is None:
        return None
    return Bridge(
        name=network.bridge,
        subnets=tuple(made.subnet for made in network.subnets),
        is_internal=bool(network.options.get("internal")),
        is_masqueraded=bool(network.options.get("masquerade", True)),
        modes={version: driveroptions.mode_of(network, version) for version in (4, 6)},
        sources={version: driveroptions.source_of(network, version) for version in (4, 6)},
        trusted=driveroptions.trusted_of(network),
    )


def rules_lock(engine: Engine) -> AbstractContextManager[None]:
    """Let one process at a time change what follows from the database as a whole. Raises DeadlineExceeded."""
    return engine.store.container_lock("firewall", _LOCK_S)


def ensure_rules(engine: Engine, *, is_forced: bool = False) -> None:
    """Make the store's rules if another program has deleted them; asked once per change of any rule."""
    generation = nfnetlink.generation()
    if not is_forced:
        if engine not in _generations and restoring.are_seen(engine.store_tag, generation):
            _generations[engine] = generation
        if _generations.get(engine) == generation:
            return
    from pycontainer.engine import egress
    from pycontainer.engine.publishing import published
    from pycontainer.network import guard, is_guarded

    with rules_lock(engine):
        store = engine.store
        networks = store.state.networks.list()
        if not networks:
            return  # the last one was removed since we looked, and its rules with it
        bridges = [bridge for each in networks if (bridge := bridge_of(each)) is not None]
        ports = [
            port
            for endpoint in {each.container_id for each in store.state.endpoints.list()}
            for port in published(observe(store.container_dir(endpoint)))
        ]
        policies = egress.policies(engine)
        # The guard first: what the rules know a container by must hold when they do.
        if is_forced or is_guarded(engine.store_tag) != bool(policies):
            guard(engine.store_tag, policies)
        firewall_of(engine).ensure(bridges, ports, policies, is_forced=is_forced)
        restoring.write_base(engine)
        _generations[engine] = nfnetlink.generation()
        if _generations[engine] == generation:
            # Nothing was amiss, and nothing has changed since we began to look.
            restoring.note_seen(engine.store_tag, generation)


def sweep(engine: Engine, *, is_forced: bool = False) -> None:
    """Delete what is left of networks whose removal was cut short, and the rules of killed containers.

    Cheap where nothing is left. is_forced: whether containers ended unseen.
    """
    if _left(engine):
        with host_lock():
            left = _left(engine)
            networks = engine.store.state.networks.list()
            bridges = {network.bridge for network in networks} | parents.made_for(networks)
            with suppress(KernelError):  # else the files stay, and the next process tries again
                for name in os.listdir("/sys/class/net"):
                    if name not in bridges and not name.startswith(_END) and _is_whole(engine, name):
                        delete_link(name)
                forget(engine, left)
        is_forced = True
    if is_forced and engine.store.state.networks.list():
        with suppress(Unsupported, KernelError):
            ensure_rules(engine, is_forced=True)


def sweep_abandoned() -> None:
    """Delete the bridges and rules of stores whose directory is gone: nobody will ever open these again.

    The caller holds the host's lock. A bridge that has ports stays.
    """
    bridges: dict[str, list[str]] = {}
    for name, tag in _claimed():
        bridges.setdefault(tag, []).append(name)
    for place in restoring.STORES.glob("*"):
        tag = place.name.partition(".")[0]
        try:
            if place.suffix:
                if not (restoring.STORES / tag).exists():
                    place.unlink()  # of a process that was killed, or of older ones
                continue
            if Path(place.read_text(), "state.db").exists():
                continue
            unused = [name for name in bridges.get(tag, ()) if not _is_used(name)]
            for name in unused:
                delete_link(name)
        except OSError:
            continue  # another process is at it
        if len(unused) == len(bridges.get(tag, ())):
            # With no bridge of theirs left rules refuse whoever has these addresses now.
            _remove_rules(tag)
            restoring.forget(tag)


def _is_used(name: str) -> bool:
    """Whether a bridge has ports, or a VLAN has links beside it. Raises OSError."""
    place = f"/sys/class/net/{name}"
    if os.path.exists(f"{place}/brif"):
        return bool(os.listdir(f"{place}/brif"))
    return any(each.startswith("upper_") for each in os.listdir(place))


def _claimed() -> Iterator[tuple[str, str]]:
    """Every bridge of a store on this host, with its store's tag."""
    for name in os.listdir("/sys/class/net"):
        if not name.startswith(_END):
            note = note_of(name)
            if note.startswith(_ALIAS):
                yield name, note.removeprefix(_ALIAS)


def _remove_rules(tag: str) -> None:
    from pycontainer.network import Firewall, cut, guard

    with suppress(Unsupported):
        cut(tag, [])
        guard(tag, [])
        Firewall(tag).remove()


def _claim(engine: Engine) -> None:
    """Tell every store of this host where this one is."""
    place = restoring.STORES / engine.store_tag
    if not place.exists():
        place.parent.mkdir(0o755, parents=True, exist_ok=True)
        new = place.with_suffix(".new")
        new.write_text(os.path.realpath(engine.root))
        new.rename(place)


def _left(engine: Engine) -> list[str]:
    """Ids of networks that have files and no row."""
    found = os.listdir(engine.store.root / _FILES)
    known = {network.id for network in engine.store.state.networks.list()}
    return [network_id for network_id in found if network_id not in known]


def forget(engine: Engine, network_ids: Iterable[str]) -> None:
    """Delete files, the last trace of a network; after the last network the store's rules go, too."""
    if not engine.store.state.networks.list():
        # Who is making them has seen the network that is gone: what it makes would stay.
        with rules_lock(engine):
            # First what monitors, of containers that are about to end, would make them of again.
            restoring.forget(engine.store_tag)
            _remove_rules(engine.store_tag)
    for network_id in network_ids:
        givenbridges.release(engine, network_id)
        if os.path.exists(f"/sys/class/net/{parents.own_name(network_id)}"):
            delete_link(parents.own_name(network_id))
        naming.forget_network(engine.store.root, network_id)


def delete_link(name: str) -> None:
    """Delete a link of the host; idempotent. Raises KernelError, DeadlineExceeded."""
    from pycontainer.network import Route

    with Route() as route:
        route.delete_link(name)
        try:
            route.send()
        except KernelError as error:
            if error.errno != errno.ENODEV:
                raise


def remove_link(engine: Engine, network: NetworkRecord) -> None:
    """Delete the bridge and the rules of a network whose row is gone; idempotent.

    The caller holds the host's lock, so that no network comes meanwhile.
    """
    bridge = bridge_of(network)
    if bridge is not None:
        if not givenbridges.is_given(network):
            delete_link(bridge.name)
        with suppress(Unsupported):
            firewall_of(engine).remove_bridge(bridge)
    for parent in parents.made_for([network]) - parents.made_for(engine.store.state.networks.list()):
        if _is_whole(engine, parent):
            delete_link(parent)
    reached("network.link.deleted")
    forget(engine, [network.id])


def rules_are_ours(engine: Engine) -> None:
    """Note that the last change of any rule was this process's: none of the store's has gone by it."""
    _generations[engine] = nfnetlink.generation()


def link_name(endpoint: EndpointRecord) -> str:
    """The name of the host's end of a place."""
    named = f"{endpoint.container_id}{endpoint.network_id}".encode()
    return f"{_END}{hashlib.sha256(named).hexdigest()[:12]}"
