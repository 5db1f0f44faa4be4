"""`run()`: what goes in, what comes out, and how it fails."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import errors
from tests.support import stores
from tests.support.patience import patient
from tests.support.processes import await_next

pytestmark = pytest.mark.needs("root", "overlay")


def test_the_output_and_the_exit_code_come_back(engine: pc.Engine, busybox: pc.Image) -> None:
    result = pc.run(busybox, ["sh", "-c", "echo out; echo err >&2; exit 3"], engine=engine)
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"out\n", b"err\n")


def test_the_image_can_be_named_by_reference_id_or_prefix(engine: pc.Engine, busybox: pc.Image) -> None:
    hexadecimal = busybox.id.removeprefix("sha256:")
    for name in ("busybox", "busybox:latest", "docker.io/library/busybox", busybox.id, hexadecimal[:12]):
        assert pc.run(name, ["echo", "hi"], engine=engine, pull="never").text == "hi\n"


def test_an_image_that_is_nowhere_is_not_found(engine: pc.Engine) -> None:
    with pytest.raises(errors.NotFound, match="no-such-image"):
        pc.run("no-such-image:1", ["true"], engine=engine, pull="never")


def test_input_is_fed_and_then_closed(engine: pc.Engine, busybox: pc.Image) -> None:
    data = b"a\x00b\xff"
    for given in (data, memoryview(data), io.BytesIO(data)):
        assert pc.run(busybox, ["cat"], input=given, engine=engine).stdout == data


def test_input_that_is_none_is_refused_before_anything_is_made(engine: pc.Engine, busybox: pc.Image) -> None:
    begun = time.time()
    for given in ("text", Path("/etc/hostname"), 3):
        with pytest.raises(errors.InvalidOption, match="option input"):
            pc.run(busybox, ["cat"], input=given, engine=engine)  # type: ignore[arg-type]
    assert list(pc.events(since=begun, filters={"type": "container"}, engine=engine)) == []


def test_input_larger_than_any_pipe_arrives_whole(engine: pc.Engine, busybox: pc.Image) -> None:
    data = os.urandom(1 << 20) * 3
    result = pc.run(busybox, ["sha256sum"], input=data, engine=engine)
    assert result.text.split()[0] == hashlib.sha256(data).hexdigest()


def test_input_can_be_an_open_file(engine: pc.Engine, busybox: pc.Image, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"from a file")
    with open(tmp_path / "in", "rb") as file:
        assert pc.run(busybox, ["cat"], input=file, engine=engine).stdout == b"from a file"


def test_without_input_stdin_is_empty(engine: pc.Engine, busybox: pc.Image) -> None:
    assert pc.run(busybox, ["cat"], engine=engine).stdout == b""


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 5_000_000])
def test_binary_output_of_any_size_comes_back_exactly(
    engine: pc.Engine, busybox: pc.Image, size: int
) -> None:
    data = os.urandom(size)
    assert pc.run(busybox, ["cat"], input=data, engine=engine).stdout == data


SWALLOWING = r"""
import sys
import pycontainer as pc
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) << 10
def grown(work):
    open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
    before = peak()
    size = work()
    print(size, peak() - before)
write = ["sh", "-c", f"head -c {100 << 20} /dev/zero; echo end"]
engine = pc.Engine(sys.argv[1])
def run():
    output = pc.run("busybox", write, engine=engine).stdout
    assert output.endswith(b"end\n") and output.count(b"\0") == 100 << 20
    return len(output)
grown(run)
with pc.Container("busybox", write, log_opts={"max-size": "200m"}, engine=engine) as box:
    assert box.wait() == 0
    grown(lambda: sum(len(line.content) for line in box.logs()))
    grown(lambda: len(box.logs().read()))
with pc.Container("busybox", ["sleep", "1000"], engine=engine) as box:
    grown(lambda: len(box.exec(write).stdout))
