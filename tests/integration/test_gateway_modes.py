"""How packets come into a network and leave it, as the options of Docker's bridge driver say."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.engine.bridging import ensure_rules
from tests.support.elsewhere import HOST, OTHER, SECOND, another_host, ask, is_shut, link_to_it
from tests.support.needs import needs

pytestmark = needs("root", "overlay", "nft", "ip")

_OPTION = "com.docker.network.bridge."
_MODE = f"{_OPTION}gateway_mode_ipv4"
_SERVE = ["sh", "-c", "echo yes > index.html; httpd -p 81; exec httpd -f -p 80"]
_YES = b"yes\n"
_LISTEN = """
import socket, sys
with socket.create_server((sys.argv[1], 0)) as server:
    server.settimeout(20)
    print(server.getsockname()[1], flush=True)
    connection, (address, _) = server.accept()
    print(address, flush=True)
    connection.close()
"""

Make = Callable[..., pc.Network]
Box = Callable[..., pc.Container]


@pytest.fixture(scope="module", autouse=True)
def warm(warm_engine: tuple[pc.Engine, pc.Image]) -> None:
    """The rules stay for the life of a store that has a network, so they are there before."""
    pc.Network.get("bridge", engine=warm_engine[0])


@pytest.fixture
def stack(engine: pc.Engine) -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def elsewhere() -> Iterator[list[str]]:
    with another_host() as command:
        yield command


@pytest.fixture
def make(engine: pc.Engine, stack: ExitStack) -> Make:
    def create(name: str, **given: object) -> pc.Network:
        return stack.enter_context(pc.Network.create(name, engine=engine, **given))  # type: ignore[arg-type]

    return create


@pytest.fixture
def box(engine: pc.Engine, busybox: pc.Image, stack: ExitStack) -> Box:
    def start(network: object, **given: object) -> pc.Container:
        given = {"command": _SERVE, "wait": pc.wait.port(80) & pc.wait.port(81), **given}
        return stack.enter_context(pc.Container(busybox, network=network, engine=engine, **given))  # type: ignore[arg-type]

    return start


def caller(server: socket.socket) -> str:
    """Who has called."""
    server.settimeout(20)
    connection, (address, _) = server.accept()
    connection.close()
    return str(address)


def page(box: pc.Container, address: str | None) -> bytes:
    """What another container serves, as far as one reaches it."""
    asked = f"printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc -w5 {address} 80"
    return box.exec(["sh", "-c", asked]).stdout.partition(b"\r\n\r\n")[2]


def test_a_routed_network_is_reached_at_its_own_addresses_by_published_ports(
    make: Make, box: Box, elsewhere: list[str], engine: pc.Engine
) -> None:
    shut = make("shut")
    make("routed", options={_MODE: "routed"})
    web = box("routed", ports={80: None})
    assert web.ip is not None
    binding = web.ports[80]
    assert (binding.host_address, binding.host_port) == (web.ip, 80)
    assert web.inspect()["NetworkSettings"]["Ports"]["80/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": ""}]

    def is_as_told() -> None:
        assert web.ip is not None
        assert ask(web.ip, 80, elsewhere) == _YES
        assert [is_shut(web.ip, port, elsewhere) for port in (80, 81)] == [False, True]
        # Nobody stands in for it outside.
        with socket.create_server((HOST, 0)) as server, ThreadPoolExecutor() as pool:
            called = pool.submit(caller, server)
            web.exec(["sh", "-c", f"nc -w5 {HOST} {server.getsockname()[1]} < /dev/null"])
            assert called.result() == web.ip

    is_as_told()
    ensure_rules(engine, is_forced=True)
    is_as_told()
    other = box(shut)
    assert page(other, web.ip) == _YES
    address = web.ip
    shut.connect(web)
    pc.Network.get("routed", engine=engine).disconnect(web)
    assert 80 not in {each.host_port for each in web.ports.values() if each.host_address}
    assert is_shut(address, 80, elsewhere)


def test_who_is_not_trusted_reaches_nothing_and_an_open_network_everything(
    make: Make, box: Box, elsewhere: list[str]
) -> None:
    make("nat", options={f"{_OPTION}trusted_host_interfaces": "eth17"})
    make("trusting", options={f"{_OPTION}trusted_host_interfaces": f"eth17:{link_to_it()}"})
    make("open", options={_MODE: "nat-unprotected"})
    for name, published, unpublished in (
        ("nat", False, False),
        ("trusting", True, False),
        ("open", True, True),
    ):
        web = box(name, ports={80: None})
        assert web.ip is not None
        for port, is_let_in in ((80, published), (81, unpublished)):
            if is_let_in:
                assert ask(web.ip, port, elsewhere) == _YES, name
            else:
                assert is_shut(web.ip, port, elsewhere), name
        assert ask("127.0.0.1", web.ports[80].host_port) == _YES


def test_ports_are_published_and_packets_leave_by_the_addresses_that_the_network_names(
    make: Make, box: Box, elsewhere: list[str]
) -> None:
    subprocess.run(["ip", "addr", "add", f"{SECOND}/24", "dev", link_to_it()], check=True)
    make("named", options={f"{_OPTION}host_binding_ipv4": HOST, "com.docker.network.host_ipv4": SECOND})
    web = box("named", ports={80: None, 81: ("127.0.0.1", None)})
    assert (web.ports[80].host_address, web.ports[81].host_address) == (HOST, "127.0.0.1")
    assert ask(HOST, web.ports[80].host_port, elsewhere) == _YES
    with subprocess.Popen(
        [*elsewhere, sys.executable, "-c", _LISTEN, OTHER], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        port = other.stdout.readline().decode()
        web.exec(["sh", "-c", f"nc -w5 {OTHER} {port.strip()} < /dev/null"])
        assert other.stdout.readline().decode().strip() == SECOND


def test_what_is_published_on_the_loopback_is_reached_by_no_other_host_even_where_that_is_routed(
    make: Make, box: Box, elsewhere: list[str]
) -> None:
    """As kube-proxy does, somebody has the host route 127.0.0.0/8 (CVE-2020-8558)."""
    make("guarded")
    web = box("guarded", ports={80: [None, (HOST, None)]})
    own, wide = (each["host_port"] for each in web._observed.ports)
    Path(f"/proc/sys/net/ipv4/conf/{link_to_it()}/route_localnet").write_text("1")
    inner = link_to_it().removesuffix("a") + "b"
    for command in (
        ["ip", "link", "set", "lo", "down"],
        ["ip", "addr", "flush", "dev", "lo"],
        ["sh", "-c", f"echo 1 > /proc/sys/net/ipv4/conf/{inner}/route_localnet"],
        ["ip", "route", "add", "127.0.0.1/32", "via", HOST, "src", OTHER],
    ):
        subprocess.run([*elsewhere, *command], check=True)
    assert ask(HOST, wide, elsewhere) == _YES
    with socket.create_server(("127.0.0.1", 0)) as server:
        ask("127.0.0.1", server.getsockname()[1], elsewhere, limit_s=0.3)
        assert caller(server) == OTHER  # what is not ours is reached so
    assert is_shut("127.0.0.1", own, elsewhere)
    assert ask("127.0.0.1", own) == _YES


def test_the_host_is_not_in_an_isolated_network_nor_where_it_is_inhibited(make: Make, box: Box) -> None:
    isolated = make("isolated", internal=True, options={_MODE: "isolated"})
    inhibited = make("inhibited", options={f"{_OPTION}inhibit_ipv4": "true"})
    assert isolated.gateways == ()
    web = box([isolated, inhibited])
    asker = box(isolated, command=["sleep", "600"], wait=None)
    assert page(asker, web.ips["isolated"]) == _YES
    routes = web.exec(["ip", "route"]).stdout.decode()
    assert f"default via {inhibited.gateways[0]}" in routes
    for network in (isolated, inhibited):
        shown = subprocess.run(
            ["ip", "-4", "-o", "addr", "show", "dev", str(network._record.bridge)], capture_output=True
        )
        assert shown.stdout == b"", network
    assert "default" not in asker.exec(["ip", "route"]).stdout.decode()


def test_links_are_called_as_the_network_says(make: Make, box: Box, engine: pc.Engine) -> None:
    for name in ("one", "two"):
        make(name, options={"com.docker.network.container_iface_prefix": "lan"})
    make("plain")
    web = box(["one", "plain"])
    pc.Network.get("two", engine=engine).connect(web)
    assert sorted(web.exec(["ls", "/sys/class/net"]).stdout.decode().split()) == [
        "eth0",
        "lan0",
        "lan1",
        "lo",
    ]


def test_a_place_has_the_settings_and_the_name_that_were_asked_for(
    make: Make, box: Box, engine: pc.Engine
) -> None:
    endpoint = "com.docker.network.endpoint."
    settings = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.arp_ignore=2"
    one, two = make("one"), make("two")
    web = box({"one": {"driver_opts": {f"{endpoint}sysctls": settings, f"{endpoint}ifname": "wan"}}})
    two.connect(web, driver_opts={f"{endpoint}sysctls": settings.replace("=2", "=3")})
    shown = web.exec(["sh", "-c", "cd /proc/sys/net/ipv4/conf; cat */arp_ignore wan/log_martians"]).stdout
    assert shown.split() == [b"0", b"0", b"3", b"0", b"2", b"1"]  # all, default, eth0, lo, wan
    two.disconnect(web)
    for setting, error in (("no_such=1", pc.errors.NotFound), ("arp_ignore=x", pc.errors.KernelError)):
        with pytest.raises(error, match=setting.partition("=")[0]):
            two.connect(web, driver_opts={f"{endpoint}sysctls": f"net.ipv4.conf.IFNAME.{setting}"})
        assert web.networks == [one]
    with pytest.raises(pc.errors.InvalidOption, match="wan"):
        two.connect(web, driver_opts={f"{endpoint}ifname": "wan"})
    with pytest.raises(pc.errors.InvalidOption, match="ip_forward"):
        two.connect(web, driver_opts={f"{endpoint}sysctls": "net.ipv4.ip_forward=1"})


def test_a_port_may_be_routed_by_one_kind_of_address_alone(make: Make, box: Box) -> None:
    make("half", ipv6=True, options={f"{_OPTION}gateway_mode_ipv6": "routed"})
    web = box("half", ports={"80/tcp": None})
    port = next(
        binding["HostPort"]
        for binding in web.inspect()["NetworkSettings"]["Ports"]["80/tcp"]
        if binding["HostPort"]
    )
    with socket.create_connection(("127.0.0.1", int(port)), timeout=20) as connection:
        connection.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
        assert connection.recv(1 << 16)
    assert web.exec(["true"]).exit_code == 0  # its monitor has all that it was given


def test_a_network_may_have_addresses_of_ipv6_alone(make: Make, box: Box) -> None:
    six = make("six", ipv4=False, ipv6=True)
    assert [":" in subnet for subnet in six.subnets] == [True]
    web = box("six", name="six-web", ports={80: None})
    asker = box("six", command=["sleep", "600"], wait=None)
    assert ":" in (web.ip or "")
    assert web.ip in asker.exec(["nslookup", "six-web"]).stdout.decode()
    assert asker.exec(["ip", "-4", "addr", "show", "dev", "eth0"]).stdout == b""
    assert page(asker, web.ip) == _YES
    assert ask("127.0.0.1", web.ports[80].host_port) == _YES
    shown = six.inspect()
    assert (shown["EnableIPv4"], shown["EnableIPv6"]) == (False, True)
