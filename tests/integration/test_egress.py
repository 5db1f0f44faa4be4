"""What containers with an egress policy reach, and what not, whatever they do about their addresses."""

from __future__ import annotations

import os
import secrets
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.engine import naming, networking, state
from pycontainer.kernel import nfnetlink
from pycontainer.network import Firewall, table_name
from tests.support import dns
from tests.support.needs import needs

pytestmark = needs("root", "overlay", "nft", "ip")

_SERVER = """
import socket, sys
with socket.socket(getattr(socket, sys.argv[1])) as server:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((sys.argv[2], 8080))
    server.listen(50)
    print("ready", flush=True)
    while True:
        with server.accept()[0] as sock:
            sock.sendall(b"there")
"""

_OWN = f"198.18.{os.getpid() % 256}"  # so that tests in several processes do not meet
OUTSIDE, BESIDE, HOST = f"{_OWN}.2", f"{_OWN}.3", f"{_OWN}.1"
SERVE = ["nc", "-ll", "-p", "8080", "-e", "echo", "there"]

Box = Callable[..., pc.Container]


@pytest.fixture(scope="module", autouse=True)
def default(warm_engine: tuple[pc.Engine, pc.Image]) -> None:
    """The default network and the rules stay for the life of a store, so they are there before."""
    engine, image = warm_engine
    pc.run(image, ["true"], network="bridge", engine=engine)


@pytest.fixture(scope="module")
def world() -> Iterator[None]:
    """Another host with two addresses, and this one: each says "there" on port 8080."""
    name = f"pce{os.getpid()}"
    with ExitStack() as stack:
        stack.callback(subprocess.run, ["ip", "netns", "del", name], check=False)
        for command in (
            f"netns add {name}",
            f"link add {name}a type veth peer name {name}b netns {name}",
            f"addr add {HOST}/24 dev {name}a",
            f"link set {name}a up",
            f"-n {name} addr add {OUTSIDE}/24 dev {name}b",
            f"-n {name} addr add {BESIDE}/24 dev {name}b",
            f"-n {name} link set {name}b up",
            f"-n {name} link set lo up",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        there = ["ip", "netns", "exec", name]
        for prefix, family, address in ((there, "AF_INET", "0.0.0.0"), ([], "AF_INET", HOST)):
            command = [*prefix, sys.executable, "-c", _SERVER, family, address]
            server = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(server.kill)
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
        yield


@pytest.fixture
def app(engine: pc.Engine) -> Iterator[pc.Network]:
    made = pc.Network.create(f"n{secrets.token_hex(4)}", engine=engine)
    yield made
    for container in pc.Container.list(all=True, engine=engine):
        container.remove(force=True)
    made.remove()


@pytest.fixture
def box(engine: pc.Engine, busybox: pc.Image, app: pc.Network, world: None) -> Box:
    def make(command: list[str] | None = None, **options: Any) -> pc.Container:
        options = {"network": app.name, **options}
        made = pc.Container.create(busybox, command or ["sleep", "1000"], engine=engine, **options)
        made.start()
        return made

    return make


def reaches(container: pc.Container, address: str) -> bool:
    found = container.exec(["sh", "-c", f"nc -w 1 {address} 8080 </dev/null"], timeout=20)
    return found.text.startswith("there")


def reached_by(container: pc.Container) -> list[str]:
    return [address for address in (OUTSIDE, BESIDE, HOST) if reaches(container, address)]


ALL = [OUTSIDE, BESIDE, HOST]


def test_who_is_denied_everything_reaches_its_neighbours_alone(app: pc.Network, box: Box) -> None:
    neighbour, free, denied = box(SERVE, name="web"), box(), box(egress="deny")
    neighbour.wait_until(pc.wait.port(8080))
    assert reached_by(free) == ALL
    assert reached_by(denied) == []
    assert reaches(denied, "web")
    gateway = app.inspect()["IPAM"]["Config"][0]["Gateway"]
    assert not reaches(denied, gateway)


def test_it_is_reached_all_the_same(box: Box) -> None:
    served = box(SERVE, egress="deny", ports={8080: None})
    served.wait_until(pc.wait.port(8080))
    binding = served.ports[8080]
    with served.connect(8080) as sock:
        assert sock.recv(10).startswith(b"there")
    with socket.create_connection((binding.host_address, binding.host_port), timeout=10) as sock:
        assert sock.recv(10).startswith(b"there")
    assert reaches(box(), served.ip or "")


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ([OUTSIDE], [OUTSIDE]),
        ([f"{OUTSIDE}/31"], [OUTSIDE, BESIDE]),
        ([f"{_OWN}.0/30", f"{BESIDE}/32", HOST], ALL),  # some within others
        (["10.255.0.0/16", "fd00::/8"], []),
        ("0.0.0.0/0", ALL),
    ],
    ids=["address", "subnet", "overlapping", "elsewhere", "everything"],
)
def test_what_is_allowed_is_reached_and_nothing_else(
    allowed: list[str], expected: list[str], box: Box
) -> None:
    assert reached_by(box(egress_allow=allowed)) == expected


