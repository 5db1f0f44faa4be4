"""Many processes on one store: pulling, running and removing at once, repairing meanwhile, one stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.oci import Reference
from tests.support import images, stores
from tests.support.needs import needs

pytestmark = needs("root", "overlay")

PROCESSES = 8
TAGS = 3

WORKER = """
import random, sys
import pycontainer as pc
from pycontainer.errors import AlreadyExists, InUse, NotFound
root, address, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
random.seed(seed)
with pc.Engine(root) as engine:
    for turn in range(8):
        number = random.randrange(3)
        reference = f"{address}/many:{number}"
        pc.Image.pull(reference, engine=engine)
        # Another process may remove the image between any two steps: then the next pull brings it back.
        try:
            done = pc.run(reference, ["cat", "/which"], memory="64m", engine=engine)
            assert done.text == str(number), done
            box = pc.Container.create(reference, ["sleep", "1000"], name=f"box-{number}", engine=engine)
        except (AlreadyExists, NotFound):
            box = None
        if box is not None:
            box.start()
            assert box.state == "running"
            pc.Container.list(all=True, engine=engine)
            box.remove(force=True)
        if random.random() < 0.5:
            try:
                pc.Image.get(reference, engine=engine).remove(reference)
            except (InUse, NotFound):
                pass
        if random.random() < 0.3:
            pc.Image.prune(engine=engine)
print("done")
"""

REPAIRER = """
import select, sys
import pycontainer as pc
while True:
    with pc.Engine(sys.argv[1]) as engine:
        repaired = engine.store.repair()
        assert repaired.missing == {}, repaired
        for container in pc.Container.list(all=True, engine=engine):
            container.name
    if select.select([sys.stdin], [], [], 0)[0]:
        break
"""


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory, busybox_rootfs: Path) -> Path:
    """A registry's content: three images that share their first layer."""
    base = images.tar_of(busybox_rootfs)
    root = tmp_path_factory.mktemp("many")
    with pc.Registry(root / "registry") as made, pc.Engine(root / "store") as engine:
        for number in range(TAGS):
            layers = [base, images.tar_with({"which": str(number).encode(), "more": os.urandom(300_000)})]
            (image,) = pc.Image.load(images.oci_layout(root / str(number), layers), engine=engine)
            image.push(f"{made.address}/many:{number}")
    return root / "registry"


@pytest.fixture
def registry(content: Path) -> Iterator[pc.Registry]:
    """A registry of its own for each test: the number of its threads follows that of its clients."""
    with pc.Registry(content) as made:
        yield made


def begin(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcomes(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    found = []
    try:
        for process in processes:
            _, stderr = process.communicate(timeout=120)
            found.append((process.returncode, stderr))
    finally:
        for process in processes:
            process.kill()
    return found


def check(root: Path) -> None:
    with pc.Engine(root) as engine:
        assert pc.Container.list(all=True, engine=engine) == []
        stores.check_whole(engine)
        stores.check_tidy(engine)
        stores.empty(engine)


def test_eight_processes_pull_run_and_remove_on_one_store(tmp_path: Path, registry: pc.Registry) -> None:
    root = tmp_path / "store"
    workers = [begin(WORKER, str(root), registry.address, str(seed)) for seed in range(PROCESSES)]
    assert outcomes(workers) == [(0, "")] * PROCESSES
    check(root)


def test_eight_processes_pull_one_image_and_transfer_it_once(tmp_path: Path, registry: pc.Registry) -> None:
    root = tmp_path / "store"
    script = "import sys, pycontainer as pc\nwith pc.Engine(sys.argv[1]):\n    pc.Image.pull(sys.argv[2])"
    before = len(registry.requests)
    pullers = [begin(script, str(root), f"{registry.address}/many:0") for _ in range(PROCESSES)]
    assert outcomes(pullers) == [(0, "")] * PROCESSES
    with pc.Engine(root) as engine:
        (image,) = pc.Image.list(engine=engine)
        digests = [layer.digest for layer in image.view.layers]
    asked = [request.path.rpartition("/")[2] for request in registry.requests[before:]]
    assert [asked.count(digest) for digest in digests] == [1, 1]
    check(root)


def test_two_processes_repair_while_four_work(tmp_path: Path, registry: pc.Registry) -> None:
    root = tmp_path / "store"
    repairers = [begin(REPAIRER, str(root)) for _ in range(2)]
    workers = [begin(WORKER, str(root), registry.address, str(seed)) for seed in range(4)]
    of_workers, of_repairers = outcomes(workers), outcomes(repairers)
    assert of_workers == [(0, "")] * 4
    assert of_repairers == [(0, "")] * 2
    check(root)


HOLDER = """
import os, signal, sys
from pathlib import Path
from pycontainer.store.locks import FileLock
FileLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""

IMPATIENT = """
import sys
import pycontainer as pc
from pycontainer.errors import DeadlineExceeded
from pycontainer.store import locks, store
locks.SHORT_S = store._REPAIR_WAIT_S = 0.2
with pc.Engine(sys.argv[1]) as engine:
    assert [image.tags for image in pc.Image.list(engine=engine)] == [("busybox:1",)]
    try:
        pc.run("busybox:1", ["true"], engine=engine)
    except DeadlineExceeded as error:
        print(error)
"""


@contextmanager
def stopped(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that says it holds something and then stops itself."""
    process = begin(script, *arguments)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_stopped_holder_of_the_stores_lock_keeps_others_only_until_their_deadline(
    tmp_path: Path, busybox_layout: Path
) -> None:
    root = tmp_path / "store"
    with pc.Engine(root) as engine:
        pc.Image.load(busybox_layout, engine=engine)[0].tag("busybox:1")
    with stopped(HOLDER, str(root / "locks/store")):
        done = subprocess.run(
            [sys.executable, "-c", IMPATIENT, str(root)], capture_output=True, text=True, timeout=60
        )
        assert done.stderr == ""
        assert str(root / "locks/store") in done.stdout
    with pc.Engine(root) as engine:
        assert pc.run("busybox:1", ["echo", "hi"], engine=engine).text == "hi\n"
    check(root)


INGESTING = """
import os, signal, sys
import pycontainer as pc
from pycontainer.oci import Descriptor
engine = pc.Engine(sys.argv[1])
blob = Descriptor(media_type="x", digest=sys.argv[2], size=int(sys.argv[3]))
with engine.store.lease("a pull"), engine.store.content.ingest(blob):
    print("held", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_puller_that_is_stopped_and_killed_leaves_its_blob_to_those_who_wait(
    tmp_path: Path, registry: pc.Registry
) -> None:
    root = tmp_path / "store"
    with pc.Engine(root) as engine:
        other = pc.Image.pull(f"{registry.address}/many:1", engine=engine)
        wanted = engine.registries.resolve(Reference.parse(f"{registry.address}/many:0"), None)
        blob = wanted.manifest.layers[1]
        script = "import sys, pycontainer as pc\nwith pc.Engine(sys.argv[1]):\n    pc.Image.pull(sys.argv[2])"
        with stopped(INGESTING, str(root), blob.digest, str(blob.size)) as holder:
            waiting = begin(script, str(root), f"{registry.address}/many:0")
            # Whoever does not need that blob is not kept.
            assert pc.run(other, ["cat", "/which"], engine=engine).text == "1"
            assert pc.Image.pull(f"{registry.address}/many:2", engine=engine).tags
            holder.kill()
            assert outcomes([waiting]) == [(0, "")]
    check(root)
