"""Push a large image into an empty registry on a loopback port, beside skopeo.

    python -m benchmarks.push [--rounds 3] [--mib 1024] [--layers 4]

Of what no compression makes smaller. Our time is that of a whole fresh program, interpreter and imports
included, which pushes from its store; skopeo's is that of its command, which reads the same blobs from a
directory. Each has a registry of its own every time, for what a registry has is not sent.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pycontainer as pc
from benchmarks import harness, peers

_OURS = """
import sys
import pycontainer as pc
with pc.Engine(sys.argv[1], progress="off") as engine:
    pc.Image.get("bench:1", engine=engine).push(sys.argv[2])
"""
_CHUNK = 1 << 20


def _image(work: Path, mib: int, layers: int) -> Path:
    """The image in a store, and as a layout, which is returned."""
    layout = work / "layout"
    with pc.Engine(work / "store", progress="off") as engine:
        image = pc.Image.scratch(engine=engine)
        for number in range(layers):
            content = work / f"content{number}"
            content.mkdir()
            with open(content / f"file{number}", "wb") as file:
                file.writelines(os.urandom(_CHUNK) for _ in range(mib // layers))
            image = image.add_layer(content)
            (content / f"file{number}").unlink()
        image.tag("bench:1").save(layout, format="oci-layout")
    return layout


def main() -> None:
    options = harness.arguments(__doc__, rounds=3, mib=1024, layers=4)
    with harness.scratch() as work:
        layout = _image(work, options.mib, options.layers)
        rivals = {"pycontainer": [sys.executable, "-c", _OURS, str(work / "store"), "{}"]}
        if peers.installed("skopeo"):
            skopeo = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]
            rivals["skopeo copy"] = [*skopeo, f"oci:{layout}", "docker://{}"]
        times: dict[str, list[float]] = {name: [] for name in rivals}
        for number in range(options.rounds):
            for name, command in rivals.items():
                place = work / f"registry-{name.split()[0]}-{number}"
                with peers.docker_registry(place) as address:
                    words = [word.replace("{}", f"{address}/bench/app:1") for word in command]
                    subprocess.run(["sync"], check=True)
                    begun = time.perf_counter()
                    harness.quiet(*words)
                    times[name].append(time.perf_counter() - begun)
                subprocess.run(["rm", "-rf", place], check=True)
        title = f"push of {options.mib} MiB in {options.layers} layers"
        harness.report(title, times, unit="s", as_json=options.json)


if __name__ == "__main__":
    main()
