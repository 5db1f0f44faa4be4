"""Those who are attached to a container: who is waited for, and who is dropped."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pycontainer.launcher import frames
from pycontainer.launcher.monitor import attached
from pycontainer.launcher.monitor.attached import BEHIND_BYTES, Attached, Clients
from pycontainer.launcher.monitor.loop import Loop

PIECE = bytes(65536)
PIECES = 2 * BEHIND_BYTES // len(PIECE)


class NoInput:
    """Of a container that reads none."""

    has_room = True

    def write(self, content: bytes) -> None:
        raise AssertionError(content)

    def end(self) -> None:
        """Nobody waits for it."""

    def resize(self, rows: int, columns: int) -> None:
        raise AssertionError((rows, columns))


class Output:
    """A container's output and one who is attached to it."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.resumed = 0
        self.clients = Clients(self.loop, NoInput(), self._resume)
        self.reader, self.theirs = socket.socketpair()
        self.reader.setblocking(False)
        self.clients.add(Attached(self.theirs, streams=frozenset((1,)), may_write=False, is_once=False))
        self.received = 0
        self.last = b""

    def _resume(self) -> None:
        self.resumed += 1

    def write_too_much(self) -> None:
        for _ in range(PIECES):
            self.clients.show(frames.STDOUT, memoryview(PIECE))

    def read(self, _: int) -> None:
        content = self.reader.recv(1 << 20)
        self.received += len(content)
        self.last = (self.last + content)[-200:]


@pytest.fixture
def output() -> Iterator[Output]:
    made = Output()
    yield made
    made.reader.close()
    made.clients.finish()


def test_the_output_is_held_up_until_one_that_reads_has_caught_up(output: Output) -> None:
    output.write_too_much()
    assert output.clients.is_full
    output.loop.add(output.reader, output.read)
    whole = PIECES * (len(PIECE) + len(frames.header(frames.STDOUT, 0)))
    output.loop.run_until(lambda: output.received == whole)
    assert (output.clients.is_full, output.resumed) == (False, 1)
    output.clients.show(frames.STDOUT, memoryview(b"and so on"))
    output.loop.run_until(lambda: output.last.endswith(b"and so on"))


def test_one_that_reads_nothing_is_dropped_and_told_why(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attached, "_CATCH_UP_S", 0.05)
    output.write_too_much()
    output.loop.run_until(lambda: not output.clients.is_full)
    assert output.resumed == 1
    output.loop.add(output.reader, output.read)
    output.loop.run_until(lambda: b"dropped: " in output.last)
    assert output.received < BEHIND_BYTES


def test_one_that_leaves_holds_nothing_up(output: Output) -> None:
    output.write_too_much()
    output.reader.close()
    output.loop.run_until(lambda: not output.clients)
    assert (output.clients.is_full, output.resumed) == (False, 1)


def test_one_whose_socket_is_just_full_hears_of_the_end(output: Output) -> None:
    with suppress(BlockingIOError):
        while True:
            output.theirs.send(b"read already, as far as the clients know")
    output.loop.add(output.reader, output.read)
    output.clients.finish()
    with suppress(BlockingIOError):
        output.read(0)
    assert output.last.endswith(frames.header(frames.END, 0))
