"""Output cut into messages: a line each, or pieces of one that is too long for a message."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from pycontainer.launcher.logs.local import STDERR, STDOUT

__all__ = ["MESSAGE_BYTES", "Message", "Splitter"]

MESSAGE_BYTES = 16384
"""A message's content at most (moby, daemon/logger/copier.go)."""


class Message(NamedTuple):
    """A line without its line feed, or a piece of one."""

    stream: int
    content: bytes
    at_ns: int
    partial_id: str
    """What all pieces of a line have in common; empty for a whole line."""
    ordinal: int
    """Which piece it is, from 1; 0 for a whole line."""
    is_last: bool
    """Whether the line ends here."""


class Splitter:
    """Cuts what was read into messages, and holds back what is no whole line yet."""

    def __init__(self) -> None:
        self._held = {STDOUT: b"", STDERR: b""}
        self._open: dict[int, tuple[str, int]] = {}  # the id and count of pieces of a line begun

    def feed(self, stream: int, payload: memoryview | bytes, at_ns: int) -> Iterator[Message]:
        """The messages that are whole by now."""
        content = self._held[stream] + payload
        start = 0
        while start < len(content):
            end = content.find(b"\n", start, start + MESSAGE_BYTES)
            if end >= 0:
                yield self._message(stream, content[start:end], at_ns, is_last=True)
                start = end + 1
            elif len(content) - start >= MESSAGE_BYTES:
                yield self._message(stream, content[start : start + MESSAGE_BYTES], at_ns, is_last=False)
                start += MESSAGE_BYTES
            else:
                break
        self._held[stream] = content[start:]

    def finish(self, at_ns: int) -> Iterator[Message]:
        """What was held back, now that the streams have ended."""
        for stream, content in self._held.items():
            if content:
                self._held[stream] = b""
                yield self._message(stream, content, at_ns, is_last=True)

    def _message(self, stream: int, content: bytes, at_ns: int, *, is_last: bool) -> Message:
        if is_last and stream not in self._open:
            return Message(stream, content, at_ns, "", 0, True)
        partial_id, count = self._open.get(stream) or (os.urandom(32).hex(), 0)
        if is_last:
            del self._open[stream]
        else:
            self._open[stream] = partial_id, count + 1
        return Message(stream, content, at_ns, partial_id, count + 1, is_last)
