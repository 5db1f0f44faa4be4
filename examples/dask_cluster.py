"""Functions in containers on the workers of a Dask cluster: `python examples/dask_cluster.py`, as root.

Each worker, as each machine of a real cluster, has a store of its own and pulls the image from a registry
that all of them reach. Needs `pip install distributed` and the extra `executor`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from pathlib import Path

import dask
import distributed

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


async def main() -> None:
    os.environ["DASK_LOGGING__DISTRIBUTED"] = "critical"  # of the workers, which are processes
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="pycontainer-") as scratch:
        root = Path(scratch)
        dask.config.set(temporary_directory=str(root))
        with pc.Registry(root / "registry") as registry:
            image = image_in(registry, root / "publisher")
            mounts = [
                f"{place}:{place}:ro" for place in {"/usr", "/lib", "/lib64", PREFIX} if os.path.isdir(place)
            ]
            wrap = pc.function(image=image, python=PYTHON, volumes=mounts, max_workers=1, memory="256m")
            square = wrap(host_of)
            async with distributed.Scheduler(dashboard=False, host="127.0.0.1", port=0) as scheduler:
                stores = [root / f"worker-{number}" for number in range(2)]
                workers = [
                    distributed.Nanny(
                        scheduler.address,
                        nthreads=1,
                        env={"PYCONTAINER_ROOT": str(store)},
                        host="127.0.0.1",
                    )
                    for store in stores
                ]
                await asyncio.gather(*workers)
                async with distributed.Client(scheduler.address, asynchronous=True) as client:
                    found = await client.gather(client.map(square.task(), range(8)))
                await asyncio.gather(*(worker.close() for worker in workers))
        print("squares:", [value for value, _ in found])
        print("containers:", len({name for _, name in found}), "on workers:", len(workers))


if __name__ == "__main__":
    asyncio.run(main())
