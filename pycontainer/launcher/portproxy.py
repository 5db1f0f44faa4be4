"""Published ports as a process can serve them: what comes to a port of the host goes on to the container.

The kernel translates addresses without us where it can; here ends up what it cannot (from ::1, and from IPv6
to a container that has none), and everything once another program has deleted our rules. It runs in the
container's monitor, so nothing may block, and nothing may grow without bound.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from pycontainer.launcher.monitor.loop import READ, WRITE, Loop, Timer

__all__ = ["MAX_CLIENTS", "Datagrams", "Streams"]

MAX_CLIENTS = 128
"""Connections of one port at a time; those beyond wait in the kernel's queue."""
MAX_PEERS = 256
"""Senders of datagrams of one port that are remembered; the one silent for longest is forgotten."""

_IDLE_S = 90.0
_AT_ONCE = 1 << 20
_TURNS = 32  # of one connection, before others get theirs
_FLAGS = 1 | 2  # SPLICE_F_MOVE, SPLICE_F_NONBLOCK
_DATAGRAM = 65536
_BURST = 64

Address = tuple[str, int]


class Streams:
    """Connections to one listening socket, each joined to one to the container.

    target: where new ones lead; None while they lead nowhere, and are closed at once.
    """

    def __init__(self, loop: Loop, listener: socket.socket, target: Address | None) -> None:
        self._loop = loop
        self._listener = listener
        self.target = target
        self._pairs: set[_Pair] = set()
        listener.setblocking(False)
        loop.add(listener, self._accept)

    def close(self) -> None:
        """End all; idempotent."""
        self._loop.remove(self._listener)
        self._listener.close()
        for pair in list(self._pairs):
            pair.close()

    def _accept(self, _: int) -> None:
        try:
            client, _address = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._loop.remove(self._listener)  # until one ends
            return
        if self.target is None:
            client.close()
            return
        try:
            pair = _Pair(self._loop, client, self.target, self._forget)
        except OSError:
            client.close()
            return
        self._pairs.add(pair)
        if len(self._pairs) >= MAX_CLIENTS:
            self._loop.remove(self._listener)

    def _forget(self, pair: _Pair) -> None:
        self._pairs.discard(pair)
        if self._listener.fileno() >= 0:
            self._loop.add(self._listener, self._accept)


class _Pair:
    """A connection from outside and one to the container; what one sends the other gets."""

    def __init__(
        self, loop: Loop, client: socket.socket, target: Address, forget: Callable[[_Pair], None]
    ) -> None:
        self._loop = loop
        self._forget = forget
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        self._outer = client
        self._inner = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        client.setblocking(False)
        self._flows: tuple[_Flow, ...] = ()
        try:
            for each in (self._outer, self._inner):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = self._inner.connect_ex(target)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
            self._flows = (_Flow(self._outer, self._inner), _Flow(self._inner, self._outer))
        except BaseException:
            self._inner.close()
            raise
        loop.add(self._inner, self._connected, WRITE)

    def _connected(self, _: int) -> None:
        if self._inner.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            # As if nobody listened: a reset, not an orderly end (socket(7), SO_LINGER).
            self._outer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.close()
            return
        self._serve(0)

    def _serve(self, _: int) -> None:
        try:
            for flow in self._flows:
                flow.move()
        except OSError:
            self.close()
            return
        if all(flow.is_over for flow in self._flows):
            self.close()
            return
        there, back = self._flows
        self._watch(self._outer, there.reads, back.writes)
        self._watch(self._inner, back.reads, there.writes)

    def _watch(self, sock: socket.socket, reads: bool, writes: bool) -> None:
        events = (READ if reads else 0) | (WRITE if writes else 0)
        if events:
            self._loop.add(sock, self._serve, events)
        else:
            self._loop.remove(sock)

    def close(self) -> None:
        """End both; idempotent."""
        for sock in (self._outer, self._inner):
            if sock.fileno() >= 0:
                self._loop.remove(sock)
                sock.close()
        for flow in self._flows:
            flow.close()
        self._flows = ()
        self._forget(self)


