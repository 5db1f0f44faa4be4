"""Networks: who reaches whom, with which addresses and names, at a start and while containers run."""

from __future__ import annotations

import json
import os
import pickle
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.engine import kept_ahead
from pycontainer.errors import (
    AlreadyExists,
    InUse,
    InvalidOption,
    NotFound,
    PycontainerError,
    WrongState,
)
from tests.support.needs import needs
from tests.support.processes import await_gone, named

pytestmark = needs("root", "overlay", "nft")

_MTU = "com.docker.network.driver.mtu"
_ICC = "com.docker.network.bridge.enable_icc"

Make = Callable[..., pc.Network]
Box = Callable[..., pc.Container]


@pytest.fixture(scope="module", autouse=True)
def default(warm_engine: tuple[pc.Engine, pc.Image]) -> None:
    """The default network and the rules stay for the life of a store, so they are there before."""
    engine, image = warm_engine
    pc.Network.get("bridge", engine=engine)
    pc.Network.create("warm", ipv6=True, engine=engine).remove()
    pc.run(image, ["true"], network="bridge", engine=engine)


@pytest.fixture
def make(engine: pc.Engine) -> Iterator[Make]:
    made: list[pc.Network] = []

    def create(name: str = "", **given: object) -> pc.Network:
        made.append(pc.Network.create(name or f"n{secrets.token_hex(4)}", engine=engine, **given))  # type: ignore[arg-type]
        return made[-1]

    yield create
    for container in pc.Container.list(all=True, engine=engine):
        container.remove(force=True)
    for network in made:
        try:
            network.remove()
        except NotFound:
            continue


@pytest.fixture
def box(engine: pc.Engine, busybox: pc.Image, make: Make) -> Box:
    """A container that runs, gone at the end of the test, before its networks."""

    def start(network: object, command: tuple[str, ...] = ("sleep", "600"), **given: object) -> pc.Container:
        made = pc.Container.create(busybox, command, network=network, engine=engine, **given)  # type: ignore[arg-type]
        made.start()
        return made

    return start


def reaches(container: pc.Container, address: str, *, limit_s: int = 2) -> bool:
    return container.exec(["ping", "-c1", f"-W{limit_s}", address]).exit_code == 0


# -- who reaches whom ------------------------------------------------------------------------------


def test_containers_of_a_network_reach_each_other_by_address_and_by_name(make: Make, box: Box) -> None:
    app = make()
    one, two = box(app.name, name="one"), box(app.name, name="two", network_alias=["db"])
    assert two.ip is not None
    for target in (two.ip, "two", "db", two.id[:12]):
        assert reaches(one, target), target
    assert reaches(two, "one")
    assert not reaches(one, "three", limit_s=1)


def test_networks_are_shut_off_from_each_other_in_both_directions(make: Make, box: Box) -> None:
    one, two = box(make().name), box(make().name)
    assert one.ip is not None
    assert two.ip is not None
    with ThreadPoolExecutor(2) as pool:
        ways = [pool.submit(reaches, *way, limit_s=1) for way in ((one, two.ip), (two, one.ip))]
        assert [way.result() for way in ways] == [False, False]
    assert one.exec(["nslookup", two.name]).exit_code != 0


def test_who_may_change_its_own_addresses_gets_into_no_other_network_by_that(make: Make, box: Box) -> None:
    other, home = make(subnet="10.214.9.0/24"), make()
    victim, neighbour = box(other.name), box(home.name)
    liar = box(home.name, cap_add=["NET_ADMIN", "NET_RAW"])
    assert victim.ip
    assert neighbour.ip
    gateway = home.gateways[0]
    for lie in (
        f"ip addr add 10.214.9.77/32 dev eth0; ip route add {victim.ip}/32 via {gateway} src 10.214.9.77",
        f"ip route del {victim.ip}/32; ip addr add 10.214.9.1/24 dev eth0",  # as if it were the host there
    ):
        liar.exec(["sh", "-c", lie]).check()
        assert reaches(liar, neighbour.ip, limit_s=20)
        assert not reaches(liar, victim.ip, limit_s=1)


