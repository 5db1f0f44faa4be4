"""Networks beside those of a Docker daemon, in a network namespace of both: who reaches whom, and by what.

Docker forwards nothing that it does not know. It knows what comes to its containers by a published port, and
whom these answer; what containers of others send to other hosts it drops, and the doctor tells the remedy.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from tests.support import peers
from tests.support.peers import Docker

pytestmark = [
    pytest.mark.needs("root", "overlay", "nft", "dockerd", "containerd", "nsenter", "iptables-save", "ip"),
    pytest.mark.timeout(180),
]

HOST, OUTSIDE = "198.51.100.1", "198.51.100.2"
THEIRS, OURS = 8081, 8082

# A container of ours with a published port, while Docker's "theirs" has one; told on stdout as JSON.
SCRIPT = """
import json, subprocess, sys
import pycontainer as pc
from pycontainer.network import forward_finding
store, layout, docker, theirs, theirs_address = sys.argv[1:6]
host, outside = "198.51.100.1", "198.51.100.2"
def fetch(address, port):
    return f"printf 'GET /name HTTP/1.0\\\\r\\\\n\\\\r\\\\n' | nc -w 2 {address} {port} | tail -n 1"
def told(command):
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()
def by_docker(*words):
    return told([*json.loads(docker), "exec", theirs, *words])
def from_outside(port):
    return told(["nsenter", "--net=/run/outside", "busybox", "sh", "-c", fetch(host, port)])
serve = ["sh", "-c", "echo ours >name; httpd -p 88; exec httpd -f -p 80"]
with pc.Engine(store) as engine:
    image = pc.Image.load(layout, engine=engine)[0]
    with pc.Network.create("app", engine=engine), pc.Container(
        image, serve, network="app", ports={80: ("0.0.0.0", 8082)}, wait=pc.wait.port(80), engine=engine
    ) as box:
        def ours(*words):
            return box.exec(["sh", "-c", fetch(*words)]).text.strip()
        seen = {
            "host to ours": told(["busybox", "sh", "-c", fetch("127.0.0.1", 8082)]),
            "host to theirs": told(["busybox", "sh", "-c", fetch("127.0.0.1", 8081)]),
            "ours to theirs": ours(host, 8081),
            "theirs to ours": by_docker("sh", "-c", fetch(host, 8082)),
            "ours to theirs, unpublished": ours(theirs_address, 88),
            "theirs to ours, unpublished": by_docker("sh", "-c", fetch(box.ip, 88)),
            "outside to theirs": from_outside(8081),
            "subnet": box.ip,
        }
        found = forward_finding()
        seen["before"] = {"is_ok": found.is_ok, "detail": found.detail, "remedy": found.remedy,
                          "to ours": from_outside(8082), "to outside": ours(outside, 80)}
        subprocess.run(["sh", "-c", found.remedy], check=True)
        found = forward_finding()
        seen["after"] = {"is_ok": found.is_ok, "to ours": from_outside(8082), "to outside": ours(outside, 80),
                         "unpublished": [ours(theirs_address, 88), by_docker("sh", "-c", fetch(box.ip, 88))]}
        undo = found.remedy or seen["before"]["remedy"]
        subprocess.run(["sh", "-c", undo.replace(" -I ", " -D ")], check=True)
print(json.dumps(seen))
"""
PLACE = f"""
set -e
echo 0 >/proc/sys/net/ipv4/ip_forward  # for it is when it turns this on that Docker shuts off the rest
touch /run/outside
unshare --net=/run/outside true
ip link add out0 type veth peer name eth0 netns /run/outside
ip addr add {HOST}/24 dev out0
ip link set out0 up
ip route add default via {OUTSIDE} dev out0
nsenter --net=/run/outside sh -c '
ip link set lo up; ip addr add {OUTSIDE}/24 dev eth0; ip link set eth0 up; ip route add default via {HOST}'
"""


@pytest.fixture(scope="module")
def docker(busybox_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    archive = tmp_path_factory.mktemp("image") / "busybox.tar"
    with pc.Engine(tmp_path_factory.mktemp("engine") / "store") as engine:
        image = pc.Image.load(busybox_layout, engine=engine)[0].tag("busybox:latest")
        image.save(archive, format="docker-archive")
    options = ("--bridge=", "--iptables=true")
    with peers.namespace(has_own_network=True) as space:
        space.run("sh", "-c", PLACE)
        with peers.docker(space, *options) as made:
            made("load", "--input", archive)
            yield made
        space.run("umount", "/run/outside")


def rules_of(docker: Docker) -> list[str]:
    """Docker's rules, and whoever else's it finds in the tables of iptables, without counters."""
    saved = docker.space.run("iptables-save").decode()
    return [re.sub(r"\[\d+:\d+\]", "", line) for line in saved.splitlines() if not line.startswith("#")]


@pytest.fixture(scope="module")
def seen(docker: Docker, busybox_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    work = tmp_path_factory.mktemp("beside")
    serve = "echo theirs >name; httpd -p 88; exec httpd -f -p 80"
    docker(
        "run",
        "--detach",
        "--name",
        "theirs",
        "--publish",
        f"{THEIRS}:80",
        "busybox:latest",
        "sh",
        "-c",
        serve,
    )
    shown = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", "theirs").decode().strip()
    client = ["docker", "--config", str(docker.home / "client"), "--host", docker.host]
    page = "mkdir -p /run/www; echo outside >/run/www/name; exec busybox httpd -f -p 80 -h /run/www"
    server = ["--net=/run/outside", "sh", "-c", page]
    before = rules_of(docker)
    with subprocess.Popen(docker.space.enter("nsenter", *server)) as outside:
        try:
            arguments = [work / "store", busybox_layout, json.dumps(client), "theirs", shown]
            told = docker.space.run(sys.executable, "-c", SCRIPT, *arguments, timeout_s=120)
        finally:
            outside.kill()
    result = json.loads(told)
    result["docker's rules are untouched"] = rules_of(docker) == before
    result["left"] = docker.space.run("nft", "list", "tables").decode()
    result["theirs address"] = shown
    yield result
    docker("rm", "--force", "theirs")


def test_each_reaches_what_the_other_publishes(seen: Any) -> None:
    assert seen["host to ours"] == "ours"
    assert seen["host to theirs"] == "theirs"
    assert seen["ours to theirs"] == "theirs"
    assert seen["theirs to ours"] == "ours"
    assert seen["outside to theirs"] == "theirs"


def test_neither_reaches_what_is_not_published(seen: Any) -> None:
    assert seen["ours to theirs, unpublished"] == ""
    assert seen["theirs to ours, unpublished"] == ""
    assert seen["after"]["unpublished"] == ["", ""]


def test_what_docker_drops_the_doctor_finds_and_its_remedy_lets_through(seen: Any) -> None:
    before, after = seen["before"], seen["after"]
    assert before["is_ok"] is False
    assert "table ip filter, chain FORWARD" in before["detail"]
    assert "iptables -I DOCKER-USER -i pc+ -o out0 -j ACCEPT" in before["remedy"]
    assert (before["to ours"], before["to outside"]) == ("", "")
    assert after["is_ok"] is True
    assert (after["to ours"], after["to outside"]) == ("ours", "outside")


def test_nothing_of_dockers_is_touched_and_no_subnet_is_shared(seen: Any) -> None:
    assert seen["docker's rules are untouched"]
    assert "pycontainer" not in seen["left"]
    assert seen["subnet"].rsplit(".", 2)[0] != seen["theirs address"].rsplit(".", 2)[0]
