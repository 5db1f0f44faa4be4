"""The name server on its loop, over real sockets of the host's loopback, and the servers that it asks."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pycontainer.launcher.dns import files, resolvconf, upstream, wire
from pycontainer.launcher.dns.server import Server
from pycontainer.launcher.monitor.loop import Loop
from tests.support import dns

OWN = "0" * 64
DEAF = "127.0.0.1:9"  # nothing listens there
SERVED = (dns.A, b"\xc0\x00\x02\x07")


class Running:
    """A server in a thread of the test's, and clients of it."""

    def __init__(self, root: Path, servers: list[str], **described: Any) -> None:
        (root / "app").mkdir(exist_ok=True)
        files.write(str(root / "app"), OWN, {"names": ["web"], "ipv4": "10.1.0.2", "ipv6": None})
        network = {"name": "app", "names": str(root / "app"), "subnets": [], "is_internal": False}
        self.described = {"id": OWN, "containers": str(root), "networks": [network], "servers": servers}
        self.described |= described
        self.loop = Loop()
        self._is_over = False
        self._reader, self._writer = os.pipe()
        self.loop.add(self._reader, self._end)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("127.0.0.1", 0))
        datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        listener = socket.create_server(("127.0.0.1", 0))
        self.places = {"udp": datagrams.getsockname(), "tcp": listener.getsockname()}
        self.server = Server(self.loop, datagrams, listener, self.described)
        self._thread = threading.Thread(target=self.loop.run_until, args=(lambda: self._is_over,))

    def _end(self, _: int) -> None:
        self._is_over = True

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        os.write(self._writer, b"x")
        self._thread.join(30)
        self.server.close()
        os.close(self._reader)
        os.close(self._writer)

    def client(self, protocol: str = "udp", timeout: float = 20) -> socket.socket:
        """A socket that is connected to it."""
        kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
        made = socket.socket(socket.AF_INET, kind)
        made.settimeout(timeout)
        made.connect(self.places[protocol])
        return made

    def ask(self, query: bytes, protocol: str = "udp") -> bytes:
        """Its answer to one query."""
        with self.client(protocol) as client:
            return dns.ask(client, query)


@contextmanager
def running(root: Path, servers: list[str] | None = None, **described: Any) -> Iterator[Running]:
    made = Running(root, servers or [], **described)
    made.start()
    try:
        yield made
    finally:
        made.close()


def served(query: bytes) -> bytes:
    return dns.reply(query, SERVED)


PROTOCOLS = pytest.mark.parametrize("protocol", ["udp", "tcp"])


@PROTOCOLS
def test_a_name_of_a_network_is_answered(tmp_path: Path, protocol: str) -> None:
    with running(tmp_path) as server:
        answer = server.ask(dns.question("web", number=7), protocol)
        assert (answer[:2], dns.addresses(answer)) == (b"\0\7", ["10.1.0.2"])


@PROTOCOLS
def test_another_name_is_asked_of_the_next_server_the_same_way(tmp_path: Path, protocol: str) -> None:
    with dns.upstream(served) as above, running(tmp_path, [above.address]) as server:
        query = dns.question("www.example.com", number=0x0101, payload=1232)
        answer = server.ask(query, protocol)
        assert (answer[:2], dns.addresses(answer)) == (b"\1\1", ["192.0.2.7"])
        [(way, seen)] = above.seen
        assert (way, seen[2:]) == (protocol, query[2:])  # EDNS and all; only the number is another


@PROTOCOLS
@pytest.mark.parametrize("query", [b"", b"\0", b"x" * 11, b"\0\1\x81\x80" + bytes(8)])
def test_what_deserves_no_answer_gets_none_and_does_no_harm(
    tmp_path: Path, protocol: str, query: bytes
) -> None:
    with running(tmp_path) as server, server.client(protocol, timeout=0.2) as client:
        with pytest.raises((TimeoutError, ConnectionError)):
            dns.ask(client, query)
        assert dns.addresses(server.ask(dns.question("web"), protocol)) == ["10.1.0.2"]


