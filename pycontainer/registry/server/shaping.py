"""How a response body goes out piece by piece, and how a fault spoils it on the way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import attrs

from pycontainer.registry.server.messages import FileSpan, Stream

_SEND_BYTES: Final = 1 << 20


@attrs.frozen(kw_only=True)
class Shaping:
    """How a response is spoilt on its way out (faults); the defaults spoil nothing.

    stop_after: send so many body bytes, then close. reset: close with a reset. flip_at: invert the bits
    of that body byte. bytes_per_s: pace. endless: repeat the body for ever, chunked.
    """

    stop_after: int | None = None
    reset: bool = False
    flip_at: int | None = None
    bytes_per_s: float | None = None
    endless: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the body may go out by sendfile."""
        return self.flip_at is None and self.bytes_per_s is None and not self.endless


def blocks(body: bytes | FileSpan | Stream, shaping: Shaping) -> Iterator[bytes]:
    """The body in pieces of a size that suits the pace."""
    size = (
        _SEND_BYTES if shaping.bytes_per_s is None else max(1, min(64 << 10, int(shaping.bytes_per_s / 20)))
    )
    if isinstance(body, Stream):
        yield from body.chunks
    elif isinstance(body, FileSpan):
        offset, end = body.offset, body.offset + body.length
        while offset < end and (block := os.pread(body.fd, min(size, end - offset), offset)):
            yield block
            offset += len(block)
    else:
        while True:
            yield from (body[start : start + size] for start in range(0, len(body), size))
            if not shaping.endless or not body:
                return


def shaped(pieces: Iterator[bytes], left: int, shaping: Shaping) -> Iterator[bytes]:
    """Cut the blocks off after so many bytes and spoil the byte that is to be spoilt."""
    offset = 0
    for block in pieces:
        if not shaping.endless:
            block = block[: left - offset]
        at = -1 if shaping.flip_at is None else shaping.flip_at - offset
        if 0 <= at < len(block):
            block = block[:at] + bytes([block[at] ^ 0xFF]) + block[at + 1 :]
        offset += len(block)
        if block:
            yield block
        if offset >= left and not shaping.endless:
            return
