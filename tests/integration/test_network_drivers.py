"""Networks by links of the host: macvlan, a bridge that is there, and what the kernel here does not have."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer.engine import bridging
from pycontainer.errors import AlreadyExists, InvalidOption, KernelError, NotFound, Unsupported
from pycontainer.network import Route, addresses_of
from tests.support.needs import needs

pytestmark = needs("root", "overlay", "nft")

SUBNET = "10.232.5.0/24"


@pytest.fixture
def parent() -> Iterator[str]:
    """A link of the host, to which nothing else is attached."""
    name = f"pct{secrets.token_hex(4)}"
    with Route() as route:
        route.add_bridge(name)
        route.send()
    yield name
    with Route() as route:
        route.delete_link(name)
        route.send()


def _reaches(engine: pc.Engine, image: pc.Image, parent: str, mode: str) -> tuple[bool, list[str]]:
    """Whether one of two neighbours reaches the other, and what they have."""
    with ExitStack() as stack:
        options = {"parent": parent, "macvlan_mode": mode}
        network = pc.Network.create("near", driver="macvlan", subnet=SUBNET, options=options, engine=engine)
        stack.callback(network.remove)
        boxes = []
        for name in ("one", "two"):
            box = pc.Container.create(image, ["sleep", "1000"], name=name, network="near", engine=engine)
            stack.callback(box.remove, force=True)
            box.start()
            boxes.append(box)
        one, two = boxes
        shown = one.exec(["sh", "-c", "ip -o link show eth0; ip -4 -o addr; ip route"]).text
        assert f"{one.ip}/24" in shown
        assert "default via 10.232.5.1" in shown
        is_reached = one.exec(["ping", "-c", "1", "-W", "1", str(two.ip)]).exit_code == 0
        return is_reached, [str(one.ip), str(two.ip)]


@pytest.mark.parametrize(("mode", "is_reached"), [("bridge", True), ("private", False), ("vepa", False)])
def test_neighbours_beside_a_link_reach_each_other_as_the_mode_says(
    engine: pc.Engine, busybox: pc.Image, parent: str, mode: str, is_reached: bool
) -> None:
    assert _reaches(engine, busybox, parent, mode) == (is_reached, ["10.232.5.2", "10.232.5.3"])


def test_an_address_is_free_again_when_the_kernel_has_taken_its_last_namespace_apart(
    engine: pc.Engine, busybox: pc.Image, parent: str
) -> None:
    with pc.Network.create(
        "near", driver="macvlan", subnet=SUBNET, options={"parent": parent}, engine=engine
    ) as near:
        asked: dict[str, Any] = {"network": near, "mac_address": "02:42:0a:e8:05:07", "engine": engine}
        with pc.Container(busybox, ["sleep", "1000"], **asked) as first:
            kept = os.open(f"/proc/{first.pid}/ns/net", os.O_RDONLY)
        leaving = threading.Timer(0.3, os.close, (kept,))
        leaving.start()
        try:
            assert pc.run(busybox, ["cat", "/sys/class/net/eth0/operstate"], **asked).text == "up\n"
        finally:
            leaving.join()


def test_one_container_alone_has_the_link_itself(engine: pc.Engine, busybox: pc.Image, parent: str) -> None:
    options = {"parent": parent, "macvlan_mode": "passthru"}
    with (
        pc.Network.create("near", driver="macvlan", subnet=SUBNET, options=options, engine=engine) as near,
        pc.Container(busybox, ["sleep", "1000"], network=near, engine=engine) as box,
    ):
        assert box.exec(["cat", "/sys/class/net/eth0/operstate"]).text == "up\n"
        with pytest.raises(KernelError, match="macvlan link"):
            pc.run(busybox, ["true"], network=near, engine=engine)
        assert [each.id for each in near.containers] == [box.id]


def test_egress_is_not_denied_where_no_filter_sees_the_packets(
    engine: pc.Engine, busybox: pc.Image, parent: str
) -> None:
    options = {"parent": parent}
    with (
        pc.Network.create("near", driver="macvlan", subnet=SUBNET, options=options, engine=engine) as near,
        pytest.raises(Unsupported, match="driver macvlan"),
    ):
        pc.run(busybox, ["true"], network=near, egress="deny", engine=engine)
    assert pc.Container.list(all=True, engine=engine) == []


def test_nothing_of_it_is_on_the_host(engine: pc.Engine, busybox: pc.Image, parent: str) -> None:
    before = set(os.listdir("/sys/class/net"))
    options = {"parent": parent}
    with pc.Network.create(
        "near", driver="macvlan", subnet=SUBNET, options=options, engine=engine
    ) as network:
        result = pc.run(busybox, ["cat", "/sys/class/net/eth0/address"], network=network, engine=engine)
        assert result.check().text.strip() == "02:42:0a:e8:05:02"
        assert {
            name for name in set(os.listdir("/sys/class/net")) - before if network.id[:10] in name
        } == set()


def test_without_a_parent_a_network_has_one_of_its_own_that_leads_nowhere(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    with (
        pc.Network.create("apart", driver="macvlan", engine=engine) as network,
        pc.Container(busybox, ["sleep", "100"], network=network, engine=engine) as one,
        pc.Container(busybox, ["sleep", "100"], network=network, engine=engine) as two,
    ):
        parent = f"dm-{network.id[:12]}"
        assert os.path.exists(f"/sys/class/net/{parent}")
        assert one.exec(["ping", "-c", "1", "-W", "5", str(two.ip)]).exit_code == 0
        assert "default" not in one.exec(["ip", "route"]).text
    assert not os.path.exists(f"/sys/class/net/{parent}")


@pytest.fixture
def bridge(parent: str) -> str:
    """A bridge of the host with an address, as its administrator made it."""
    with Route() as route:
        route.add_address(socket.if_nametoindex(parent), "10.232.7.3", "10.232.7.0/24")
        route.send()
    return parent


def test_a_bridge_that_is_there_is_used_as_it_is_and_left_so(
    engine: pc.Engine, busybox: pc.Image, bridge: str
) -> None:
    index, setting = socket.if_nametoindex(bridge), Path(f"/proc/sys/net/ipv4/conf/{bridge}/route_localnet")
    options = {"com.docker.network.bridge.name": bridge}
    with pc.Network.create("given", options=options, engine=engine) as given:
        assert (given.subnets, given.gateways) == (("10.232.7.0/24",), ("10.232.7.3",))
        with pytest.raises(AlreadyExists, match=f"network given has the bridge {bridge}"):
            pc.Network.create("again", options=options, engine=engine)
        box = pc.run(busybox, ["ping", "-c", "1", "-W", "5", "10.232.7.3"], network=given, engine=engine)
        assert box.exit_code == 0
    # Another subnet comes beside its own, and goes when a killed process has not come to that.
    other = pc.Network.create("other", subnet="10.232.8.0/24", options=options, engine=engine)
    assert addresses_of(index) == {"10.232.7.3": 24, "10.232.8.1": 24}
    engine.store.state.networks.delete(other.id)
    bridging.sweep(engine)
    assert addresses_of(index) == {"10.232.7.3": 24}
    assert setting.read_text() == "0\n"
    assert Path(f"/sys/class/net/{bridge}/ifalias").read_text() == ""


def test_a_bridge_of_another_store_is_not_given_and_neither_is_a_link_that_is_none(
    engine: pc.Engine, bridge: str, tmp_path: Path
) -> None:
    options = {"com.docker.network.bridge.name": bridge}
    with pc.Engine(tmp_path / "other") as other:
        pc.Network.create("given", options=options, engine=other)
        with pytest.raises(AlreadyExists, match="another store"):
            pc.Network.create("given", options=options, engine=engine)
    shutil.rmtree(tmp_path / "other")  # and nobody will ever say that it does without the bridge
    pc.Network.create("given", options=options, engine=engine).remove()
    with pytest.raises(AlreadyExists, match="lo already, which is no bridge"):
        pc.Network.create("given", options={"com.docker.network.bridge.name": "lo"}, engine=engine)


def test_a_kind_of_links_that_the_kernel_lacks_is_refused_with_the_reason(
    engine: pc.Engine, parent: str
) -> None:
    try:
        pc.Network.create(
            "near", driver="ipvlan", subnet=SUBNET, options={"parent": parent}, engine=engine
        ).remove()
    except Unsupported as error:
        assert "ipvlan" in str(error)  # noqa: PT017  # a kernel that has it makes one
    assert "near" not in [network.name for network in pc.Network.list(engine=engine)]


def test_a_vlan_is_made_for_its_networks_or_the_kernel_is_named(engine: pc.Engine, parent: str) -> None:
    name = f"{parent}.7"
    asked: dict[str, Any] = {"driver": "macvlan", "options": {"parent": name}, "engine": engine}
    try:
        first = pc.Network.create("near", subnet=SUBNET, **asked)
    except Unsupported as error:
        assert "vlan" in str(error)  # noqa: PT017  # a kernel that has it makes one
        assert pc.Network.list(engine=engine) == []
        return
    second = pc.Network.create("nearer", subnet="10.232.6.0/24", **asked)
    first.remove()
    assert os.path.exists(f"/sys/class/net/{name}")
    second.remove()
    assert not os.path.exists(f"/sys/class/net/{name}")


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"parent": "nosuchlink0"}, NotFound, "nosuchlink0"),
        ({"parent": "lo.0"}, InvalidOption, "number from 1 to 4094"),
        ({"parent": "lo.4095"}, InvalidOption, "number from 1 to 4094"),
        ({"parent": "lo./../x"}, InvalidOption, "nor the VLAN of one"),
        ({"parent": "nosuchlink.7"}, NotFound, "'nosuchlink'"),
        ({"parent": "lo", "macvlan_mode": "odd"}, InvalidOption, "macvlan_mode='odd'"),
        ({"parent": "lo", "com.docker.network.bridge.enable_icc": "1"}, InvalidOption, "enable_icc"),
    ],
    ids=[
        *("unknown-parent", "vlan-zero", "vlan-beyond", "vlan-path", "vlan-of-none"),
        *("mode", "foreign-option"),
    ],
)
def test_what_cannot_be_beside_a_link_is_refused(
    engine: pc.Engine, options: dict[str, str], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        pc.Network.create("near", driver="macvlan", options=options, engine=engine)
