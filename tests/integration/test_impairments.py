"""Links made worse, or pulled, for tests: while the block lasts, over restarts, and for its process only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import pycontainer as pc
from pycontainer.engine import bridging
from pycontainer.errors import InUse, InvalidOption, NotFound, Unsupported
from tests.support.needs import needs
from tests.support.netem import has_netem

pytestmark = needs("root", "overlay", "nft", "tc", "nsenter")

Pair = tuple[pc.Container, pc.Container]

SLEEP = ["sleep", "1000"]
CARRIER = ["cat", "/sys/class/net/eth0/carrier"]


@pytest.fixture
def app(engine: pc.Engine) -> Iterator[pc.Network]:
    with pc.Network.create("app", engine=engine) as network:
        yield network


@pytest.fixture
def pair(app: pc.Network, engine: pc.Engine, busybox: pc.Image) -> Iterator[Pair]:
    with (
        pc.Container(busybox, SLEEP, name="box", network="app", engine=engine) as box,
        pc.Container(busybox, SLEEP, name="peer", network="app", engine=engine) as peer,
    ):
        yield box, peer


def reaches(box: pc.Container, name: str, *, attempts: int = 4) -> bool:
    """Whether another answers; who has just asked for its hardware address in vain gives up on a packet."""
    return box.exec(["ping", "-c", str(attempts), "-W", "1", name]).exit_code == 0


def queues(box: pc.Container) -> list[dict[str, Any]]:
    """What delays or slows packets at the host's end of its first link, and at its own."""
    (endpoint, *_) = box._engine.store.state.endpoints.of_container(box.id)
    tc = ["tc", "-s", "-j", "qdisc", "show", "dev"]
    inside = ["nsenter", f"--net=/proc/{box.pid}/ns/net"]
    found = []
    for command in ([*tc, bridging.link_name(endpoint)], [*inside, *tc, endpoint.ifname]):
        told = subprocess.run(command, check=True, capture_output=True).stdout
        found += [each for each in json.loads(told) if each["kind"] != "noqueue"]
    return found


def test_a_rate_holds_both_ways_until_it_is_healed(app: pc.Network, pair: Pair) -> None:
    box, peer = pair
    for each in pair:
        each.exec(["sh", "-c", "head -c 200000 /dev/zero >big; httpd -p 80"]).check()
    with app.impair(box, rate="1m") as impairment:
        assert [(each["kind"], each["options"]["rate"]) for each in queues(box)] == [("tbf", 1 << 20)] * 2
        assert queues(peer) == []
        for receiver, sender in ((box, peer), (peer, box)):
            fetch = ["sh", "-c", f"wget -q -O - http://{sender.name}/big | wc -c"]
            assert receiver.exec(fetch).text == "200000\n"  # late, and whole
        assert all(each["overlimits"] for each in queues(box))
        with pytest.raises(InUse, match="impaired already"):
            app.impair("box", rate=1000)
        assert not impairment.is_healed
    assert impairment.is_healed
    assert queues(box) == []
    impairment.heal()


def test_latency_and_loss_are_real_or_refused(app: pc.Network, pair: Pair) -> None:
    box, _ = pair
    asked: dict[str, Any] = {"latency": "40ms", "jitter": "5ms", "loss": 0.5, "rate": "1m"}
    if has_netem():
        with app.impair("box", **asked):
            kinds = [(each["kind"], each["options"]["loss-random"]["loss"]) for each in queues(box)]
            assert kinds == [("netem", 0.5)] * 2
    else:
        with pytest.raises(Unsupported, match=r"no queue discipline netem.*CONFIG_NET_SCH_NETEM"):
            app.impair("box", **asked)
    assert queues(box) == []
    with app.impair("box", rate=5000):  # nothing of it is left in the way
        assert len(queues(box)) == 2


def test_a_disconnected_container_has_no_carrier_until_it_is_plugged_in(app: pc.Network, pair: Pair) -> None:
    box, peer = pair
    address = box.ip
    assert reaches(box, "peer")
    with box.disconnect():
        assert box.exec(CARRIER).text == "0\n"
        assert not reaches(box, "peer", attempts=1)
        assert not reaches(peer, "box", attempts=1)
        assert (box.ip, box.networks) == (address, [app])
    assert box.exec(CARRIER).text == "1\n"
    assert reaches(box, "peer")
    assert reaches(peer, "box")


def test_one_of_several_networks_is_pulled(engine: pc.Engine, app: pc.Network, pair: Pair) -> None:
    box, _ = pair
    with pc.Network.create("back", engine=engine) as back:
        back.connect(box)
        with box.disconnect(back):
            assert box.exec(CARRIER).text == "1\n"
            assert box.exec(["cat", "/sys/class/net/eth1/carrier"]).text == "0\n"
        back.disconnect(box)


def test_what_a_link_suffers_it_suffers_after_a_restart_too(
    app: pc.Network, engine: pc.Engine, busybox: pc.Image
) -> None:
    box = pc.Container.create(busybox, SLEEP, network="app", engine=engine)
    try:
        with app.impair(box, rate=100_000), box.disconnect():
            for start in (box.start, lambda: box.restart(timeout=0)):
                start()
                assert len(queues(box)) == 2
                assert box.exec(CARRIER).text == "0\n"
        assert queues(box) == []
        assert box.exec(CARRIER).text == "1\n"
    finally:
        box.remove(force=True)


IMPAIRER = """
import os, signal, sys
import pycontainer as pc
engine = pc.Engine(sys.argv[1])
pc.Network.get("app", engine=engine).impair("box", rate=5000)
pc.Container.get("box", engine=engine).disconnect()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_made_worse_is_healed_by_the_next(engine: pc.Engine, pair: Pair) -> None:
    box, _ = pair
    killed = subprocess.run([sys.executable, "-c", IMPAIRER, engine.root], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(queues(box)) == 2
    assert not reaches(box, "peer", attempts=1)
    with pc.Engine(engine.root) as another:
        another.store.state.networks.list()
        assert queues(box) == []
        assert reaches(box, "peer")


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({}, "give latency, loss or rate"),
        ({"loss": 1.5}, "from 0 to 1"),
        ({"loss": -0.1}, "from 0 to 1"),
        ({"rate": 0}, "1 at least"),
        ({"rate": "fast"}, "give bytes"),
        ({"latency": "soon"}, "latency='soon'"),
        ({"latency": -1}, "latency=-1"),
        ({"latency": 0.01, "jitter": 0.02}, "more than latency"),
    ],
)
def test_what_is_no_impairment_is_refused(
    app: pc.Network, pair: Pair, asked: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidOption, match=complaint):
        app.impair("box", **asked)
    assert queues(pair[0]) == []


def test_links_that_are_not_there_are_not_impaired(
    app: pc.Network, engine: pc.Engine, busybox: pc.Image
) -> None:
    with pc.Container(busybox, SLEEP, name="far", engine=engine) as far:
        with pytest.raises(NotFound, match="not on network app"):
            app.impair(far, rate=1000)
        with pytest.raises(NotFound, match="not on any network"):
            far.disconnect()
        with pytest.raises(NotFound):
            app.impair("nobody", rate=1000)
    assert os.listdir(engine.store.root / "networks" / app.id).count("faults") == 0
