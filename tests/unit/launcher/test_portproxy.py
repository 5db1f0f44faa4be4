"""Connections that a process passes on: every byte, in order, both ways at once, and each side's end."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pycontainer.launcher.monitor.loop import Loop
from pycontainer.launcher.portproxy import Streams

_SIZE = 24 << 20


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
def published(server: socket.socket) -> Iterator[tuple[str, int]]:
    """Where a proxy to the server listens."""
    loop, is_over = Loop(), threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    streams = Streams(loop, listener, server.getsockname())
    waker, woken = socket.socketpair()
    loop.add(woken, lambda _: is_over.set())
    thread = threading.Thread(target=loop.run_until, args=(is_over.is_set,))
    address = listener.getsockname()
    thread.start()
    yield address
    waker.send(b"x")
    thread.join()
    streams.close()
    waker.close()
    woken.close()


def send_all(sock: socket.socket, content: bytes) -> None:
    sock.sendall(content)
    sock.shutdown(socket.SHUT_WR)


def digest_of(sock: socket.socket, piece: int) -> str:
    """Of all that comes, taken in pieces of this size."""
    found = hashlib.sha256()
    while part := sock.recv(piece):
        found.update(part)
    return found.hexdigest()


@pytest.mark.parametrize("piece", [1000, 1 << 20], ids=["slowly", "fast"])
def test_all_arrives_both_ways_at_once(server: socket.socket, published: tuple[str, int], piece: int) -> None:
    there, back = os.urandom(_SIZE), os.urandom(_SIZE // 3)
    seen: list[str] = []

    def serve() -> None:
        inner, _ = server.accept()
        with inner:
            sender = threading.Thread(target=send_all, args=(inner, back))
            sender.start()
            seen.append(digest_of(inner, piece))
            sender.join()

    serving = threading.Thread(target=serve)
    serving.start()
    with socket.create_connection(published) as client:
        sender = threading.Thread(target=send_all, args=(client, there))
        sender.start()
        assert digest_of(client, piece) == hashlib.sha256(back).hexdigest()
        sender.join()
        serving.join()
    assert seen == [hashlib.sha256(there).hexdigest()]


def test_an_answer_comes_after_the_question_has_ended(
    server: socket.socket, published: tuple[str, int]
) -> None:
    with socket.create_connection(published) as client:
        inner, _ = server.accept()
        with inner:
            send_all(client, b"question")
            assert inner.recv(100) == b"question"
            assert inner.recv(100) == b""
            for number in range(3):
                inner.sendall(b"%d" % number)
                assert client.recv(100) == b"%d" % number
        assert client.recv(100) == b""


def test_one_that_takes_nothing_holds_no_other_up(server: socket.socket, published: tuple[str, int]) -> None:
    with socket.create_connection(published) as stuck, socket.create_connection(published) as client:
        inner = [server.accept()[0] for _ in range(2)]
        stuck.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                stuck.send(bytes(1 << 20))
        client.sendall(b"x")
        ready = [each for each in inner if each.getpeername() and each.recv(1, socket.MSG_PEEK) == b"x"]
        assert len(ready) == 1
        for each in inner:
            each.close()


def test_nobody_behind_it_is_a_reset(server: socket.socket, published: tuple[str, int]) -> None:
    server.close()
    with socket.create_connection(published) as client, pytest.raises(ConnectionResetError):
        client.recv(1)
