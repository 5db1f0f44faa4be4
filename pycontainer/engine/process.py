"""A further process of a container, in the caller's hands: like `subprocess.Popen`, without a copy between.

Theory of operation. The streams are pipes whose other ends are the process's own descriptors; a job of the
helper is its parent and says on a channel when it has ended. All waiting is poll(2) on that channel and on
the pipes, in the thread that waits.
"""

from __future__ import annotations

import errno
import io
import os
import select
import signal as signals
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO, Literal, final

import attrs

from pycontainer.engine.moments import left_ms
from pycontainer.engine.result import Gathered
from pycontainer.errors import ContainerFailed, DeadlineExceeded, WrongState
from pycontainer.kernel import interrupts, pidfd
from pycontainer.options import given_seconds, given_signal
from pycontainer.values import Value

if TYPE_CHECKING:
    from pycontainer.launcher import Job

__all__ = ["ExecResult", "OutputLine", "Process", "Seconds"]

_READ = select.POLLIN | select.POLLHUP | select.POLLERR
_CHUNK = 1 << 16
_LOST = 137
_KILL_TIMEOUT_S = 30.0

Seconds = float | str | timedelta


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ExecResult(Value):
    """The outcome of `Container.exec()`.

    exit_code: the program's, or 128+n when signal n ended it. stdout, stderr: everything it wrote; with a
    terminal all of it is stdout. args: what was run. wall_s: from the program's start to its end.
    """

    args: tuple[str, ...]
    exit_code: int
    stdout: bytes = b""
    stderr: bytes = b""
    wall_s: float = 0.0

    @property
    def text(self) -> str:
        """stdout as text; bytes that are not UTF-8 become U+FFFD."""
        return self.stdout.decode(errors="replace")

    def check(self) -> ExecResult:
        """Return this result, or raise ContainerFailed when the exit code is not zero."""
        if self.exit_code == 0:
            return self
        tail = (self.stderr or self.stdout)[-2048:].decode(errors="replace").strip()
        raise ContainerFailed(
            f"{self.args[0]!r} in the container exited with code {self.exit_code}"
            f"{f': {tail}' if tail else ''}",
            exit_code=self.exit_code,
            stdout=self.stdout,
            stderr=self.stderr,
        )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OutputLine(Value):
    """A line of a process's output. content: the bytes as written, with the line end if there was one."""

    stream: Literal["stdout", "stderr"]
    content: bytes

    @property
    def text(self) -> str:
        """The content as text without its line end; bytes that are not UTF-8 become U+FFFD."""
        return self.content.decode(errors="replace").rstrip("\r\n")


