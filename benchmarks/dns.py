"""Questions to the name server of a container, beside docker's: answers per second, and how long one takes.

    python -m benchmarks.dns [--questions 5000] [--window 32]

Each has a container that asks for the name of another one on its network, and for a name that a server of
this benchmark's knows, in a process of its own. The client's sockets are made in the container's network
namespace. One question after the other first; then so many under way at once.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pycontainer as pc
from benchmarks import harness, peers
from pycontainer.engine import naming, networking
from tests.support import dns, images

_WAITS = ["sleep", "100000"]
_FOREIGN = "www.example.com"
_NETWORK = "bench-dns"
Client = Callable[[], socket.socket]

_UPSTREAM = """
import socket, sys
from tests.support import dns
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
sock.bind(("127.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
while True:
    query, client = sock.recvfrom(4096)
    sock.sendto(dns.reply(query, (dns.A, b"1234")), client)
"""


@contextmanager
def _upstream() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-c", _UPSTREAM], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


def _inside(engine: pc.Engine, pid: int) -> Client:
    """Sockets of the network namespace of a process, connected to the name server there."""

    def made() -> socket.socket:
        process = os.pidfd_open(pid)
        try:
            params = {"families": ["ipv4"], "protocol": "udp"}
            with engine.helper.submit("open_sockets", params, [process]) as job:
                job.receive(30)
                client = socket.socket(fileno=job.take_fds()[0])
        finally:
            os.close(process)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        client.settimeout(5)
        client.connect(("127.0.0.11", 53))
        return client

    return made


def _one_by_one(client: Client, name: str, count: int) -> list[float]:
    query = dns.question(name)
    times = []
    with client() as sock:
        for _ in range(count):
            begun = time.perf_counter()
            sock.send(query)
            answer = sock.recv(4096)
            times.append(time.perf_counter() - begun)
        assert dns.addresses(answer), f"{name} has no address"
    return times


def _many(client: Client, name: str, count: int, window: int) -> float:
    """Answers per second with so many questions under way."""
    packets = [dns.question(name, number=number) for number in range(window)]
    with client() as sock:
        begun = time.perf_counter()
        for packet in packets:
            sock.send(packet)
        for number in range(count):
            sock.recv(4096)
            sock.send(packets[number % window])
        return count / (time.perf_counter() - begun)


def _ours(stack: ExitStack, engine: pc.Engine, image: pc.Image, server: str) -> Client:
    network = pc.Network.create(_NETWORK, engine=engine)
    stack.callback(network.remove)
    stack.enter_context(pc.Container(image, _WAITS, name="other", network=_NETWORK, engine=engine))
    asking = stack.enter_context(pc.Container(image, _WAITS, network=_NETWORK, engine=engine))
    # The option takes no port, and the server of this benchmark has one of its own.
    placed = networking.memberships(engine, asking.id)
    described = naming.described(engine, asking._current, asking._options, placed)
    assert described is not None
    naming.change(asking, described | {"servers": [server]}, {})
    return _inside(engine, int(asking.pid or 0))


def _docker(stack: ExitStack, engine: pc.Engine, work: Path, layout: Path) -> Client:
    command, _pid = stack.enter_context(peers.docker_daemon(work / "docker"))
    archive = work / "image.tar"
    harness.quiet("skopeo", "copy", f"oci:{layout}:latest", f"docker-archive:{archive}:bench:1")
    harness.quiet(*command, "load", "-i", archive)
    harness.quiet(*command, "network", "create", _NETWORK)
    stack.callback(harness.quiet, *command, "network", "rm", _NETWORK)
    for name in ("other", "box"):
        harness.quiet(*command, "run", "--detach", "--name", name, "--network", _NETWORK, "bench:1", *_WAITS)
        stack.callback(harness.quiet, *command, "rm", "--force", name)
    found = subprocess.run(
        [*command, "inspect", "--format", "{{.State.Pid}}", "box"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return _inside(engine, int(found.stdout))


def main() -> None:
    """Run the benchmark."""
    options = harness.arguments(__doc__, questions=5000, window=32)
    with harness.scratch() as work, ExitStack() as stack:
        engine = stack.enter_context(pc.Engine(work / "store"))
        layout = images.oci_layout(work / "layout", [images.tar_of(images.busybox_rootfs(work / "rootfs"))])
        image = pc.Image.load(layout, engine=engine)[0].tag("busybox:1")
        ours = _ours(stack, engine, image, stack.enter_context(_upstream()))
        rivals = {"pycontainer": ours}
        if shutil.which("dockerd"):
            rivals["docker"] = _docker(stack, engine, work, layout)
        times = {rival: _one_by_one(client, "other", options.questions) for rival, client in rivals.items()}
        harness.report("the name of a container, one by one", times, as_json=options.json)
        for rival, client in rivals.items():
            rate = _many(client, "other", 4 * options.questions, options.window)
            print(f"  {rival}: {rate:,.0f} answers/s, {options.window} under way")
        foreign = {"pycontainer": _one_by_one(ours, _FOREIGN, options.questions)}
        harness.report("a name that another server knows, one by one", foreign, as_json=options.json)
        print(f"  pycontainer: {_many(ours, _FOREIGN, options.questions, options.window):,.0f} answers/s")


if __name__ == "__main__":
    main()
