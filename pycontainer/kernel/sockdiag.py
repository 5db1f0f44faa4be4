"""Which sockets wait for traffic in this process's network namespace. Source: sock_diag(7), proc(5).

The kernel answers a question and announces nothing: there is no notification of a new listener.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from contextlib import suppress
from typing import NamedTuple

__all__ = ["Listeners", "Waiting", "holders"]

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI48s")  # inet_diag_req_v2
_TCP_LISTEN, _TCP_CLOSE = 10, 7  # an unconnected datagram socket is "closed"
_PROTOCOLS = {"tcp": (socket.IPPROTO_TCP, 1 << _TCP_LISTEN), "udp": (socket.IPPROTO_UDP, 1 << _TCP_CLOSE)}
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_MISSING = (errno.ENOENT, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EINVAL, errno.EPERM, errno.EACCES)


class Waiting(NamedTuple):
    """A socket that waits for connections, or for datagrams: family, the address's bytes, port."""

    family: int
    address: bytes
    port: int


class Listeners:
    """Asks for the waiting sockets of the network namespace this was made in; close it.

    Where the kernel has no sock_diag for a protocol, /proc/self/net tells the same more slowly.
    """

    def __init__(self) -> None:
        self._number = 0
        self._is_missing: set[tuple[int, int]] = set()
        try:
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
            self._socket: socket.socket | None = socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)
        except OSError:
            self._socket = None

    def waiting(self, protocol: str) -> list[Waiting]:
        """Every waiting socket of "tcp" or "udp", both families. Raises: OSError."""
        number, states = _PROTOCOLS[protocol]
        found = []
        for family in _FAMILIES:
            if self._socket is not None and (family, number) not in self._is_missing:
                try:
                    found += self._dump(self._socket, family, number, states)
                    continue
                except OSError as problem:
                    if problem.errno not in _MISSING:
                        raise
                    self._is_missing.add((family, number))
            found += _read_table(protocol, family)
        return found

    def close(self) -> None:
        """Close the socket; idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _dump(self, sock: socket.socket, family: int, protocol: int, states: int) -> list[Waiting]:
        self._number += 1
        body = _REQUEST.pack(family, protocol, 0, 0, states, b"")
        header = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, self._number, 0)
        sock.send(header + body)
        found: list[Waiting] = []
        while True:
            answer = sock.recv(1 << 16)
            offset = 0
            while offset + _HEADER.size <= len(answer):
                length, kind, _, number, _ = _HEADER.unpack_from(answer, offset)
                payload = answer[offset + _HEADER.size : offset + length]
                offset += (length + 3) & ~3
                if number != self._number:
                    continue  # the rest of an answer that we gave up on
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    code = -int.from_bytes(payload[:4], sys.byteorder, signed=True)
                    raise OSError(code, os.strerror(code))
                found.append(_parsed(payload))


def _parsed(payload: bytes) -> Waiting:
    """An inet_diag_msg: family, state, timer, retransmissions, then the addresses in network order."""
    size = 4 if payload[0] == socket.AF_INET else 16
    return Waiting(payload[0], payload[8 : 8 + size], int.from_bytes(payload[4:6], "big"))


def _read_table(protocol: str, family: int) -> list[Waiting]:
    state = b"0A" if protocol == "tcp" else b"07"
    try:
        with open(f"/proc/self/net/{protocol}{'6' if family == socket.AF_INET6 else ''}", "rb") as file:
            lines = file.read().splitlines()[1:]
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        words = line.split()
        if words[3] == state:
            address, _, port = words[1].partition(b":")
            found.append(Waiting(family, _from_hex(address), int(port, 16)))
    return found


def _from_hex(text: bytes) -> bytes:
    """The table shows an address as numbers of four bytes in the machine's order."""
    shown = bytes.fromhex(text.decode("ascii"))
    if sys.byteorder == "big":
        return shown
    return b"".join(shown[start : start + 4][::-1] for start in range(0, len(shown), 4))


def holders(protocol: str, port: int) -> list[int]:
    """Processes that have a socket of "tcp" or "udp" on a port, as far as this process may look."""
    inodes = set()
    for suffix in ("", "6"):
        try:
            with open(f"/proc/self/net/{protocol}{suffix}") as file:
                rows = [line.split() for line in file.read().splitlines()[1:]]
        except FileNotFoundError:
            continue
        inodes |= {f"socket:[{row[9]}]" for row in rows if int(row[1].rpartition(":")[2], 16) == port}
    return [
        int(name) for name in os.listdir("/proc") if name.isdigit() and inodes & _links(f"/proc/{name}/fd")
    ]


def _links(directory: str) -> set[str]:
    found = set()
    with suppress(OSError):  # it has ended, or is not ours to look at
        for name in os.listdir(directory):
            with suppress(FileNotFoundError):  # closed meanwhile
                found.add(os.readlink(f"{directory}/{name}"))
    return found
