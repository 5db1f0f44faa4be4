"""Start a container that does nothing and wait for its end, beside every runtime that is installed.

    python -m benchmarks.start [--runs 200] [--slow-every 10] [--caller-gib 1]

crun and runc run the bundle this engine made for the same container; bubblewrap gets the nearest thing
it can do; docker and podman run the same image. They take turns in blocks of 20 runs: one by one, each
would pay for what the others leave to the kernel to tidy up. crun refuses to run where version 1 and 2
cgroups are both mounted, so there the whole benchmark runs in a mount namespace without the unified
hierarchy. Then: the same from a caller with a GiB of memory, 100 in sequence, 100
from 8 threads.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pycontainer as pc
from benchmarks import harness, peers
from benchmarks.caller import Caller
from tests.support import images

_INSIDE = "BENCH_WITHOUT_UNIFIED"


def _leave_hybrid() -> None:
    """Run this program again in a mount namespace without the unified hierarchy, if crun needs that."""
    if os.environ.get(_INSIDE) or not peers.installed("crun", "unshare") or not peers.cgroup_is_hybrid():
        return
    found = next(
        line.split()[4]
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if " - cgroup2 " in line
    )
    again = [sys.executable, "-m", "benchmarks.start", *sys.argv[1:]]
    script = f'umount {found} && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *again],
        env={**os.environ, _INSIDE: "1"},
        check=False,
    )
    sys.exit(done.returncode)


def _bundle(directory: Path, image: pc.Image, rootfs: Path, engine: pc.Engine) -> Path:
    """The runtime-spec this engine makes for the container, with a root file system beside it."""
    container = pc.Container.create(image, ["true"], network="none", engine=engine)
    spec: dict[str, Any] = container.spec.to_dict()
    container.remove()
    directory.mkdir()
    shutil.copytree(rootfs, directory / "rootfs", symlinks=True)
    spec["ociVersion"] = "1.0.2"  # all that older releases of crun accept
    spec["root"] = {"path": "rootfs", "readonly": False}
    spec["process"]["terminal"] = False
    (directory / "config.json").write_text(json.dumps(spec))
    return directory


def _runtime(name: str, bundle: Path) -> harness.Work:
    counter = iter(range(1 << 30))

    def work() -> None:
        harness.quiet(name, "run", "--bundle", bundle, f"bench-{os.getpid()}-{next(counter)}")

    return work


def _bubblewrap(rootfs: Path) -> harness.Work:
    return lambda: harness.quiet(
        "bwrap", "--unshare-all", "--bind", rootfs, "/", "--proc", "/proc", "--dev", "/dev",
        "--tmpfs", "/dev/shm", "--die-with-parent", "/bin/true",
    )  # fmt: skip


def _rivals(stack: ExitStack, work: Path, image: pc.Image, engine: pc.Engine) -> dict[str, harness.Work]:
    rootfs = images.busybox_rootfs(work / "rootfs")
    layout = images.oci_layout(work / "layout", [images.tar_of(rootfs)])
    bundle = _bundle(work / "bundle", image, rootfs, engine)
    found: dict[str, harness.Work] = {}
    for name in ("crun", "runc"):
        if peers.installed(name):
            found[name] = _runtime(name, bundle)
    if peers.installed("bwrap"):
        found["bubblewrap"] = _bubblewrap(rootfs)
    if peers.installed("dockerd", "docker", "skopeo"):
        docker, _pid = stack.enter_context(peers.docker_daemon(work / "docker"))
        archive = work / "image.tar"
        harness.quiet("skopeo", "copy", f"oci:{layout}:latest", f"docker-archive:{archive}:bench:1")
        harness.quiet(*docker, "load", "-i", archive)
        found["docker"] = lambda: harness.quiet(
            *docker, "run", "--rm", "--network", "none", "bench:1", "true"
        )
    if peers.installed("podman", "skopeo"):
        podman = peers.podman(work / "podman")
        harness.quiet(*podman, "pull", f"oci:{layout}:latest")
        name = subprocess.run(
            [*podman, "images", "-q"], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
        ).stdout.split()[0]
        # Without CAP_SYS_RESOURCE podman cannot raise the limits as it does by default.
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
        found["podman"] = lambda: harness.quiet(
            *podman, "run", "--rm", "--network", "none", *limits, name, "true"
        )
    return found


def _working(rivals: dict[str, harness.Work]) -> dict[str, harness.Work]:
    """Those that can run here; the others are named with their complaint."""
    found = {}
    for name, work in rivals.items():
        try:
            work()
        except subprocess.CalledProcessError as error:
            again = subprocess.run(error.cmd, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            print(f"left out: {name}: {again.stderr.decode(errors='replace').strip()[-300:]}")
        else:
            found[name] = work
    return found


def _many(image: pc.Image, engine: pc.Engine, as_json: bool) -> None:
    def once(_number: int = 0) -> None:
        assert pc.run(image, ["true"], network="none", engine=engine).exit_code == 0

    def in_sequence() -> None:
        for number in range(100):
            once(number)

    def from_threads() -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(once, range(100)))

    for title, work in (("100 in sequence", in_sequence), ("100 from 8 threads", from_threads)):
        harness.report(title, {"pycontainer": [harness.timed(work) for _ in range(3)]}, as_json=as_json)


def _sizes(store: Path, image: str, options: argparse.Namespace) -> None:
    names = ("small caller", f"caller with {options.caller_gib} GiB")
    with Caller(store, image, 0) as small, Caller(store, image, options.caller_gib) as large:
        callers = dict(zip(names, (small, large), strict=True))
        times: dict[str, list[float]] = {name: [] for name in names}
        for caller in callers.values():
            caller.run()
        for _round in range(options.runs):
            for name, caller in callers.items():
                times[name].append(caller.run())
    harness.report("the same from programs of two sizes, taking turns", times, as_json=options.json)


def main() -> None:
    options = harness.arguments(__doc__, runs=200, slow_every=10, caller_gib=1)
    _leave_hybrid()
    with ExitStack() as stack:
        work = stack.enter_context(harness.scratch())
        engine = stack.enter_context(pc.Engine(work / "store"))
        rootfs = images.busybox_rootfs(work / "own-rootfs")
        layout = images.oci_layout(work / "own-layout", [images.tar_of(rootfs)])
        image = pc.Image.load(layout, engine=engine)[0]

        def ours() -> None:
            assert pc.run(image, ["true"], network="none", engine=engine).exit_code == 0

        rivals = _working({"pycontainer": ours, **_rivals(stack, work, image, engine)})
        every = dict.fromkeys(("docker", "podman"), options.slow_every)
        times = harness.interleave(rivals, options.runs, every, block=20)
        harness.report(f"run `true` to its end, {options.runs} rounds", times, as_json=options.json)
        _many(image, engine, options.json)
        _sizes(work / "store", image.id, options)


if __name__ == "__main__":
    main()
