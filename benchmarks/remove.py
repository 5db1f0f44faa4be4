"""Remove a large image, beside docker.

    python -m benchmarks.remove [--rounds 3] [--directory /var/tmp/pycontainer-bench-image]

Our figure is given twice: until `remove` returns, which is when the image is gone for every program, and
until the disk space is free again, which is what docker's command waits for. All that was pulled is written
to the disk first: what no disk has seen yet costs nothing to delete, and how much that is differs.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pycontainer as pc
from benchmarks import bigimage, harness, peers


def _ours(root: Path, reference: str) -> tuple[float, float]:
    engine = pc.Engine(root, progress="off")
    image = pc.Image.pull(reference, engine=engine)
    subprocess.run(["sync"], check=True)
    begun = time.perf_counter()
    image.remove()
    returned = time.perf_counter() - begun
    engine.close(timeout_s=120.0)
    return returned, time.perf_counter() - begun


def main() -> None:
    options = harness.arguments(__doc__, rounds=3, directory=bigimage.DEFAULT_DIRECTORY)
    layout = bigimage.make(Path(options.directory))
    with ExitStack() as stack:
        work = stack.enter_context(harness.scratch())
        reference = stack.enter_context(bigimage.served(layout, work))
        times: dict[str, list[float]] = {"pycontainer, space free": [], "pycontainer, returned": []}
        docker: list[str] = []
        if peers.installed("dockerd", "docker"):
            docker, _pid = stack.enter_context(peers.docker_daemon(work / "docker"))
            times["docker"] = []
        for _round in range(options.rounds):
            returned, gone = _ours(work / "own-store", reference)
            times["pycontainer, space free"].append(gone)
            times["pycontainer, returned"].append(returned)
            if docker:
                harness.quiet(*docker, "pull", reference)
                subprocess.run(["sync"], check=True)
                begun = time.perf_counter()
                harness.quiet(*docker, "rmi", "--force", reference)
                times["docker"].append(time.perf_counter() - begun)
        harness.report("remove the image", times, unit="s", as_json=options.json)


if __name__ == "__main__":
    main()
