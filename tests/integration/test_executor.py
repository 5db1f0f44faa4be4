"""Python functions in containers, as an executor runs them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, as_completed
from pathlib import Path
from typing import Any

import numpy
import pytest

import pycontainer as pc
from pycontainer.errors import (
    DeadlineExceeded,
    InvalidInput,
    InvalidOption,
    LaunchError,
    TaskFailed,
    WorkerDied,
    WrongState,
)
from tests.support.patience import patient
from tests.support.pythons import other_pythons, python_options

pytestmark = pytest.mark.needs("root", "overlay")

OPTIONS = python_options()
FACTOR = 3


def times(x: int) -> int:
    return x * FACTOR


def fails(key: str) -> None:
    raise KeyError(key)


def sleep_after(path: str) -> None:
    with open(path, "w"):
        pass
    time.sleep(1000)


@pytest.fixture
def executor(engine: pc.Engine, busybox: pc.Image) -> Iterator[pc.ContainerExecutor]:
    with pc.ContainerExecutor(busybox, 2, engine=engine, **OPTIONS) as made:
        yield made
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("pycontainer")] == []


def test_functions_run_in_warm_containers_and_give_back_data(
    executor: pc.ContainerExecutor, engine: pc.Engine
) -> None:
    here = os.getpid()
    assert list(executor.map(times, range(20))) == [3 * x for x in range(20)]
    assert executor.submit(lambda a, *, b: (a, {b}), [1], b="x").result() == ([1], {"x"})
    array = numpy.arange(200_000, dtype="float64")
    numpy.testing.assert_array_equal(executor.submit(bytes.__len__, array.tobytes()).result(), 1_600_000)
    hosts = {executor.submit(lambda: (os.uname().nodename, os.getpid())).result() for _ in range(5)}
    assert len(hosts) <= 2
    assert here not in {pid for _, pid in hosts}
    assert 1 <= len(pc.Container.list(engine=engine)) <= 2


def test_what_a_task_raises_comes_back_with_its_traceback(executor: pc.ContainerExecutor) -> None:
    with pytest.raises(KeyError) as caught:
        executor.submit(fails, "lost").result()
    assert caught.value.args == ("lost",)
    assert "in fails" in str(caught.value.__cause__)

    def odd() -> None:
        class Odd(Exception):
            pass

        raise Odd("why")

    with pytest.raises(TaskFailed, match="Odd: why"):
        executor.submit(odd).result()
    with pytest.raises(TaskFailed, match="SystemExit"):
        executor.submit(sys.exit, 3).result()
    with pytest.raises(TaskFailed, match=r"a builtins\.object is not data.*trusted=True"):
        executor.submit(object).result()
    with pytest.raises((TypeError, pickle.PicklingError)) as caught:
        executor.submit(len, threading.Lock()).result()  # type: ignore[arg-type]
    assert "sent to a container" in caught.value.__notes__[0]
    assert executor.submit(times, 1).result() == 3


def test_a_worker_that_dies_fails_its_task_alone_and_is_replaced(executor: pc.ContainerExecutor) -> None:
    def die() -> None:
        print("the last words", flush=True)
        os._exit(7)

    with pytest.raises(WorkerDied, match="the last words") as caught:
        executor.submit(die).result()
    assert (caught.value.exit_code, caught.value.oom_killed) == (7, False)
    with pytest.raises(WorkerDied, match="want of memory") as caught:
        executor.limited(memory="40m").submit(lambda: len(b"x" * (1 << 28))).result()
    assert caught.value.oom_killed
    assert executor.submit(lambda: len(b"x" * (1 << 26))).result() == 1 << 26


def test_the_limit_of_memory_is_each_tasks_own(engine: pc.Engine, busybox: pc.Image) -> None:
    seen = []
    with pc.ContainerExecutor(busybox, 1, engine=engine, **OPTIONS) as executor:
        for memory in ("100m", "200m", None):
            executor.limited(memory=memory).submit(times, 1).result()
            (box,) = pc.Container.list(engine=engine)
            seen.append((box.id, box.stats().memory_limit_bytes >> 20))
    assert [limit for _, limit in seen[:2]] == [100, 200]
    assert seen[2][1] > 200
    assert seen[0][0] == seen[1][0]


def test_time_that_is_up_ends_the_task(executor: pc.ContainerExecutor, engine: pc.Engine) -> None:
    with pytest.raises(DeadlineExceeded, match=r"sleep did not end within 0\.2 s"):
        executor.limited(timeout=0.2).submit(time.sleep, 1000).result()
    assert executor.submit(times, 2).result() == 6


def test_cancelling_ends_a_task_that_runs(engine: pc.Engine, busybox: pc.Image, tmp_path: Path) -> None:
    options: dict[str, Any] = {**OPTIONS, "volumes": [*OPTIONS["volumes"], f"{tmp_path}:/seen"]}
    with pc.ContainerExecutor(busybox, 1, engine=engine, **options) as executor:
        running = executor.submit(sleep_after, "/seen/begun")
        waiting = executor.submit(times, 1)
        after = executor.submit(times, 2)
        deadline = time.monotonic() + patient(60)
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline, "the task has not begun"
            time.sleep(0.01)
        assert waiting.cancel()
        assert running.cancel()
        assert (running.cancelled(), waiting.cancelled(), running.done()) == (True, True, True)
        with pytest.raises(CancelledError):
            running.result()
        assert after.result() == 6
        assert not after.cancel()
        assert not after.cancelled()


def test_a_cancelled_awaiting_task_ends_what_runs(engine: pc.Engine, busybox: pc.Image) -> None:
    async def main(executor: pc.ContainerExecutor) -> int:
        loop = asyncio.get_running_loop()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.run_in_executor(executor, time.sleep, 1000), 0.5)
        return await loop.run_in_executor(executor, times, 5)

    with pc.ContainerExecutor(busybox, 1, engine=engine, **OPTIONS) as executor:
        assert asyncio.run(main(executor)) == 15


def test_what_tasks_print_is_told_and_never_mixed_with_results(engine: pc.Engine, busybox: pc.Image) -> None:
    said: list[bytes] = []

    def noisy() -> str:
        print("printed")
        os.write(1, b"written\n")
        os.system("echo echoed; cat")
        return sys.stdin.read()

    with pc.ContainerExecutor(busybox, 1, engine=engine, on_output=said.append, **OPTIONS) as executor:
        assert executor.submit(noisy).result() == ""
    assert set(b"".join(said).split()) == {b"printed", b"written", b"echoed"}


def test_an_initializer_runs_once_in_each_container(engine: pc.Engine, busybox: pc.Image) -> None:
    def begin(word: str) -> None:
        os.environ["BEGUN"] = os.environ.get("BEGUN", "") + word

    def look() -> tuple[str, str]:
        return os.uname().nodename, os.environ["BEGUN"]

    with pc.ContainerExecutor(
        busybox,
        1,
        engine=engine,
        initializer=begin,
        initargs=("once",),
        max_tasks_per_worker=2,
        warm=True,
        **OPTIONS,
    ) as executor:
        seen = [executor.submit(look).result() for _ in range(3)]
    assert [word for _, word in seen] == ["once"] * 3
    assert seen[0] == seen[1] != seen[2]
    with pc.ContainerExecutor(
        busybox, 1, engine=engine, initializer=fails, initargs=("x",), **OPTIONS
    ) as executor:
        with pytest.raises(KeyError):
            executor.submit(times, 1).result()


def test_what_cannot_be_started_is_said_by_each_task(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.ContainerExecutor(busybox, 1, engine=engine) as executor:
        futures = [executor.submit(times, x) for x in range(2)]
        for future in as_completed(futures):
            with pytest.raises(LaunchError, match="python3"):
                future.result()
    with pytest.raises(WrongState, match="shut down"):
        executor.submit(times, 1)
    with pytest.raises(InvalidOption, match="max_workers=0"):
        pc.ContainerExecutor(busybox, 0, engine=engine)
    with pytest.raises(TypeError, match="memory"):
        pc.ContainerExecutor(busybox, engine=engine, memroy="1g")  # type: ignore[call-arg]


def test_shutting_down_drops_what_has_not_begun(engine: pc.Engine, busybox: pc.Image) -> None:
    executor = pc.ContainerExecutor(busybox, 1, engine=engine, **OPTIONS)
    first = executor.submit(times, 1)
    first.result()
    blocked = executor.submit(time.sleep, 0.3)
    dropped = [executor.submit(times, x) for x in range(3)]
    executor.shutdown(cancel_futures=True)
    assert blocked.done()
    assert all(future.cancelled() for future in dropped)
    assert pc.Container.list(all=True, engine=engine) == []


class Money:
    """Of the caller's program, which no image has."""

    def __init__(self, amount: int) -> None:
        self.amount = amount


