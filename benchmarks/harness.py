"""What all benchmarks share: interleaved rounds, percentiles, ratios, and the memory of a process tree."""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

Work = Callable[[], None]


def arguments(description: str | None, **defaults: int | str) -> argparse.Namespace:
    """Parse `--name value` for each default, and --json."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON too")
    return parser.parse_args()


def timed(work: Work) -> float:
    """Seconds the work takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


_BLOCK_PAUSE_S = 0.3


def interleave(
    rivals: Mapping[str, Work], rounds: int, every: Mapping[str, int] | None = None, *, block: int = 1
) -> dict[str, list[float]]:
    """Time every rival in turn, so that all see the same machine.

    every: a slow rival takes part in every n-th round only. Each rival runs once before, unmeasured.
    block: rounds that a rival does in a row, after a pause: for works so short that what one leaves to
    the kernel to tidy up would be paid for by the next.
    """
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for work in rivals.values():
        work()
    for first in range(0, rounds, block):
        for name, work in rivals.items():
            if block > 1:
                time.sleep(_BLOCK_PAUSE_S)
            for number in range(first, min(first + block, rounds)):
                if number % (every or {}).get(name, 1) == 0:
                    times[name].append(timed(work))
    return times


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def report(
    title: str, times: Mapping[str, Sequence[float]], *, unit: str = "ms", as_json: bool = False
) -> None:
    """Print p50, p90, p99 of every rival and how its p50 compares with the first one's."""
    scale = {"ms": 1000.0, "s": 1.0}[unit]
    baseline = percentile(next(iter(times.values())), 0.5)
    # Distributions build theirs with profiles, others often not, which is worth a tenth or two.
    print(f"\n{title} (Python {platform.python_version()} of {sys.base_prefix})")
    print(f"  {'':28}{'runs':>6}{'p50':>10}{'p90':>10}{'p99':>10}{'min':>10}   times {next(iter(times))}")
    for name, values in times.items():
        figures = [percentile(values, share) * scale for share in (0.5, 0.9, 0.99)] + [min(values) * scale]
        ratio = percentile(values, 0.5) / baseline
        print(
            f"  {name:28}{len(values):>6}"
            + "".join(f"{value:>10.2f}" for value in figures)
            + f"{ratio:>10.2f}"
        )
    if as_json:
        print(
            json.dumps({"title": title, "unit": "s", "times": {name: list(v) for name, v in times.items()}})
        )
    sys.stdout.flush()


def quiet(*command: str | os.PathLike[str], env: Mapping[str, str] | None = None) -> None:
    """Run a program with its output thrown away; raise if it fails."""
    subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        close_fds=False,  # lets subprocess use vfork, so that a large caller costs the rivals nothing
        env=env,
    )


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory on a real file system, removed afterwards; TMPDIR chooses another place."""
    # podman reads the path of a layout as an image's name: no run of "-" and "_", as tempfile makes them.
    made = Path(os.environ.get("TMPDIR", "/var/tmp"), f"bench-{secrets.token_hex(6)}")
    made.mkdir(mode=0o700)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def descendants(root: int) -> list[int]:
    """Process ids of the tree below root, root included."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            children.setdefault(int(text[text.rindex(")") + 2 :].split()[1]), []).append(int(entry))
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += children.get(pid, [])
    return found


def memory(pid: int, *fields: str) -> int:
    """Bytes of the given fields of /proc/PID/smaps_rollup, summed; 0 when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.split(":")[0] in fields)


class PeakMemory(threading.Thread):
    """Samples the proportional memory of a process and all its descendants until stopped.

    Pss counts a shared page once in all, so the sum is what the processes together really take.
    """

    def __init__(self, root: int, interval_s: float = 0.05, *, without_root: bool = False) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._root, self._interval_s, self._without_root = root, interval_s, without_root
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(self._interval_s):
            pids = descendants(self._root)[1 if self._without_root else 0 :]
            self.peak_bytes = max(self.peak_bytes, sum(memory(pid, "Pss") for pid in pids))

    def stop(self) -> int:
        """End the sampling; return the peak in bytes."""
        self._done.set()
        self.join()
        return self.peak_bytes
