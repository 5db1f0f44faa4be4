"""Requests and responses as the handlers see them; no sockets here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Protocol
from urllib.parse import parse_qs

import attrs


class Body(Protocol):
    """The body of a request, read once, from the front."""

    @property
    def declared_bytes(self) -> int | None:
        """What Content-Length says; None for a chunked body."""

    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece; raises PeerGone when the client leaves or is too slow."""

    def read(self, limit_bytes: int) -> bytes | None:
        """The whole body, or None when it is longer than limit_bytes."""


@attrs.frozen(kw_only=True)
class Request:
    """One request. Header names are lower case; repeated headers are joined with commas."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: Body

    @property
    def path(self) -> str:
        """The path as it was sent, still percent-encoded."""
        return self.target.partition("?")[0]

    def query(self, name: str) -> str | None:
        """The first value of a query parameter, or None."""
        return next(iter(self.queries(name)), None)

    def queries(self, name: str) -> list[str]:
        """All values of a query parameter; nonsense in the query counts as absent."""
        try:
            return parse_qs(self.target.partition("?")[2], keep_blank_values=True, max_num_fields=64).get(
                name, []
            )
        except ValueError:
            return []


@attrs.frozen
class FileSpan:
    """length bytes of an open file from offset; the file descriptor belongs to the span."""

    fd: int
    offset: int
    length: int

    def __len__(self) -> int:
        return self.length

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)


@attrs.frozen
class Stream:
    """A body of known length whose bytes arrive while it is sent; closing the iterator abandons it."""

    chunks: Iterator[bytes]
    length: int

    def close(self) -> None:
        """Tell the producer that nobody listens any more."""
        close = getattr(self.chunks, "close", None)
        if close is not None:
            close()


@attrs.define
class Response:
    """One response; Content-Length is set from the body unless the headers already carry it."""

    status: int
    headers: dict[str, str] = attrs.Factory(dict)
    body: bytes | FileSpan | Stream = b""

    @property
    def length(self) -> int:
        """Bytes the body has."""
        return self.body.length if isinstance(self.body, FileSpan | Stream) else len(self.body)

    def release(self) -> None:
        """Close what the body holds open."""
        if isinstance(self.body, FileSpan | Stream):
            self.body.close()
