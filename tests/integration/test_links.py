"""Links, addresses and routes, made from outside a namespace through a socket that was opened in it."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
from collections.abc import Iterator

import pytest

import pycontainer as pc
from pycontainer.errors import KernelError
from pycontainer.network import Route, host_subnets
from tests.support.needs import needs

pytestmark = needs("root")

_SETTINGS = {"ipv6/conf/default/accept_dad": "0", "ipv6/conf/default/accept_ra": "0", "none/such": "1"}


def make_namespace(engine: pc.Engine) -> tuple[int, Route]:
    with engine.helper.submit("make_network", {"settings": _SETTINGS, "has_names": False}, []) as job:
        assert job.receive(10) is not None
        namespace, route = job.take_fds()
    return namespace, Route(route)


def inside(namespace: int, *command: str) -> str:
    """What a program prints there; its own process enters."""
    entered = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{namespace}", "busybox", *command]
    return subprocess.run(entered, capture_output=True, text=True, check=True, timeout=20).stdout


@pytest.fixture
def bridge() -> Iterator[str]:
    name = f"pct{secrets.token_hex(4)}"
    with Route() as route:
        route.add_bridge(name, mtu=1400)
        route.send()
        route.add_address(route.index(name), "10.213.7.1", "10.213.7.0/24")
        route.send()
        yield name
        route.delete_link(name)
        route.send()


def test_a_new_namespace_has_a_loopback_that_is_up_and_nothing_else(engine: pc.Engine) -> None:
    namespace, route = make_namespace(engine)
    with route:
        assert inside(namespace, "cat", "/proc/net/dev").count(":") == 1
        assert "UP" in inside(namespace, "ip", "link", "show", "lo")
        assert route.index("lo") == 1
    os.close(namespace)


def test_a_link_into_a_namespace_carries_packets(engine: pc.Engine, bridge: str) -> None:
    namespace, inner = make_namespace(engine)
    with inner, Route() as host:
        mac = "02:42:0a:d5:07:02"
        host.add_veth("pctv0", host.index(bridge), "eth0", namespace, mac=mac, mtu=1400)
        host.send()
        index = inner.index("eth0")
        inner.add_address(index, "10.213.7.2", "10.213.7.0/24")
        inner.add_address(index, "fd00:d5::2", "fd00:d5::/64")
        inner.raise_link("eth0")
        inner.set_default_route("10.213.7.1", index, socket.AF_INET)
        inner.send()
        shown = inside(namespace, "ip", "addr", "show", "eth0")
        assert mac in shown
        assert "mtu 1400" in shown
        assert "10.213.7.2/24" in shown
        assert "fd00:d5::2/64" in shown
        assert "default via 10.213.7.1" in inside(namespace, "ip", "route")
        inside(namespace, "ping", "-c1", "-W2", "10.213.7.1")
        assert "10.213.7.0/24" in host_subnets()
        inner.delete_link("eth0")
        inner.send()
        with pytest.raises(KernelError, match="pctv0"):
            host.index("pctv0")
    os.close(namespace)


def test_isolated_links_of_a_bridge_reach_the_host_and_not_each_other(engine: pc.Engine, bridge: str) -> None:
    made = [make_namespace(engine) for _ in range(2)]
    with Route() as host:
        for number, (namespace, inner) in enumerate(made, 2):
            host.add_veth(f"pctv{number}", host.index(bridge), "eth0", namespace,
                          mac=f"02:42:0a:d5:07:0{number}", is_isolated=True)  # fmt: skip
            host.send()
            inner.add_address(inner.index("eth0"), f"10.213.7.{number}", "10.213.7.0/24")
            inner.raise_link("eth0")
            inner.send()
    inside(made[0][0], "ping", "-c1", "-W2", "10.213.7.1")
    with pytest.raises(subprocess.CalledProcessError):
        inside(made[0][0], "ping", "-c1", "-W1", "10.213.7.3")
    for namespace, inner in made:
        inner.__exit__()
        os.close(namespace)


def test_what_the_kernel_refuses_names_what_was_tried(bridge: str) -> None:
    with Route() as host:
        host.add_bridge(bridge)
        with pytest.raises(KernelError, match=f"make bridge {bridge}"):
            host.send()


def test_links_go_with_the_last_who_holds_their_namespace(engine: pc.Engine, bridge: str) -> None:
    namespace, inner = make_namespace(engine)
    with Route() as host, inner:
        host.add_veth("pctv9", host.index(bridge), "eth0", namespace, mac="02:42:0a:d5:07:09")
        host.send()
    assert os.path.exists("/sys/class/net/pctv9")
    os.close(namespace)
    # The kernel takes a namespace down a moment later; the leak oracle waits for it, too.
    is_gone = "for i in $(seq 100); do [ -e /sys/class/net/pctv9 ] || exit 0; sleep 0.05; done; exit 1"
    subprocess.run(["sh", "-c", is_gone], check=True, timeout=20)


def test_a_netlink_socket_is_opened_in_the_namespace_of_a_container(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    container = pc.Container.create(busybox, ["sleep", "60"], engine=engine)
    container.start()
    process = os.pidfd_open(container.pid or 0)
    with engine.helper.submit("open_route", {"settings": {}}, [process]) as job:
        assert job.receive(10) is not None
        namespace, route = job.take_fds()
    with Route(route) as inner:
        assert inner.index("lo") == 1
    assert os.fstat(namespace).st_ino == os.stat(f"/proc/{container.pid}/ns/net").st_ino
    for fd in (namespace, process):
        os.close(fd)
    container.remove(force=True)
