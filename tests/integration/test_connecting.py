"""Container.connect and Container.http: sockets out of a container's network namespace."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

import pycontainer as pc
from pycontainer.errors import DeadlineExceeded, InvalidOption, WrongState
from tests.support.needs import needs

pytestmark = needs("root", "overlay")


@pytest.fixture
def echo(engine: pc.Engine, busybox: pc.Image) -> Iterator[pc.Container]:
    """A container without any network, in which something repeats what it is told."""
    command = ["nc", "-ll", "-p", "7000", "-e", "cat"]
    with pc.Container(busybox, command, network="none", engine=engine, wait=pc.wait.port(7000)) as box:
        yield box


def test_a_listener_on_the_loopback_of_a_container_without_network_is_reached(echo: pc.Container) -> None:
    with echo.connect(7000) as connected:
        assert connected.gettimeout() == 10
        connected.sendall(b"round trip")
        assert connected.recv(100) == b"round trip"


def test_the_socket_is_the_containers_and_not_the_hosts(echo: pc.Container) -> None:
    with echo.connect(7000) as connected:
        inside = echo.exec(["netstat", "-tn"]).text
        assert f"127.0.0.1:{connected.getsockname()[1]}" in inside
    with socket.socket() as outside:
        assert outside.connect_ex(("127.0.0.1", 7000)) != 0


def test_a_port_where_nothing_listens_is_refused_with_the_remedy(echo: pc.Container) -> None:
    with pytest.raises(ConnectionRefusedError) as refused:
        echo.connect(7001)
    assert "wait.port(7001)" in refused.value.__notes__[0]


def test_a_datagram_reaches_the_container(echo: pc.Container) -> None:
    with echo.connect(9, protocol="udp") as waiting, echo.connect(9, protocol="udp", timeout=5) as sending:
        waiting.connect(sending.getsockname())
        sending.connect(waiting.getsockname())
        sending.send(b"hello")
        assert waiting.recv(100) == b"hello"


def test_localhost_is_the_other_family_when_nothing_listens_on_the_first(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    command = ["httpd", "-f", "-p", "[::1]:8080"]
    with pc.Container(busybox, command, network="none", engine=engine, wait=pc.wait.port(8080)) as box:
        with box.connect(8080) as connected:
            assert connected.family is socket.AF_INET6
        with pytest.raises(ConnectionRefusedError):
            box.connect(8080, "127.0.0.1")


@pytest.mark.parametrize(
    ("port", "host", "protocol"),
    [(0, "localhost", "tcp"), (65536, "localhost", "tcp"), (True, "localhost", "tcp"),
     (80, "db", "tcp"), (80, "1.2.3", "tcp"), (80, "a\0b", "tcp"), (80, "localhost", "sctp")],
)  # fmt: skip
def test_what_cannot_be_connected_to_is_refused(
    engine: pc.Engine, busybox: pc.Image, port: int, host: str, protocol: str
) -> None:
    made = pc.Container.create(busybox, ["true"], owned=True, engine=engine)
    with pytest.raises(InvalidOption, match="connect: "):
        made.connect(port, host, protocol=protocol)  # type: ignore[arg-type]
    made.remove()


def test_a_container_that_does_not_run_cannot_be_connected_to(engine: pc.Engine, busybox: pc.Image) -> None:
    made = pc.Container.create(busybox, ["true"], owned=True, engine=engine)
    with pytest.raises(WrongState, match="is created; start it first"):
        made.connect(80)
    made.start()
    made.wait()
    with pytest.raises(WrongState, match="is exited; start it first"):
        made.connect(80)
    made.remove()


def test_a_listener_that_takes_no_more_is_given_up_in_time(engine: pc.Engine, busybox: pc.Image) -> None:
    command = ["httpd", "-f", "-p", "8080"]
    with (
        pc.Container(busybox, command, network="none", engine=engine, wait=pc.wait.port(8080)) as box,
        ExitStack() as held,
    ):
        box.pause()  # the kernel goes on taking connections for it, as many as it wants to have waiting
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="no connection to port 8080"):  # noqa: PT012
            while time.monotonic() < begun + 60:
                held.enter_context(box.connect(8080, timeout=0.3))
        box.unpause()


def test_http_goes_into_the_container(engine: pc.Engine, busybox: pc.Image) -> None:
    with (
        pc.Container(
            busybox, ["httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/srv"], network="none", engine=engine,
            wait=pc.wait.port(8080),
        ) as box,
        box.http(8080) as client,
    ):  # fmt: skip
        for _ in range(3):
            answer = client.get("/greeting")
            assert (answer.status_code, answer.text) == (200, "hello from the second layer\n")
        assert client.get("/missing").status_code == 404
        assert client.get("http://any.other.host/greeting").status_code == 200


def test_http_says_when_nothing_listens(echo: pc.Container) -> None:
    with echo.http(9) as client, pytest.raises(httpx.ConnectError, match="refused"):
        client.get("/")


def test_connections_are_made_from_many_threads_at_once(echo: pc.Container) -> None:
    failed: list[BaseException] = []

    def talk(number: int) -> None:
        try:
            with echo.connect(7000) as connected:
                said = b"%d" % number
                connected.sendall(said)
                assert connected.recv(100) == said
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []


def test_the_callers_own_namespaces_stay_what_they_were(echo: pc.Container) -> None:
    before = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "mnt", "pid")]
    echo.connect(7000).close()
    assert [os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "mnt", "pid")] == before
