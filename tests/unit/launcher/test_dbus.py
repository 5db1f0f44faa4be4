"""Messages of D-Bus: the bytes of each type, and peers that say what no peer should."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pycontainer import errors
from pycontainer.launcher import dbus

CALL = ("org.example", "/org/example", "org.example.Face", "Ask")


@pytest.mark.parametrize(
    ("signature", "values", "expected"),
    [
        ("y", [7], "07"),
        ("b", [True], "01000000"),
        ("n", [-2], "feff"),
        ("q", [513], "0102"),
        ("i", [-1], "ffffffff"),
        ("u", [1], "01000000"),
        ("x", [-1], "ffffffffffffffff"),
        ("t", [2**64 - 1], "ffffffffffffffff"),
        ("d", [1.0], "000000000000f03f"),
        ("s", ["ab"], "02000000 6162 00"),
        ("o", ["/a"], "02000000 2f61 00"),
        ("g", ["a{sv}"], "05 617b73767d 00"),
        ("yu", [1, 2], "01 000000 02000000"),
        ("yt", [1, 2], "01 00000000000000 0200000000000000"),
        ("ay", [b"\1\2"], "02000000 0102"),
        ("at", [[]], "00000000 00000000"),  # padding to the first element counts in no length
        ("at", [[5]], "08000000 00000000 0500000000000000"),
        ("v", [("u", 9)], "01 75 00 00 09000000"),
        ("(sy)", [("a", 3)], "01000000 6100 03"),
        ("a{yy}", [{1: 2}.items()], "02000000 00000000 0102"),
        (
            "a(sv)",
            [[("k", ("t", 1))]],
            "18000000 00000000 01000000 6b00 01 74 00 00000000000000 0100000000000000",
        ),
    ],
)
def test_a_value_has_the_bytes_of_the_specification(signature: str, values: list[Any], expected: str) -> None:
    assert dbus.pack(signature, values).hex() == expected.replace(" ", "")


@pytest.mark.parametrize(
    ("signature", "values"),
    [
        ("ybnqiuxtd", [1, 1, -3, 4, -5, 6, -7, 8, 0.5]),
        ("sogas", ["text", "/path", "a(ii)", ["one", "", "zwölf"]]),
        ("y(yt)aau", [1, (2, 3), [[1], [], [2, 3]]]),
        ("a(sa(sa(sv)))", [[]]),
    ],
)
def test_what_was_packed_is_unpacked(signature: str, values: list[Any]) -> None:
    assert dbus.unpack(signature, dbus.pack(signature, values)) == values


def test_a_variant_is_read_as_its_value_and_the_other_byte_order_too() -> None:
    assert dbus.unpack("v", dbus.pack("v", [("as", ["a", "b"])])) == [["a", "b"]]
    assert dbus.unpack("us", b"\0\0\0\1\0\0\0\2ab\0", ">") == [1, "ab"]


@pytest.mark.parametrize(
    "signature", ["a", "(", "()", "a{}", "(s", "z", "{sv", ")", "a" * 40 + "y", "(" * 40 + "y" + ")" * 40]
)
def test_what_is_no_signature_is_refused(signature: str) -> None:
    with pytest.raises(ValueError):
        dbus.split(signature)


@pytest.mark.parametrize(
    ("signature", "data"),
    [
        ("u", b"\1\0"),
        ("s", b"\xff\xff\xff\x7fabc\0"),
        ("s", b"\2\0\0\0\xff\xfe\0"),
        ("ay", b"\0\0\0\x10abc"),
        ("at", b"\x08\0\0\0\0\0\0\0"),
        ("v", b"\2uu\0\0\0\0\0\0\0\0\0"),
        ("v", b"\0\0"),
        ("v", b"\1v\0" * 40 + b"\1y\0\1"),
        ("g", b"\xffabc\0"),
    ],
)
def test_a_body_that_is_not_there_is_refused_and_not_waited_for(signature: str, data: bytes) -> None:
    with pytest.raises(ValueError):
        dbus.unpack(signature, data)


def test_an_array_of_nothing_ends() -> None:
    with pytest.raises(ValueError):
        dbus.unpack("a()", b"\x01\0\0\0\0\0\0\0\0")


# -- a peer over a socket


@contextmanager
def peer(directory: Path, serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A socket on which somebody answers the authentication, and then does as told."""
    address = str(directory / "bus")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()

    def accept() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            serve(connection)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield address
    finally:
        thread.join(10)
        listener.close()


