"""The asynchronous API in event loops: what it gives, and what is left when tasks are cancelled."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import pycontainer as pc
from pycontainer import aio
from pycontainer.engine.streams import PIPE
from pycontainer.errors import ContainerFailed, DeadlineExceeded, NotFound
from pycontainer.registry.server import Fault, Slow

pytestmark = pytest.mark.needs("root", "overlay")

SLEEP = ["sleep", "1000"]


@pytest.fixture
def loop_run(engine: pc.Engine) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine in a loop of its own; no thread of ours is left after it."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        value = asyncio.run(asyncio.wait_for(coroutine, 60))
        for thread in threading.enumerate():
            if thread.name == "pycontainer-aio":
                thread.join(20)  # of an iterator that nobody holds any more
                assert not thread.is_alive()
        return value

    return run


async def until(is_so: Callable[[], Any]) -> None:
    while not await asyncio.to_thread(is_so):
        await asyncio.sleep(0.02)


def names(engine: pc.Engine) -> list[str]:
    return sorted(box.name for box in pc.Container.list(all=True, engine=engine))


def test_http_goes_into_the_container_and_leaves_the_loop_to_others(
    engine: pc.Engine, busybox: pc.Image, loop_run: Any
) -> None:
    async def main() -> None:
        command = ["httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/srv"]
        async with aio.Container(
            busybox, command, network="none", engine=engine, wait=pc.wait.port(8080)
        ) as box:
            async with box.http(8080) as client:
                answers = await asyncio.gather(*(client.get("/greeting") for _ in range(3)))
                assert {answer.text for answer in answers} == {"hello from the second layer\n"}
                assert (await client.get("/missing")).status_code == 404
                await box.pause()
                with pytest.raises(httpx.ReadTimeout):
                    await client.get("/greeting", timeout=0.2)
                await box.unpause()
            async with box.http(9) as client:
                with pytest.raises(httpx.ConnectError, match="refused"):
                    await client.get("/")

    loop_run(main())


def test_a_connection_that_the_server_closed_unseen_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch, engine: pc.Engine, busybox: pc.Image, loop_run: Any
) -> None:
    may_close, is_closed = threading.Semaphore(0), threading.Semaphore(0)

    def serve(theirs: socket.socket) -> None:
        theirs.recv(4096)
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        may_close.acquire(timeout=60)
        theirs.close()
        is_closed.release()

    def connect(*_: Any, **__: Any) -> socket.socket:
        ours, theirs = socket.socketpair()
        threading.Thread(target=serve, args=(theirs,)).start()
        return ours

    monkeypatch.setattr(pc.Container, "connect", connect)
    monkeypatch.setattr(socket.socket, "setsockopt", lambda *_: None)  # these are no TCP

    async def main() -> None:
        box = await aio.Container.create(busybox, SLEEP, engine=engine)
        async with box.http(8080) as client:
            for _ in range(2):
                assert (await client.get("/")).text == "hi"
                may_close.release()
                assert is_closed.acquire(timeout=60)  # without the loop, which cannot have seen it
        await box.remove()

    loop_run(main())


def test_runs_go_beside_each_other_and_raise_as_ever(
    engine: pc.Engine, busybox: pc.Image, loop_run: Any
) -> None:
    async def main() -> None:
        words = [["echo", str(number)] for number in range(5)]
        results = await asyncio.gather(*(aio.run(busybox, word, engine=engine) for word in words))
        assert [result.text for result in results] == [f"{number}\n" for number in range(5)]
        with pytest.raises(ContainerFailed) as caught:
            await aio.run(busybox, ["false"], check=True, engine=engine)
        assert caught.value.exit_code == 1
        with pytest.raises(TypeError, match="memory"):
            await aio.run(busybox, ["true"], memroy="1g", engine=engine)  # type: ignore[call-arg]
        with pytest.raises(DeadlineExceeded):
            await aio.run(busybox, SLEEP, timeout=0.1, engine=engine)

    loop_run(main())


def test_objects_are_mirrored_all_the_way(engine: pc.Engine, busybox: pc.Image, loop_run: Any) -> None:
    async def main() -> None:
        image = await aio.Image.get("busybox", engine=engine)
        assert isinstance(image, aio.Image)
        assert image.id == busybox.id
        async with aio.Container(image, SLEEP, name="box", engine=engine) as box:
            assert (box.state, box.name, box.image) == ("running", "box", image)
            assert await box.size_bytes >= 0
            (listed,) = await aio.Container.list(engine=engine)
            assert isinstance(listed, aio.Container)
            assert listed.id == box.id
            await (box.path / "tmp" / "note").write_text("hello")
            assert await box.path.joinpath("tmp/note").read_text() == "hello"
            assert [path.name async for path in box.path.joinpath("tmp").iterdir()] == ["note"]
            assert (await box.exec(["cat", "/tmp/note"])).text == "hello"
            assert (await box.commit("kept:1")).tags == ("kept:1",)
        await (await aio.Image.get("kept:1", engine=engine)).remove()
        with pytest.raises(NotFound):
            await aio.Container.get("box", engine=engine)

    loop_run(main())


def test_processes_have_streams_to_await(engine: pc.Engine, busybox: pc.Image, loop_run: Any) -> None:
    async def main() -> None:
        async with aio.Container(busybox, SLEEP, engine=engine) as box:
            async with await box.popen(["cat"], stdin=PIPE) as cat:
                assert cat.stdin is not None
                assert cat.stdout is not None
                await cat.stdin.write(b"one\ntwo\nthree")
                assert await cat.stdout.readline() == b"one\n"
                assert await cat.stdout.read(100) == b"two\nthree"
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(cat.stdout.read(), 0.2)
                await cat.stdin.write(b"!\n")
                await cat.stdin.close()
                assert [line async for line in cat.stdout] == [b"!\n"]
                assert await cat.wait() == 0
            process = await box.popen(["sh", "-c", "echo out; echo err >&2; exit 3"])
            lines = sorted([(line.stream, line.text) async for line in process.lines()])
            assert lines == [("stderr", "err"), ("stdout", "out")]
            assert process.returncode == 3
            await process.close()

    loop_run(main())


def test_logs_events_and_stats_come_as_they_happen(
    engine: pc.Engine, busybox: pc.Image, loop_run: Any
) -> None:
    async def main() -> None:
        async with aio.events(follow=True, filters={"type": "container"}, engine=engine) as events:
            first = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
            script = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done; sleep 1000"
            async with aio.Container(busybox, ["sh", "-c", script], name="talker", engine=engine) as box:
                seen = []
                async for line in box.logs(follow=True):
                    seen.append(line.text)
                    if len(seen) == 300:
                        break
                assert seen[-1] == "line 299"
                assert (await box.logs(tail=1).read()) == b"line 299\n"
                async with box.stats_stream(0.02) as stream:
                    looks = [await anext(stream) for _ in range(2)]
                assert looks[0].monotonic_ns < looks[1].monotonic_ns
            assert (await first).name == "talker"

    loop_run(main())


@asynccontextmanager
async def cancelled_when(coroutine: Coroutine[Any, Any, Any]) -> AsyncIterator[asyncio.Task[Any]]:
    """A task that is cancelled at the end of the block, and says that it was."""
    task = asyncio.ensure_future(coroutine)
    yield task
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_cancelled_run_ends_its_container(engine: pc.Engine, busybox: pc.Image, loop_run: Any) -> None:
    async def main() -> None:
        async with cancelled_when(aio.run(busybox, SLEEP, name="run", engine=engine)):
            await until(lambda: any(box.state == "running" for box in pc.Container.list(engine=engine)))
        assert names(engine) == []

    loop_run(main())


def test_runs_cancelled_at_any_moment_leave_nothing(
    engine: pc.Engine, busybox: pc.Image, loop_run: Any
) -> None:
    async def main() -> None:
        for step in range(12):
            task = asyncio.ensure_future(aio.run(busybox, SLEEP, engine=engine))
            await asyncio.sleep(step * 0.002)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert names(engine) == []

    loop_run(main())


def test_a_cancelled_wait_exec_or_follower_ends_at_once(
    engine: pc.Engine, busybox: pc.Image, loop_run: Any
) -> None:
    async def main() -> None:
        async with aio.Container(busybox, ["sh", "-c", "echo begun; exec sleep 1000"], engine=engine) as box:
            process = await box.popen(SLEEP)
            waits: list[Coroutine[Any, Any, Any]] = [
                box.wait(),
                box.wait(condition="next-exit"),
                box.wait(condition="removed"),
                box.wait_until(pc.wait.log("never"), timeout=1000),
                box.exec(SLEEP),
                process.wait(),
                process.communicate(),
                box.logs(follow=True).read(),
                anext(aio.events(follow=True, filters={"event": "never"}, engine=engine)),
                anext(box.stats_stream(1000)),
            ]
            begun = time.monotonic()
            tasks = [asyncio.ensure_future(each) for each in waits]
            await asyncio.sleep(0.3)
            for task in tasks:
                assert not task.done(), task
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(each) for each in done] == [asyncio.CancelledError] * len(tasks)
            assert time.monotonic() - begun < 30
            running = await box.top()
            assert len(list(running)) == 2  # the exec's is gone; popen's is its owner's
            await process.close()

    loop_run(main())


def test_a_container_is_removed_though_its_block_is_cancelled_twice(
    engine: pc.Engine, busybox: pc.Image, loop_run: Any
) -> None:
    async def hold() -> None:
        async with aio.Container(busybox, SLEEP, engine=engine):
            await asyncio.sleep(1000)

    records = engine.store.root / "containers"

    def runs() -> bool:
        """Before the one who has started it is told."""
        return any(b'"running"' in path.read_bytes() for path in records.glob("*/status.json"))

    async def main() -> None:
        for _ in range(8):
            task = asyncio.ensure_future(hold())
            while not runs() and not task.done():
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert names(engine) == []

    loop_run(main())


def test_what_a_cancelled_task_never_saw_is_undone(
    engine: pc.Engine, busybox: pc.Image, loop_run: Any
) -> None:
    async def main() -> None:
        for step in range(6):
            task = asyncio.ensure_future(aio.Container.create(busybox, SLEEP, engine=engine))
            await asyncio.sleep(step * 0.001)
            if task.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert names(engine) == []
            else:
                await (await task).remove()

    loop_run(main())


def test_a_cancelled_pull_and_build_end(
    engine: pc.Engine, busybox_layout: Path, loop_run: Any, tmp_path: Path
) -> None:
    async def main() -> None:
        with pc.Registry(tmp_path / "registry") as registry, pc.Engine(tmp_path / "other") as other:
            name = f"{registry.address}/slow:1"
            with pc.Engine(tmp_path / "pusher") as pusher:
                pc.Image.load(busybox_layout, engine=pusher)[0].push(name)
            registry.inject(Fault(Slow(20_000), method="GET", path="/blobs/", count=None))
            async with cancelled_when(aio.Image.pull(name, engine=other)):
                await until(lambda: any(each.name == "pycontainer-pull" for each in threading.enumerate()))
            assert await aio.Image.list(engine=other) == []
        build = aio.Image.build(
            None, dockerfile="FROM busybox\nRUN touch /begun; sleep 1000\n", engine=engine, progress="off"
        )
        async with cancelled_when(build):
            await until(lambda: any(engine.store.state.containers.list()))
        assert engine.store.state.containers.list() == []

    loop_run(main())


def test_an_engines_block_is_its_tasks_own(engine: pc.Engine, tmp_path: Path, loop_run: Any) -> None:
    async def inside(root: Path) -> str:
        async with aio.Engine(root) as own:
            await asyncio.sleep(0)
            assert await aio.Image.list() == []
            return str(own.root)

    async def main() -> None:
        roots = [tmp_path / "a", tmp_path / "b"]
        assert await asyncio.gather(*map(inside, roots)) == list(map(str, roots))

    loop_run(main())


def test_an_error_in_the_middle_of_an_iteration_reaches_the_reader(
    engine: pc.Engine, busybox: pc.Image, loop_run: Any
) -> None:
    async def main() -> None:
        async with aio.Container(busybox, ["sh", "-c", "echo one; exec sleep 1000"], engine=engine) as box:
            lines = aiter(box.logs(follow=True, timeout_s=0.3))
            assert (await anext(lines)).text == "one"
            with pytest.raises(DeadlineExceeded):
                await anext(lines)

    loop_run(main())
