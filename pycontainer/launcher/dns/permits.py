"""Letting a container reach the addresses that a permitted name has just been answered with.

An egress policy may name domains. Which addresses these have is known when the container asks for them; so
before it hears the answer, its addresses go into the firewall's set, each for as long as the answer is valid
and a while longer. Addresses that are of no use beyond a link or a host are never let in, whatever a name's
owner answers: else who has a permitted name could open the host's loopback or its metadata service.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pycontainer import errors
from pycontainer.kernel import nfnetlink
from pycontainer.launcher.dns import wire

__all__ = ["Permits", "addresses_of", "is_public_enough"]

_SETS = {4: "named4", 16: "named6"}  # network.firewall, Firewall.permit
_LEAST_S = 60
_MOST_S = 24 * 3600
_GRACE_S = 30  # who has heard an address may use it a little later than it is valid
_MAX_ADDRESSES = 64
_MAX_ALIASES = 16
_REFUSED_V4 = (b"\0", b"\x7f", b"\xa9\xfe")  # 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16
_REFUSED_V6 = (bytes(12), b"\xff", bytes(10) + b"\xff\xff")  # ::/96, ff00::/8, ::ffff:0:0/96


class Permits:
    """The firewall's set of what one container may reach by name.

    described: "table", the firewall's; "addresses", the container's own as text.
    """

    def __init__(self, described: Mapping[str, Any]) -> None:
        self._table = nfnetlink.Table(described["table"])
        self._own = list(map(nfnetlink.address, described["addresses"]))

    def allow(self, name: bytes, answer: wire.Answer) -> None:
        """Let the container reach what the name was answered with. Raises Unsupported, KernelError."""
        for address, ttl_s in addresses_of(name, answer):
            timeout_ms = 1000 * (min(max(ttl_s, _LEAST_S), _MOST_S) + _GRACE_S)
            keys = [own + address for own in self._own if len(own) == len(address)]
            if not keys:
                continue
            elements = [(key, None, 0) for key in keys]
            set_ = _SETS[len(address)]
            added = self._table.elements(set_, elements, timeout_ms=timeout_ms)
            try:
                # Both at once: an element that is there already keeps the time it has left.
                nfnetlink.send([self._table.without(set_, elements), added])
            except errors.KernelError:
                nfnetlink.send([added])


def addresses_of(name: bytes, answer: wire.Answer) -> list[tuple[bytes, int]]:
    """The addresses that a name has by an answer, with their seconds, its aliases followed."""
    known = {name}
    for _ in range(_MAX_ALIASES):
        further = {
            record.value
            for record in answer.records
            if record.kind == wire.TYPE_CNAME and record.name in known
        }
        if further <= known:
            break
        known |= further
    found = [
        (record.value, record.ttl_s)
        for record in answer.records
        if record.kind != wire.TYPE_CNAME and record.name in known and is_public_enough(record.value)
    ]
    return found[:_MAX_ADDRESSES]


def is_public_enough(address: bytes) -> bool:
    """Whether an address means the same beyond a host and its links."""
    if len(address) == 4:
        return not _begins(address, _REFUSED_V4) and address[0] < 224
    return not _begins(address, _REFUSED_V6) and not (address[0] == 0xFE and address[1] & 0xC0 == 0x80)


def _begins(address: bytes, prefixes: Iterable[bytes]) -> bool:
    return any(address.startswith(prefix) for prefix in prefixes)
