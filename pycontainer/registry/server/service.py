"""One request from its head to its answer: routing, faults, the log, and what becomes of the connection."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from pycontainer.registry.server import faults, routes
from pycontainer.registry.server.auth import Gate
from pycontainer.registry.server.connection import BadRequest, Connection, PeerGone
from pycontainer.registry.server.faults import Action, FaultBox
from pycontainer.registry.server.handlers import Handlers
from pycontainer.registry.server.messages import Body, Request, Response
from pycontainer.registry.server.refusals import Refusal

_LOGGED_HEADERS: Final = (
    "accept",
    "authorization",
    "content-length",
    "content-range",
    "content-type",
    "host",
    "range",
    "transfer-encoding",
    "user-agent",
)

_LOG_ENTRIES: Final = 10_000


@attrs.frozen(kw_only=True)
class RequestRecord:
    """What a client asked and was answered.

    path: as sent, with the query. status: 0 when it got no answer. headers: a few, lower case;
    Authorization is cut to its scheme.
    """

    method: str
    path: str
    status: int
    headers: Mapping[str, str]


@attrs.frozen
class _CutBody:
    """A request body whose sender disappears after so many bytes."""

    body: Body
    left: int

    @property
    def declared_bytes(self) -> int | None:
        return self.body.declared_bytes

    def chunks(self) -> Iterator[bytes]:
        left = self.left
        for chunk in self.body.chunks():
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                raise PeerGone("planted fault")

    def read(self, limit_bytes: int) -> bytes | None:
        for _chunk in self.chunks():
            limit_bytes -= len(_chunk)
        raise PeerGone("planted fault")


class Service:
    """Serves requests on connections; called from many worker threads."""

    def __init__(self, handlers: Handlers, gate: Gate, closing: threading.Event) -> None:
        self._handlers = handlers
        self._gate = gate
        self._closing = closing
        self.faults: FaultBox = FaultBox()
        self.log: deque[RequestRecord] = deque(maxlen=_LOG_ENTRIES)

    def serve(self, connection: Connection) -> bool:
        """Answer one request; whether another may follow on this connection."""
        try:
            request = connection.next_request()
            return request is not None and self._answer(connection, request)
        except BadRequest as error:
            self._refuse(connection, Refusal(error.status, "UNSUPPORTED", f"not HTTP/1.1: {error}"))
            return False
        except PeerGone:
            return False

    def _refuse(self, connection: Connection, refusal: Refusal) -> None:
        try:
            connection.respond(refusal.response(), faults.NO_SHAPING, keep=False, closing=self._closing)
        except PeerGone:
            return
        connection.linger()

    def _answer(self, connection: Connection, request: Request) -> bool:
        action = self.faults.take(request.method, request.target)
        if isinstance(action, faults.Silence | faults.Hang):
            self._record(request, 0)
            if isinstance(action, faults.Hang):
                self._closing.wait(action.seconds)
            return False
        try:
            response = self._response(_spoilt(request, action), action)
        except (PeerGone, BadRequest):
            self._record(request, 0)
            if isinstance(action, faults.DropUpload):
                connection.close(reset=True)
            raise
        response.headers.setdefault("Docker-Distribution-Api-Version", "registry/2.0")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        faults.replace_headers(action, response)
        self._record(request, response.status)
        try:
            keep = connection.drain()
        except BaseException:
            response.release()
            raise
        kept = connection.respond(response, faults.shaping(action), keep=keep, closing=self._closing)
        if not keep:
            connection.linger()
        return kept

    def _response(self, request: Request, action: Action | None) -> Response:
        planted = faults.instead(action, request.target)
        if planted is not None:
            return planted
        try:
            # A web page cannot leave Origin out, and no registry client sends it.
            if "origin" in request.headers:
                raise Refusal(403, "DENIED", "requests from web pages are refused")
            if self._gate.with_tokens and request.path == "/token":
                return self._gate.token(request)
            return self._handlers.handle(request, routes.find(request.path))
        except Refusal as refusal:
            return refusal.response()
        except OSError as error:
            # Disk full, quota, a file system gone read-only: the server's trouble, and worth a retry.
            return Refusal(500, "UNKNOWN", f"storage: {error.strerror}").response()

    def _record(self, request: Request, status: int) -> None:
        headers = {name: request.headers[name] for name in _LOGGED_HEADERS if name in request.headers}
        if "authorization" in headers:
            headers["authorization"] = headers["authorization"].partition(" ")[0]
        self.log.append(
            RequestRecord(method=request.method, path=request.target, status=status, headers=headers)
        )


def _spoilt(request: Request, action: Action | None) -> Request:
    """The request as a fault lets the handlers see it."""
    if isinstance(action, faults.IgnoreRange):
        return attrs.evolve(request, headers={k: v for k, v in request.headers.items() if k != "range"})
    if isinstance(action, faults.DropUpload):
        return attrs.evolve(request, body=_CutBody(request.body, action.after_bytes))
    return request
