"""What the mirrors of iterators and of streams of bytes have beyond calls."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from pycontainer.aio.running import Mirror, Stream, call, streamed
from pycontainer.engine import Event, LogLine, Stats
from pycontainer.kernel import interrupts

if TYPE_CHECKING:
    from pycontainer.engine import Logs as _Logs

__all__ = ["EngineContext", "Events", "Logs", "ProcessStreams", "Reader", "StatsStream", "Writer"]


class Events(Stream[Event]):
    """Events as they come, see `pycontainer.Events`: iterate with `async for`, and close."""


class StatsStream(Stream[Stats]):
    """Looks at a container, one each interval, see `Container.stats_stream`."""


class Logs:
    """Output of a container: `async for line in ...`, or all at once. See `pycontainer.Logs`."""

    def __init__(self, find: Callable[[], _Logs]) -> None:
        self._find = find

    def __aiter__(self) -> Stream[LogLine]:
        return streamed(self._find)

    async def read(self) -> bytes:
        """All of it as bytes, both streams in the order they came."""
        return await call(lambda: self._find().read())

    async def text(self, *, timestamps: bool = False, details: bool = False) -> str:
        """All of it as text; see `pycontainer.Logs.text`."""
        return await call(lambda: self._find().text(timestamps=timestamps, details=details))


class Reader:
    """A pipe to read from, as asyncio's StreamReader. A read that is cancelled loses nothing."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._held = bytearray()
        self._has_ended = False

    async def read(self, size: int = -1) -> bytes:
        """What there is, at least a byte and at most so many; -1 is all until the end."""
        while not self._has_ended and (size < 0 or not self._held) and size != 0:
            await call(self._fill)
        return self._take(len(self._held) if size < 0 else size)

    async def readline(self) -> bytes:
        """One line with its end, b"" at the end."""
        begin = 0
        while (end := self._held.find(b"\n", begin)) < 0 and not self._has_ended:
            begin = len(self._held)
            await call(self._fill)
        return self._take(end + 1 if end >= 0 else len(self._held))

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    def _take(self, count: int) -> bytes:
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def _fill(self) -> None:
        poller = interrupts.poll()
        poller.register(self._file.fileno(), select.POLLIN)
        poller.poll()
        try:
            chunk = os.read(self._file.fileno(), 1 << 16)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            chunk = b""  # nobody has the terminal open any more (pty(7))
        self._held += chunk
        self._has_ended = not chunk


class Writer:
    """A pipe to write to."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    async def write(self, content: bytes) -> None:
        """Write all of it; returns when the pipe has taken it. A write that is cancelled may have begun."""
        await call(lambda: self._write(content))

    async def close(self) -> None:
        """Let the reader's input end; idempotent."""
        await call(self._file.close)

    def _write(self, content: bytes) -> None:
        fd = self._file.fileno()
        poller = interrupts.poll()
        poller.register(fd, select.POLLOUT)
        left = memoryview(content)
        os.set_blocking(fd, False)
        try:
            while left:
                poller.poll()
                with suppress(BlockingIOError):
                    left = left[os.write(fd, left) :]
        finally:
            os.set_blocking(fd, True)


class ProcessStreams(Mirror):
    """The fields of a process."""

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        found: str = self.sync.id
        return found

    @property
    def args(self) -> tuple[str, ...]:
        """What was run."""
        found: tuple[str, ...] = self.sync.args
        return found

    @property
    def pid(self) -> int:
        """Process id on the host."""
        found: int = self.sync.pid
        return found

    @property
    def stdin(self) -> Writer | None:
        """To write to when it was given as PIPE, or with a terminal."""
        return None if self.sync.stdin is None else Writer(self.sync.stdin)

    @property
    def stdout(self) -> Reader | None:
        """What it writes."""
        return self._reader(self.sync.stdout)

    @property
    def stderr(self) -> Reader | None:
        """What it writes as errors."""
        return self._reader(self.sync.stderr)

    def _reader(self, file: BinaryIO | None) -> Reader | None:
        if file is None:
            return None
        readers: dict[BinaryIO, Reader] = self.__dict__.setdefault("_readers", {})
        return readers.setdefault(file, Reader(file))


class EngineContext(Mirror):
    """An engine's block: what counts as the current engine is the task's, so that is set in it."""

    async def __aenter__(self) -> Any:
        self.sync.__enter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        if len(self.sync._tokens) == 1:
            await call(self.sync.close, shielded=True)
        self.sync.__exit__()
