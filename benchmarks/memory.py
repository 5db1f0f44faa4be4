"""Private memory of the monitors of many containers that run at once, and of the helper.

    python -m benchmarks.memory [--containers 200]

Private is what ending the process would give back: Private_Clean + Private_Dirty of smaps_rollup.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pycontainer as pc
from benchmarks import harness
from tests.support import images


def _parent(pid: int) -> int:
    text = Path(f"/proc/{pid}/stat").read_text()
    return int(text[text.rindex(")") + 2 :].split()[1])


def main() -> None:
    options = harness.arguments(__doc__, containers=200)
    with harness.scratch() as work, pc.Engine(work / "store") as engine:
        rootfs = images.busybox_rootfs(work / "rootfs")
        image = pc.Image.load(images.oci_layout(work / "layout", [images.tar_of(rootfs)]), engine=engine)[0]
        containers = [
            pc.Container.create(image, ["sleep", "3600"], engine=engine) for _ in range(options.containers)
        ]
        begun = time.perf_counter()
        for container in containers:
            container.start()
        took_s = time.perf_counter() - begun
        try:
            monitors = {_parent(pid) for container in containers if (pid := container.pid)}
            private = [memory / 2**20 for memory in map(_private, monitors)]
            pss = [harness.memory(pid, "Pss") / 2**20 for pid in monitors]
        finally:
            for container in containers:
                container.remove(force=True)
    print(f"\n{len(monitors)} monitors of {options.containers} running containers, started in {took_s:.2f} s")
    print(f"  private MiB: p50 {harness.percentile(private, 0.5):.2f}, most {max(private):.2f}")
    print(f"  proportional MiB: p50 {harness.percentile(pss, 0.5):.2f}, together {sum(pss):.1f}")
    print(f"  this process ({os.getpid()}) private MiB: {_private(os.getpid()) / 2**20:.1f}")


def _private(pid: int) -> int:
    return harness.memory(pid, "Private_Clean", "Private_Dirty")


if __name__ == "__main__":
    main()
