"""Frames to and from a worker over real pipes, the worker's side held by the test."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from pycontainer.errors import DeadlineExceeded, InvalidInput
from pycontainer.integrations.executor.channel import Channel, Closed
from pycontainer.integrations.executor.worker import HEADER, LENGTH


@attrs.define
class Worker:
    """The other ends, and what was told of output."""

    channel: Channel
    stdin: int
    stdout: int
    stderr: int
    told: list[bytes]

    def answer(self, kind: bytes, length: int, count: int, rest: bytes = b"") -> None:
        os.write(self.stdout, HEADER.pack(kind, length, count) + rest)


@pytest.fixture
def worker() -> Iterator[Worker]:
    pipes = [os.pipe() for _ in range(3)]
    (their_in, our_in), (our_out, their_out), (our_err, their_err) = pipes
    files: dict[str, Any] = {
        "stdin": os.fdopen(our_in, "wb"),
        "stdout": os.fdopen(our_out, "rb"),
        "stderr": os.fdopen(our_err, "rb"),
    }
    told: list[bytes] = []
    channel = Channel(SimpleNamespace(**files), 1000, told.append)  # type: ignore[arg-type]
    yield Worker(channel, their_in, their_out, their_err, told)
    for file in files.values():
        file.close()
    for fd in (their_in, their_out, their_err):
        os.close(fd)


def test_frames_go_both_ways_and_output_beside_them(worker: Worker) -> None:
    worker.channel.send(b"task", None)
    assert os.read(worker.stdin, 100) == LENGTH.pack(4) + b"task"
    os.write(worker.stderr, b"printed\n")
    worker.answer(b"r", 2, 1, LENGTH.pack(3) + b"{}abc")
    answer = worker.channel.receive(None)
    worker.channel.drain()
    assert (answer.kind, answer.text, answer.buffers) == (b"r", b"{}", (bytearray(b"abc"),))
    assert (b"".join(worker.told), worker.channel.tail) == (b"printed\n", "printed\n")


def test_more_than_pipes_hold_goes_while_the_other_side_prints(worker: Worker) -> None:
    content = os.urandom(1 << 20)
    taken = bytearray()

    def take() -> None:
        os.write(worker.stderr, b"x" * (1 << 17))  # more than its pipe holds, before anything is read
        while len(taken) < LENGTH.size + len(content):
            taken.extend(os.read(worker.stdin, 1 << 16))

    thread = threading.Thread(target=take)
    thread.start()
    worker.channel.send(content, time.monotonic() + 60)
    thread.join()
    assert taken[LENGTH.size :] == content
    assert len(worker.channel.tail) <= 4096


@pytest.mark.parametrize(
    ("length", "count", "rest"),
    [(1 << 62, 0, b""), (4, 1, LENGTH.pack(1 << 63)), (0, 0xFFFFFFFF, b""), (990, 1, LENGTH.pack(11))],
    ids=["text", "buffer", "count", "sum"],
)
def test_what_is_announced_above_the_limit_is_refused_before_it_comes(
    worker: Worker, length: int, count: int, rest: bytes
) -> None:
    worker.answer(b"r", length, count, rest)
    with pytest.raises(InvalidInput):
        worker.channel.receive(None)


def test_an_answer_that_does_not_come_is_not_waited_for_longer(worker: Worker) -> None:
    worker.answer(b"r", 100, 0, b"half")
    with pytest.raises(DeadlineExceeded):
        worker.channel.receive(time.monotonic() + 0.05)


def test_a_worker_that_goes_is_seen_in_the_middle(worker: Worker) -> None:
    worker.answer(b"r", 100, 0, b"half")
    os.dup2(worker.stderr, worker.stdout)
    with pytest.raises(Closed):
        worker.channel.receive(None)
    os.dup2(worker.stderr, worker.stdin)
    with pytest.raises(Closed):
        worker.channel.send(b"x" * (1 << 20), None)
