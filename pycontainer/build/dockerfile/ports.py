"""The ports of EXPOSE.

Source: moby/buildkit, frontend/dockerfile/dockerfile2llb/convert_expose.go.
"""

from __future__ import annotations

import ipaddress
import re

from attrs import frozen

from pycontainer.build.dockerfile.source import Problem

__all__ = ["ExposedPorts", "parse_ports"]

PROTOCOLS = ("sctp", "tcp", "udp")
_PORT = re.compile(r"[0-9]{1,5}")
_MAX_PORT = 65535


@frozen(kw_only=True)
class ExposedPorts:
    """Attributes: first and last port, protocol, is_mapped (an address or host port stood there as well,
    which means nothing in EXPOSE), protocol_spelled.
    """

    first: int
    last: int
    protocol: str
    is_mapped: bool
    protocol_spelled: str

    def names(self) -> list[str]:
        """`80/tcp` for each port."""
        return [f"{port}/{self.protocol}" for port in range(self.first, self.last + 1)]


def parse_ports(text: str) -> ExposedPorts:
    """Read `[[ADDRESS:]HOSTPORT:]PORT[-PORT][/PROTOCOL]`. Raises: Problem."""
    host, _, container = text.rpartition(":")
    address, _, host_port = host.rpartition(":")
    port, _, spelled = container.partition("/")
    if not port:
        raise Problem(f"no port specified: {text[:100]}<empty>", expected="PORT or PORT/PROTOCOL")
    if spelled.lower() not in {"", *PROTOCOLS}:
        raise Problem(f"invalid proto: {spelled[:100].lower()}", expected=", ".join(PROTOCOLS))
    if address and not _is_address(address):
        raise Problem(f"invalid IP address: {address[:100]}")
    first, last = _range("containerPort", port)
    if host_port:
        host_first, host_last = _range("hostPort", host_port)
        if last - first not in {0, host_last - host_first}:
            raise Problem(f"invalid ranges specified for container and host Ports: {port} and {host_port}")
    return ExposedPorts(
        first=first,
        last=last,
        protocol=spelled.lower() or "tcp",
        is_mapped=bool(host),
        protocol_spelled=spelled,
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _range(what: str, text: str) -> tuple[int, int]:
    parts = text.split("-")
    if len(parts) > 2 or not all(_PORT.fullmatch(part) for part in parts):
        raise Problem(f"invalid {what}: {text[:100]}", expected="a port or a range as 8000-8010")
    first, last = int(parts[0]), int(parts[-1])
    if last < first or last > _MAX_PORT:
        raise Problem(f"invalid {what}: {text[:100]}", expected="ports from 0 to 65535, the lower one first")
    return first, last
