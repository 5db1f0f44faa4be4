"""The caller's side of the helper: start it, ask it, and never be harmed by it.

The helper is started on first use with vfork semantics (posix_spawn), so neither the caller's threads
nor its memory matter. It runs from a sealed memfd copy of the interpreter: a container process that
gets hold of /proc/PID/exe cannot write to the host's file (CVE-2019-5736).
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from pycontainer import checkpoints, errors
from pycontainer.launcher.ids import container_id
from pycontainer.launcher.protocol import Channel, rebuild_error
from pycontainer.launcher.sealed import sealed_copy

__all__ = ["Helper", "Job"]

SEND_TIMEOUT_S = 30.0
START_TIMEOUT_S = 60.0

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_MAIN = (
    "import gc; gc.disable(); import sys; sys.path.insert(0, {root!r}); "
    "from pycontainer.launcher.zygote import main; main({fd}, {pid}, makes_ahead={makes_ahead})"
)

_encode = json.JSONEncoder(separators=(",", ":")).encode

_helpers: weakref.WeakSet[Helper] = weakref.WeakSet()


class Job:
    """One request being served by a child of the helper. Not thread-safe; close it."""

    __slots__ = ("_channel", "name")

    def __init__(self, name: str, channel: Channel) -> None:
        self.name: str = name
        self._channel = channel

    def fileno(self) -> int:
        """The channel's descriptor, for poll(2)."""
        return self._channel.fileno()

    def receive(self, timeout_s: float | None = None) -> dict[str, Any] | None:
        """The job's next message, None when it has ended. Raises DeadlineExceeded, or the job's error."""
        message = self._channel.receive(timeout_s)
        if message is not None and "error" in message:
            raise rebuild_error(message["error"], self.name)
        return message

    def result(self, timeout_s: float | None = None) -> dict[str, Any]:
        """Wait for the job's result. Raises DeadlineExceeded, the job's error, or HelperDied."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            message = self.receive(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if message is None:
                raise errors.HelperDied(f"the {self.name} job was killed before it answered", job=self.name)
            if "result" in message:
                result: dict[str, Any] = message["result"]
                return result

    def take_fds(self) -> list[int]:
        """The descriptors of the message last received; the taker owns them."""
        return self._channel.take_fds()

    def send(self, message: dict[str, Any]) -> None:
        """Send the job a message."""
        self._channel.send(message)

    def stop_reading(self) -> None:
        """Nothing more is awaited: whoever waits on the descriptor finds it readable from now on."""
        with suppress(OSError):
            self._channel.sock.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Close the channel: a plain job that has not finished ends at once, an owned container too."""
        self._channel.close()

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Helper:
    """A helper process of this engine, started when first needed.

    Thread-safe. In a forked child of the caller it starts a process of its own; if the process dies
    it is started again by the next request.

    python: the interpreter to run it with; default sys.executable. makes_ahead: what the next container will
    need is made before it is asked for; a process that starts but one does without.
    """

    def __init__(self, *, python: str | None = None, makes_ahead: bool = True) -> None:
        self._python = python
        self.makes_ahead: bool = makes_ahead
        self._forget()
        _helpers.add(self)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._control: Channel | None = None
        self._unready: tuple[Channel, int] | None = None
        """Of one that was begun: its channel, and a descriptor of what it says of a failure."""
        self._closed = False
        self._seed = ""
        self._numbers = itertools.count()

    @property
    def pid(self) -> int | None:
        """Process id of the running helper, or None."""
        return self._process.pid if self._process else None

    def begin(self) -> None:
        """Have the process start beside what this one does next; the first request waits for it.

        Nothing is done where it runs already. Raises Unsupported.
        """
        with self._lock:
            if self._unready is None and self._control is None and not self._closed:
                self._spawn()

    def start(self) -> None:
        """Start the process now rather than with the first request. Raises Unsupported."""
        with self._lock:
            self._ensure_started()

    def next_id(self) -> str:
        """A new container's id; the launch of the one that got it first is the quickest."""
        with self._lock:
            return container_id(self._seed, next(self._numbers)) if self._seed else os.urandom(32).hex()

    def submit(self, job: str, params: dict[str, Any], fds: Sequence[int] = ()) -> Job:
        """Begin a job; the descriptors are duplicated, the caller keeps its own.

        Raises Unsupported when the helper cannot be started, DeadlineExceeded when it does not listen.
        """
        return self._begin(job, "", _encode(params), fds)

    def launch(
        self, container_id: str, params: str, fds: Sequence[int], *, has_init: bool, has_names: bool
    ) -> Job:
        """Begin the launch of a container, as `submit`; params are JSON in ASCII.

        has_init: its first process is an init of ours. has_names: it has a name server.
        """
        about = f'"id":"{container_id}","init":{int(has_init)},"names":{int(has_names)},'
        return self._begin("launch", about, params, fds)

    def _begin(self, job: str, about: str, params: str, fds: Sequence[int]) -> Job:
        """Have the helper start the job, and tell that what it is about.

        The helper, of which all others are copies, sees no more than what it has to choose by.
        """
        header = f'{{"job":"{job}",{about}"kill_at":{_encode(checkpoints.armed())}}}'
        ours, theirs = socket.socketpair()
        channel = Channel(ours)
        try:
            with self._lock, theirs:
                self._send(header.encode("ascii"), (theirs.fileno(), *fds))
            ours.settimeout(SEND_TIMEOUT_S)
            with suppress(
                BrokenPipeError, ConnectionResetError
            ):  # it was killed, as the first look will tell
                channel.send_body(params.encode("ascii"))
            ours.settimeout(None)
        except TimeoutError as error:
            ours.close()
            raise errors.DeadlineExceeded(
                f"the process of the {job} job does not take what it is told", timeout_s=SEND_TIMEOUT_S
            ) from error
        except BaseException:
            ours.close()
            raise
        return Job(job, channel)

    def run(
        self, job: str, params: dict[str, Any], fds: Sequence[int] = (), *, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """Do a whole job and return its result."""
        with self.submit(job, params, fds) as running:
            return running.result(timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """End the process and wait for it; idempotent. Monitors of detached containers live on."""
        with self._lock:
            self._closed = True
            self._stop(timeout_s)

    def _send(self, request: bytes, fds: Sequence[int]) -> None:
        self._ensure_started()
        assert self._control is not None
        try:
            self._control.send_body(request, fds)
        except TimeoutError as error:
            self._stop(0.0)
            raise errors.DeadlineExceeded(
                "the helper process does not take requests", timeout_s=SEND_TIMEOUT_S
            ) from error
        except (BrokenPipeError, ConnectionResetError):
            # It was killed since the last request; nothing was begun, so asking its successor is safe.
            self._stop(0.0)
            self._ensure_started()
            self._control.send_body(request, fds)

    def _ensure_started(self) -> None:
        if self._closed:
            raise errors.WrongState("the engine is closed", verb="use", state="closed", allowed=("open",))
        if self._control is not None:
            if not self._has_died():
                return
            # A child of it that was just forked may hold its end of the socket, and would lose a request.
            self._stop(0.0)
        if self._unready is None:
            self._spawn()
        self._await_ready()

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                python = self._python or sys.executable
                self._process, log_fd = _spawn(python, theirs.fileno(), self.makes_ahead)
            except BaseException:
                ours.close()
                raise
        ours.settimeout(SEND_TIMEOUT_S)
        self._unready = Channel(ours), log_fd

    def _await_ready(self) -> None:
        assert self._unready is not None
        control, log_fd = self._unready
        silent = "no reason given"
        try:
            ready = control.receive(START_TIMEOUT_S)
        except errors.DeadlineExceeded:
            ready, silent = None, f"not ready within {START_TIMEOUT_S:g} s; is this host overloaded?"
        said = os.pread(log_fd, 4096, 0).decode(errors="replace").strip()
        if ready is None:
            self._stop(0.0)
            raise errors.Unsupported(
                f"the helper process did not start: {said or silent}",
                "name a CPython interpreter with Engine(python=...)",
            )
        os.close(log_fd)
        self._control, self._unready = control, None
        self._seed, self._numbers = ready["seed"], itertools.count()

    def _has_died(self) -> bool:
        assert self._process is not None
        return self._process.has_ended(0.0)

    def _stop(self, timeout_s: float) -> None:
        if self._control is None:
            timeout_s = 0.0  # it is not ready, and has nothing to undo
        self._let_go()
        process, self._process = self._process, None
        if process is not None:
            process.end(timeout_s)

    def _let_go(self) -> None:
        """Close what this process has of the helper."""
        if self._control is not None:
            self._control.close()
        if self._unready is not None:
            channel, log_fd = self._unready
            channel.close()
            os.close(log_fd)
        self._control = self._unready = None


class _Process(NamedTuple):
    """A child of ours. pidfd: tells of its end, whoever reaps it."""

    pid: int
    pidfd: int

    def has_ended(self, timeout_s: float) -> bool:
        """Whether it ends within the time."""
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return bool(poller.poll(timeout_s * 1000))

    def end(self, timeout_s: float) -> None:
        """Wait for its end, which is brought about when it does not come in time; once."""
        if not self.has_ended(timeout_s):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        with suppress(ChildProcessError):  # reaped by the kernel, for a caller that ignores SIGCHLD
            os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        os.close(self.pidfd)


def _spawn(python: str, control_fd: int, makes_ahead: bool) -> tuple[_Process, int]:
    """Start the helper on control_fd; return it and a descriptor of what it writes to stderr."""
    executable = os.path.realpath(python)
    image_fd, environment = sealed_copy(executable)
    log_fd = os.memfd_create("pycontainer-helper-log", os.MFD_CLOEXEC)
    # A caller without stdin may have got 0, 1 or 2 for these; the child's own stdio would replace them.
    inherited = fcntl.fcntl(control_fd, fcntl.F_DUPFD_CLOEXEC, 3)
    try:
        pid = os.posix_spawn(
            f"/proc/self/fd/{image_fd}",
            [
                executable,
                *("-I", "-S", "-B", "-X", "utf8", "-c"),
                _MAIN.format(root=_ROOT, fd=inherited, pid=os.getpid(), makes_ahead=makes_ahead),
            ],
            environment,
            # The log first: it may be where the others go. A duplicate that is itself is inherited.
            # Source: posix_spawn_file_actions_adddup2, POSIX.1-2024.
            file_actions=(
                (os.POSIX_SPAWN_DUP2, log_fd, 2),
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, inherited, inherited),
            ),
            setsid=True,
        )
        return _Process(pid, os.pidfd_open(pid)), log_fd
    except OSError as error:
        os.close(log_fd)
        raise errors.Unsupported(
            f"the helper process cannot be started from {executable}: {error.strerror}",
            "name a CPython interpreter with Engine(python=...)",
        ) from error
    finally:
        os.close(inherited)
        os.close(image_fd)


def _after_fork_in_child() -> None:
    # The process and its socket belong to the parent: a child that used them would mix up its answers.
    for helper in list(_helpers):
        process, closed = helper._process, helper._closed
        helper._let_go()
        helper._forget()
        helper._closed = closed
        if process is not None:
            os.close(process.pidfd)


os.register_at_fork(after_in_child=_after_fork_in_child)
