"""One client's connection: bytes to requests, responses to bytes.

h11 parses and frames. It comes with httpx, refuses what request smuggling lives on (two lengths, spaces
before a colon, control characters), and hands a file through to sendfile(2) in the place of body
bytes. http.server was the alternative: no chunked bodies, a lenient e-mail header parser, and a thread for
every silent client.

The socket never blocks: each wait is a poll(2) with a deadline, so that a client can be as slow as the
limits allow and no slower, and shutdown(2) from the closing thread ends every wait at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

import attrs
import h11

from pycontainer.registry.server.limits import ServerLimits
from pycontainer.registry.server.messages import FileSpan, Request, Response
from pycontainer.registry.server.shaping import Shaping, blocks, shaped

_RECEIVE_BYTES: Final = 256 << 10
_SENDFILE_BYTES: Final = 16 << 20

# Smaller body pieces travel in one packet with the head; bigger ones are not worth the copy.
_JOIN_BYTES: Final = 64 << 10

# A request body up to this size that nobody wants is read and dropped to keep the connection.
_DRAIN_BYTES: Final = 256 << 10

# After an early answer to a bigger body: how much to read, and how long, before the close. Closing with
# unread bytes sends a reset, which can overtake the answer (RFC 9112 section 9.6).
_LINGER_BYTES: Final = 64 << 20
_LINGER_S: Final = 2.0


class PeerGone(Exception):
    """The client left, broke the protocol beyond an answer, or was slower than the limits allow."""


class BadRequest(Exception):
    """Not HTTP/1.1. Attributes: status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Connection:
    """Serves one socket from one thread at a time; abort() may be called from any."""

    def __init__(self, sock: socket.socket, limits: ServerLimits, tls: ssl.SSLContext | None) -> None:
        self._limits = limits
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._handshaken = tls is None
        if tls is not None:
            self._sock = tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self._is_head = False
        self.idle_since: float = time.monotonic()

    # -- life ---------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The socket's descriptor, for the selector; -1 when closed."""
        return self._sock.fileno()

    def abort(self) -> None:
        """End every wait on this connection, from any thread; the serving thread then closes it."""
        with contextlib.suppress(OSError):
            # Not SSLSocket.shutdown: that drops the TLS state under the feet of the serving thread.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self, *, reset: bool = False) -> None:
        """Close the socket. Idempotent."""
        if reset:
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def linger(self) -> None:
        """Say that nothing more comes, and read a while, so that the last answer reaches the client."""
        deadline = time.monotonic() + _LINGER_S
        with contextlib.suppress(PeerGone, OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_WR)
            left = _LINGER_BYTES
            while left > 0 and (data := self._receive(deadline)):
                left -= len(data)

    def has_input(self) -> bool:
        """Whether bytes of a next request are already here, where no selector sees them."""
        if self._h11.trailing_data[0]:
            return True
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    def wait_input(self, seconds: float) -> bool:
        """Wait a moment for the next request of a client that is in the middle of something."""
        if self.has_input():
            return True
        waiter = select.poll()
        waiter.register(self._sock, select.POLLIN)
        return bool(waiter.poll(seconds * 1000))

    # -- receiving ----------------------------------------------------------------------------------

    def next_request(self) -> Request | None:
        """The next request, or None when the client ended the connection between two.

        Raises: BadRequest (answer it, then close), PeerGone.
        """
        deadline = time.monotonic() + self._limits.head_s
        if not self._handshaken:
            self._handshake(deadline)
        if self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
        self._is_head = False
        event = self._next_event(deadline)
        if not isinstance(event, h11.Request):
            return None
        if event.http_version not in (b"1.0", b"1.1"):
            raise BadRequest(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
        self._is_head = event.method == b"HEAD"
        headers: dict[str, str] = {}
        for raw_name, raw_value in event.headers:
            name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if "content-length" in headers and "transfer-encoding" in headers:
            # Legal to prefer chunked, but a proxy in front may have believed the length (RFC 9112, 6.1).
            raise BadRequest(400, "both Content-Length and Transfer-Encoding")
        target = event.target.decode("ascii")
        if not target.startswith("/"):  # absolute form, as sent to proxies (RFC 9112 section 3.2.2)
            target = "/" + target.partition("://")[2].partition("/")[2]
        length = headers.get("content-length")
        declared = int(length) if length is not None else None if "transfer-encoding" in headers else 0
        return Request(
            method=event.method.decode("ascii"),
            target=target,
            headers=headers,
            body=IncomingBody(self, declared),
        )

    def _handshake(self, deadline: float) -> None:
        assert isinstance(self._sock, ssl.SSLSocket)
        try:
            while not self._handshaken:
                try:
                    self._sock.do_handshake()
                    self._handshaken = True
                except ssl.SSLWantReadError:
                    self._wait(select.POLLIN, deadline)
                except ssl.SSLWantWriteError:
                    self._wait(select.POLLOUT, deadline)
        except OSError as error:  # ssl.SSLError is one
            raise PeerGone(f"no TLS handshake: {error}") from error

    def _next_event(self, deadline: float) -> Any:
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as error:
                raise BadRequest(error.error_status_hint, str(error)) from error
            if event is not h11.NEED_DATA:
                return event
            self._answer_expectation()
            received = self._receive(deadline)
            if not received and self._h11.their_state is h11.SEND_BODY:
                raise PeerGone("the connection ended inside a request body")
            try:
                self._h11.receive_data(received)
            except h11.RemoteProtocolError as error:
                raise BadRequest(error.error_status_hint, str(error)) from error

    def _answer_expectation(self) -> None:
        if self._h11.they_are_waiting_for_100_continue:
            go_on = self._h11.send(h11.InformationalResponse(status_code=100, headers=[]))
            self._send(go_on or b"", _Pace(self._limits))

    def body_chunks(self) -> Iterator[bytes]:
        """The body of the current request, as it comes."""
        pace = _Pace(self._limits)
        while True:
            event = self._next_event(pace.deadline)
            if isinstance(event, h11.Data):
                pace.moved(len(event.data))
                yield bytes(event.data)
            else:
                return  # h11.EndOfMessage: nothing else can follow a request head

    def _receive(self, deadline: float) -> bytes:
        while True:
            try:
                return self._sock.recv(_RECEIVE_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(select.POLLIN, deadline)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT, deadline)
            except ssl.SSLEOFError:
                return b""
            except OSError as error:
                raise PeerGone(f"receiving: {error}") from error

    def _wait(self, direction: int, deadline: float) -> None:
        left = deadline - time.monotonic()
        waiter = select.poll()
        waiter.register(self._sock, direction)
        if left <= 0 or not waiter.poll(left * 1000):
            raise PeerGone("too slow")

    # -- sending ------------------------------------------------------------------------------------

    def drain(self) -> bool:
        """Read what is left of a small request body; False when the connection must be closed instead."""
        if self._h11.their_state is not h11.SEND_BODY:
            return self._h11.their_state in (h11.DONE, h11.MUST_CLOSE)
        if self._h11.they_are_waiting_for_100_continue:
            return False
        left = _DRAIN_BYTES
        try:
            for chunk in self.body_chunks():
                left -= len(chunk)
                if left < 0:
                    return False
        except (BadRequest, PeerGone):
            return False
        return True

    def respond(self, response: Response, shaping: Shaping, *, keep: bool, closing: Any) -> bool:
        """Send a response and release its body; True when another request may follow.

        closing is an event with wait(seconds) that interrupts a paced body. Raises: PeerGone.
        """
        try:
            return self._respond(response, shaping, keep=keep, closing=closing)
        except h11.LocalProtocolError as error:
            raise PeerGone(f"cannot answer: {error}") from error
        finally:
            response.release()

    def _respond(self, response: Response, shaping: Shaping, *, keep: bool, closing: Any) -> bool:
        headers = {"Date": formatdate(usegmt=True), **response.headers}
        if shaping.endless:
            headers["Transfer-Encoding"] = "chunked"
        elif response.status not in (204, 304):
            headers.setdefault("Content-Length", str(response.length))
        if not keep:
            headers["Connection"] = "close"
        head = self._h11.send(
            h11.Response(
                status_code=response.status,
                headers=list(headers.items()),
                reason=HTTPStatus(response.status).phrase if response.status in _STATUSES else "",
            )
        )
        pace = _Pace(self._limits)
        if self._is_head or response.status in (204, 304):
            self._send(head or b"", pace)
        elif not self._send_body(head or b"", response, shaping, pace, closing):
            self.close(reset=shaping.reset)
            return False
        self._send(self._h11.send(h11.EndOfMessage()) or b"", pace)
        return self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE

    def _send_body(
        self, head: bytes, response: Response, shaping: Shaping, pace: _Pace, closing: Any
    ) -> bool:
        """Send head and body; False when a fault made the framing a lie, so that only a close can follow.

        With a Content-Length the body is framed by itself and goes around h11, which is told afterwards.
        """
        body = response.body
        left = response.length if shaping.stop_after is None else min(shaping.stop_after, response.length)
        if isinstance(body, FileSpan) and shaping.is_plain and not self._is_tls:
            self._send(head, pace, more=left > 0)
            self._send_file(attrs.evolve(body, length=left), pace)
        else:
            for block in shaped(blocks(body, shaping), left, shaping):
                pace.renew()
                framed = self._h11.send(h11.Data(data=block)) or b"" if shaping.endless else block
                self._send(head + framed if len(block) < _JOIN_BYTES else head, pace)
                if len(block) >= _JOIN_BYTES:
                    self._send(framed, pace)
                head = b""
                if shaping.bytes_per_s is not None and closing.wait(len(block) / shaping.bytes_per_s):
                    raise PeerGone("the server is closing")
            self._send(head, pace)
        is_honest = left == response.length == int(response.headers.get("Content-Length", response.length))
        if is_honest and left:
            self._h11.send_with_data_passthrough(h11.Data(data=_Sent(left)))  # type: ignore[arg-type]
        return is_honest

    @property
    def _is_tls(self) -> bool:
        return isinstance(self._sock, ssl.SSLSocket)

    def _send(self, data: bytes, pace: _Pace, *, more: bool = False) -> None:
        view = memoryview(data)
        flags = socket.MSG_MORE if more and not self._is_tls else 0
        while view:
            try:
                sent = self._sock.send(view, flags)
                pace.moved(sent)
                view = view[sent:]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(select.POLLOUT, pace.deadline)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN, pace.deadline)
            except OSError as error:
                raise PeerGone(f"sending: {error}") from error

    def _send_file(self, span: FileSpan, pace: _Pace) -> None:
        offset, end = span.offset, span.offset + span.length
        while offset < end:
            try:
                sent = os.sendfile(self._sock.fileno(), span.fd, offset, min(end - offset, _SENDFILE_BYTES))
            except BlockingIOError:
                self._wait(select.POLLOUT, pace.deadline)
                continue
            except OSError as error:
                raise PeerGone(f"sending: {os.strerror(error.errno or errno.EIO)}") from error
            if sent == 0:
                raise PeerGone("the stored blob is shorter than it was")
            pace.moved(sent)
            offset += sent


