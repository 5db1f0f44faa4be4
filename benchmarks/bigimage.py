"""A large image of the usual kind, made once: a Debian base system and packages for numbers from PyPI.

Five layers of about a gigabyte in all, gzip -6 as registries have them, pushed to Debian's docker-registry
on loopback.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks import harness, peers

BASE_PACKAGES = "ca-certificates,git,python3-dev"
PYTHON_LAYERS = (("numpy", "scipy"), ("pandas", "scikit-learn"), ("matplotlib", "sympy", "networkx"))
DEFAULT_DIRECTORY = "/var/tmp/pycontainer-bench-image"


def _base(directory: Path) -> None:
    command = ["debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", "bookworm", str(directory)]
    harness.quiet(*command)
    shutil.rmtree(directory / "var/cache/apt", ignore_errors=True)


def _python_packages(directory: Path, names: tuple[str, ...]) -> None:
    target = directory / "usr/local/lib/python3/site-packages"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-warn-script-location", "--target"]
    harness.quiet(*command, target, *names)


def _application(directory: Path) -> None:
    (directory / "srv/app").mkdir(parents=True)
    for number in range(500):
        (directory / f"srv/app/module_{number}.py").write_text(f"VALUE = {number}\n" * 40)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def _pack(work: Path, number: int) -> tuple[str, Path]:
    """Tar and compress one layer's directory; give the tar's digest and the compressed file."""
    tar = work / f"{number}.tar"
    harness.quiet("tar", "-C", work / str(number), "--sort=name", "--numeric-owner", "-cf", tar, ".")
    diff_id = _digest(tar)
    harness.quiet("gzip", "-6", "--no-name", tar)
    shutil.rmtree(work / str(number))
    return diff_id, tar.with_suffix(".tar.gz")


def _store(layout: Path, path: Path) -> dict[str, object]:
    digest, size = _digest(path), path.stat().st_size
    target = layout / "blobs/sha256" / digest.removeprefix("sha256:")
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)
    return {"digest": digest, "size": size}


def make(directory: Path) -> Path:
    """The image as an OCI layout below directory; made on the first call, which takes some minutes."""
    layout = directory / "layout"
    if (layout / "index.json").exists():
        return layout
    shutil.rmtree(directory, ignore_errors=True)
    work = directory / "work"
    work.mkdir(parents=True)
    _base(work / "0")
    for number, names in enumerate(PYTHON_LAYERS, 1):
        _python_packages(work / str(number), names)
    _application(work / "4")
    with ThreadPoolExecutor(2) as pool:
        packed = list(pool.map(lambda number: _pack(work, number), range(5)))
    layers = []
    for _diff_id, path in packed:
        layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **_store(layout, path)})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Cmd": ["bash"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id for diff_id, _path in packed]},
    }
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": {"mediaType": f"{kind}.config.v1+json", **_document(work, layout, config)},
        "layers": layers,
    }
    entry = {"mediaType": f"{kind}.manifest.v1+json", **_document(work, layout, manifest)}
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    shutil.rmtree(work)
    return layout


def _document(work: Path, layout: Path, content: object) -> dict[str, object]:
    path = work / "document"
    path.write_text(json.dumps(content))
    return _store(layout, path)


def describe(layout: Path) -> str:
    """Sizes and entries of the image, counted from its layers."""
    index = json.loads((layout / "index.json").read_text())
    blobs = layout / "blobs/sha256"
    manifest = json.loads((blobs / index["manifests"][0]["digest"].split(":")[1]).read_text())
    packed = sum(layer["size"] for layer in manifest["layers"])
    entries = unpacked = 0
    for layer in manifest["layers"]:
        with tarfile.open(blobs / layer["digest"].split(":")[1], "r|gz") as archive:
            for entry in archive:
                entries += 1
                unpacked += entry.size
    return (
        f"{len(manifest['layers'])} layers, {packed / 1e6:.0f} MB gzip, "
        f"{unpacked / 1e6:.0f} MB unpacked, {entries} entries"
    )


@contextmanager
def served(layout: Path, work: Path) -> Iterator[str]:
    """The image in Debian's docker-registry on loopback; gives its reference."""
    with peers.docker_registry(work / "registry") as address:
        reference = f"{address}/bench/big:1"
        source, target = f"oci:{layout}:latest", f"docker://{reference}"
        harness.quiet("skopeo", "copy", "--dest-tls-verify=false", source, target)
        yield reference
