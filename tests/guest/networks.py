"""Looks, inside the virtual machine, at networks with what its kernel has and the host's may lack."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import pycontainer as pc

_SLEEP = ["sleep", "1000"]
_SCTP_SERVER = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132) as server:
    server.bind(("0.0.0.0", 3868))
    server.listen()
    print("ready", flush=True)
    client, sender = server.accept()
    client.sendall(b"of the container")
    client.recv(1)
"""


def _ping(box: pc.Container, name: str, count: int = 5) -> dict[str, Any]:
    """Exit code, and the round trips in milliseconds."""
    done = box.exec(["ping", "-c", str(count), "-W", "2", name])
    times = [float(line.split("time=")[1].split()[0]) for line in done.text.splitlines() if "time=" in line]
    return {"exit_code": done.exit_code, "ms": times}


def _pair(image: pc.Image, stack: ExitStack, **options: Any) -> tuple[pc.Container, pc.Container]:
    network = stack.enter_context(pc.Network.create("app", **options))
    one, two = (
        stack.enter_context(pc.Container(image, _SLEEP, name=name, network=network))
        for name in ("one", "two")
    )
    return one, two


def _impaired(image: pc.Image) -> dict[str, Any]:
    with ExitStack() as stack:
        one, _ = _pair(image, stack)
        app = pc.Network.get("app")
        seen: dict[str, Any] = {"before": _ping(one, "two")}
        with app.impair(one, latency="150ms", jitter="10ms"):
            seen["late"] = _ping(one, "two")
        with app.impair("two", loss=1.0):
            seen["lost"] = _ping(one, "two", 2)
        with app.impair("two", latency="100ms", rate="1m"):
            seen["slow"] = _ping(one, "two")
        seen["after"] = _ping(one, "two")
        return seen


def _sctp(image: pc.Image) -> dict[str, Any]:
    import socket

    with pc.Container(image, _SLEEP, ports={"3868/sctp": None}) as box:
        inside = ["nsenter", f"--net=/proc/{box.pid}/ns/net", sys.executable, "-c", _SCTP_SERVER]
        with subprocess.Popen(inside, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as client:
                client.settimeout(20)
                client.connect(("127.0.0.1", box.ports["3868/sctp"].host_port))
                heard = client.recv(100).decode()
                client.sendall(b".")
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as other:
            try:
                other.bind(("127.0.0.1", box.ports["3868/sctp"].host_port))
                is_held = False
            except OSError:
                is_held = True
        return {"heard": heard, "is_held": is_held}


def _beside(image: pc.Image, driver: str, parent: str, **words: str) -> dict[str, Any]:
    with ExitStack() as stack:
        options = {"parent": parent, **words}
        one, two = _pair(image, stack, driver=driver, subnet="10.232.5.0/24", options=options)
        seen = {
            "reached": _ping(one, two.ip or "", 1)["exit_code"],
            "links": sorted(os.listdir("/sys/class/net")),
            "macs": len({box.exec(["cat", "/sys/class/net/eth0/address"]).text for box in (one, two)}),
        }
    return {**seen, "left": sorted(os.listdir("/sys/class/net"))}


def checks(image: pc.Image) -> Mapping[str, Callable[[], Any]]:
    """What to look at, by name."""
    return {
        "impaired": lambda: _impaired(image),
        "sctp": lambda: _sctp(image),
        "ipvlan": lambda: _beside(image, "ipvlan", "out0"),
        "ipvlan l3": lambda: _beside(image, "ipvlan", "out0", ipvlan_mode="l3"),
        "ipvlan l3s": lambda: _beside(image, "ipvlan", "out0", ipvlan_mode="l3s"),
        "ipvlan private": lambda: _beside(image, "ipvlan", "out0", ipvlan_flag="private"),
        "vlan": lambda: _beside(image, "macvlan", "out0.10"),
    }


def prepare() -> None:
    """Make what stands for the host's card."""
    subprocess.run(["ip", "link", "add", "out0", "type", "dummy"], check=True)
    subprocess.run(["ip", "link", "set", "out0", "up"], check=True)
