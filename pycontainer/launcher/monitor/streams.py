"""The container's streams: output to the log, to who is attached, and whole to the caller if it is short.

Theory of operation. Output comes from two pipes, or from the master of the terminal that the first
process makes inside. One read at a time goes to the log driver and to the clients. A driver that is full
(a service that does not keep up) has the pipes not read until it has room, so that the program waits.
Input goes the other way, from the clients through one bounded queue.

The monitor keeps the terminal's other end open as well: a program that lets go of its streams and opens
/dev/console again then does not look like its end.
"""

from __future__ import annotations

import binascii
import os
import signal
import socket
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pycontainer import errors
from pycontainer.launcher import frames, logs, pty
from pycontainer.launcher.monitor.attached import Attached, Clients
from pycontainer.launcher.monitor.input import Input
from pycontainer.launcher.monitor.loop import READ, WRITE, Loop
from pycontainer.launcher.steps.context import CONSOLE, Refused

if TYPE_CHECKING:
    from pycontainer.launcher.monitor.control import Client, Handler
    from pycontainer.launcher.monitor.core import Monitor

__all__ = ["OPS", "Streams"]

_NAMES = {logs.STDOUT: "stdout", logs.STDERR: "stderr"}
_FLUSH_S = 5.0
"""How long the end of a container waits for a log service to take the rest."""

SPOOL = "output"
"""Where output that is too long to be told is kept for the caller, when the log does not hold it all."""


class _Output:
    """One of the container's output streams."""

    __slots__ = ("fd", "kept", "number")

    def __init__(self, fd: int, number: int) -> None:
        self.fd = fd
        self.number = number
        self.kept: bytearray | None = bytearray()
        """The whole output so far, None once it is too long to hand over."""


