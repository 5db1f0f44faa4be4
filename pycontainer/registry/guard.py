"""Where a server may send us on to: redirects, token realms and upload locations.

A hostile registry must not make this process ask servers it cannot reach itself (cloud metadata, the
host's loopback, the private network). So every address falls into a zone, and a target may only lie in
a zone at most as near as the registry's own. Names are judged by the addresses they resolve to, at the
moment of connecting.
"""

from __future__ import annotations

import enum
import ipaddress

import httpx

from pycontainer.errors import RegistryError
from pycontainer.registry.redact import printable, redact_url

__all__ = ["Zone", "check_literal", "next_url", "same_origin", "zone_of_address"]

MAX_URL = 8192
# Metadata services of clouds that do not live on a link-local address (AWS over IPv6, Alibaba, Oracle).
METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")
)
NAT64 = ipaddress.ip_network("64:ff9b::/96")
THIS_HOST = ipaddress.ip_network("0.0.0.0/8")  # Linux connects these to loopback


class Zone(enum.IntEnum):
    """How near an address is; a larger one is more sensitive."""

    PUBLIC = 0
    PRIVATE = 1
    LOOPBACK = 2
    LINK = 3  # link-local, metadata, multicast: never a registry's business
    ANY = 4  # the user configured this very host


def zone_of_address(text: str) -> Zone:
    """The zone of an IP address, looking through IPv4 wrapped in IPv6.

    Raises: ValueError if it is none.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            address = inner
    if address in METADATA or address.is_link_local or address.is_multicast:
        return Zone.LINK
    if address.is_loopback or address.is_unspecified or address in THIS_HOST:
        return Zone.LOOPBACK
    return Zone.PUBLIC if address.is_global else Zone.PRIVATE


def zone_of_name(host: str) -> Zone | None:
    """The zone a host's spelling alone tells, or None for a name that must be resolved."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return Zone.LOOPBACK
    try:
        return zone_of_address(name)
    except ValueError:
        return None


def check_literal(url: httpx.URL, allowed: Zone) -> None:
    """Refuse a target whose spelling already shows that it is too near.

    Raises: RegistryError.
    """
    zone = zone_of_name(url.host)
    if zone is not None and zone > allowed:
        raise too_near(url.host, zone)


def too_near(host: str, zone: Zone) -> RegistryError:
    """The error for a target in a zone that is not the registry's."""
    return RegistryError(
        f"a registry may not send this host on to {printable(host)}, a {zone.name.lower()} address"
    )


def next_url(base: httpx.URL, location: str, what: str) -> httpx.URL:
    """The URL a server names, resolved against `base` and checked for form.

    Raises: RegistryError if it is none of http and https, downgrades to http, or carries user info.
    """
    if not location or len(location) > MAX_URL or not location.isascii() or not location.isprintable():
        raise RegistryError(f"{what} of {redact_url(base)} is not a URL: {printable(location)!r}")
    try:
        url = base.join(location)
    except (httpx.InvalidURL, ValueError) as error:
        raise RegistryError(f"{what} of {redact_url(base)} is not a URL: {printable(str(error))}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise RegistryError(f"{what} of {redact_url(base)} is neither http nor https: {redact_url(url)}")
    if base.scheme == "https" and url.scheme == "http":
        raise RegistryError(f"{what} of {redact_url(base)} leaves https for {redact_url(url)}")
    if url.port is not None and not 0 < url.port < 65536:
        raise RegistryError(f"{what} of {redact_url(base)} has no valid port: {redact_url(url)}")
    if url.userinfo:
        raise RegistryError(f"{what} of {redact_url(base)} carries user info: {redact_url(url)}")
    return url


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Whether both name the same scheme, host and port."""
    return _origin(one) == _origin(other)


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)
