"""What passes between a monitor and those who are attached: Docker's frames, with two kinds more.

A frame is a kind, three zero bytes, the length of the payload (four bytes, big-endian) and the payload:
stdin, stdout and stderr as Docker numbers them, and 3 for an error text, which ends the attachment. END
says that the output is whole; RESIZE carries rows and columns; an empty STDIN ends the input. No I/O.
Source: Docker Engine API, "Attach to a container", stream format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pycontainer import errors

__all__ = [
    "END",
    "ERROR",
    "HEADER",
    "MAX_PAYLOAD",
    "RESIZE",
    "SIZE",
    "STDERR",
    "STDIN",
    "STDOUT",
    "Decoder",
    "header",
]

STDIN, STDOUT, STDERR, ERROR, END, RESIZE = range(6)

HEADER = struct.Struct(">BxxxI")
SIZE = struct.Struct(">HH")
"""Payload of RESIZE: rows, columns."""

MAX_PAYLOAD = 1 << 16


def header(kind: int, length: int) -> bytes:
    """The beginning of a frame, before so many bytes of payload."""
    return HEADER.pack(kind, length)


class Decoder:
    """Finds the frames in what arrives, in pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, received: bytes) -> Iterator[tuple[int, bytes]]:
        """The (kind, payload) that are whole by now. Raises InvalidInput for what is no frame."""
        self._buffer += received
        while len(self._buffer) >= HEADER.size:
            kind, length = HEADER.unpack_from(self._buffer)
            if kind > RESIZE or length > MAX_PAYLOAD or any(self._buffer[1:4]):
                raise errors.InvalidInput(f"no frame of a stream begins with {bytes(self._buffer[:8])!r}")
            end = HEADER.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[HEADER.size : end])
            del self._buffer[:end]
            yield kind, payload
