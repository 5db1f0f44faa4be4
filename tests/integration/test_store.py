"""The store with real layers, real helper jobs and several processes."""

from __future__ import annotations

import gzip
import io
import os
import signal
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pycontainer.errors import (
    DigestMismatch,
    InvalidImage,
    KernelError,
    NotFound,
    PycontainerError,
    TransferFailed,
)
from pycontainer.image import Progress
from pycontainer.launcher import Helper
from pycontainer.oci import Descriptor, Digest, chain_ids, sha256
from pycontainer.store import ImageLayer, ImageRecord, LayerToUnpack, SnapshotKey, Store
from tests.support import images
from tests.support.needs import needs
from tests.support.stores import await_condition

pytestmark = needs("root", "overlay")

BASE = {
    "etc/": None,
    "etc/a": b"1",
    "usr/": None,
    "usr/b": b"2",
    "usr/lib/": None,
    "usr/lib/big": b"x" * 300_000,
}
TOP = {"etc/": None, "etc/c": b"3", "usr/": None, "usr/.wh.b": b""}
# Its entry names no parents, so what "usr" is like is settled by the layers below.
PARTIAL = {"usr/lib/more": b"4"}


@pytest.fixture(scope="module")
def helper() -> Iterator[Helper]:
    made = Helper()
    made.start()
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path, helper: Helper) -> Iterator[Store]:
    made = Store(tmp_path / "store", helper)
    yield made
    made.close()


def blob_of(tar: bytes) -> tuple[LayerToUnpack, bytes]:
    data = gzip.compress(tar, 1, mtime=0)
    descriptor = Descriptor.of(data, "application/vnd.oci.image.layer.v1.tar+gzip")
    return LayerToUnpack(descriptor=descriptor, diff_id=sha256(tar)), data


def add_layers(store: Store, tars: Sequence[bytes]) -> list[LayerToUnpack]:
    layers = []
    for tar in tars:
        layer, data = blob_of(tar)
        store.content.put(data)
        layers.append(layer)
    return layers


def unpack(store: Store, layers: Sequence[LayerToUnpack], **more: object) -> list[SnapshotKey]:
    with store.lease("a test") as lease:
        return store.unpack(layers, lease=lease, **more)  # type: ignore[arg-type]