class Broke(Exception):
    pass


def test_trusted_results_are_whatever_can_be_pickled(engine: pc.Engine, busybox: pc.Image) -> None:
    def spend(money: Money) -> Money:
        if not money.amount:
            raise Broke("nothing left")
        return Money(money.amount - 1)

    before = Money.__init__
    with pc.ContainerExecutor(busybox, 1, engine=engine, trusted=True, **OPTIONS) as executor:
        found = executor.submit(spend, Money(3)).result()
        assert (type(found), found.amount) == (Money, 2)
        assert Money.__init__ is before  # and not a copy that came back
        with pytest.raises(Broke, match="nothing left") as caught:
            executor.submit(spend, Money(0)).result()
        assert "in spend" in str(caught.value.__cause__)


def forge(content: bytes) -> None:
    """Write to the worker's own channel, as code that took the worker over would."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the input, and what listed the directory
            if int(name) > 2 and "pipe" in os.readlink(f"/proc/self/fd/{name}"):
                os.write(int(name), content)


def header(kind: bytes, length: int, count: int) -> bytes:
    return kind + length.to_bytes(8, "big") + count.to_bytes(4, "big")


PICKLE = b"cos\nsystem\n(S'touch /tmp/owned-by-result'\ntR."


FORGED = {
    "a pickle that nobody asked for": header(b"p", 4, 1) + len(PICKLE).to_bytes(8, "big") + b"null" + PICKLE,
    "a length without end": header(b"r", 1 << 62, 0),
    "an answer of no kind": header(b"?", 2, 0) + b"{}",
    "an exception that is none": header(b"e", 2, 0) + b"[]",
}


def test_a_forged_answer_is_an_error_and_runs_nothing(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.ContainerExecutor(busybox, 1, engine=engine, **OPTIONS) as executor:
        for what, content in FORGED.items():
            with pytest.raises(InvalidInput):
                executor.submit(forge, content).result()
            assert not Path("/tmp/owned-by-result").exists(), what
        assert executor.submit(times, 1).result() == 3


def test_a_result_above_the_limit_is_refused(engine: pc.Engine, busybox: pc.Image) -> None:
    with pc.ContainerExecutor(busybox, 1, engine=engine, max_result_bytes=1000, **OPTIONS) as executor:
        assert len(executor.submit(bytes, 900).result()) == 900
        with pytest.raises(InvalidInput, match="max_result_bytes"):
            executor.submit(bytes, 1000).result()
        assert executor.submit(times, 1).result() == 3


def test_a_function_bound_to_an_image(engine: pc.Engine, busybox: pc.Image) -> None:
    @pc.function(image=busybox, engine=engine, max_workers=1, **OPTIONS)
    def tripled(x: int) -> int:
        """Three times."""
        return x * FACTOR

    @pc.function(image=busybox, engine=engine, max_workers=1, **OPTIONS)
    def calls_another(x: int) -> int:
        return tripled(x) + 1

    with tripled, calls_another:
        assert (tripled(2), tripled.remote(2), tripled.submit(3).result()) == (6, 6, 9)
        assert list(tripled.map([1, 2])) == [3, 6]
        assert calls_another.remote(1) == 4
    assert (tripled.__name__, tripled.__doc__) == ("tripled", "Three times.")
    assert pc.Container.list(all=True, engine=engine) == []


OTHERS = other_pythons()


@pytest.mark.parametrize("program", OTHERS[:1] + OTHERS[-1:], ids=lambda path: path.name)
def test_functions_run_in_images_with_another_python(
    engine: pc.Engine, busybox: pc.Image, program: Path
) -> None:
    offset = 5

    def shifted(x: int, by: int = FACTOR) -> tuple[int, list[int]]:
        return x + offset, list(sys.version_info[:2])

    with pc.ContainerExecutor(busybox, 1, engine=engine, **python_options(program)) as executor:
        value, version = executor.submit(shifted, 1).result()
        assert value == 6
        assert f"python{version[0]}.{version[1]}" == program.name
        assert executor.submit(lambda x: x - offset, 1).result() == -4
        with pytest.raises(KeyError) as caught:
            executor.submit(fails, "lost").result()
        assert "raise KeyError(key)" in str(caught.value.__cause__)
        instance = Money(4)
        assert executor.submit(lambda money: money.amount, instance).result() == 4
