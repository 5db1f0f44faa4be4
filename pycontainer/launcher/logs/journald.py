"""Messages for systemd's journal, with the fields that Docker's driver writes.

Source: systemd, docs/JOURNAL_NATIVE_PROTOCOL; moby, daemon/logger/journald/journald.go.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Mapping

from pycontainer.launcher.logs.lines import Message
from pycontainer.launcher.logs.local import STDOUT

__all__ = ["connect", "encoder"]

_INFO, _ERROR = b"6", b"3"
_LENGTH = struct.Struct("<Q")


def connect(path: str) -> Callable[[float], socket.socket]:
    """What calls the journal at this socket."""

    def call(_: float) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            raise
        return sock

    return call


def _field(name: str, value: str) -> bytes:
    content = value.encode("utf-8", "surrogateescape")
    if b"\n" in content:
        return name.encode() + b"\n" + _LENGTH.pack(len(content)) + content + b"\n"
    return name.encode() + b"=" + content + b"\n"


def encoder(fields: Mapping[str, str]) -> Callable[[Message], bytes]:
    """What writes a message out; fields: those that all messages of the container have."""
    always = b"".join(_field(name, value) for name, value in fields.items())
    numbers = iter(range(1, 1 << 62))

    def encode(message: Message) -> bytes:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(message.at_ns // 10**9))
        parts = [
            always,
            b"PRIORITY=" + (_INFO if message.stream == STDOUT else _ERROR),
            f"\nSYSLOG_TIMESTAMP={when}.{message.at_ns % 10**9:09d}Z".encode(),
            b"\nCONTAINER_LOG_ORDINAL=%d\n" % next(numbers),
        ]
        if message.partial_id:
            parts.append(
                f"CONTAINER_PARTIAL_ID={message.partial_id}\nCONTAINER_PARTIAL_ORDINAL={message.ordinal}\n"
                f"CONTAINER_PARTIAL_LAST={str(message.is_last).lower()}\n".encode()
            )
            if not message.is_last:
                parts.append(b"CONTAINER_PARTIAL_MESSAGE=true\n")
        return b"".join((*parts, b"MESSAGE=", message.content, b"\n"))

    return encode
