"""The forms of what a container may reach outside of its own networks: addresses, subnets and domains."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pycontainer.options.kinds import LINES, Kind

__all__ = ["EGRESS_ALLOW", "split_allowed"]

_MAX_ENTRIES = 1000
_NAME = r"(?a)(?=.{1,253}$)(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?"


def _parse(value: object) -> tuple[str, ...]:
    lines: tuple[str, ...] = LINES.parse(value)
    if len(lines) > _MAX_ENTRIES:
        raise ValueError(f"give {_MAX_ENTRIES} at most")
    return tuple(dict.fromkeys(map(_entry, lines)))


def _entry(line: str) -> str:
    import ipaddress  # 3 ms that only those pay who give one

    try:
        network = ipaddress.ip_network(line, strict=False)
    except ValueError:
        name = line.lower().removesuffix(".")
        if "." not in name or re.fullmatch(_NAME, name) is None:
            raise ValueError(
                f'{line!r} is no address, subnet or domain; give one as "192.0.2.0/24", "example.com" '
                'or "*.example.com"'
            ) from None
        return name
    address = line.partition("/")[0]
    if ipaddress.ip_address(address) != network.network_address:
        raise ValueError(f"{line!r} has bits beyond its prefix; give {str(network)!r}")
    return str(network)


def split_allowed(entries: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of what is allowed the subnets, and the names."""
    entries = tuple(entries)
    return tuple(each for each in entries if "/" in each), tuple(each for each in entries if "/" not in each)


EGRESS_ALLOW = Kind("Sequence[str] | str", "SUBNET|DOMAIN", _parse, list, True)
