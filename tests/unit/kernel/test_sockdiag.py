"""Who listens, as the kernel tells it by netlink and by its tables."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from pycontainer.kernel import sockdiag


@pytest.fixture(params=["netlink", "tables"])
def listeners(request: pytest.FixtureRequest) -> Iterator[sockdiag.Listeners]:
    made = sockdiag.Listeners()
    if request.param == "tables":
        made.close()  # as where the kernel has no sock_diag
    yield made
    made.close()


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_listening_socket_is_seen_with_its_address(
    listeners: sockdiag.Listeners, family: int, host: str
) -> None:
    try:
        listening = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"no {host} here")
    port = listening.getsockname()[1]
    with listening:
        expected = sockdiag.Waiting(family, socket.inet_pton(family, host), port)
        assert expected in listeners.waiting("tcp")
        assert expected not in listeners.waiting("udp")
    assert expected not in listeners.waiting("tcp")


def test_a_bound_but_silent_socket_does_not_listen(listeners: sockdiag.Listeners) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert bound.getsockname()[1] not in {waiting.port for waiting in listeners.waiting("tcp")}


def test_a_socket_for_datagrams_is_seen(listeners: sockdiag.Listeners) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("0.0.0.0", 0))
        port = bound.getsockname()[1]
        assert sockdiag.Waiting(socket.AF_INET, bytes(4), port) in listeners.waiting("udp")
        assert port not in {waiting.port for waiting in listeners.waiting("tcp")}


@pytest.mark.parametrize(("kind", "protocol"), [(socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")])
def test_who_has_a_port_is_told(kind: socket.SocketKind, protocol: str) -> None:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        port = sock.getsockname()[1]
        assert os.getpid() in sockdiag.holders(protocol, port)
    assert os.getpid() not in sockdiag.holders(protocol, port)