def tree(directory: Path) -> dict[str, str]:
    """Each entry's kind or content."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISCHR(mode):
            found[name] = "whiteout"
        else:
            found[name] = "directory" if stat.S_ISDIR(mode) else path.read_bytes()[:10].decode()
    return found


def is_clean(store: Store) -> bool:
    left = [
        os.listdir(store.root / name) for name in ("trash", "content/ingest", "locks/layers", "locks/leases")
    ]
    return not any(left) and not list(store.snapshots.preparations())


def test_layers_are_unpacked_and_stacked(store: Store) -> None:
    layers = add_layers(store, [images.tar_with(BASE), images.tar_with(TOP)])
    events: list[Progress] = []
    keys = unpack(store, layers, on_event=events.append)
    assert keys == [layer.diff_id[7:] for layer in layers]
    top, base = store.lower_dirs(keys)
    assert tree(top) == {"etc": "directory", "etc/c": "3", "usr": "directory", "usr/b": "whiteout"}
    assert tree(base)["usr/lib/big"] == "x" * 10
    assert {(event.action, event.digest) for event in events} == {
        (action, layer.descriptor.digest) for action in ("unpacking", "unpacked") for layer in layers
    }
    record = store.state.layers.get(keys[0])
    assert record is not None
    assert record.size == 300_002
    assert is_clean(store)


def test_unpacking_again_only_says_that_it_exists(store: Store) -> None:
    layers = add_layers(store, [images.tar_with(BASE), images.tar_with(PARTIAL)])
    keys = unpack(store, layers)
    events: list[Progress] = []
    assert unpack(store, layers, on_event=events.append) == keys
    assert [event.action for event in events] == ["exists", "exists"]


def test_a_layer_that_leans_on_those_below_is_keyed_by_its_stack(store: Store) -> None:
    other_base = {"usr/": None, "usr/lib/": None}
    layers = add_layers(store, [images.tar_with(BASE), images.tar_with(PARTIAL)])
    keys = unpack(store, layers)
    assert keys[1] == f"chain-{chain_ids([layer.diff_id for layer in layers])[1][7:]}"
    assert tree(store.lower_dirs(keys)[0]) == {
        "usr": "directory",
        "usr/lib": "directory",
        "usr/lib/more": "4",
    }
    other = [*add_layers(store, [images.tar_with(other_base)]), layers[1]]
    other_keys = unpack(store, other)
    assert other_keys[1] != keys[1]
    assert other_keys[1].startswith("chain-")
    assert is_clean(store)


def test_the_parents_of_a_leaning_layer_look_as_below(store: Store) -> None:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        entry = tarfile.TarInfo("srv")
        entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, 0o1770, 12, 34
        archive.addfile(entry)
    layers = add_layers(store, [tar.getvalue(), images.tar_with({"srv/file": b"x"})])
    top = store.lower_dirs(unpack(store, layers))[0]
    found = (top / "srv").stat()
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o1770, 12, 34)


def test_a_leaning_bottom_layer_stands_for_itself(store: Store) -> None:
    layers = add_layers(store, [images.tar_with(PARTIAL)])
    assert unpack(store, layers) == [layers[0].diff_id[7:]]


def test_images_without_layers_and_with_empty_layers_work(store: Store) -> None:
    assert unpack(store, []) == []
    empty = images.tar_with({})
    layers = add_layers(store, [images.tar_with(BASE), empty, empty])
    keys = unpack(store, layers)
    assert keys[1] == keys[2]
    assert len(store.lower_dirs(keys)) == 2
    assert unpack(store, add_layers(store, [empty])) == [keys[1]]


def test_a_layer_of_the_wrong_diff_id_is_refused_and_leaves_nothing(store: Store) -> None:
    good, bad = add_layers(store, [images.tar_with(BASE), images.tar_with(TOP)])
    wrong = LayerToUnpack(descriptor=bad.descriptor, diff_id=sha256(b"something else"))
    with pytest.raises(DigestMismatch, match=bad.descriptor.digest):
        unpack(store, [good, wrong])
    assert not store.snapshots.has(SnapshotKey(wrong.diff_id[7:]))
    assert is_clean(store)
    assert len(unpack(store, [good, bad])) == 2


@pytest.mark.parametrize("data", [b"this is no tar" * 100, b"\x1f\x8b broken"], ids=["no-tar", "no-gzip"])
def test_a_broken_layer_is_an_invalid_image_and_leaves_nothing(store: Store, data: bytes) -> None:
    digest = store.content.put(data)
    descriptor = Descriptor(media_type="x", digest=digest, size=len(data))
    layer = LayerToUnpack(descriptor=descriptor, diff_id=sha256(data))
    with pytest.raises(InvalidImage):
        unpack(store, [*add_layers(store, [images.tar_with(BASE)]), layer])
    assert is_clean(store)


def test_a_missing_blob_is_not_found(store: Store) -> None:
    layer, _ = blob_of(images.tar_with(BASE))
    with pytest.raises(NotFound, match=layer.descriptor.digest):
        unpack(store, [layer])
    assert is_clean(store)


class Download(threading.Thread):
    """Writes blobs in small steps, each when it is told to go on."""

    def __init__(self, store: Store, blobs: Sequence[tuple[Descriptor, bytes]], steps: int = 4) -> None:
        super().__init__()
        self._store = store
        self._blobs = blobs
        self._steps = steps
        self.half = threading.Event()
        self.go = threading.Event()

    def run(self) -> None:
        for descriptor, data in self._blobs:
            with self._store.content.ingest(descriptor) as ingest:
                assert ingest is not None
                ingest.write(data[: len(data) // 2])
                self.half.set()
                self.go.wait(20)
                step = max(1, len(data) // self._steps)
                while ingest.offset < len(data):
                    ingest.write(data[ingest.offset : ingest.offset + step])
                ingest.commit()


def test_layers_are_unpacked_while_they_download(store: Store) -> None:
    tars = [images.tar_with({f"d{n}/": None, f"d{n}/f": os.urandom(2_000_000)}) for n in range(3)]
    made = [blob_of(tar) for tar in tars]
    download = Download(store, [(layer.descriptor, data) for layer, data in made])
    started = threading.Event()

    def on_event(event: Progress) -> None:
        if event.action == "unpacking":
            started.set()
            download.go.set()

    download.start()
    download.half.wait(20)
    keys = unpack(store, [layer for layer, _ in made], follow=True, on_event=on_event)
    download.join()
    assert started.is_set()
    assert [path.name for path in store.lower_dirs(keys)[0].iterdir()] == ["d2"]
    assert is_clean(store)


def test_a_leaning_layer_waits_for_its_whole_blob(store: Store) -> None:
    made = [
        blob_of(images.tar_with(BASE)),
        blob_of(images.tar_with({**PARTIAL, "usr/x": os.urandom(500_000)})),
    ]
    download = Download(store, [(layer.descriptor, data) for layer, data in made])
    download.go.set()
    download.start()
    keys = unpack(store, [layer for layer, _ in made], follow=True)
    download.join()
    assert keys[1].startswith("chain-")
    assert is_clean(store)


def test_a_transfer_that_breaks_off_and_resumes_is_unpacked(store: Store) -> None:
    layer, data = blob_of(images.tar_with({"f": os.urandom(2_000_000)}))
    is_unpacking = threading.Event()

    def on_event(event: Progress) -> None:
        if event.action == "unpacking":
            is_unpacking.set()

    def download() -> None:
        with store.content.ingest(layer.descriptor) as ingest:
            assert ingest is not None
            ingest.write(data[:1_000_000])
            is_unpacking.wait(20)
        with store.content.ingest(layer.descriptor) as ingest:
            assert ingest is not None
            ingest.write(data[ingest.offset :])
            ingest.commit()

    thread = threading.Thread(target=download)
    thread.start()
    assert unpack(store, [layer], follow=True, on_event=on_event) == [layer.diff_id[7:]]
    thread.join()
    assert is_clean(store)


def test_unpacking_ends_when_the_transfer_is_given_up(store: Store) -> None:
    layers = [blob_of(images.tar_with(each))[0] for each in (BASE, TOP)]
    stop = threading.Event()
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    with pytest.raises(TransferFailed):
        unpack(store, layers, follow=True, stop=stop)
    timer.join()
    assert is_clean(store)


def test_one_bad_layer_stops_the_others_that_still_wait(store: Store) -> None:
    waiting, _ = blob_of(images.tar_with(BASE))
    data = b"no tar" * 1000
    bad = LayerToUnpack(
        descriptor=Descriptor(media_type="x", digest=store.content.put(data), size=len(data)),
        diff_id=sha256(data),
    )
    with pytest.raises(InvalidImage):
        unpack(store, [waiting, bad], follow=True)
    assert is_clean(store)


def test_two_threads_unpack_a_layer_once(store: Store) -> None:
    layers = add_layers(store, [images.tar_with({"f": os.urandom(3_000_000)})])
    events: list[Progress] = []
    threads = [
        threading.Thread(target=unpack, args=(store, layers), kwargs={"on_event": events.append})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    actions = [event.action for event in events]
    assert (actions.count("unpacked"), actions.count("exists")) == (1, 3)


def test_an_error_in_the_callers_event_handler_ends_the_unpacking(store: Store) -> None:
    def fail(event: Progress) -> None:
        raise RuntimeError("the handler's own")

    with pytest.raises(RuntimeError, match="handler"):
        unpack(store, add_layers(store, [images.tar_with(BASE)]), on_event=fail)
    assert is_clean(store)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", path], check=True)
    yield path
    # Whoever looks at every mount of the host holds it for a moment.
    await_condition(lambda: subprocess.run(["umount", path], check=False).returncode == 0)


def test_a_full_disk_is_reported_and_leaves_nothing_half_done(small_disk: Path, helper: Helper) -> None:
    store = Store(small_disk / "store", helper)
    try:
        big = add_layers(store, [images.tar_with({"f": bytes(12_000_000)})])
        with pytest.raises(KernelError, match="No space"):
            unpack(store, big)
        assert is_clean(store)
        layer, data = blob_of(os.urandom(12_000_000))
        with pytest.raises(KernelError, match="free some space"):
            store.content.put(data)
        assert not store.content.has(layer.descriptor.digest)
        store.collect_garbage(stale_ingest_s=0)
        assert unpack(store, add_layers(store, [images.tar_with(BASE)]))
    finally:
        store.close()


ONE_OF_MANY = """
import os, random, sys
from pathlib import Path
from pycontainer.errors import NotFound
from pycontainer.launcher import Helper
from pycontainer.oci import Descriptor
from pycontainer.store import LayerToUnpack, Store
from tests.integration.test_store import record_of, pull
seed = int(sys.argv[2])
random.seed(seed)
helper = Helper()
store = Store(Path(sys.argv[1]), helper)
for turn in range(6):
    pull(store, Path(sys.argv[3]), f"docker.io/library/shared:{random.randrange(3)}")
    if random.random() < 0.4:
        try:
            store.remove_image(f"shared:{random.randrange(3)}")
        except NotFound:
            pass
    if random.random() < 0.2:
        store.collect_garbage()
