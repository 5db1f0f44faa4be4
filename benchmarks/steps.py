"""Where the time of a start goes, step by step.

    python -m benchmarks.steps [--runs 200] [--gap-ms 20] [--network none]

Each run executes `true` in a new container and removes it. The named steps of all processes that take
part (the caller, and the monitor and what it clones) are written down with their times; a line shows how
long after the call a step was reached, and how long after the step before it, as medians. The gap lets
the next container's monitor be ready, as it is when containers are not started one right after the other.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import pycontainer as pc
from benchmarks import harness
from pycontainer import checkpoints
from tests.support import images

_BESIDE = "/dev/shm"  # what is written down must not be what is measured


def _traced(image: pc.Image, engine: pc.Engine, network: str, trace: Path) -> tuple[dict[str, float], float]:
    """Milliseconds from the call to each step, and to its return."""
    trace.write_text("")
    checkpoints.arm(f"trace:{trace}")
    begun = time.monotonic_ns()
    assert pc.run(image, ["true"], network=network, engine=engine).exit_code == 0
    ended = time.monotonic_ns()
    checkpoints.arm(None)
    steps: dict[str, float] = {}
    for line in trace.read_text().splitlines():
        at, _pid, name = line.split(" ", 2)
        steps.setdefault(name, (int(at) - begun) / 1e6)
    return {name: at for name, at in steps.items() if at <= (ended - begun) / 1e6}, (ended - begun) / 1e6


def main() -> None:
    options = harness.arguments(__doc__, runs=200, gap_ms=20, network="none")
    with harness.scratch() as work, pc.Engine(work / "store") as engine:
        rootfs = images.busybox_rootfs(work / "rootfs")
        image = pc.Image.load(images.oci_layout(work / "layout", [images.tar_of(rootfs)]), engine=engine)[0]
        with tempfile.TemporaryDirectory(dir=_BESIDE) as beside:
            trace = Path(beside, "steps")
            trace.touch()
            for _ in range(5):
                _traced(image, engine, options.network, trace)
            runs = []
            for _ in range(options.runs):
                time.sleep(options.gap_ms / 1000)
                runs.append(_traced(image, engine, options.network, trace))
    seen = {name for steps, _ in runs for name in steps}
    usual = [name for name in seen if sum(name in steps for steps, _ in runs) * 2 > len(runs)]
    medians = {name: statistics.median(steps[name] for steps, _ in runs if name in steps) for name in usual}
    medians["returned"] = statistics.median(total for _, total in runs)
    before = 0.0
    print(f"run `true` {options.runs} times, {os.cpu_count()} processors: ms since the call, the step before")
    for name, at in sorted(medians.items(), key=lambda item: item[1]):
        print(f"  {name:32}{at:8.2f}{at - before:8.2f}")
        before = at


if __name__ == "__main__":
    main()
