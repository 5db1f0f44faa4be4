"""What nothing needs goes, what something needs stays, and what crashes left is put right."""

from __future__ import annotations

import errno
import importlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pycontainer.store as store_package
from pycontainer.errors import AlreadyExists, InUse, NotFound
from pycontainer.kernel import pidfd
from pycontainer.launcher import Helper, status
from pycontainer.oci import Descriptor, Digest
from pycontainer.store import ImageLayer, ImageRecord, LayerRecord, Owner, Store
from pycontainer.store.locks import FileLock
from pycontainer.store.repair import LOST_EXIT_CODE
from tests.unit.store.records import container, digest, image, key

NAME = "docker.io/library/a:latest"


def add_layer(store: Store, name: str) -> None:
    prepared = store.snapshots.prepare(key(name))
    (prepared.fs / "file").write_text(name)
    store.state.layers.put(LayerRecord(key=key(name), diff_id=digest(name), size=100, entries=1))
    store.snapshots.commit(prepared)


def add_image(store: Store, name: str, layers: list[str], tags: list[str]) -> ImageRecord:
    """An image whose blobs and layers are there."""
    blobs = [store.content.put(f"{name} {part}".encode()) for part in ("config", "manifest", "index")]
    for layer in layers:
        add_layer(store, layer)
    record = ImageRecord(
        id=blobs[0],
        manifest_digest=blobs[1],
        target_digest=blobs[2],
        platform="linux/amd64",
        size=1,
        created_at=1.0,
        layers=tuple(
            ImageLayer(digest=store.content.put(layer.encode()), diff_id=digest(layer), snapshot=key(layer))
            for layer in layers
        ),
    )
    return store.state.images.put(record, tags)


def add_container(store: Store, name: str, fields: dict[str, object] | None = None, **more: object) -> str:
    record = container(name, **more)  # type: ignore[arg-type]
    directory = store.add_container(record)
    if fields is not None:
        fd = os.open(directory, os.O_RDONLY)
        status.prepare(fd, fields)
        status.replace(fd)
        os.close(fd)
    return record.id


def me() -> dict[str, object]:
    return {
        "boot_id": status.BOOT_ID,
        "monitor_pid": os.getpid(),
        "monitor_start": pidfd.start_time(os.getpid()),
    }


def dead() -> Owner:
    process = subprocess.Popen(["true"])
    start = pidfd.start_time(process.pid)
    process.wait()
    return Owner(pid=process.pid, start=start, boot_id=status.BOOT_ID)


def lost_monitor(state: str = "running") -> dict[str, object]:
    gone = dead()
    return {"state": state, "boot_id": gone.boot_id, "monitor_pid": gone.pid, "monitor_start": gone.start}


def test_garbage_is_what_no_image_container_or_lease_needs(store: Store) -> None:
    kept = add_image(store, "kept", ["shared", "top"], [NAME])
    garbage = store.content.put(b"garbage")
    for name in ("of a container", "of a lease", "of nobody"):
        add_layer(store, name)
    add_container(store, "box", snapshots=["of a container"])
    with store.lease("a pull") as lease:
        lease.protect_snapshot(key("of a lease"))
        leased = store.content.put(b"leased")
        collected = store.collect_garbage()
        assert (collected.blobs, collected.snapshots, collected.bytes) == (1, 1, 107)
        assert store.content.has(leased)
    assert set(store.snapshots.committed()) == {
        key(n) for n in ("shared", "top", "of a container", "of a lease")
    }
    assert not store.content.has(garbage)
    assert kept.digests <= set(store.content.digests())
    collected = store.collect_garbage()
    assert (collected.blobs, collected.snapshots) == (1, 1)
    assert {layer.key for layer in store.state.layers.list()} == {
        key(n) for n in ("shared", "top", "of a container")
    }
    assert os.listdir(store.root / "trash") == []


def test_a_collection_with_nothing_to_do_frees_nothing(store: Store) -> None:
    add_image(store, "kept", ["a"], [NAME])
    collected = store.collect_garbage()
    assert (collected.bytes, collected.blobs, collected.snapshots, collected.containers) == (0, 0, 0, 0)


