"""The forms of published ports: which port of the host is which port of the container.

Each is kept as Docker writes it, "ADDRESS:HOST_PORT:PORT/PROTOCOL", with host port 0 for one that is free,
"FIRST-LAST" for the first free one of a range, and without an address where none was given: then the
container's network says which.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pycontainer.options.kinds import Kind

__all__ = ["EXPOSE", "LOOPBACK", "PORTS", "PortMapping", "split_port"]

LOOPBACK = "127.0.0.1"
"""Where a port is published when neither it nor its network says: for this host alone."""

_PROTOCOLS = ("tcp", "udp", "sctp")
_MAX_PORTS = 4096
_RANGE = r"(?a)([0-9]{1,5})(?:-([0-9]{1,5}))?"
_FORM = 'give {80: None, 443: 8443, "53/udp": ("0.0.0.0", 5353)} or ["127.0.0.1:8080:80/tcp"]'


class PortMapping(NamedTuple):
    """One published port. host_port: 0 for one that is free when the container starts. host_address: "" for
    the one of the container's network. last_host_port: of a range, whose first free one is taken; 0 for none.
    """

    port: int
    protocol: str
    host_address: str
    host_port: int
    last_host_port: int = 0

    @property
    def host_ports(self) -> str:
        """As Docker has it, "8000" or "8000-8010"; "" for one that is free."""
        if self.last_host_port:
            return f"{self.host_port}-{self.last_host_port}"
        return str(self.host_port or "")

    def __str__(self) -> str:
        address = f"[{self.host_address}]" if ":" in self.host_address else self.host_address
        return f"{address}{':' if address else ''}{self.host_ports or 0}:{self.port}/{self.protocol}"


def split_port(line: str) -> PortMapping:
    """What a line says that an option holds."""
    outer, _, inner = line.rpartition(":")
    address, _, host_port = outer.rpartition(":")
    port, _, protocol = inner.partition("/")
    first, _, last = host_port.partition("-")
    return PortMapping(int(port), protocol, address.strip("[]"), int(first), int(last or 0))


def _ports(value: object) -> tuple[str, ...]:
    if isinstance(value, str | int):
        value = [value]
    if isinstance(value, Mapping):
        found = [each for key, item in value.items() for each in _mapped(key, item)]
    elif isinstance(value, Iterable) and not isinstance(value, bytes):
        found = [each for item in value for each in _line(item)]
    else:
        raise ValueError(_FORM)
    if len(found) > _MAX_PORTS:
        raise ValueError(f"{len(found)} ports are too many; give {_MAX_PORTS} at most")
    taken: dict[tuple[str, str, int], PortMapping] = {}
    for each in found:
        place = (each.protocol, each.host_address or LOOPBACK, each.host_port)
        other = taken.setdefault(place, each)
        if each.host_port and not each.last_host_port and other != each:
            raise ValueError(f"{each} and {other} take the same port of the host")
    return tuple(dict.fromkeys(map(str, found)))


def _mapped(key: object, item: object) -> Iterator[PortMapping]:
    """One entry of a dict: the container's port, and where it is published."""
    if isinstance(item, list) or (isinstance(item, tuple) and not _is_place(item)):
        for each in item:
            yield from _mapped(key, each)
        return
    address, host = (_address(item[0]), item[1]) if isinstance(item, tuple) else ("", item)
    yield from _matched(_whole(key), address, _range(host) if host is not None else None)


def _is_place(item: tuple[object, ...]) -> bool:
    """Whether a tuple is (address, port)."""
    return len(item) == 2 and isinstance(item[0], str) and re.fullmatch(_RANGE, item[0]) is None


def _line(item: object) -> Iterator[PortMapping]:
    """One of Docker's strings: [ADDRESS:][HOST_PORT[-LAST]:]PORT[-LAST][/PROTOCOL]."""
    if isinstance(item, int) and not isinstance(item, bool):
        item = str(item)
    if not isinstance(item, str):
        raise ValueError(_FORM)
    outer, separator, inner = item.rpartition(":")
    if not separator:
        yield from _matched(_whole(inner), "", None)
        return
    address, separator, host = outer.rpartition(":")
    if not separator and re.fullmatch(_RANGE, host) is None and host:
        raise ValueError(f"{item!r} has no port of the host; give it as {host}::{inner} for a free one")
    place = _address(address) if separator else ""
    yield from _matched(_whole(inner), place, _range(host) if host else None)


def _matched(inner: tuple[range, str], address: str, outer: range | None) -> Iterator[PortMapping]:
    ports, protocol = inner
    if outer is None:
        outer_ports: Iterable[int] = (0,) * len(ports)
    elif len(ports) == 1 and len(outer) > 1 and outer.start:
        yield PortMapping(ports.start, protocol, address, outer.start, outer.stop - 1)
        return
    elif len(outer) == len(ports):
        outer_ports = outer
    else:
        raise ValueError(
            f"{len(outer)} ports of the host cannot be {len(ports)} of the container; give as many of both, "
            "or one of the container, for which a free one is found"
        )
    for port, host_port in zip(ports, outer_ports, strict=True):
        yield PortMapping(port, protocol, address, host_port)


def _whole(value: object) -> tuple[range, str]:
    """A port or range of the container, with its protocol."""
    text, separator, protocol = str(value).partition("/")
    chosen = protocol.lower() if separator else "tcp"
    if chosen not in _PROTOCOLS:
        raise ValueError(f"{protocol!r} is no protocol; give {', '.join(_PROTOCOLS)}")
    found = _range(text)
    if found.start == 0:
        raise ValueError("port 0 is none; give the container's port, from 1 on")
    return found, chosen


def _range(value: object) -> range:
    match = re.fullmatch(_RANGE, str(value)) if not isinstance(value, bool) else None
    if match is None:
        raise ValueError(f"{value!r} is no port; {_FORM}")
    first, last = int(match[1]), int(match[2] or match[1])
    if first > last or last > 65535:
        raise ValueError(f"{value!r} is no range of ports between 0 and 65535")
    return range(first, last + 1)


def _address(value: object) -> str:
    import ipaddress  # 3 ms that only those pay who publish ports

    text = str(value).removeprefix("[").removesuffix("]")
    if text in ("", "*"):
        return "0.0.0.0"
    if text == "localhost":
        return LOOPBACK
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(
            f'{value!r} is no address of this host; give one as "127.0.0.1" or "0.0.0.0"'
        ) from None


def _expose(value: object) -> tuple[str, ...]:
    if isinstance(value, str | int):
        value = [value]
    if not isinstance(value, Iterable) or isinstance(value, bytes | Mapping):
        raise ValueError('give ports as [80, "53/udp", "8000-8010"]')
    wholes = [_whole(item) for item in value]
    return tuple(dict.fromkeys(f"{port}/{protocol}" for ports, protocol in wholes for port in ports))


PORTS = Kind(
    "Mapping[int | str, object] | Sequence[int | str] | int | str",
    "[ADDRESS:][HOST_PORT:]PORT[/PROTOCOL]",
    _ports,
    list,
    True,
)
EXPOSE = Kind("Sequence[int | str] | int | str", "PORT[/PROTOCOL]", _expose, list, True)