store.close()
helper.close()
"""


def record_of(
    layers: Sequence[LayerToUnpack], keys: Sequence[SnapshotKey], documents: Sequence[Digest]
) -> ImageRecord:
    return ImageRecord(
        id=documents[0],
        manifest_digest=documents[1],
        target_digest=documents[1],
        platform="linux/amd64",
        size=1,
        created_at=1.0,
        layers=tuple(
            ImageLayer(digest=layer.descriptor.digest, diff_id=layer.diff_id, snapshot=key)
            for layer, key in zip(layers, keys, strict=True)
        ),
    )


def pull(store: Store, source: Path, tag: str) -> ImageRecord:
    """Bring the layers of `source` here as a pull does: written by one thread, unpacked by another."""
    made = [blob_of(path.read_bytes()) for path in sorted(source.iterdir())]
    if tag.endswith("2"):
        made = made[:-1]
    layers = [layer for layer, _ in made]
    with store.lease(f"pull {tag}") as lease:
        documents = [store.content.put(f"{len(made)} {name}".encode()) for name in ("config", "manifest")]

        def download() -> None:
            for layer, data in made:
                with store.content.ingest(layer.descriptor, timeout_s=60) as ingest:
                    if ingest is not None:
                        while ingest.offset < len(data):
                            ingest.write(data[ingest.offset : ingest.offset + 200_000])
                        ingest.commit()

        thread = threading.Thread(target=download)
        thread.start()
        keys = store.unpack(layers, lease=lease, follow=True)
        thread.join()
        return store.state.images.put(record_of(layers, keys, documents), [tag])


def write_layers(directory: Path) -> Path:
    directory.mkdir()
    (directory / "0").write_bytes(images.tar_with(BASE))
    (directory / "1").write_bytes(images.tar_with({f"f{n}": os.urandom(40_000) for n in range(30)}))
    (directory / "2").write_bytes(images.tar_with(PARTIAL))
    return directory


def test_eight_processes_pull_and_remove_the_same_images(tmp_path: Path, helper: Helper) -> None:
    source = write_layers(tmp_path / "source")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ONE_OF_MANY, str(tmp_path / "store"), str(seed), str(source)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(8)
    ]
    errors = [process.communicate(timeout=100)[1] for process in processes]
    assert [error for error in errors if error] == []
    assert [process.returncode for process in processes] == [0] * 8
    store = Store(tmp_path / "store", helper)
    try:
        assert store.repaired.missing == {}
        for record in store.state.images.list():
            assert store.is_unpacked(record)
            assert all(store.content.verify(digest) for digest in record.digests)
            store.remove_image(record.id, force=True)
        store.collect_garbage(stale_ingest_s=0)
        assert list(store.content.digests()) == []
        assert list(store.snapshots.committed()) == []
        assert is_clean(store)
    finally:
        store.close()


INGESTING = """
import sys
from pathlib import Path
from pycontainer.oci import Descriptor
from pycontainer.launcher import Helper
from pycontainer.store import Store
store = Store(Path(sys.argv[1]), Helper())
data = Path(sys.argv[2]).read_bytes()
with store.lease("a pull"), store.content.ingest(Descriptor.of(data, "x")) as ingest:
    ingest.write(data[:1_500_000])
    print("half", flush=True)
    sys.stdin.read()
