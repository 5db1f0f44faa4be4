"""Look once at what a running container uses, beside docker and podman.

    python -m benchmarks.stats [--runs 200] [--slow-every 40]

Each has a container of its own that sleeps, of the same image. Then: writing an event, and reading 10,000.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path

import pycontainer as pc
from benchmarks import harness, peers
from pycontainer.launcher.eventlog import EventLog, Reader
from tests.support import images

_WAITS = ["sleep", "100000"]
_EVENTS = 10_000


def _docker(stack: ExitStack, work: Path, layout: Path) -> harness.Work:
    command, _pid = stack.enter_context(peers.docker_daemon(work / "docker"))
    archive = work / "image.tar"
    harness.quiet("skopeo", "copy", f"oci:{layout}:latest", f"docker-archive:{archive}:bench:1")
    harness.quiet(*command, "load", "-i", archive)
    harness.quiet(*command, "run", "--detach", "--name", "box", "--network", "none", "bench:1", *_WAITS)
    stack.callback(harness.quiet, *command, "rm", "--force", "box")
    return lambda: harness.quiet(*command, "stats", "--no-stream", "box")


def _podman(stack: ExitStack, work: Path, layout: Path) -> harness.Work:
    command = peers.podman(work / "podman")
    harness.quiet(*command, "pull", f"oci:{layout}:latest")
    name = subprocess.run(
        [*command, "images", "-q"], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    ).stdout.split()[0]
    limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
    harness.quiet(*command, "run", "--detach", "--name", "box", "--network", "none", *limits, name, *_WAITS)
    stack.callback(harness.quiet, *command, "rm", "--force", "--time", "0", "box")
    return lambda: harness.quiet(*command, "stats", "--no-stream", "box")


def _rivals(stack: ExitStack, work: Path, layout: Path) -> dict[str, harness.Work]:
    found = {}
    makers = {"docker": _docker, "podman": _podman}
    for name, make in makers.items():
        if not peers.installed(name, "skopeo"):
            continue
        try:
            found[name] = make(stack, work, layout)
            found[name]()
        except (subprocess.CalledProcessError, RuntimeError) as error:
            found.pop(name, None)
            print(f"left out: {name}: {error}")
    return found


def _events(directory: Path, runs: int, as_json: bool) -> None:
    log = EventLog(str(directory))
    attributes = {"image": "debian:bookworm", "name": "quiet_otter", "exitCode": "0"}
    event = {"type": "container", "action": "die", "id": "0" * 64, "attributes": attributes, "time_ns": 1}
    harness.report(
        "append an event",
        {"pycontainer": [harness.timed(lambda: log.append(event)) for _ in range(runs)]},
        as_json=as_json,
    )
    for _ in range(_EVENTS):
        log.append(event)
    log.close()

    def read() -> None:
        reader = Reader(str(directory))
        assert sum(1 for _ in reader.available()) >= _EVENTS
        reader.close()

    harness.report(
        "read 10,000 events", {"pycontainer": [harness.timed(read) for _ in range(5)]}, as_json=as_json
    )


def main() -> None:
    """Run the benchmark."""
    options = harness.arguments(__doc__, runs=200, slow_every=40)
    with harness.scratch() as work, ExitStack() as stack:
        engine = stack.enter_context(pc.Engine(work / "store"))
        layout = images.oci_layout(work / "layout", [images.tar_of(images.busybox_rootfs(work / "rootfs"))])
        image = pc.Image.load(layout, engine=engine)[0].tag("busybox:1")
        container = stack.enter_context(pc.Container(image, _WAITS, engine=engine))
        rivals: dict[str, harness.Work] = {"pycontainer": lambda: _look(container)}
        rivals |= _rivals(stack, work, layout)
        slow = dict.fromkeys(("docker", "podman"), options.slow_every)
        times = harness.interleave(rivals, options.runs, slow, block=20)
        harness.report("stats, one look", times, as_json=options.json)
        (work / "log").mkdir()
        _events(work / "log", 2000, options.json)


def _look(container: pc.Container) -> None:
    assert container.stats().pids == 1


if __name__ == "__main__":
    main()
