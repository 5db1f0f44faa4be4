"""Faults a test can plant: what real registries and networks do on bad days.

    registry.inject(Fault(Status(429, retry_after=1), method="GET", path=r"/blobs/", count=2))

The first planted fault whose method and path fit a request, and that is not used up, applies to it; one
fault per request. Each fault says in its docstring what the client sees.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Final

import attrs

from pycontainer.errors import InvalidInput
from pycontainer.registry.server.messages import Response
from pycontainer.registry.server.shaping import Shaping


@attrs.frozen
class Status:
    """An error response instead of the real one. retry_after: seconds, or an HTTP date, for Retry-After."""

    status: int
    retry_after: int | str | None = None
    code: str = "UNKNOWN"


@attrs.frozen
class Answer:
    """These very bytes with this status instead of the real response."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"


@attrs.frozen
class Truncate:
    """The connection closes cleanly after so many body bytes, although Content-Length promised all."""

    after_bytes: int


@attrs.frozen
class Drop:
    """The connection is reset after so many body bytes of the response."""

    after_bytes: int = 0


@attrs.frozen
class Silence:
    """The connection is closed without any answer, before the request body is read."""


@attrs.frozen
class DropUpload:
    """The connection is reset after so many bytes of the request body were received and kept."""

    after_bytes: int = 0


@attrs.frozen
class Corrupt:
    """One byte of the body is inverted; size and headers are right, the digest is not."""

    at: int = 0


@attrs.frozen
class Slow:
    """The body comes at this pace."""

    bytes_per_s: float


@attrs.frozen
class Endless:
    """The body repeats for ever, with chunked framing and no Content-Length."""


@attrs.frozen
class Headers:
    """These headers replace those of the real response; an empty value removes one.

    For a wrong Content-Range, Docker-Content-Digest, Content-Type, Location or Content-Length.
    """

    headers: Mapping[str, str]


@attrs.frozen
class IgnoreRange:
    """Range is ignored: 200 and the whole body."""


@attrs.frozen
class Redirect:
    """A redirect to this URL; "{path}" in it stands for the request's own path and query."""

    url: str
    status: int = 307


@attrs.frozen
class Hang:
    """No answer for so many seconds, then a closed connection."""

    seconds: float = 3600.0


Action = (
    Status
    | Answer
    | Truncate
    | Drop
    | Silence
    | DropUpload
    | Corrupt
    | Slow
    | Endless
    | Headers
    | IgnoreRange
    | Redirect
    | Hang
)


def _pattern(text: str | re.Pattern[str]) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidInput(f"fault path {text!r} is not a regular expression: {error}") from error


@attrs.frozen
class Fault:
    """An action and the requests it applies to.

    method: only this method; None for all. path: regular expression searched in the path with its query.
    skip: so many fitting requests pass untouched first. count: applies so often; None for ever.
    """

    action: Action
    method: str | None = None
    path: re.Pattern[str] = attrs.field(default="", converter=_pattern)
    count: int | None = 1
    skip: int = 0

    def fits(self, method: str, target: str) -> bool:
        """Whether the request is one of those meant."""
        return self.method in (None, method) and self.path.search(target) is not None


class FaultBox:
    """The planted faults and how often each was met. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._met: list[tuple[Fault, int]] = []

    def plant(self, fault: Fault) -> None:
        """Add a fault behind those already planted."""
        with self._mutex:
            self._met.append((fault, 0))

    def clear(self) -> None:
        """Remove all."""
        with self._mutex:
            self._met.clear()

    def take(self, method: str, target: str) -> Action | None:
        """The action for this request, counted as used."""
        with self._mutex:
            for position, (fault, met) in enumerate(self._met):
                if not fault.fits(method, target):
                    continue
                if fault.count is not None and met >= fault.skip + fault.count:
                    continue
                self._met[position] = (fault, met + 1)
                if met >= fault.skip:
                    return fault.action
            return None


NO_SHAPING: Final = Shaping()


def instead(action: Action | None, target: str) -> Response | None:
    """The response that takes the place of the real one, if the fault has one."""
    if isinstance(action, Status):
        headers = {"Content-Type": "application/json"}
        if action.retry_after is not None:
            headers["Retry-After"] = str(action.retry_after)
        body = f'{{"errors":[{{"code":"{action.code}","message":"planted fault","detail":null}}]}}'
        return Response(action.status, headers, body.encode())
    if isinstance(action, Answer):
        return Response(action.status, {"Content-Type": action.content_type}, action.body)
    if isinstance(action, Redirect):
        return Response(action.status, {"Location": action.url.replace("{path}", target)})
    return None


def shaping(action: Action | None) -> Shaping:
    """What the fault does to the response on its way out."""
    match action:
        case Truncate(after_bytes=count):
            return Shaping(stop_after=count)
        case Drop(after_bytes=count):
            return Shaping(stop_after=count, reset=True)
        case Corrupt(at=position):
            return Shaping(flip_at=position)
        case Slow(bytes_per_s=pace):
            return Shaping(bytes_per_s=pace)
        case Endless():
            return Shaping(endless=True)
        case _:
            return NO_SHAPING


def replace_headers(action: Action | None, response: Response) -> None:
    """Apply a Headers fault."""
    if isinstance(action, Headers):
        for name, value in action.headers.items():
            for present in [each for each in response.headers if each.lower() == name.lower()]:
                del response.headers[present]
            if value:
                response.headers[name] = value
