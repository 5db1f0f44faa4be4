"""Names on networks that are real: between containers, over connects, restarts and partitions."""

from __future__ import annotations

import ipaddress
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import pycontainer as pc
from pycontainer.engine import naming
from pycontainer.errors import InvalidOption, NotFound
from tests.integration.test_names import look_up
from tests.support import dns
from tests.support.needs import needs

pytestmark = needs("root", "overlay", "nft")


@pytest.fixture
def app(engine: pc.Engine) -> Iterator[pc.Network]:
    made = pc.Network.create("app", engine=engine)
    yield made
    made.remove()


@pytest.fixture
def other(engine: pc.Engine) -> Iterator[pc.Network]:
    made = pc.Network.create("other", engine=engine)
    yield made
    made.remove()


Box = Callable[..., pc.Container]


def has_address_of(network: pc.Network, text: str) -> bool:
    """Whether one of the addresses in a text is of the network."""
    subnet = ipaddress.ip_network(network.subnets[0])
    return any(ipaddress.ip_address(found) in subnet for found in re.findall(r"\d+\.\d+\.\d+\.\d+", text))


@pytest.fixture
def box(engine: pc.Engine, busybox: pc.Image) -> Iterator[Box]:
    """Makes containers that run until the end of the test, on the network app."""
    with ExitStack() as stack:

        def make(name: str, *command: str, network: str = "app", **options: Any) -> pc.Container:
            made = pc.Container.create(
                busybox, list(command) or ["sleep", "1000"], name=name, network=network, engine=engine,
                owned=True, **options,
            )  # fmt: skip
            stack.callback(made.remove, force=True)
            made.start()
            return made

        yield make


def reaches(container: pc.Container, target: str, *, limit_s: int = 20) -> bool:
    """Whether a web server in another container answers."""
    command = ["timeout", str(limit_s), "wget", "-q", "-O", "-", f"http://{target}:8080/greeting"]
    return container.exec(command, timeout=60).text == "hello from the second layer\n"


def is_cut(container: pc.Container, target: str) -> bool:
    """Whether it does not answer, though others do."""
    return not reaches(container, target, limit_s=1)


WEB = ("httpd", "-f", "-p", "8080", "-h", "/srv")


def test_programs_reach_each_other_by_name(app: pc.Network, box: Box) -> None:
    web, client = box("web", *WEB, network_alias=["www"]), box("client")
    web.wait_until(pc.wait.port(8080))
    for name in ("web", "www", "WEB.app", web.id[:12]):
        assert reaches(client, name), name
    address = look_up(client, "web")[1][0]
    assert "name = web.app\n" in client.exec(["nslookup", address]).text
    assert client.exec(["cat", "/etc/resolv.conf"]).text.startswith("nameserver 127.0.0.11\n")
    assert client.exec(["hostname", "-i"]).text.split() == look_up(web, "client")[1]


def test_a_name_and_its_address_stay_over_a_restart_by_hand(app: pc.Network, box: Box) -> None:
    web, client = box("web", *WEB), box("client")
    before = look_up(client, "web")
    web.stop(timeout=0)
    assert look_up(client, "web") == (3, [])
    web.start(wait=pc.wait.port(8080))
    assert look_up(client, "web") == before
    assert reaches(client, "web")


def test_a_name_survives_a_restart_by_policy(app: pc.Network, box: Box) -> None:
    web, client = box("web", *WEB, restart="always"), box("client")
    started = web.started_at
    os.kill(int(web.pid or 0), signal.SIGKILL)
    deadline = time.monotonic() + 30
    while web.state != "running" or web.started_at == started:
        assert look_up(client, "web")[0] == 0
        assert time.monotonic() < deadline
    web.wait_until(pc.wait.port(8080))
    assert reaches(client, "web")
    assert look_up(web, "client")[0] == 0


