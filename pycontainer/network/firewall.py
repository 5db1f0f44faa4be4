"""The packet filter of one store: one table of its own, and nothing of anybody else's is touched.

Theory of operation. Whatever the number of networks, containers and ports, a packet meets a fixed number of
rules: what differs is in sets and maps, which the kernel looks up.

- forward: between the networks, and between them and the world. What comes to a bridge is dropped but for
  answers, published ports, and its own containers; what an internal one sends leaves it not at all. A network
  may be open to everybody (gateway mode nat-unprotected), and its published ports may be reached at the
  containers' own addresses: by everybody (routed), or by links of the host that are trusted.
- prerouting, output: a published port becomes the container's address, for packets to this host only.
  To 127.0.0.1 as well: the bridges have route_localnet set, and what a container sends to 127.0.0.0/8 is
  dropped before it is routed (CVE-2020-8558), as is what other hosts send to a port published there.
- postrouting: who leaves its bridges does so by the host's address, or one of its addresses that the network
  names; and who reaches a container through a
  published port of this host, from the host's loopback or from a neighbour, seems to be its gateway, for
  the answer would not find the way back.
- input, forward: who has a policy for what it may reach (egress) is let to that, and to answers.

Packets between containers of one bridge are not routed; whether these talk is the bridge's own business.

Source: moby 29, daemon/libnetwork/drivers/bridge/internal/nftabler; nft(8).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_network
from typing import Literal

from attrs import field, frozen

from pycontainer.errors import KernelError, Unsupported
from pycontainer.kernel import conntrack
from pycontainer.kernel import nfnetlink as nf
from pycontainer.network.cuts import table_name
from pycontainer.network.egress import Egress, routed

__all__ = ["Bridge", "Firewall", "Published"]

Protocol = Literal["tcp", "udp", "sctp"]

_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_PROTO, _SERVICE = (12, 1), (13, 2)
_PREROUTING, _INPUT, _FORWARD, _OUTPUT, _POSTROUTING = range(5)
_RAW, _DSTNAT, _FILTER, _SRCNAT = -300, -100, 0, 100
_IIFNAME, _OIFNAME, _NFPROTO, _L4PROTO = 6, 7, 15, 16
_STATE, _STATUS = 0, 2
_KNOWN = (2 | 4).to_bytes(4, "little")  # established, related
_DST_NAT = (1 << 5).to_bytes(4, "little")  # IPS_DST_NAT
_LOOPBACK = 127  # the first byte of such addresses
_LOCAL = (2).to_bytes(4, "little")  # RTN_LOCAL
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_WORDS = {4: 1, 6: 4}  # registers that an address takes
_ECHO = {4: b"\x01", 6: b"\x3a"}  # ICMP, ICMPv6
_V4, _V6 = bytes((socket.AF_INET,)), bytes((socket.AF_INET6,))


@frozen(kw_only=True)
class Bridge:
    """A network as packets see it. name: of the link; is_masqueraded: leaves by the host's address.

    modes: "nat-unprotected" or "routed", for a version of IP where it is not "nat". sources: the address
    that it leaves by, likewise. trusted: links from where published ports are reached directly.
    """

    name: str
    subnets: tuple[str, ...]
    is_internal: bool = False
    is_masqueraded: bool = True
    modes: Mapping[int, str] = field(factory=dict)
    sources: Mapping[int, str] = field(factory=dict)
    trusted: tuple[str, ...] = ()


@frozen(kw_only=True)
class Published:
    """A port of this host that is one of a container. host_address: "0.0.0.0" or "::" for every one.
    host_port: 0 for none, where it is reached at the container's address alone. address: the container's; ""
    while it has none, and the port leads nowhere. is_direct: see Firewall, forward.
    """

    protocol: Protocol
    host_address: str
    host_port: int
    address: str
    port: int
    is_direct: bool = False


class Firewall:
    """The table of the store with this tag. Raises Unsupported, KernelError, DeadlineExceeded.

    Only one process at a time may call `ensure`; what else there is are single batches.
    """

    def __init__(self, tag: str) -> None:
        self._table = nf.Table(table_name(tag))

    @property
    def _rules(self) -> tuple[bytes, ...]:
        return _rules_of(self._table.name)

    def ensure(
        self,
        bridges: Iterable[Bridge],
        published: Iterable[Published],
        egress: Iterable[Egress] = (),
        *,
        is_forced: bool = False,
    ) -> bool:
        """Make the table with all of this, unless it is whole; whether it had to be made.

        is_forced: make it anew in any case, in one step.
        """
        if nf.rule_count(self._table) == len(self._rules) and not is_forced:
            return False
        table = self._table
        fresh = [table.add(), table.delete(), table.add()]
        nf.send([*fresh, *self.base(), *self.part(bridges, published, egress)])
        return True

    def base(self) -> list[bytes]:
        """The messages that make what is in the table whatever networks there are."""
        return [*_sets(self._table), *_chains(self._table), *self._rules]

    def part(
        self, bridges: Iterable[Bridge], published: Iterable[Published], egress: Iterable[Egress]
    ) -> list[bytes]:
        """The messages that add these; idempotent."""
        found = [change for bridge in bridges for change in _of_bridge(bridge)]
        found += [change for port in published for change in _of_port(port)]
        found += [change for policy in egress for change in routed(policy)]
        return self._changes(found)

    def remove(self) -> None:
        """Delete the table; idempotent."""
        nf.send([self._table.add(), self._table.delete()])

    def add_bridge(self, bridge: Bridge) -> None:
        """Have rules for a network."""
        nf.send(self._changes(_of_bridge(bridge)))

    def remove_bridge(self, bridge: Bridge) -> None:
        """Have none any more; idempotent."""
        self._withdraw(_of_bridge(bridge))

    def publish(self, ports: Sequence[Published]) -> None:
        """Let these ports of the host be those of containers: all of them or none."""
        if ports:
            nf.send([each for port in ports for each in self._changes(_of_port(port))])
            _forget_datagrams(ports, is_over=False)

    def withdraw(self, ports: Sequence[Published]) -> None:
        """Undo it; idempotent."""
        self._withdraw([change for port in ports for change in _of_port(port)])
        _forget_datagrams(ports, is_over=True)

    def withdrawal(self, ports: Sequence[Published]) -> list[bytes]:
        """The messages that undo it, for who has to when this process has ended; each may be refused."""
        changes = [change for port in ports for change in _of_port(port)]
        return [self._table.without(set_, [element]) for set_, element in changes]

    def _changes(self, changes: Iterable[tuple[str, nf.Element]]) -> list[bytes]:
        return [self._table.elements(set_, [element]) for set_, element in changes]

    def _withdraw(self, changes: Iterable[tuple[str, nf.Element]]) -> None:
        nf.withdraw([self._table.without(set_, [element]) for set_, element in changes])


# -- what is in the table ------------------------------------------------------------------------------


def _sets(table: nf.Table) -> list[bytes]:
    described = (
        ("bridges", (nf.IFNAME,), 0, ()),
        ("internal", (nf.IFNAME,), 0, ()),
        ("same", (nf.IFNAME, nf.IFNAME), 0, ()),
        ("masqueraded4", (nf.IP4,), nf.INTERVAL, ()),
        ("masqueraded6", (nf.IP6,), nf.INTERVAL, ()),
        ("subnets4", (nf.IP4,), nf.INTERVAL, ()),
        ("subnets6", (nf.IP6,), nf.INTERVAL, ()),
        ("ports4", (_PROTO, nf.IP4, _SERVICE), 0, (nf.IP4, _SERVICE)),
        ("ports6", (_PROTO, nf.IP6, _SERVICE), 0, (nf.IP6, _SERVICE)),
        ("any4", (_PROTO, _SERVICE), 0, (nf.IP4, _SERVICE)),
        ("any6", (_PROTO, _SERVICE), 0, (nf.IP6, _SERVICE)),
        ("loopback", (_PROTO, nf.IP4, _SERVICE), 0, ()),
        ("open4", (nf.IFNAME,), 0, ()),
        ("open6", (nf.IFNAME,), 0, ()),
        ("routed4", (nf.IFNAME,), 0, ()),
        ("routed6", (nf.IFNAME,), 0, ()),
        ("trusted", (nf.IFNAME, nf.IFNAME), 0, ()),
        ("direct4", (_PROTO, nf.IP4, _SERVICE), 0, ()),
        ("direct6", (_PROTO, nf.IP6, _SERVICE), 0, ()),
        ("sources4", (nf.IP4,), nf.INTERVAL, (nf.IP4,)),
        ("sources6", (nf.IP6,), nf.INTERVAL, (nf.IP6,)),
        ("restricted4", (nf.IP4,), 0, ()),
        ("restricted6", (nf.IP6,), 0, ()),
        ("allowed4", (nf.IP4, nf.IP4), nf.INTERVAL | nf.CONCAT, ()),
        ("allowed6", (nf.IP6, nf.IP6), nf.INTERVAL | nf.CONCAT, ()),
        ("named4", (nf.IP4, nf.IP4), nf.TIMEOUT, ()),
        ("named6", (nf.IP6, nf.IP6), nf.TIMEOUT, ()),
    )
    return [
        table.set(number, name, key, flags, data)
        for number, (name, key, flags, data) in enumerate(described, 1)
    ]


def _chains(table: nf.Table) -> list[bytes]:
    return [
        table.chain("from-bridge"),
        table.chain("to-bridge"),
        table.chain("unpublished"),
        table.chain("egress"),
        table.chain("raw", "filter", _PREROUTING, _RAW),
        table.chain("prerouting", "nat", _PREROUTING, _DSTNAT),
        table.chain("output", "nat", _OUTPUT, _DSTNAT),
        table.chain("input", "filter", _INPUT, _FILTER),
        table.chain("forward", "filter", _FORWARD, _FILTER),
        table.chain("postrouting", "nat", _POSTROUTING, _SRCNAT),
    ]


@lru_cache(maxsize=8)
def _rules_of(table: str) -> tuple[bytes, ...]:
    """The rules of a store's table; they take milliseconds to write down."""
    return tuple(_rules(nf.Table(table)))


