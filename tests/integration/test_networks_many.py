"""Networks under many hands: several processes and stores at once, many changes, and what the oracle sees."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ipaddress import ip_network
from itertools import combinations
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.engine import networks, restoring
from pycontainer.errors import AlreadyExists, InUse, KernelError, NotFound
from pycontainer.kernel import nfnetlink
from pycontainer.launcher import status
from pycontainer.network import links
from pycontainer.testing.leaks import Snapshot
from tests.support import stores
from tests.support.needs import needs

pytestmark = needs("root", "overlay", "nft")

_PREAMBLE = """
import json, sys
import pycontainer as pc
engine = pc.Engine(sys.argv[1])
engine.store
print("ready", flush=True)
sys.stdin.readline()
"""


def _at_once(script: str, *arguments: list[str]) -> list[list[str]]:
    """Run a script in as many processes, begun together; each prints a JSON list of texts."""
    with ExitStack() as stack:
        running = []
        for given in arguments:
            process = subprocess.Popen(
                [sys.executable, "-c", _PREAMBLE + script, *given],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            stack.callback(process.kill)
            running.append(process)
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        found = []
        for process in running:
            out, _ = process.communicate(timeout=120)
            assert process.returncode == 0
            found.append(json.loads(out))
        return found


def _overlapping(subnets: list[str]) -> list[tuple[str, str]]:
    networks = [ip_network(each) for each in subnets]
    return [
        (str(a), str(b)) for a, b in combinations(networks, 2) if a.version == b.version and a.overlaps(b)
    ]


_MAKE = """
made = [pc.Network.create(f"{sys.argv[2]}-{number}", engine=engine) for number in range(4)]
print(json.dumps([each.subnets[0] for each in made]))
engine.close()
"""


def _remove_all(engine: pc.Engine) -> None:
    for network in pc.Network.list(engine=engine):
        if network.name != "bridge":
            network.remove()


def test_processes_with_one_store_choose_other_subnets(engine: pc.Engine) -> None:
    root = str(engine.root)
    found = _at_once(_MAKE, [root, "a"], [root, "b"], [root, "c"])
    try:
        subnets = [subnet for each in found for subnet in each]
        assert len(subnets) == 12
        assert _overlapping(subnets) == []
        assert sorted(
            network.name for network in pc.Network.list(engine=engine) if network.name != "bridge"
        ) == [f"{letter}-{number}" for letter in "abc" for number in range(4)]
    finally:
        _remove_all(engine)


def test_stores_of_one_host_choose_other_subnets(tmp_path: Path) -> None:
    roots = [tmp_path / name for name in ("one", "two", "three")]
    found = _at_once(_MAKE, *([str(root), "net"] for root in roots))
    try:
        assert _overlapping([subnet for each in found for subnet in each]) == []
    finally:
        for root in roots:
            with pc.Engine(root) as engine:
                _remove_all(engine)


def test_one_name_is_given_to_one_process_alone(engine: pc.Engine) -> None:
    script = """
from pycontainer.errors import AlreadyExists
try:
    found = [pc.Network.create("only", engine=engine).id]
except AlreadyExists:
    found = []
print(json.dumps(found))
engine.close()
"""
    found = _at_once(script, *([str(engine.root)] for _ in range(3)))
    made = [network_id for each in found for network_id in each]
    network = pc.Network.get("only", engine=engine)
    assert made == [network.id]
    network.remove()


def test_processes_give_their_containers_other_addresses(engine: pc.Engine, busybox: pc.Image) -> None:
    network = pc.Network.create("many", subnet="10.231.7.0/26", engine=engine)
    script = """
