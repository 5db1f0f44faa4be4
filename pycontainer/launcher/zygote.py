"""The helper: a small, frozen, single-threaded process from which every job is forked.

Theory of operation. The caller may be threaded and huge, so it is never forked; this process is started
once per engine and each request is one fork(2) of it, whose price is that of its own few megabytes. It
reads requests from a private socketpair, forks, and hands the child the request's descriptors; the
first of them is the job's own channel to the caller, so the helper itself answers nothing and cannot
be a bottleneck. A launch goes to a process forked for it beforehand (launcher.ahead), if there is one;
the next is forked when the launch tells that its caller has been answered. So it is with execs, whose
next is forked while the last one's process sets itself up. The helper ends when the
socket closes or the caller's pidfd fires, which also covers a caller whose forked children still hold a
copy of the socket.

It runs with an empty environment under `-I -S -B` from a sealed copy of the interpreter, is not
dumpable, and imports everything it will ever need before it freezes the heap.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from pycontainer import checkpoints
from pycontainer.kernel import syscalls
from pycontainer.launcher import child, jobs
from pycontainer.launcher.ahead import Ahead
from pycontainer.launcher.heap import fill_holes
from pycontainer.launcher.ids import container_id, number_of
from pycontainer.launcher.protocol import Channel, describe_error
from pycontainer.launcher.steps import process

_LAUNCH = b'{"job":"launch","params":{"id":"'
_EXEC = b'{"job":"exec",'
_NAMES = b'"dns":{'
_ID_LENGTH = 64
_LET_GO_MS = 3000
_MAX_PASSED = 128 << 10  # fits the buffer of the socket: a spare that was stopped must not stop the helper


def main(control_fd: int, caller_pid: int) -> None:
    """Serve requests until the caller closes the socket or dies."""
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.set_name(b"pycontainer")
    os.chdir("/")
    os.umask(0o022)
    process.reset_signals()
    # Ignored, the kernel reaps the jobs itself (wait(2)); a job that waits for children resets it.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    caller = os.pidfd_open(caller_pid)
    if os.getppid() != caller_pid:
        os._exit(0)
    control = Channel(socket.socket(fileno=control_fd))
    seed = os.urandom(16).hex()
    control.send({"event": "ready", "seed": seed})
    gc.collect()
    gc.disable()
    fill_holes()
    gc.freeze()
    helper = _Helper(control, caller, seed)
    helper.serve()
    helper.let_go()
    os._exit(0)


class _Helper:
    """The loop that hands requests to processes of their own."""

    def __init__(self, control: Channel, caller: int, seed: str) -> None:
        self._control = control
        self._caller = caller
        self._seed = seed
        self._next = 0
        """Number of the next container, as far as is known: later than all that were launched."""
        self._spare: Channel | None = None
        """To the process that waits for the launch of that one."""
        self._launching: Channel | None = None
        """To the last launch, which will tell what it was like."""
        self._exec_spare: Channel | None = None
        """To the process that waits for the next exec."""
        self._joining: Channel | None = None
        """To the last exec, which closes it when there may be another."""

    def serve(self) -> None:
        """Serve requests until the caller has gone."""
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(self._caller, select.POLLIN)
        while True:
            launching, joining = self._launching, self._joining
            for channel in (launching, joining):
                if channel is not None:
                    poller.register(channel, select.POLLIN)
            ready = {fd for fd, _ in poller.poll()}
            for channel in (launching, joining):
                if channel is not None:
                    poller.unregister(channel)
            if self._caller in ready or (self._control.fileno() in ready and not self._control.fill()):
                return
            while (body := self._control.take_body()) is not None:
                fds = self._control.take_fds()
                self._hand_over(body, fds)
                for fd in fds:
                    os.close(fd)
            if launching is not None and launching is self._launching and launching.fileno() in ready:
                self._follow(launching)
            if joining is not None and joining is self._joining and joining.fileno() in ready:
                self._follow_exec(joining)

    def let_go(self) -> None:
        """Have the process that waits undo what it made ahead, and wait for its end."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.sock.shutdown(socket.SHUT_WR)
            poller = select.poll()
            poller.register(spare, select.POLLIN)
            poller.poll(_LET_GO_MS)
            spare.close()

    def _hand_over(self, body: bytes, fds: list[int]) -> None:
        if body.startswith(_EXEC):
            self._hand_over_exec(body, fds)
            return
        if not body.startswith(_LAUNCH):
            if os.fork() == 0:
                self._leave()
                _run(json.loads(body), fds)
            return
        self._hand_over_launch(body, fds)
        if _NAMES in body:
            # Containers have networks here: one copy of their server for all monitors from now on.
            import pycontainer.launcher.dns.opening
            import pycontainer.launcher.dns.server  # noqa: F401

    def _hand_over_launch(self, body: bytes, fds: list[int]) -> None:
        if self._launching is not None:
            self._launching.close()
            self._launching = None
        if self._is_for_spare(body):
            self._launching, self._spare = self._spare, None
            if _has_passed_on(self._launching, body, fds):
                return
        self._launching, theirs = _pair()
        if os.fork() == 0:
            self._leave()
            _run(json.loads(body), fds, Ahead(theirs))
        theirs.close()

    def _is_for_spare(self, body: bytes) -> bool:
        """Whether it is the container that the spare waits for; one that was passed over is let go."""
        wanted = body[len(_LAUNCH) : len(_LAUNCH) + _ID_LENGTH].decode("ascii", "replace")
        number = number_of(self._seed, wanted)
        if number is None or number < self._next:
            return False
        is_next, self._next = number == self._next, number + 1
        if not is_next and self._spare is not None:
            self._spare.close()
            self._spare = None
        return is_next

    def _follow(self, launching: Channel) -> None:
        """Fork the next one, like the last, whose caller has its answer."""
        self._launching = None
        launching.fill()
        like = launching.take_body()
        launching.close()
        if like is None or self._spare is not None:
            return
        self._spare, theirs = _pair()
        if os.fork() == 0:
            self._leave()
            _be_spare(theirs, like, container_id(self._seed, self._next))
        theirs.close()

    def _hand_over_exec(self, body: bytes, fds: list[int]) -> None:
        if self._joining is not None:
            self._joining.close()
        self._joining, self._exec_spare = self._exec_spare, None
        if _has_passed_on(self._joining, body, fds):
            return
        self._joining, theirs = _pair()
        if os.fork() == 0:
            self._leave()
            _run(json.loads(body), fds, begun=theirs.close)
        theirs.close()

    def _follow_exec(self, joining: Channel) -> None:
        """Fork the process for the next exec, as the last one has let go of its channel."""
        self._joining = None
        joining.close()
        if self._exec_spare is not None:
            return
        self._exec_spare, theirs = _pair()
        if os.fork() == 0:
            self._leave()
            _be_exec_spare(theirs)
        theirs.close()

    def _leave(self) -> None:
        """In a child: let go of what is the helper's."""
        os.close(self._caller)
        for channel in (self._control, self._spare, self._launching, self._exec_spare, self._joining):
            if channel is not None:
                channel.close()