def _rules(table: nf.Table) -> list[bytes]:
    drop, accept, back = nf.verdict(nf.DROP), nf.verdict(nf.ACCEPT), nf.verdict(nf.RETURN)
    from_bridge = nf.load_meta(_IIFNAME) + nf.look_up("bridges")
    to_bridge = nf.load_meta(_OIFNAME) + nf.look_up("bridges")
    # Of two names, each in four registers, one after the other.
    both_links = nf.load_meta(_IIFNAME) + nf.load_meta(_OIFNAME, nf.FIRST + 4)
    within = both_links + nf.look_up("same")
    is_known = _has_bits(_STATE, _KNOWN)
    is_published = _has_bits(_STATUS, _DST_NAT)
    loopback = _is4() + nf.load_header(1, 16, 1) + nf.compare(bytes((_LOOPBACK,)))
    outward = nf.load_meta(_OIFNAME) + nf.look_up("bridges", is_in=False)
    from_internal = nf.load_meta(_IIFNAME) + nf.look_up("internal")
    to_internal = nf.load_meta(_OIFNAME) + nf.look_up("internal")
    rules: list[tuple[str, bytes]] = [
        ("raw", from_bridge + loopback + drop),
        ("raw", _from_elsewhere() + _is4() + _service(4) + nf.look_up("loopback") + drop),
        # Who is the host by IPv6 is asked of itself, by addresses that are no link's.
        ("input", from_bridge + _is6() + nf.load_meta(_L4PROTO) + nf.compare(b"\x3a") + accept),
        ("input", from_bridge + nf.verdict(nf.JUMP, "egress")),
        ("forward", from_bridge + nf.verdict(nf.JUMP, "from-bridge")),
        ("forward", to_bridge + nf.verdict(nf.JUMP, "to-bridge")),
        ("from-bridge", within + back),
        ("from-bridge", from_internal + drop),
        ("from-bridge", nf.verdict(nf.JUMP, "egress")),
        ("to-bridge", within + accept),
        ("to-bridge", to_internal + drop),
        ("to-bridge", is_known + accept),
        ("to-bridge", is_published + accept),
        ("to-bridge", nf.verdict(nf.JUMP, "unpublished")),
        ("to-bridge", drop),
        ("egress", is_known + back),
        (
            "postrouting",
            to_bridge + _is4() + nf.load_header(1, 12, 1) + nf.compare(bytes((_LOOPBACK,))) + nf.masquerade(),
        ),
    ]
    for family, is_it in ((4, _is4()), (6, _is6())):
        ours, leaving = nf.look_up(f"subnets{family}"), nf.look_up(f"masqueraded{family}")
        by_source = _source(family) + nf.look_up(f"sources{family}", into=nf.FIRST)
        routed_there = is_it + nf.load_meta(_OIFNAME) + nf.look_up(f"routed{family}")
        direct = _service(family) + nf.look_up(f"direct{family}") + accept
        rules += [
            ("unpublished", is_it + nf.load_meta(_OIFNAME) + nf.look_up(f"open{family}") + accept),
            ("unpublished", routed_there + direct),
            ("unpublished", routed_there + nf.load_meta(_L4PROTO) + nf.compare(_ECHO[family]) + accept),
            ("unpublished", is_it + both_links + nf.look_up("trusted") + direct),
            *(("egress", is_it + permission + back) for permission in _permissions(family)),
            ("egress", is_it + _source(family) + nf.look_up(f"restricted{family}") + nf.reject()),
            # To a neighbour through a published port; and out.
            ("postrouting", is_it + _source(family) + ours + is_published + to_bridge + nf.masquerade()),
            ("postrouting", is_it + outward + by_source + nf.snat(_FAMILIES[family])),
            ("postrouting", is_it + _source(family) + leaving + outward + nf.masquerade()),
        ]
        for chain in ("prerouting", "output"):
            rules += [(chain, is_it + translation) for translation in _translations(family)]
    return [table.rule(chain, expressions) for chain, expressions in rules]