"""


def test_a_pull_killed_in_mid_blob_is_resumed_by_another_process(store: Store, tmp_path: Path) -> None:
    layer, data = blob_of(images.tar_with({"f": os.urandom(3_000_000)}))
    (tmp_path / "blob").write_bytes(data)
    process = subprocess.Popen(
        [sys.executable, "-c", INGESTING, str(store.root), str(tmp_path / "blob")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    offsets: list[int] = []

    def download() -> None:
        with store.content.ingest(layer.descriptor, timeout_s=30) as ingest:
            assert ingest is not None
            offsets.append(ingest.offset)
            ingest.write(data[ingest.offset :])
            ingest.commit()

    thread = threading.Thread(target=download)
    thread.start()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert unpack(store, [layer], follow=True) == [layer.diff_id[7:]]
    thread.join()
    assert offsets == [1_500_000]
    store.repair()
    assert is_clean(store)


def test_unpacking_works_in_a_forked_child(store: Store) -> None:
    layers = add_layers(store, [images.tar_with(BASE)])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            unpack(store, layers)
            store._unpacker._helper.close()
            code = 0
        except PycontainerError as error:
            os.write(2, str(error).encode())
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.snapshots.has(SnapshotKey(layers[0].diff_id[7:]))


def test_a_snapshot_is_what_the_overlay_of_the_layers_shows(store: Store, tmp_path: Path) -> None:
    keys = unpack(store, add_layers(store, [images.tar_with(each) for each in (BASE, TOP, PARTIAL)]))
    target = tmp_path / "merged"
    target.mkdir()
    lower = ":".join(map(str, [store.init_layer, *store.lower_dirs(keys)]))
    subprocess.run(["mount", "-t", "overlay", "-o", f"lowerdir={lower}", "overlay", target], check=True)
    try:
        found = tree(target)
    finally:
        subprocess.run(["umount", target], check=True)
    assert "usr/b" not in found
    assert {found[name] for name in ("etc/a", "etc/c", "usr/lib/more")} == {"1", "3", "4"}
    assert found["proc"] == "directory"
