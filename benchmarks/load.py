"""Many containers at once, and many one after the other: figures, and what they leave behind.

    python -m benchmarks.load [--containers 200] [--cycles 1000]

First so many containers run at once: how long they take to start, to be looked at, and to be removed. Then
one container is started and stopped so many times; the private memory and open descriptors of this process
and of the helper, the store's mounts, and the cgroups and processes of the host are taken at tenths of the
way, and the slope over the second half is printed: what a cycle leaves behind.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

import pycontainer as pc
from benchmarks import harness
from tests.support import images


class Held(NamedTuple):
    """What this process, its helper and the host hold."""

    caller_kib: int
    helper_kib: int
    caller_fds: int
    helper_fds: int
    mounts: int
    cgroups: int
    processes: int

    @classmethod
    def take(cls, engine: pc.Engine) -> Held:
        """As it is now."""
        helper = engine.helper.pid
        assert helper is not None
        return cls(
            caller_kib=harness.memory(os.getpid(), "Private_Clean", "Private_Dirty") >> 10,
            helper_kib=harness.memory(helper, "Private_Clean", "Private_Dirty") >> 10,
            caller_fds=len(os.listdir("/proc/self/fd")),
            helper_fds=len(os.listdir(f"/proc/{helper}/fd")),
            # Those that say so: others on the host come and go.
            mounts=Path("/proc/self/mountinfo").read_text().count(f"{engine.root}/"),
            cgroups=sum(int(line.split()[2]) for line in Path("/proc/cgroups").read_text().splitlines()[1:]),
            processes=sum(name.isdigit() for name in os.listdir("/proc")),
        )


def main() -> None:
    options = harness.arguments(__doc__, containers=200, cycles=1000)
    with harness.scratch() as work, pc.Engine(work / "store") as engine:
        rootfs = images.busybox_rootfs(work / "rootfs")
        image = pc.Image.load(images.oci_layout(work / "layout", [images.tar_of(rootfs)]), engine=engine)[0]
        _at_once(engine, image, options.containers)
        _one_after_the_other(engine, image, options.cycles)


def _at_once(engine: pc.Engine, image: pc.Image, count: int) -> None:
    containers = [pc.Container.create(image, ["sleep", "3600"], engine=engine) for _ in range(count)]
    begun = time.perf_counter()
    for container in containers:
        container.start()
    started_s = time.perf_counter() - begun
    begun = time.perf_counter()
    running = sum(container.state == "running" for container in containers)
    looked_s = time.perf_counter() - begun
    begun = time.perf_counter()
    for container in containers:
        container.pause()
    paused_s = time.perf_counter() - begun
    begun = time.perf_counter()
    for container in containers:
        container.remove(force=True)
    removed_s = time.perf_counter() - begun
    print(f"\n{running} of {count} containers run at once")
    for what, took_s in (
        ("started", started_s),
        ("state read", looked_s),
        ("paused", paused_s),
        ("removed", removed_s),
    ):
        print(f"  {what}: {took_s:.2f} s, {took_s / count * 1000:.2f} ms each")


def _one_after_the_other(engine: pc.Engine, image: pc.Image, count: int) -> None:
    container = pc.Container.create(image, ["sleep", "3600"], engine=engine)
    samples: list[tuple[int, Held]] = []
    took: list[float] = []
    for number in range(1, count + 1):
        begun = time.perf_counter()
        container.start()
        container.stop(timeout=0)
        took.append(time.perf_counter() - begun)
        if number % max(1, count // 10) == 0:
            samples.append((number, Held.take(engine)))
    container.remove()
    print(f"\n{count} times start and stop: p50 {harness.percentile(took, 0.5) * 1000:.2f} ms")
    (first_number, first), (last_number, last) = samples[len(samples) // 2 - 1], samples[-1]
    for name, before, after in zip(Held._fields, first, last, strict=True):
        slope = (after - before) / max(1, last_number - first_number)
        print(f"  {name}: {samples[0][1]._asdict()[name]} -> {before} -> {after}; {slope:+.3f} a cycle")


if __name__ == "__main__":
    main()