class _Flow:
    """One direction, through a pipe, so that no byte passes through this process's memory (splice(2))."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self._source, self._sink = source, sink
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(OSError):  # beyond what a user may have, the usual size does, too
            fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, _AT_ONCE)
        self._held = 0
        self._has_ended = False
        self._is_full = False
        self.is_over = False

    @property
    def reads(self) -> bool:
        """Whether it waits for its source."""
        return not self._has_ended and not self._is_full

    @property
    def writes(self) -> bool:
        """Whether it waits for its sink."""
        return self._held > 0

    def move(self) -> None:
        """Pass on what there is, for a while. Raises OSError when one side has gone."""
        for _ in range(_TURNS):
            if self.is_over:
                return
            has_more = self.reads and self._fill()
            if self._held and not self._drain():
                return
            if self._has_ended:
                self._sink.shutdown(socket.SHUT_WR)
                self.is_over = True
            elif not has_more:
                return

    def _fill(self) -> bool:
        """Take from the source; whether there was anything."""
        try:
            count = os.splice(self._source.fileno(), self._writer, _AT_ONCE, flags=_FLAGS)
        except BlockingIOError:
            # Either there is nothing, or no room: a pipe counts pieces, not bytes, so nobody knows which.
            # Once it is empty there is room.
            self._is_full = self._held > 0
            return False
        self._held += count
        self._has_ended = not count
        return count > 0

    def _drain(self) -> bool:
        """Give to the sink; whether it took all."""
        try:
            while self._held:
                self._held -= os.splice(self._reader, self._sink.fileno(), self._held, flags=_FLAGS)
        except BlockingIOError:
            return False
        self._is_full = False
        return True

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._reader)
        os.close(self._writer)


class Datagrams:
    """Datagrams to one bound socket; each sender has a socket of its own to the container."""

    def __init__(self, loop: Loop, bound: socket.socket, target: Address | None) -> None:
        self._loop = loop
        self._bound = bound
        self._target = target
        self._peers: dict[object, tuple[socket.socket, float]] = {}
        self._timer: Timer | None = None
        bound.setblocking(False)
        loop.add(bound, self._take)

    @property
    def target(self) -> Address | None:
        """Where they lead; None while they are lost. Whom it is changed for begins anew."""
        return self._target

    @target.setter
    def target(self, target: Address | None) -> None:
        self._target = target
        for peer in list(self._peers):
            self._forget(peer)

    def close(self) -> None:
        """End all; idempotent."""
        self._loop.cancel(self._timer)
        self._loop.remove(self._bound)
        self._bound.close()
        for peer in list(self._peers):
            self._forget(peer)

    def _take(self, _: int) -> None:
        for _turn in range(_BURST):
            try:
                content, sender = self._bound.recvfrom(_DATAGRAM)
                if self._target is not None:
                    self._peer(sender, self._target).send(content)
            except BlockingIOError:
                return
            except OSError:
                continue  # refused before, or too many descriptors: datagrams may be lost

    def _peer(self, sender: object, target: Address) -> socket.socket:
        known = self._peers.pop(sender, None)
        if known is None:
            if len(self._peers) >= MAX_PEERS:
                self._forget(next(iter(self._peers)))
            family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            sock.connect(target)
            self._loop.add(sock, partial(self._answer, sock, sender))
        else:
            sock = known[0]
        self._peers[sender] = (sock, time.monotonic())  # the last one is the youngest
        if self._timer is None:
            self._timer = self._loop.at(time.monotonic() + _IDLE_S, self._expire)
        return sock

    def _answer(self, sock: socket.socket, sender: object, _: int) -> None:
        for _turn in range(_BURST):
            try:
                self._bound.sendto(sock.recv(_DATAGRAM), sender)  # type: ignore[call-overload]
            except BlockingIOError:
                return
            except OSError:
                return  # nobody listens there

    def _expire(self) -> None:
        before = time.monotonic() - _IDLE_S
        for peer, (_, used_at) in list(self._peers.items()):
            if used_at <= before:
                self._forget(peer)
        self._timer = self._loop.at(time.monotonic() + _IDLE_S / 2, self._expire) if self._peers else None

    def _forget(self, peer: object) -> None:
        sock, _ = self._peers.pop(peer)
        self._loop.remove(sock)
        sock.close()