def test_a_malformed_question_is_told_so(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert dns.code(server.ask(dns.question("web") + b"x")) == wire.FORMERR
        assert dns.code(server.ask(dns.question("web")[:-1] + b"\3", "tcp")) == wire.NOTIMP


# -- other servers


def test_numbers_and_ports_of_the_questions_are_drawn(tmp_path: Path) -> None:
    with dns.upstream(served) as above, running(tmp_path, [above.address]) as server:
        for number in range(30):
            server.ask(dns.question("www.example.com", number=number))
        numbers = [int.from_bytes(seen[:2], "big") for _, seen in above.seen]
        assert len(set(numbers)) > 25
        assert numbers != sorted(numbers)
        assert len(above.ports) > 25


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(lambda query: bytes((query[0] ^ 1, query[1])) + served(query)[2:], id="another number"),
        pytest.param(
            lambda query: query[:2] + served(dns.question("evil.example.com"))[2:], id="another question"
        ),
        pytest.param(
            lambda query: query[:2] + served(dns.question("www.example.com", dns.AAAA))[2:], id="another kind"
        ),
        pytest.param(lambda query: query, id="the question itself"),
        pytest.param(lambda query: served(query)[:-1], id="cut off"),
        pytest.param(lambda query: dns.reply(query, (dns.A, b"123")), id="an address too short"),
        pytest.param(lambda query: b"", id="nothing"),
        pytest.param(
            lambda query: served(query)[:-16] + b"\xc0\x21" + served(query)[-14:], id="a pointer to itself"
        ),
    ],
)
def test_a_forged_answer_is_passed_over_and_the_right_one_awaited(
    tmp_path: Path, forged: Callable[[bytes], bytes]
) -> None:
    """The server sends the forged answer first: as one who knows the port would."""
    with ExitStack() as stack:
        above = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        above.bind(("127.0.0.1", 0))
        above.settimeout(20)
        server = stack.enter_context(running(tmp_path, [f"127.0.0.1:{above.getsockname()[1]}"]))
        client = stack.enter_context(server.client())
        client.send(dns.question("www.example.com"))
        query, asker = above.recvfrom(65535)
        above.sendto(forged(query), asker)
        above.sendto(dns.reply(query, (dns.A, b"\1\1\1\1")), asker)
        assert dns.addresses(client.recv(65535)) == ["1.1.1.1"]


def test_an_answer_from_elsewhere_does_not_arrive(tmp_path: Path) -> None:
    with ExitStack() as stack:
        above, forger = (
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)
        )
        above.bind(("127.0.0.1", 0))
        above.settimeout(20)
        server = stack.enter_context(running(tmp_path, [f"127.0.0.1:{above.getsockname()[1]}"]))
        client = stack.enter_context(server.client())
        client.send(dns.question("www.example.com"))
        query, asker = above.recvfrom(65535)
        forger.sendto(dns.reply(query, (dns.A, b"\6\6\6\6")), asker)
        above.sendto(served(query), asker)
        assert dns.addresses(client.recv(65535)) == ["192.0.2.7"]


@PROTOCOLS
@pytest.mark.parametrize("code", [wire.SERVFAIL, wire.REFUSED])
def test_a_server_that_fails_or_refuses_is_followed_by_the_next(
    tmp_path: Path, protocol: str, code: int
) -> None:
    with (
        dns.upstream(lambda query: dns.reply(query, code=code)) as first,
        dns.upstream(served) as second,
        running(tmp_path, [first.address, DEAF, "no address", second.address]) as server,
    ):
        assert dns.addresses(server.ask(dns.question("a.example.com"), protocol)) == ["192.0.2.7"]
        assert len(first.seen) == len(second.seen) == 1


@PROTOCOLS
def test_when_all_fail_that_is_the_answer(tmp_path: Path, protocol: str) -> None:
    with (
        dns.upstream(lambda query: dns.reply(query, code=wire.REFUSED)) as above,
        running(tmp_path, [above.address, DEAF]) as server,
    ):
        assert dns.code(server.ask(dns.question("a.example.com"), protocol)) == wire.REFUSED
    with running(tmp_path, [DEAF]) as server:
        assert dns.code(server.ask(dns.question("a.example.com"), protocol)) == wire.SERVFAIL
    with running(tmp_path) as server:
        assert dns.code(server.ask(dns.question("a.example.com"), protocol)) == wire.SERVFAIL


