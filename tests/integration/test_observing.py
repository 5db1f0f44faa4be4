"""What one sees of containers: events by any process, stats, processes, room, lists and prunes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.launcher import status

pytestmark = pytest.mark.needs("root", "overlay")

FOREVER = ["sleep", "1000"]


def actions(events: Iterator[pc.Event]) -> list[str]:
    return [event.action for event in events]


# -- events


def test_a_run_tells_of_its_whole_life_before_it_returns(engine: pc.Engine, busybox: pc.Image) -> None:
    result = pc.run(busybox, ["sh", "-c", "exit 3"], labels={"job": "x"}, name="told", engine=engine)
    found = list(pc.events(filters={"container": result.container_id}, engine=engine))
    assert [event.action for event in found] == ["create", "start", "die", "destroy"]
    assert {event.name for event in found} == {"told"}
    assert all(event.attributes["job"] == "x" and event.type == "container" for event in found)
    assert found[2].attributes["exitCode"] == "3"
    assert [event.time_ns for event in found] == sorted(event.time_ns for event in found)
    assert abs(found[0].time - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_container_tells_of_what_is_done_with_it(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, name="first", engine=engine)
    box.start()
    box.pause()
    box.unpause()
    box.rename("second")
    box.kill("TERM")
    box.kill()
    box.wait()
    told = list(box.events())
    box.remove()
    assert [event.action for event in told] == [
        *("create", "start", "pause", "unpause", "rename", "kill", "kill", "die")
    ]
    assert told[4].attributes["oldName"].strip("/") == "first"
    assert [event.name for event in told] == ["first"] * 4 + ["second"] * 4
    assert [event.attributes["signal"] for event in told[5:7]] == ["15", "9"]
    assert told[7].attributes["exitCode"] == "137"
    assert actions(pc.events(filters={"container": box.id, "event": "destroy"}, engine=engine)) == ["destroy"]


def test_another_process_follows_and_sees_what_happens_here(engine: pc.Engine, busybox: pc.Image) -> None:
    program = (
        "import sys, pycontainer as pc\n"
        "with pc.Engine(sys.argv[1]), pc.events(follow=True, timeout=30) as events:\n"
        "    print('ready', flush=True)\n"
        "    for event in events:\n"
        "        print(event.action, flush=True)\n"
        "        if event.action == 'destroy': break\n"
    )
    follower = subprocess.Popen(
        [sys.executable, "-c", program, str(engine.root)], stdout=subprocess.PIPE, text=True
    )
    assert follower.stdout is not None
    with follower.stdout:
        assert follower.stdout.readline() == "ready\n"
        pc.run(busybox, ["true"], engine=engine)
        assert follower.stdout.read().split() == ["create", "start", "die", "destroy"]
    assert follower.wait(10) == 0


def test_following_ends_with_its_time(engine: pc.Engine) -> None:
    assert list(pc.events(follow=True, timeout=0.05, engine=engine)) == []
    assert list(pc.events(follow=True, until=time.time() + 0.05, engine=engine)) == []


def test_another_thread_can_close_what_follows(engine: pc.Engine) -> None:
    events = pc.events(follow=True, engine=engine)
    found: list[pc.Event] = []
    thread = threading.Thread(target=lambda: found.extend(events))
    thread.start()
    events.close()
    thread.join(10)
    assert not thread.is_alive()
    assert found == []


def test_since_and_until_cut_out_a_part(engine: pc.Engine, busybox: pc.Image) -> None:
    pc.run(busybox, ["true"], name="before", engine=engine)
    begun = datetime.now(UTC)
    pc.run(busybox, ["true"], name="between", engine=engine)
    ended = time.time()
    pc.run(busybox, ["true"], name="after", engine=engine)
    assert {event.name for event in pc.events(since=begun, until=ended, engine=engine)} == {"between"}
    assert "before" in {event.name for event in pc.events(since="1h", until=begun, engine=engine)}
    assert list(pc.events(until=timedelta(hours=1), engine=engine)) == []


@pytest.mark.parametrize(
    ("filters", "is_found"),
    [
        ({"type": "container"}, True),
        ({"type": "image"}, False),
        ({"event": ["die", "oom"]}, True),
        ({"event": "pause"}, False),
        ({"label": "job=filtered"}, True),
        ({"label": {"job": "other"}}, False),
        ({"label": ["job", "missing"]}, False),
        ({"image": "busybox"}, True),
        ({"image": "busybox:latest"}, True),
        ({"image": "debian"}, False),
        ({"container": "filtered"}, True),
        ({"container": "filter"}, False),
    ],
    ids=str,
)
def test_filters_of_events_are_dockers(
    engine: pc.Engine, busybox: pc.Image, filters: dict[str, object], is_found: bool
) -> None:
    begun = time.time()
    pc.run("busybox:latest", ["true"], name="filtered", labels={"job": "filtered"}, engine=engine)
    assert bool(list(pc.events(since=begun, filters=filters, engine=engine))) == is_found


def test_an_unknown_filter_names_the_nearest(engine: pc.Engine) -> None:
    with pytest.raises(errors.InvalidInput, match="'container'"):
        pc.events(filters={"contaner": "x"}, engine=engine)


def test_images_tell_of_their_names(engine: pc.Engine, busybox: pc.Image) -> None:
    begun = time.time()
    busybox.tag("observed:1")
    busybox.remove("observed:1")
    told = [
        (event.action, event.name)
        for event in pc.events(since=begun, filters={"type": "image"}, engine=engine)
    ]
    assert told == [("tag", "observed:1"), ("untag", "observed:1")]


def test_a_container_that_removes_itself_tells_of_it_once(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, ["true"], auto_remove=True, engine=engine)
    with pc.events(filters={"container": box.id}, follow=True, timeout=20, engine=engine) as events:
        box.start()
        found = []
        for event in events:
            found.append(event.action)
            if event.action == "destroy":
                break
    engine.forget_container(box.id)
    assert found == ["start", "die", "destroy"]
    every = actions(pc.events(filters={"container": box.id}, engine=engine))
    assert every == ["create", "start", "die", "destroy"]


def test_who_repairs_a_store_tells_what_nobody_told(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, name="orphan", volumes=["kept:/kept"], engine=engine)
    box.start()
    fields = status.read(str(engine.store.container_dir(box.id)))
    assert fields is not None
    os.kill(fields["monitor_pid"], 9)
    box.wait(10)
    with pc.Engine(engine.root) as other:
        assert pc.Container.get(box.id, engine=other).exit_code == 137
    assert actions(box.events()) == ["create", "start", "die"]
    told = pc.events(filters={"volume": "kept"}, engine=engine)
    assert actions(told) == ["create", "mount", "unmount"]
    box.remove()
    pc.Volume.get("kept", engine=engine).remove()


def test_volumes_tell_who_mounts_them(engine: pc.Engine, busybox: pc.Image) -> None:
    begun = time.time()
    run = pc.run(busybox, ["true"], volumes={"told": "/data", "sealed": ("/sealed", "ro")}, engine=engine)
    for name in ("told", "sealed"):
        pc.Volume.get(name, engine=engine).remove()
    events = list(pc.events(since=begun, filters={"type": "volume"}, engine=engine))
    assert [event.action for event in events if event.id == "told"] == [
        *("create", "mount", "unmount", "destroy")
    ]
    about = {event.id: event.attributes for event in events if event.action == "mount"}
    common = {"driver": "local", "container": run.container_id, "propagation": ""}
    assert about["told"] == {**common, "destination": "/data", "read/write": "true"}
    assert about["sealed"] == {**common, "destination": "/sealed", "read/write": "false"}


def test_clients_of_a_container_are_told_of(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, ["cat"], tty=True, stdin_open=True, engine=engine)
    with box.attach(start=True), box.attach():
        box.resize(40, 100)
    box.remove(force=True)
    told = list(pc.events(filters={"container": box.id}, engine=engine))
    assert [event.action for event in told[:5]] == ["create", "attach", "start", "attach", "resize"]
    assert (told[4].attributes["height"], told[4].attributes["width"]) == ("40", "100")


# -- stats and processes


def test_stats_are_what_the_program_uses(engine: pc.Engine, busybox: pc.Image) -> None:
    code = (
        "dd if=/dev/zero of=/big bs=1M count=4 2>/dev/null; sleep 1000 &"
        "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo done; wait"
    )
    with pc.Container(busybox, ["sh", "-c", code], memory="64m", pids_limit=50, engine=engine) as box:
        next(iter(box.logs(follow=True, timeout_s=30)))
        stats = box.stats()
        assert stats.cpu_ns is not None
        assert stats.cpu_ns > 10_000_000
        assert stats.memory_bytes is not None
        assert 0 < stats.memory_bytes < 64 << 20
        assert stats.memory_limit_bytes == 64 << 20
        assert stats.memory_peak_bytes is not None
        assert stats.memory_peak_bytes > 4 << 20
        assert (stats.pids, stats.pids_limit) == (2, 50)
        assert stats.networks == {}
        assert stats.memory_percent is not None
        assert box.stats().cpu_percent_since(stats) is not None


def test_interfaces_are_counted_in_the_containers_own_namespace(engine: pc.Engine, busybox: pc.Image) -> None:
    code = (
        "ip tuntap add mode tun name tun9 2>/dev/null || ip link add dum9 type dummy; echo done; sleep 1000"
    )
    with pc.Container(busybox, ["sh", "-c", code], cap_add=["NET_ADMIN"], engine=engine) as box:
        next(iter(box.logs(follow=True, timeout_s=30)))
        inside = {
            line.partition(":")[0].strip()
            for line in Path(f"/proc/{box.pid}/net/dev").read_text().splitlines()[2:]
        }
        assert set(box.stats().networks) == inside - {"lo"}


def test_stats_of_what_does_not_run_are_refused(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, engine=engine)
    for look in (box.stats, box.top, box.stats_stream):
        with pytest.raises(errors.WrongState, match="start it first"):
            look()
    box.remove()


def test_a_stream_of_stats_ends_with_the_container(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Container(busybox, ["sh", "-c", "while :; do :; done"], engine=engine) as box:
        found = []
        for stats in box.stats_stream(0.05, timeout=30):
            found.append(stats)
            if len(found) == 3:
                box.kill()
        assert len(found) >= 3  # one may be on its way while it is killed, and more on a busy host
        shares = [stats.cpu_percent for stats in found]
        assert None not in shares
        assert max(share or 0 for share in shares) > 0  # in a short time on a busy host it may get none
        assert found[0].monotonic_ns < found[1].monotonic_ns < found[2].monotonic_ns


def test_processes_are_shown_with_both_their_ids(engine: pc.Engine, busybox: pc.Image) -> None:
    code = "sleep 999 & echo up; exec sleep 998"
    with pc.Container(busybox, ["sh", "-c", code], user="1234", engine=engine) as box:
        next(iter(box.logs(follow=True, timeout_s=30)))
        # Both are the shell until they execute their program, the child no sooner than its parent.
        while len(found := box.top()) != 2 or "sh" in {process.arguments[0] for process in found}:
            pass
        by_inner = {process.inner_pid: process for process in found}
        assert by_inner[1].pid == box.pid
        assert by_inner[1].arguments == ("sleep", "998")
        assert {process.uid for process in found} == {1234}
        (child,) = [process for process in found if process.inner_pid != 1]
        assert (child.parent_pid, child.command) == (box.pid, "sleep 999")
        table = found.to_dict()
        assert table["Titles"] == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
        assert [row[-1] for row in table["Processes"]] == [process.command for process in found]


def test_a_command_cannot_write_to_the_terminal_of_who_looks(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Container(busybox, ["sh", "-c", "sleep 1000; :", "\x1b[2Jx"], engine=engine) as box:
        assert "\x1b" not in str(box.top())
        assert "?[2Jx" in str(box.top())


# -- room, lists, prunes


def test_the_size_of_a_container_is_that_of_its_own_files(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(
        busybox, ["sh", "-c", "dd if=/dev/zero of=/a bs=1000 count=7; ln /a /b; ln -s /etc /c"], engine=engine
    )
    assert box.size_bytes == 0
    box.start()
    box.wait()
    assert 7000 <= box.size_bytes < 7100
    used = pc.disk_usage(engine=engine)
    (room,) = [container for container in used.containers if container.id == box.id]
    assert (room.state, room.size_bytes) == ("exited", box.size_bytes)
    assert used.reclaimable_container_bytes == box.size_bytes
    box.remove()


def test_disk_usage_counts_shared_layers_once(engine: pc.Engine, busybox: pc.Image) -> None:
    (image,) = pc.disk_usage(engine=engine).images
    assert (image.id, image.shared_bytes, image.containers) == (busybox.id, 0, 0)
    assert image.unique_bytes == image.size_bytes > 0
    used = pc.disk_usage(engine=engine)
    assert used.images_bytes >= image.size_bytes
    assert used.reclaimable_image_bytes >= image.size_bytes


def test_lists_are_filtered_as_docker_does(engine: pc.Engine, busybox: pc.Image) -> None:
    old = pc.Container.create(busybox, ["sh", "-c", "exit 4"], name="old", labels={"a": "1"}, engine=engine)
    old.start()
    old.wait()
    new = pc.Container.create(busybox, FOREVER, name="new", labels={"a": "2"}, engine=engine)
    new.start()

    def names(**filters: object) -> list[str]:
        return [box.name for box in pc.Container.list(filters=filters, engine=engine)]

    def all_names(**filters: object) -> list[str]:
        return [box.name for box in pc.Container.list(all=True, filters=filters, engine=engine)]

    assert names() == ["new"]
    assert all_names() == ["new", "old"]
    assert names(exited=4) == ["old"]
    assert names(exited=5) == []
    assert names(status="exited") == ["old"]
    assert names(status=["exited", "running"]) == ["new", "old"]
    assert all_names(label="a") == ["new", "old"]
    assert all_names(label="a=1") == ["old"]
    assert all_names(name="^o") == ["old"]
    assert all_names(id=old.id[:12]) == ["old"]
    assert all_names(before="new") == ["old"]
    assert all_names(since="old") == ["new"]
    assert all_names(ancestor="busybox") == ["new", "old"]
    assert all_names(ancestor="nothing") == []
    assert all_names(health="none") == ["new", "old"]
    assert all_names(network="none") == ["new", "old"]
    assert [box.name for box in pc.Container.list(limit=1, engine=engine)] == ["new"]
    for wrong in ({"status": "gone"}, {"exited": "x"}, {"name": "("}, {"nme": "x"}):
        with pytest.raises(errors.InvalidInput):
            names(**wrong)
    new.remove(force=True)
    old.remove()


def test_a_prune_takes_what_has_ended_and_fits(engine: pc.Engine, busybox: pc.Image) -> None:
    runs = pc.Container.create(busybox, FOREVER, name="runs", engine=engine)
    runs.start()
    keep = pc.Container.create(busybox, FOREVER, name="keep", labels={"keep": ""}, engine=engine)
    drop = pc.Container.create(busybox, ["sh", "-c", "echo 12345 > /x"], name="drop", engine=engine)
    drop.start()
    drop.wait()
    assert pc.Container.prune(filters={"until": "1h"}, engine=engine).containers == ()
    pruned = pc.Container.prune(filters={"label!": "keep"}, engine=engine)
    assert (pruned.containers, pruned.freed_bytes) == ((drop.id,), 6)
    assert [box.name for box in pc.Container.list(all=True, engine=engine)] == ["keep", "runs"]
    keep.remove()
    runs.remove(force=True)


def test_an_image_prune_obeys_its_filters_and_keeps_what_is_used(engine: pc.Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content of an image nobody needs")
    image = pc.Image.from_directory(tmp_path, tags=["unused:1"], labels={"kind": "test"}, engine=engine)
    assert pc.Image.prune(engine=engine).images == ()
    assert pc.Image.prune(filters={"dangling": False, "until": "1h"}, engine=engine).images == ()
    assert pc.Image.prune(all=True, filters={"label": "kind=other"}, engine=engine).images == ()
    box = pc.Container.create(image, ["/x"], engine=engine)
    assert pc.Image.prune(all=True, filters={"label": "kind"}, engine=engine).images == ()
    box.remove()
    pruned = pc.prune(all=True, filters={"label": "kind=test"}, engine=engine)
    assert (pruned.images, pruned.freed_bytes > 0) == ((image.id,), True)


def test_info_has_the_fields_that_tools_check(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Container(busybox, FOREVER, engine=engine):
        told = pc.info(engine=engine)
    assert (told["Containers"], told["ContainersRunning"], told["Images"]) == (1, 1, 1)
    assert told["NCPU"] == os.cpu_count()
    assert told["CgroupVersion"] in ("1", "2")
    assert told["OSType"] == "linux"
    assert told["KernelVersion"] == os.uname().release
    assert dict(told["DriverStatus"]).keys() >= {"Backing Filesystem", "Supports d_type", "userxattr"}
    for name in ("SecurityOptions", "Warnings", "Runtimes", "ID", "MemTotal", "Plugins", "Architecture"):
        assert name in told
