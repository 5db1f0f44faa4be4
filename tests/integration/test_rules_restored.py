"""Rules that another program has deleted: the monitors of the containers that run make them again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.engine import restoring
from pycontainer.kernel import nfnetlink
from tests.support.needs import needs

pytestmark = needs("root", "overlay", "nft", "unshare")

SERVE = ["sh", "-c", "echo of the container > index.html; exec httpd -f -p 80"]


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.01)


def listed(family: str, table: str) -> list[dict[str, dict[str, object]]]:
    """What is in a table, as nft has it; nothing when it is not there."""
    done = subprocess.run(["nft", "-j", "list", "table", family, table], capture_output=True, check=False)
    found: list[dict[str, dict[str, object]]] = json.loads(done.stdout)["nftables"] if done.stdout else []
    return found


def rules(family: str, table: str) -> int:
    return sum("rule" in each for each in listed(family, table))


def elements(family: str, table: str, name: str) -> list[object]:
    of_name = (each.get("set") or each.get("map") or {} for each in listed(family, table))
    found = next((each for each in of_name if each.get("name") == name), {}).get("elem", [])
    assert isinstance(found, list)
    return found


def fetch(address: str, port: int = 80) -> list[str]:
    return ["sh", "-c", f"printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc -w 1 {address} {port}"]


def test_networks_are_apart_again_when_their_rules_were_deleted(engine: pc.Engine, busybox: pc.Image) -> None:
    table = f"pycontainer_{engine.store_tag}"
    with ExitStack() as stack:
        for name in ("one", "two", "idle"):
            stack.enter_context(pc.Network.create(name, engine=engine))
        boxes = [
            stack.enter_context(
                pc.Container(
                    busybox, SERVE, network=name, ports={80: None}, engine=engine, wait=pc.wait.port(80)
                )
            )
            for name in ("one", "one", "two")
        ]
        whole = rules("inet", table)
        for statement in (f"delete table inet {table}", f"flush table inet {table}"):
            subprocess.run(["nft", *statement.split()], check=True)
            until(lambda: rules("inet", table) > whole and len(elements("inet", table, "ports4")) == 3)
            assert len(elements("inet", table, "bridges")) == 2
            assert boxes[2].ip
            assert boxes[0].exec(fetch(boxes[2].ip)).exit_code != 0
        # The next start makes those of networks, too, in which nothing runs.
        pc.run(busybox, ["true"], network="two", engine=engine)
        assert rules("inet", table) == whole
        assert len(elements("inet", table, "bridges")) >= 3
        assert len(elements("inet", table, "ports4")) == 3


def test_the_next_program_sees_what_was_deleted_since_the_last_one_has_looked(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    table = f"pycontainer_{engine.store_tag}"
    with pc.Network.create("kept", engine=engine):
        whole = rules("inet", table)
        # The second finds all as it was, and may leave word of that to those after it.
        for is_gone in (False, False, True, False):
            if is_gone:
                subprocess.run(["nft", "delete", "table", "inet", table], check=True)
            with pc.Engine(engine.root) as next_one:
                pc.run(busybox.id, ["true"], network="kept", engine=next_one)
            assert rules("inet", table) == whole


def test_a_word_of_whole_rules_counts_for_this_host_only(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Network.create("kept", engine=engine):
        bridge = str(engine.store.state.networks.find("kept").bridge)
        generation = nfnetlink.generation()
        restoring.write_base(engine)
        restoring.note_seen(engine.store_tag, generation)
        assert restoring.are_seen(engine.store_tag, generation)
        assert not restoring.are_seen(engine.store_tag, generation + 1)
        subprocess.run(["ip", "link", "delete", bridge], check=True)
        with pc.Engine(engine.root) as next_one:
            pc.run(busybox.id, ["true"], network="kept", engine=next_one)
        assert bridge in elements("inet", f"pycontainer_{engine.store_tag}", "bridges")
    assert not list(restoring.STORES.glob(f"{engine.store_tag}*"))


def test_nothing_is_noted_of_a_store_that_has_no_bridges() -> None:
    tag = "no-such-tag"
    restoring.note_seen(tag, 1)
    assert not restoring.are_seen(tag, 1)
    assert not list(restoring.STORES.glob(f"{tag}*"))


def test_what_a_container_may_not_reach_it_may_not_reach_again(engine: pc.Engine, busybox: pc.Image) -> None:
    table = f"pycontainer_{engine.store_tag}"
    with (
        pc.Network.create("shut", engine=engine),
        pc.Container(
            busybox, ["sleep", "100"], network="shut", egress_allow=["192.0.2.0/24"], engine=engine
        ) as box,
    ):
        guarded = rules("bridge", f"{table}_egress")
        assert guarded
        statements = f"delete table inet {table}\ndelete table bridge {table}_egress"
        subprocess.run(["nft", "-f", "-"], check=True, input=statements.encode())
        until(lambda: elements("bridge", f"{table}_egress", "guarded"))
        until(lambda: elements("inet", table, "restricted4") == [box.ip])
        assert len(elements("inet", table, "allowed4")) == 1
        assert rules("bridge", f"{table}_egress") > guarded
        # What is allowed now is not forbidden again.
        box.update(egress="allow")
        subprocess.run(["nft", "delete", "table", "inet", table], check=True)
        until(lambda: elements("inet", table, "bridges"))
        assert elements("inet", table, "restricted4") == []
        assert listed("bridge", f"{table}_egress") == []


def test_what_is_cut_off_for_a_test_stays_cut_off(engine: pc.Engine, busybox: pc.Image) -> None:
    table = f"pycontainer_{engine.store_tag}_cuts"
    with pc.Network.create("cut", engine=engine) as network, ExitStack() as stack:
        one, two = (
            stack.enter_context(pc.Container(busybox, ["sleep", "600"], network="cut", engine=engine))
            for _ in range(2)
        )
        ping = ["ping", "-c1", "-W1", two.name]
        with network.partition(one, two):
            before = listed("bridge", table)
            assert rules("bridge", table) == 2
            subprocess.run(["nft", "delete", "table", "bridge", table], check=True)
            until(lambda: rules("bridge", table) >= 2)
            assert elements("bridge", table, "pairs4") == next(
                each["set"]["elem"] for each in before if each.get("set", {}).get("name") == "pairs4"
            )
            assert one.exec(ping).exit_code != 0
        assert one.exec(ping).exit_code == 0
        assert listed("bridge", table) == []


def test_a_container_that_has_left_its_network_makes_no_rules(engine: pc.Engine, busybox: pc.Image) -> None:
    table = f"pycontainer_{engine.store_tag}"
    with (
        pc.Network.create("stays", engine=engine),
        pc.Container(busybox, ["sleep", "100"], network="stays", engine=engine) as other,
        pc.Network.create("left", engine=engine) as left,
        pc.Container(busybox, ["sleep", "100"], network="left", engine=engine) as box,
    ):
        assert len(elements("inet", table, "bridges")) >= 2
        left.disconnect(box)
        subprocess.run(["nft", "delete", "table", "inet", table], check=True)
        until(lambda: elements("inet", table, "bridges"))
        assert box.state == other.state == "running"
        left_bridge = f"pc-{left.id[:10]}"
        assert left_bridge not in elements("inet", table, "bridges")


def listens(process: int) -> bool:
    """Whether the kernel tells a process of changes of rules; see proc(5), /proc/net/netlink."""
    lines = (line.split() for line in Path("/proc/net/netlink").read_text().splitlines()[1:])
    listening = {f"socket:[{line[9]}]" for line in lines if line[1] == "12" and int(line[3], 16) & 0x40}
    held = set()
    for each in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            held.add(os.readlink(each))
    return not held.isdisjoint(listening)


def monitor_of(box: pc.Container) -> int:
    return int(json.loads((box._directory / "status.json").read_text())["monitor_pid"])


def test_only_monitors_of_containers_with_networks_listen(engine: pc.Engine, busybox: pc.Image) -> None:
    sleep = ["sleep", "100"]
    with (
        pc.Container(busybox, sleep, network="bridge", engine=engine) as one,
        pc.Container(busybox, sleep, engine=engine) as other,
    ):
        until(lambda: listens(monitor_of(one)))
        assert not listens(monitor_of(other))


# The links of /sys are those of the network it was mounted in; the cgroups stay.
APART = """
set -e
mkdir "$1/cgroup"
mount --rbind /sys/fs/cgroup "$1/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$1/cgroup" /sys/fs/cgroup
ip link set lo up
shift
exec "$@"
"""


# In a network of its own: there a program may flush everything. A container of another network is shut out by
# our rules alone: firewalld trusts all of these.
BESIDE_FIREWALLD = """
import subprocess, sys, time
from contextlib import ExitStack
from pathlib import Path
import pycontainer as pc
from pycontainer.engine import restoring
from pycontainer.kernel import nfnetlink
from tests.support.elsewhere import ask
from tests.support.firewalld import firewalld
store, layout, serve = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
with ExitStack() as stack:
    beside = stack.enter_context(firewalld(store.with_name("firewalld")))
    engine = stack.enter_context(pc.Engine(store))
    image = pc.Image.load(layout, engine=engine)[0]
    for name in ("app", "other"):
        stack.enter_context(pc.Network.create(name, engine=engine))
    def start(network, command, **options):
        box = pc.Container(image, command, network=network, engine=engine, **options)
        return stack.enter_context(box)
    web = start("app", serve, ports={80: None}, wait=pc.wait.port(80))
    near, stranger = (start(network, ["sleep", "600"]) for network in ("app", "other"))
    def reaches(box, timeout):
        try:
            box.connect(80, web.ip, timeout=timeout).close()
            return True
        except (OSError, pc.errors.DeadlineExceeded):
            return False
    def rules():
        found = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
        return f": {web.ip} . 80" in found and 'iifname @bridges jump from-bridge' in found
    def run(*command):
        subprocess.run(command, check=True, capture_output=True)
    for flush in (
        lambda: None, beside.reload, lambda: beside.reload(whole=True),
        lambda: [run("iptables", "-t", table, "-F") for table in ("filter", "nat", "raw")],
        lambda: run("nft", "flush", "ruleset"),
    ):
        flush()
        deadline = time.monotonic() + 30
        while not rules():
            assert time.monotonic() < deadline, "the rules did not come back"
            time.sleep(0.02)
        answer = ask("127.0.0.1", web.ports[80].host_port, limit_s=20)
        print(b"of the container" in answer, reaches(near, 20), reaches(stranger, 0.2))
print(subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout, end="")
"""


@pytest.mark.needs("firewalld", "dbus-daemon", "iptables")
def test_a_firewalld_that_reloads_and_flushes_of_others_leave_containers_reachable_and_apart(
    tmp_path: Path, busybox_layout: Path
) -> None:
    apart = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", APART, "sh", tmp_path]
    program = [sys.executable, "-c", BESIDE_FIREWALLD, tmp_path / "store", busybox_layout, *SERVE]
    done = subprocess.run(
        [*apart, *program],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout) == (0, "True True False\n" * 5), done.stderr


@pytest.mark.parametrize("told", [b"", b"\0" * 7, b"\xff" * 64])
def test_whatever_is_told_of_rules_is_read_to_its_end(told: bytes) -> None:
    from pycontainer.launcher.monitor.rules import _deleted_in

    assert _deleted_in(told) == set()
