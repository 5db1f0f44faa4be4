"""What the kernel tells of all links, addresses or routes of a network namespace. Source: rtnetlink(7)."""

from __future__ import annotations

import errno
import os
import socket
import struct

__all__ = ["ANSWER_BYTES", "HEADER", "dumped"]

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence, port."""
ANSWER_BYTES = 1 << 18
"""Room for one answer."""

_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3


def dumped(sock: socket.socket, kind: int, body: bytes, answered: int) -> list[bytes]:
    """The messages of a type that answer a request for all there is, without their headers. Raises OSError.

    sock: of the namespace, with a time-out. kind, body: the request, as RTM_GETADDR and a struct ifaddrmsg.
    """
    sock.sendto(HEADER.pack(HEADER.size + len(body), kind, _REQUEST | _DUMP, 0, 0) + body, (0, 0))
    found: list[bytes] = []
    while True:
        answer, offset = sock.recv(ANSWER_BYTES), 0
        while offset + HEADER.size <= len(answer):
            length, told = struct.unpack_from("=IH", answer, offset)
            if told == _DONE:
                return found
            if told == _ERROR:
                code = -struct.unpack_from("=i", answer, offset + HEADER.size)[0]
                raise OSError(code or errno.EIO, os.strerror(code or errno.EIO))
            if told == answered:
                found.append(answer[offset + HEADER.size : offset + length])
            offset += max(HEADER.size, length + 3 & ~3)