_STATUSES: Final = frozenset(status.value for status in HTTPStatus)


@attrs.frozen
class _Sent:
    """Stands for body bytes that were sent already; h11 only asks how many."""

    _length: int

    def __len__(self) -> int:
        return self._length


class _Pace:
    """The deadline of a body: so long at the start, and more with every byte that moves."""

    def __init__(self, limits: ServerLimits) -> None:
        self.deadline = time.monotonic() + limits.stall_s
        self._stall_s = limits.stall_s
        self._rate = limits.rate_bytes_s

    def renew(self) -> None:
        """Begin a new piece: the time it took us to get it is not the client's."""
        self.deadline = time.monotonic() + self._stall_s

    def moved(self, count: int) -> None:
        # Never further away than one stall from now: fast bytes early buy no silence later.
        self.deadline = min(self.deadline + count / self._rate, time.monotonic() + self._stall_s)


@attrs.frozen
class IncomingBody:
    """The body of the request the connection is at; see messages.Body."""

    _connection: Connection
    declared_bytes: int | None

    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece."""
        return self._connection.body_chunks()

    def read(self, limit_bytes: int) -> bytes | None:
        """The whole body, or None when it is longer than limit_bytes."""
        if self.declared_bytes is not None and self.declared_bytes > limit_bytes:
            return None
        content = bytearray()
        for chunk in self.chunks():
            content += chunk
            if len(content) > limit_bytes:
                return None
        return bytes(content)
