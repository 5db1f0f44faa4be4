"""The directories of cache mounts, when several steps ask for one at once."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from pycontainer.build import RunMount
from pycontainer.engine.building.running import Caches
from pycontainer.engine.building.worker import EngineWorker

NOBODY = cast(EngineWorker, None)  # is asked only where a cache begins with files


def test_those_who_make_a_shared_one_at_once_have_the_same(tmp_path: Path) -> None:
    caches = Caches(tmp_path, NOBODY)
    together = threading.Barrier(2, timeout=60)
    seen: dict[int, list[int]] = {}

    def open_all() -> None:
        for number in range(100):
            mount = RunMount(kind="cache", target="/c", id=str(number))
            with ExitStack() as cleanup:
                together.wait()
                fd = caches.open(mount, cleanup, threading.Event())
                together.wait()
                seen.setdefault(number, []).append(os.fstat(fd).st_ino)

    threads = [threading.Thread(target=open_all) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert {number: len(set(inodes)) for number, inodes in seen.items()} == dict.fromkeys(range(100), 1)


def test_what_a_killed_maker_began_is_no_cache_and_goes(tmp_path: Path) -> None:
    store = SimpleNamespace(remove_tree=shutil.rmtree)
    worker = cast(EngineWorker, SimpleNamespace(engine=SimpleNamespace(store=store)))
    mount = RunMount(kind="cache", target="/c", id="x", mode=0o711)
    with ExitStack() as cleanup:
        Caches(tmp_path, NOBODY).open(mount, cleanup, threading.Event())
    [data] = tmp_path.glob("*/0/data")
    data.rename(data.with_name("begun-1"))
    with ExitStack() as cleanup:
        fd = Caches(tmp_path, worker).open(mount, cleanup, threading.Event())
        assert os.fstat(fd).st_mode & 0o7777 == 0o711
    assert sorted(os.listdir(data.parent)) == ["data", "making"]