def test_a_container_of_two_networks_reaches_both(make: Make, box: Box) -> None:
    front, back = make(), make()
    middle = box([front.name, back.name])
    outer, inner = box(front.name, name="outer"), box(back.name, name="inner")
    assert reaches(middle, "outer")
    assert reaches(middle, "inner")
    assert inner.ip is not None
    assert not reaches(outer, inner.ip, limit_s=1)
    assert set(middle.ips) == {front.name, back.name}
    assert {each.name for each in middle.networks} == {front.name, back.name}


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
def test_the_network_of_the_highest_priority_has_the_default_route(make: Make, box: Box, first: bool) -> None:
    networks = [make(), make()]
    wanted = networks[0 if first else 1]
    asked = [f"name={each.name},gw-priority={int(each == wanted)}" for each in networks]
    routes = box(asked).exec(["ip", "route", "show", "default"]).text
    assert wanted.gateways[0] in routes


def test_neighbours_do_not_talk_where_that_is_off(make: Make, box: Box) -> None:
    quiet = make(options={_ICC: "false"})
    one, two = box(quiet.name), box(quiet.name)
    assert two.ip is not None
    assert reaches(one, quiet.gateways[0])
    assert not reaches(one, two.ip, limit_s=1)


def test_an_internal_network_has_no_way_out(make: Make, box: Box) -> None:
    inner = make(internal=True)
    one = box(inner.name)
    box(inner.name, name="two")
    assert inner.is_internal
    assert reaches(one, "two")
    assert "default" not in one.exec(["ip", "route"]).text


def test_a_container_of_the_default_network_has_an_address_and_no_names(engine: pc.Engine, box: Box) -> None:
    one, two = box("bridge"), box("bridge", name="two")
    network = pc.Network.get("bridge", engine=engine)
    assert two.ip is not None
    assert ip_address(two.ip) in ip_network(network.subnets[0])
    assert reaches(one, two.ip)
    assert not reaches(one, "two", limit_s=1)


def test_the_host_is_reached_and_its_loopback_is_not(make: Make, box: Box) -> None:
    app = make()
    one = box(app.name)
    assert reaches(one, app.gateways[0])
    assert one.exec(["ip", "link", "show"]).text.count("<") == 2


# -- addresses -------------------------------------------------------------------------------------


def test_addresses_are_as_asked_for(make: Make, box: Box) -> None:
    app = make(subnet=["10.214.0.0/24", "fd00:d6::/64"], gateway="10.214.0.9", ip_range="10.214.0.64/26")
    chosen = box(app.name, ip="10.214.0.200", ip6="fd00:d6::99", mac_address="02:42:01:02:03:04")
    shown = chosen.exec(["ip", "addr", "show", "eth0"]).text
    for expected in ("10.214.0.200/24", "fd00:d6::99/64", "02:42:01:02:03:04"):
        assert expected in shown
    assert "10.214.0.9" in chosen.exec(["ip", "route", "show", "default"]).text
    other = box(app.name)
    assert other.ip is not None
    assert ip_address(other.ip) in ip_network("10.214.0.64/26")
    assert reaches(other, "fd00:d6::99")
    assert chosen.ip == "10.214.0.200"


def test_addresses_of_the_link_alone_are_added(make: Make, box: Box) -> None:
    make("app", ipv6=True)
    other = make("other")
    addresses = ["169.254.1.2", "fe80::7"]
    one = box("app", link_local_ip=addresses)
    shown = one.exec(["ip", "addr", "show", "eth0"]).text
    assert "inet 169.254.1.2/16" in shown
    assert "inet6 fe80::7/64" in shown
    assert one.inspect()["NetworkSettings"]["Networks"]["app"]["IPAMConfig"] == {"LinkLocalIPs": addresses}
    two = box({"app": {"link_local_ips": ["169.254.1.3"]}})
    assert two.exec(["ping", "-c", "1", "-W", "5", "169.254.1.2"]).exit_code == 0
    other.connect(two, link_local_ips=["169.254.9.9"])
    assert "inet 169.254.9.9/16" in two.exec(["ip", "addr", "show", "eth1"]).text
    with pytest.raises(InvalidOption, match="has no IPv6 subnet"):
        box("other", link_local_ip="fe80::7")
    with pytest.raises(InvalidOption, match="whose egress is denied"):
        box("app", link_local_ip="169.254.1.4", egress="deny")


def test_a_stopped_container_keeps_its_addresses(make: Make, box: Box) -> None:
    app = make(ipv6=True)
    one = box(app.name)
    before = (one.ip, one.ips, one.inspect()["NetworkSettings"]["Networks"][app.name]["MacAddress"])
    one.stop(timeout=0)
    two = box(app.name)
    assert two.ip != before[0]
    one.start()
    after = (one.ip, one.ips, one.inspect()["NetworkSettings"]["Networks"][app.name]["MacAddress"])
    assert after == before
    assert before[0] in one.exec(["ip", "addr", "show", "eth0"]).text