def _permissions(family: int) -> list[bytes]:
    """From a container that is restricted to what it may reach."""
    both = _source(family) + _destination(family, nf.FIRST + _WORDS[family])
    return [both + nf.look_up(f"{name}{family}") for name in ("allowed", "named")]


def _translations(family: int) -> list[bytes]:
    """To a published port of one address of the host, or of every one."""
    local = nf.load_kind_of_destination() + nf.compare(_LOCAL)
    every = nf.load_meta(_L4PROTO) + nf.load_header(2, 2, 2, nf.FIRST + 1)
    change = nf.dnat(_FAMILIES[family], nf.FIRST, nf.FIRST + _WORDS[family])
    return [
        local + _service(family) + nf.look_up(f"ports{family}", into=nf.FIRST) + change,
        local + every + nf.look_up(f"any{family}", into=nf.FIRST) + change,
    ]


def _service(family: int) -> bytes:
    """What a packet asks for: protocol, address and port, one after the other."""
    port = nf.load_header(2, 2, 2, nf.FIRST + 1 + _WORDS[family])
    return nf.load_meta(_L4PROTO) + _destination(family, nf.FIRST + 1) + port


def _from_elsewhere() -> bytes:
    """From another host: what this one sends itself comes from lo."""
    return nf.load_meta(_IIFNAME) + nf.compare(nf.link("lo"), is_equal=False)


