"""The helper: a small, frozen, single-threaded process from which every job is forked.

Theory of operation. The caller may be threaded and huge, so it is never forked; this process is started
once per engine and each request is one fork(2) of it, whose price is that of its own few megabytes. It
reads requests from a private socketpair, forks, and hands the child the request's descriptors; the first of
them is the job's own channel to the caller, from which the child takes what the job is about. So the helper
answers nothing, is no bottleneck, and holds nothing of a job that the process of another would inherit.

A launch goes to a process that has waited for it (launcher.ahead), if there is one: one whose container is
done, or one that was forked when the last launch told that its container goes on. These are forked from a
template, since they may become monitors, which live long and shall stay small. So it is with execs, which
come from the helper itself. The helper ends when the socket closes or the caller's pidfd fires, which also
covers a caller whose forked children still hold a copy of the socket.

It runs with an empty environment under `-I -S -B` from a sealed copy of the interpreter, is not
dumpable, and freezes its heap when it has imported what launches need (see launcher.jobs for the rest).
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from pycontainer import checkpoints
from pycontainer.kernel import native, syscalls
from pycontainer.launcher import jobs
from pycontainer.launcher.ahead import NEXT, STAYS, Ahead
from pycontainer.launcher.heap import fill_holes
from pycontainer.launcher.ids import ID_LENGTH, container_id, number_of
from pycontainer.launcher.monitor.keeping import Keeper
from pycontainer.launcher.protocol import Channel, describe_error
from pycontainer.launcher.steps import process
from pycontainer.launcher.template import Template

_JOB = b'{"job":"'
_LAUNCH = b'{"job":"launch","id":"'
_EXEC = b'{"job":"exec",'
_INIT = b'"init":1,'
_NAMES = b'"names":1,'
_LET_GO_S = 3.0
_WAITING = b"pycontainer-nxt"
"""Name of a process that waits for its request."""
_MOST_IDLE = 4
"""How many are kept that are done: monitors, besides the one that waits for the next, and those of execs."""
_MOST_EXECS = 200
_GOES_ON, _STAYS = b"goes on", b"stays"
"""What the process of an exec says: its program takes time; it is done, and waits for another."""


def main(control_fd: int, caller_pid: int, *, makes_ahead: bool) -> None:
    """Serve requests until the caller closes the socket or dies.

    makes_ahead: let processes wait for the next launch and exec.
    """
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.set_name(b"pycontainer")
    os.chdir("/")
    os.umask(0o022)
    process.reset_signals()
    # What the caller has that a new program inherits is none of ours, and of no container.
    syscalls.close_all_but((0, 1, 2, control_fd))
    # Ignored, the kernel reaps the jobs itself (wait(2)); a job that waits for children resets it.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    caller = os.pidfd_open(caller_pid)
    if os.getppid() != caller_pid:
        os._exit(0)
    control = Channel(socket.socket(fileno=control_fd))
    native.is_possible()  # one mapping for all that are forked from here
    seed = os.urandom(16).hex()
    control.send({"event": "ready", "seed": seed})
    gc.collect()
    gc.disable()
    fill_holes()
    gc.freeze()
    helper = _Helper(control, caller, seed, makes_ahead)
    helper.serve()
    helper.let_go()
    os._exit(0)


class _Helper:
    """The loop that hands requests to processes of their own."""

    def __init__(self, control: Channel, caller: int, seed: str, makes_ahead: bool) -> None:
        self._control = control
        self._caller = caller
        self._seed = seed
        self._makes_ahead = makes_ahead
        self._poller = select.poll()
        self._next = 0
        """Number of the next container, as far as is known: later than all that were launched."""
        self._spare: Channel | None = None
        """To the process that waits for the launch of that one."""
        self._idle: list[Channel] = []
        """To processes that wait for any launch."""
        self._launching: dict[int, Channel] = {}
        """To launches, each of which tells what it is like and may stay for another; by descriptor."""
        self._exec_idle: list[Channel] = []
        """To processes that wait for an exec."""
        self._execs: dict[int, Channel] = {}
        """To execs, each of which says what becomes of it; by descriptor."""
        self._template = Template(_be_monitor, name=_WAITING)
        if not makes_ahead:
            # Its caller starts one container, and is still busy with what that is to be.
            self._idle.append(self._template.fork())

    def serve(self) -> None:
        """Serve requests until the caller has gone."""
        poller = self._poller
        poller.register(self._control, select.POLLIN)
        poller.register(self._caller, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poller.poll()}
            if self._caller in ready or (self._control.fileno() in ready and not self._control.fill()):
                return
            launching = [self._launching.get(fd) for fd in ready]
            execs = [self._execs.get(fd) for fd in ready]
            while (body := self._control.take_body()) is not None:
                fds = self._control.take_fds()
                self._hand_over(body, fds)
                for fd in fds:
                    os.close(fd)
            for channel in launching:
                if channel is not None:
                    self._follow(channel)
            for channel in execs:
                if channel is not None:
                    self._follow_exec(channel)

    def let_go(self) -> None:
        """Have the processes that wait undo what they made ahead, and wait for the end of all that wait."""
        waiting = [channel for channel in (self._spare, *self._idle) if channel is not None]
        self._spare, self._idle = None, []
        deadline = time.monotonic() + _LET_GO_S
        for channel in waiting:
            channel.sock.shutdown(socket.SHUT_WR)
        for end in (*waiting, self._template.end()):
            poller = select.poll()
            poller.register(end, select.POLLIN)
            poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
            end.close()

    def _hand_over(self, body: bytes, fds: list[int]) -> None:
        try:
            if jobs.load(body[len(_JOB) : body.index(b'"', len(_JOB))].decode()):
                gc.freeze()
        except Exception:  # the edge of a request: the job's own process meets it again, and tells
            pass
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
            self._template.load_names()  # containers have networks here

    def _hand_over_launch(self, body: bytes, fds: list[int]) -> None:
        channel = self._choose(body)
        if channel is None or not _has_passed_on(channel, body, fds):
            channel = self._template.fork()
            if not _has_passed_on(channel, body, fds):
                return  # its caller sees that nobody took it
        self._launching[channel.fileno()] = channel
        self._poller.register(channel, select.POLLIN)
        if self._spare is None and self._idle:
            self._await_next(self._idle.pop())

    def _choose(self, body: bytes) -> Channel | None:
        """The process for this launch: who waits for that container, else anyone who waits.

        Nobody for a container whose first process goes on as a fork of its monitor: in the memory of one that
        has been another's there may be what that one was told.
        """
        if _INIT in body:
            return None
        wanted = body[len(_LAUNCH) : len(_LAUNCH) + ID_LENGTH].decode("ascii", "replace")
        number = number_of(self._seed, wanted)
        if number is not None and number >= self._next:
            self._next = number + 1
            spare, self._spare = self._spare, None
            if spare is not None:
                return spare  # passed over, it lets go of what was for another container
        return self._idle.pop() if self._idle else None

    def _follow(self, channel: Channel) -> None:
        """Have somebody wait for the next one, now that this one's caller has its answer."""
        is_open = channel.fill()
        like = None
        while (body := channel.take_body()) is not None:
            like = body  # the last one tells most
        stays = like is not None and like.startswith(STAYS)
        if stays or not is_open:
            self._poller.unregister(channel)
            del self._launching[channel.fileno()]
        if stays and self._spare is None and self._makes_ahead:
            self._await_next(channel)
            return
        if stays and len(self._idle) < _MOST_IDLE and self._makes_ahead:
            self._idle.append(channel)
            return
        if stays or not is_open:
            channel.close()
        if like is None or self._spare is not None or not self._makes_ahead:
            return
        self._await_next(self._template.fork(), like)

    def _await_next(self, channel: Channel, like: bytes = b"") -> None:
        """Let that process wait for the next container. like: what the last one was like, if it knows not."""
        try:
            channel.send_body(NEXT + container_id(self._seed, self._next).encode() + like)
        except OSError:
            channel.close()  # it was killed
        else:
            self._spare = channel

    def _hand_over_exec(self, body: bytes, fds: list[int]) -> None:
        channel = self._exec_idle.pop() if self._exec_idle else None
        if channel is not None and _has_passed_on(channel, body, fds):
            self._execs[channel.fileno()] = channel
        else:
            channel = self._fork(self._execs, lambda theirs: _be_exec(theirs, (json.loads(body), fds)))
        self._poller.register(channel, select.POLLIN)

    def _follow_exec(self, channel: Channel) -> None:
        """Have somebody wait for the next one."""
        is_open = channel.fill()
        said = channel.take_body()
        while (later := channel.take_body()) is not None:
            said = later  # the last one tells what it does now
        if said == _GOES_ON:
            if not self._exec_idle and self._makes_ahead:
                ours, theirs = Channel.pair()
                self._exec_idle.append(ours)
                if os.fork() == 0:
                    self._leave()
                    _be_exec(theirs)
                theirs.close()
            return
        self._poller.unregister(channel)
        del self._execs[channel.fileno()]
        if is_open and len(self._exec_idle) < _MOST_IDLE and self._makes_ahead:
            self._exec_idle.append(channel)
        else:
            channel.close()

    def _fork(self, held: dict[int, Channel], be: Callable[[Channel], None]) -> Channel:
        """The channel to a new process, which never returns from be; held by its descriptor."""
        ours, theirs = Channel.pair()
        held[ours.fileno()] = ours  # before: the process is not to hold its own channel's other end
        if os.fork() == 0:
            self._leave()
            be(theirs)
        theirs.close()
        return ours

    def _leave(self) -> None:
        """In a child: let go of what is the helper's."""
        os.close(self._caller)
        others = (*self._idle, *self._launching.values(), *self._exec_idle, *self._execs.values())
        for channel in (self._control, self._spare, self._template, *others):
            if channel is not None:
                channel.close()