made = [pc.Container.create("busybox", ["true"], network="many", engine=engine) for number in range(10)]
print(json.dumps([each.ip for each in made]))
engine.close()
"""
    try:
        found = _at_once(script, *([str(engine.root)] for _ in range(3)))
        addresses = [address for each in found for address in each]
        assert len(addresses) == len(set(addresses)) == 30
    finally:
        for container in network.containers:
            container.remove()
        network.remove()


@pytest.fixture
def network(engine: pc.Engine) -> Iterator[pc.Network]:
    made = pc.Network.create("net", engine=engine)
    yield made
    for container in made.containers:
        container.remove(force=True)
    made.remove()


def test_an_address_is_not_given_to_the_next_container_at_once(
    network: pc.Network, engine: pc.Engine, busybox: pc.Image
) -> None:
    seen = []
    for _ in range(3):
        made = pc.Container.create(busybox, ["true"], network="net", engine=engine)
        seen.append(made.ip)
        made.remove()
    assert len(set(seen)) == 3


def test_addresses_come_round_again(engine: pc.Engine, busybox: pc.Image) -> None:
    made = pc.Network.create("small", subnet="10.231.8.0/29", engine=engine)
    seen = []
    for _ in range(10):
        container = pc.Container.create(busybox, ["true"], network="small", engine=engine)
        seen.append(container.ip)
        container.remove()
    made.remove()
    assert sorted(set(filter(None, seen))) == [f"10.231.8.{number}" for number in range(2, 7)]


def _held_by(pid: int) -> tuple[int, int]:
    """Descriptors and KiB of a process."""
    resident = next(
        int(line.split()[1])
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    )
    return len(os.listdir(f"/proc/{pid}/fd")), resident


def _ends(*networks: pc.Network) -> int:
    """How many links the bridges of networks have."""
    return sum(len(os.listdir(f"/sys/class/net/pc-{network.id[:10]}/brif")) for network in networks)


def _records(engine: pc.Engine) -> dict[str, int]:
    """What a store and its table hold of places: rows, notes of them, elements of sets."""
    table = nfnetlink.Table(f"pycontainer_{engine.store_tag}")
    listed = subprocess.run(
        ["nft", "list", "table", "inet", table.name], check=True, capture_output=True, text=True
    )
    return {
        "rules": nfnetlink.rule_count(table),
        "lines of the table": listed.stdout.count("\n"),
        "places": len(engine.store.state.endpoints.list()),
        "files": sum(len(files) for _, _, files in os.walk(engine.store.root / "networks")),
    }


def test_connecting_again_and_again_costs_nothing_that_stays(
    network: pc.Network, engine: pc.Engine, busybox: pc.Image
) -> None:
    other = pc.Network.create("other", engine=engine)
    box = pc.Container.create(busybox, ["sleep", "1000"], network="net", engine=engine)
    box.start()
    try:
        fields = status.read(str(box._directory))
        assert fields is not None
        monitor = fields["monitor_pid"]

        def change(count: int) -> None:
            for _ in range(count):
                other.connect(box)
                other.disconnect(box)

        change(10)
        own, theirs, ends = _held_by(os.getpid()), _held_by(monitor), _ends(network, other)
        records, inside = _records(engine), box.exec(["ip", "-o", "addr"]).text
        change(40)
        assert _held_by(monitor)[0] == theirs[0]
        assert _held_by(os.getpid())[0] <= own[0]
        assert _held_by(monitor)[1] - theirs[1] < 128
        assert _held_by(os.getpid())[1] - own[1] < 2048
        assert _ends(network, other) == ends == 1
        assert _records(engine) == records
        assert box.exec(["ip", "-o", "addr"]).text == inside
    finally:
        box.remove(force=True)
        other.remove()


def test_many_run_on_one_network_and_leave_nothing(
    network: pc.Network, engine: pc.Engine, busybox: pc.Image
) -> None:
    """A small version of benchmarks/load_networks.py, which runs 500."""
    table = nfnetlink.Table(f"pycontainer_{engine.store_tag}")
    other = pc.Network.create("other", engine=engine)
    pc.run(busybox, ["true"], network="net", engine=engine)
    rules, ends = nfnetlink.rule_count(table), _ends(network, other)
    boxes = [
        pc.Container.create(busybox, ["sleep", "1000"], name=f"box-{number}", network="net", engine=engine)
        for number in range(24)
    ]
    try:
        for box in boxes:
            box.start()
        assert len({box.ip for box in boxes}) == len(boxes)
        assert nfnetlink.rule_count(table) == rules
        for box in (boxes[0], boxes[-1]):
            for peer in ("box-0", "box-12", "box-23"):
                assert box.exec(["ping", "-c", "1", "-W", "10", peer]).exit_code == 0
        own = len(os.listdir("/proc/self/fd"))
        with ThreadPoolExecutor(4) as pool:
            for _ in range(2):
                list(pool.map(other.connect, boxes))
                assert len({box.ips["other"] for box in boxes}) == len(boxes)
                list(pool.map(other.disconnect, boxes))
        assert len(os.listdir("/proc/self/fd")) <= own
    finally:
        for box in boxes:
            box.remove(force=True)
    # One may be made ahead; the kernel takes links away when it comes to it.
    stores.await_condition(lambda: _ends(network, other) <= ends)
    assert nfnetlink.rule_count(table) == rules
    assert other.containers == []
    other.remove()


_FILL = """
import subprocess, sys
import pycontainer as pc
with pc.Engine(sys.argv[1]) as engine:
    network = pc.Network.create("full", engine=engine)
    bridge = f"pc-{network.id[:10]}"
    words = "link add v{0} type veth peer name w{0}\\nlink set v{0} master " + bridge + "\\n"
    batch = "".join(words.format(number) for number in range(1024))
    subprocess.run(["ip", "-force", "-batch", "-"], input=batch, text=True, capture_output=True)
    box = pc.Container.create("busybox", ["sleep", "1000"], network="full", engine=engine)
    try:
        box.start()
    except pc.errors.KernelError as error:
        print(error, box.state)
    box.remove(force=True)
    network.remove()
