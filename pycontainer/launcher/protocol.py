"""Messages between the caller, the helper and its jobs: JSON with a length before it, and descriptors.

A message is a little-endian length, a count of descriptors (four bytes each) and ASCII JSON of that
length. Descriptors travel with its first byte (SCM_RIGHTS, unix(7)) and arrive close-on-exec. Bytes
that are not UTF-8 (paths) pass as surrogates, as os.fsdecode makes them.
"""

from __future__ import annotations

import array
import json
import os
import select
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

from pycontainer import errors
from pycontainer.kernel import interrupts

__all__ = ["MAX_FDS", "Channel", "describe_error", "rebuild_error"]

MAX_FDS = 250  # SCM_MAX_FD is 253 (unix(7)); the job's own channel takes one.
MAX_MESSAGE = 16 << 20
_HEADER = struct.Struct("<II")

Message = dict[str, Any]


class Channel:
    """One end of a message stream. Not thread-safe."""

    __slots__ = ("_buffer", "_fds", "_fds_taken", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock: socket.socket = sock
        self._buffer = bytearray()
        self._fds: list[int] = []
        self._fds_taken: list[int] = []

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Both ends of a new one."""
        ours, theirs = socket.socketpair()
        return cls(ours), cls(theirs)

    def fileno(self) -> int:
        """The socket's descriptor, for poll(2)."""
        return self.sock.fileno()

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send one message whole. Raises OSError (BrokenPipeError when the other end is gone)."""
        self.send_body(json.dumps(message, separators=(",", ":")).encode("ascii"), fds)

    def send_body(self, body: bytes, fds: Sequence[int] = ()) -> None:
        """Send a message that is written out already."""
        if len(fds) > MAX_FDS:
            raise errors.InvalidInput(f"{len(fds)} descriptors do not fit one message, {MAX_FDS} do")
        frame = _HEADER.pack(len(body), len(fds)) + body
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.sock.sendmsg([frame], rights, socket.MSG_NOSIGNAL)
        if sent < len(frame):
            self.sock.sendall(memoryview(frame)[sent:], socket.MSG_NOSIGNAL)

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message, or None when the other end has closed.

        timeout_s: None waits for ever, 0 only looks. Raises DeadlineExceeded.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            message = self.take()
            if message is not None:
                return message
            if not self._wait(deadline):
                raise errors.DeadlineExceeded(f"no answer within {timeout_s} s", timeout_s=timeout_s)
            if not self.fill():
                return None

    def take(self) -> Message | None:
        """A message that has already arrived whole, or None."""
        body = self.take_body()
        if body is None:
            return None
        message: Message = json.loads(body)
        return message

    def take_body(self) -> bytes | None:
        """A message that has already arrived whole, as it came, or None."""
        if len(self._buffer) < _HEADER.size:
            return None
        length, fd_count = _HEADER.unpack_from(self._buffer)
        if length > MAX_MESSAGE:
            raise errors.InvalidInput(f"a message of {length} bytes is over the limit of {MAX_MESSAGE}")
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        # A read may bring the next message's descriptors too, so each takes only its own number.
        self._fds_taken, self._fds = self._fds[:fd_count], self._fds[fd_count:]
        return body

    def take_fds(self) -> list[int]:
        """The descriptors of the message last returned; the taker owns them."""
        taken, self._fds_taken = self._fds_taken, []
        return taken

    def fill(self) -> bool:
        """Read what has arrived; False when the other end has closed."""
        room = socket.CMSG_SPACE(4 * (MAX_FDS + 1))
        try:
            chunk, ancillary, _, _ = self.sock.recvmsg(1 << 16, room, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return False
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
                self._fds.extend(received)
        self._buffer += chunk
        return bool(chunk)

    def has_arrived(self) -> bool:
        """Whether there is something to read, or the other end has closed."""
        return self._wait(time.monotonic())

    def close(self) -> None:
        """Close the socket and the descriptors nobody took."""
        for fd in (*self._fds_taken, *self._fds):
            os.close(fd)
        self._fds_taken, self._fds = [], []
        self.sock.close()

    def _wait(self, deadline: float | None) -> bool:
        poller = interrupts.poll()
        poller.register(self.sock, select.POLLIN)
        if deadline is None:
            poller.poll()
            return True
        left = max(0.0, deadline - time.monotonic())
        return bool(poller.poll(left * 1000))


def describe_error(error: BaseException, job: str) -> Message:
    """The error as data, for the process that asked."""
    if isinstance(error, OSError) and not isinstance(error, errors.PycontainerError):
        error = errors.KernelError(error.errno or 0, error.strerror or job, os.fsdecode(error.filename or ""))
    if isinstance(error, errors.KernelError):
        return {"kind": "KernelError", "args": [error.errno, error.call, error.path, error.hint]}
    if isinstance(error, errors.PycontainerError):
        return {"kind": type(error).__name__, "args": list(error.args), "state": dict(error.__dict__)}
    return {"kind": "", "args": [f"{type(error).__name__}: {error}"]}


def rebuild_error(described: Message, job: str) -> Exception:
    """The exception that describe_error wrote down; a RuntimeError when it was a bug of ours."""
    if described["kind"] not in errors.__all__:
        return RuntimeError(f"bug in the {job} job: {described['args'][0]}")
    if described["kind"] == "KernelError":
        return errors.KernelError(*described["args"])
    kind: type[errors.PycontainerError] = getattr(errors, described["kind"])
    rebuilt = kind.__new__(kind, *described["args"])
    rebuilt.args = tuple(described["args"])
    rebuilt.__dict__.update(described.get("state", {}))
    return rebuilt
