"""The resolver's configuration file, read for its servers and written for a container.

Source: resolv.conf(5).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = [
    "HOST_FILE",
    "MAX_SERVERS",
    "Configuration",
    "HostServers",
    "address",
    "parse",
    "reachable",
    "text",
]

HOST_FILE = "/etc/resolv.conf"
MAX_SERVERS = 3  # libc asks no more of them (MAXNS in <resolv.h>)
_MAX_FILE = 64 << 10
_PORT = 53


class Configuration(NamedTuple):
    """What such a file says."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse(content: str) -> Configuration:
    """Read a file's content as libc does: the last search line counts, servers and options add up."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in content.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver" and len(words) > 1:
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = tuple(words[1:])
        elif words[0] == "options":
            options += words[1:]
    return Configuration(tuple(dict.fromkeys(servers)), search, tuple(dict.fromkeys(options)))


def text(configuration: Configuration) -> str:
    """The content that says so."""
    lines = [f"nameserver {server}" for server in configuration.servers]
    for keyword, words in (("search", configuration.search), ("options", configuration.options)):
        if words:
            lines.append(" ".join((keyword, *words)))
    return "".join(f"{line}\n" for line in lines)


def address(server: str, port: int = _PORT) -> tuple[int, tuple[str | int, ...]] | None:
    """Family and address of a server, for connect(2); None when it is no address of this host's kind.

    server: an address, of IPv6 with its link as "fe80::1%eth0", or with a port as "127.0.0.1:5353" and
    "[::1]:5353".
    """
    host, colon, digits = server.rpartition(":")
    if colon and digits.isascii() and digits.isdigit() and (host.count(".") == 3 or host[:1] == "["):
        server, port = host.removeprefix("[").removesuffix("]"), int(digits)
    if not 0 < port < 65536:
        return None
    host, _, link = server.partition("%")
    try:
        if ":" not in host:
            socket.inet_pton(socket.AF_INET, host)
            return socket.AF_INET, (host, port)
        socket.inet_pton(socket.AF_INET6, host)
        scope = 0 if not link else int(link) if link.isdigit() else socket.if_nametoindex(link)
        return socket.AF_INET6, (host, port, 0, scope)
    except (OSError, ValueError):
        return None


class HostServers:
    """The servers that the host's file names now; the file is read again when it has changed."""

    def __init__(self, path: str = HOST_FILE) -> None:
        self._path = path
        self._mark: tuple[int, int, int] | None = None
        self._servers: Sequence[str] = ()

    def servers(self) -> Sequence[str]:
        """The servers, in their order; none when the file cannot be read."""
        try:
            facts = os.stat(self._path)
            mark = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
            if mark != self._mark:
                with open(self._path, encoding="utf-8", errors="replace") as file:
                    self._servers = reachable(parse(file.read(_MAX_FILE)).servers)
                self._mark = mark
        except OSError:
            self._mark, self._servers = None, ()
        return self._servers


def reachable(servers: Iterable[str]) -> tuple[str, ...]:
    """Those that are addresses, as many of them as are asked."""
    return tuple(server for server in servers if address(server) is not None)[:MAX_SERVERS]
