"""A container in the foreground: its end is awaited, signals are passed on, a terminal is copied."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import termios
import tty

from pycontainer.kernel import pidfd as processes
from pycontainer.launcher import pty

__all__ = ["Terminal", "attend"]

_NOT_FORWARDED = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG)
_CHUNK = 1 << 16


class Terminal:
    """The container's terminal as this process copies it to and from its own streams."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self.master: int = -1
        self._before: list[int | list[bytes | int]] | None = None

    def give(self) -> int:
        """The socket for the first process, to be closed when it was given."""
        return self._theirs.detach()

    def take(self) -> None:
        """Take the master, before the program writes anything; without effect if there will be none."""
        received = pty.receive_master(self._ours.fileno())
        self._ours.close()
        if received is None:
            return
        self.master = received
        # Our own terminal makes "\r\n" of line ends, and a file or pipe in its place gets them as they are.
        _set_output_flags(self.master, without=termios.ONLCR)

    def begin(self) -> None:
        """Make our own terminal pass everything through."""
        if os.isatty(0):
            self._before = termios.tcgetattr(0)
            tty.setraw(0)
            _set_output_flags(0, add=termios.OPOST)
            self.resize()

    def resize(self) -> None:
        """Give the container's terminal the size of ours."""
        if os.isatty(0):
            size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def end(self) -> None:
        """Put our own terminal back as it was."""
        if self._before is not None:
            termios.tcsetattr(0, termios.TCSANOW, self._before)
            self._before = None

    def copy(self, source: int, target: int) -> bool:
        """Move what is there; False at the end."""
        try:
            chunk = os.read(source, _CHUNK)
        except OSError:
            return False  # EIO: nobody has the other end any more
        view = memoryview(chunk)
        while view:
            view = view[os.write(target, view) :]
        return bool(chunk)


def _set_output_flags(fd: int, *, add: int = 0, without: int = 0) -> None:
    modes = termios.tcgetattr(fd)
    modes[1] = (modes[1] | add) & ~without
    termios.tcsetattr(fd, termios.TCSANOW, modes)


def attend(pid: int, pidfd: int, terminal: Terminal | None) -> int:
    """Wait for the first process, pass signals on meanwhile; its exit code, 128 + n after signal n."""
    waked, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, lambda *_: None)
        except OSError:
            continue  # kept by the C library
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.register(waked, select.POLLIN)
    if terminal is not None:
        terminal.begin()
        poller.register(terminal.master, select.POLLIN)
        poller.register(0, select.POLLIN)
    try:
        _serve(poller, pidfd, waked, terminal)
    finally:
        if terminal is not None:
            while terminal.copy(terminal.master, 1):
                pass
            terminal.end()
    _, status = os.waitpid(pid, 0)
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _serve(poller: select.poll, pidfd: int, waked: int, terminal: Terminal | None) -> None:
    while True:
        for fd, _ in poller.poll():
            if fd == pidfd:
                return
            if fd == waked:
                _pass_on(os.read(waked, 256), pidfd, terminal)
            elif terminal is not None:
                source, target = (fd, 1) if fd == terminal.master else (0, terminal.master)
                if not terminal.copy(source, target):
                    poller.unregister(fd)


def _pass_on(numbers: bytes, pidfd: int, terminal: Terminal | None) -> None:
    for number in numbers:
        if number == signal.SIGWINCH and terminal is not None:
            terminal.resize()
        elif number not in _NOT_FORWARDED:
            processes.send_signal(pidfd, number)
