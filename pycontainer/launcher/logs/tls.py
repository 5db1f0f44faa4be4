"""A connection to a log service that is encrypted, for a sender that never waits.

The library reads and writes memory; what it wrote goes out as the socket takes it, so that a handshake with a
server that says nothing costs no time either.
Source: RFC 5425; Python's ssl, "Memory BIO Support".
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["Encrypted"]

_CHUNK = 16 << 10
_FAREWELL_S = 1.0


class Encrypted:
    """Stands in for a stream socket that is connected, or connecting. Raises OSError.

    settings: name (the server's, as its certificate has it), ca, cert and key (paths, or None), and
    skip_verify. wait_s: how long the handshake may take now; 0 leaves it to those who send.
    """

    def __init__(self, sock: socket.socket, settings: Mapping[str, Any], wait_s: float) -> None:
        import ssl  # only here: it takes more memory than all the rest of a monitor

        self._sock = sock
        self._wants_read = ssl.SSLWantReadError
        context = ssl.create_default_context(cafile=settings["ca"])
        if settings["skip_verify"]:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if settings["cert"]:
            context.load_cert_chain(settings["cert"], settings["key"])
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=settings["name"])
        self._unsent = b""
        self._is_shaking = True
        deadline = time.monotonic() + wait_s
        while wait_s and self._is_shaking:
            self._shake()
            self._wait(deadline)

    def _wait(self, deadline: float) -> None:
        if not self._is_shaking:
            return
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError(0, "the server does not answer the handshake")
        if not self._take():
            raise ConnectionResetError(0, "the server hung up during the handshake")

    @property
    def waits_for_peer(self) -> bool:
        """Whether nothing can be sent before the server has said something."""
        return self._is_shaking and not self._unsent

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    def send(self, content: memoryview, _flags: int = 0) -> int:
        """Encrypt what goes out by and by; how much was taken. Raises BlockingIOError, OSError."""
        if self._is_shaking:
            self._go_on_shaking()
        self._flush()
        if self._unsent:
            raise BlockingIOError
        count = self._tls.write(content[:_CHUNK])
        self._flush()
        return count

    def recv(self, size: int, _flags: int = 0) -> bytes:
        """What the server says, b"" when it has gone. Raises BlockingIOError, OSError."""
        if not self._take():
            return b""
        if self._is_shaking:
            self._shake()
            raise BlockingIOError
        try:
            return self._tls.read(size)
        except self._wants_read:
            raise BlockingIOError from None

    def close(self) -> None:
        """Send what is left, if the server takes it soon, and hang up."""
        try:
            self._sock.settimeout(_FAREWELL_S)
            self._sock.sendall(self._unsent)
            if not self._is_shaking:
                self._say_goodbye()
        except OSError:
            pass
        self._sock.close()

    def _say_goodbye(self) -> None:
        try:
            self._tls.unwrap()
        except self._wants_read:
            pass  # whether it answers does not matter
        self._sock.sendall(self._out.read())
        self._sock.shutdown(socket.SHUT_WR)
        # To close with something unread would reset the connection, and lose what is on its way (tcp(7)).
        deadline = time.monotonic() + _FAREWELL_S
        while time.monotonic() < deadline and self._sock.recv(_CHUNK):
            pass

    def _go_on_shaking(self) -> None:
        """Raises BlockingIOError until it is done."""
        self._shake()
        if self._is_shaking and not self._take():
            raise ConnectionResetError(0, "the server hung up during the handshake")
        self._shake()
        if self._is_shaking:
            raise BlockingIOError

    def _take(self) -> bool:
        content = self._sock.recv(_CHUNK, socket.MSG_DONTWAIT)
        if content:
            self._in.write(content)
        return bool(content)

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
            self._is_shaking = False
        except self._wants_read:
            pass
        finally:
            self._flush()

    def _flush(self) -> None:
        self._unsent += self._out.read()
        try:
            while self._unsent:
                sent = self._sock.send(self._unsent, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
                self._unsent = self._unsent[sent:]
        except BlockingIOError:
            pass
