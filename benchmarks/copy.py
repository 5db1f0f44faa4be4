"""Copy into a running container and out of it, beside `docker cp` and `podman cp`; and look at one file.

    python -m benchmarks.copy [--rounds 5] [--files 10000] [--mib 100]

A file of 100 MiB of random bytes, and a tree of 10,000 files of 1 KiB in 100 directories. What a round
left is removed, unmeasured, before the next. `cp -a` on the host is the floor.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pycontainer as pc
from benchmarks import harness, peers
from tests.support import images

Copy = Callable[[str, str], None]
"""From here to there; a path in the container begins with ":"."""


def _sources(work: Path, files: int, mib: int) -> None:
    (work / "big").write_bytes(os.urandom(mib << 20))
    content = os.urandom(1024)
    for number in range(files):
        directory = work / "tree" / f"d{number % 100:02}"
        if number < 100:
            directory.mkdir(parents=True)
        (directory / f"f{number}").write_bytes(content)


def _ours(container: pc.Container) -> Copy:
    def copy(source: str, target: str) -> None:
        if source.startswith(":"):
            container.copy_from(source[1:], target)
        else:
            container.copy_to(source, target[1:])

    return copy


def _command(*command: str, name: str) -> Copy:
    def copy(source: str, target: str) -> None:
        ends = [f"{name}{end}" if end.startswith(":") else end for end in (source, target)]
        harness.quiet(*command, "cp", *ends)

    return copy


def _peers(stack: ExitStack, work: Path, layout: Path) -> dict[str, Copy]:
    found: dict[str, Copy] = {}
    if peers.installed("dockerd", "docker", "skopeo"):
        docker, _pid = stack.enter_context(peers.docker_daemon(work / "docker"))
        archive = work / "image.tar"
        harness.quiet("skopeo", "copy", f"oci:{layout}:latest", f"docker-archive:{archive}:bench:1")
        harness.quiet(*docker, "load", "-i", archive)
        harness.quiet(
            *docker, "run", "-d", "--name", "box", "--network", "none", "bench:1", "sleep", "100000"
        )
        stack.callback(harness.quiet, *docker, "rm", "--force", "box")
        found["docker cp"] = _command(*docker, name="box")
    if peers.installed("podman"):
        podman = peers.podman(work / "podman")
        harness.quiet(*podman, "pull", f"oci:{layout}:latest")
        listed = subprocess.run(
            [*podman, "images", "-q"], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
        )
        image = listed.stdout.split()[0]
        # Copies do not need it to run, and not every host lets podman start one.
        harness.quiet(*podman, "create", "--name", "box", "--network", "none", image, "sleep", "100000")
        stack.callback(harness.quiet, *podman, "rm", "--force", "box")
        found["podman cp (stopped)"] = _command(*podman, name="box")
    return found


def _host(work: Path) -> Copy:
    inside = work / "host"
    inside.mkdir()

    def copy(source: str, target: str) -> None:
        ends = [f"{inside}{end[1:]}" if end.startswith(":") else end for end in (source, target)]
        harness.quiet("cp", "-a", "--reflink=never", *ends)

    return copy


def main() -> None:
    options = harness.arguments(__doc__, rounds=5, files=10_000, mib=100)
    with ExitStack() as stack:
        work = stack.enter_context(harness.scratch())
        _sources(work, options.files, options.mib)
        layout = images.oci_layout(work / "layout", [images.tar_of(images.busybox_rootfs(work / "rootfs"))])
        stack.enter_context(pc.Engine(work / "store", progress="off"))
        image = pc.Image.load(layout)[0]
        container = stack.enter_context(pc.Container(image, ["sleep", "100000"], network="none"))
        stopped = pc.Container.create(image)
        rivals = {
            "pycontainer": _ours(container),
            "pycontainer (stopped)": _ours(stopped),
            **_peers(stack, work, layout),
            "cp -a on the host": _host(work),
        }
        _measure(rivals, work, options.rounds, as_json=options.json)
        _one_file(container, stopped, as_json=options.json)


def _measure(rivals: dict[str, Copy], work: Path, rounds: int, *, as_json: bool) -> None:
    for what in ("big", "tree"):
        into: dict[str, list[float]] = {name: [] for name in rivals}
        out: dict[str, list[float]] = {name: [] for name in rivals}
        for number in range(rounds + 1):
            for rival, copy in rivals.items():
                source, there, back = str(work / what), f":/{what}-{number}", work / "back"
                times = [
                    harness.timed(partial(copy, source, there)),
                    harness.timed(partial(copy, there, str(back))),
                ]
                shutil.rmtree(back) if back.is_dir() else back.unlink()
                if number:  # the first is for warming up
                    into[rival].append(times[0])
                    out[rival].append(times[1])
        harness.report(f"{what} into the container", into, as_json=as_json)
        harness.report(f"{what} out of the container", out, as_json=as_json)


def _one_file(container: pc.Container, stopped: pc.Container, *, as_json: bool) -> None:
    running, resting = (box.path / "etc" / "passwd" for box in (container, stopped))
    rivals: dict[str, harness.Work] = {
        "read, running": lambda: (running.read_bytes(), None)[1],
        "read, stopped": lambda: (resting.read_bytes(), None)[1],
        "replace, running": lambda: (running.with_name("new").write_bytes(b"x"), None)[1],
        "glob /etc/**, running": lambda: (list(running.parent.glob("**/*")), None)[1],
    }
    harness.report("one look", harness.interleave(rivals, 100, block=20), as_json=as_json)


if __name__ == "__main__":
    main()