def test_a_layer_being_unpacked_is_no_garbage(store: Store) -> None:
    prepared = store.snapshots.prepare(key("a"))
    lock = FileLock(store.root / "locks/layers" / key("a"))
    lock.acquire()
    store.collect_garbage()
    assert prepared.fs.is_dir()
    lock.release(remove=True)
    store.collect_garbage()
    assert not prepared.directory.exists()


def test_removing_an_image_keeps_what_another_one_shares(store: Store) -> None:
    add_image(store, "one", ["shared", "only one"], [NAME])
    other = add_image(store, "two", ["shared", "only two"], ["docker.io/library/b:latest"])
    removed = store.remove_image("a")
    assert removed.untagged == (NAME,)
    assert removed.freed_bytes > 100
    assert set(store.snapshots.committed()) == {key("shared"), key("only two")}
    assert set(store.content.digests()) == other.digests
    with pytest.raises(NotFound):
        store.find_image("a")


def test_the_layers_of_a_container_stay_when_its_image_is_forced_away(store: Store) -> None:
    record = add_image(store, "one", ["base"], [NAME])
    store.add_container(container("box", snapshots=["base"]))
    store.state.containers.insert(
        container("user", container_id="1" * 64).__class__(
            id="1" * 64,
            name="user",
            image_id=record.id,
            image_ref="a",
            created_at=1.0,
            snapshots=(key("base"),),
        )
    )
    with pytest.raises(InUse, match="user"):
        store.remove_image("a")
    store.remove_image("a", force=True)
    assert store.snapshots.has(key("base"))


def test_a_container_gets_an_empty_writable_layer_and_loses_it(store: Store) -> None:
    directory = store.add_container(container("box"))
    assert sorted(os.listdir(directory)) == ["upper", "work"]
    (directory / "upper/file").write_text("x")
    assert store.remove_container(container("box").id)
    assert not directory.exists()
    assert not store.remove_container(container("box").id)


def test_a_refused_container_leaves_no_directory(store: Store) -> None:
    store.add_container(container("box"))
    with pytest.raises(AlreadyExists):
        store.add_container(container("box", container_id="1" * 64))
    with pytest.raises(NotFound):
        store.add_container(container("other", "no such image"))
    with pytest.raises(NotFound):
        store.add_container(container("third", snapshots=["no such layer"]))
    assert os.listdir(store.root / "containers") == [container("box").id]


def test_a_large_tree_is_removed_too(store: Store) -> None:
    top = store.root / "containers/large"
    for number in range(30):
        (top / f"d{number}").mkdir(parents=True)
        for inner in range(5):
            (top / f"d{number}/f{inner}").touch()
    (top / "link").symlink_to("/")
    store.remove_tree(top)
    store.remove_tree(top)
    assert not top.exists()
    assert os.listdir(store.root / "trash") == []


def test_a_container_is_locked_once(store: Store) -> None:
    with store.container_lock("a" * 64):
        assert not FileLock(store.root / "locks/containers" / ("a" * 64)).try_acquire()
    assert os.listdir(store.root / "locks/containers") == []


def test_a_store_that_is_whole_needs_no_repair(store: Store) -> None:
    record = add_image(store, "one", ["base"], [NAME])
    add_container(store, "created", snapshots=["base"])
    running = add_container(store, "running", {"state": "running", **me()})
    add_container(store, "ended", {"state": "exited", "exit_code": 3, **lost_monitor("exited")})
    repaired = store.repair()
    assert not any(
        (repaired.preparations, repaired.orphans, repaired.forgotten, repaired.exited, repaired.missing)
    )
    assert store.is_unpacked(record)
    assert (status.read(str(store.container_dir(running))) or {})["state"] == "running"


def test_a_directory_without_a_row_and_a_row_without_a_directory_go(store: Store) -> None:
    (store.root / "containers" / ("1" * 64)).mkdir()
    store.state.containers.insert(container("box"))
    repaired = store.repair()
    assert (repaired.orphans, repaired.forgotten) == (1, (container("box").id,))
    assert store.state.containers.list() == []
    assert os.listdir(store.root / "containers") == []


