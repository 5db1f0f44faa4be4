"""What containers may reach outside of their own networks, and that nobody gets around it by another address.

Theory of operation. The rules of the store's table (network.firewall) know a container by its addresses. So
that these are all it can send from, whatever capabilities it has, a table of the bridge family guards the
host's end of each of its links: what comes in there with another source is dropped, and so is what is
neither IP nor ARP. Messages of IPv6 about the link itself, which no host forwards, pass from addresses of the
link.

Every change is the difference between what there is and what there is to be, so each may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import collapse_addresses, ip_address, ip_network

from attrs import frozen

from pycontainer.kernel import nfnetlink as nf
from pycontainer.network.cuts import send_to_bridges

__all__ = ["Egress", "guard", "lift", "restrict", "routed"]

_IP4, _IP6, _IFNAME = (7, 4), (8, 16), (41, 16)
_PREROUTING, _FILTER = 0, -200  # NF_BR_PRE_ROUTING, NF_BR_PRI_FILTER_BRIDGED
_PROTOCOL, _IIFNAME, _L4PROTO = 1, 6, 16
_ETHER_4, _ETHER_6, _ETHER_ARP = b"\x08\0", b"\x86\xdd", b"\x08\x06"
_ICMP6 = b"\x3a"
_ROUTED = ("restricted4", "restricted6", "allowed4", "allowed6")
_NAMED = ("named4", "named6")
_BRIDGED = ("guarded", "own4", "own6")

Change = tuple[str, nf.Element]


@frozen(kw_only=True)
class Egress:
    """What a container may reach outside of its own networks: these subnets, and whom it answers.

    places: the host's ends of its links, with an address of it each. allowed: subnets, as 10.0.0.0/8.
    """

    places: tuple[tuple[str, str], ...]
    allowed: tuple[str, ...] = ()


def restrict(store_tag: str, policy: Egress, *, keeps_named: bool = True) -> None:
    """Let a container reach only this, whatever it was let to before. The guard must be there.

    keeps_named: what it has been let to by name stays for its time. Raises Unsupported, KernelError,
    DeadlineExceeded.
    """
    _change(store_tag, policy.places, routed(policy), _bridged(policy), keeps_named=keeps_named)


def lift(store_tag: str, places: Iterable[tuple[str, str]]) -> None:
    """Let whoever has these places reach everything; idempotent. Raises as restrict."""
    _change(store_tag, places, [], [], keeps_named=False)


def guard(store_tag: str, policies: Iterable[Egress], *, is_forced: bool = False) -> None:
    """Guard the links of these, unless that is so; without any there is no guard. Raises as restrict."""
    table = _guard_of(store_tag)
    rules, policies = _rules(table), list(policies)
    count = nf.rule_count(table)
    if count == (len(rules) if policies else 0) and not is_forced:
        return
    batch = [table.add(), table.delete()]
    if policies:
        chain = table.chain("prerouting", "filter", _PREROUTING, _FILTER)
        batch += [table.add(), *_sets(table), chain, *rules]
        batch += [table.elements(set_, [each]) for policy in policies for set_, each in _bridged(policy)]
    elif not count:
        return
    send_to_bridges(batch)


def _guard_of(store_tag: str) -> nf.Table:
    return nf.Table(f"pycontainer_{store_tag}_egress", nf.BRIDGE)


def _change(
    store_tag: str,
    places: Iterable[tuple[str, str]],
    routes: Sequence[Change],
    frames: Sequence[Change],
    *,
    keeps_named: bool,
) -> None:
    places = list(places)
    addresses = tuple(_packed(address) for _, address in places)
    links = tuple(_name(link) for link, _ in places)
    table, guards = nf.Table(f"pycontainer_{store_tag}"), _guard_of(store_tag)
    own = _ROUTED if keeps_named else (*_ROUTED, *_NAMED)
    batch = _difference(table, own, addresses, routes) + _difference(guards, _BRIDGED, links, frames)
    if batch:
        send_to_bridges(batch)


def _difference(
    table: nf.Table, sets: Iterable[str], own: tuple[bytes, ...], wanted: Sequence[Change]
) -> list[bytes]:
    """Take away what of one's own is not wanted; the messages that add what is not there."""
    known, stale = set(), []
    for set_ in sets:
        width = {"4": 4, "6": 16}.get(set_[-1], 16) if set_ not in _BRIDGED else 16
        prefixes = tuple(each for each in own if len(each) == width)
        for element in nf.elements_of(table, set_):
            if element[0].startswith(prefixes):
                known.add((set_, element))
                if (set_, element) not in wanted:
                    stale.append(table.without(set_, [element]))
    nf.withdraw(stale)
    return [table.elements(set_, [element]) for set_, element in wanted if (set_, element) not in known]


# -- elements --------------------------------------------------------------------------------------


def routed(policy: Egress) -> list[Change]:
    """What of a policy is in the sets of the store's table."""
    found: list[Change] = []
    for version in (4, 6):
        of_version = (each for each in map(ip_network, policy.allowed) if each.version == version)
        networks = list(collapse_addresses(of_version))  # type: ignore[type-var]
        for address in dict.fromkeys(address for _, address in policy.places):
            own = ip_address(address)
            if own.version != version:
                continue
            for network in networks:
                low, high = network.network_address.packed, network.broadcast_address.packed
                found.append((f"allowed{version}", (own.packed + low, own.packed + high, nf.UP_TO)))
            found.append((f"restricted{version}", (own.packed, None, 0)))
    return found


def _bridged(policy: Egress) -> list[Change]:
    found: list[Change] = []
    for link, address in policy.places:
        found.append((f"own{6 if ':' in address else 4}", (_name(link) + _packed(address), None, 0)))
    links = dict.fromkeys(link for link, _ in policy.places)
    return found + [("guarded", (_name(link), None, 0)) for link in links]


def _name(link: str) -> bytes:
    return link.encode("ascii").ljust(16, b"\0")


def _packed(address: str) -> bytes:
    return ip_address(address).packed


# -- the guard -------------------------------------------------------------------------------------


def _sets(table: nf.Table) -> list[bytes]:
    described = (("guarded", (_IFNAME,)), ("own4", (_IFNAME, _IP4)), ("own6", (_IFNAME, _IP6)))
    return [table.set(number, name, key) for number, (name, key) in enumerate(described, 1)]


def _rules(table: nf.Table) -> list[bytes]:
    accept = nf.verdict(nf.ACCEPT)
    link, source = nf.load_meta(_IIFNAME), nf.FIRST + 4
    is_of_link = _is(_ETHER_6) + nf.load_meta(_L4PROTO) + nf.compare(_ICMP6)
    begin_of_source, whole_source = nf.load_header(1, 8, 2), nf.load_header(1, 8, 16)
    rules = (
        link + nf.look_up("guarded", is_in=False) + accept,
        _is(_ETHER_4) + link + nf.load_header(1, 12, 4, source) + nf.look_up("own4") + accept,
        _is(_ETHER_6) + link + nf.load_header(1, 8, 16, source) + nf.look_up("own6") + accept,
        _is(_ETHER_ARP) + accept,
        is_of_link + begin_of_source + nf.mask(b"\xff\xc0") + nf.compare(b"\xfe\x80") + accept,
        is_of_link + whole_source + nf.compare(bytes(16)) + accept,
        nf.verdict(nf.DROP),
    )
    return [table.rule("prerouting", rule) for rule in rules]


def _is(ether_type: bytes) -> bytes:
    return nf.load_meta(_PROTOCOL) + nf.compare(ether_type)