@final
class Process:
    """A process that runs in a container, as `Container.popen()` gives it.

    It ends with the calling process, however that ends, and with its container; a detached one with its
    container only. As a context manager it waits for the end of the process on leaving, and kills it when
    an exception leaves. Its methods may be called from several threads; its streams are for one each.
    """

    def __init__(
        self,
        *,
        id: str,
        args: tuple[str, ...],
        pid: int,
        handle: int,
        job: Job,
        stdin: BinaryIO | None,
        stdout: io.BufferedReader | None,
        stderr: io.BufferedReader | None,
        has_terminal: bool,
        is_detached: bool,
        forget: Callable[[Process, bool], None],
    ) -> None:
        self.id = id
        """64 hexadecimal digits."""
        self.args = args
        self.pid = pid
        """Process id on the host."""
        self.stdin = stdin
        """To write to when it was given as PIPE, or with a terminal."""
        self.stdout = stdout
        self.stderr = stderr
        self._handle = handle
        self._job: Job | None = job
        self._has_terminal = has_terminal
        self._is_detached = is_detached
        self._forget = forget
        self._lock = threading.Lock()
        self._returncode: int | None = None
        self._is_lost = False
        self._waiting = 0
        """Threads that wait on the channel."""
        self._is_closed = False
        self._leaves_others = False
        """Whether descendants go on after its end, which its parent holds together until we let go."""
        with self._lock:
            # The word of its end may have come with that of its start, where poll(2) does not see it.
            self._take_message()

    @property
    def has_terminal(self) -> bool:
        """Whether it was given a terminal: then all its output is stdout."""
        return self._has_terminal

    # -- its end ---------------------------------------------------------------------------------

    @property
    def returncode(self) -> int | None:
        """The exit code once `wait` or `poll` has seen the end: the program's, or 128+n after signal n."""
        return self._returncode

    def fileno(self) -> int:
        """A descriptor that poll(2) finds readable when the process has ended; call `poll` then.

        Raises WrongState when `poll` or `wait` has seen the end.
        """
        with self._lock:
            if self._job is None:
                raise WrongState("the process has ended", verb="watch", state="exited")
            # Its end may be known from a message that has come already; then the pidfd is readable.
            return self._job.fileno() if self._returncode is None else self._handle

    def poll(self) -> int | None:
        """The exit code if the process has ended, else None."""
        return self._returncode if self._see_end(0.0) else None

    def wait(self, timeout: Seconds | None = None) -> int:
        """Wait for its end and return the exit code. Reads nothing: a full pipe keeps it from ending.

        timeout: seconds; None waits for ever. Raises DeadlineExceeded; the process goes on then.
        """
        limit_s = None if timeout is None else given_seconds(timeout)
        if not self._see_end(limit_s):
            raise self._too_late(limit_s)
        assert self._returncode is not None
        return self._returncode

    def _too_late(self, limit_s: float | None) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"{self.args[0]!r} in the container still runs after {limit_s:g} s", timeout_s=limit_s
        )

    def _see_end(self, limit_s: float | None) -> bool:
        """Whether the process has ended, or does within the time."""
        deadline = None if limit_s is None else time.monotonic() + limit_s
        while self._returncode is None:
            with self._lock:
                if self._job is None:
                    break
                poller = interrupts.poll()
                poller.register(self._job, _READ)
                self._waiting += 1
            # Outside the lock, so that others may look while one waits.
            try:
                is_ready = bool(poller.poll(left_ms(deadline)))
            finally:
                with self._lock:
                    self._waiting -= 1
            if not is_ready and self._returncode is None:
                return False
            with self._lock:
                self._take_message()
        if not self._leaves_others or self._is_closed:
            self._release()
        return True

    def _take_message(self) -> None:
        if self._job is None or self._returncode is not None:
            return
        try:
            message = self._job.receive(0)
        except DeadlineExceeded:
            return  # another thread took it, or it is not whole yet
        if message is None:
            # Its parent was killed, and the kernel kills it then.
            self._is_lost = True
            self._returncode = _LOST
            self._job.stop_reading()
        elif message.get("event") == "exited":
            self._leaves_others = bool(message["leaves_others"])
            self._returncode = int(message["exit_code"])
            self._job.stop_reading()

    def _release(self) -> None:
        """Let go of the parent: it needs no word from us any more."""
        with self._lock:
            if self._waiting:
                return  # its number must not become another's while a thread waits on it; the last one closes
            job, self._job = self._job, None
            handle, self._handle = self._handle, -1
            if self._returncode is None and not self._is_detached:
                self._returncode = _LOST
        if job is None:
            return
        job.close()
        if self._is_lost:
            _await_end_of(handle)
        os.close(handle)
        self._forget(self, self._is_lost)

    def _leave(self) -> None:
        """In a forked child: the process is the parent's, and so is the word of its end."""
        job, self._job = self._job, None
        handle, self._handle = self._handle, -1
        if job is not None:
            job.close()
            os.close(handle)

    # -- signals ---------------------------------------------------------------------------------

    def send_signal(self, signal: int | str) -> None:
        """Send the process a signal, by name or number; without effect when it has ended."""
        number = given_signal(signal)
        with self._lock:
            if self._returncode is None and self._handle >= 0:
                pidfd.send_signal(self._handle, number)

    def terminate(self) -> None:
        """Ask the process to end (SIGTERM)."""
        self.send_signal(signals.SIGTERM)

    def kill(self) -> None:
        """Kill the process and all its descendants, wherever they hid."""
        with self._lock:
            if self._job is not None:
                with suppress(OSError):
                    self._job.send({"kill": True})

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal. Raises WrongState without one, InvalidOption."""
        from pycontainer.engine.attaching import check_size
        from pycontainer.launcher import pty

        if not self._has_terminal or self.stdout is None:
            raise WrongState("the process has no terminal; pass tty=True", verb="resize", state="running")
        check_size(rows, columns)
        if not self.stdout.closed:
            pty.resize(self.stdout.fileno(), rows, columns)

    def interact(self, *, detach_keys: str = "ctrl-p,ctrl-q", sig_proxy: bool = True) -> int | None:
        """Join the terminal of this process to it, until its end or the detach keys.

        Gives its exit code; None when it was left with the keys. See Container.interact.
        """
        from pycontainer.engine.interaction import interact_process

        return interact_process(self, detach_keys=detach_keys, sig_proxy=sig_proxy)

    # -- output ----------------------------------------------------------------------------------

    def lines(self, timeout: Seconds | None = None) -> Iterator[OutputLine]:
        """Its output line by line, as it comes; at the end `returncode` is set.

        Lines of one stream come in order; those of both in the order in which they arrived. timeout:
        seconds for all of it. Raises DeadlineExceeded; the process goes on then.
        """
        limit_s = None if timeout is None else given_seconds(timeout)
        unfinished = {"stdout": bytearray(), "stderr": bytearray()}
        for stream, chunk in self._chunks(limit_s):
            rest = unfinished[stream]
            rest += chunk
            *whole, tail = bytes(rest).split(b"\n") if b"\n" in chunk else (bytes(rest),)
            for line in whole:
                yield OutputLine(stream=stream, content=line + b"\n")
            if whole:
                rest[:] = tail
        for stream, rest in (("stdout", unfinished["stdout"]), ("stderr", unfinished["stderr"])):
            if rest:
                yield OutputLine(stream=stream, content=bytes(rest))

    def communicate(self, input: bytes | None = None, timeout: Seconds | None = None) -> tuple[bytes, bytes]:
        """Write the input, read all output, wait for the end; what was written to stdout and stderr.

        timeout: seconds. Raises DeadlineExceeded; the process goes on then, and what was read is lost.
        """
        limit_s = None if timeout is None else given_seconds(timeout)
        gathered = Gathered()
        for stream, chunk in self._chunks(limit_s, input or b""):
            gathered.add(stream, chunk)
        return gathered.both()

    def _chunks(
        self, limit_s: float | None, given: bytes | None = None
    ) -> Iterator[tuple[Literal["stdout", "stderr"], bytes]]:
        """What it writes, until both streams and the process have ended; the input is written meanwhile.

        given: None leaves stdin as it is; else it is closed after that.
        """
        deadline = None if limit_s is None else time.monotonic() + limit_s
        poller = interrupts.poll()
        sources: dict[int, tuple[Literal["stdout", "stderr"], io.BufferedReader]] = {}
        named: tuple[tuple[Literal["stdout", "stderr"], io.BufferedReader | None], ...]
        named = (("stdout", self.stdout), ("stderr", self.stderr))
        for name, file in named:
            if file is not None and not file.closed:
                os.set_blocking(file.fileno(), False)
                sources[file.fileno()] = name, file
                poller.register(file.fileno(), _READ)
        if given and self._has_terminal:
            given += b"\x04"  # what a terminal's line discipline takes for the end (termios(3), VEOF)
        sink = _Sink(self.stdin, given, poller, closes=not self._has_terminal)
        try:
            for name, file in list(sources.values()):
                if buffered := file.peek():  # read ahead by an earlier call of the user's
                    yield name, file.read1(len(buffered))
            while sources:
                ready = poller.poll(left_ms(deadline))
                if not ready:
                    raise self._too_late(limit_s)
                for fd, _ in ready:
                    if fd == sink.fd:
                        sink.write()
                        continue
                    name, file = sources[fd]
                    chunk = _read(fd)
                    if chunk:
                        yield name, chunk
                    elif chunk is not None:
                        poller.unregister(fd)
                        del sources[fd]
            while sink.fd >= 0:
                if not poller.poll(left_ms(deadline)):
                    raise self._too_late(limit_s)
                sink.write()
        finally:
            sink.release()
            for _, file in sources.values():
                os.set_blocking(file.fileno(), True)
        if not self._see_end(None if deadline is None else max(0.0, deadline - time.monotonic())):
            raise self._too_late(limit_s)

    # -- as a context manager --------------------------------------------------------------------

    def close(self) -> None:
        """Close its streams, and kill it with all its descendants if it still runs; idempotent.

        A detached one goes on.
        """
        if not self._is_detached and not self._see_end(0.0):
            self.kill()
            self._see_end(_KILL_TIMEOUT_S)
        for file in (self.stdin, self.stdout, self.stderr):
            if file is not None:
                with suppress(OSError, ValueError):
                    file.close()
        self._is_closed = True
        self._release()

    def __del__(self) -> None:
        # What goes on without this program needs no handle to be kept for it.
        if self._is_detached:
            self._leave()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            if self.stdin is not None:
                with suppress(OSError, ValueError):
                    self.stdin.close()
            for file in (self.stdout, self.stderr):
                if file is not None:
                    file.close()
            if not self._is_detached:
                self._see_end(None)
        elif not self._is_detached:
            self.kill()
        self.close()

    def __repr__(self) -> str:
        how = "running" if self._returncode is None else f"returncode={self._returncode}"
        return f"Process(pid={self.pid}, args={list(self.args)!r}, {how})"


class _Sink:
    """The process's stdin, written to as it takes it."""

    def __init__(
        self, file: BinaryIO | None, given: bytes | None, poller: interrupts.Poller, *, closes: bool
    ) -> None:
        self.fd = -1
        self._left = memoryview(given or b"")
        self._file = file
        self._poller = poller
        self._closes = closes
        if file is None or given is None or file.closed:
            return
        with suppress(BrokenPipeError):
            file.flush()
        self.fd = file.fileno()
        os.set_blocking(self.fd, False)
        poller.register(self.fd, select.POLLOUT)
        if not self._left:
            self._end()

    def write(self) -> None:
        """Write what there is room for; the end of the input closes the stream."""
        try:
            self._left = self._left[os.write(self.fd, self._left) :]
        except BlockingIOError:
            return
        except OSError:
            self._left = self._left[:0]  # it reads no more (EPIPE), or its terminal has gone (EIO)
        if not self._left:
            self._end()

    def _end(self) -> None:
        file = self._file
        self.release()
        if self._closes and file is not None:
            with suppress(OSError):
                file.close()

    def release(self) -> None:
        """Watch it no more."""
        if self.fd >= 0:
            self._poller.unregister(self.fd)
            os.set_blocking(self.fd, True)
            self.fd = -1


def _read(fd: int) -> bytes | None:
    """What is there, b"" at the end, None when there is nothing yet."""
    try:
        return os.read(fd, _CHUNK)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == errno.EIO:
            return b""
        raise


def _await_end_of(handle: int) -> None:
    """Wait, a little, for the end of a process that is being killed."""
    poller = interrupts.poll()
    poller.register(handle, select.POLLIN)
    poller.poll(_KILL_TIMEOUT_S * 1000)
