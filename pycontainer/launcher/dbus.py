"""Calls over D-Bus, as far as talking to systemd takes it: one connection, one call at a time, and signals.

Messages are written little-endian and read in either order. What is not a well-formed message ends the
connection with an error; none is larger than systemd's answers to what we ask. Standard library only: the
process that makes cgroups has nothing else. Source: D-Bus Specification 0.42, "Type System",
"Message Protocol", "Authentication Protocol".
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from pycontainer import errors

__all__ = ["BusError", "Connection", "Message", "pack", "split", "unpack"]

MAX_MESSAGE = 1 << 20
_MAX_DEPTH = 32
_CALL, _RETURN, _ERROR, _SIGNAL = 1, 2, 3, 4
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_TO, _DESTINATION, _SENDER, _SIGNATURE = range(1, 9)
_NUMBERS = {
    "y": "B",
    "n": "h",
    "q": "H",
    "i": "i",
    "u": "I",
    "x": "q",
    "t": "Q",
    "d": "d",
    "b": "I",
    "h": "I",
}
_ALIGNMENT = {
    **{kind: struct.calcsize(f"={code}") for kind, code in _NUMBERS.items()},
    "s": 4,
    "o": 4,
    "g": 1,
    "v": 1,
    "a": 4,
    "(": 8,
    "{": 8,
}
_HEADER = "yyyyuua(yv)"


class BusError(Exception):
    """The other side answered with an error of this name, as org.freedesktop.systemd1.NoSuchUnit."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        super().__init__(f"{text or 'no explanation'} ({name})")


class Message(NamedTuple):
    """One message as it was read; absent fields are empty."""

    kind: int
    path: str
    interface: str
    member: str
    error: str
    reply_to: int
    body: list[Any]


def split(signature: str) -> list[str]:
    """The complete types that a signature lists. Raises ValueError for what is none."""
    found = []
    at = 0
    while at < len(signature):
        end = _end_of_type(signature, at, 0)
        found.append(signature[at:end])
        at = end
    return found


def _end_of_type(signature: str, at: int, depth: int) -> int:
    if depth > _MAX_DEPTH or at >= len(signature):
        raise ValueError(f"no type at {at} of signature {signature!r}")
    kind = signature[at]
    if kind == "a":
        return _end_of_type(signature, at + 1, depth + 1)
    if kind in "({":
        closing = ")" if kind == "(" else "}"
        at += 1
        if signature[at : at + 1] == closing:
            # Of no bytes, so that an array of them would never end.
            raise ValueError(f"a struct of nothing in signature {signature!r}")
        while at < len(signature) and signature[at] != closing:
            at = _end_of_type(signature, at, depth + 1)
        if at >= len(signature):
            raise ValueError(f"signature {signature!r} does not close")
        return at + 1
    if kind not in _ALIGNMENT:
        raise ValueError(f"type {kind!r} in signature {signature!r}")
    return at + 1


def pack(signature: str, values: list[Any] | tuple[Any, ...]) -> bytes:
    """The values as bytes. A variant is (signature, value), a struct or pair a sequence, "ay" bytes."""
    buffer = bytearray()
    for kind, value in zip(split(signature), values, strict=True):
        _put(buffer, kind, value)
    return bytes(buffer)


def _align(buffer: bytearray, size: int) -> None:
    buffer.extend(bytes(-len(buffer) % size))


def _put(buffer: bytearray, kind: str, value: Any) -> None:
    _align(buffer, _ALIGNMENT[kind[0]])
    if kind in _NUMBERS:
        buffer += struct.pack(f"<{_NUMBERS[kind]}", value)
    elif kind in ("s", "o"):
        text = value.encode()
        buffer += struct.pack("<I", len(text)) + text + b"\0"
    elif kind == "g":
        buffer += bytes([len(value)]) + value.encode() + b"\0"
    elif kind == "v":
        _put(buffer, "g", value[0])
        _put(buffer, value[0], value[1])
    elif kind[0] == "a":
        place = len(buffer)
        buffer += bytes(4)
        _align(buffer, _ALIGNMENT[kind[1]])
        start = len(buffer)
        for item in value:
            _put(buffer, kind[1:], item)
        struct.pack_into("<I", buffer, place, len(buffer) - start)
    else:
        for inner, item in zip(split(kind[1:-1]), value, strict=True):
            _put(buffer, inner, item)


def unpack(signature: str, data: bytes, order: str = "<") -> list[Any]:
    """The values of a body; variants as their value alone. Raises ValueError when they are not there."""
    reader = _Reader(data, order)
    return [reader.take(kind, 0) for kind in split(signature)]