def test_it_changes_while_it_runs_and_stays_over_a_restart(engine: pc.Engine, box: Box) -> None:
    container = box()
    for options, expected in (
        ({"egress": "deny"}, []),
        ({"egress_allow": [f"{OUTSIDE}/31"]}, [OUTSIDE, BESIDE]),
        ({"egress_allow": [BESIDE]}, [BESIDE]),
        ({"egress": "allow"}, ALL),
        ({"egress": "deny", "egress_allow": [OUTSIDE, HOST]}, [OUTSIDE, HOST]),
    ):
        container.update(**options)  # type: ignore[arg-type]
        assert reached_by(container) == expected, options
    container.restart(timeout=0)
    assert reached_by(container) == [OUTSIDE, HOST]
    container.update(egress=None)
    assert reached_by(container) == ALL
    with pytest.raises(errors.InvalidOption, match="egress_allow"):
        container.update(egress="allow", egress_allow=[HOST])


def test_networks_that_it_is_connected_to_are_its_own_and_no_way_out(
    engine: pc.Engine, app: pc.Network, box: Box
) -> None:
    container = box(egress="deny")
    with pc.Network.create(f"n{secrets.token_hex(4)}", engine=engine) as second:
        web = box(SERVE, network=second.name)
        web.wait_until(pc.wait.port(8080))
        assert not reaches(container, web.ip or "")
        second.connect(container)
        assert reaches(container, web.ip or "")
        assert reached_by(container) == []
        app.disconnect(container)
        assert reached_by(container) == []
        container.remove(force=True)
        web.remove(force=True)


def test_no_other_address_gets_it_out(app: pc.Network, box: Box) -> None:
    other = app.subnets[0].rpartition(".")[0] + ".77"
    change = (
        f"gateway=$(ip route | awk '/default/ {{print $3}}'); own=$(hostname -i); "
        f"ip addr del $own/16 dev eth0; ip addr add {other}/16 dev eth0; "
        f"ip route replace default via $gateway src {other}"
    )
    free, denied = box(cap_add=["NET_ADMIN"]), box(cap_add=["NET_ADMIN"], egress="deny")
    for container in (free, denied):
        changed = container.exec(["sh", "-c", change])
        assert changed.exit_code == 0, changed.stderr
        assert "src " + other in container.exec(["ip", "route"]).text
        assert reached_by(container) == (ALL if container is free else [])
        container.remove(force=True)


def test_addresses_of_ipv6_are_held_too(engine: pc.Engine, box: Box) -> None:
    with pc.Network.create(f"n{secrets.token_hex(4)}", engine=engine, ipv6=True) as six:
        gateway = next(each["Gateway"] for each in six.inspect()["IPAM"]["Config"] if ":" in each["Gateway"])
        command = [sys.executable, "-c", _SERVER, "AF_INET6", gateway]
        free, denied = box(network=six.name), box(network=six.name, egress="deny")
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline() == b"ready\n"
                neighbour, allowed = box(network=six.name), box(network=six.name, egress_allow=[gateway])
                (place,) = neighbour._engine.store.state.endpoints.of_container(neighbour.id)
                ping = ["ping", "-6", "-c", "1", "-W", "2", place.ipv6 or ""]
                seen = [
                    (reaches(each, gateway), each.exec(ping).exit_code) for each in (free, denied, allowed)
                ]
                assert seen == [(True, 0), (False, 0), (True, 0)]
            finally:
                server.kill()
        for container in (neighbour, free, denied, allowed):
            container.remove(force=True)


