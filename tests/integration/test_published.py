"""Published ports: who reaches them, who does not, and what becomes of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

import pycontainer as pc
from pycontainer import errors
from tests.support.elsewhere import HOST, OTHER, another_host, ask, is_shut
from tests.support.needs import needs

pytestmark = needs("root", "overlay", "nft", "ip", "nsenter")

SERVE = ["sh", "-c", "echo of the container > index.html; exec httpd -f -p 80"]
ECHO = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.settimeout(20)
    server.bind(("0.0.0.0", 53))
    print("ready", flush=True)
    content, sender = server.recvfrom(100)
    server.sendto(content, sender)
"""
TELL = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("0.0.0.0", 53))
    print("ready", flush=True)
    while True:
        _, sender = server.recvfrom(100)
        server.sendto(f"{sys.argv[1]} {sender[0]}".encode(), sender)
"""
ASK_AGAIN = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.bind(("0.0.0.0", 5300))
    client.connect((sys.argv[1], int(sys.argv[2])))
    client.settimeout(0.2)
    for line in sys.stdin:
        answer = b"nothing"
        for _ in range(int(line)):
            try:
                client.send(b"?")
                answer = client.recv(100)
                break
            except OSError:
                continue
        print(answer.decode(), flush=True)
"""
ANSWER = b"of the container\n"


@pytest.fixture
def stack(engine: pc.Engine) -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def elsewhere() -> Iterator[list[str]]:
    """Another host, beside this one: a command that runs a program there."""
    with another_host() as command:
        yield command


def serving(engine: pc.Engine, image: pc.Image, stack: ExitStack, **options: Any) -> pc.Container:
    options = {"wait": pc.wait.port(80), **options}
    return stack.enter_context(pc.Container(image, SERVE, engine=engine, **options))


def test_a_port_is_of_this_host_alone_unless_asked_otherwise(
    engine: pc.Engine, busybox: pc.Image, stack: ExitStack, elsewhere: list[str]
) -> None:
    box = serving(engine, busybox, stack, ports={80: [None, ("0.0.0.0", None)]})
    own, wide = (each["host_port"] for each in box._observed.ports)
    assert box.ports[80].host_port == own
    assert ask("127.0.0.1", own) == ask("127.0.0.1", wide) == ANSWER
    assert ask(HOST, wide, elsewhere) == ANSWER
    assert is_shut(HOST, own, elsewhere)
    # Not even by the way to its own address, which only its neighbours have.
    assert ask(box.ip or "", 80) == ANSWER
    assert is_shut(box.ip or "", 80, elsewhere)


def test_a_container_reaches_published_ports_as_others_do(
    engine: pc.Engine, busybox: pc.Image, stack: ExitStack, elsewhere: list[str]
) -> None:
    box = serving(engine, busybox, stack, ports={80: ("0.0.0.0", None)})
    request = "printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n'"
    fetch = ["sh", "-c", f"{request} | nc -w 2 {HOST} {box.ports[80].host_port}"]
    assert box.exec(fetch).stdout.endswith(ANSWER)  # itself, by the host's address
    assert pc.run(busybox, fetch, network="bridge", engine=engine).stdout.endswith(ANSWER)


