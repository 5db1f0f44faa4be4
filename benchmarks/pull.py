"""Pull and unpack a large image from a loopback registry into an empty store, beside docker and podman.

    python -m benchmarks.pull [--rounds 3] [--directory /var/tmp/pycontainer-bench-image]
        [--rivals docker,podman]

Each round: every rival pulls once, then drops the image. Our time is that of a whole fresh program,
interpreter and imports included, until the image could be run; docker's and podman's is that of their
command. Memory is the peak of the proportional set sizes of all processes of a rival together.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks import bigimage, harness, peers

_OURS = """
import sys, time
import pycontainer as pc
with pc.Engine(sys.argv[1], progress="off") as engine:
    pc.Image.pull(sys.argv[2], engine=engine)
"""


class _Ours:
    """A fresh program and a fresh store each time."""

    def __init__(self, work: Path, reference: str) -> None:
        self.root, self.reference = work / "own-store", reference
        self.peaks: list[int] = []

    def pull(self) -> None:
        with subprocess.Popen([sys.executable, "-c", _OURS, self.root, self.reference]) as process:
            sampler = harness.PeakMemory(process.pid)
            sampler.start()
            code = process.wait()
            self.peaks.append(sampler.stop())
        if code:
            raise RuntimeError(f"the pull ended with code {code}")

    def drop(self) -> None:
        shutil.rmtree(self.root)


class _Command:
    """A rival with a command line; daemon is the process whose tree does the work, if there is one."""

    def __init__(self, command: list[str], reference: str, daemon: int | None, *extra: str) -> None:
        self.command, self.reference, self.daemon, self.extra = command, reference, daemon, extra
        self.peaks: list[int] = []

    def pull(self) -> None:
        command = [*self.command, "pull", "--quiet", *self.extra, self.reference]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            sampler = harness.PeakMemory(self.daemon or process.pid)
            sampler.start()
            code = process.wait()
            self.peaks.append(sampler.stop())
        if code:
            raise RuntimeError(f"{self.command[0]} pull ended with code {code}")

    def drop(self) -> None:
        harness.quiet(*self.command, "rmi", "--force", self.reference)


def _rivals(stack: ExitStack, work: Path, reference: str, wanted: list[str]) -> dict[str, _Ours | _Command]:
    found: dict[str, _Ours | _Command] = {"pycontainer": _Ours(work, reference)}
    if "docker" in wanted and peers.installed("dockerd", "docker"):
        docker, pid = stack.enter_context(peers.docker_daemon(work / "docker"))
        found["docker"] = _Command(docker, reference, pid)
    if "podman" in wanted and peers.installed("podman"):
        found["podman"] = _Command(peers.podman(work / "podman"), reference, None, "--tls-verify=false")
    return found


def main() -> None:
    options = harness.arguments(
        __doc__, rounds=3, directory=bigimage.DEFAULT_DIRECTORY, rivals="docker,podman"
    )
    layout = bigimage.make(Path(options.directory))
    print(bigimage.describe(layout), flush=True)
    with ExitStack() as stack:
        work = stack.enter_context(harness.scratch())
        reference = stack.enter_context(bigimage.served(layout, work))
        rivals = _rivals(stack, work, reference, options.rivals.split(","))
        times: dict[str, list[float]] = {name: [] for name in rivals}
        for _round in range(options.rounds):
            for name, rival in rivals.items():
                subprocess.run(["sync"], check=True)
                begun = time.perf_counter()
                rival.pull()
                times[name].append(time.perf_counter() - begun)
                rival.drop()
        harness.report("pull and unpack", times, unit="s", as_json=options.json)
        for name, rival in rivals.items():
            print(f"  {name:28} peak memory {max(rival.peaks) / 1e6:8.0f} MB")


if __name__ == "__main__":
    main()