"""


def test_a_hundred_megabytes_of_output_lose_no_byte_and_are_held_once(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SWALLOWING, str(engine.root)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    run, followed, read, executed = ([*map(int, line.split())] for line in ended.stdout.splitlines())
    size = (100 << 20) + 4
    for found, grown in (run, read, executed):
        assert found == size
        assert grown < 1.3 * size
    assert followed[0] == size
    assert followed[1] < 0.2 * size  # nothing is kept


@pytest.mark.parametrize(
    ("command", "code"),
    [
        pytest.param(["no-such-program"], 127, id="not in PATH"),
        pytest.param(["/no/such/program"], 127, id="not there"),
        pytest.param(["/etc/passwd"], 126, id="not executable"),
        pytest.param(["/etc"], 126, id="a directory"),
    ],
)
def test_a_program_that_cannot_start_is_named_with_dockers_code(
    engine: pc.Engine, busybox: pc.Image, command: list[str], code: int
) -> None:
    with pytest.raises(errors.LaunchError, match=command[0]) as caught:
        pc.run(busybox, command, engine=engine)
    assert caught.value.exit_code == code


def test_a_signal_shows_as_128_plus_its_number(engine: pc.Engine, busybox: pc.Image) -> None:
    # As process 1 the shell would ignore the signal, so it is its child that dies.
    result = pc.run(busybox, ["sh", "-c", "sh -c 'kill -TERM $$'; exit $?"], engine=engine)
    assert result.exit_code == 143


def test_check_raises_with_the_code_and_the_end_of_stderr(engine: pc.Engine, busybox: pc.Image) -> None:
    with pytest.raises(errors.ContainerFailed, match="broken") as caught:
        pc.run(busybox, ["sh", "-c", "echo broken >&2; exit 9"], check=True, engine=engine)
    assert (caught.value.exit_code, caught.value.stderr) == (9, b"broken\n")


def test_a_timeout_kills_the_container(engine: pc.Engine, busybox: pc.Image) -> None:
    with pytest.raises(errors.DeadlineExceeded):
        pc.run(busybox, ["sleep", "100"], timeout=0.3, engine=engine)
    assert pc.Container.list(all=True, engine=engine) == []


def test_an_unknown_option_suggests_the_nearest(engine: pc.Engine, busybox: pc.Image) -> None:
    with pytest.raises(TypeError, match="memory"):
        pc.run(busybox, ["true"], engine=engine, memry="1g")  # type: ignore[call-arg]


def test_a_bad_value_names_option_and_value_and_leaves_nothing(engine: pc.Engine, busybox: pc.Image) -> None:
    with pytest.raises(errors.InvalidOption, match="memory"):
        pc.run(busybox, ["true"], engine=engine, memory="lots")
    assert pc.Container.list(all=True, engine=engine) == []


def test_usage_tells_time_and_memory(engine: pc.Engine, busybox: pc.Image) -> None:
    command = "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; cat /proc/uptime"
    result = pc.run(busybox, ["sh", "-c", f"cat /proc/uptime; {command}"], engine=engine, memory="64m")
    usage = result.usage
    first, last = (float(line.split()[0]) for line in result.text.splitlines())
    assert usage.wall_s >= last - first - 0.02  # the kernel tells hundredths
    assert usage.cpu_s is not None
    assert 0 < usage.cpu_s <= usage.wall_s * 2 + 0.1
    assert usage.memory_peak_bytes is not None
    assert usage.memory_peak_bytes > 0


def test_eight_threads_run_a_hundred_containers(engine: pc.Engine, busybox: pc.Image) -> None:
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(lambda n: pc.run(busybox, ["echo", str(n)], engine=engine).text, range(100)))
    assert outputs == [f"{number}\n" for number in range(100)]


def test_it_works_inside_a_running_event_loop(engine: pc.Engine, busybox: pc.Image) -> None:
    async def main() -> str:
        return pc.run(busybox, ["echo", "loop"], engine=engine).text

    assert asyncio.run(main()) == "loop\n"


def test_containers_do_not_see_each_others_files(engine: pc.Engine, busybox: pc.Image) -> None:
    pc.run(busybox, ["touch", "/only-here"], engine=engine).check()
    assert pc.run(busybox, ["ls", "/only-here"], engine=engine).exit_code == 1


def test_the_environment_is_the_images_and_the_callers_and_nothing_of_the_host(
    engine: pc.Engine, busybox: pc.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_SECRET", "must not leak")
    names = pc.run(busybox, ["env"], env={"GIVEN": "1"}, hostname="box", engine=engine).text.splitlines()
    assert sorted(names) == ["GIVEN=1", "HOME=/root", "HOSTNAME=box", "PATH=/bin:/usr/bin"]


def test_nothing_of_the_caller_changes(engine: pc.Engine, busybox: pc.Image, tmp_path: Path) -> None:
    import signal

    umask = os.umask(0o077)
    here = os.getcwd()
    os.chdir(tmp_path)
    before = [signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGPIPE)]
    try:
        assert pc.run(busybox, ["sh", "-c", "umask; pwd"], engine=engine).text == "0022\n/\n"
        after = [signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGPIPE)]
        assert (os.getcwd(), os.umask(0o077), after) == (str(tmp_path), 0o077, before)
    finally:
        os.umask(umask)
        os.chdir(here)


def _script(root: Path, body: str) -> subprocess.CompletedProcess[str]:
    text = f"import pycontainer as pc, os, sys, threading\nengine = pc.Engine({str(root)!r})\n{body}\n"
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=patient(60), check=False
    )


def test_a_forked_child_runs_containers_of_its_own(engine: pc.Engine, busybox: pc.Image) -> None:
    done = _script(
        engine.root,
        "pc.run('busybox', ['true'], engine=engine)\n"
        "child = os.fork()\n"
        "text = pc.run('busybox', ['echo', 'hi'], engine=engine).text\n"
        "if child == 0:\n"
        "    engine.close()\n"
        "    os._exit(0 if text == 'hi\\n' else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text, end='')\n"
        "engine.close()",
    )
    assert (done.stdout, done.stderr) == ("0 hi\n", "")


def test_it_works_after_the_caller_closed_its_stdio(engine: pc.Engine, busybox: pc.Image) -> None:
    done = _script(
        engine.root,
        "out = os.dup(1)\n"
        "for fd in (0, 1, 2): os.close(fd)\n"
        "os.write(out, pc.run('busybox', ['echo', 'hi'], engine=engine).stdout)\n"
        "engine.close()",
    )
    assert done.stdout == "hi\n"


def test_a_caller_that_is_killed_takes_its_container_along(engine: pc.Engine, busybox: pc.Image) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        text = (
            "import pycontainer as pc\n"
            f"engine = pc.Engine({str(engine.root)!r})\n"
            "pc.run('busybox', ['sleep', '1000'], engine=engine, name='doomed')\n"
        )
        caller = subprocess.Popen([sys.executable, "-c", text], cwd=scratch)
        pid = _await_pid(engine, "doomed")
        pidfd = os.pidfd_open(pid)
        caller.kill()
        caller.wait(patient(10))
        import select

        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        assert poller.poll(patient(10_000))
        os.close(pidfd)
    _await_gone(engine, "doomed")


def _await_pid(engine: pc.Engine, name: str) -> int:
    event = threading.Event()
    for _ in range(int(patient(400))):
        try:
            pid = pc.Container.get(name, engine=engine).pid
        except errors.NotFound:
            pid = None
        if pid:
            return pid
        event.wait(0.025)
    raise AssertionError(f"{name} did not start")


def _await_gone(engine: pc.Engine, name: str) -> None:
    event = threading.Event()
    for _ in range(int(patient(400))):
        with pc.Engine(engine.root) as fresh:
            if all(container.name != name for container in pc.Container.list(all=True, engine=fresh)):
                return
        event.wait(0.025)
    raise AssertionError(f"{name} was not tidied up")


class TestMadeAhead:
    """What a helper keeps for the next launch: a monitor, and the cgroups it has made."""

    def test_another_engine_on_the_store_leaves_it_alone(self, engine: pc.Engine, busybox: pc.Image) -> None:
        pc.run(busybox, ["true"], engine=engine)
        waiting = await_next(engine.helper.pid)
        with pc.Engine(engine.root) as other:
            assert pc.run(busybox.id, ["echo", "other"], engine=other).text == "other\n"
            assert await_next(engine.helper.pid) == waiting
        assert pc.run(busybox, ["echo", "still"], engine=engine).text == "still\n"

    def test_nothing_of_it_is_left_when_the_engine_is_closed(
        self, tmp_path: Path, busybox_layout: Path
    ) -> None:
        with pc.Engine(tmp_path / "store") as engine:
            (image,) = pc.Image.load(busybox_layout, engine=engine)
            pc.run(image, ["true"], engine=engine)
        tag = hashlib.sha256(os.fsencode(os.path.realpath(tmp_path / "store"))).hexdigest()[:12]
        assert list(stores.CGROUPS.glob(f"**/pycontainer/{tag}")) == []

    def test_containers_made_in_another_order_than_they_are_started_get_their_own_ids(
        self, engine: pc.Engine, busybox: pc.Image
    ) -> None:
        made = [pc.Container.create(busybox, ["sleep", "60"], engine=engine) for _ in range(4)]
        try:
            for container in reversed(made):
                container.start()
                assert container.exec(["hostname"]).stdout == container.id[:12].encode() + b"\n"
            assert len({container.id for container in made}) == 4
            assert pc.run(busybox, ["echo", "after"], engine=engine).text == "after\n"
        finally:
            for container in made:
                container.remove(force=True)
