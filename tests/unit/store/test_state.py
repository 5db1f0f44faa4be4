"""Images, tags and containers in the database; the database between threads, processes and versions."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from attrs import evolve

from pycontainer.errors import AlreadyExists, IntegrityError, InUse, InvalidInput, NotFound, Unsupported
from pycontainer.store import ImageLayer, LayerRecord, Owner, SnapshotKey, StateDB
from pycontainer.store.database import SCHEMA_VERSION
from pycontainer.store.layout import Layout
from pycontainer.store.removal import find_image, forget_image
from tests.unit.store.records import container, digest, image, key

ALPINE = "docker.io/library/alpine:3.20"
EDGE = "docker.io/library/alpine:edge"


def test_an_image_is_read_back_as_it_was_put(state: StateDB) -> None:
    record = evolve(image("a", ["base", "top"]), blobs=(digest("more"),))
    assert state.images.put(record, [ALPINE]) == record
    assert state.images.get(record.id) == record
    assert state.images.tagged(ALPINE) == record
    assert [tag.name for tag in state.images.tags(record.id)] == [ALPINE]


def test_putting_an_image_twice_changes_nothing(state: StateDB) -> None:
    record = image("a", ["base"])
    state.images.put(record, [ALPINE])
    assert state.images.put(record, [ALPINE]) == record
    assert state.images.list() == [record]


def test_another_manifest_of_an_image_keeps_the_blobs_of_the_first(state: StateDB) -> None:
    first = image("a", ["base"])
    other = evolve(
        first,
        manifest_digest=digest("other manifest"),
        layers=(ImageLayer(digest=digest("recompressed"), diff_id=digest("base"), snapshot=SnapshotKey("")),),
    )
    state.images.put(first, [ALPINE])
    stored = state.images.put(other, [EDGE])
    assert first.digests | other.digests == stored.digests
    assert stored.snapshots == (key("base"),)


def test_a_tag_moves_to_the_newer_image(state: StateDB) -> None:
    state.images.put(image("old"), [ALPINE])
    state.images.put(image("new"), [ALPINE])
    assert state.images.tagged(ALPINE) == image("new")
    assert state.images.tags(digest("old")) == []
    assert len(state.images.list()) == 2


def test_tagging_a_missing_image_is_refused(state: StateDB) -> None:
    with pytest.raises(NotFound):
        state.images.tag(ALPINE, digest("a"), digest("a"))


def test_images_are_listed_newest_first(state: StateDB) -> None:
    for number, name in enumerate("abc"):
        state.images.put(image(name, created_at=float(number)))
    assert [record.id for record in state.images.list()] == [digest("c"), digest("b"), digest("a")]


@pytest.mark.parametrize(
    "text",
    [
        ALPINE,
        "alpine:3.20",
        "docker.io/alpine:3.20",
        digest("a"),
        digest("a")[7:],
        digest("a")[7:13],
        digest("a")[:20],
        f"alpine@{digest('a index')}",
        f"alpine@{digest('a manifest')}",
        f"docker.io/library/alpine:3.20@{digest('a index')}",
    ],
)
def test_an_image_is_found_by(state: StateDB, text: str) -> None:
    state.images.put(image("a"), [ALPINE])
    state.images.put(image("b"), ["docker.io/library/debian:latest"])
    assert find_image(state.images, text)[0].id == digest("a")


@pytest.mark.parametrize(
    "text",
    [
        "alpine",
        "alpine:3.2",
        "ghcr.io/alpine:3.20",
        f"debian@{digest('a index')}",
        "sha256:",
        "",
        "??",
        "ff" * 33,
    ],
)
def test_an_image_is_not_found_by(state: StateDB, text: str) -> None:
    state.images.put(image("a"), [ALPINE])
    with pytest.raises(NotFound):
        find_image(state.images, text)


def test_a_prefix_of_two_images_is_ambiguous(state: StateDB) -> None:
    state.images.put(evolve(image("a"), id=digest("a")[:12] + "0" * 59))
    state.images.put(evolve(image("a"), id=digest("a")[:12] + "1" * 59))
    with pytest.raises(InvalidInput, match="more digits"):
        find_image(state.images, digest("a")[7:12])


def test_a_name_that_looks_like_an_id_wins_over_the_prefix(state: StateDB) -> None:
    state.images.put(image("a"))
    state.images.put(image("b"), [f"docker.io/library/{digest('a')[7:12]}:latest"])
    assert find_image(state.images, digest("a")[7:12])[0].id == digest("b")


def test_removing_one_of_two_names_keeps_the_image(state: StateDB) -> None:
    state.images.put(image("a"), [ALPINE, EDGE])
    removed = forget_image(state, "alpine:edge")
    assert (removed.untagged, removed.deleted) == ((EDGE,), None)
    assert state.images.tagged(ALPINE) is not None


def test_removing_the_last_name_removes_the_image(state: StateDB) -> None:
    state.images.put(image("a"), [ALPINE])
    removed = forget_image(state, "alpine:3.20")
    assert (removed.untagged, removed.deleted) == ((ALPINE,), digest("a"))
    assert state.images.list() == []
    assert state.images.tags() == []


def test_an_id_with_several_names_needs_force(state: StateDB) -> None:
    state.images.put(image("a"), [ALPINE, EDGE])
    with pytest.raises(InUse, match=r"alpine:3\.20"):
        forget_image(state, digest("a"))
    assert forget_image(state, digest("a"), force=True).untagged == (ALPINE, EDGE)


def test_an_image_in_use_is_refused_naming_the_container(state: StateDB) -> None:
    state.images.put(image("a"), [ALPINE])
    state.containers.insert(container("box", "a"))
    with pytest.raises(InUse, match="box"):
        forget_image(state, "alpine:3.20")
    removed = forget_image(state, "alpine:3.20", force=True)
    assert (removed.untagged, removed.deleted) == ((ALPINE,), None)
    assert state.images.get(digest("a")) is not None


def test_a_container_is_read_back_as_it_was_inserted(state: StateDB) -> None:
    state.images.put(image("a"))
    record = container(
        "box", "a", snapshots=["x", "y"], auto_remove=True, owner=Owner(pid=1, start=2, boot_id="b")
    )
    state.containers.insert(record)
    assert state.containers.get(record.id) == record
    assert state.containers.list() == [record]
    assert state.containers.of_image(digest("a")) == [record]


def test_a_container_of_a_removed_image_is_not_made(state: StateDB) -> None:
    with pytest.raises(NotFound, match="pull it again"):
        state.containers.insert(container("box", "a"))


def test_a_name_is_taken_once(state: StateDB) -> None:
    state.containers.insert(container("box"))
    with pytest.raises(AlreadyExists, match=container("box").id[:12]):
        state.containers.insert(container("box", container_id="1" * 64))
    state.containers.insert(container("other"))
    with pytest.raises(AlreadyExists):
        state.containers.rename(container("other").id, "box")


def test_a_name_is_free_after_deletion_and_renaming(state: StateDB) -> None:
    state.containers.insert(container("box"))
    state.containers.rename(container("box").id, "crate")
    state.containers.insert(container("box", container_id="1" * 64))
    assert state.containers.delete("1" * 64)
    assert not state.containers.delete("1" * 64)
    state.containers.rename(container("box").id, "box")
    with pytest.raises(NotFound):
        state.containers.rename("2" * 64, "x")


def test_options_can_be_replaced(state: StateDB) -> None:
    state.containers.insert(container("box"))
    state.containers.set_options(container("box").id, {"cpus": 2})
    assert state.containers.find("box").options == {"cpus": 2}
    with pytest.raises(NotFound):
        state.containers.set_options("2" * 64, {})


def test_containers_are_found_by_id_then_name_then_unique_prefix(state: StateDB) -> None:
    a, b = "aa" + "0" * 62, "aa" + "1" * 62
    state.containers.insert(container("box", container_id=a))
    state.containers.insert(container("aa0", container_id=b))
    assert state.containers.find(a).name == "box"
    assert state.containers.find("aa0").id == b
    assert state.containers.find("aa00").id == a
    assert state.containers.find("aa1").id == b
    with pytest.raises(InvalidInput, match="more digits"):
        state.containers.find("aa")
    for unknown in ("ab", "", "nothing", "%", "aa0%", "AA00"):
        with pytest.raises(NotFound):
            state.containers.find(unknown)


def test_a_full_id_wins_over_a_container_of_that_name(state: StateDB) -> None:
    state.containers.insert(container("box", container_id="a" * 64))
    state.containers.insert(container("a" * 64, container_id="b" * 64))
    assert state.containers.find("a" * 64).name == "box"


def test_layers_and_durability_are_remembered(state: StateDB) -> None:
    record = LayerRecord(key=key("x"), diff_id=digest("x"), size=5, entries=2)
    state.layers.put(record)
    assert state.layers.get(key("x")) == record
    state.layers.set_durable([key("x"), key("gone")], [digest("blob")])
    assert state.layers.list() == [evolve(record, is_durable=True)]
    assert state.layers.durable_blobs() == {digest("blob")}
    state.layers.forget_blobs([digest("blob")])
    state.layers.delete([key("x")])
    assert state.layers.durable_blobs() == set()
    assert state.layers.get(key("x")) is None


def test_a_failed_transaction_changes_nothing(state: StateDB) -> None:
    def fail() -> None:
        with state.transaction():
            state.images.put(image("a"), [ALPINE])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert state.images.list() == []
    state.images.put(image("b"))


def test_a_newer_schema_is_refused_politely(state: StateDB, layout: Layout) -> None:
    state.close()
    with sqlite3.connect(layout.database) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(Unsupported, match="update pycontainer"):
        StateDB(layout)


def test_a_damaged_database_is_named(layout: Layout) -> None:
    layout.database.write_bytes(b"this is no database" * 100)
    with pytest.raises(IntegrityError, match=r"state\.db"):
        StateDB(layout)


def test_the_database_is_private_whatever_the_umask(layout: Layout) -> None:
    old = os.umask(0)
    try:
        state = StateDB(layout)
        state.images.put(image("a"))
        modes = {path.stat().st_mode & 0o777 for path in layout.root.glob("state.db*")}
    finally:
        os.umask(old)
    state.close()
    assert modes == {0o600}


def test_threads_share_a_database(state: StateDB) -> None:
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for number in range(30):
                record = container(f"w{worker}n{number}")
                state.containers.insert(record)
                assert state.containers.find(record.name) == record
                state.containers.delete(record.id)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert state.containers.list() == []


def test_a_forked_child_uses_a_connection_of_its_own(state: StateDB) -> None:
    state.containers.insert(container("parent"))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            state.containers.find("parent")
            state.containers.insert(container("child"))
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert state.containers.find("child").name == "child"


FORKING = """
import os, sys, threading
from pathlib import Path
from pycontainer.store.layout import Layout
from pycontainer.store.statedb import StateDB
from tests.unit.store.records import container
layout = Layout(Path(sys.argv[1]))
layout.create()
state = StateDB(layout)
is_over = threading.Event()
def work(name):
    while not is_over.is_set():
        state.containers.insert(container(name))
        state.containers.delete(state.containers.find(name).id)