class _Reader:
    """Reads values from the beginning of a block whose alignment starts with it."""

    def __init__(self, data: bytes, order: str) -> None:
        self.data = data
        self.order = order
        self.at = 0

    def take(self, kind: str, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("a value is nested too deep")
        self.at += -self.at % _ALIGNMENT[kind[0]]
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind in ("s", "o", "g"):
            size = self._number("B" if kind == "g" else "I")
            return self._bytes(size + 1)[:-1].decode()
        if kind == "v":
            (inner,) = split(self.take("g", depth))
            return self.take(inner, depth + 1)
        if kind[0] == "a":
            size = self._number("I")
            self.at += -self.at % _ALIGNMENT[kind[1]]
            end = self.at + size
            if end > len(self.data):
                raise ValueError("an array ends behind its message")
            items = []
            while self.at < end:
                items.append(self.take(kind[1:], depth + 1))
            return items
        return tuple(self.take(inner, depth + 1) for inner in split(kind[1:-1]))

    def _number(self, code: str) -> Any:
        data = self._bytes(struct.calcsize(f"={code}"))
        return struct.unpack(f"{self.order}{code}", data)[0]

    def _bytes(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise ValueError("a message is shorter than it says")
        self.at += size
        return self.data[self.at - size : self.at]


class Connection:
    """A connection to a bus, or to one peer, over a Unix socket; every step until the deadline.

    Raises: OSError when nobody listens there; DeadlineExceeded; BusError for what the other side refuses.
    """

    def __init__(self, address: str, timeout_s: float, *, is_bus: bool) -> None:
        self._deadline = time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._serial = 0
        self._buffer = b""
        self._signals: list[Message] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._limit()
            self._socket.connect(address)
            self._authenticate()
            if is_bus:
                self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Close it; idempotent."""
        self._socket.close()

    def call(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", *values: Any
    ) -> list[Any]:
        """Call a method and give what it returns. Raises BusError, DeadlineExceeded, ConnectionError."""
        self._serial += 1
        serial = self._serial
        fields = [(_PATH, ("o", path)), (_INTERFACE, ("s", interface)), (_MEMBER, ("s", member))]
        fields += [(_DESTINATION, ("s", destination)), (_SIGNATURE, ("g", signature))]
        body = pack(signature, values)
        head = bytearray(pack(_HEADER, (ord("l"), _CALL, 0, 1, len(body), serial, fields)))
        _align(head, 8)
        self._limit()
        self._socket.sendall(bytes(head) + body)
        while True:
            message = self._next()
            if message.kind == _SIGNAL:
                self._signals.append(message)
            elif message.reply_to == serial and message.kind == _RETURN:
                return message.body
            elif message.reply_to == serial and message.kind == _ERROR:
                text = message.body[0] if message.body and isinstance(message.body[0], str) else ""
                raise BusError(message.error, text)

    def await_signal(self, interface: str, member: str, fits: Callable[[list[Any]], bool]) -> list[Any]:
        """The body of the first such signal since the connection was made that was not looked at yet."""
        while True:
            message = self._signals.pop(0) if self._signals else self._next()
            if message.kind == _SIGNAL and (message.interface, message.member) == (interface, member):
                if fits(message.body):
                    return message.body

    def await_anything(self, limit_s: float) -> None:
        """Wait until something arrives, which is left to be read, or the time is over; forget old signals."""
        self._signals.clear()
        if not self._buffer:
            poller = select.poll()
            poller.register(self._socket, select.POLLIN)
            poller.poll(limit_s * 1000)

    # -- bytes

    def _limit(self) -> None:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise self._late()
        self._socket.settimeout(left_s)

    def _late(self) -> errors.DeadlineExceeded:
        return errors.DeadlineExceeded(
            f"no answer over D-Bus within {self._timeout_s:g} s", timeout_s=self._timeout_s
        )

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            self._limit()
            try:
                chunk = self._socket.recv(65536)
            except TimeoutError:
                raise self._late() from None
            if not chunk:
                raise ConnectionResetError("the other side closed the D-Bus connection")
            self._buffer += chunk

    def _take(self, size: int) -> bytes:
        self._fill(size)
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _authenticate(self) -> None:
        identity = str(os.geteuid()).encode().hex()
        # Begun in the same breath, as systemd's own clients do: a first message that systemd reads together
        # with a BEGIN sent later lies there until more arrives (sd-bus of systemd 252).
        self._socket.sendall(b"\0AUTH EXTERNAL " + identity.encode() + b"\r\nBEGIN\r\n")
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > 4096:
                raise ConnectionError("no D-Bus is spoken there")
            self._fill(len(self._buffer) + 1)
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        if not line.startswith(b"OK "):
            raise ConnectionError(f"D-Bus does not let us in: {line.decode(errors='replace')}")

    def _next(self) -> Message:
        try:
            return self._read_message()
        except (ValueError, struct.error) as problem:
            raise ConnectionError(f"a D-Bus message cannot be read: {problem}") from None

    def _read_message(self) -> Message:
        self._fill(16)
        order = {b"l": "<", b"B": ">"}.get(self._buffer[:1])
        if order is None:
            raise ValueError("its byte order is unknown")
        body_size, _, fields_size = struct.unpack_from(f"{order}III", self._buffer, 4)
        head_size = 16 + fields_size + -fields_size % 8
        if head_size + body_size > MAX_MESSAGE:
            raise ValueError(f"it is larger than {MAX_MESSAGE} bytes")
        head = self._take(head_size)
        body = self._take(body_size)
        kind, listed = head[1], unpack(_HEADER, head, order)[6]
        fields = dict(listed)
        return Message(
            kind=kind,
            path=fields.get(_PATH, ""),
            interface=fields.get(_INTERFACE, ""),
            member=fields.get(_MEMBER, ""),
            error=fields.get(_ERROR_NAME, ""),
            reply_to=fields.get(_REPLY_TO, 0),
            body=unpack(fields.get(_SIGNATURE, ""), body, order),
        )