def _has_passed_on(spare: Channel, body: bytes, fds: list[int]) -> bool:
    """Whether the process that waits has the request now; if not, it is let go."""
    try:
        # It is short, and fits the buffer of the socket: one that was stopped does not stop the helper.
        spare.send_body(body, fds)
        return True
    except OSError:
        pass  # it was killed, and nothing has been begun
    spare.close()
    return False


def _be_monitor(channel: Channel) -> None:
    """Be a container's monitor; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        jobs.keep(channel, partial(_be_starter, channel))
    finally:
        os._exit(0)


def _be_starter(channel: Channel, keeper: Keeper) -> None:
    """Start one container after the other, and be the monitor of those that are not handed over."""
    ahead = Ahead(channel)
    try:
        request = ahead.await_request()
        while request is not None:
            header, fds = request
            checkpoints.arm(*header["kill_at"])
            job = Channel(socket.socket(fileno=fds[0]))
            params = job.receive()
            if params is None:
                break  # the caller has died
            jobs.LIVING[header["job"]](params, fds[1:], job, ahead, keeper)
            del request, header, params, fds, job
            if not ahead.stays:
                return
            ahead.forget(keeper.descriptors)
            syscalls.set_name(_WAITING)
            request = ahead.await_request()
        ahead.discard()
    except BaseException:  # the edge of the process: nothing that was made ahead outlives it
        ahead.discard()


def _be_exec(channel: Channel, request: tuple[dict[str, Any], list[int]] | None = None) -> None:
    """Be the process of one exec after the other; never returns. request: for the first, if it is there."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        if request is None:
            syscalls.set_name(_WAITING)
            jobs.warm()
        for _ in range(_MOST_EXECS):
            header, fds = request or _next(channel)
            request = None
            checkpoints.arm(*header["kill_at"])
            job = Channel(socket.socket(fileno=fds[0]))
            params = job.receive()
            if params is None:
                break  # the caller has died
            stays = jobs.find(header["job"])(params, fds[1:], job, lambda: _say(channel, _GOES_ON))
            if not stays:
                break
            # Every object and descriptor of it goes before the next comes, in this order: an object that went
            # later would close what has its number by then.
            del header, params, fds, job
            gc.collect()
            syscalls.close_all_but((0, 1, 2, channel.fileno()))
            syscalls.set_name(_WAITING)
            _say(channel, _STAYS)
    finally:
        os._exit(0)


