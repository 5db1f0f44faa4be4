"""What a hostile container can make of our looks into it: for half a minute, everything is exchanged.

A program of the container exchanges directories and links to the host, files, FIFOs and devices, and mounts,
some ten thousand times a second. Meanwhile every verb is used on these very paths. Whatever they answer, the
host's canaries are neither read nor touched. CVE-2018-15664, CVE-2019-14271, CVE-2019-10152, CVE-2021-41089.
"""

from __future__ import annotations

import io
import itertools
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.errors import Conflict, PycontainerError
from tests.support.attacker import INSIDE
from tests.support.needs import needs

pytestmark = needs("root", "overlay")


class Canary:
    """A directory of the host that nothing may read or change."""

    def __init__(self) -> None:
        # A short path below the root, so that links of a few steps up reach it from anywhere.
        self.path = Path(f"/canary-{os.getpid()}")
        self.path.mkdir(mode=0o750)
        self.secret = os.urandom(16).hex().encode()
        (self.path / "secret").write_bytes(self.secret)
        (self.path / "secret").chmod(0o640)
        self.before = self.look()

    def look(self) -> list[object]:
        """All that would show a change, but for the times of reading."""
        found = [self.path, *sorted(self.path.rglob("*"))]
        fields = ("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ctime_ns", "st_nlink")
        stats = [[getattr(path.lstat(), field) for field in fields] for path in found]
        return [[str(path) for path in found], stats, (self.path / "secret").read_bytes()]


@pytest.fixture
def canary() -> Iterator[Canary]:
    made = Canary()
    yield made
    shutil.rmtree(made.path)


@contextmanager
def attack(container: pc.Container, canary: Canary) -> Iterator[list[int]]:
    """Attack while the block lasts; the list holds the number of exchanges afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.attacker", str(container.pid), str(canary.path)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    exchanges: list[int] = []
    try:
        assert process.stdout.readline() == b"begun\n"
        yield exchanges
    finally:
        process.stdin.close()
        exchanges.append(int(process.stdout.readline() or 0))
        process.stdout.close()
        process.wait(10)


def fooled(container: pc.Container, canary: Canary) -> bool:
    """Whether a look that trusts names is led to the host: the attack works on those it is meant for."""
    for _ in range(200_000):
        try:
            with open(f"/proc/{container.pid}/root/w/dir/secret", "rb") as file:
                if file.read() == canary.secret:
                    return True
        except OSError:
            pass
    return False


def works(container: pc.Container, tmp_path: Path, canary: Canary) -> dict[str, Callable[[], None]]:
    """The verbs, each on a path that is being exchanged, with what must hold of its answer."""
    source, numbers = tmp_path / "source", itertools.count()
    (source / "deep").mkdir(parents=True)
    (source / "secret").write_bytes(INSIDE)
    (source / "deep" / "secret").write_bytes(INSIDE)
    tar = io.BytesIO()
    places = [
        container.path / name for name in ("w/dir/secret", "w/dir/deep/secret", "w/mnt/secret", "w/file")
    ]
    directories = [container.path / name for name in ("w/dir", "w/dir/deep", "w/mnt", "w/link0", "w/link1")]
    chance = random.Random(20181566)

    def place() -> pc.ContainerPath:
        return chance.choice(places)

    def directory() -> pc.ContainerPath:
        return chance.choice(directories)

    def read() -> None:
        # What another verb is writing this moment may be half there, but nobody else's.
        assert place().read_bytes().startswith(INSIDE[:1])

    def append() -> None:
        with place().open("ab") as file:
            file.write(INSIDE)

    def glob() -> None:
        assert all(str(path).startswith("/w") for path in container.path.glob("w/**/secret"))

    def mkdir() -> None:
        (directory() / f"made{next(numbers)}" / "below").mkdir(parents=True)

    def symlink() -> None:
        (directory() / f"linked{next(numbers)}").symlink_to(str(canary.path))

    def rename() -> None:
        path = directory() / f"moved{next(numbers)}"
        path.write_bytes(INSIDE)
        path.rename(path.with_suffix(".again"))
        path.with_suffix(".again").unlink()

    def copy_in() -> None:
        container.copy_to(f"{source}/.", directory())

    def copy_tar_in() -> None:
        if not tar.getvalue():
            container.copy_to(f"{source}/.", "/tmp/source")
            container.copy_from("/tmp/source/.", tar)
        container.copy_to(tar.getvalue(), directory())

    def copy_out() -> None:
        target = tmp_path / f"out{next(numbers)}"
        try:
            container.copy_from(directory(), target)
            # The second time over what a hostile first copy left there.
            with suppress(Conflict):
                container.copy_from("/w/.", target)
        finally:
            for found in target.rglob("*") if target.is_dir() and not target.is_symlink() else ():
                if found.is_file() and not found.is_symlink():
                    assert canary.secret not in found.read_bytes(), found
                assert found.is_symlink() or not found.is_block_device() | found.is_char_device(), found
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    def copy_tar_out() -> None:
        got = io.BytesIO()
        container.copy_from("/w", got)
        assert canary.secret not in got.getvalue()

    def export() -> None:
        got = io.BytesIO()
        container.export(got)
        assert canary.secret not in got.getvalue()

    return {
        "read": read,
        "write": lambda: (place().write_bytes(INSIDE), None)[1],
        "append": append,
        "stat": lambda: (place().stat(), None)[1],
        "chmod": lambda: directory().chmod(0o755),
        "chown": lambda: directory().chown(7, 8),
        "touch": lambda: place().touch(),
        "iterdir": lambda: (list(directory().iterdir()), None)[1],
        "glob": glob,
        "mkdir": mkdir,
        "symlink": symlink,
        "rename": rename,
        "copy in": copy_in,
        "copy tar in": copy_tar_in,
        "copy out": copy_out,
        "copy tar out": copy_tar_out,
        "export": export,
        "diff": lambda: (container.diff(), None)[1],
    }


def test_nothing_a_container_exchanges_leads_out_of_it(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path, canary: Canary
) -> None:
    done: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    with pc.Container(busybox, ["sleep", "1000"], engine=engine) as container:
        with attack(container, canary) as exchanges:
            assert fooled(container, canary)
            verbs = works(container, tmp_path, canary)
            until = time.monotonic() + 28
            while time.monotonic() < until:
                for name, work in verbs.items():
                    try:
                        work()
                        done[name] += 1
                    except (OSError, PycontainerError) as error:
                        refused[f"{name}: {error}"] += 1
            assert canary.look() == canary.before
    assert exchanges[0] > 1000
    # Each verb did its work in spite of it, too, and not only give up.
    assert set(verbs) - set(done) == set(), refused.most_common(40)
