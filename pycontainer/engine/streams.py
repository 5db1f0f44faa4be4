"""The streams of a process in a container: pipes, descriptors of the caller's, or a terminal."""

from __future__ import annotations

import errno
import io
import os
import socket
from typing import IO, Any, BinaryIO

import attrs

from pycontainer.errors import InvalidOption, LaunchError
from pycontainer.values import Value

__all__ = ["DEVNULL", "PIPE", "STDOUT", "Streams", "open_streams"]

PIPE, STDOUT, DEVNULL = -1, -2, -3
"""As in `subprocess`."""
_STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}


class _TerminalReader(io.RawIOBase):
    """The master of a terminal, which ends with EIO when nobody has the other side open (pty(7))."""

    def __init__(self, master: int) -> None:
        self._master = master

    def fileno(self) -> int:
        return self._master

    def readable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        try:
            return os.readv(self._master, [buffer])
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == errno.EIO:
                return 0
            raise

    def close(self) -> None:
        if not self.closed:
            os.close(self._master)
        super().close()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _Files(Value):
    stdin: BinaryIO | None = None
    stdout: io.BufferedReader | None = None
    stderr: io.BufferedReader | None = None


class Streams:
    """Both sides of a process's streams while it is being started."""

    def __init__(self) -> None:
        self.theirs: dict[str, int] = {}
        """By name, to hand over."""
        self.ours: dict[str, int] = {}
        self.keeps_owner: bool = False
        """Whether one of them is the caller's own, which is not given to the process's user."""
        self._opened: list[int] = []

    def add(self, name: str, wanted: int | IO[bytes] | None) -> None:
        """Arrange one stream: PIPE, DEVNULL, STDOUT, a descriptor, a file, or None for the caller's own."""
        if wanted == PIPE:
            reader, writer = os.pipe2(os.O_CLOEXEC)
            ours, theirs = (writer, reader) if name == "stdin" else (reader, writer)
            self.ours[name], self.theirs[name] = ours, theirs
            self._opened.append(theirs)
        elif wanted == STDOUT and name == "stderr":
            if "stdout" in self.theirs:
                self.theirs[name] = self.theirs["stdout"]
        elif wanted is None:
            self.theirs[name] = _STANDARD[name]
            self.keeps_owner = True
        elif wanted != DEVNULL:
            number = wanted if isinstance(wanted, int) else wanted.fileno()
            if number < 0:
                raise InvalidOption(f"{name}={wanted!r}: give PIPE, DEVNULL, a descriptor, a file or None")
            if not isinstance(wanted, int) and name != "stdin":
                wanted.flush()
            self.theirs[name] = number
            self.keeps_owner = True

    def add_terminal(self) -> None:
        """Await a terminal, whose master comes from inside."""
        ours, theirs = socket.socketpair()
        self.ours["console"], self.theirs["console"] = ours.detach(), theirs.detach()
        self._opened.append(self.theirs["console"])

    def files(self) -> _Files:
        """Our side, to use; from now on the files own the descriptors. Raises LaunchError."""
        if "console" in self.ours:
            stdin, stdout = _terminal_files(_receive_terminal(self.ours["console"]))
            os.close(self.ours.pop("console"))
            return _Files(stdin=stdin, stdout=stdout)
        ours, self.ours = self.ours, {}
        return _Files(
            stdin=open(ours["stdin"], "wb") if "stdin" in ours else None,
            stdout=open(ours["stdout"], "rb") if "stdout" in ours else None,
            stderr=open(ours["stderr"], "rb") if "stderr" in ours else None,
        )

    def close_theirs(self) -> None:
        """The process has its own by now, or never will."""
        for fd in self._opened:
            os.close(fd)
        self._opened = []

    def close_ours(self) -> None:
        """Nobody will use them."""
        for fd in self.ours.values():
            os.close(fd)
        self.ours = {}


def open_streams(
    stdin: int | IO[bytes] | None,
    stdout: int | IO[bytes] | None,
    stderr: int | IO[bytes] | None,
    *,
    has_terminal: bool,
) -> Streams:
    """Open what was asked for; with a terminal that is all there is. Raises InvalidOption."""
    made = Streams()
    try:
        if has_terminal:
            made.add_terminal()
        else:
            for name, wanted in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
                made.add(name, wanted)
    except BaseException:
        made.close_theirs()
        made.close_ours()
        raise
    return made


def _receive_terminal(sock: int) -> int:
    from pycontainer.launcher import pty

    try:
        master = pty.receive_master(sock)
    except pty.Refused as refused:
        raise LaunchError(refused.message, step="terminal", reason=refused.message) from None
    if master is None:
        raise LaunchError("no terminal came from the container", step="terminal", reason="none")
    return master


def _terminal_files(master: int) -> tuple[BinaryIO, io.BufferedReader]:
    """Files to write to and to read from a terminal by its master, which they own."""
    return open(os.dup(master), "wb"), io.BufferedReader(_TerminalReader(master))
