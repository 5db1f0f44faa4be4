"""The name server in a container: its names, its files, other servers, and hostile programs beside it.

Containers get their names here as `connect` gives them to one that runs; that these come with a network is
shown in test_networks.py.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer.engine import naming
from pycontainer.engine.naming import Membership
from pycontainer.launcher import ask, status
from tests.support import dns
from tests.support.needs import needs

pytestmark = needs("root", "overlay", "nft")

APP = Membership(network_id="a" * 64, network="app", subnets=["10.1.0.0/24"], gateways=["10.1.0.1"])
OTHER = Membership(network_id="b" * 64, network="other", subnets=["10.2.0.0/24"])


def join(container: pc.Container, *memberships: Membership, **changed: Any) -> None:
    """Have a container that runs known on these networks, and on no others."""
    record, options = container._current, container._options
    hostname = options.hostname or record.id[:12]
    description = naming.described(container._engine, record, options, memberships)
    if description is not None:
        description |= changed
    naming.change(container, description, naming.network_files(hostname, options, memberships))


@pytest.fixture
def box(engine: pc.Engine, busybox: pc.Image) -> Iterator[Callable[..., pc.Container]]:
    """Makes containers that run until the end of the test; the first has 10.1.0.2 on the network app."""
    count = 0
    with ExitStack() as stack:

        def make(name: str, *command: str, **options: Any) -> pc.Container:
            nonlocal count
            count += 1
            made = pc.Container.create(
                busybox, list(command) or ["sleep", "1000"], name=name, engine=engine, owned=True, **options
            )
            stack.callback(made.remove, force=True)
            made.start()
            join(made, APP._replace(ipv4=f"10.1.0.{count + 1}", aliases=(f"alias-{name}",)))
            return made

        yield make
    naming.forget_network(engine.store.root, APP.network_id)
    naming.forget_network(engine.store.root, OTHER.network_id)


def look_up(
    container: pc.Container, name: str, kind: int = dns.A, protocol: str = "udp", payload: int | None = None
) -> tuple[int, list[str]]:
    """Code and addresses of what a container is answered."""
    query = dns.question(name, kind, payload=payload)
    with container.connect(53, "127.0.0.11", protocol=protocol, timeout=20) as client:  # type: ignore[arg-type]
        answer = dns.ask(client, query)
    return dns.code(answer), sorted(dns.addresses(answer))


def test_containers_of_a_network_know_each_other(box: Callable[..., pc.Container]) -> None:
    web, db = box("web"), box("db", hostname="store.example")
    for name in ("db", "DB.app", "alias-db", "store.example", db.id[:12]):
        for protocol in ("udp", "tcp"):
            assert look_up(web, name, protocol=protocol) == (0, ["10.1.0.3"]), name
    assert look_up(db, "web") == (0, ["10.1.0.2"])
    assert look_up(web, "web") == (0, ["10.1.0.2"])
    assert look_up(web, "db", dns.AAAA) == (0, [])
    assert look_up(web, "nobody") == (3, [])


def test_the_programs_of_an_image_look_names_up(box: Callable[..., pc.Container]) -> None:
    web, _ = box("web"), box("db")
    assert "Address: 10.1.0.3" in web.exec(["nslookup", "db"]).text
    assert "name = db.app" in web.exec(["nslookup", "10.1.0.3"]).text
    assert web.exec(["nslookup", "nobody"]).exit_code == 1
    assert web.exec(["cat", "/etc/resolv.conf"]).text.startswith("nameserver 127.0.0.11\n")
    assert web.exec(["ping", "-c", "1", "-W", "1", "localhost"]).exit_code == 0


def test_several_networks_show_what_is_shared_and_nothing_else(box: Callable[..., pc.Container]) -> None:
    web, db, alone = box("web"), box("db"), box("alone")
    join(web, APP._replace(ipv4="10.1.0.2"), OTHER._replace(ipv4="10.2.0.2"))
    join(alone, OTHER._replace(ipv4="10.2.0.4", aliases=("db",)))
    assert look_up(web, "db") == (0, ["10.1.0.3", "10.2.0.4"])
    assert look_up(web, "db.app") == (0, ["10.1.0.3"])
    assert look_up(db, "web") == (0, ["10.1.0.2"])
    assert look_up(alone, "web") == (0, ["10.2.0.2"])
    assert look_up(alone, "db") == (0, ["10.2.0.4"])
    assert look_up(db, "alone") == (3, [])
    join(web, OTHER._replace(ipv4="10.2.0.2"))
    assert look_up(db, "web") == (3, [])
    join(web)
    assert look_up(web, "alone") == (3, [])
    assert look_up(alone, "web") == (3, [])


def test_a_link_is_known_to_one_container_alone(box: Callable[..., pc.Container]) -> None:
    web, db = box("web", links=["db:database", "db"]), box("db")
    assert look_up(web, "database") == (0, ["10.1.0.3"])
    assert look_up(db, "database") == (3, [])


def test_another_name_is_known_at_once(box: Callable[..., pc.Container]) -> None:
    web, db = box("web"), box("db")
    db.rename("store")
    assert look_up(web, "store") == (0, ["10.1.0.3"])
    assert look_up(web, "db") == (3, [])
    assert look_up(web, "alias-db") == (0, ["10.1.0.3"])


def test_names_go_with_the_container(box: Callable[..., pc.Container], engine: pc.Engine) -> None:
    web, db = box("web"), box("db")
    directory = naming.names_directory(engine.store.root, APP.network_id)
    assert sorted(file.stem for file in directory.iterdir()) == sorted([web.id, db.id])
    db.stop(timeout=0)
    assert [file.stem for file in directory.iterdir()] == [web.id]
    assert look_up(web, "db") == (3, [])


def test_a_container_killed_with_its_monitor_is_known_no_more(
    box: Callable[..., pc.Container], engine: pc.Engine
) -> None:
    web, db = box("web"), box("db")
    assert look_up(web, "db") == (0, ["10.1.0.3"])
    fields = status.read(str(db._directory))
    assert fields is not None
    os.kill(fields["monitor_pid"], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while look_up(web, "db") != (3, []):
        assert time.monotonic() < deadline
    assert (naming.names_directory(engine.store.root, APP.network_id) / f"{db.id}.json").exists()


def test_names_survive_a_restart_by_policy(box: Callable[..., pc.Container]) -> None:
    web = box("web")
    db = box("db", "sh", "-c", "sleep 1000 & wait", restart="always")
    started = db.started_at
    os.kill(int(db.pid or 0), signal.SIGKILL)
    deadline = time.monotonic() + 30
    while db.state != "running" or db.started_at == started:
        assert look_up(web, "db") == (0, ["10.1.0.3"])
        assert time.monotonic() < deadline
    # It knows the others, though it has another network namespace here: its own files say whom to ask.
    assert db.exec(["cat", "/etc/resolv.conf"]).text.startswith("nameserver 127.0.0.11\n")
    assert "10.1.0.3\t" in db.exec(["cat", "/etc/hosts"]).text


# -- its files


def test_files_follow_the_networks_unless_somebody_changed_them(box: Callable[..., pc.Container]) -> None:
    web = box("web", extra_hosts={"printer": "192.0.2.9"})
    name = web.id[:12]
    assert web.exec(["cat", "/etc/hosts"]).text.endswith(f"192.0.2.9\tprinter\n10.1.0.2\t{name}\n")
    web.exec(["sh", "-c", "echo '192.0.2.1 mine' >> /etc/hosts"])
    join(web, OTHER._replace(ipv4="10.2.0.2"))
    hosts = web.exec(["cat", "/etc/hosts"]).text
    assert hosts.endswith(f"10.1.0.2\t{name}\n192.0.2.1 mine\n")
    assert "10.2.0.2" not in hosts
    assert web.exec(["cat", "/etc/resolv.conf"]).text.startswith("nameserver 127.0.0.11\n")
    join(web)
    assert web.exec(["cat", "/etc/resolv.conf"]).text == ""


def test_a_read_only_container_keeps_its_files(box: Callable[..., pc.Container]) -> None:
    web = box("web", read_only=True)
    assert "127.0.1.1" in web.exec(["cat", "/etc/hosts"]).text
    assert look_up(web, "web") == (0, ["10.1.0.2"])


def test_a_file_exchanged_for_a_link_to_the_hosts_is_left_alone(
    box: Callable[..., pc.Container], tmp_path: Path
) -> None:
    """A container that may mount puts links in the place of its files, to a path that the host has, too."""
    victim = tmp_path / "victim"
    web = box("web", "sh", "-c", "sleep 1000", cap_add=["SYS_ADMIN"])
    victim.write_text(web.exec(["cat", "/etc/hosts"]).text)
    before = victim.read_text()
    web.exec(["sh", "-c", f"umount /etc/hosts; rm -f /etc/hosts; ln -s {victim} /etc/hosts"])
    join(web, OTHER._replace(ipv4="10.2.0.2"))
    assert victim.read_text() == before


# -- other servers


def test_other_names_are_asked_for_by_way_of_the_host(box: Callable[..., pc.Container]) -> None:
    with dns.upstream(lambda query: dns.reply(query, (dns.A, b"\xc0\0\2\7"))) as above:
        web = box("web")
        join(web, APP._replace(ipv4="10.1.0.2"), servers=[above.address])
        for protocol in ("udp", "tcp"):
            assert look_up(web, "www.example.com", protocol=protocol) == (0, ["192.0.2.7"])
        assert look_up(web, "nobody") == (3, [])  # a single label is nobody else's business
        assert [way for way, _ in above.seen] == ["udp", "tcp"]


def test_nothing_is_asked_for_elsewhere_on_internal_networks(box: Callable[..., pc.Container]) -> None:
    with dns.upstream(lambda query: dns.reply(query)) as above:
        web = box("web")
        join(web, APP._replace(ipv4="10.1.0.2", is_internal=True), servers=[above.address])
        assert look_up(web, "secret.example.com") == (5, [])
        assert look_up(web, "web") == (0, ["10.1.0.2"])
        assert above.seen == []


# -- beside it


def test_port_53_is_free_for_the_containers_own_server(
    box: Callable[..., pc.Container], engine: pc.Engine
) -> None:
    web = box("web")
    with ExitStack() as stack:
        for kind in ("tcp", "udp"):
            process = os.pidfd_open(int(web.pid or 0))
            job = stack.enter_context(
                engine.helper.submit("open_sockets", {"families": ["ipv4"], "protocol": kind}, [process])
            )
            os.close(process)
            job.receive(20)
            own = stack.enter_context(socket.socket(fileno=job.take_fds()[0]))
            own.bind(("0.0.0.0", 53))
            if kind == "tcp":
                own.listen()
        assert look_up(web, "web") == (0, ["10.1.0.2"])
        assert look_up(web, "web", protocol="tcp") == (0, ["10.1.0.2"])


def test_nobody_else_reaches_a_containers_server(box: Callable[..., pc.Container]) -> None:
    box("web")
    with socket.socket() as outside:
        assert outside.connect_ex(("127.0.0.11", 53)) != 0


def test_what_the_names_are_read_from_is_for_nobody_else(
    box: Callable[..., pc.Container], engine: pc.Engine
) -> None:
    web = box("web")
    directory = naming.names_directory(engine.store.root, APP.network_id)
    assert {path.stat().st_mode & 0o77 for path in (directory, *directory.iterdir())} == {0}
    assert str(engine.store.root) not in web.exec(["cat", "/proc/self/mountinfo"]).text


def test_a_monitor_serves_others_while_its_container_floods_it(box: Callable[..., pc.Container]) -> None:
    web = box("web")
    is_over = threading.Event()
    packets = [dns.question("web"), b"\0" * 12, os.urandom(600), dns.question("web")[:20]]

    def flood() -> None:
        with web.connect(53, "127.0.0.11", protocol="udp") as client:
            client.setblocking(False)
            while not is_over.is_set():
                for packet in packets:
                    try:
                        client.send(packet)
                        client.recv(4096)
                    except OSError:
                        continue

    threads = [threading.Thread(target=flood) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            assert ask(str(web._directory), {"op": "ping"}, timeout_s=20)["id"] == web.id
            assert look_up(web, "web", protocol="tcp") == (0, ["10.1.0.2"])
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def test_an_ended_container_leaves_no_descriptor_or_rule(box: Callable[..., pc.Container]) -> None:
    for turn in range(3):
        made = box(f"short{turn}")
        made.kill()
        made.wait(timeout=20)
