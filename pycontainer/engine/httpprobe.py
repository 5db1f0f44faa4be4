"""One HTTP request over a socket that never blocks, judged by what is waited for.

The socket was made in the container's network namespace; connecting it from here goes there.
"""

from __future__ import annotations

import errno
import io
import select
import socket
import time
from http.client import HTTPException, HTTPResponse
from typing import Any, cast

from pycontainer.engine.waits import Http

__all__ = ["Exchange"]

_ATTEMPT_S = 5.0
_MAX_HEAD = 64 << 10
_MAX_BODY = 1 << 20


class _Received:
    """What http.client reads an answer from: a file over the bytes that have come."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._content)


class Exchange:
    """Connects, asks, and reads until it is known whether the answer will do. Close it.

    deadline: when `step` gives up, on the monotonic clock.
    """

    def __init__(self, sock: socket.socket, host: str, wanted: Http) -> None:
        self.deadline: float = time.monotonic() + _ATTEMPT_S
        self._wanted = wanted
        self._received = bytearray()
        self._is_connected = False
        self._unsent = _request(wanted)
        sock.setblocking(False)
        self._failed = sock.connect_ex((host, wanted.port)) not in (0, errno.EINPROGRESS)
        self._socket = _secured(sock) if wanted.is_tls else sock
        self._events = select.POLLOUT

    def fileno(self) -> int:
        """The socket, for poll(2)."""
        return self._socket.fileno()

    @property
    def events(self) -> int:
        """What to wait for."""
        return self._events

    def step(self) -> bool | None:
        """Go on as far as it can be done now: whether the answer will do, None while it is not known."""
        try:
            return False if self._failed else self._step()
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as problem:
            # Errors of TLS are OSErrors, too; two of them only say which way to wait.
            name = type(problem).__name__
            if name in ("SSLWantReadError", "SSLWantWriteError"):
                self._events = select.POLLIN if name == "SSLWantReadError" else select.POLLOUT
                return None
            return self._judged(is_whole=True)

    def close(self) -> None:
        """Close the socket; idempotent."""
        self._socket.close()

    def _step(self) -> bool | None:
        if not self._is_connected:
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                return False
            if self._wanted.is_tls:
                cast(Any, self._socket).do_handshake()
            self._is_connected = True
        while self._unsent:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        self._events = select.POLLIN
        while True:
            chunk = self._socket.recv(1 << 16)
            self._received += chunk
            verdict = self._judged(is_whole=not chunk)
            if verdict is not None or not chunk:
                return verdict

    def _judged(self, *, is_whole: bool) -> bool | None:
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return False if is_whole or len(self._received) > _MAX_HEAD else None
        body_size = len(self._received) - head_end - 4
        needs_more = self._wanted.body is not None and not is_whole and body_size < _MAX_BODY
        try:
            answer = HTTPResponse(cast(Any, _Received(bytes(self._received))), method=self._wanted.method)
            answer.begin()
            if answer.status not in self._wanted.statuses:
                return False
            if self._wanted.body is None:
                return True
            try:
                body = answer.read(_MAX_BODY)
            except HTTPException as cut:
                body = getattr(cut, "partial", b"")
        except (HTTPException, ValueError):
            return None if needs_more else False
        if self._wanted.body.search(body.decode(errors="replace")):
            return True
        return None if needs_more else False


def _request(wanted: Http) -> bytes:
    lines = {"Host": f"localhost:{wanted.port}", "User-Agent": "pycontainer", "Accept": "*/*"}
    given = {name.title(): value for name, value in wanted.headers.items()}
    lines = {**lines, **given, "Connection": "close"}
    if wanted.method in ("POST", "PUT", "PATCH"):
        lines["Content-Length"] = "0"
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{wanted.method} {wanted.path} HTTP/1.1\r\n{head}\r\n".encode("utf-8", "surrogateescape")


def _secured(sock: socket.socket) -> socket.socket:
    import ssl  # 10 ms that only HTTPS costs

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The server is in our own container, and its certificate most often made for the occasion.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(sock, do_handshake_on_connect=False, server_hostname="localhost")