def test_the_size_of_packets_is_the_network_s(make: Make, box: Box) -> None:
    small = make(options={_MTU: "1280"})
    assert "mtu 1280" in box(small.name).exec(["ip", "link", "show", "eth0"]).text


def test_a_link_has_the_name_asked_for(make: Make, box: Box) -> None:
    app = make()
    assert box(f"name={app.name},ifname=lan0").exec(["ip", "link", "show", "lan0"]).exit_code == 0


def test_an_address_that_is_freed_is_not_given_again_at_once(make: Make, box: Box) -> None:
    app = make()
    first = box(app.name)
    address = first.ip
    first.remove(force=True)
    assert box(app.name).ip != address


def test_aux_addresses_are_given_to_nobody(make: Make, box: Box) -> None:
    app = make(subnet="10.214.1.0/29", aux_addresses={"router": "10.214.1.2"})
    assert [box(app.name).ip for _ in range(4)] == [f"10.214.1.{number}" for number in range(3, 7)]
    with pytest.raises(InUse, match="every address"):
        box(app.name)


# -- connect and disconnect ------------------------------------------------------------------------


def test_a_running_container_is_connected_and_disconnected(make: Make, box: Box) -> None:
    app, other = make(), make()
    one, two = box(app.name, name="one"), box(other.name, name="two")
    assert two.ip is not None
    app.connect(two, aliases=["db"])
    assert set(two.networks) == {app, other}
    assert reaches(one, "db")
    assert reaches(two, "one")
    app.disconnect(two)
    assert two.networks == [other]
    assert not reaches(one, "db", limit_s=1)
    assert "eth1" not in two.exec(["ip", "link"]).text
    assert two.exec(["ip", "route", "show", "default"]).text.strip()


def test_a_stopped_container_is_connected_and_disconnected(
    engine: pc.Engine, busybox: pc.Image, make: Make, box: Box
) -> None:
    app, other = make(), make()
    target = box(app.name, name="target")
    one = pc.Container.create(busybox, ["sleep", "600"], network=other.name, engine=engine)
    app.connect(one, ip=str(ip_network(app.subnets[0])[77]))
    other.disconnect(one)
    one.start()
    assert one.ip == str(ip_network(app.subnets[0])[77])
    assert reaches(one, target.name)
    assert one.networks == [app]


def test_a_container_without_any_place_left_has_its_loopback_alone(make: Make, box: Box) -> None:
    app = make()
    one = box(app.name)
    app.disconnect(one)
    assert (one.ip, one.ips, one.networks) == (None, {}, [])
    one.restart(timeout=0)
    assert one.exec(["ip", "link"]).text.count("<") == 1
    app.connect(one)
    assert one.ip is not None
    assert reaches(one, app.gateways[0])


@pytest.mark.parametrize("mode", ["none", "host", "container:first"])
def test_what_has_no_networks_of_its_own_is_not_connected(make: Make, box: Box, mode: str) -> None:
    app = make()
    box(app.name, name="first")
    with pytest.raises(WrongState, match="network="):
        app.connect(box(mode))


def test_connecting_twice_and_disconnecting_a_stranger_are_refused(make: Make, box: Box) -> None:
    app, other = make(), make()
    one = box(app.name)
    with pytest.raises(AlreadyExists, match="connected"):
        app.connect(one)
    with pytest.raises(NotFound, match="not connected"):
        other.disconnect(one)
    other.disconnect(one, force=True)
    with pytest.raises((AlreadyExists, InUse), match="in use"):
        app.connect(box(other.name), ip=one.ip)


def test_a_container_of_another_s_network_shares_its_links(make: Make, box: Box) -> None:
    app = make()
    first = box(app.name, name="first")
    shared = box("container:first")
    shown = [each.exec(["ip", "addr", "show", "eth0"]).text for each in (first, shared)]
    assert shown[0] == shown[1]
    assert shared.exec(["cat", "/etc/resolv.conf"]).text == first.exec(["cat", "/etc/resolv.conf"]).text


# -- networks as objects ---------------------------------------------------------------------------


