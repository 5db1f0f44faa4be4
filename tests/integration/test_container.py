"""`Container`: create, start, stop, kill, wait, logs, remove, list, get, ownership."""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.engine.state import await_tidied
from tests.support import stores

pytestmark = pytest.mark.needs("root", "overlay")

FOREVER = ["sleep", "1000"]


def has_ended(pid: int) -> bool:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    try:
        return bool(poller.poll(10_000))
    finally:
        os.close(pidfd)


def test_a_created_container_has_an_identity_and_does_not_run(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, name="box", labels={"a": "1"}, engine=engine)
    assert (box.name, box.state, box.pid, box.exit_code, box.labels["a"]) == (
        "box",
        "created",
        None,
        None,
        "1",
    )
    assert len(box.id) == 64
    box.remove()


def test_a_container_goes_through_its_life(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(
        busybox, ["sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"], engine=engine
    )
    box.start()
    assert next(iter(box.logs(follow=True, timeout_s=10))).text == "up"
    assert box.state == "running"
    assert box.pid is not None
    assert os.path.exists(f"/proc/{box.pid}")
    box.stop(timeout=10)
    assert (box.state, box.exit_code, box.pid) == ("exited", 7, None)
    assert box.started_at is not None
    assert box.finished_at is not None
    assert box.started_at <= box.finished_at
    box.remove()
    with pytest.raises(errors.NotFound):
        pc.Container.get(box.id, engine=engine)


def test_a_program_that_ignores_the_stop_signal_is_killed(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, engine=engine)
    box.start()
    box.stop(timeout=timedelta(milliseconds=200))
    assert box.exit_code == 137
    box.remove()


def test_a_stopped_container_starts_again_with_its_files(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, ["sh", "-c", "cat /mark; echo again > /mark"], engine=engine)
    box.start()
    assert box.wait(timeout=10) == 0
    box.start()
    assert box.wait(timeout=10) == 0
    assert box.logs(stderr=False).text() == "again\n"
    box.remove()


def test_kill_sends_any_signal_by_name_or_number(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(
        busybox, ["sh", "-c", "trap 'exit 5' USR1; echo up; while :; do sleep 0.05; done"], engine=engine
    )
    box.start()
    for line in box.logs(follow=True, timeout_s=10):
        assert line.content == b"up\n"
        break
    box.kill("USR1")
    assert box.wait(timeout=10) == 5
    box.start()
    box.kill(signal.SIGKILL)
    assert box.wait(timeout=10) == 137
    box.remove()


def test_verbs_that_do_not_fit_the_state_say_so(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, engine=engine)
    with pytest.raises(errors.WrongState, match="created"):
        box.kill()
    box.start()
    with pytest.raises(errors.WrongState, match="running"):
        box.start()
    with pytest.raises(errors.WrongState, match="force"):
        box.remove()
    box.remove(force=True)


def test_stopping_what_does_not_run_is_no_error(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, ["true"], engine=engine)
    box.start()
    box.wait(timeout=10)
    box.stop()
    assert box.exit_code == 0
    box.remove()


def test_a_wait_has_a_deadline(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, engine=engine)
    box.start()
    with pytest.raises(errors.DeadlineExceeded):
        box.wait(timeout=0.05)
    box.remove(force=True)


def test_a_taken_name_is_refused_and_freed_by_removal(engine: pc.Engine, busybox: pc.Image) -> None:
    first = pc.Container.create(busybox, FOREVER, name="same", engine=engine)
    with pytest.raises(errors.AlreadyExists, match="same"):
        pc.Container.create(busybox, FOREVER, name="same", engine=engine)
    first.remove()
    pc.Container.create(busybox, FOREVER, name="same", engine=engine).remove()


def test_get_finds_by_name_id_and_unique_prefix(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, name="findme", engine=engine)
    for key in ("findme", box.id, box.id[:12]):
        assert pc.Container.get(key, engine=engine).id == box.id
    with pytest.raises(errors.NotFound, match="nobody"):
        pc.Container.get("nobody", engine=engine)
    box.remove()


def test_list_shows_running_ones_and_all_on_request(engine: pc.Engine, busybox: pc.Image) -> None:
    idle = pc.Container.create(busybox, FOREVER, name="idle", engine=engine)
    busy = pc.Container.create(busybox, FOREVER, name="busy", engine=engine)
    busy.start()
    assert [box.name for box in pc.Container.list(engine=engine)] == ["busy"]
    assert {box.name for box in pc.Container.list(all=True, engine=engine)} == {"busy", "idle"}
    busy.remove(force=True)
    idle.remove()


def test_a_program_that_is_missing_leaves_a_created_container_with_the_code(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    box = pc.Container.create(busybox, ["no-such-program"], engine=engine)
    with pytest.raises(errors.LaunchError):
        box.start()
    assert (box.state, box.exit_code) == ("created", 127)
    box.remove()


def test_a_with_block_owns_its_container(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Container(busybox, FOREVER, name="owned", engine=engine) as box:
        pid = box.pid
        assert box.state == "running"
        assert pid is not None
    assert has_ended(pid)
    assert pc.Container.list(all=True, engine=engine) == []


def test_a_with_block_cleans_up_after_an_exception(engine: pc.Engine, busybox: pc.Image) -> None:
    with pytest.raises(ZeroDivisionError), pc.Container(busybox, FOREVER, engine=engine):
        1 / 0  # noqa: B018
    assert pc.Container.list(all=True, engine=engine) == []


def test_closing_the_engine_removes_what_it_owns(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Engine(engine.root) as other:
        box = pc.Container(busybox.id, FOREVER, engine=other).__enter__()
        pid = box.pid
    assert pid is not None
    assert has_ended(pid)
    assert pc.Container.list(all=True, engine=engine) == []


def test_a_detached_container_outlives_its_program_and_is_stopped_by_another(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    script = (
        "import pycontainer as pc\n"
        f"with pc.Engine({str(engine.root)!r}):\n"
        "    pc.Container.create('busybox', ['sh', '-c', 'echo alive; sleep 1000'], name='lives').start()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    box = pc.Container.get("lives", engine=engine)
    assert box.state == "running"
    line = next(iter(box.logs(follow=True, timeout_s=10)))
    assert line.text == "alive"
    waited: list[int] = []
    watcher = threading.Thread(target=lambda: waited.append(box.wait(timeout=20)))
    watcher.start()
    box.stop(timeout=0.1)
    watcher.join(20)
    assert waited == [137]
    box.remove()


def test_logs_are_tagged_ordered_and_survive_the_end(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(
        busybox, ["sh", "-c", "echo 1; sleep 0.1; echo 2 >&2; sleep 0.1; echo 3"], engine=engine
    )
    box.start()
    followed = [(line.stream, line.text) for line in box.logs(follow=True, timeout_s=10)]
    assert followed == [("stdout", "1"), ("stderr", "2"), ("stdout", "3")]
    assert [line.text for line in box.logs()] == ["1", "2", "3"]
    assert box.logs(tail=1).text() == "3\n"
    times = [line.at for line in box.logs()]
    assert times == sorted(times)
    box.remove()


def test_logs_rotate_within_their_bounds_and_keep_the_newest(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(
        busybox,
        ["sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo line-$i; i=$((i+1)); done"],
        log_opts={"max-size": "10k", "max-file": 3},
        engine=engine,
    )
    box.start()
    assert box.wait(timeout=30) == 0
    lines = [line.text for line in box.logs()]
    assert lines[-1] == "line-1999"
    assert lines == [f"line-{number}" for number in range(2000 - len(lines), 2000)]
    files = [path for path in (engine.root / "containers" / box.id).iterdir() if path.name.startswith("log")]
    assert len(files) <= 3
    assert all(path.stat().st_size <= 10 << 10 for path in files)
    box.remove()


def test_out_of_memory_is_seen_and_reported(engine: pc.Engine, busybox: pc.Image) -> None:
    result = pc.run(
        busybox, ["sh", "-c", "exec tail /dev/zero"], memory="16m", memory_swap="16m", engine=engine
    )
    assert (result.exit_code, result.oom_killed) == (137, True)


def test_inspect_speaks_dockers_json(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Container(busybox, FOREVER, name="seen", memory="64m", env={"A": "1"}, engine=engine) as box:
        document = box.inspect()
        assert document["Id"] == box.id
        assert document["Name"] == "/seen"
        assert document["State"]["Running"] is True
        assert document["State"]["Pid"] == box.pid
        assert document["Config"]["Cmd"] == FOREVER
        assert "A=1" in document["Config"]["Env"]
        assert document["HostConfig"]["Memory"] == 64 << 20
        assert document["Image"] == busybox.id
        assert (document["ExecIDs"], document["Driver"]) == (None, "overlay")
        with box.popen(FOREVER) as process:
            assert box.inspect()["ExecIDs"] == [process.id]
            process.kill()


def test_an_image_stays_for_its_containers_without_its_names(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, labels={"a": "1"}, engine=engine)
    image = box.commit("short-lived")
    box.remove()
    box = pc.Container.create("short-lived", FOREVER, labels={"a": "1"}, engine=engine)
    with pytest.raises(errors.InUse, match=box.name):
        image.remove()
    image.remove(force=True)
    assert box.image.tags == ()
    assert [each.id for each in pc.Container.list(all=True, filters={"label": "a=1"}, engine=engine)] == [
        box.id
    ]
    box.start()
    assert box.exec(["echo", "works"]).stdout == b"works\n"
    box.stop(0)
    box.remove()
    assert image.id in pc.Image.prune(engine=engine).images


def test_what_removes_itself_frees_its_name_and_its_volumes(engine: pc.Engine, busybox: pc.Image) -> None:
    before = pc.Volume.list(engine=engine)
    for _ in range(2):
        options = {"name": "brief", "auto_remove": True, "volumes": ["/data"]}
        box = pc.Container.create(busybox, ["true"], engine=engine, **options)
        box.start()
        box.wait(60, condition="removed")
        assert pc.Volume.list(engine=engine) == before
    box = pc.Container.create(busybox, ["true"], engine=engine, **options)
    box.start()
    with suppress(errors.NotFound):  # it may have gone already
        box.wait(60)
    with suppress(FileNotFoundError):
        await_tidied(box._directory)
    with pytest.raises(errors.NotFound, match="is gone"):
        pc.Container.get("brief", engine=engine)


def test_lists_are_filtered_by_ports(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, expose=["80", "53/udp"], engine=engine)

    def found(**filters: str) -> bool:
        return bool(pc.Container.list(all=True, filters=filters, engine=engine))

    assert found(expose="80")
    assert found(expose="50-60/udp")
    assert not found(expose="53")
    assert not found(publish="80")
    assert found(**{"is-task": "false"})
    assert not found(**{"is-task": "true"})
    with pytest.raises(errors.InvalidInput, match="expose='x'"):
        found(expose="x")
    box.remove()


def held_locks(directory: Path) -> int:
    """How many locks are held on a directory: every wait for a container that removes itself holds one."""
    found = directory.stat()
    # Major and minor number in hexadecimal, then the inode.
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    return Path("/proc/locks").read_text().split().count(place)


def test_auto_remove_leaves_nothing_of_a_detached_container_but_its_exit_code(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    program = "trap 'exit 4' TERM; echo ready; while true; do sleep 0.05; done"
    box = pc.Container.create(busybox, ["sh", "-c", program], auto_remove=True, engine=engine)
    box.start(wait=pc.wait.log("ready"))
    codes: list[int] = []
    waiters = [threading.Thread(target=lambda: codes.append(box.wait(timeout=20))) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    stores.await_condition(lambda: held_locks(engine.root / "containers" / box.id) == len(waiters))
    box.kill("TERM")
    for waiter in waiters:
        waiter.join()
    assert codes == [4, 4, 4]
    with pc.Engine(engine.root) as other:
        assert pc.Container.list(all=True, engine=other) == []
    assert not (engine.root / "containers" / box.id).exists()
    with pytest.raises(errors.NotFound):
        assert box.state


def test_a_handle_pickles_and_finds_its_container_again(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, name="pickled", engine=engine)
    with pc.Engine(engine.root):
        copy = pickle.loads(pickle.dumps(box))
        assert (copy.id, copy.name, copy.state) == (box.id, "pickled", "created")
    box.remove()


def test_a_killed_monitor_takes_the_container_along_and_the_state_is_told(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    box = pc.Container.create(busybox, FOREVER, engine=engine)
    box.start()
    pid = box.pid
    assert pid is not None
    with open(f"/proc/{pid}/stat") as file:
        monitor = int(file.read().rsplit(")", 1)[1].split()[1])
    os.kill(monitor, signal.SIGKILL)
    assert has_ended(pid)
    box.wait(timeout=10)
    assert box.state == "exited"
    assert box.exit_code == 137
    box.remove()
