"""The forms of the options about names: servers, search domains, resolver options, hosts and links."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pycontainer.options.kinds import LINES, Kind

__all__ = ["DNS_OPTIONS", "DNS_SEARCH", "DNS_SERVERS", "EXTRA_HOSTS", "HOST_GATEWAY", "LINKS", "split_link"]

HOST_GATEWAY = "host-gateway"
"""Stands for the address under which a container reaches the host."""

_MAX_ENTRIES = 1000
_DOMAIN = (
    r"(?a)\.|(?=.{1,253}\.?$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
    r"(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?"
)
_HOST = r"(?a)(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?"
_WORD = r"(?a)[A-Za-z0-9_:.-]{1,64}"
_CONTAINER = r"(?a)[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}"


def _listed(value: object) -> tuple[str, ...]:
    lines: tuple[str, ...] = LINES.parse(value)
    if len(lines) > _MAX_ENTRIES:
        raise ValueError(f"give {_MAX_ENTRIES} at most")
    return lines


def _address(text: str) -> str:
    """An address as it is commonly written. Raises ValueError."""
    import ipaddress  # 3 ms that only those pay who give one

    return str(ipaddress.ip_address(text))


def _servers(value: object) -> tuple[str, ...]:
    found = []
    for line in _listed(value):
        try:
            found.append(_address(line))
        except ValueError:
            raise ValueError(f'{line!r} is no address; give one as "192.0.2.53"') from None
    return tuple(found)


def _search(value: object) -> tuple[str, ...]:
    lines = _listed(value)
    for line in lines:
        if re.fullmatch(_DOMAIN, line) is None:
            raise ValueError(f'{line!r} is no domain; give one as "example.com", or "." for none')
    return lines


def _options(value: object) -> tuple[str, ...]:
    lines = _listed(value)
    for line in lines:
        if re.fullmatch(_WORD, line) is None:
            raise ValueError(f'{line!r} is no option of resolv.conf(5); give one as "timeout:2"')
    return lines


def _hosts(value: object) -> tuple[str, ...]:
    """Read {"name": "address"} or ["name:address", "name=address"]; each becomes "name:address"."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, Mapping):
        pairs = [(str(name), str(address)) for name, address in value.items()]
    elif isinstance(value, Iterable) and not isinstance(value, bytes):
        pairs = [_host_pair(line) for line in _listed(value)]
    else:
        raise ValueError('give {"name": "address"} or ["name:address"]')
    return tuple(dict.fromkeys(f"{name}:{_host_address(name, address)}" for name, address in pairs))


def _host_pair(line: str) -> tuple[str, str]:
    name, separator, address = line.partition("=")
    if not separator:
        name, separator, address = line.partition(":")
    if not separator:
        raise ValueError(f'{line!r} has no address; give "name:address"')
    return name, address


def _host_address(name: str, address: str) -> str:
    if re.fullmatch(_HOST, name) is None:
        raise ValueError(f"{name!r} is no host name")
    if address == HOST_GATEWAY:
        return address
    try:
        return _address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError(
            f'{address!r} is no address; give one as "192.0.2.1", or "{HOST_GATEWAY}" for the host\'s'
        ) from None


def _links(value: object) -> tuple[str, ...]:
    lines = _listed(value)
    for line in lines:
        name, alias = split_link(line)
        if re.fullmatch(_CONTAINER, name) is None or re.fullmatch(_HOST, alias) is None:
            raise ValueError(f'{line!r} is no link; give "container" or "container:alias"')
    return lines


def split_link(line: str) -> tuple[str, str]:
    """The container of a link, and what it is called."""
    name, _, alias = line.removeprefix("/").partition(":")
    return name, alias or name


DNS_SERVERS = Kind("Sequence[str] | str", "ADDRESS", _servers, list, True)
DNS_SEARCH = Kind("Sequence[str] | str", "DOMAIN", _search, list, True)
DNS_OPTIONS = Kind("Sequence[str] | str", "OPTION", _options, list, True)
EXTRA_HOSTS = Kind("Mapping[str, str] | Sequence[str] | str", "NAME:ADDRESS", _hosts, list, True)
LINKS = Kind("Sequence[str] | str", "CONTAINER[:ALIAS]", _links, list, True)