def test_networks_are_found_listed_and_removed(engine: pc.Engine, make: Make) -> None:
    app = make("shop", labels={"team": "ü"})
    assert pc.Network.get("shop", engine=engine) == pc.Network.get(app.id[:10], engine=engine) == app
    assert (app.name, app.driver, app.labels) == ("shop", "bridge", {"team": "ü"})
    assert pickle.loads(pickle.dumps(app)).id == app.id
    for filters in (
        {"name": "sho"}, {"label": "team=ü"}, {"id": app.id[:8]}, {"driver": "bridge", "type": "custom"},
        {"dangling": "true"},
    ):  # fmt: skip
        assert app in pc.Network.list(filters=filters, engine=engine), filters
    assert app not in pc.Network.list(filters={"label": "team=x"}, engine=engine)
    app.remove()
    with pytest.raises(NotFound):
        pc.Network.get("shop", engine=engine)
    with pytest.raises(NotFound):
        app.remove()


def test_inspect_says_what_docker_says(make: Make, box: Box) -> None:
    printer = {"printer": "10.214.2.9"}
    app = make(subnet="10.214.2.0/24", labels={"a": "b"}, options={_MTU: "1400"}, aux_addresses=printer)
    one = box(app.name, name="one", ip="10.214.2.7", network_alias="first")
    shown = json.loads(json.dumps(app.inspect()))
    assert shown["Name"] == app.name
    own_subnet = {"Subnet": "10.214.2.0/24", "Gateway": "10.214.2.1", "AuxiliaryAddresses": printer}
    assert shown["IPAM"]["Config"] == [own_subnet]
    assert shown["Options"] == {_MTU: "1400"}
    assert shown["Labels"] == {"a": "b"}
    assert shown["Containers"][one.id]["Name"] == "one"
    assert shown["Containers"][one.id]["IPv4Address"] == "10.214.2.7/24"
    own = json.loads(json.dumps(one.inspect()))["NetworkSettings"]["Networks"][app.name]
    assert (own["IPAddress"], own["Gateway"], own["IPPrefixLen"]) == ("10.214.2.7", "10.214.2.1", 24)
    assert own["IPAMConfig"] == {"IPv4Address": "10.214.2.7"}
    assert own["DNSNames"] == ["one", "first", one.id[:12]]
    assert own["EndpointID"] == shown["Containers"][one.id]["EndpointID"]
    assert [each.name for each in app.containers] == ["one"]


def test_networks_are_those_of_this_host_alone(engine: pc.Engine, make: Make) -> None:
    app = make()
    assert app in pc.Network.list(filters={"scope": "local"}, engine=engine)
    assert pc.Network.list(filters={"scope": "swarm"}, engine=engine) == []


def test_a_container_with_its_own_users_has_its_networks_in_its_hands(
    engine: pc.Engine, make: Make, box: Box
) -> None:
    app, other = make(ipv6=True), make()
    peer = box(app.name, name="peer")
    one = box(
        app.name, ("nc", "-ll", "-p", "80", "-e", "echo", "hello"),
        name="own", userns="private", uid_map=["0:200000:65536"], cap_add=["NET_ADMIN"], ports={80: None},
    )  # fmt: skip
    assert one.exec(["cat", "/proc/self/uid_map"]).text.split() == ["0", "200000", "65536"]
    assert reaches(one, "peer")
    assert reaches(peer, "own")
    assert one.exec(["ip", "link", "set", "eth0", "mtu", "1400"]).exit_code == 0
    assert "eth0" in one.exec(["ls", "/sys/class/net"]).text
    with socket.create_connection(("127.0.0.1", one.ports[80].host_port), 10) as sock:
        assert sock.makefile().read() == "hello\n"
    other.connect(one)
    assert one.exec(["ip", "addr", "show", "eth1"]).exit_code == 0
    shared = pc.run(
        peer.image, ["sh", "-c", "cat /proc/self/uid_map; ping -c1 -W2 peer >/dev/null && echo reached"],
        userns="container:own", network=app.name, engine=engine,
    )  # fmt: skip
    assert shared.text.split() == ["0", "200000", "65536", "reached"]
    one.restart(timeout=0)
    assert reaches(one, "peer")


def test_a_network_in_use_stays_and_prune_takes_the_others(engine: pc.Engine, make: Make, box: Box) -> None:
    used, unused = make(), make()
    one = box(used.name, name="user")
    with pytest.raises(InUse, match="user"):
        used.remove()
    assert unused.name in pc.Network.prune(engine=engine)
    assert used in pc.Network.list(engine=engine)
    one.remove(force=True)
    used.remove()