def test_a_name_that_does_not_exist_is_final(tmp_path: Path) -> None:
    with (
        dns.upstream(lambda query: dns.reply(query, code=wire.NXDOMAIN)) as first,
        dns.upstream(served) as second,
        running(tmp_path, [first.address, second.address]) as server,
    ):
        assert dns.code(server.ask(dns.question("a.example.com"))) == wire.NXDOMAIN
        assert second.seen == []


@PROTOCOLS
def test_a_server_that_says_nothing_is_followed_by_the_next_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setattr(upstream, "TIMEOUT_S", 0.3)
    with (
        dns.upstream(lambda query: None) as silent,
        dns.upstream(served) as second,
        running(tmp_path, [silent.address, second.address]) as server,
    ):
        begun = time.monotonic()
        assert dns.addresses(server.ask(dns.question("a.example.com"), protocol)) == ["192.0.2.7"]
        if protocol == "udp":
            assert 0.3 <= time.monotonic() - begun < 10
        assert dns.addresses(server.ask(dns.question("web"), protocol)) == ["10.1.0.2"]


def test_the_time_is_that_of_docker() -> None:
    assert (upstream.TIMEOUT_S, upstream.MAX_PENDING) == (4.0, 1024)


def test_a_truncated_answer_is_passed_on_and_asked_for_by_tcp(tmp_path: Path) -> None:
    many = [(dns.A, bytes((192, 0, 2, last))) for last in range(200)]
    with (
        dns.upstream(
            lambda query: dns.reply(query, flags=0x8380), lambda query: dns.reply(query, *many)
        ) as above,
        running(tmp_path, [above.address]) as server,
    ):
        first = server.ask(dns.question("big.example.com"))
        assert first[2] & 2
        second = server.ask(dns.question("big.example.com"), "tcp")
        assert len(dns.addresses(second)) == 200
        assert [way for way, _ in above.seen] == ["udp", "tcp"]


def test_an_answer_longer_than_the_client_takes_is_truncated(tmp_path: Path) -> None:
    many = [(dns.A, bytes((192, 0, 2, last))) for last in range(200)]
    with (
        dns.upstream(lambda query: dns.reply(query, *many)) as above,
        running(tmp_path, [above.address]) as server,
    ):
        short = server.ask(dns.question("big.example.com"))
        assert len(short) < 512
        assert (short[2] & 2, dns.addresses(short)) == (2, [])
        assert len(dns.addresses(server.ask(dns.question("big.example.com", payload=4096)))) == 200


def test_beyond_the_cap_questions_are_refused_and_names_still_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "MAX_PENDING", 300)
    monkeypatch.setattr(upstream, "TIMEOUT_S", 1.0)
    with (
        dns.upstream(lambda query: None) as silent,
        running(tmp_path, [silent.address]) as server,
        server.client() as client,
    ):
        for number in range(310):
            client.send(dns.question("a.example.com", number=number))
        refused = [client.recv(65535) for _ in range(10)]
        assert {dns.code(answer) for answer in refused} == {wire.REFUSED}
        assert [int.from_bytes(answer[:2], "big") for answer in refused] == list(range(300, 310))
        assert dns.addresses(server.ask(dns.question("web"))) == ["10.1.0.2"]
        rest = [client.recv(65535) for _ in range(300)]
        assert {dns.code(answer) for answer in rest} == {wire.SERVFAIL}
        # They shared some ports, each with a number of its own, and all of them are closed again.
        assert len(silent.ports) <= 192
        numbers = [int.from_bytes(seen[:2], "big") for _, seen in silent.seen]
        assert len(numbers) == 300
        held = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)]
        assert sum(link.startswith("socket:") for link in held) < 100


def _is_open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


# -- hostile clients