def message(kind: int, fields: list[Any], signature: str = "", *values: Any) -> bytes:
    body = dbus.pack(signature, values)
    head = dbus.pack("yyyyuua(yv)", (ord("l"), kind, 0, 1, len(body), 1, [*fields, (8, ("g", signature))]))
    return head + bytes(-len(head) % 8) + body


def answering(*parts: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.sendall(b"OK 0123\r\n")
        connection.recv(65536)
        for part in parts:
            connection.sendall(part)

    return serve


def ask(address: str, timeout_s: float = 10) -> list[Any]:
    connection = dbus.Connection(address, timeout_s, is_bus=False)
    try:
        return connection.call(*CALL, "s", "text")
    finally:
        connection.close()


def test_a_call_is_sent_whole_and_answered_behind_what_else_arrives(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"OK 0123\r\n")
        asked.append(connection.recv(65536))
        noise = message(4, [(1, ("o", "/a")), (2, ("s", "i.f")), (3, ("s", "Signal"))], "s", "x")
        late = message(2, [(5, ("u", 77))], "s", "another's")
        answer = message(2, [(5, ("u", 1))], "su", "yes", 5)
        for byte in noise + late + answer:
            connection.send(bytes([byte]))

    with peer(tmp_path, serve) as address:
        assert ask(address) == ["yes", 5]
    fields = dict(dbus.unpack("yyyyuua(yv)", asked[0])[6])
    assert fields == {1: CALL[1], 2: CALL[2], 3: CALL[3], 6: CALL[0], 8: "s"}
    assert asked[0].endswith(b"\4\0\0\0text\0")


def test_a_refusal_has_the_peers_name_and_words(tmp_path: Path) -> None:
    refusal = message(3, [(4, ("s", "org.example.No")), (5, ("u", 1))], "s", "not today")
    with peer(tmp_path, answering(refusal)) as address, pytest.raises(dbus.BusError) as caught:
        ask(address)
    assert (caught.value.name, str(caught.value)) == ("org.example.No", "not today (org.example.No)")


HUGE = struct.pack("<BBBBIII", ord("l"), 2, 0, 1, dbus.MAX_MESSAGE, 1, 64)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"x" * 64, id="no byte order"),
        pytest.param(HUGE, id="larger than any answer"),
        pytest.param(struct.pack("<BBBBIII", ord("l"), 2, 0, 1, 0, 1, 0xFFFFFFFF), id="a huge header"),
        pytest.param(message(2, [(5, ("u", 1))], "u", 1)[:-4], id="cut off"),
        pytest.param(
            struct.pack("<BBBBIII", ord("l"), 2, 0, 1, 0, 1, 16) + b"\x10\0\0\0" + b"\xff" * 12,
            id="fields of noise",
        ),
        pytest.param(
            message(2, [(5, ("u", 1))], "u", 1 << 30).replace(b"g\0\1u", b"g\0\1s"), id="another signature"
        ),
        pytest.param(message(2, [(5, ("s", "one"))], "u", 1), id="a field of another type"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_no_message_ends_the_call_with_an_error(tmp_path: Path, said: bytes) -> None:
    with peer(tmp_path, answering(said)) as address, pytest.raises(ConnectionError):
        ask(address)


def test_a_peer_that_says_nothing_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    done = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"OK 0123\r\n")
        done.wait(30)

    with peer(tmp_path, serve) as address:
        with pytest.raises(errors.DeadlineExceeded, match="D-Bus within"):
            ask(address, 0.05)
        done.set()


@pytest.mark.parametrize(
    ("said", "match"), [(b"REJECTED EXTERNAL\r\n", "REJECTED"), (b"x" * 8192, "no D-Bus is spoken")]
)
def test_a_peer_that_lets_nobody_in_is_left(tmp_path: Path, said: bytes, match: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with peer(tmp_path, lambda connection: connection.sendall(said)) as address:
        with pytest.raises(ConnectionError, match=match):
            ask(address)
    assert len(os.listdir("/proc/self/fd")) == before