def _has_passed_on(spare: Channel | None, body: bytes, fds: list[int]) -> bool:
    """Whether the process that waits has the request now; if not, it is let go."""
    if spare is None:
        return False
    try:
        if len(body) <= _MAX_PASSED:
            spare.send_body(body, fds)
            return True
    except OSError:
        pass  # it was killed, and nothing has been begun
    spare.close()
    return False


def _pair() -> tuple[Channel, Channel]:
    ours, theirs = socket.socketpair()
    return Channel(ours), Channel(theirs)


def _be_spare(channel: Channel, like: bytes, own_id: str) -> None:
    """Make ready for the launch of the container with this id and wait for it; never returns."""
    try:
        syscalls.set_name(b"pycontainer-nxt")
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ahead = Ahead(channel)
        ahead.prepare(json.loads(like), own_id, child.wait)
        request = ahead.await_request()
        if request is not None:
            _run(*request, ahead)
        ahead.discard()
    finally:
        os._exit(0)


def _be_exec_spare(channel: Channel) -> None:
    """Wait for an exec; never returns."""
    try:
        syscalls.set_name(b"pycontainer-nxt")
        jobs.warm()
        request = channel.receive()
        if request is not None:
            _run(request, channel.take_fds(), begun=channel.close)
    finally:
        os._exit(0)


def _run(
    request: dict[str, Any],
    fds: list[int],
    ahead: Ahead | None = None,
    begun: Callable[[], None] | None = None,
) -> None:
    """Be the job; never returns."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        checkpoints.arm(*request["kill_at"])
        channel = Channel(socket.socket(fileno=fds[0]))
        name = request["job"]
        if ahead is not None:
            jobs.LIVING[name](request["params"], fds[1:], channel, ahead)
        elif begun is not None:
            jobs.JOINING[name](request["params"], fds[1:], channel, begun)
        elif name in jobs.PARENTS:
            jobs.PARENTS[name](request["params"], fds[1:], channel)
        else:
            _run_plain(name, request["params"], fds[1:], channel)
        status = 0
    finally:
        os._exit(status)


def _run_plain(name: str, params: dict[str, Any], fds: list[int], channel: Channel) -> None:
    _die_with(channel.sock)
    try:
        answer: dict[str, Any] = {"result": jobs.PLAIN[name](params, fds, channel.send)}
    except BaseException as error:  # the edge of the process: whatever happened is the caller's to see
        answer = {"error": describe_error(error, name)}
    # The answer itself may cross with the caller's close, which is no reason to die unclean.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    channel.send(answer)


def _die_with(sock: socket.socket) -> None:
    """End this process by SIGIO as soon as the other end of the socket is closed (fcntl(2), F_SETOWN)."""
    import fcntl

    fcntl.fcntl(sock, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(sock, fcntl.F_GETFL)
    fcntl.fcntl(sock, fcntl.F_SETFL, flags | os.O_ASYNC)
    if select.select([sock], [], [], 0)[0]:
        os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
