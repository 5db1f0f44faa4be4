"""Unpack one layer with this engine, GNU tar and Python's tarfile, interleaved; print medians and ratios.

    python benchmarks/unpack.py [--rounds 5] [--directory /var/tmp]

The layer is made from this machine's /usr: as many entries and bytes as a fat distribution image
(27,790 entries, 636 MB), compressed with gzip -6. Needs root, for owners and devices. GNU tar is timed
twice: `tar xzf` on the compressed layer, which is the same work, and `tar xf` on the uncompressed one,
which is the work without inflating and without the digest.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pycontainer.layers import JOBS

ENTRIES = 27_790
SIZE = 636_000_000
BIG_FILE = 100_000


def members() -> Iterator[str]:
    """Paths below /usr, parents first: many small files, then big ones until the size is reached."""
    seen: set[str] = set()
    size = 0
    for top, wants_big in (("/usr/share", False), ("/usr/lib", True), ("/usr/bin", True)):
        for directory, _, files in os.walk(top):
            for name in sorted(files):
                path = f"{directory}/{name}"
                found = os.lstat(path)
                if wants_big != (found.st_size >= BIG_FILE) or (
                    size >= SIZE if wants_big else len(seen) >= ENTRIES - 1500
                ):
                    continue
                for parent in reversed(Path(path).parents):
                    if str(parent) not in seen and str(parent) != "/":
                        seen.add(str(parent))
                        yield str(parent)
                seen.add(path)
                size += found.st_size
                yield path


def make_layer(directory: Path) -> tuple[Path, Path]:
    """The layer, uncompressed and compressed."""
    plain, packed = directory / "layer.tar", directory / "layer.tar.gz"
    names = directory / "names"
    names.write_bytes(b"\0".join(os.fsencode(path[1:]) for path in members()))
    command = ["tar", "-C", "/", "--format=posix", "--pax-option=delete=atime,delete=ctime"]
    command += ["--no-recursion", "--null", "-T", str(names), "-cf", str(plain)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    with packed.open("wb") as out:
        subprocess.run(["gzip", "-6", "-c", plain], check=True, stdout=out)
    return plain, packed


def ours(packed: Path, target: Path) -> None:
    """The unpack job, in a forked child as the helper does it."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            fds = [os.open(packed, os.O_RDONLY), os.open(target, os.O_RDONLY | os.O_DIRECTORY)]
            JOBS["unpack"]({}, fds, lambda event: None)
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("unpack failed")


def gnu_tar(archive: Path, target: Path) -> None:
    """GNU tar, with what we do too: owners, modes, attributes."""
    subprocess.run(["tar", "-C", target, "--numeric-owner", "--xattrs", "-xpf", archive], check=True)


def python_tarfile(archive: Path, target: Path) -> None:
    """What a Python program would do without us."""
    with tarfile.open(archive) as tar:
        tar.extractall(target, numeric_owner=True)


def main() -> None:
    """Make the layer, run the rounds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--directory", default="/var/tmp", help="where to unpack; its file system is what is measured"
    )
    parser.add_argument("--layer", type=Path, help="an uncompressed tar to use instead; .gz beside it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="unpack-") as name:
        work = Path(name)
        plain, packed = (options.layer, Path(f"{options.layer}.gz")) if options.layer else make_layer(work)
        runs: dict[str, Callable[[Path], None]] = {
            "pycontainer (gzip, sha256)": lambda target: ours(packed, target),
            "pycontainer (plain, sha256)": lambda target: ours(plain, target),
            "GNU tar xzf": lambda target: gnu_tar(packed, target),
            "GNU tar xf, uncompressed": lambda target: gnu_tar(plain, target),
            "tarfile, gzip": lambda target: python_tarfile(packed, target),
        }
        times: dict[str, list[float]] = {label: [] for label in runs}
        for _ in range(options.rounds):
            for label, run in runs.items():
                target = work / "target"
                target.mkdir()
                os.sync()
                start = time.perf_counter()
                run(target)
                times[label].append(time.perf_counter() - start)
                shutil.rmtree(target)
        report(times, plain, packed)


def report(times: dict[str, list[float]], plain: Path, packed: Path) -> None:
    """Medians, and how many times ours each takes."""
    with tarfile.open(plain) as tar:
        entries = sum(1 for _ in tar)
    sizes = f"{plain.stat().st_size / 1e6:.0f} MB, {packed.stat().st_size / 1e6:.0f} MB compressed"
    print(f"{entries} entries, {sizes}")
    base = statistics.median(next(iter(times.values())))
    for label, values in times.items():
        median = statistics.median(values)
        print(f"{label:30} {median:6.2f} s  best {min(values):6.2f}  ratio {median / base:5.2f}")


if __name__ == "__main__":
    main()