def test_connect_and_disconnect_are_seen_at_once(app: pc.Network, other: pc.Network, box: Box) -> None:
    web, client, stranger = box("web", *WEB), box("client"), box("stranger", network="other")
    web.wait_until(pc.wait.port(8080))
    assert look_up(stranger, "web") == (3, [])
    other.connect(web, aliases=["shop"])
    assert look_up(stranger, "shop") == look_up(stranger, "web")
    assert has_address_of(other, look_up(stranger, "web")[1][0])
    assert reaches(stranger, "shop")
    assert len(look_up(web, "web")[1]) == 2
    hosts = web.exec(["cat", "/etc/hosts"]).text
    assert has_address_of(app, hosts)
    assert has_address_of(other, hosts)
    app.disconnect(web)
    assert look_up(client, "web") == (3, [])
    assert not has_address_of(app, web.exec(["cat", "/etc/hosts"]).text)
    assert reaches(stranger, "web")


def test_the_default_network_has_no_names(app: pc.Network, box: Box, engine: pc.Engine) -> None:
    plain = box("plain", network="bridge")
    assert "127.0.0.11" not in plain.exec(["cat", "/etc/resolv.conf"]).text
    assert plain.exec(["hostname", "-i"]).text.split() != ["127.0.1.1"]
    app.connect(plain)
    client = box("client")
    assert look_up(client, "plain")[0] == 0
    assert look_up(plain, "client")[0] == 0
    assert "127.0.0.11" in plain.exec(["cat", "/etc/resolv.conf"]).text


def test_links_on_the_default_network_are_lines_of_hosts(
    app: pc.Network, box: Box, engine: pc.Engine
) -> None:
    db = box("db", network="bridge")
    web = box("web", network="bridge", links=["db:database"])
    line = f"{engine.store.state.endpoints.of_container(db.id)[0].ipv4}\tdatabase {db.id[:12]} db\n"
    assert line in web.exec(["cat", "/etc/hosts"]).text
    assert web.exec(["ping", "-c", "1", "-W", "2", "database"]).exit_code == 0
    app.connect(web)
    assert line in web.exec(["cat", "/etc/hosts"]).text
    with pytest.raises(InvalidOption, match="is not on network bridge"):
        box("lost", network="bridge", links=[box("far", network="none").name])


def test_a_link_may_come_with_a_connection(app: pc.Network, other: pc.Network, box: Box) -> None:
    db, web = box("db"), box("web", network="other")
    app.connect(web, links=["db:database"])
    assert web.exec(["ping", "-c", "1", "-W", "5", "database"]).exit_code == 0
    assert web.inspect()["NetworkSettings"]["Networks"]["app"]["Links"] == ["db:database"]
    assert db.exec(["ping", "-c", "1", "-W", "1", "database"]).exit_code != 0
    app.disconnect(web)
    assert web.exec(["ping", "-c", "1", "-W", "1", "database"]).exit_code != 0


def test_a_container_in_the_network_of_another_has_its_names(app: pc.Network, box: Box) -> None:
    web = box("web")
    box("db")
    beside = box("beside", network="container:web")
    for path in ("/etc/resolv.conf", "/etc/hosts"):
        assert beside.exec(["cat", path]).text == web.exec(["cat", path]).text
    assert look_up(beside, "db")[0] == 0
    assert has_address_of(app, beside.exec(["nslookup", "db"]).text)


def test_the_host_is_reached_by_its_gateway(app: pc.Network, box: Box) -> None:
    made = box("made", extra_hosts={"host.docker.internal": "host-gateway"})
    assert f"{app.gateways[0]}\thost.docker.internal\n" in made.exec(["cat", "/etc/hosts"]).text
    assert made.exec(["ping", "-c", "1", "-W", "2", "host.docker.internal"]).exit_code == 0


def test_other_servers_are_asked_unless_the_network_is_internal(engine: pc.Engine, box: Box) -> None:
    inner = pc.Network.create("inner", internal=True, engine=engine)
    app = pc.Network.create("app", engine=engine)
    try:
        with dns.upstream(lambda query: dns.reply(query, (dns.A, b"\xc0\0\2\7"))) as above:
            server = {"dns": "127.0.0.1"}
            shut, free = box("shut", network="inner", **server), box("free", **server)
            # The option takes no port; the server of the test has one of its own.
            for container in (shut, free):
                placed = _memberships(engine, container)
                described = naming.described(engine, container._current, container._options, placed)
                assert described is not None
                files = naming.network_files(container.id[:12], container._options, placed)
                naming.change(container, described | {"servers": [above.address]}, files)
            assert look_up(free, "www.example.com") == (0, ["192.0.2.7"])
            assert look_up(shut, "secret.example.com") == (5, [])
            assert [b"secret" in query for _, query in above.seen] == [False]
            for container in (shut, free):
                container.remove(force=True)
    finally:
        app.remove()
        inner.remove()


