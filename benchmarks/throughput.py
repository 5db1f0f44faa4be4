"""What goes through a published port and between containers, beside docker's, in Gbit/s.

    python -m benchmarks.throughput [--rounds 5] [--seconds 2] [--path "::1"]

The same server (iperf3, from Debian) in a container each, asked in turns: from the host by 127.0.0.1, ::1
and an address of the host's, and from another container of its network; both ways. Everything happens in a
network namespace of this benchmark's own, dockerd with its firewall rules, too: nothing of the host's is
touched.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pycontainer as pc
from benchmarks import harness, peers
from pycontainer.kernel import namespaces
from tests.support import images

_PORT = 5201
_NETWORK = "bench-throughput"
_HOST = "10.211.0.1"
# Beside docker's own: containers of other programs in the engine's would share its part of the processors.
_GROUP = "/bench-throughput"
_SERVER = ["iperf3", "--server"]
_WAITS = ["sleep", "100000"]
_UP_S = 20.0

Measure = Callable[[int, bool], float]
"""Bits per second, in so many seconds; whether the server sends."""


def main() -> None:
    """Run the benchmark."""
    options = harness.arguments(__doc__, rounds=5, seconds=2, path="")
    if not peers.installed("iperf3", "ip"):
        raise SystemExit("iperf3 or ip is not installed: apt-get install iperf3 iproute2")
    _alone()
    with harness.scratch() as work, ExitStack() as stack:
        layout = _layout(work)
        rivals = {"pycontainer": _ours(stack, work, layout)}
        if shutil.which("dockerd"):
            rivals["docker"] = _docker(stack, work, layout)
        for path in (each for each in rivals["pycontainer"] if options.path in each):
            for is_back in (False, True):
                found: dict[str, list[float]] = {rival: [] for rival in rivals}
                for _ in range(options.rounds):
                    for rival, measures in rivals.items():
                        found[rival].append(measures[path](options.seconds, is_back))
                _tell(f"{path}, {'from' if is_back else 'to'} the container", found, as_json=options.json)


def _tell(title: str, found: dict[str, list[float]], *, as_json: bool) -> None:
    print(f"\n{title}")
    for rival, rates in found.items():
        middle, best = harness.percentile(rates, 0.5) / 1e9, max(rates) / 1e9
        print(f"  {rival:14} p50 {middle:6.2f} Gbit/s, best {best:6.2f}")
    if as_json:
        print(json.dumps({title: found}))


def _alone() -> None:
    """Go to a network namespace of our own, with a loopback and an address, and a /sys that shows it."""
    namespaces.leave(namespaces.NEWNET | namespaces.NEWNS)
    groups = Path(tempfile.mkdtemp(prefix="bench-"))
    harness.quiet("mount", "--make-rprivate", "/")
    harness.quiet("mount", "--rbind", "/sys/fs/cgroup", groups)
    harness.quiet("mount", "-t", "sysfs", "sysfs", "/sys")
    harness.quiet("mount", "--rbind", groups, "/sys/fs/cgroup")
    harness.quiet("umount", "--lazy", groups)
    groups.rmdir()
    for words in (
        "link set lo up",
        "link add bench0 type veth peer name bench1",
        f"address add {_HOST}/24 dev bench0",
        "link set bench0 up",
        "link set bench1 up",
    ):
        harness.quiet("ip", *words.split())


def _layout(work: Path) -> Path:
    """An image of busybox and iperf3 with its libraries."""
    rootfs = images.busybox_rootfs(work / "rootfs")
    program = shutil.which("iperf3")
    assert program is not None
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in (program, *re.findall(r"(/\S+) \(0x", told)):
        place = rootfs / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(os.path.realpath(path), place)
    return images.oci_layout(work / "layout", [images.tar_of(rootfs)])


# -- what is measured ----------------------------------------------------------------------------------


def _asked(command: list[str], seconds: int, is_back: bool) -> float:
    command = [*command, "--time", str(seconds), "--json", *(["--reverse"] if is_back else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout or "{}")
    if "error" in told or not told:
        raise RuntimeError(f"{' '.join(command)}: {told.get('error') or done.stderr}")
    rate: float = told["end"]["sum_received"]["bits_per_second"]
    return rate


def _by(address: str, port: int) -> Measure:
    command = ["iperf3", "--client", address, "--port", str(port)]
    _await(address, port)
    return lambda seconds, is_back: _asked(command, seconds, is_back)


def _await(address: str, port: int) -> None:
    """Wait until something answers."""
    deadline = time.monotonic() + _UP_S
    while True:
        try:
            with socket.create_connection((address, port), 1) as sock:
                sock.settimeout(0.2)
                try:
                    if sock.recv(1) == b"":
                        raise ConnectionResetError("a proxy without a server behind it")
                except TimeoutError:
                    return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _published(places: dict[str, int]) -> list[str]:
    """The server's port at addresses of the host and ports there, in Docker's short form."""
    bracketed = {f"[{place}]" if ":" in place else place: port for place, port in places.items()}
    return [f"{place}:{port}:{_PORT}" for place, port in bracketed.items()]


def _ours(stack: ExitStack, work: Path, layout: Path) -> dict[str, Measure]:
    engine = stack.enter_context(pc.Engine(work / "store"))
    image = pc.Image.load(layout, engine=engine)[0]
    network = pc.Network.create(_NETWORK, engine=engine)
    stack.callback(network.remove)
    places = {"127.0.0.1": 5301, "::1": 5302, _HOST: 5303}
    server = pc.Container(
        image, _SERVER, name="server", network=_NETWORK, ports=_published(places), engine=engine,
        cgroup_parent=_GROUP,
    )  # fmt: skip
    stack.enter_context(server)
    client = pc.Container(image, _WAITS, network=_NETWORK, cgroup_parent=_GROUP, engine=engine)
    stack.enter_context(client)

    def between(seconds: int, is_back: bool) -> float:
        command = ["iperf3", "--client", "server", "--time", str(seconds), "--json"]
        done = client.exec([*command, *(["--reverse"] if is_back else [])], check=True)
        rate: float = json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]
        return rate

    by_place = {f"the host by {place}": _by(place, port) for place, port in places.items()}
    return {**by_place, "another container": between}


def _docker(stack: ExitStack, work: Path, layout: Path) -> dict[str, Measure]:
    command, _pid = stack.enter_context(peers.docker_daemon(work / "docker", has_network=True))
    archive = work / "image.tar"
    harness.quiet("skopeo", "copy", f"oci:{layout}:latest", f"docker-archive:{archive}:bench:1")
    harness.quiet(*command, "load", "-i", archive)
    harness.quiet(*command, "network", "create", _NETWORK)
    stack.callback(harness.quiet, *command, "network", "rm", _NETWORK)
    places = {"127.0.0.1": 15201, "::1": 15202, _HOST: 15203}
    published = [f"--publish={each}" for each in _published(places)]
    for name, words, program in (("server", published, _SERVER), ("client", [], _WAITS)):
        run = [*command, "run", "--detach", "--name", name, "--network", _NETWORK, *words]
        harness.quiet(*run, "bench:1", *program)
        stack.callback(harness.quiet, *command, "rm", "--force", name)
    inside = [*command, "exec", "client", "iperf3", "--client", "server"]
    by_place = {f"the host by {place}": _by(place, port) for place, port in places.items()}
    return {**by_place, "another container": lambda seconds, is_back: _asked(inside, seconds, is_back)}


if __name__ == "__main__":
    main()