def test_what_happens_to_networks_is_told(engine: pc.Engine, make: Make, box: Box) -> None:
    begun = time.time()
    app, other, third = make("told"), make("other"), make("third")
    one = box(other.name)
    app.connect(one)
    app.disconnect(one)
    third.connect(one)
    one.stop(timeout=0)
    app.connect(one)  # told by the next start
    one.start()
    one.remove(force=True)
    app.remove()
    events = list(pc.events(since=begun, filters={"type": "network"}, engine=engine))
    seen = [(event.action, event.name) for event in events]
    assert seen[3:] == [
        ("connect", "other"), ("connect", "told"), ("disconnect", "told"), ("connect", "third"),
        ("disconnect", "other"), ("disconnect", "third"),
        ("connect", "other"), ("connect", "third"), ("connect", "told"),
        ("disconnect", "other"), ("disconnect", "third"), ("disconnect", "told"),
        ("destroy", "told"),
    ]  # fmt: skip
    assert {(event.attributes["container"], event.attributes["type"]) for event in events[3:-1]} == {
        (one.id, "bridge")
    }


@pytest.mark.parametrize(
    ("name", "given", "error"),
    [
        ("bridge", {}, InvalidOption),
        ("host", {}, InvalidOption),
        ("none", {}, InvalidOption),
        ("a b", {}, InvalidOption),
        ("", {}, InvalidOption),
        ("x", {"driver": "overlay"}, InvalidOption),
        ("x", {"subnet": "10.0.0.1/8"}, InvalidOption),
        ("x", {"subnet": ["10.1.0.0/24", "10.2.0.0/24"]}, InvalidOption),
        ("x", {"gateway": "10.1.0.1"}, InvalidOption),
        ("x", {"subnet": "10.1.0.0/24", "gateway": "10.2.0.1"}, InvalidOption),
        ("x", {"subnet": "10.1.0.0/24", "ip_range": "10.2.0.0/25"}, InvalidOption),
        ("x", {"subnet": "127.0.0.0/16"}, PycontainerError),
        ("x", {"options": {_MTU: "12"}}, InvalidOption),
        ("x", {"options": {_MTU: "1000"}, "ipv6": True}, InvalidOption),
        ("x", {"options": {_ICC: "maybe"}}, InvalidOption),
        ("x", {"options": {"no.such": "1"}}, InvalidOption),
        ("x", {"driver": "macvlan", "options": {"parent": "no-such"}}, NotFound),
    ],
    ids=str,
)
def test_a_network_that_cannot_be_is_refused_and_leaves_nothing(
    engine: pc.Engine, name: str, given: dict[str, object], error: type[Exception]
) -> None:
    before = [each.name for each in pc.Network.list(engine=engine)]
    with pytest.raises(error):
        pc.Network.create(name, engine=engine, **given)  # type: ignore[arg-type]
    assert [each.name for each in pc.Network.list(engine=engine)] == before


def test_names_subnets_and_addresses_that_are_taken_are_refused(
    engine: pc.Engine, make: Make, box: Box, busybox: pc.Image
) -> None:
    app = make("taken", subnet="10.214.3.0/24")
    for name, given in (("taken", {}), ("x", {"subnet": "10.214.3.128/25"})):
        with pytest.raises(AlreadyExists):
            pc.Network.create(name, engine=engine, **given)  # type: ignore[arg-type]
    one = box(app.name, ip="10.214.3.5")
    before = len(pc.Container.list(all=True, engine=engine))
    for network, ip, error in (
        (app.name, one.ip, (InUse, AlreadyExists)),
        (app.name, "10.214.4.1", InvalidOption),
        (app.name, "10.214.3.1", (InUse, InvalidOption)),
        ("no-such", None, NotFound),
    ):
        with pytest.raises(error):
            pc.Container.create(busybox, ["true"], network=network, ip=ip, engine=engine)
    assert len(pc.Container.list(all=True, engine=engine)) == before


def test_a_run_leaves_its_place_free(engine: pc.Engine, busybox: pc.Image, make: Make) -> None:
    app = make(subnet="10.214.5.0/29")
    for _ in range(8):
        shown = pc.run(busybox, ["ip", "addr", "show", "eth0"], network=app.name, engine=engine)
        assert "10.214.5." in shown.text
    assert app.containers == []


