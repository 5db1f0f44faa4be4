"""A human at a terminal, joined to a container or to a process in one.

Theory of operation. While it lasts our terminal is raw if the other side has one: every key goes there,
interrupt and end of file too, but for the detach keys. A change of our terminal's size is passed on, and
so are the signals that would end this process. Handlers write a byte to a socket that the one poll(2)
watches; they and the terminal's modes are put back on every way out. Handlers are the main thread's
affair (signal(7) in Python): in another thread signals are left alone, and only the size at the beginning
is told.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import termios
import threading
import tty
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from pycontainer.engine.attaching import Attachment, terminal_size
from pycontainer.engine.detachkeys import DEFAULT, KeyMatcher, parse_keys
from pycontainer.errors import DeadlineExceeded, WrongState

if TYPE_CHECKING:
    from pycontainer.engine.process import Process

__all__ = ["interact", "interact_attached", "interact_process"]

PROXIED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that go to the container instead of to this process."""

_CHUNK = 1 << 16


class OtherSide(Protocol):
    """What a terminal is joined to."""

    has_terminal: bool
    may_write: bool
    input_fd: int
    """To wait on for room when `write` did not take all; -1 when it always does."""

    def outputs(self) -> list[int]:
        """Descriptors to wait on for output; none when all has ended."""

    def take(self, fd: int) -> list[tuple[int, bytes]]:
        """What has come: (1 or 2 for stdout or stderr, content) each."""

    def write(self, content: bytes) -> int:
        """Pass on what was typed; how much of it there was room for."""

    def end_input(self) -> None:
        """Nothing more will be typed."""

    def resize(self, rows: int, columns: int) -> None:
        """Our terminal has this size."""

    def send_signal(self, number: int) -> None:
        """We got this signal."""


def interact(
    side: OtherSide, *, detach_keys: str = DEFAULT, sig_proxy: bool = True, stdin: int = 0, stdout: int = 1
) -> bool:
    """Join our terminal to the other side until its output ends; False when the detach keys were typed.

    stdin, stdout: descriptors of ours; what comes as stderr goes to 2. Raises InvalidOption for detach keys
    that are none; what the other side raises.
    """
    matcher = KeyMatcher(parse_keys(detach_keys) if side.has_terminal else b"")
    with ExitStack() as restored:
        if side.has_terminal and side.may_write:
            restored.enter_context(_raw(stdin))
        proxied = PROXIED if sig_proxy else ()
        caught = restored.enter_context(_signals(proxied))

        def tell_size() -> None:
            size = terminal_size(stdout) or terminal_size(stdin)
            if size is not None and side.has_terminal:
                side.resize(*size)

        tell_size()
        return _Joined(side, matcher, stdin, stdout, caught, proxied, tell_size).run()


class _Joined:
    """The loop of one interaction."""

    def __init__(
        self,
        side: OtherSide,
        matcher: KeyMatcher,
        stdin: int,
        stdout: int,
        caught: socket.socket | None,
        proxied: Collection[int],
        tell_size: Callable[[], None],
    ) -> None:
        self._side = side
        self._matcher = matcher
        self._stdin = stdin if side.may_write else -1
        self._out = {1: stdout, 2: stdout if side.has_terminal else 2}
        self._caught = caught
        self._proxied = proxied
        self._tell_size = tell_size
        self._typed = b""
        """What the other side had no room for; nothing more is read from our terminal till then."""
        self._is_ending = False

    def run(self) -> bool:
        """Serve until the output ends (True) or the detach keys are typed (False)."""
        while outputs := self._side.outputs():
            wanted = dict.fromkeys(outputs, select.POLLIN)
            if self._typed:
                # Of a terminal both ways are one descriptor.
                wanted[self._side.input_fd] = wanted.get(self._side.input_fd, 0) | select.POLLOUT
            elif self._stdin >= 0:
                wanted[self._stdin] = select.POLLIN
            if self._caught is not None:
                wanted[self._caught.fileno()] = select.POLLIN
            poller = select.poll()
            for fd, events in wanted.items():
                poller.register(fd, events)
            for fd, events in poller.poll():
                if fd == self._stdin:
                    if not self._pass_typed():
                        return False
                elif self._caught is not None and fd == self._caught.fileno():
                    self._pass_signals()
                else:
                    if wanted[fd] & select.POLLOUT and events & ~select.POLLIN:
                        self._flush()
                    if fd in outputs and events & ~select.POLLOUT:
                        for stream, content in self._side.take(fd):
                            _write_all(self._out[stream], content)
        return True

    def _pass_typed(self) -> bool:
        try:
            typed = os.read(self._stdin, _CHUNK)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            typed = b""  # the terminal was hung up
        passed, is_detached = self._matcher.feed(typed) if typed else (self._matcher.rest(), False)
        self._typed += passed
        if not typed:
            self._stdin = -1
            self._is_ending = True
        self._flush()
        return not is_detached

    def _flush(self) -> None:
        try:
            if self._typed:
                self._typed = self._typed[self._side.write(self._typed) :]
            if self._is_ending and not self._typed:
                self._is_ending = False
                self._side.end_input()
        except WrongState:  # it has ended, which its output will say
            self._typed, self._is_ending = b"", False

    def _pass_signals(self) -> None:
        assert self._caught is not None
        with suppress(BlockingIOError):
            for number in self._caught.recv(4096):
                if number == signal.SIGWINCH:
                    with suppress(WrongState):
                        self._tell_size()
                elif number in self._proxied:
                    self._side.send_signal(number)


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            poller = select.poll()
            poller.register(fd, select.POLLOUT)
            poller.poll()


