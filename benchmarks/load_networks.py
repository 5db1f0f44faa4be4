"""Many containers on one network at once, and many changes of it: figures, and what they leave behind.

    python -m benchmarks.load_networks [--containers 500] [--changes 1000]

First so many containers run at once on one network: how long each takes to start, how much memory of its
own its monitor has, whether the first one reaches the last one by name, how long all take to be removed.
While they run, one after the other is connected to a second network and disconnected, so many times; what
this process, its helper, the monitors and the host hold is taken at tenths of the way, and the slope over
the second half is printed: what a change leaves behind. In the end all is compared with the beginning.
"""

from __future__ import annotations

import os
import time
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pycontainer as pc
from benchmarks import harness
from pycontainer.kernel import nfnetlink
from pycontainer.launcher import status
from tests.support import images

_WAITS = ["sleep", "100000"]


class Held(NamedTuple):
    """What is held by whom."""

    caller_kib: int
    helper_kib: int
    caller_fds: int
    helper_fds: int
    monitor_kib: int
    monitor_fds: int
    links: int
    ends: int
    rules: int
    leases: int
    mounts: int
    cgroups: int

    @classmethod
    def take(cls, engine: pc.Engine, networks: list[pc.Network], monitors: list[int]) -> Held:
        """As it is now. monitors: some, whose figures are added up."""
        helper = engine.helper.pid
        assert helper is not None
        kinds = ("Private_Clean", "Private_Dirty")
        return cls(
            caller_kib=harness.memory(os.getpid(), *kinds) >> 10,
            helper_kib=harness.memory(helper, *kinds) >> 10,
            caller_fds=len(os.listdir("/proc/self/fd")),
            helper_fds=len(os.listdir(f"/proc/{helper}/fd")),
            monitor_kib=sum(harness.memory(pid, *kinds) for pid in monitors) >> 10,
            monitor_fds=sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in monitors),
            links=len(os.listdir("/sys/class/net")),
            ends=sum(len(os.listdir(f"/sys/class/net/pc-{each.id[:10]}/brif")) for each in networks),
            rules=nfnetlink.rule_count(nfnetlink.Table(f"pycontainer_{engine.store_tag}")),
            leases=sum(len(each.containers) for each in networks),
            mounts=len(Path("/proc/self/mountinfo").read_text().splitlines()),
            cgroups=sum(int(line.split()[2]) for line in Path("/proc/cgroups").read_text().splitlines()[1:]),
        )


def main() -> None:
    """Run the benchmark."""
    options = harness.arguments(__doc__, containers=500, changes=1000)
    with harness.scratch() as work, pc.Engine(work / "store") as engine:
        rootfs = images.busybox_rootfs(work / "rootfs")
        image = pc.Image.load(images.oci_layout(work / "layout", [images.tar_of(rootfs)]), engine=engine)[0]
        network = pc.Network.create("many", subnet="10.229.0.0/20", engine=engine)
        other = pc.Network.create("other", subnet="10.229.16.0/20", engine=engine)
        pc.run(image, ["true"], network="many", engine=engine)
        before = Held.take(engine, [network, other], [])
        running = _started(engine, image, options.containers)
        _changed(engine, [network, other], running, options.changes)
        begun = time.perf_counter()
        for container in running:
            container.remove(force=True)
        _tell("removed", time.perf_counter() - begun, len(running))
        after = Held.take(engine, [network, other], [])
        print("\nbefore the first one, and after the last one")
        for name, was, now in zip(Held._fields, before, after, strict=True):
            print(f"  {name}: {was} -> {now}")
        other.remove()
        network.remove()


def _tell(what: str, took_s: float, count: int) -> None:
    print(f"  {what}: {took_s:.2f} s, {took_s / count * 1000:.2f} ms each")


def _monitor(container: pc.Container) -> int:
    fields = status.read(str(container._directory))
    assert fields is not None
    pid: int = fields["monitor_pid"]
    return pid


def _started(engine: pc.Engine, image: pc.Image, count: int) -> list[pc.Container]:
    took: list[float] = []
    running: list[pc.Container] = []
    begun = time.perf_counter()
    for number in range(count):
        made = pc.Container.create(image, _WAITS, name=f"box-{number}", network="many", engine=engine)
        running.append(made)
    created_s = time.perf_counter() - begun
    for made in running:
        begun = time.perf_counter()
        made.start()
        took.append(time.perf_counter() - begun)
    states = [made.state for made in running]
    addresses = {made.ip for made in running}
    print(f"\n{states.count('running')} of {count} containers run at once, with {len(addresses)} addresses")
    _tell("created", created_s, count)
    _tell("started", sum(took), count)
    tenth = max(1, count // 10)
    first, last = (harness.percentile(part, 0.5) * 1000 for part in (took[:tenth], took[-tenth:]))
    print(f"  start, p50 of the first tenth {first:.1f} ms, of the last {last:.1f} ms")
    print(f"  start, p99 {harness.percentile(took, 0.99) * 1000:.0f} ms, longest {max(took) * 1000:.0f} ms")
    kinds = ("Private_Clean", "Private_Dirty")
    private = [harness.memory(_monitor(made), *kinds) >> 10 for made in running[:: max(1, count // 50)]]
    print(
        f"  private memory of a monitor: p50 {harness.percentile(private, 0.5):.0f} KiB, max {max(private)}"
    )
    reached = running[0].exec(["ping", "-c", "1", "-W", "5", f"box-{count - 1}"])
    print(f"  the first one reaches the last one by name: {reached.exit_code == 0}")
    return running


def _changed(engine: pc.Engine, networks: list[pc.Network], running: list[pc.Container], count: int) -> None:
    other = networks[1]
    sample = [_monitor(made) for made in islice(running, 10)]
    samples: list[tuple[int, Held]] = []
    took: list[float] = []
    for number in range(1, count + 1):
        made = running[number % min(10, len(running))]  # those whose monitors are looked at
        begun = time.perf_counter()
        other.connect(made)
        other.disconnect(made)
        took.append(time.perf_counter() - begun)
        if number % max(1, count // 10) == 0:
            samples.append((number, Held.take(engine, networks, sample)))
    tenth = max(1, count // 10)
    print(f"\n{count} times connected and disconnected: p50 {harness.percentile(took, 0.5) * 1000:.2f} ms")
    first_p50, last_p50 = (harness.percentile(part, 0.5) * 1000 for part in (took[:tenth], took[-tenth:]))
    print(f"  p50 of the first tenth {first_p50:.1f} ms, of the last {last_p50:.1f} ms")
    (middle, halfway), (end, last) = samples[len(samples) // 2 - 1], samples[-1]
    for name, early, before, after in zip(Held._fields, samples[0][1], halfway, last, strict=True):
        slope = (after - before) / max(1, end - middle)
        print(f"  {name}: {early} -> {before} -> {after}; {slope:+.3f} a change")


if __name__ == "__main__":
    main()