threads = [threading.Thread(target=work, args=(f"thread{number}",)) for number in range(3)]
for thread in threads:
    thread.start()
for number in range(30):
    child = os.fork()
    if child == 0:
        state.containers.insert(container(f"child{number}"))
        os._exit(0)
    os.waitpid(child, 0)
is_over.set()
for thread in threads:
    thread.join()
print(len(state.containers.list()))
"""


def test_a_child_forked_in_the_middle_of_changes_waits_for_none_of_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, str(tmp_path / "store")],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("30\n", "")


MANY = """
import sys
from pathlib import Path
from pycontainer.errors import AlreadyExists
from pycontainer.store.layout import Layout
from pycontainer.store.statedb import StateDB
from tests.unit.store.records import container
layout = Layout(Path(sys.argv[1]))
layout.create()
state = StateDB(layout)
taken = 0
for number in range(40):
    try:
        state.containers.insert(container(f"n{number}", container_id=f"{sys.argv[2]}{number:063x}"))
    except AlreadyExists:
        taken += 1
state.close()
print(40 - taken)
"""


def test_eight_processes_that_create_the_database_agree_on_every_name(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MANY, str(tmp_path / "store"), str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    won = [int(process.communicate()[0]) for process in processes]
    assert sum(won) == 40


_LAST = """
import os, sys
from pathlib import Path
from pycontainer.store import StateDB
from pycontainer.store.layout import Layout
from tests.unit.store.records import image

layout = Layout(Path(sys.argv[1]))
layout.create()
state = StateDB(layout)
for number in range(int(sys.argv[2])):
    state.images.put(image(f"{number} of many"), [f"docker.io/library/many:{number}"])
state.close(process_ends=True)
os._exit(0)
"""


@pytest.mark.parametrize(("images", "is_left"), [(1, True), (200, False)], ids=["short log", "long log"])
def test_a_process_that_ends_leaves_a_short_log_to_the_next(
    tmp_path: Path, images: int, is_left: bool
) -> None:
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", _LAST, str(tmp_path / "store"), str(images)], check=True, cwd=root)
    log = tmp_path / "store" / "state.db-wal"
    assert (log.exists() and log.stat().st_size > 0) == is_left
    reopened = StateDB(Layout(tmp_path / "store"))
    assert len(reopened.images.list()) == images
    reopened.close()
    assert not log.exists()
