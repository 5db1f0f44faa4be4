"""Names of the containers on a network, as files that every process of the store writes and monitors read.

Theory of operation. `networks/<network id>/names/<container id>.json` says under which names a container is
known there, and its addresses. A file is written whole under another name and renamed, so a reader sees the
old one or the new one. Readers look at the directory's time when they are asked something, never before: a
change on a network of hundreds wakes nobody up. A directory that changed a moment ago is read again, since
its time may be too coarse to tell a further change.

The file of a container that was killed with its monitor stays until somebody sweeps it. So a name counts
only while the monitor lives that its container's status names; that it does is believed for a second.

Names are those of `docker network`: compared in lower case, alone or followed by the network's name.
Source: moby, libnetwork/sandbox.go, ResolveName and ResolveIP; daemon/container_operations.go,
buildEndpointDNSNames.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pycontainer.launcher import status
from pycontainer.launcher.dns.files import SUFFIX

__all__ = [
    "MAX_FILE",
    "Entry",
    "NetworkNames",
    "address_of_pointer",
    "find",
    "named",
]

MAX_FILE = 64 << 10
_MAX_ENTRIES = 16384
_MAX_NAMES = 256
_ID = re.compile(r"[0-9a-f]{64}\Z")
_COARSE_NS = 50_000_000  # a directory's time goes in steps of a tick: 10 ms at most (CONFIG_HZ=100)
_BELIEVED_S = 1.0


class Entry(NamedTuple):
    """A container on a network."""

    container_id: str
    names: tuple[bytes, ...]
    """In lower case; the first one is what its addresses are called."""
    ipv4: bytes
    ipv6: bytes
    """As they are sent; b"" for none."""


class NetworkNames:
    """The names on one network, as they are when they are asked for.

    directory: where the files are. containers: the directory that has those of the containers.
    own_id: of the container that asks; that one runs, though its status may not say so yet.
    """

    def __init__(self, network: str, directory: str, containers: str, own_id: str = "") -> None:
        self._own_id = own_id
        self.network: bytes = network.lower().encode("utf-8", "surrogateescape")
        self.directory = directory
        self._containers = containers
        self._seen: tuple[int, int] | None = None
        self._entries: dict[str, tuple[tuple[int, int, int], Entry | None]] = {}
        self._by_name: dict[bytes, list[Entry]] = {}
        self._by_address: dict[bytes, Entry] = {}
        self._believed: dict[str, float] = {}

    def named(self, name: bytes) -> list[Entry]:
        """The running containers that are known by a name."""
        self._refresh()
        return [entry for entry in self._by_name.get(name, ()) if self._is_running(entry)]

    def at(self, address: bytes) -> Entry | None:
        """The running container that has an address."""
        self._refresh()
        entry = self._by_address.get(address)
        return entry if entry is not None and self._is_running(entry) else None

    def _is_running(self, entry: Entry) -> bool:
        if entry.container_id == self._own_id:
            return True
        now = time.monotonic()
        if self._believed.get(entry.container_id, 0.0) > now:
            return True
        try:
            is_running = status.is_running(os.path.join(self._containers, entry.container_id))
        except (OSError, ValueError, KeyError):
            is_running = False  # half removed
        if is_running:
            self._believed[entry.container_id] = now + _BELIEVED_S
        return is_running

    def _refresh(self) -> None:
        try:
            status_now = os.stat(self.directory)
        except OSError:
            self._seen = None
            self._forget()
            return
        mark = (status_now.st_ino, status_now.st_mtime_ns)
        if mark == self._seen:
            return
        self._read()
        is_settled = time.time_ns() - status_now.st_mtime_ns > _COARSE_NS
        self._seen = mark if is_settled else None

    def _forget(self) -> None:
        self._entries, self._by_name, self._by_address, self._believed = {}, {}, {}, {}

    def _read(self) -> None:
        before, self._entries = self._entries, {}
        has_changed = False
        for container_id, mark in self._files():
            known = before.pop(container_id, None)
            if known is None or known[0] != mark:
                has_changed = True
                known = mark, _load(os.path.join(self.directory, container_id + SUFFIX), container_id)
            self._entries[container_id] = known
        if not has_changed and not before:
            return
        self._by_name, self._by_address, self._believed = {}, {}, {}
        for _, entry in self._entries.values():
            if entry is None:
                continue
            for name in entry.names:
                self._by_name.setdefault(name, []).append(entry)
            for address in filter(None, (entry.ipv4, entry.ipv6)):
                self._by_address[address] = entry

    def _files(self) -> Iterator[tuple[str, tuple[int, int, int]]]:
        try:
            with os.scandir(self.directory) as found:
                for count, item in enumerate(found):
                    container_id = item.name.removesuffix(SUFFIX)
                    if count >= _MAX_ENTRIES:
                        return
                    if container_id == item.name or not _ID.match(container_id):
                        continue
                    try:
                        facts = item.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    yield container_id, (facts.st_ino, facts.st_mtime_ns, facts.st_size)
        except FileNotFoundError:
            return


def _load(path: str, container_id: str) -> Entry | None:
    """What a file says, None when it says nothing that can be used."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            content = file.read(MAX_FILE + 1)
        if len(content) > MAX_FILE:
            return None
        fields = json.loads(content)
        names = [name.lower().encode("utf-8", "surrogateescape") for name in fields["names"][:_MAX_NAMES]]
        addresses = [
            socket.inet_pton(family, fields[key]) if fields.get(key) else b""
            for family, key in ((socket.AF_INET, "ipv4"), (socket.AF_INET6, "ipv6"))
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Entry(container_id, tuple(dict.fromkeys(filter(None, names))), addresses[0], addresses[1])


def named(networks: Iterable[NetworkNames], name: bytes) -> list[Entry]:
    """The containers of a name on any of the networks: "web", or "web.app" for the one on network app."""
    found = []
    for network in networks:
        found += network.named(name)
        if name.endswith(b"." + network.network):
            found += network.named(name[: -len(network.network) - 1])
    return found


def find(networks: Iterable[NetworkNames], address: bytes) -> tuple[Entry, NetworkNames] | None:
    """The container of an address, and the network where it has that."""
    for network in networks:
        entry = network.at(address)
        if entry is not None:
            return entry, network
    return None


def address_of_pointer(name: bytes) -> bytes | None:
    """The address whose name is asked for by "4.3.2.10.in-addr.arpa" or the like; None if it is no such."""
    labels = name.split(b".")
    if labels[-2:] == [b"in-addr", b"arpa"] and len(labels) == 6:
        return _packed(socket.AF_INET, b".".join(labels[3::-1]))
    if (
        labels[-2:] == [b"ip6", b"arpa"]
        and len(labels) == 34
        and all(len(label) == 1 for label in labels[:32])
    ):
        digits = b"".join(labels[31::-1])
        return _packed(socket.AF_INET6, b":".join(digits[at : at + 4] for at in range(0, 32, 4)))
    return None


def _packed(family: int, text: bytes) -> bytes | None:
    try:
        return socket.inet_pton(family, text.decode("ascii"))
    except (OSError, UnicodeDecodeError):
        return None
