"""Questions and answers of DNS as bytes, written anew on purpose, and a server that says what it is told."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["Upstream", "addresses", "ask", "code", "name", "question", "reply", "upstream"]

A, CNAME, PTR, MX, TXT, AAAA, HTTPS, ANY = 1, 5, 12, 15, 16, 28, 65, 255


def name(text: str) -> bytes:
    """A name as it is sent."""
    labels = [label.encode() for label in text.rstrip(".").split(".")] if text.rstrip(".") else []
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def question(text: str, kind: int = A, *, number: int = 0x1234, payload: int | None = None) -> bytes:
    """A query for one name; payload: with an OPT record that says so many bytes."""
    option = b"" if payload is None else b"\0" + struct.pack("!HHIH", 41, payload, 0, 0)
    head = struct.pack("!6H", number, 0x0100, 1, 0, 0, 1 if option else 0)
    return head + name(text) + struct.pack("!HH", kind, 1) + option


def reply(
    query: bytes, *records: tuple[int, bytes], code: int = 0, flags: int = 0x8180, ttl_s: int = 60
) -> bytes:
    """An answer that repeats the question; each record is of the name that was asked for."""
    end = query.index(b"\0", 12) + 5
    body = b"".join(
        struct.pack("!HHHIH", 0xC00C, kind, 1, ttl_s, len(value)) + value for kind, value in records
    )
    return query[:2] + struct.pack("!5H", flags | code, 1, len(records), 0, 0) + query[12:end] + body


def code(answer: bytes) -> int:
    """The response code."""
    return answer[3] & 0xF


def addresses(answer: bytes) -> list[str]:
    """The addresses in an answer."""
    count = int.from_bytes(answer[6:8], "big")
    offset = answer.index(b"\0", 12) + 5
    found = []
    for _ in range(count):
        while answer[offset] and answer[offset] < 0xC0:
            offset += 1 + answer[offset]
        offset += 2 if answer[offset] else 1
        kind, _, _, length = struct.unpack_from("!HHIH", answer, offset)
        value = answer[offset + 10 : offset + 10 + length]
        if kind in (A, AAAA):
            found.append(socket.inet_ntop(socket.AF_INET if kind == A else socket.AF_INET6, value))
        offset += 10 + length
    return found


def ask(sock: socket.socket, query: bytes) -> bytes:
    """The answer of a connected socket's other end, by TCP or UDP."""
    if sock.type == socket.SOCK_DGRAM:
        sock.send(query)
        return sock.recv(65535)
    sock.sendall(len(query).to_bytes(2, "big") + query)
    received = b""
    while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
        chunk = sock.recv(65535)
        if not chunk:
            raise ConnectionResetError("closed before the answer was whole")
        received += chunk
    return received[2:]


Handler = Callable[[bytes], bytes | None]


class Upstream:
    """A server on the host's loopback, by UDP and TCP on one port.

    handler: what it answers; by_tcp: instead, by TCP. seen: the queries so far, with "udp" or "tcp".
    """

    def __init__(self, handler: Handler, by_tcp: Handler | None = None, host: str = "127.0.0.1") -> None:
        self.seen: list[tuple[str, bytes]] = []
        self.ports: set[int] = set()
        self._handlers = {"udp": handler, "tcp": by_tcp or handler}
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._datagrams.bind((host, self.port))
        self.address = f"{host}:{self.port}"
        for sock in (self._listener, self._datagrams):
            sock.settimeout(0.05)
        self._is_closed = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._serve_udp, self._serve_tcp)]

    def _serve_udp(self) -> None:
        while not self._is_closed.is_set():
            try:
                query, client = self._datagrams.recvfrom(65535)
            except TimeoutError:
                continue
            self.seen.append(("udp", query))
            self.ports.add(client[1])
            answer = self._handlers["udp"](query)
            if answer is not None:
                self._datagrams.sendto(answer, client)

    def _serve_tcp(self) -> None:
        while not self._is_closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            with connection, suppress(OSError, ValueError):  # who asked may have gone
                connection.settimeout(5)
                size = int.from_bytes(connection.recv(2), "big")
                query = connection.recv(size)
                self.seen.append(("tcp", query))
                answer = self._handlers["tcp"](query)
                if answer is not None:
                    connection.sendall(len(answer).to_bytes(2, "big") + answer)

    def start(self) -> None:
        """Answer from now on."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._is_closed.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()
        self._datagrams.close()


@contextmanager
def upstream(handler: Handler, by_tcp: Handler | None = None) -> Iterator[Upstream]:
    """A server that answers within the block."""
    made = Upstream(handler, by_tcp)
    made.start()
    try:
        yield made
    finally:
        made.close()
