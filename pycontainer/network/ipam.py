"""Which addresses a network gets, and which of them a container; pure. Source: moby, daemon/libnetwork/ipams.

A subnet is text as "10.1.0.0/24". What is taken already is the caller's to say: the store's other networks,
and what the host has routes to.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network

from pycontainer.errors import InUse, InvalidOption

__all__ = ["check_subnet", "choose_address", "choose_subnet", "gateway_of", "mac_of", "overlaps"]

Subnet = IPv4Network | IPv6Network

_POOLS4 = (("172.17.0.0/16", 16), ("172.18.0.0/15", 16), ("172.20.0.0/14", 16), ("172.24.0.0/13", 16),
           ("192.168.0.0/16", 20))  # fmt: skip
_SEARCHED = 1 << 16
_SPECIAL = ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/8", "fe80::/10", "ff00::/8")
"""What means a host itself, one link or groups, and none of it goes to another host (RFC 6890)."""


def choose_subnet(taken: Iterable[str], seed: int | None = None) -> str:
    """A free subnet of Docker's pools; with a seed, an IPv6 /64 of fd00::/8 that follows from it.

    Raises: InUse when every one of the pools is taken.
    """
    others = [ipaddress.ip_network(each, strict=False) for each in taken]
    for candidate in _candidates(seed):
        if not any(candidate.version == each.version and candidate.overlaps(each) for each in others):
            return str(candidate)
    raise InUse(
        "every subnet that networks are given is in use; remove networks (Network.prune), or give one "
        'as subnet="10.1.0.0/24"'
    )


def _candidates(seed: int | None) -> Iterator[Subnet]:
    if seed is None:
        for pool, size in _POOLS4:
            yield from ipaddress.IPv4Network(pool).subnets(new_prefix=size)
        return
    for step in range(_SEARCHED):
        # A unique local address: 40 bits that are nobody else's, and a subnet (RFC 4193).
        number = (seed + step) & (1 << 56) - 1
        yield ipaddress.IPv6Network(((0xFD << 120) | (number << 64), 64))


def overlaps(subnet: str, taken: Iterable[str]) -> str | None:
    """The first of the others that has an address in common."""
    own = ipaddress.ip_network(subnet)
    for each in taken:
        other = ipaddress.ip_network(each, strict=False)
        if own.version == other.version and own.overlaps(other):
            return each
    return None


def check_subnet(subnet: str, gateway: str = "", ip_range: str = "") -> tuple[str, str, str]:
    """These as they are commonly written, "" where not given. Raises InvalidOption."""
    try:
        network = ipaddress.ip_network(subnet)
    except ValueError as error:
        raise InvalidOption(f'subnet={subnet!r}: {error}; give one as "10.1.0.0/24"') from None
    if network.num_addresses < 4:
        raise InvalidOption(f"subnet={subnet!r} is too small; it needs room for a gateway and containers")
    special = overlaps(str(network), _SPECIAL)
    if special is not None:
        raise InvalidOption(f"subnet={subnet!r} shares addresses with {special}, which no network can have")
    if gateway:
        _check_inside(gateway, network, "gateway")
        gateway = str(ipaddress.ip_address(gateway))
    if ip_range:
        try:
            chosen = ipaddress.ip_network(ip_range)
        except ValueError as error:
            raise InvalidOption(f"ip_range={ip_range!r}: {error}") from None
        if chosen.version != network.version or not chosen.subnet_of(network):  # type: ignore[arg-type]
            raise InvalidOption(f"ip_range={ip_range!r} is not within subnet {subnet}")
        ip_range = str(chosen)
    return str(network), gateway, ip_range


def gateway_of(subnet: str) -> str:
    """The address of the host in a subnet: the first."""
    return str(ipaddress.ip_network(subnet)[1])


def _check_inside(address: str, network: Subnet, option: str) -> None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        raise InvalidOption(f"{option}={address!r} is no address") from None
    if parsed.version != network.version or parsed not in network:
        raise InvalidOption(f"{option}={address} is not within subnet {network}")
    if parsed == network.network_address or (network.version == 4 and parsed == network.broadcast_address):
        raise InvalidOption(f"{option}={address} is the address of the subnet {network} itself")


def choose_address(
    subnet: str, taken: Collection[str], *, ip_range: str = "", wanted: str | None = None, after: str = ""
) -> str:
    """An address for a container: the one wanted, else the next free one after the last that was given.

    taken: addresses in use, the gateway's too. Raises InvalidOption, InUse.
    """
    network = ipaddress.ip_network(subnet)
    if wanted:
        _check_inside(wanted, network, "ip6" if network.version == 6 else "ip")
        chosen = str(ipaddress.ip_address(wanted))
        if chosen in taken:
            raise InUse(f"address {chosen} is in use in subnet {subnet}; choose another, or leave it out")
        return chosen
    pool = ipaddress.ip_network(ip_range) if ip_range else network
    first, last = int(pool.network_address), int(pool.broadcast_address)
    first += 1 if pool.network_address == network.network_address else 0
    last -= 1 if network.version == 4 and pool.broadcast_address == network.broadcast_address else 0
    start = int(ipaddress.ip_address(after)) + 1 if after else first
    start = start if first <= start <= last else first
    kind = type(network.network_address)
    for number in _round(first, last, start):
        if (address := str(kind(number))) not in taken:
            return address
    raise InUse(
        f"every address of {pool} is in use; remove containers, or make a network with a larger subnet"
    )


def _round(first: int, last: int, start: int) -> Iterator[int]:
    yield from range(start, last + 1)
    yield from range(first, start)


def mac_of(ipv4: str | None, ipv6: str | None) -> str:
    """A hardware address of its own for an address, as Docker makes them; locally administered."""
    packed = ipaddress.ip_address(ipv4 or ipv6 or "0.0.0.0").packed[-4:]
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x42, *packed))