def _next(channel: Channel) -> tuple[dict[str, Any], list[int]]:
    """What the helper passes on, with its descriptors; ends this process when the helper has ended."""
    request = channel.receive()
    if request is None:
        os._exit(0)
    return request, channel.take_fds()


def _say(channel: Channel, word: bytes) -> None:
    try:
        channel.send_body(word)
    except OSError:
        pass  # the helper has ended


def _run(header: dict[str, Any], fds: list[int]) -> None:
    """Be the job; never returns."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        checkpoints.arm(*header["kill_at"])
        channel = Channel(socket.socket(fileno=fds[0]))
        name, params = header["job"], channel.receive()
        if params is None:
            pass  # the caller has died
        elif name in jobs.TALKING:
            jobs.find(name)(params, fds[1:], channel)
        else:
            _run_plain(name, params, fds[1:], channel)
        status = 0
    finally:
        os._exit(status)


def _run_plain(name: str, params: dict[str, Any], fds: list[int], channel: Channel) -> None:
    _die_with(channel.sock)
    try:
        answer: dict[str, Any] = {"result": jobs.find(name)(params, fds, channel.send)}
    except BaseException as error:  # the edge of the process: whatever happened is the caller's to see
        answer = {"error": describe_error(error, name)}
    # The answer itself may cross with the caller's close, which is no reason to die unclean.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    # Before the answer: whoever has it may unmount at once what the job had open.
    syscalls.close_all_but((channel.fileno(),))
    channel.send(answer)


def _die_with(sock: socket.socket) -> None:
    """End this process by SIGIO as soon as the other end of the socket is closed (fcntl(2), F_SETOWN)."""
    import fcntl

    fcntl.fcntl(sock, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(sock, fcntl.F_GETFL)
    fcntl.fcntl(sock, fcntl.F_SETFL, flags | os.O_ASYNC)
    if select.select([sock], [], [], 0)[0]:
        os._exit(1)
