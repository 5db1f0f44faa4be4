"""What containers may reach outside of their own networks, and that nobody gets around it by another address.

Theory of operation. The rules of the store's table (network.firewall) know a container by its addresses. So
that these are all it can send from, whatever capabilities it has, a table of the bridge family guards the
host's end of each of its links: what comes in there with another source is dropped, and so is what is
neither IP nor ARP. Messages of IPv6 about the link itself, which no host forwards, pass from addresses of the
link.

Every change is the difference between what there is and what there is to be, so each may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import collapse_addresses, ip_network

from attrs import frozen

from pycontainer.kernel import nfnetlink as nf
from pycontainer.network.cuts import send_to_bridges, table_name

__all__ = [
    "Egress",
    "guard",
    "guard_base",
    "guard_name",
    "guard_part",
    "is_guarded",
    "lift",
    "restrict",
    "routed",
]

_PREROUTING, _FILTER = 0, -200  # NF_BR_PRE_ROUTING, NF_BR_PRI_FILTER_BRIDGED
_PROTOCOL, _IIFNAME, _L4PROTO = 1, 6, 16
_ETHER_4, _ETHER_6, _ETHER_ARP = b"\x08\0", b"\x86\xdd", b"\x08\x06"
_ICMP6 = b"\x3a"
Change = tuple[str, nf.Element]


@frozen(kw_only=True)
class Egress:
    """What a container may reach outside of its own networks: these subnets, and whom it answers.

    places: the host's ends of its links, with an address of it each. allowed: subnets, as 10.0.0.0/8.
    """

    places: tuple[tuple[str, str], ...]
    allowed: tuple[str, ...] = ()


def restrict(store_tag: str, policy: Egress, *, keeps_named: bool) -> None:
    """Let a container reach only this, whatever it was let to before. The guard must be there.

    keeps_named: what it has been let to by name stays for its time. Raises Unsupported, KernelError,
    DeadlineExceeded.
    """
    _change(store_tag, policy.places, routed(policy), _bridged(policy), keeps_named=keeps_named)


def lift(store_tag: str, places: Sequence[tuple[str, str]]) -> None:
    """Let whoever has these places reach everything; idempotent. After the last of them the guard goes.

    Raises as restrict.
    """
    _change(store_tag, places, [], [], keeps_named=False)
    table = _guard_of(store_tag)
    if nf.rule_count(table) and not nf.elements_of(table, "guarded"):
        guard(store_tag, [])


def is_guarded(store_tag: str) -> bool:
    """Whether the guard is there, and whole. Raises as restrict."""
    table = _guard_of(store_tag)
    return nf.rule_count(table) == len(_rules(table))


def guard(store_tag: str, policies: Sequence[Egress]) -> None:
    """Guard the links of these and no others; without any there is no guard. Raises as restrict."""
    table = _guard_of(store_tag)
    if not policies and not nf.rule_count(table):
        return  # there are kernels that have nothing of the kind
    batch = [table.add(), table.delete()]
    if policies:
        batch += [table.add(), *guard_base(store_tag), *guard_part(store_tag, policies)]
    send_to_bridges(batch)


def guard_base(store_tag: str) -> list[bytes]:
    """The messages that make what is in the guard's table whatever it guards."""
    table = _guard_of(store_tag)
    chain = table.chain("prerouting", "filter", _PREROUTING, _FILTER)
    return [*_sets(table), chain, *_rules(table)]


def guard_part(store_tag: str, policies: Iterable[Egress]) -> list[bytes]:
    """The messages that have it guard these; idempotent."""
    table = _guard_of(store_tag)
    return [table.elements(set_, [each]) for policy in policies for set_, each in _bridged(policy)]


def guard_name(store_tag: str) -> str:
    """The name of the guard's table."""
    return f"{table_name(store_tag)}_egress"


def _guard_of(store_tag: str) -> nf.Table:
    return nf.Table(guard_name(store_tag), nf.BRIDGE)


def _change(
    store_tag: str,
    places: Sequence[tuple[str, str]],
    routes: Sequence[Change],
    frames: Sequence[Change],
    *,
    keeps_named: bool,
) -> None:
    links = tuple(nf.link(link) for link, _ in places)
    own: dict[str, tuple[bytes, ...]] = {}
    for name in ("restricted", "allowed") if keeps_named else ("restricted", "allowed", "named"):
        for version in (4, 6):
            own[f"{name}{version}"] = tuple(
                nf.address(address) for _, address in places if _version(address) == version
            )
    batch = _difference(nf.Table(table_name(store_tag)), own, routes)
    batch += _difference(_guard_of(store_tag), dict.fromkeys(("guarded", "own4", "own6"), links), frames)
    if batch:
        send_to_bridges(batch)


def _difference(
    table: nf.Table, own: Mapping[str, tuple[bytes, ...]], wanted: Sequence[Change]
) -> list[bytes]:
    """Take away what is not wanted; the messages that add what is not there.

    own: of each set, what the keys begin with that are at stake.
    """
    known, stale = set(), []
    for set_, prefixes in own.items():
        for element in nf.elements_of(table, set_) if prefixes else ():
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
    for address in dict.fromkeys(address for _, address in policy.places):
        own, version = nf.address(address), _version(address)
        of_version = (each for each in map(ip_network, policy.allowed) if each.version == version)
        for network in collapse_addresses(of_version):  # type: ignore[type-var]
            low, high = network.network_address.packed, network.broadcast_address.packed
            found.append((f"allowed{version}", (own + low, own + high, nf.UP_TO)))
        found.append((f"restricted{version}", (own, None, 0)))
    return found


def _bridged(policy: Egress) -> list[Change]:
    found: list[Change] = [
        (f"own{_version(address)}", (nf.link(link) + nf.address(address), None, 0))
        for link, address in policy.places
    ]
    links = dict.fromkeys(link for link, _ in policy.places)
    return found + [("guarded", (nf.link(link), None, 0)) for link in links]


def _version(address: str) -> int:
    return 6 if ":" in address else 4


# -- the guard -------------------------------------------------------------------------------------


def _sets(table: nf.Table) -> list[bytes]:
    described = (("guarded", (nf.IFNAME,)), ("own4", (nf.IFNAME, nf.IP4)), ("own6", (nf.IFNAME, nf.IP6)))
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
