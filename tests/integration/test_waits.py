"""`pc.wait`: what is seen from inside without running anything, and what is said when it does not come."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import socket
import threading
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import errors
from tests.support import images

pytestmark = pytest.mark.needs("root", "overlay")

FOREVER = ["sleep", "1000"]
GO = "until [ -e /go ]; do sleep 0.01; done"
"""The container waits for a file that the test makes, so that nothing depends on time."""


def started(engine: pc.Engine, image: pc.Image, script: str) -> pc.Container:
    box = pc.Container.create(image, ["sh", "-c", script], engine=engine)
    box.start()
    return box


def let_go(box: pc.Container) -> None:
    Path(f"/proc/{box.pid}/root/go").touch()


def awaited(box: pc.Container, strategy: pc.wait.Wait) -> threading.Thread:
    thread = threading.Thread(target=box.wait_until, args=(strategy, 30))
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("script", "strategy"),
    [
        ("mkdir /w; exec httpd -f -h /w -p 127.0.0.1:99", pc.wait.port(99)),
        ("exec nc -l -p 99", pc.wait.port(99)),
        ("mkdir /w; exec httpd -f -h /w -p [::1]:99", pc.wait.port(99) & pc.wait.http("/", 99, status=404)),
        ("echo not yet; echo ready now; sleep 1000", pc.wait.log("ready")),
        ("echo one ready; echo two ready; sleep 1000", pc.wait.log(r"\bready$", times=2)),
        ("echo -n re; sleep 0.1; echo ady; sleep 1000", pc.wait.log("^ready$")),
        ("echo ready >&2; sleep 1000", pc.wait.log("ready", stream="stderr")),
        ("mkdir -p /a/b && touch /a/b/c; sleep 1000", pc.wait.file("/a/b/c")),
        ("mkdir -p /a/b && touch /a/b/c && ln -s a/b /l; sleep 1000", pc.wait.file("/l/c")),
        ("ln -s /a/b/c /l; mkdir -p /a/b; touch /a/b/c; sleep 1000", pc.wait.file("/l")),
        ("mkdir /x && touch /x/c && mv /x /moved; sleep 1000", pc.wait.file("/moved/c")),
        ("touch /there; sleep 1000", pc.wait.exec(["test", "-e", "/there"], interval=0.02)),
        ("exit 3", pc.wait.exit(3)),
        ("exit 3", pc.wait.exit(None)),
        ("echo bye; exit 0", pc.wait.log("bye") & pc.wait.exit(0)),
        ("touch /b; sleep 1000", pc.wait.file("/never") | pc.wait.file("/b")),
        ("touch /b; exec nc -l -p 99", pc.wait.file("/b") & pc.wait.port(99)),
        ("mkdir /w; touch /w/x; exec httpd -f -p 80 -h /w", pc.wait.http("/x")),
        ("mkdir /w; echo hi > /w/x; exec httpd -f -p 8080 -h /w", pc.wait.http("/x", 8080, body="^hi$")),
        ("mkdir /w; exec httpd -f -p 80 -h /w", pc.wait.http("/x", status=range(400, 500))),
    ],
    ids=lambda value: str(value) if isinstance(value, pc.wait.Wait) else "",
)
def test_it_returns_when_the_condition_comes_and_not_before(
    engine: pc.Engine, busybox: pc.Image, script: str, strategy: pc.wait.Wait
) -> None:
    box = started(engine, busybox, f"{GO}; {script}")
    with pytest.raises(errors.ReadinessTimeout) as caught:
        box.wait_until(strategy, timeout=0.05)
    assert (caught.value.state, caught.value.strategy) == ("running", str(strategy))
    waiting = awaited(box, strategy)
    let_go(box)
    waiting.join(40)
    assert not waiting.is_alive()
    box.wait_until(strategy, timeout=10)  # what has come is there for those who ask later
    box.remove(force=True)


def test_http_asks_again_until_the_answer_will_do(engine: pc.Engine, busybox: pc.Image) -> None:
    script = "mkdir /w; httpd -p 80 -h /w; " + GO + "; echo ready > /w/state; sleep 1000"
    box = started(engine, busybox, script)
    box.wait_until(pc.wait.http("/state", status=404), timeout=20)
    waiting = awaited(box, pc.wait.http("/state", body="ready"))
    let_go(box)
    waiting.join(40)
    assert not waiting.is_alive()
    box.remove(force=True)


def test_an_image_without_a_shell_can_be_waited_for(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    program = images.busybox_path()
    assert program is not None
    shutil.copy(program, tmp_path / "httpd")
    image = pc.Image.from_directory(tmp_path, engine=engine, cmd=["/httpd", "-f", "-p", "80"])
    with pc.Container(image, engine=engine, wait=pc.wait.port(80) & pc.wait.http("/httpd")) as box:
        assert sorted(os.listdir(f"/proc/{box.pid}/root")) == [
            ".dockerenv",
            "dev",
            "etc",
            "httpd",
            "proc",
            "sys",
        ]
    image.remove(force=True)


def test_a_port_of_the_host_is_not_the_containers(engine: pc.Engine, busybox: pc.Image) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        strategy = pc.wait.port(listening.getsockname()[1])
        with pc.Container(busybox, FOREVER, engine=engine) as box:
            with pytest.raises(errors.ReadinessTimeout):
                box.wait_until(strategy, timeout=0.2)
        with pc.Container(busybox, FOREVER, network="host", engine=engine, wait=strategy):
            pass


def test_a_port_for_datagrams_is_not_one_for_connections(engine: pc.Engine, busybox: pc.Image) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        number = bound.getsockname()[1]
        with pc.Container(busybox, FOREVER, network="host", engine=engine) as box:
            box.wait_until(pc.wait.port(number, protocol="udp"), timeout=10)
            with pytest.raises(errors.ReadinessTimeout):
                box.wait_until(pc.wait.port(number), timeout=0.1)


def test_the_callers_threads_stay_in_their_namespaces(engine: pc.Engine, busybox: pc.Image) -> None:
    def namespaces() -> set[str]:
        return {
            os.readlink(f"/proc/self/task/{task}/ns/{kind}")
            for task in os.listdir("/proc/self/task")
            for kind in ("net", "mnt", "pid")
        }

    before = namespaces()
    wait = pc.wait.port(99) & pc.wait.file("/etc/passwd")
    with pc.Container(busybox, ["nc", "-l", "-p", "99"], engine=engine, wait=wait):
        assert namespaces() == before


def test_the_deadline_of_one_part_fails_the_whole_only_if_it_must(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    with pc.Container(busybox, FOREVER, engine=engine) as box:
        box.wait_until(pc.wait.port(99).within(0.05) | pc.wait.file("/etc/passwd"))
        with pytest.raises(errors.ReadinessTimeout) as caught:
            box.wait_until(pc.wait.port(99, timeout=0.05) & pc.wait.file("/etc/passwd"))
    assert caught.value.timeout_s == 0.05
    assert caught.value.missing == ("port 99/tcp",)
    assert isinstance(caught.value, TimeoutError)


# -- what fails


def test_the_end_of_the_process_fails_the_wait_at_once_and_says_why(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    lines = "; ".join(f"echo line {number}" for number in range(30))
    with (
        pytest.raises(errors.NotReady) as caught,
        pc.Container(busybox, ["sh", "-c", f"{lines}; exit 3"], engine=engine, wait=pc.wait.port(99)),
    ):
        raise AssertionError("the block is not entered")
    problem = caught.value
    assert not isinstance(problem, errors.ReadinessTimeout)
    assert (problem.state, problem.exit_code, problem.missing) == ("exited", 3, ("port 99/tcp",))
    assert problem.log_tail.splitlines() == [f"line {number}" for number in range(10, 30)]
    assert "it exited with code 3" in str(problem)
    assert "line 29" in str(problem)
    assert str(pickle.loads(pickle.dumps(problem))) == str(problem)
    assert pc.Container.list(all=True, engine=engine) == []


def test_a_container_out_of_memory_says_so(engine: pc.Engine, busybox: pc.Image) -> None:
    hog = ["sh", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M"]
    with (
        pytest.raises(errors.NotReady, match="out of memory") as caught,
        pc.Container(busybox, hog, memory="16m", memory_swap="16m", engine=engine, wait=pc.wait.port(99)),
    ):
        pass
    assert caught.value.oom_killed is True


def test_another_exit_code_than_awaited_fails(engine: pc.Engine, busybox: pc.Image) -> None:
    box = started(engine, busybox, "exit 4")
    with pytest.raises(errors.NotReady, match="exited with code 4"):
        box.wait_until(pc.wait.exit(0))
    with pytest.raises(errors.NotReady):
        box.wait_until(pc.wait.exit(0) | pc.wait.port(99))
    box.wait_until(pc.wait.port(99) | pc.wait.exit(4))
    box.remove()


def test_a_container_that_never_ran_is_not_waited_for(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, engine=engine)
    with pytest.raises(errors.NotReady, match="it was never started"):
        box.wait_until(pc.wait.port(99))
    box.remove()


def test_a_container_that_is_removed_meanwhile_is_not_waited_for_longer(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    box = pc.Container.create(busybox, FOREVER, engine=engine)
    box.start()
    problems: list[BaseException] = []

    def wait() -> None:
        try:
            box.wait_until(pc.wait.port(99), timeout=30)
        except errors.PycontainerError as problem:
            problems.append(problem)

    thread = threading.Thread(target=wait)
    thread.start()
    box.remove(force=True)
    thread.join(25)
    assert [type(problem) for problem in problems] in ([errors.NotReady], [errors.NotFound])


def test_output_of_an_earlier_run_does_not_count(engine: pc.Engine, busybox: pc.Image) -> None:
    box = started(engine, busybox, "[ -e /again ] || echo ready; touch /again; sleep 1000")
    box.wait_until(pc.wait.log("ready"), timeout=20)
    box.restart(timeout=0)
    with pytest.raises(errors.ReadinessTimeout):
        box.wait_until(pc.wait.log("ready"), timeout=0.2)
    box.remove(force=True)


def test_a_container_that_its_policy_starts_again_is_waited_for_on(
    engine: pc.Engine, busybox: pc.Image
) -> None:
    script = "if [ -e /again ]; then exec nc -l -p 99; fi; touch /again; exit 1"
    box = pc.Container.create(busybox, ["sh", "-c", script], restart="on-failure:3", engine=engine)
    box.start(wait=pc.wait.port(99))
    assert box.state == "running"
    box.remove(force=True)


def test_a_job_that_was_killed_ends_the_wait_with_a_clear_error(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, FOREVER, engine=engine)
    box.start()
    inside = os.readlink(f"/proc/{box.pid}/ns/net")
    problems: list[BaseException] = []

    def wait() -> None:
        try:
            box.wait_until(pc.wait.port(99), timeout=30)
        except errors.PycontainerError as problem:
            problems.append(problem)

    thread = threading.Thread(target=wait)
    thread.start()
    while not (jobs := [job for job in _children(engine.helper.pid) if _network(job) == inside]):
        pass
    os.kill(jobs[0], signal.SIGKILL)
    thread.join(25)
    assert [type(problem) for problem in problems] == [errors.HelperDied]
    box.remove(force=True)


def _network(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""  # it has ended


def _children(pid: int | None) -> set[int]:
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_what_is_no_strategy_is_a_type_error(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.Container(busybox, FOREVER, engine=engine) as box:
        with pytest.raises(TypeError, match=r"pycontainer\.wait"):
            box.wait_until(99)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _ = pc.wait.port(99) & 5  # type: ignore[operator]


@pytest.mark.parametrize(
    "make",
    [
        lambda: pc.wait.port(0),
        lambda: pc.wait.port(70000),
        lambda: pc.wait.port(80, protocol="sctp"),  # type: ignore[arg-type]
        lambda: pc.wait.log("("),
        lambda: pc.wait.log("x", times=0),
        lambda: pc.wait.http("no-slash"),
        lambda: pc.wait.http("/a b"),
        lambda: pc.wait.http("/", headers={"X": "a\r\nInjected: b"}),
        lambda: pc.wait.file("relative"),
        lambda: pc.wait.exec([]),
        lambda: pc.wait.port(80).within("soon"),
    ],
)
def test_values_that_cannot_be_are_refused_when_they_are_given(make: object) -> None:
    assert callable(make)
    with pytest.raises(errors.InvalidOption, match=r"wait\.|timeout="):
        make()
