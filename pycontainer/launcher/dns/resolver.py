"""What a question is answered with: from the networks' names, not at all, or by another server.

A name that a container has is answered here whatever is asked of it: with its addresses, or with nothing
(NODATA), so that no other server says that there is no such name. What only looks like a container's name,
a single label or an address of one of the networks, is unknown (NXDOMAIN) and told to nobody. The rest is
forwarded; not for a container all of whose networks are internal (REFUSED), nor beyond what an egress
policy names.

Source: moby, libnetwork/resolver.go; RFC 2308, RFC 6761, section 6.3; CVE-2024-29018.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pycontainer.launcher.dns import names, wire

__all__ = ["Resolver", "Verdict", "is_within", "matches"]

_TTL_S = 600
_LOOPBACK = {wire.TYPE_A: bytes((127, 0, 0, 1)), wire.TYPE_AAAA: bytes(15) + b"\1"}
_ADDRESSES = (wire.TYPE_A, wire.TYPE_AAAA)


class Verdict(NamedTuple):
    """What to do with a question."""

    code: int = wire.NOERROR
    records: Sequence[wire.Record] = ()
    is_forwarded: bool = False


_FORWARD = Verdict(is_forwarded=True)


class Resolver:
    """The view of one container.

    described: "id", its own; "containers", the directory of all; "networks", those that it is on, each with
    "name", "names" (the directory of its files), "subnets" as [network in hex, bits] and "is_internal";
    "links", what only it calls others; "forwards", whether other names may be asked for elsewhere, or which.
    """

    def __init__(self, described: Mapping[str, Any]) -> None:
        networks = described["networks"]
        self._networks = [
            names.NetworkNames(entry["name"], entry["names"], described["containers"], described["id"])
            for entry in networks
        ]
        self._subnets = [
            (bytes.fromhex(network), int(bits)) for entry in networks for network, bits in entry["subnets"]
        ]
        self._links = {_key(alias): _key(name) for alias, name in (described.get("links") or {}).items()}
        self._has_way_out = any(not entry["is_internal"] for entry in networks)
        self._forwards = described.get("forwards", True)

    def judge(self, query: wire.Query) -> Verdict:
        """What to do with a question."""
        if query.kind == wire.TYPE_PTR:
            address = names.address_of_pointer(query.name)
            if address is not None:
                return self._judge_address(address)
        entries = self._entries(query.name)
        if entries:
            return Verdict(records=_records(entries, query.kind))
        if query.name == b"localhost" or query.name.endswith(b".localhost"):
            value = _LOOPBACK.get(query.kind)
            return Verdict(records=[wire.Record(b"", query.kind, _TTL_S, value)] if value else ())
        if query.name and b"." not in query.name and query.kind in _ADDRESSES:
            return Verdict(wire.NXDOMAIN)
        return self._outside(query.name)

    def _entries(self, name: bytes) -> list[names.Entry]:
        linked = self._links.get(name)
        found = [] if linked is None else names.named(self._networks, linked)
        return found or names.named(self._networks, name)

    def _judge_address(self, address: bytes) -> Verdict:
        found = names.find(self._networks, address)
        if found is not None:
            entry, network = found
            own = entry.names[0] if entry.names else entry.container_id[:12].encode("ascii")
            try:
                value = wire.encode_name(own + b"." + network.network)
            except wire.Malformed:
                return Verdict(wire.NXDOMAIN)  # a name of a container may be longer than one of DNS
            return Verdict(records=[wire.Record(b"", wire.TYPE_PTR, _TTL_S, value)])
        if any(is_within(address, *subnet) for subnet in self._subnets):
            return Verdict(wire.NXDOMAIN)
        return self._outside(b"")

    def _outside(self, name: bytes) -> Verdict:
        if not self._has_way_out or not self._forwards:
            return Verdict(wire.REFUSED)
        if self._forwards is not True and not any(matches(name, pattern) for pattern in self._forwards):
            return Verdict(wire.REFUSED)
        return _FORWARD


def _records(entries: Sequence[names.Entry], kind: int) -> list[wire.Record]:
    """The addresses that were asked for, once each, another one first each time."""
    found: dict[tuple[int, bytes], None] = {}
    for entry in entries:
        for of_kind, address in zip(_ADDRESSES, (entry.ipv4, entry.ipv6), strict=True):
            if address and kind in (of_kind, wire.TYPE_ANY):
                found[of_kind, address] = None
    records = [wire.Record(b"", of_kind, _TTL_S, address) for of_kind, address in found]
    first = int.from_bytes(os.urandom(2), "big") % len(records) if len(records) > 1 else 0
    return records[first:] + records[:first]


def _key(name: str) -> bytes:
    return name.lower().encode("utf-8", "surrogateescape")


def is_within(address: bytes, network: bytes, bits: int) -> bool:
    """Whether an address is one of a subnet; both as they are sent."""
    if len(address) != len(network):
        return False
    shift = 8 * len(network) - bits
    return int.from_bytes(address, "big") >> shift == int.from_bytes(network, "big") >> shift


def matches(name: bytes, pattern: str) -> bool:
    """Whether a name is the pattern's, or below it: "example.com" alone, "*.example.com" all below it."""
    wanted = _key(pattern).removesuffix(b".")
    if wanted.startswith(b"*."):
        return name.endswith(wanted[1:])
    return name == wanted
