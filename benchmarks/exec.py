"""Run a program that does nothing in a running container, beside every engine and runtime installed.

    python -m benchmarks.exec [--runs 200] [--slow-every 10]

Each has a container of its own that sleeps; docker and podman the same image, crun and runc the bundle
this engine made. crun is left out where version 1 and 2 cgroups are both mounted, which it refuses. Then:
with a megabyte of output, and 500 at 16 in parallel.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pycontainer as pc
from benchmarks import harness, peers
from tests.support import images

_WAITS = ["sleep", "100000"]


def _bundle(directory: Path, container: pc.Container, rootfs: Path) -> Path:
    """The runtime-spec of the container, with a root file system beside it."""
    spec: dict[str, Any] = container.spec.to_dict()
    directory.mkdir()
    shutil.copytree(rootfs, directory / "rootfs", symlinks=True)
    spec["ociVersion"] = "1.0.2"  # all that older releases of crun accept
    spec["root"] = {"path": "rootfs", "readonly": False}
    spec["linux"]["cgroupsPath"] = f"/bench-exec-{os.getpid()}/{directory.name}"
    (directory / "config.json").write_text(json.dumps(spec))
    return directory


def _runtime(stack: ExitStack, name: str, bundle: Path) -> harness.Work:
    identifier = f"bench-exec-{os.getpid()}-{name}"
    harness.quiet(name, "run", "--detach", "--bundle", bundle, identifier)
    stack.callback(harness.quiet, name, "delete", "--force", identifier)
    return lambda: harness.quiet(name, "exec", identifier, "true")


def _docker(stack: ExitStack, work: Path, layout: Path) -> harness.Work:
    command, _pid = stack.enter_context(peers.docker_daemon(work / "docker"))
    archive = work / "image.tar"
    harness.quiet("skopeo", "copy", f"oci:{layout}:latest", f"docker-archive:{archive}:bench:1")
    harness.quiet(*command, "load", "-i", archive)
    harness.quiet(*command, "run", "--detach", "--name", "box", "--network", "none", "bench:1", *_WAITS)
    stack.callback(harness.quiet, *command, "rm", "--force", "box")
    return lambda: harness.quiet(*command, "exec", "box", "true")


def _podman(stack: ExitStack, work: Path, layout: Path) -> harness.Work:
    command = peers.podman(work / "podman")
    harness.quiet(*command, "pull", f"oci:{layout}:latest")
    name = subprocess.run(
        [*command, "images", "-q"], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    ).stdout.split()[0]
    limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
    harness.quiet(*command, "run", "--detach", "--name", "box", "--network", "none", *limits, name, *_WAITS)
    stack.callback(harness.quiet, *command, "rm", "--force", "--time", "0", "box")
    return lambda: harness.quiet(*command, "exec", "box", "true")


def _rivals(stack: ExitStack, work: Path, container: pc.Container) -> dict[str, harness.Work]:
    rootfs = images.busybox_rootfs(work / "rivals-rootfs")
    layout = images.oci_layout(work / "rivals-layout", [images.tar_of(rootfs)])
    makers = {
        name: lambda name=name: _runtime(stack, name, _bundle(work / name, container, rootfs))
        for name in ("crun", "runc")
        if peers.installed(name)
    }
    if peers.installed("dockerd", "docker", "skopeo"):
        makers["docker"] = lambda: _docker(stack, work, layout)
    if peers.installed("podman", "skopeo"):
        makers["podman"] = lambda: _podman(stack, work, layout)
    found = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except (subprocess.CalledProcessError, RuntimeError) as error:
            print(f"left out: {name}: {error}")
    return found


def _more(container: pc.Container, as_json: bool) -> None:
    def a_megabyte() -> None:
        assert len(container.exec(["head", "-c", "1000000", "/dev/zero"]).stdout) == 1_000_000

    def in_parallel() -> None:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda _: container.exec(["true"]), range(500)))

    for title, work, runs in (("a megabyte of output", a_megabyte, 50), ("500 at 16", in_parallel, 3)):
        harness.report(title, {"pycontainer": [harness.timed(work) for _ in range(runs)]}, as_json=as_json)


def main() -> None:
    """Run the benchmark."""
    options = harness.arguments(__doc__, runs=200, slow_every=10)
    with harness.scratch() as work, ExitStack() as stack:
        engine = stack.enter_context(pc.Engine(work / "store"))
        layout = images.oci_layout(work / "layout", [images.tar_of(images.busybox_rootfs(work / "rootfs"))])
        image = pc.Image.load(layout, engine=engine)[0].tag("busybox:1")
        container = stack.enter_context(pc.Container(image, _WAITS, network="none", engine=engine))
        rivals: dict[str, harness.Work] = {"pycontainer": lambda: _nothing(container)}
        rivals |= _rivals(stack, work, container)
        slow = dict.fromkeys(("docker", "podman"), options.slow_every)
        times = harness.interleave(rivals, options.runs, slow, block=20)
        harness.report("exec true", times, as_json=options.json)
        _more(container, options.json)


def _nothing(container: pc.Container) -> None:
    assert container.exec(["true"]).exit_code == 0


if __name__ == "__main__":
    main()