def _memberships(engine: pc.Engine, container: pc.Container) -> Any:
    from pycontainer.engine import networking

    return networking.memberships(engine, container.id)


def test_a_removed_network_keeps_no_names(engine: pc.Engine, box: Box) -> None:
    made = pc.Network.create("app", engine=engine)
    box("web").remove(force=True)
    directory = engine.store.root / "networks" / made.id
    assert list((directory / "names").iterdir()) == []
    made.remove()
    assert not directory.exists()


# -- partitions


def test_a_partition_cuts_two_containers_off_until_it_is_healed(app: pc.Network, box: Box) -> None:
    web, client, third = box("web", *WEB), box("client"), box("third")
    web.wait_until(pc.wait.port(8080))
    assert reaches(client, "web")
    with app.partition("web", client) as partition:
        assert is_cut(client, "web")
        assert not partition.is_healed
        assert reaches(third, "web")
        assert look_up(client, "web")[0] == 0  # it is known, and does not answer
        assert client.exec(["ping", "-c", "1", "-W", "1", "third"]).exit_code == 0
    assert partition.is_healed
    assert reaches(client, "web")
    partition.heal()


def heard(process: pc.Process, timeout_s: float) -> bytes:
    """What a process writes within the time; b"" for nothing."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], timeout_s)
    return os.read(process.stdout.fileno(), 100) if ready else b""


def test_a_connection_that_exists_is_cut_as_well(app: pc.Network, box: Box) -> None:
    echo, client = box("echo", "nc", "-ll", "-p", "7000", "-e", "cat"), box("client")
    echo.wait_until(pc.wait.port(7000))
    with client.popen(["nc", "echo", "7000"], stdin=subprocess.PIPE) as talk:
        assert talk.stdin is not None
        os.write(talk.stdin.fileno(), b"one")
        assert heard(talk, 20) == b"one"
        with app.partition(echo, client):
            os.write(talk.stdin.fileno(), b"two")
            assert heard(talk, 0.5) == b""
        assert heard(talk, 20) == b"two"  # sent again, as over any network
        talk.kill()


def test_groups_and_partitions_that_overlap(app: pc.Network, box: Box) -> None:
    web, one, two = box("web", *WEB), box("one"), box("two")
    web.wait_until(pc.wait.port(8080))
    both = app.partition(web, ["one", two])
    single = app.partition(one, web)
    assert (is_cut(one, "web"), is_cut(two, "web")) == (True, True)
    both.heal()
    assert (is_cut(one, "web"), reaches(two, "web")) == (True, True)
    single.heal()
    assert reaches(one, "web")


def test_what_cannot_be_cut_is_refused(app: pc.Network, box: Box) -> None:
    box("web")
    box("far", network="none")
    with pytest.raises(InvalidOption, match="in both groups"):
        app.partition("web", ["web"])
    with pytest.raises(InvalidOption, match="has no container"):
        app.partition("web", [])
    with pytest.raises(NotFound, match="is not on network app"):
        app.partition("web", "far")
    with pytest.raises(NotFound):
        app.partition("web", "nobody")


CUTTER = """
import os, signal, sys
import pycontainer as pc
engine = pc.Engine(sys.argv[1])
pc.Network.get("app", engine=engine).partition("web", "client")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_partition_of_a_killed_process_is_healed_by_the_next(
    app: pc.Network, box: Box, engine: pc.Engine
) -> None:
    web, client = box("web", *WEB), box("client")
    web.wait_until(pc.wait.port(8080))
    killed = subprocess.run([sys.executable, "-c", CUTTER, str(engine.root)], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert is_cut(client, "web")
    with pc.Engine(engine.root) as another:
        another.store.state.networks.list()
        assert reaches(client, "web")
