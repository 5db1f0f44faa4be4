"""Functions in containers on the workers of a Ray cluster: `python examples/ray_cluster.py`, as root.

Each machine of a real cluster has a store of its own and pulls the image from a registry that all of them
reach. Needs `pip install ray` and the extra `executor`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import ray

import pycontainer as pc

PYTHON = os.path.realpath(sys.executable)
PREFIX = str(Path(PYTHON).parent.parent)


def host_of(number: int) -> tuple[int, str]:
    """What the container is called that squares the number."""
    return number * number, os.uname().nodename


def image_in(registry: pc.Registry, root: Path) -> str:
    """An image in the registry, made of this host's programs: a real one would be python:3.12-slim, say."""
    reference = f"{registry.address}/tools:1"
    with pc.Engine(root) as engine:
        pc.Image.from_host(["sh"], engine=engine).tag(reference).push()
    return reference


def main() -> None:
    # Ray's sockets are in there, whose paths must be short.
    with tempfile.TemporaryDirectory(prefix="pc-", dir="/tmp") as scratch:
        root = Path(scratch)
        with pc.Registry(root / "registry") as registry:
            image = image_in(registry, root / "publisher")
            mounts = [
                f"{place}:{place}:ro" for place in {"/usr", "/lib", "/lib64", PREFIX} if os.path.isdir(place)
            ]
            wrap = pc.function(image=image, python=PYTHON, volumes=mounts, max_workers=1, memory="256m")
            task = wrap(host_of).task()
            ray.init(
                num_cpus=2,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
                _temp_dir=str(root / "ray"),
                runtime_env={"env_vars": {"PYCONTAINER_ROOT": str(root / "worker")}},
            )
            try:
                squared = ray.remote(lambda number: task(number))
                found = ray.get([squared.remote(number) for number in range(8)], timeout=60)
            finally:
                ray.shutdown()
        print("squares:", [value for value, _ in found])
        print("containers:", len({name for _, name in found}))


if __name__ == "__main__":
    main()
