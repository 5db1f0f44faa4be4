"""A hundred megabytes of output through the log of a container, here and in the peers that are installed.

    python -m benchmarks.logs [--megabytes N] [--rounds N]

Each round lets `yes` write lines of 96 bytes, under each engine and log driver in turn, from the start of
the container to the end of its wait; and then reads the whole log back. What is read back is counted.
podman takes part where crun does: not where version 1 controllers are mounted beside the unified
hierarchy, which `unshare -m sh -c "umount /sys/fs/cgroup/unified; python -m benchmarks.logs"` hides.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pycontainer as pc
from benchmarks import harness, peers
from tests.support import images

LINE = "2026-01-31 12:00:00 INFO  request 0123456789 served in 12.3 ms from cache <node-7> & logged: ok"
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
"""podman cannot raise them on every machine."""


class Rival:
    """A container of one engine that writes and whose log is read; made anew for each round."""

    def __init__(self, make: Callable[[], None], write: Callable[[], None], read: Callable[[], int]) -> None:
        self.make = make
        self.write = write
        self.read = read


def ours(engine: pc.Engine, image: pc.Image, driver: Literal["local", "json-file"], script: str) -> Rival:
    """A container of this engine."""
    made: list[pc.Container] = []

    def make() -> None:
        for old in made:
            old.remove()
        options = {"max-size": "1g"}
        made[:] = [
            pc.Container.create(
                image, ["sh", "-c", script], log_driver=driver, log_opts=options, engine=engine
            )
        ]

    def write() -> None:
        made[0].start()
        made[0].wait(600)

    return Rival(make, write, lambda: len(made[0].logs().read()))


def theirs(command: list[str], driver: str, script: str) -> Rival:
    """A container of a peer, by its command line."""
    name = f"bench-{driver}"

    def make() -> None:
        subprocess.run([*command, "rm", "-f", name], capture_output=True, check=False)
        harness.quiet(
            *command, "create", "--name", name, "--network", "none", "--log-driver", driver, *LIMITS,
            "busybox:latest", "sh", "-c", script,
        )  # fmt: skip

    def write() -> None:
        harness.quiet(*command, "start", name)
        harness.quiet(*command, "wait", name)

    def read() -> int:
        with subprocess.Popen([*command, "logs", name], stdout=subprocess.PIPE) as process:
            total = 0
            while process.stdout is not None and (chunk := process.stdout.read(1 << 20)):
                total += len(chunk)
            return total

    return Rival(make, write, read)


def main() -> None:
    """Run and report."""
    chosen = harness.arguments(__doc__, megabytes=100, rounds=5)
    size = chosen.megabytes << 20
    script = f"yes '{LINE}' | head -c {size}"
    with harness.scratch() as scratch, ExitStack() as stack:
        rootfs = images.busybox_rootfs(scratch / "rootfs")
        layout = images.oci_layout(scratch / "layout", [images.tar_of(rootfs)])
        engine = stack.enter_context(pc.Engine(scratch / "store"))
        image = pc.Image.load(layout, engine=engine)[0].tag("busybox:latest")
        drivers: tuple[Literal["local", "json-file"], ...] = ("local", "json-file")
        rivals = {f"pycontainer {driver}": ours(engine, image, driver, script) for driver in drivers}
        archive = Path(scratch / "busybox.tar")
        image.save(archive)
        if peers.installed("dockerd", "docker"):
            docker, _ = stack.enter_context(peers.docker_daemon(scratch / "docker"))
            harness.quiet(*docker, "load", "-i", archive)
            rivals |= {f"docker {driver}": theirs(docker, driver, script) for driver in drivers}
        if peers.installed("podman") and not peers.cgroup_is_hybrid():
            podman = peers.podman(scratch / "podman")
            harness.quiet(*podman, "load", "-i", archive)
            rivals["podman k8s-file"] = theirs(podman, "k8s-file", script)
        writing: dict[str, list[float]] = {name: [] for name in rivals}
        reading: dict[str, list[float]] = {name: [] for name in rivals}
        counted: dict[str, set[int]] = {name: set() for name in rivals}
        for _ in range(chosen.rounds):
            for name, rival in rivals.items():
                rival.make()
                writing[name].append(harness.timed(rival.write))
                begun = time.perf_counter()
                counted[name].add(rival.read())
                reading[name].append(time.perf_counter() - begun)
        title = f"{chosen.megabytes} MB of lines of {len(LINE) + 1} bytes"
        harness.report(f"{title}, written", writing, as_json=chosen.json)
        harness.report(f"{title}, read back", reading, as_json=chosen.json)
        for name, sizes in counted.items():
            print(f"  {name:28} read back {sorted(sizes)} of {size} bytes")
        for rival in rivals.values():
            rival.make()


if __name__ == "__main__":
    main()
