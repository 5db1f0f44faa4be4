"""Containers that belong to a process: gone with it however it goes, unless they are handed over."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.launcher import ask
from tests.support.launching import pidfd_of, wait_for_end
from tests.support.needs import needs
from tests.support.stores import await_condition

pytestmark = [needs("root", "overlay")]

FOREVER = ["sleep", "1000"]

OWNER = """
import sys
import pycontainer as pc
engine = pc.Engine({root!r})
engine.helper.start()
{body}
print("ready", engine.helper.pid, flush=True)
sys.stdin.read()
"""
MAKE = """
box = pc.Container.create("busybox", ["sleep", "1000"], name="mine", owned=True, engine=engine, {options})
box.start()
"""
ENTER = """
box = pc.Container("busybox", ["sleep", "1000"], name="mine", engine=engine, {options}).__enter__()
"""


class OwnerProcess:
    """Another process that owns a container named mine."""

    def __init__(self, engine: pc.Engine, body: str, **options: object) -> None:
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        text = OWNER.format(root=str(engine.root), body=body.format(options=given))
        self.process = subprocess.Popen(
            [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        word, pid = self.process.stdout.readline().split()
        assert word == "ready"
        self.helper_pid = int(pid)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)


Own = Callable[..., OwnerProcess]


@pytest.fixture
def mine(engine: pc.Engine, busybox: pc.Image) -> pc.Engine:
    """The engine that looks on; busybox is in its store."""
    return engine


@pytest.fixture
def own(mine: pc.Engine) -> Iterator[Own]:
    """Starts owners, and ends those that are left."""
    started: list[OwnerProcess] = []

    def start(body: str, **options: object) -> OwnerProcess:
        started.append(OwnerProcess(mine, body, **options))
        return started[-1]

    yield start
    for each in started:
        each.kill()


def await_removal(box: pc.Container) -> None:
    with suppress(errors.NotFound):
        box.wait(condition="removed", timeout=1.0)
    assert not box._directory.exists()


def gone_within_a_second(engine: pc.Engine, box: pc.Container, program: int) -> None:
    wait_for_end(program, 1.0)
    os.close(program)
    await_removal(box)
    with pytest.raises(errors.NotFound):
        pc.Container.get("mine", engine=engine)
    assert box.id not in {each.id for each in pc.Container.list(all=True, engine=engine)}


@pytest.mark.parametrize("body", [MAKE, ENTER], ids=["owned", "with"])
@pytest.mark.parametrize("options", [{}, {"restart": "always"}], ids=["once", "always"])
def test_a_killed_owner_takes_its_container_along(
    mine: pc.Engine, own: Own, body: str, options: dict[str, str]
) -> None:
    owner = own(body, **options)
    box = pc.Container.get("mine", engine=mine)
    program = pidfd_of(box.pid or 0)
    owner.kill()
    gone_within_a_second(mine, box, program)


def test_a_killed_owner_without_a_helper_takes_its_container_along(mine: pc.Engine, own: Own) -> None:
    owner = own(MAKE)
    box = pc.Container.get("mine", engine=mine)
    helper, program = pidfd_of(owner.helper_pid), pidfd_of(box.pid or 0)
    os.kill(owner.helper_pid, signal.SIGKILL)
    wait_for_end(helper)
    os.close(helper)
    assert box.state == "running", "it is the owner's, who lives"
    owner.kill()
    gone_within_a_second(mine, box, program)


def test_an_owner_that_ends_by_itself_takes_its_container_along(mine: pc.Engine, own: Own) -> None:
    owner = own(MAKE)
    box = pc.Container.get("mine", engine=mine)
    program = pidfd_of(box.pid or 0)
    owner.leave()
    gone_within_a_second(mine, box, program)


def test_a_container_that_never_ran_is_gone_with_its_owner_and_its_name_is_free(
    mine: pc.Engine, own: Own
) -> None:
    owner = own(MAKE.replace("box.start()", ""))
    box = pc.Container.get("mine", engine=mine)
    assert box.state == "created"
    owner.kill()
    other = pc.Container.create("busybox", FOREVER, name="mine", engine=mine)
    assert not box._directory.exists()
    other.remove()


def test_a_killed_owner_in_the_wait_between_two_runs_takes_its_container_along(
    mine: pc.Engine, own: Own
) -> None:
    failing = MAKE.replace('["sleep", "1000"]', '["false"]')
    owner = own(failing, restart="always")
    box = pc.Container.get("mine", engine=mine)
    while not (box.restart_count >= 5 and box.state == "restarting"):
        box.wait(condition="next-exit", timeout=20)
    owner.kill()
    await_removal(box)


@pytest.mark.parametrize("body", [MAKE, ENTER], ids=["owned", "with"])
def test_what_was_handed_over_outlives_its_owner(mine: pc.Engine, own: Own, body: str) -> None:
    owner = own(body + "\nbox.detach()\nbox.detach()\n")
    box = pc.Container.get("mine", engine=mine)
    owner.kill()
    ask(str(box._directory), {"op": "ping"})
    assert box.state == "running"
    with pc.Engine(mine.root) as again:
        assert pc.Container.get("mine", engine=again).state == "running"
    box.remove(force=True)


def test_a_block_leaves_what_was_handed_over_in_it(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Container(busybox, FOREVER, engine=engine) as box:
        box.detach()
    assert box.state == "running"
    box.remove(force=True)


def test_what_another_process_hands_over_is_not_removed_by_its_owner(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    with pc.Container(busybox, FOREVER, name="lent", engine=engine) as box:
        text = (
            "import pycontainer as pc\n"
            f"pc.Container.get('lent', engine=pc.Engine({str(engine.root)!r})).detach()"
        )
        subprocess.run([sys.executable, "-c", text], check=True, timeout=60)
    assert box.state == "running"
    box.remove(force=True)


def test_a_container_of_run_cannot_be_handed_over(mine: pc.Engine, own: Own) -> None:
    body = (
        "import threading\n"
        "worker = threading.Thread(target=lambda: pc.run('busybox', ['sh', '-c', 'sleep 1000'], name='mine', "
        "engine=engine), daemon=True)\n"
        "worker.start()\n"
        "import time\n"
        "while worker.is_alive() and not any(c.pid for c in pc.Container.list(engine=engine)):\n"
        "    time.sleep(0.01)\n"
    )
    owner = own(body)
    box = pc.Container.get("mine", engine=mine)
    with pytest.raises(errors.WrongState, match=r"run\(\)"):
        box.detach()
    program = pidfd_of(box.pid or 0)
    owner.kill()
    gone_within_a_second(mine, box, program)


def test_an_owned_container_stays_its_owners_whoever_restarts_it(mine: pc.Engine, own: Own) -> None:
    owner = own(MAKE)
    box = pc.Container.get("mine", engine=mine)
    box.restart(timeout=0)
    program = pidfd_of(box.pid or 0)
    owner.kill()
    gone_within_a_second(mine, box, program)


def test_closing_the_engine_removes_what_it_owns(tmp_path: Path, busybox_layout: Path) -> None:
    with pc.Engine(tmp_path / "store") as engine:
        image = pc.Image.load(busybox_layout, engine=engine)[0]
        box = pc.Container.create(image, FOREVER, owned=True, engine=engine)
        box.start()
        program = pidfd_of(box.pid or 0)
        directory = box._directory
    wait_for_end(program, 1.0)
    os.close(program)
    assert not directory.exists()


# -- handles in other processes

POOL = """
import concurrent.futures, multiprocessing, pickle, sys

