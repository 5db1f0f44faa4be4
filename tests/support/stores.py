"""What must hold of a store after anything that may happen to its users."""

from __future__ import annotations

import fcntl
import hashlib
import os
import select
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pycontainer as pc
from pycontainer import errors
from pycontainer.kernel import pidfd
from pycontainer.launcher import status
from pycontainer.store import Store

CGROUPS = Path("/sys/fs/cgroup")


def check_whole(engine: pc.Engine) -> None:
    """Everything listed is complete, and can be looked at."""
    store = engine.store
    for container in pc.Container.list(all=True, engine=engine):
        with suppress(errors.NotFound):  # its monitor may be removing it just now
            container.inspect()
    for image in pc.Image.list(engine=engine):
        record = store.find_image(image.id)
        assert store.is_unpacked(record), f"{image.name} misses a layer"
        damaged = [digest for digest in record.digests if not store.content.verify(digest)]
        assert damaged == [], f"{image.name} misses blobs, or they are not what they should be"
    assert {tag.image_id for tag in store.state.images.tags()} <= {
        record.id for record in store.state.images.list()
    }
    assert set(store.snapshots.committed()) <= {layer.key for layer in store.state.layers.list()}
    with closing(sqlite3.connect(store.root / "state.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def check_tidy(engine: pc.Engine) -> None:
    """No directory, lock, lease or row without the thing it belongs to, once garbage is collected."""
    store = engine.store
    store.collect_garbage(stale_ingest_s=0)
    known = {container.id for container in pc.Container.list(all=True, engine=engine)}
    assert set(os.listdir(store.root / "containers")) == store.state.containers.ids() == known
    check_no_leftovers(store)
    needed = {key for image in store.state.images.list() for key in image.snapshots}
    needed |= {key for record in store.state.containers.list() for key in record.snapshots}
    assert set(store.snapshots.committed()) == needed
    assert {layer.key for layer in store.state.layers.list()} == needed


def check_no_leftovers(store: Store) -> None:
    """Nothing lies where things are only on their way."""
    passing = ("trash", "content/ingest", "locks/leases", "locks/layers", "locks/containers")
    left = {name: os.listdir(store.root / name) for name in passing}
    assert {name: found for name, found in left.items() if found} == {}
    assert list(store.snapshots.preparations()) == []


def check_running(engine: pc.Engine) -> None:
    """The cgroups are those of the running containers, and no others.

    Monitors tidy up after they have told of the end, so it may take them a moment.
    """
    running = {container.id for container in pc.Container.list(engine=engine)}
    await_condition(lambda: cgroup_ids(engine.root) == running)


def empty(engine: pc.Engine) -> None:
    """Remove all containers and images, and look whether that is all there was."""
    for container in pc.Container.list(all=True, engine=engine):
        container.remove(force=True)
    for image in pc.Image.list(engine=engine):
        image.remove(force=True)
    check_tidy(engine)
    assert list(engine.store.content.digests()) == []
    assert list(engine.store.snapshots.committed()) == []
    check_running(engine)


def cgroup_ids(root: Path) -> set[str]:
    """Names of the cgroups of a store's containers, in every hierarchy; none that is made ahead of one."""
    tag = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:12]
    places = [*CGROUPS.glob(f"pycontainer/{tag}/*/"), *CGROUPS.glob(f"*/pycontainer/{tag}/*/")]
    return {place.name for place in places} - {place.name for place in places if _is_locked(place)}


def _is_locked(place: Path) -> bool:
    try:
        opened = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(opened)
    return False


def await_condition(is_met: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait for what no descriptor tells of."""
    deadline = time.monotonic() + timeout_s
    while not is_met():
        assert time.monotonic() < deadline, f"not met in {timeout_s:g} s"
        time.sleep(0.005)


def await_monitors(root: Path, timeout_s: float = 20.0) -> None:
    """Wait for the monitors of containers whose owner is dead; they end on their own, and soon."""
    deadline = time.monotonic() + timeout_s
    for directory in (root / "containers").iterdir():
        fields = status.read(str(directory))
        # One that has told the end may still be removing what is left.
        monitor = pidfd.open_checked(fields["monitor_pid"], fields["monitor_start"]) if fields else None
        if monitor is None:
            continue
        poller = select.poll()
        poller.register(monitor, select.POLLIN)
        has_ended = poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
        os.close(monitor)
        assert has_ended, f"the monitor of {directory.name} lives on"