def test_what_is_of_the_hosts_loopback_is_not_a_containers(engine: pc.Engine, busybox: pc.Image) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        script = f"nc -w 2 $(ip route | awk '/default/ {{print $3}}') {server.getsockname()[1]} && echo there"
        done = pc.run(busybox, ["sh", "-c", script], network="bridge", engine=engine)
        assert b"there" not in done.stdout


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_datagrams_are_published_as_well(
    engine: pc.Engine, busybox: pc.Image, stack: ExitStack, address: str
) -> None:
    box = stack.enter_context(
        pc.Container(busybox, ["sleep", "100"], ports={"53/udp": (address, None)}, engine=engine)
    )
    # Busybox has no server for datagrams: one of the host stands in the container's network.
    inside = ["nsenter", f"--net=/proc/{box.pid}/ns/net", sys.executable, "-c", ECHO]
    with subprocess.Popen(inside, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.connect((address, box.ports["53/udp"].host_port))
            client.send(b"ping")
            assert client.recv(100) == b"ping"
        assert server.wait(10) == 0


@contextmanager
def answering(
    engine: pc.Engine, image: pc.Image, name: str, port: int | None, address: str = "0.0.0.0"
) -> Iterator[int]:
    """A container whose published port answers datagrams with a name and who asked; the port of the host."""
    sleep = ["sleep", "100"]
    with pc.Container(image, sleep, ports={"53/udp": (address, port)}, engine=engine) as box:
        inside = ["nsenter", f"--net=/proc/{box.pid}/ns/net", sys.executable, "-c", TELL, name]
        with subprocess.Popen(inside, stdout=subprocess.PIPE) as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline() == b"ready\n"
                yield box.ports["53/udp"].host_port
            finally:
                server.kill()


def test_who_goes_on_sending_datagrams_reaches_the_next_container(
    engine: pc.Engine, busybox: pc.Image, elsewhere: list[str]
) -> None:
    with ExitStack() as ending:

        def client(address: str, port: int, prefix: Sequence[str] = ()) -> Callable[[int], bytes]:
            command = [*prefix, sys.executable, "-c", ASK_AGAIN, address, str(port)]
            asker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            ending.enter_context(asker)
            ending.callback(asker.kill)
            assert asker.stdin is not None
            assert asker.stdout is not None
            given, told = asker.stdin, asker.stdout

            def ask(attempts: int) -> bytes:
                given.write(b"%d\n" % attempts)
                given.flush()
                return told.readline().strip()

            return ask

        with answering(engine, busybox, "first", None) as port:
            near, far = client("127.0.0.1", port), client(HOST, port, elsewhere)
            assert near(50).startswith(b"first")
            assert far(50) == f"first {OTHER}".encode()
        # Nobody has the port meanwhile; then another container, with another address.
        assert far(1) == b"nothing"
        with answering(engine, busybox, "second", port):
            assert near(50).startswith(b"second")
            # By the rules, as before: whoever serves it in their place would seem to be the sender.
            assert far(50) == f"second {OTHER}".encode()


def test_its_monitor_serves_what_no_rule_leads_to_it(
    engine: pc.Engine, busybox: pc.Image, stack: ExitStack
) -> None:
    box = serving(engine, busybox, stack, ports={80: [None, ("::1", None)]})
    four, six = (each["host_port"] for each in box._observed.ports)
    assert ask("::1", six) == ANSWER
    subprocess.run(["nft", "delete", "table", "inet", f"pycontainer_{engine.store_tag}"], check=True)
    # Until the rules are there again, and from then on.
    assert [ask("127.0.0.1", four) for _ in range(5)] == [ANSWER] * 5


def test_who_comes_while_a_container_is_paused_is_answered_when_it_goes_on(
    engine: pc.Engine, busybox: pc.Image, stack: ExitStack
) -> None:
    box = serving(engine, busybox, stack, ports={80: None})
    box.pause()
    with socket.create_connection(("127.0.0.1", box.ports[80].host_port), timeout=20) as client:
        client.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
        box.unpause()
        received = b""
        while chunk := client.recv(4096):
            received += chunk
    assert received.endswith(ANSWER)


def test_a_port_is_kept_over_restarts_and_free_afterwards(
    engine: pc.Engine, busybox: pc.Image, stack: ExitStack
) -> None:
    box = pc.Container.create(
        busybox, SERVE, ports={80: None}, restart="always", name="kept", engine=engine, owned=True
    )
    stack.callback(box.remove, force=True)
    box.start()
    port = box.ports[80].host_port
    box.wait_until(pc.wait.port(80))
    box.exec(["sh", "-c", "kill 1"])
    box.wait_until(pc.wait.port(80))
    assert box.ports[80].host_port == port
    with pytest.raises(errors.InUse, match="container kept"):
        pc.run(busybox, ["true"], ports={80: port}, engine=engine)
    box.stop(timeout=0)
    assert box.ports == {}
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_conflict_leaves_nothing_of_the_others(engine: pc.Engine, busybox: pc.Image) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with pytest.raises(errors.InUse, match=rf"process {os.getpid()} \("):
            pc.run(busybox, ["true"], ports={80: None, 81: taken}, engine=engine)
    assert pc.Container.list(all=True, engine=engine) == []


def test_of_a_range_of_the_host_the_first_free_port_is_taken(engine: pc.Engine, busybox: pc.Image) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        first = taken - 30 if taken > 65505 else taken
        chosen = f"{first}-{first + 30}"
        with pc.Container(busybox, ["sleep", "100"], ports=[f"{chosen}:80"], engine=engine) as box:
            assert taken != box.ports[80].host_port
            assert first <= box.ports[80].host_port <= first + 30
            assert box.inspect()["HostConfig"]["PortBindings"]["80/tcp"][0]["HostPort"] == chosen


@pytest.mark.parametrize(
    ("ports", "error", "complaint"),
    [
        ({80: ("203.0.113.7", None)}, errors.InvalidOption, "no address of this host"),
    ],
)
def test_what_cannot_be_published_is_refused_by_name(
    engine: pc.Engine, busybox: pc.Image, ports: dict[Any, Any], error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        pc.run(busybox, ["true"], ports=ports, engine=engine)


def test_every_port_that_image_and_options_expose_is_published_if_asked(
    engine: pc.Engine, busybox: pc.Image, stack: ExitStack
) -> None:
    image = busybox.expose(80)
    box = serving(engine, image, stack, publish_all=True, expose=["53/udp"])
    assert ask("127.0.0.1", box.ports[80].host_port or 0) == ANSWER
    assert {binding.host_address for binding in (box.ports[80], box.ports["53/udp"])} == {"127.0.0.1"}
    other = serving(engine, image, stack)
    assert 80 not in other.ports


def test_a_kernel_without_sctp_is_named_with_the_remedy(engine: pc.Engine, busybox: pc.Image) -> None:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        with pytest.raises(
            errors.Unsupported, match=r"3868/sctp of 127.0.0.1.*no such protocol; modprobe sctp"
        ):
            pc.run(busybox, ["true"], ports={80: None, "3868/sctp": 3868}, engine=engine)
    else:
        pytest.skip("this kernel has SCTP: see tests/guest/test_networks.py")


def test_ports_follow_their_container_to_another_network_and_lead_to_nobody_else(
    engine: pc.Engine, busybox: pc.Image, stack: ExitStack
) -> None:
    one, two = (stack.enter_context(pc.Network.create(name, engine=engine)) for name in ("one", "two"))
    box = serving(engine, busybox, stack, network="one", ports={80: [None, ("::1", None)]}, name="box")
    four, six = (each["host_port"] for each in box._observed.ports)
    address = box.ip
    one.disconnect(box)
    serve = ["sh", "-c", "echo of another > index.html; exec httpd -f -p 80"]
    other = pc.Container(busybox, serve, network="one", ip=address, engine=engine, wait=pc.wait.port(80))
    stack.enter_context(other)
    assert ask("127.0.0.1", four) == ask("::1", six) == b""
    two.connect(box)
    assert ask("127.0.0.1", four) == ask("::1", six) == ANSWER
    two.disconnect(box)
    one.connect(box)
    assert ask("127.0.0.1", four) == ask("::1", six) == ANSWER
    box.stop(timeout=0)
    with socket.create_server(("127.0.0.1", four)):
        pass


PRIVILEGED = """
import sys
import pycontainer as pc
with pc.Engine(sys.argv[1]) as engine:
    try:
        pc.run(pc.Image.get("busybox", engine=engine), ["true"], ports={80: None, 81: 81}, engine=engine)
    except pc.errors.KernelError as error:
        print(error)
    assert pc.Container.list(all=True, engine=engine) == []
"""


def test_a_privileged_port_without_the_right_to_it_is_refused_with_the_remedy(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    drop = ["setpriv", "--bounding-set", "-net_bind_service", "--inh-caps", "-net_bind_service"]
    command = [*drop, sys.executable, "-c", PRIVILEGED, str(engine.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "port 81/tcp of 127.0.0.1" in done.stdout
    assert "CAP_NET_BIND_SERVICE" in done.stdout