def test_a_flood_does_not_keep_others_from_being_served(tmp_path: Path) -> None:
    with dns.upstream(served) as above, running(tmp_path, [above.address]) as server:
        stop = threading.Event()

        def flood() -> None:
            with server.client() as client:
                client.setblocking(False)
                packets = [dns.question("web"), b"x" * 100, dns.question("a.example.com"), b"\0" * 12]
                while not stop.is_set():
                    for packet in packets:
                        try:
                            client.send(packet)
                            client.recv(65535)
                        except OSError:
                            continue

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            for _ in range(5):
                with server.client(timeout=0.01) as client:
                    for _ in range(2000):  # by UDP most questions are lost in a flood, and are asked again
                        try:
                            answer = dns.ask(client, dns.question("web"))
                            break
                        except TimeoutError:
                            continue
                    assert dns.addresses(answer) == ["10.1.0.2"]
                assert dns.addresses(server.ask(dns.question("web"), "tcp")) == ["10.1.0.2"]
        finally:
            stop.set()
            thread.join()


def test_many_questions_by_one_connection_are_answered_in_order(tmp_path: Path) -> None:
    with (
        dns.upstream(served) as above,
        running(tmp_path, [above.address]) as server,
        server.client("tcp") as client,
    ):
        names = ["web", "a.example.com", "nobody", "b.example.com", "web"]
        packets = [dns.question(name, number=number) for number, name in enumerate(names)]
        client.sendall(b"".join(struct.pack("!H", len(packet)) + packet for packet in packets))
        received = b""
        while received.count(b"\0\1\0\1\xc0\x0c") < 4 or len(received) < 150:
            chunk = client.recv(65535)
            assert chunk
            received += chunk
        answers = []
        while received:
            size = int.from_bytes(received[:2], "big")
            answers.append(received[2 : 2 + size])
            received = received[2 + size :]
        assert [answer[1] for answer in answers] == [0, 1, 2, 3, 4]
        assert [dns.code(answer) for answer in answers] == [0, 0, 3, 0, 0]


def test_a_question_that_comes_in_pieces_is_answered(tmp_path: Path) -> None:
    with running(tmp_path) as server, server.client("tcp") as client:
        packet = dns.question("web")
        for byte in struct.pack("!H", len(packet)) + packet:
            client.sendall(bytes((byte,)))
        assert dns.addresses(client.recv(65535)[2:]) == ["10.1.0.2"]


def test_connections_are_few_and_the_quietest_ends_first(tmp_path: Path) -> None:
    with running(tmp_path) as server, ExitStack() as held:
        first = held.enter_context(server.client("tcp"))
        second = held.enter_context(server.client("tcp"))
        assert dns.addresses(dns.ask(second, dns.question("web"))) == ["10.1.0.2"]
        dns.ask(first, dns.question("web"))  # heard of later than the second
        others = [held.enter_context(server.client("tcp")) for _ in range(63)]
        for other in others:
            assert dns.addresses(dns.ask(other, dns.question("web"))) == ["10.1.0.2"]
        assert second.recv(1) == b""
        assert dns.addresses(dns.ask(first, dns.question("web"))) == ["10.1.0.2"]


def test_a_quiet_connection_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pycontainer.launcher.dns.server._IDLE_S", 0.2)
    with running(tmp_path) as server, server.client("tcp") as client:
        assert client.recv(1) == b""


def test_who_goes_before_the_answer_does_no_harm(tmp_path: Path) -> None:
    with dns.upstream(served) as above, running(tmp_path, [above.address]) as server:
        for protocol in ("udp", "tcp"):
            for _ in range(20):
                with server.client(protocol) as client:
                    packet = dns.question("a.example.com")
                    client.send(packet if protocol == "udp" else struct.pack("!H", len(packet)) + packet)
        assert dns.addresses(server.ask(dns.question("web"))) == ["10.1.0.2"]


def test_who_reads_no_answers_is_waited_for_no_longer_than_others(tmp_path: Path) -> None:
    with running(tmp_path) as server, server.client("tcp") as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        packet = dns.question("web")
        client.settimeout(0.5)
        try:
            for _ in range(2000):
                client.sendall((struct.pack("!H", len(packet)) + packet) * 100)
        except TimeoutError:
            pass  # it is not read from any more: nothing piles up
        assert dns.addresses(server.ask(dns.question("web"))) == ["10.1.0.2"]


# -- the host's file


