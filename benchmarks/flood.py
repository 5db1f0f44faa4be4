"""A program that writes as fast as it can: what its output costs, and whether it stays within its bounds.

    python -m benchmarks.flood [--mib 1024]

For each log driver a container writes so much to its output. The rate is printed, with how much memory its
monitor has taken more at its peak, how many bytes of log files there are in the end, against what was
allowed, and how many were lost; and how long another container takes to run meanwhile.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pycontainer as pc
from benchmarks import harness
from tests.support import images

_FILE_MIB, _FILES = 10, 3


def main() -> None:
    options = harness.arguments(__doc__, mib=1024)
    with harness.scratch() as work, pc.Engine(work / "store") as engine:
        rootfs = images.busybox_rootfs(work / "rootfs")
        image = pc.Image.load(images.oci_layout(work / "layout", [images.tar_of(rootfs)]), engine=engine)[0]
        for driver in ("local", "json-file"):
            _flood(engine, image, driver, options.mib)


def _flood(engine: pc.Engine, image: pc.Image, driver: str, mib: int) -> None:
    script = f"yes 0123456789abcdefghijklmnopqrstuvwxyz | head -c {mib << 20}; echo over >&2; read end"
    box = pc.Container.create(
        image,
        ["sh", "-c", f"read go; {script}"],
        log_driver=driver,  # type: ignore[arg-type]
        log_opts={"max-size": f"{_FILE_MIB}m", "max-file": str(_FILES)},
        stdin_open=True,
        engine=engine,
    )
    with box.attach(start=True, stdout=False) as attachment:
        before = _peak_kib(box)
        begun = time.perf_counter()
        attachment.write(b"go\n")
        other_s = harness.timed(lambda: pc.run(image, ["true"], engine=engine).check())
        attachment.read(3600)
        took_s = time.perf_counter() - begun
        more_kib = _peak_kib(box) - before
        attachment.write(b"end\n")
        attachment.wait()
    kept = sum(path.stat().st_size for path in box._directory.iterdir() if "log" in path.name)
    lost = _status(box)["log_lost_bytes"]
    box.remove()
    print(f"\n{driver}: {mib} MiB in {took_s:.1f} s, {mib / took_s:.0f} MiB/s")
    print(f"  another container meanwhile: {other_s:.3f} s; its monitor: {more_kib} KiB more")
    print(f"  log: {kept >> 20} of {_FILE_MIB * _FILES} MiB; lost: {lost} bytes")


def _status(box: pc.Container) -> dict[str, int]:
    fields: dict[str, int] = json.loads((box._directory / "status.json").read_text())
    return fields


def _peak_kib(box: pc.Container) -> int:
    text = Path(f"/proc/{_status(box)['monitor_pid']}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0])


if __name__ == "__main__":
    main()