def look(box):
    return box.id, box.state, box.exec(["echo", "seen"]).text

if __name__ == "__main__":
    box = pickle.load(sys.stdin.buffer)
    context = multiprocessing.get_context(sys.argv[1])
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        print(*pool.submit(look, box).result(60))
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_a_handle_goes_to_another_process_which_does_not_own_it(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path, method: str
) -> None:
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    with pc.Container(busybox, FOREVER, engine=engine) as box:
        seen = subprocess.run(
            [sys.executable, script, method],
            input=pickle.dumps(box),
            stdout=subprocess.PIPE,
            check=True,
            timeout=60,
        )
        assert seen.stdout.decode().split() == [box.id, "running", "seen"]
        assert box.state == "running"


def test_a_container_made_for_another_process_goes_with_that_one(engine: pc.Engine) -> None:
    other = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        box = pc.Container.create("busybox", FOREVER, owner_pid=other.pid, engine=engine)
        box.start()
        assert box.state == "running"
    finally:
        other.communicate()
    await_condition(lambda: pc.Container.list(all=True, engine=engine) == [])
    with pytest.raises(errors.WrongState, match="no process has the id"):
        pc.Container.create("busybox", FOREVER, owner_pid=other.pid, engine=engine)


@pytest.mark.parametrize(
    ("body", "options", "remove"),
    [
        pytest.param(
            MAKE,
            {"volumes": {"kept": "/v"}},
            lambda engine: pc.Volume.get("kept", engine=engine).remove(),
            id="volume",
        ),
        pytest.param(
            MAKE.replace("box.start()", ""),
            {"network": "near"},
            lambda engine: pc.Network.get("near", engine=engine).remove(),
            id="network",
        ),
        pytest.param(MAKE, {}, lambda engine: pc.Image.get("busybox", engine=engine).remove(), id="image"),
    ],
)
def test_what_the_container_of_a_killed_owner_used_can_be_removed_at_once(
    tmp_path: Path,
    busybox_layout: Path,
    body: str,
    options: dict[str, object],
    remove: Callable[[pc.Engine], None],
) -> None:
    with pc.Engine(tmp_path / "store") as engine:
        pc.Image.load(busybox_layout, engine=engine)[0].tag("busybox")
        if "network" in options:
            pc.Network.create("near", internal=True, engine=engine)
        owner = OwnerProcess(engine, body, **options)
        with pytest.raises(errors.InUse):
            remove(engine)
        owner.kill()
        remove(engine)


def test_the_container_of_a_killed_owner_counts_no_more(tmp_path: Path, busybox_layout: Path) -> None:
    with pc.Engine(tmp_path / "store") as engine:
        pc.Image.load(busybox_layout, engine=engine)[0].tag("busybox")
        counts: tuple[Callable[[], bool], ...] = (
            lambda: pc.info(engine=engine)["Containers"] == 0,
            lambda: pc.disk_usage(engine=engine).containers == (),
            lambda: len(pc.Image.prune(all=True, engine=engine).images) == 1,
        )
        for is_forgotten in counts:
            OwnerProcess(engine, MAKE.replace("box.start()", "")).kill()
            assert is_forgotten()