def test_a_container_whose_monitor_died_has_exited(store: Store) -> None:
    lost = add_container(store, "lost", {**lost_monitor(), "pid": 0, "exit_code": None})
    rebooted = add_container(store, "rebooted", {**me(), "state": "running", "boot_id": "another boot"})
    reused = add_container(store, "reused", {**me(), "state": "running", "monitor_start": 1})
    repaired = store.repair()
    assert set(repaired.exited) == {lost, rebooted, reused}
    for container_id in repaired.exited:
        fields = status.read(str(store.container_dir(container_id))) or {}
        assert (fields["state"], fields["exit_code"]) == ("exited", LOST_EXIT_CODE)
        assert int(fields["finished_at_ns"]) <= time.time_ns()
    assert store.repair().exited == ()


def test_a_container_that_lost_its_monitor_is_not_left_running(store: Store) -> None:
    process = subprocess.Popen(["sleep", "60"])
    add_container(
        store, "lost", {**lost_monitor(), "pid": process.pid, "pid_start": pidfd.start_time(process.pid)}
    )
    store.repair()
    assert process.wait(10) == -9


def test_a_container_whose_monitor_removes_it_meanwhile_is_forgotten(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = add_container(store, "box", lost_monitor())

    def removed_meanwhile(_: object) -> bool:
        shutil.rmtree(store.container_dir(box))
        return False

    monkeypatch.setattr("pycontainer.store.repair._monitor_lives", removed_meanwhile)
    assert store.repair().forgotten == (box,)


def test_another_process_with_the_pid_of_a_lost_container_is_spared(store: Store) -> None:
    process = subprocess.Popen(["sleep", "60"])
    add_container(store, "lost", {**lost_monitor(), "pid": process.pid, "pid_start": 1})
    store.repair()
    assert process.poll() is None
    process.kill()
    process.wait()


def test_a_status_file_emptied_by_a_power_cut_does_not_stop_the_repair(store: Store) -> None:
    box = add_container(store, "box")
    (store.container_dir(box) / "status.json").touch()
    assert store.repair().forgotten == ()


def test_a_container_of_a_dead_owner_goes_unless_it_is_still_being_stopped(store: Store) -> None:
    alive = Owner(pid=os.getpid(), start=pidfd.start_time(os.getpid()), boot_id=status.BOOT_ID)
    never_started = add_container(store, "a", owner=dead())
    ended = add_container(store, "b", lost_monitor("exited"), owner=dead())
    add_container(store, "c", {"state": "running", **me()}, owner=dead())
    add_container(store, "d", owner=alive)
    assert set(store.repair().forgotten) == {never_started, ended}


def test_a_container_that_was_to_vanish_goes_after_it_ran(store: Store) -> None:
    add_container(store, "created", auto_remove=True)
    add_container(store, "running", {"state": "running", **me()}, auto_remove=True)
    ended = add_container(store, "ended", lost_monitor("exited"), auto_remove=True)
    assert store.repair().forgotten == (ended,)


def test_missing_parts_of_an_image_are_reported(store: Store) -> None:
    record = add_image(store, "one", ["base"], [NAME])
    store.content.path(record.manifest_digest).unlink()
    store.snapshots.remove(key("base"))
    assert store.repair().missing == {NAME: tuple(sorted([record.manifest_digest, key("base")]))}
    assert not store.is_unpacked(record)


def test_after_a_reboot_only_what_reached_the_disk_is_trusted(store: Store) -> None:
    add_image(store, "one", ["durable"], [NAME])
    store.sync()
    add_layer(store, "lost")
    whole, broken = store.content.put(b"whole"), store.content.put(b"broken")
    store.content.path(broken).write_bytes(b"")
    assert store.repair().lost_layers == ()
    store.state.layers.set_boot_id("an earlier boot")
    repaired = store.repair()
    assert (repaired.lost_layers, repaired.lost_blobs) == ((key("lost"),), (broken,))
    assert store.snapshots.has(key("durable"))
    assert store.content.has(whole)
    assert not store.content.has(broken)
    assert store.repair().lost_blobs == ()


def test_the_sync_in_the_background_marks_what_was_there(store: Store) -> None:
    record = add_image(store, "one", ["base"], [NAME])
    store.sync_later()
    store.sync()
    assert store.state.layers.durable_blobs() == record.digests
    assert [layer.is_durable for layer in store.state.layers.list()] == [True]


def test_a_sync_that_cannot_be_had_costs_nothing(
    store: Store, helper: Helper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    add_image(store, "one", ["base"], [NAME])
    monkeypatch.setattr(helper, "submit", refuse)
    store.sync()  # an exception in its thread is an error of this test
    assert store.state.layers.durable_blobs() == set()


def test_closing_does_not_wait_for_the_background(tmp_path: Path, helper: Helper) -> None:
    made = Store(tmp_path / "other", helper)
    made.content.put(b"x")
    made.sync_later()
    begun = time.monotonic()
    made.close()
    made.close()
    assert time.monotonic() - begun < 5


def test_opening_waits_only_so_long_for_a_stopped_process(
    tmp_path: Path, helper: Helper, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path / "s", helper).close()
    monkeypatch.setattr("pycontainer.store.store._REPAIR_WAIT_S", 0.05)
    with FileLock(tmp_path / "s/locks/store").held():
        Store(tmp_path / "s", helper).close()


def test_a_stale_lease_is_removed_at_opening(store: Store) -> None:
    (store.root / "locks/leases/dead").write_text("blob sha256:x\n")
    store.repair()
    assert os.listdir(store.root / "locks/leases") == []


KILLED_AT = """
import sys
from pathlib import Path
from pycontainer import checkpoints
from pycontainer.launcher import Helper
from pycontainer.store import Store
from tests.unit.store.records import container
from tests.unit.store.test_gc_and_repair import add_image, add_layer
store = Store(Path(sys.argv[1]), Helper())
add_image(store, "one", ["base"], ["docker.io/library/a:latest"])
add_layer(store, "garbage")
store.content.put(b"garbage")
store.add_container(container("old"))
checkpoints.arm(sys.argv[2])
store.content.put(b"another")
store.state.images.put(store.find_image("a"), ["docker.io/library/again:1"])
store.add_container(container("box"))
store.sync()
store.remove_container(container("old").id)
store.collect_garbage()
store.remove_image("again:1")
store.remove_image("a")
print("survived")
"""


@pytest.mark.parametrize(
    "point",
    [
        "pull.blob.started",
        "pull.blob.written",
        "pull.blob.verified",
        "pull.blob.committed",
        "pull.image.recording",
        "pull.image.recorded",
        "pull.image.synced",
        "create.container.prepared",
        "create.container.inserted",
        "remove.container.deleted",
        "remove.tree.renamed",
        "collect.garbage.marked",
        "collect.blob.deleted",
        "collect.snapshot.renamed",
        "collect.garbage.swept",
        "remove.image.forgotten",
    ],
)
def test_a_store_is_whole_after_a_kill_at(tmp_path: Path, helper: Helper, point: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT, str(tmp_path / "store"), point], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (-9, ""), done.stderr
    store = Store(tmp_path / "store", helper)
    try:
        assert store.repaired.missing == {}
        rows = store.state.containers.ids()
        assert rows == set(os.listdir(store.root / "containers"))
        for name in ("box", "old"):
            if container(name).id not in rows:
                store.add_container(container(name))
        store.content.put(b"another")
        for record in store.state.images.list():
            assert store.is_unpacked(record)
            assert all(store.content.verify(each) for each in record.digests)
            store.remove_image(record.id, force=True)
        store.collect_garbage(stale_ingest_s=0)
        assert list(store.content.digests()) == []
        assert list(store.snapshots.committed()) == []
        for directory in ("trash", "content/ingest", "locks/leases", "locks/layers"):
            assert os.listdir(store.root / directory) == []
    finally:
        store.close()


def test_every_kill_point_is_listed_by_its_module() -> None:
    package = Path(store_package.__file__).parent
    listed: set[str] = set()
    marked: set[str] = set()
    for path in package.rglob("*.py"):
        name = ".".join(["pycontainer", *path.relative_to(package.parent).with_suffix("").parts])
        listed.update(getattr(importlib.import_module(name), "KILL_POINTS", ()))
        marked.update(re.findall(r'reached\("([^"]+)"\)', path.read_text()))
    assert listed == marked


def test_blobs_of_unknown_size_are_never_assumed(store: Store) -> None:
    with pytest.raises(NotFound):
        store.content.size(Digest(image("x").id))
    with pytest.raises(NotFound):
        store.content.open(Descriptor(media_type="x", digest=digest("x"), size=1))