@pytest.mark.parametrize("how", ["removed", "killed", "allowed", "run", "attached"])
def test_who_gets_its_address_next_is_not_limited_by_it(
    how: str, engine: pc.Engine, busybox: pc.Image, app: pc.Network, box: Box
) -> None:
    first = box(egress="deny")
    address = first.ip
    if how == "killed":
        monitor = state.monitor_of(first._directory)
        assert monitor is not None
        signal.pidfd_send_signal(monitor, signal.SIGKILL)
        assert select.select([monitor], [], [], 20)[0]
        os.close(monitor)
    if how == "allowed":
        first.update(egress="allow")
    first.remove(force=True)
    if how == "attached":  # as run --rm in the foreground
        given = {"network": app.name, "ip": address, "egress": "deny", "auto_remove": True, "volumes": "/own"}
        made = pc.Container.create(busybox, ["true"], engine=engine, **given)  # type: ignore[arg-type]
        assert made.interact(start=True, stdin=False) == 0
        assert pc.Volume.list(engine=engine) == []
    if how == "run":
        pc.run(busybox, ["true"], network=app.name, ip=address, egress="deny", engine=engine).check()
    assert nfnetlink.rule_count(guard_of(engine)) == 0
    assert reached_by(box(ip=address)) == ALL


def guard_of(engine: pc.Engine) -> nfnetlink.Table:
    return nfnetlink.Table(f"{table_name(engine.store_tag)}_egress", nfnetlink.BRIDGE)


@pytest.mark.parametrize("table", ["rules", "guard"])
def test_it_holds_when_another_program_has_deleted_the_rules(table: str, engine: pc.Engine, box: Box) -> None:
    denied = box(egress_allow=[OUTSIDE])
    before = nfnetlink.elements_of(guard_of(engine), "own4")
    if table == "rules":
        Firewall(engine.store_tag).remove()
    else:
        nfnetlink.send([guard_of(engine).delete()])
    box()  # whoever starts next finds them gone
    assert reached_by(denied) == [OUTSIDE]
    assert nfnetlink.elements_of(guard_of(engine), "own4") == before != []


def test_one_with_names_is_connected_to_the_network_without(engine: pc.Engine, box: Box) -> None:
    named = box(egress_allow=["example.com"])
    pc.Network.get("bridge", engine=engine).connect(named)
    assert reached_by(named) == []


REFUSED: dict[str, tuple[dict[str, Any], type[errors.PycontainerError], str]] = {
    "host's network": ({"network": "host", "egress": "deny"}, errors.InvalidOption, "egress"),
    "no network": ({"network": "none", "egress_allow": ["10.0.0.0/8"]}, errors.InvalidOption, "egress_allow"),
    "both": ({"egress": "allow", "egress_allow": ["10.0.0.0/8"]}, errors.InvalidOption, "leave one out"),
    "name without a name server": (
        {"network": "bridge", "egress_allow": ["example.com"]},
        errors.InvalidOption,
        "example.com",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_held_is_refused(name: str, engine: pc.Engine, busybox: pc.Image) -> None:
    options, kind, match = REFUSED[name]
    with pytest.raises(kind, match=match):
        pc.run(busybox, ["true"], engine=engine, **options)
    assert pc.Container.list(all=True, engine=engine) == []


def asking(container: pc.Container, upstream: dns.Upstream) -> None:
    """Let its name server ask this one: the option takes no port, and the test's has one of its own."""
    engine = container._engine
    placed = networking.memberships(engine, container.id)
    described = naming.described(engine, container._current, container._options, placed)
    assert described is not None
    files = naming.network_files(container.id[:12], container._options, placed)
    naming.change(container, described | {"servers": [upstream.address]}, files)


def test_names_that_are_allowed_open_what_they_are_answered_with(box: Box) -> None:
    """Only these are asked for at all; and only for as long as the policy has them."""
    address = socket.inet_aton(OUTSIDE)
    with dns.upstream(lambda query: dns.reply(query, (dns.A, address))) as above:
        container = box(egress_allow=["there.example.com", "*.example.org"])
        asking(container, above)
        assert reached_by(container) == []
        assert reaches(container, "there.example.com")
        assert reached_by(container) == [OUTSIDE]
        assert reaches(container, "a.b.example.org")
        assert not reaches(container, "elsewhere.example.com")
        assert not reaches(container, "secret.there.example.com")
        assert {b"elsewhere" in query or b"secret" in query for _, query in above.seen} == {False}
        container.update(egress_allow=["*.example.org"])
        assert reached_by(container) == []


def test_no_name_opens_what_is_of_the_host_alone(box: Box) -> None:
    with dns.upstream(
        lambda query: dns.reply(query, (dns.A, b"\x7f\0\0\1"), (dns.A, b"\xa9\xfe\xa9\xfe"))
    ) as above:
        container = box(egress_allow=["there.example.com"])
        asking(container, above)
        assert not reaches(container, "there.example.com")
        named = nfnetlink.Table(table_name(container._engine.store_tag))
        assert above.seen
        assert nfnetlink.elements_of(named, "named4") == []
