"""A tour of the engine that needs no network: run it as root with `python examples/quickstart.py`.

It makes an image from programs of this host, pushes it to a registry that lives in this process, pulls
it back into an empty store and runs containers from it: limited, isolated, and gone afterwards.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

import pycontainer as pc

PROGRAMS = ["sh", "cat", "ls", "echo", "sleep", "id", "head", "wc", "hostname", "readlink", "true", "touch"]

console = Console(highlight=False)


def step(title: str) -> None:
    console.print(f"\n[bold cyan]{title}[/]")


def fact(label: str, value: object) -> None:
    console.print(f"  [green]✓[/] {label:<34} [bold]{value}[/]")


def make_and_push(workshop: Path, registry: pc.Registry) -> str:
    step("1. An image from this host's own programs")
    reference = f"{registry.address}/tour/toolbox:1"
    with pc.Engine(workshop):
        image = pc.Image.from_host(PROGRAMS, tags=[reference])
        fact("programs with their libraries", f"{len(PROGRAMS)} in {image.size_bytes / 1e6:.1f} MB")
        step(f"2. Push it to a registry in this process, at {registry.address}")
        fact("pushed as", image.push(reference)[:19])
    return reference


def pull(reference: str) -> pc.Image:
    step("3. Pull it into an empty store")
    begun = time.perf_counter()
    image = pc.Image.pull(reference)
    fact("pulled, verified and unpacked in", f"{(time.perf_counter() - begun) * 1000:.0f} ms")
    fact("image id", image.id[:19])
    return image


def run_some(image: pc.Image) -> None:
    step("4. Run containers")
    result = pc.run(image, ["sh", "-c", "echo hello from pid $$ on $(hostname)"]).check()
    fact("it says", result.text.strip())
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        pc.run(image, ["true"]).check()
        times.append(time.perf_counter() - begun)
    fact("start to finish, median of 20", f"{sorted(times)[10] * 1000:.1f} ms")
    fact("stdin goes in, stdout comes out", pc.run(image, ["wc", "-c"], input=b"12345").text.strip())


def show_limits(image: pc.Image) -> None:
    step("5. Limits hold")
    limits = {"memory": "32m", "memory_swap": "32m", "cpus": 0.5, "pids_limit": 16}
    hungry = pc.run(image, ["sh", "-c", "x=$(head -c 64000000 /dev/zero | cat -v); echo survived"], **limits)
    fact("64 MB wanted, 32 MB allowed", f"out of memory: {hungry.oom_killed}, exit code {hungry.exit_code}")
    forks = pc.run(
        image, ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0; do sleep 1 & done"], **limits
    )
    fact("20 processes wanted, 16 allowed", f"fork refused: {b'fork' in forks.stderr.lower()}")
    busy = pc.run(image, ["sh", "-c", "i=0; while [ $i -lt 1200000 ]; do i=$((i+1)); done"], **limits)
    share = (busy.usage.cpu_s or 0.0) / max(busy.usage.wall_s, 1e-9)
    fact("half a processor allowed, used", f"{share:.0%} over {busy.usage.wall_s:.2f} s")


def show_isolation(image: pc.Image) -> None:
    step("6. Isolation holds")
    fact("processes it can see", pc.run(image, ["sh", "-c", "ls -d /proc/[0-9]* | wc -l"]).text.strip())
    interfaces = pc.run(image, ["ls", "/sys/class/net"]).text.split()
    fact("network interfaces", ", ".join(interfaces))
    fact(
        "write to the kernel's settings",
        refusal(pc.run(image, ["sh", "-c", "echo 1 > /proc/sys/vm/drop_caches"])),
    )
    fact("read-only when asked", refusal(pc.run(image, ["touch", "/x"], read_only=True)))
    pc.run(image, ["touch", "/only-here"]).check()
    fact("a file of one container in the next", refusal(pc.run(image, ["ls", "/only-here"])))
    missing = "no error"
    try:
        pc.run(image, ["no-such-program"])
    except pc.errors.LaunchError as error:
        missing = f"exit code {error.exit_code}: {error}"
    fact("a program that is not there", missing)


def refusal(result: pc.RunResult) -> str:
    words = result.stderr.decode(errors="replace").strip().rsplit(":", 1)[-1].strip()
    return f"refused ({words})" if result.exit_code else "ALLOWED"


def live_on(image: pc.Image) -> None:
    step("7. A container that lives on, and one that does not")
    box = pc.Container.create(image, ["sh", "-c", "echo ready; sleep 1000"], name="tour-box")
    box.start()
    fact("detached, found again by name", f"{pc.Container.get('tour-box').state}, pid {box.pid}")
    box.stop(timeout=0.2)
    fact("stopped with", f"exit code {box.exit_code}; its log: {box.logs().text().strip()!r}")
    box.remove()
    with pc.Container(image, ["sleep", "1000"]) as owned:
        pid = owned.pid
    fact("owned by a with block, afterwards", "gone" if not os.path.exists(f"/proc/{pid}") else "STILL THERE")


def main() -> None:
    table = Table(box=None, show_header=False)
    table.add_row(
        "[bold]pycontainer[/]", "a container engine in this Python process; no daemon, no network used"
    )
    console.print(table)
    with tempfile.TemporaryDirectory(prefix="pycontainer-tour-") as scratch:
        with pc.Registry() as registry, pc.Engine(Path(scratch, "store")):
            image = pull(make_and_push(Path(scratch, "workshop"), registry))
            run_some(image)
            show_limits(image)
            show_isolation(image)
            live_on(image)
    console.print("\n[bold green]Done.[/] Everything it made is gone again.\n")


if __name__ == "__main__":
    main()