def _is4() -> bytes:
    return nf.load_meta(_NFPROTO) + nf.compare(_V4)


def _is6() -> bytes:
    return nf.load_meta(_NFPROTO) + nf.compare(_V6)


def _source(family: int, register: int = nf.FIRST) -> bytes:
    return nf.load_header(1, 12, 4, register) if family == 4 else nf.load_header(1, 8, 16, register)


def _destination(family: int, register: int = nf.FIRST) -> bytes:
    return nf.load_header(1, 16, 4, register) if family == 4 else nf.load_header(1, 24, 16, register)


def _has_bits(key: int, bits: bytes) -> bytes:
    return nf.load_ct(key) + nf.mask(bits) + nf.compare(bytes(4), is_equal=False)


# -- elements ------------------------------------------------------------------------------------------


def _of_bridge(bridge: Bridge) -> list[tuple[str, nf.Element]]:
    name = nf.link(bridge.name)
    found: list[tuple[str, nf.Element]] = [("bridges", (name, None, 0)), ("same", (name * 2, None, 0))]
    if bridge.is_internal:
        found.append(("internal", (name, None, 0)))
    for subnet in bridge.subnets:
        family = 6 if ":" in subnet else 4
        found += _range(f"subnets{family}", subnet)
        if not bridge.is_internal:
            found += _leading_out(bridge, subnet, family)
    if not bridge.is_internal:
        found += [("trusted", (nf.link(link) + name, None, 0)) for link in bridge.trusted]
    return found