def test_the_hosts_servers_are_followed_as_they_change(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    host = resolvconf.HostServers(str(path))
    assert host.servers() == ()
    path.write_text("search x\nnameserver 192.0.2.1\nnameserver nonsense\nnameserver fe80::1%lo\n")
    assert host.servers() == ("192.0.2.1", "fe80::1%lo")
    path.write_text("nameserver 1.1.1.1\n" * 5 + "".join(f"nameserver 2.2.2.{last}\n" for last in range(9)))
    assert host.servers() == ("1.1.1.1", "2.2.2.0", "2.2.2.1")
    path.unlink()
    assert host.servers() == ()


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("192.0.2.1", (socket.AF_INET, ("192.0.2.1", 53))),
        ("192.0.2.1:5353", (socket.AF_INET, ("192.0.2.1", 5353))),
        ("2001:db8::1", (socket.AF_INET6, ("2001:db8::1", 53, 0, 0))),
        ("[2001:db8::1]:5353", (socket.AF_INET6, ("2001:db8::1", 5353, 0, 0))),
        ("fe80::1%1", (socket.AF_INET6, ("fe80::1", 53, 0, 1))),
        ("fe80::1%no-such-link", None),
        ("192.0.2.1:0", None),
        ("192.0.2.1:65536", None),
        ("192.0.2", None),
        ("name.example.com", None),
        ("", None),
        ("1.2.3.4\0", None),
    ],
)
def test_a_server_is_given_by_address(server: str, expected: object) -> None:
    assert resolvconf.address(server) == expected


def test_what_is_read_from_a_resolvers_file_is_written_back() -> None:
    text = "nameserver 192.0.2.1\nnameserver ::1\nsearch a b\noptions ndots:2 rotate\n"
    assert resolvconf.text(resolvconf.parse(text)) == text
    mixed = "; old\n\ndomain x\nsearch y z\noptions a\noptions a b\nnameserver\nsortlist q\n"
    assert resolvconf.text(resolvconf.parse(mixed)) == "search y z\noptions a b\n"


def test_the_server_answers_by_what_it_was_told_last(tmp_path: Path) -> None:
    with dns.upstream(served) as above, running(tmp_path, [DEAF]) as server:
        assert dns.code(server.ask(dns.question("a.example.com"))) == wire.SERVFAIL
        server.server.configure({**server.described, "servers": [above.address]})
        assert dns.addresses(server.ask(dns.question("a.example.com"))) == ["192.0.2.7"]
        server.server.configure({"networks": []})
        assert dns.code(server.ask(dns.question("a.example.com"))) == wire.REFUSED
        assert dns.code(server.ask(dns.question("web"))) == wire.NXDOMAIN


def test_a_mistake_of_ours_costs_an_answer_and_not_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path) as server:
        real = server.server._resolver.judge

        def judge(query: wire.Query) -> object:
            if query.name == b"bug":
                raise ZeroDivisionError
            return real(query)

        monkeypatch.setattr(server.server._resolver, "judge", judge)
        with server.client(timeout=0.2) as client, pytest.raises(TimeoutError):
            dns.ask(client, dns.question("bug"))
        with server.client("tcp", timeout=0.2) as client, pytest.raises((TimeoutError, ConnectionError)):
            dns.ask(client, dns.question("bug"))
        assert dns.addresses(server.ask(dns.question("web"))) == ["10.1.0.2"]


def test_without_free_descriptors_the_quietest_connection_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path) as server, server.client("tcp") as quiet:
        assert dns.addresses(dns.ask(quiet, dns.question("web"))) == ["10.1.0.2"]
        listener = server.server._listener
        failures = [OSError(24, "Too many open files")] * 3

        class Full:
            """The listener, when no descriptor is left for the first times."""

            def accept(self) -> object:
                if failures:
                    raise failures.pop()
                return listener.accept()

            def __getattr__(self, name: str) -> object:
                return getattr(listener, name)

        monkeypatch.setattr(server.server, "_listener", Full())
        assert dns.addresses(server.ask(dns.question("web"), "tcp")) == ["10.1.0.2"]
        assert quiet.recv(1) == b""
        monkeypatch.undo()