@contextmanager
def _raw(fd: int) -> Iterator[None]:
    """Every key as a byte, and none of them for our own terminal to act on; if it is one."""
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSANOW)
        yield
    finally:
        try:
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
        except termios.error as error:
            if error.args[0] != errno.EIO:
                raise
            # It was hung up: there are no modes to put back any more.


@contextmanager
def _signals(proxied: tuple[signal.Signals, ...]) -> Iterator[socket.socket | None]:
    """A socket on which the numbers of signals arrive, for as long as this lasts."""
    if threading.current_thread() is not threading.main_thread():
        yield None
        return
    reader, writer = socket.socketpair()
    with reader, writer, ExitStack() as restored:
        reader.setblocking(False)
        writer.setblocking(False)
        earlier_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        restored.callback(signal.set_wakeup_fd, earlier_fd)
        for number in (signal.SIGWINCH, *proxied):
            earlier = signal.getsignal(number)
            if (
                earlier is not None
            ):  # else it was set by code that is not Python's, which we could not put back
                signal.signal(number, lambda *_: None)
                restored.callback(signal.signal, number, earlier)
        yield reader


class _AttachedSide:
    """An attachment, to be joined."""

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment
        self._has_ended = False
        self.input_fd = -1
        self.has_terminal = attachment.has_terminal
        self.may_write = attachment.may_write

    def outputs(self) -> list[int]:
        return [] if self._has_ended else [self._attachment.fileno()]

    def take(self, fd: int) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        with suppress(DeadlineExceeded):
            while (chunk := self._attachment.read(0)) is not None:
                found.append((1 if chunk.stream == "stdout" else 2, chunk.content))
            self._has_ended = True
        return found

    def write(self, content: bytes) -> int:
        self._attachment.write(content)  # which reads meanwhile
        return len(content)

    def end_input(self) -> None:
        self._attachment.close_stdin()

    def resize(self, rows: int, columns: int) -> None:
        self._attachment.resize(rows, columns)

    def send_signal(self, number: int) -> None:
        self._attachment.send_signal(number)


class _ProcessSide:
    """A process in a container, to be joined."""

    def __init__(self, process: Process) -> None:
        self._process = process
        files = ((1, process.stdout), (2, process.stderr))
        self._sources = {file.fileno(): stream for stream, file in files if file is not None}
        self.has_terminal = process.has_terminal
        self.may_write = process.stdin is not None
        self.input_fd = -1
        if process.stdin is not None:
            process.stdin.flush()
            self.input_fd = process.stdin.fileno()
            # A program that writes more than it reads would wait for us, who waited for it.
            os.set_blocking(self.input_fd, False)

    def release(self) -> None:
        """Leave the process's input as it was."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            os.set_blocking(self.input_fd, True)

    def outputs(self) -> list[int]:
        return list(self._sources)

    def take(self, fd: int) -> list[tuple[int, bytes]]:
        try:
            content = os.read(fd, _CHUNK)
        except BlockingIOError:
            return []
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            content = b""  # nobody has the terminal open any more (pty(7))
        if content:
            return [(self._sources[fd], content)]
        del self._sources[fd]
        return []

    def write(self, content: bytes) -> int:
        try:
            return os.write(self.input_fd, content)
        except BlockingIOError:
            return 0
        except OSError:
            return len(content)  # it reads no more (EPIPE), or its terminal has gone (EIO)

    def end_input(self) -> None:
        if self._process.stdin is not None and not self.has_terminal:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def resize(self, rows: int, columns: int) -> None:
        self._process.resize(rows, columns)

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)


def interact_attached(
    attachment: Attachment,
    *,
    detach_keys: str = DEFAULT,
    sig_proxy: bool = True,
    wait: Callable[[], int] | None = None,
) -> int | None:
    """Join our terminal to a container; its exit code, or None when the detach keys were typed.

    wait: gives the exit code, instead of the attachment.
    """
    side = _AttachedSide(attachment)
    has_ended = interact(side, detach_keys=detach_keys, sig_proxy=sig_proxy)
    return (wait or attachment.wait)() if has_ended else None


def interact_process(process: Process, *, detach_keys: str = DEFAULT, sig_proxy: bool = True) -> int | None:
    """Join our terminal to a process; its exit code, or None when the detach keys were typed."""
    side = _ProcessSide(process)
    try:
        has_ended = interact(side, detach_keys=detach_keys, sig_proxy=sig_proxy)
    finally:
        side.release()
    return process.wait() if has_ended else None