def _leading_out(bridge: Bridge, subnet: str, family: int) -> list[tuple[str, nf.Element]]:
    """What becomes of packets of one subnet beyond the bridge."""
    mode, source = bridge.modes.get(family, "nat"), bridge.sources.get(family)
    name: nf.Element = (nf.link(bridge.name), None, 0)
    if mode == "routed":
        return [(f"routed{family}", name)]
    found = [(f"open{family}", name)] if mode == "nat-unprotected" else []
    if bridge.is_masqueraded:
        data = nf.address(source) if source else None
        found += _range(f"{'sources' if source else 'masqueraded'}{family}", subnet, data)
    return found


def _range(set_: str, subnet: str, data: bytes | None = None) -> list[tuple[str, nf.Element]]:
    network = ip_network(subnet)
    after = (int(network.broadcast_address) + 1) % (1 << network.max_prefixlen)
    end = after.to_bytes(network.max_prefixlen // 8, "big")
    return [(set_, (network.network_address.packed, data, 0)), (set_, (end, None, nf.INTERVAL_END))]


def _of_port(port: Published) -> list[tuple[str, nf.Element]]:
    if not port.address:
        return []
    family = 6 if ":" in port.address else 4
    protocol = bytes((_PROTOCOLS[port.protocol], 0, 0, 0))
    inner = nf.address(port.address) + _port(port.port)
    found: list[tuple[str, nf.Element]] = []
    if port.is_direct:
        found.append((f"direct{family}", (protocol + inner, None, 0)))
    # Nobody can translate one kind of addresses into the other: the container's monitor takes those.
    if port.host_port and family == (6 if ":" in port.host_address else 4):
        host = nf.address(port.host_address)
        place = (f"ports{family}", protocol + host) if any(host) else (f"any{family}", protocol)
        found.append((place[0], (place[1] + _port(port.host_port), inner, 0)))
        if family == 4 and host[0] == _LOOPBACK:
            found.append(("loopback", (protocol + host + _port(port.host_port), None, 0)))
    return found


def _forget_datagrams(ports: Sequence[Published], *, is_over: bool) -> None:
    """Have those who send datagrams to these ports find the way that the rules say now."""
    for port in ports:
        if port.protocol == "udp" and _of_port(port):
            target = (port.address, port.port)
            place = (port.host_address, port.host_port) if port.host_port else target
            # A kernel that does not tell of connections forgets this one after some seconds of silence.
            with suppress(Unsupported, KernelError):
                conntrack.forget_datagrams(*place, *target, is_over=is_over)


def _port(number: int) -> bytes:
    return number.to_bytes(2, "big") + b"\0\0"