"""

_APART = """
mkdir "$1/groups" && mount --rbind /sys/fs/cgroup "$1/groups" && mount -t sysfs sysfs /sys &&
mount --rbind "$1/groups" /sys/fs/cgroup && umount --lazy "$1/groups" && ip link set lo up &&
exec "$2" -c "$3" "$1/store"
"""


def test_a_bridge_that_is_full_is_an_error_that_says_so(tmp_path: Path, busybox_layout: Path) -> None:
    """In a network namespace of its own, which takes a thousand links away at once."""
    with pc.Engine(tmp_path / "store") as engine:
        pc.Image.load(busybox_layout, engine=engine)[0].tag("busybox:latest")
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-ec", _APART, "sh", tmp_path, sys.executable, _FILL],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "room for 1023 containers; make another network created" in done.stdout, done.stderr


def test_a_network_goes_when_its_rules_are_gone_already(engine: pc.Engine) -> None:
    made = pc.Network.create("app", engine=engine)
    subprocess.run(["nft", "delete", "table", "inet", f"pycontainer_{engine.store_tag}"], check=True)
    made.remove()
    assert not os.path.exists(f"/sys/class/net/pc-{made.id[:10]}")


def test_the_oracle_sees_a_bridge_that_is_left(engine: pc.Engine) -> None:
    before = Snapshot.take([engine.root])
    made = pc.Network.create("left", engine=engine)
    try:
        bridge = f"pc-{made.id[:10]}"
        assert f"network link: {bridge}" in before.settle(0).appeared
    finally:
        made.remove()
    before.assert_unchanged()


@pytest.mark.parametrize("has_bridges", ["with its bridges", "without its bridges"])
def test_bridges_and_rules_of_a_store_that_was_deleted_go_when_another_one_makes_a_network(
    has_bridges: str, engine: pc.Engine, tmp_path: Path
) -> None:
    with pc.Engine(tmp_path / "store") as other:
        gone = [pc.Network.create(name, engine=other) for name in ("one", "two")]
        bridges, table = [f"pc-{each.id[:10]}" for each in gone], f"pycontainer_{other.store_tag}"
    shutil.rmtree(tmp_path / "store")
    assert set(bridges) <= set(os.listdir("/sys/class/net"))
    if has_bridges == "without its bridges":
        for bridge in bridges:
            subprocess.run(["ip", "link", "delete", bridge], check=True)
    pc.Network.create("new", engine=engine).remove()
    assert not set(bridges) & set(os.listdir("/sys/class/net"))
    assert nfnetlink.rule_count(nfnetlink.Table(table)) == 0


def test_what_monitors_make_rules_of_goes_with_the_last_network_and_when_nobody_s_it_is(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    for network in pc.Network.list(engine=engine):
        networks._remove(engine, network._record)
    left = [restoring.base_path(f"{secrets.token_hex(6)}"), restoring.STORES / f"{secrets.token_hex(6)}.new"]
    for each in left:
        each.write_text("{}")
    app = pc.Network.create("app", engine=engine)
    assert not any(each.exists() for each in left)
    one, two = (
        pc.Container.create(busybox, ["true"], name=name, network="app", engine=engine)
        for name in ("one", "two")
    )
    place = restoring.base_path(engine.store_tag)
    assert place.exists()
    cut = app.partition(one, two)
    for box in (one, two):
        box.remove()
    app.remove()
    cut.heal()  # writes down that nothing is cut any more
    assert not place.exists()
    assert nfnetlink.rule_count(nfnetlink.Table(f"pycontainer_{engine.store_tag}")) == 0


def test_a_link_that_cannot_be_deleted_is_no_link_that_is_gone(
    engine: pc.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pc.Network.create("app", engine=engine)
    bridge, record = f"pc-{made.id[:10]}", made._record
    message = links._link_message(b"", kind=17)  # RTM_DELLINK that names none: EINVAL
    with monkeypatch.context() as patch:
        patch.setattr(links.Route, "delete_link", lambda route, name: route._queue.append((name, message)))
        with pytest.raises(KernelError):
            made.remove()
    assert bridge in os.listdir("/sys/class/net")
    with pytest.raises(NotFound):
        made.remove()
    with pc.Engine(engine.root) as other:  # it finds the network's files, and no row
        assert record.name not in [each.name for each in pc.Network.list(engine=other)]
    assert bridge not in os.listdir("/sys/class/net")


def test_a_link_of_somebody_else_is_no_bridge_of_ours(engine: pc.Engine) -> None:
    options = {"com.docker.network.bridge.name": "lo"}
    with pytest.raises(AlreadyExists, match="a link named lo already"):
        pc.Network.create("app", options=options, engine=engine)
    assert "app" not in [network.name for network in pc.Network.list(engine=engine)]


def test_a_network_goes_with_its_block(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Network.create("app", engine=engine) as made:
        box = pc.Container.create(busybox, ["true"], network=made, engine=engine)
        with pytest.raises(InUse, match="has containers"), made:
            pass
        box.remove()
    with pytest.raises(NotFound):
        pc.Network.get("app", engine=engine)
    made.__exit__(None)
