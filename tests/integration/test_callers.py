"""Callers of every kind: threads, event loops, forked children, odd surroundings, and many times over."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import pycontainer as pc
from tests.support import stores
from tests.support.needs import needs

pytestmark = needs("root", "overlay")

CYCLES = 200


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, busybox_layout: Path) -> Path:
    """A store with busybox in it."""
    path = tmp_path_factory.mktemp("callers") / "store"
    with pc.Engine(path) as engine:
        pc.Image.load(busybox_layout, engine=engine)[0].tag("busybox:1")
    return path


@pytest.fixture
def own(root: Path) -> Iterator[pc.Engine]:
    """An engine of this test alone, that nobody has used yet; nothing of it may stay."""
    with pc.Engine(root) as engine:
        yield engine
    with pc.Engine(root) as fresh:
        assert pc.Container.list(all=True, engine=fresh) == []
        stores.check_tidy(fresh)
    assert stores.cgroup_ids(root) == set()


def says_hi(engine: pc.Engine) -> str:
    return pc.run("busybox:1", ["echo", "hi"], engine=engine).text


def script(root: Path, body: str, **more: object) -> subprocess.CompletedProcess[str]:
    text = (
        "import os, signal, sys, threading\nimport pycontainer as pc\n"
        f"def hi():\n    return pc.run('busybox:1', ['echo', 'hi'], engine=engine).text\n"
        f"engine = pc.Engine({str(root)!r})\n{body}\nengine.close()\n"
    )
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-c", text],
        **{"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 60, **more},
    )


def check_silent(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_first_use_may_come_from_eight_threads_at_once(own: pc.Engine) -> None:
    barrier = threading.Barrier(8)
    texts: list[str] = []

    def work() -> None:
        barrier.wait()
        texts.append(says_hi(own))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["hi\n"] * 8


def test_an_engine_outlives_the_thread_that_made_it(root: Path) -> None:
    engines: list[pc.Engine] = []

    def make() -> None:
        engines.append(pc.Engine(root))
        says_hi(engines[0])

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert says_hi(engines[0]) == "hi\n"
    engines[0].close()


def test_an_image_is_run_by_its_own_engine_in_a_thread_outside_of_the_block(root: Path) -> None:
    def work(image: pc.Image) -> list[str]:
        with pc.Container(image, ["sleep", "100"]) as box:
            ran = pc.run(image, ["echo", "hi"]).text
            return [ran, box.exec(["echo", "ho"]).text, pc.Container.create(image, ["true"]).name]

    with pc.Engine(root) as engine, ThreadPoolExecutor(1) as threads:
        image = pc.Image.get("busybox:1")
        ran, said, name = threads.submit(work, image).result()
        assert (ran, said) == ("hi\n", "ho\n")
        pc.Container.get(name, engine=engine).remove()


def test_a_running_event_loop_goes_on_beside_threads(own: pc.Engine) -> None:
    async def main() -> tuple[list[str], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        texts = await asyncio.gather(*(asyncio.to_thread(says_hi, own) for _ in range(8)))
        ticking.cancel()
        return texts, ticks

    texts, ticks = asyncio.run(main())
    assert texts == ["hi\n"] * 8
    assert ticks > 8


def test_a_child_forked_among_threads_has_an_engine_of_its_own(root: Path) -> None:
    done = script(
        root,
        "hi()\n"
        "threads = [threading.Thread(target=hi) for _ in range(4)]\n"
        "for thread in threads: thread.start()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    code = 0 if hi() == 'hi\\n' and pc.Container.list(engine=engine) == [] else 1\n"
        "    engine.close()\n"
        "    os._exit(code)\n"
        "for thread in threads: thread.join()\n"
        "assert hi() == 'hi\\n'\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0",
    )
    check_silent(done)


def test_a_forked_child_does_not_end_its_parents_containers(root: Path) -> None:
    done = script(
        root,
        "box = pc.Container('busybox:1', ['sleep', '1000'], engine=engine).__enter__()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    engine.close()\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "assert box.state == 'running'",
    )
    check_silent(done)


def test_workers_of_pytest_xdist_share_a_store(root: Path, tmp_path: Path) -> None:
    (tmp_path / "test_tiny.py").write_text(
        "import pytest\nimport pycontainer as pc\n"
        "@pytest.fixture(scope='session')\n"
        "def engine():\n"
        f"    with pc.Engine({str(root)!r}) as engine:\n"
        "        yield engine\n"
        "@pytest.mark.parametrize('number', range(16))\n"
        "def test_run(engine, number):\n"
        "    done = pc.run('busybox:1', ['echo', str(number)], engine=engine)\n"
        "    assert done.text == f'{number}\\n'\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-n", "4", "-p", "no:cacheprovider"]
    surroundings = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    with subprocess.Popen(
        [*command, "-o", "faulthandler_timeout=60", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env=surroundings,
    ) as started:
        try:
            said, _ = started.communicate(timeout=100)
        except subprocess.TimeoutExpired:
            started.kill()
            said, _ = started.communicate()  # with where each of them waited
    assert started.returncode == 0, said
    assert "16 passed" in said


SURROUNDINGS = {
    "another directory": "os.chdir('/')",
    "a deleted directory": "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')",
    "a strict umask": "os.umask(0o777)",
    "a loose umask": "os.umask(0)",
    "ignored signals": (
        "for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGTERM, signal.SIGIO):\n"
        "    signal.signal(number, signal.SIG_IGN)"
    ),
    "handlers of its own": (
        "for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGTERM, signal.SIGIO):\n"
        "    signal.signal(number, lambda *_: None)\n"
        "signal.signal(signal.SIGALRM, lambda *_: None); signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)"
    ),
    "blocked signals": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
    "no stdin": "os.close(0)",
    "no standard streams": "os.close(0); os.close(1); os.close(2)",
    "few descriptors": ("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"),
    "descriptors above select's limit": (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\n"
        "held = [os.open('/dev/null', os.O_RDONLY) for _ in range(1100)]"
    ),
    "no environment": "os.environ.clear()",
    "a name space of modules changed": "sys.path[:] = [path for path in sys.path if path]",
}


CALM = "signal.setitimer(signal.ITIMER_REAL, 0)"  # a timer that fires when handlers are gone would kill


@pytest.mark.parametrize("when", ["before the engine", "after its first use"])
@pytest.mark.parametrize("surrounding", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_it_works_in(root: Path, tmp_path: Path, surrounding: str, when: str) -> None:
    first = "assert hi() == 'hi\\n'\n" if when == "after its first use" else ""
    check_silent(script(root, f"{first}{surrounding}\nassert hi() == 'hi\\n'\n{CALM}", cwd=tmp_path))


def test_a_relative_root_stays_where_it_was(tmp_path: Path) -> None:
    done = script(
        tmp_path / "unused",
        "made = pc.Engine('here')\nos.mkdir('sub'); os.chdir('sub')\n"
        "assert pc.Image.list(engine=made) == []\n"
        "assert os.listdir('.') == [] and os.path.isdir('../here')\nmade.close()",
        cwd=tmp_path,
    )
    check_silent(done)


def test_without_a_free_descriptor_it_fails_by_name_and_works_again(root: Path) -> None:
    done = script(
        root,
        "import resource\n"
        "assert hi() == 'hi\\n'\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
        "held = []\n"
        "try:\n"
        "    while True: held.append(os.open('/dev/null', os.O_RDONLY))\n"
        "except OSError: pass\n"
        "try:\n"
        "    hi()\n"
        "    raise SystemExit('it ran without descriptors')\n"
        "except OSError as error:\n"
        "    assert 'Too many open files' in str(error), error\n"
        "for fd in held: os.close(fd)\n"
        "assert hi() == 'hi\\n'\n"
        "assert pc.Container.list(all=True, engine=engine) == []",
    )
    check_silent(done)


def test_closing_leaves_no_thread_child_or_descriptor(root: Path) -> None:
    done = script(
        root,
        "before = sorted(os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')[:-1])\n"
        "hi()\n"
        "with pc.Container('busybox:1', ['sleep', '1000'], engine=engine): pass\n"
        "engine.close()\n"
        "after = sorted(os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')[:-1])\n"
        "assert after == before, (before, after)\n"
        "assert threading.enumerate() == [threading.main_thread()]\n"
        "try: found = os.waitpid(-1, os.WNOHANG)\n"
        "except ChildProcessError: found = None\n"
        "assert found is None, found",
    )
    check_silent(done)


def held() -> tuple[int, int]:
    """Descriptors and threads of this process."""
    return len(os.listdir("/proc/self/fd")), threading.active_count()


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run_once(engine: pc.Engine) -> None:
    assert pc.run("busybox:1", ["true"], engine=engine).exit_code == 0


def live_once(engine: pc.Engine) -> None:
    box = pc.Container.create("busybox:1", ["true"], engine=engine)
    box.start()
    assert box.wait(timeout=30) == 0
    box.remove()


@pytest.mark.parametrize("cycle", [run_once, live_once], ids=["run", "create-start-wait-remove"])
def test_many_cycles_leak_nothing(
    own: pc.Engine, cycle: Callable[[pc.Engine], None], record_property: Callable[[str, object], None]
) -> None:
    for _ in range(20):
        cycle(own)
    gc.collect()
    before, memory = held(), rss_bytes()
    mounts = Path("/proc/self/mountinfo").read_text().count(str(own.root))
    for _ in range(CYCLES):
        cycle(own)
    gc.collect()
    slope = (rss_bytes() - memory) / CYCLES
    record_property("rss_bytes_per_cycle", slope)
    print(f"memory: {slope:.0f} bytes more per cycle")
    assert held() == before
    assert Path("/proc/self/mountinfo").read_text().count(str(own.root)) == mounts
    assert slope < 8192  # a record or a descriptor's object kept per cycle would be more over the cycles


def test_sigint_in_the_middle_of_a_run_ends_the_container(root: Path) -> None:
    done = script(
        root,
        "signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.5)\n"
        "try:\n"
        "    pc.run('busybox:1', ['sleep', '1000'], engine=engine)\n"
        "    raise SystemExit('not interrupted')\n"
        "except KeyboardInterrupt: pass\n"
        "assert pc.Container.list(all=True, engine=engine) == []",
    )
    check_silent(done)
    assert signal.getsignal(signal.SIGINT) is not None