class Streams:
    """The streams of one container, served by the loop.

    directory: descriptor of the container's directory. params: the launch request, of which "log",
    "inline_output" (how many bytes are kept for the message that tells the exit), "spool", "stdin_open"
    and the process's "terminal" are used.
    """

    def __init__(self, loop: Loop, directory: int, params: Mapping[str, Any]) -> None:
        self._loop = loop
        self._directory = directory
        self._settings: dict[str, Any] = params.get("log") or {}
        self._inline_left = int(params.get("inline_output") or 0)
        self._spool_size: int | None = params.get("spool")
        self._spool: logs.LogWriter | None = None
        self._has_terminal = bool(params["spec"]["process"].get("terminal"))
        self._is_open = bool(params.get("stdin_open"))
        self._log: logs.Driver | None = None
        self._buffer = bytearray()
        self._outputs: list[_Output] = []
        self._clients: Clients | None = None
        self._input: Input | None = None
        self._first_request: Mapping[str, Any] = params.get("attach") or {}
        self._first = self._console = self._master = self._peer = self._stdin = -1
        self._size: tuple[int, int] | None = None
        self._is_paused = False
        self.is_cut_off: bool = False
        """Whether the log's last monitor was killed, so that the end of it is to be looked at."""

    @property
    def lost_bytes(self) -> int:
        """Output that could not be stored or sent."""
        return self._log.lost_bytes if self._log is not None else 0

    @property
    def problem(self) -> str:
        """Why output was lost, where there is more to say than that a disk was full."""
        return self._log.problem if self._log is not None else ""

    @property
    def calls_out(self) -> bool:
        """Whether the log goes to a service of the host."""
        return self._settings.get("driver") in ("journald", "syslog")

    @property
    def are_plain(self) -> bool:
        """Whether they are two pipes to a log of this host, and nobody is attached yet."""
        has_more = self._has_terminal or self._is_open or self._first >= 0 or bool(self._first_request)
        return not has_more and not self.calls_out

    # -- beginning -------------------------------------------------------------------------------

    def readers(self) -> dict[str, int]:
        """This end of plain ones, by name, for another process that goes on with them."""
        return {_NAMES[output.number]: output.fd for output in self._outputs}

    def go_on(self, fds: dict[str, int], *, is_cut_off: bool) -> None:
        """Go on with plain ones of which nothing has been read; takes them out of fds. Raises LaunchError.

        is_cut_off: as it was when they were opened.
        """
        self.is_cut_off = is_cut_off
        self._open_log()
        self._outputs = [_Output(fds.pop(name), number) for number, name in _NAMES.items()]
        self.watch()

    def open(self, fds: dict[str, int]) -> dict[str, int]:
        """Make the streams; the container's ends, by name, which the caller closes.

        fds: what came with the request, of which "stdin" and "attach" are taken. Raises LaunchError when
        the log cannot be opened.
        """
        self.is_cut_off = logs.is_cut_off(self._settings, self._directory)
        self._open_log()
        self._first = fds.pop("attach", -1)
        given = {}
        self._outputs = []
        if self._has_terminal:
            ours, theirs = socket.socketpair()
            self._console, given[CONSOLE] = ours.detach(), theirs.detach()
        else:
            for number, name in _NAMES.items():
                reader, given[name] = os.pipe2(os.O_CLOEXEC)
                os.set_blocking(reader, False)
                self._outputs.append(_Output(reader, number))
        if "stdin" in fds:
            given["stdin"] = fds.pop("stdin")
        elif self._is_open and not self._has_terminal:
            given["stdin"], self._stdin = os.pipe2(os.O_CLOEXEC)
            self._make_input(self._stdin)
        else:
            given["stdin"] = os.open("/dev/null", os.O_RDONLY)
        return given

    def _open_log(self) -> None:
        # A caller's bound on the size of files counts for its log too: an error of write(2), not our end.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        self._log = logs.open_driver(
            self._settings, self._directory, self._loop, self._resume, is_cut_off=self.is_cut_off
        )

    def watch(self) -> None:
        """Pump from now on."""
        if self._first >= 0:
            fd, self._first = self._first, -1
            self.attach(fd, self._first_request)
        for output in self._outputs:
            self._loop.add(output.fd, partial(self._pump_ready, output))
        if self._console >= 0:
            self._loop.add(self._console, self._take_terminal)

    def _take_terminal(self, _: int) -> None:
        """The first process has made its terminal."""
        self._loop.remove(self._console)
        try:
            master = pty.receive_master(self._console)
            if master is None:
                return  # it failed before, and says why elsewhere
            self._peer = pty.open_peer(master)
        except (OSError, Refused) as error:
            raise errors.LaunchError(f"terminal: {error}", step="terminal", reason=str(error)) from None
        finally:
            os.close(self._console)
            self._console = -1
        self._master = master
        os.set_blocking(master, False)
        self._outputs.append(_Output(master, logs.STDOUT))
        if self._size is not None:
            pty.resize(master, *self._size)
        if self._is_open:
            self._make_input(master)
        self._loop.add(master, self._serve_terminal)

    def _make_input(self, fd: int) -> None:
        # Its reader may close it: that is an error of write(2) then, not the end of this process.
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self._input = Input(
            fd,
            watch=self._watch_terminal if fd == self._master else self._watch_stdin,
            on_room=self._take_input,
            end=self._end_terminal if fd == self._master else self._end_stdin,
        )

    # -- output ----------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take what is still there; every writer is dead by now."""
        for output in self._outputs:
            while output.fd >= 0 and self._pump(output):
                pass

    def close(self) -> None:
        """Store and send what waits, let go of who is attached, and close everything; idempotent."""
        if self._log is not None:
            self._log.finish(_FLUSH_S)
            self._log.close()
        if self._spool is not None:
            self._spool.close()
        if self._clients is not None:
            self._clients.finish()
            self._clients = None
        for output in self._outputs:
            if output.fd >= 0:
                self._close(output)
        self._end_stdin()
        for fd in (self._console, self._peer):
            if fd >= 0:
                self._loop.remove(fd)
                os.close(fd)
        self._console = self._master = self._peer = -1
        self._input = None

    def tell(self, message: dict[str, Any]) -> bool:
        """Put the whole output into the message of the exit; False when it was too long for that."""
        is_whole = False
        for output in self._outputs:
            if output.kept is not None:
                message[_NAMES[output.number] + "_b64"] = binascii.b2a_base64(
                    output.kept, newline=False
                ).decode("ascii")
                is_whole = True
        return is_whole

    def _pump_ready(self, output: _Output, _: int) -> None:
        self._pump(output)

    def _pump(self, output: _Output) -> bool:
        """Move what one read gives; False when nothing was there."""
        if not self._buffer:
            self._buffer = bytearray(logs.CHUNK)  # most containers are silent for long
        try:
            count = os.readv(output.fd, (self._buffer,))
        except BlockingIOError:
            return False
        except OSError:
            self._renew_peer(output)
            return False
        if count == 0:
            self._close(output)
            return False
        content = memoryview(self._buffer)[:count]
        log = self._log
        assert log is not None
        log.append(output.number, content, time.time_ns())
        self._keep(output, content)
        if self._clients:
            self._clients.show(output.number, content)
        if self._is_full():
            self._pause()
        return True

    def _is_full(self) -> bool:
        log, clients = self._log, self._clients
        return (log is not None and log.is_full) or (clients is not None and clients.is_full)

    def _keep(self, output: _Output, content: memoryview) -> None:
        if len(content) > self._inline_left:
            self._inline_left = 0
            self._store(output, content)
        elif output.kept is not None:
            self._inline_left -= len(content)
            output.kept += content

    def _store(self, output: _Output, content: memoryview) -> None:
        """What is too long to be told: keep it in a file, if somebody wants it and the log is no such."""
        if self._spool_size is not None and self._spool is None:
            self._spool = logs.LogWriter(self._directory, max_size=self._spool_size, max_files=3, name=SPOOL)
            for each in self._outputs:
                if each.kept:
                    self._spool.append(each.number, memoryview(bytes(each.kept)), time.time_ns())
        if self._spool is not None:
            self._spool.append(output.number, content, time.time_ns())
        for each in self._outputs:
            each.kept = None

    def _close(self, output: _Output) -> None:
        self._loop.remove(output.fd)
        os.close(output.fd)
        output.fd = -1

    def _pause(self) -> None:
        """The log is full, or one who is attached far behind: let the container wait."""
        if not self._is_paused:
            self._is_paused = True
            for output in self._outputs:
                if output.fd >= 0 and output.fd != self._master:
                    self._loop.remove(output.fd)
            self._watch_terminal(False)

    def _resume(self) -> None:
        """There is room again."""
        if self._is_paused and not self._is_full():
            self._is_paused = False
            for output in self._outputs:
                if output.fd >= 0 and output.fd != self._master:
                    self._loop.add(output.fd, partial(self._pump_ready, output))
            self._watch_terminal(False)

    # -- the terminal ----------------------------------------------------------------------------

    def _watch_terminal(self, wants_to_write: bool) -> None:
        if self._master >= 0:
            events = (0 if self._is_paused else READ) | (WRITE if wants_to_write else 0)
            self._loop.add(self._master, self._serve_terminal, events)

    def _serve_terminal(self, events: int) -> None:
        if events & WRITE & ~READ and self._input is not None:
            self._input.flush()
        if events & READ and not self._is_paused:
            self._pump(self._outputs[-1])

    def _renew_peer(self, output: _Output) -> None:
        """The terminal was hung up: be ready for who opens it again."""
        if self._peer >= 0:
            os.close(self._peer)
            self._peer = -1
            try:
                self._peer = pty.open_peer(self._master)
                return
            except (OSError, Refused):
                pass
        self._loop.remove(output.fd)

    def _end_terminal(self) -> None:
        """A terminal has no end of input but the character for it, which is the client's to send."""

    # -- input and clients -----------------------------------------------------------------------

    def _watch_stdin(self, wants_to_write: bool) -> None:
        if wants_to_write:
            self._loop.add(self._stdin, self._flush_stdin, WRITE)
        elif self._stdin >= 0:
            self._loop.remove(self._stdin)

    def _flush_stdin(self, _: int) -> None:
        assert self._input is not None
        self._input.flush()

    def _end_stdin(self) -> None:
        if self._stdin >= 0:
            self._loop.remove(self._stdin)
            os.close(self._stdin)
            self._stdin = -1

    def _take_input(self) -> None:
        if self._clients is not None:
            self._clients.take_input()

    @property
    def has_room(self) -> bool:
        """Whether the input takes more now."""
        return self._input is None or self._input.has_room

    def write(self, content: bytes) -> None:
        """Pass on to the container; dropped when it has no input."""
        if self._input is not None:
            self._input.write(content)

    def end(self) -> None:
        """Let the container's input end."""
        if self._input is not None:
            self._input.end()

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the terminal; without effect when there is none."""
        if not (0 <= rows <= pty.MAX_SIZE and 0 <= columns <= pty.MAX_SIZE):
            raise errors.InvalidInput(
                f"a terminal of {rows} by {columns} cannot be: a side is 0 to {pty.MAX_SIZE}"
            )
        self._size = (rows, columns)
        if self._master >= 0:
            pty.resize(self._master, rows, columns)

    @property
    def has_input(self) -> bool:
        """Whether something can be written to the container."""
        return self._is_open

    @property
    def has_terminal(self) -> bool:
        """Whether the container has one."""
        return self._has_terminal

    def written(self) -> dict[str, Any]:
        """Where the log ends now ("log"), and what is not in it yet ("held", by stream, hexadecimal)."""
        if self._log is None:
            return {}
        held = {_NAMES[stream]: content.hex() for stream, content in self._log.held().items()}
        return {"log": self._log.position(), "held": held}

    def attach(self, fd: int, request: Mapping[str, Any]) -> None:
        """Serve a client on a connected socket. Raises WrongState when too many are attached, OSError."""
        try:
            sock = socket.socket(fileno=fd)
        except OSError:
            os.close(fd)
            raise
        if self._clients is None:
            self._clients = Clients(self._loop, self, self._resume)
        if "rows" in request:
            self.resize(int(request["rows"]), int(request["columns"]))
        streams = {frames.STDOUT: "stdout", frames.STDERR: "stderr"}
        self._clients.add(
            Attached(
                sock,
                streams=frozenset(number for number, name in streams.items() if request.get(name, True)),
                may_write=bool(request.get("stdin")),
                is_once=bool(request.get("once")),
            )
        )


def _attach(monitor: Monitor, client: Client, request: dict[str, Any]) -> dict[str, Any]:
    """Attach the socket that came along."""
    taken = client.take_fds()
    if len(taken) != 1:
        for fd in taken:
            os.close(fd)
        raise errors.InvalidInput(f"attach takes one socket, {len(taken)} came")
    monitor.streams.attach(taken[0], request)
    return monitor.streams.written()


def _resize(monitor: Monitor, client: Client, request: dict[str, Any]) -> dict[str, Any]:
    """Set the size of the terminal."""
    if not monitor.streams.has_terminal:
        raise errors.WrongState(
            "the container has no terminal to resize; create it with tty=True", verb="resize", state="running"
        )
    monitor.streams.resize(int(request["rows"]), int(request["columns"]))
    return {}


def _log_state(monitor: Monitor, client: Client, request: dict[str, Any]) -> dict[str, Any]:
    """What was lost of the output so far, and why."""
    return {"lost_bytes": monitor.streams.lost_bytes, "problem": monitor.streams.problem}


OPS: Mapping[str, Handler] = {"attach": _attach, "resize": _resize, "log_state": _log_state}