def test_links_are_made_again_when_they_are_gone(make: Make, box: Box) -> None:
    app = make()
    bridge = f"pc-{app.id[:10]}"
    subprocess.run(["busybox", "ip", "link", "del", bridge], check=True)
    one = box(app.name)
    assert reaches(one, app.gateways[0])


def test_another_store_never_chooses_the_same_subnet(engine: pc.Engine, make: Make, tmp_path: Path) -> None:
    ours = {make().subnets[0] for _ in range(3)}
    with pc.Engine(tmp_path / "other") as other:
        theirs = [pc.Network.create(f"o{number}", engine=other) for number in range(3)]
        assert not ours & {each.subnets[0] for each in theirs}
        for each in theirs:
            each.remove()


def test_the_default_network_goes_with_the_last_who_uses_it(tmp_path: Path, busybox_layout: Path) -> None:
    with pc.Engine(tmp_path / "own") as engine:
        image = pc.Image.load(busybox_layout, engine=engine)[0]
        bridge = Path("/sys/class/net", f"pc0-{engine.store_tag[:8]}")
        stays = pc.Container.create(image, ["true"], network="bridge", engine=engine)
        assert bridge.exists()
    assert bridge.exists(), "a container has an address of it"
    with pc.Engine(tmp_path / "own") as engine:
        pc.Container.get(stays.id, engine=engine).remove()
    assert not bridge.exists()


def test_a_start_without_networks_loads_nothing_of_them(tmp_path: Path, busybox_layout: Path) -> None:
    script = (
        "import sys, pycontainer as pc\n"
        f"with pc.Engine({str(tmp_path / 's')!r}) as engine:\n"
        f"    image = pc.Image.load({str(busybox_layout)!r}, engine=engine)[0]\n"
        "    pc.run(image, ['true'], engine=engine)\n"
        "print([name for name in sys.modules if name.startswith(('pyroute2', 'pycontainer.network'))])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(Path(pc.__file__).parents[1])})  # fmt: skip
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("has_ports", [False, True], ids=["plain", "published"])
def test_a_start_whose_links_cannot_be_made_runs_nothing_and_leaves_nothing(
    has_ports: bool, engine: pc.Engine, busybox: pc.Image, make: Make, tmp_path: Path
) -> None:
    ports = {80: None} if has_ports else {}
    options = {"network": make().name, "ports": ports, "engine": engine}
    never = {"mac_address": "01:00:5e:00:00:01", "volumes": {str(tmp_path): "/host"}}  # no link can have it
    with pytest.raises(PycontainerError, match="begins with an even byte"):
        pc.run(busybox, ["touch", "/host/it-ran"], **options, **never)  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []
    made = pc.Container.create(busybox, ["true"], **options, **never)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(PycontainerError, match="begins with an even byte"):
            made.start()
        assert made.state != "running"
    made.remove()
    pc.run(busybox, ["true"], **options).check()  # type: ignore[arg-type]


def test_a_start_makes_its_network_anew_when_who_made_it_ahead_was_killed(
    busybox: pc.Image, engine: pc.Engine, make: Make
) -> None:
    app = make()
    with pc.Engine(engine.root) as own:
        pc.run(busybox, ["true"], network=app.name, engine=own).check()
        (maker,) = named("pycontainer-net", own.helper.pid)
        os.kill(maker, signal.SIGKILL)
        await_gone(maker)
        for _ in range(2):  # the first may find one that was made before
            pc.run(busybox, ["true"], network=app.name, engine=own).check()
        (maker,) = named("pycontainer-net", own.helper.pid)
    await_gone(maker)


def test_a_namespace_made_ahead_is_given_to_one_container_only(
    engine: pc.Engine, busybox: pc.Image, make: Make, box: Box
) -> None:
    app = make()
    first = box(app.name)
    kept = kept_ahead()
    second = box(app.name)
    spaces = {os.stat(f"/proc/{each.pid}/ns/net").st_ino for each in (first, second)}
    assert len(spaces) == 2
    assert len(kept) == len(kept_ahead()) == 1
    with pc.Engine(engine.root) as other:
        pc.run(busybox, ["true"], network=app.name, engine=other)
        assert len(kept_ahead()) == 2
    assert len(kept_ahead()) == 1
    # One of another kind than the next container wants is passed over.
    wide = make(ipv6=True)
    assert reaches(box(wide.name), wide.gateways[1])
