"""The helper: a small, frozen, single-threaded process from which every job is forked.

Theory of operation. The caller may be threaded and huge, so it is never forked; this process is started
once per engine and each request is one fork(2) of it, whose price is that of its own few megabytes. It
reads requests from a private socketpair, forks, and hands the child the request's descriptors; the
first of them is the job's own channel to the caller, so the helper itself answers nothing and cannot
be a bottleneck. It ends when the socket closes or the caller's pidfd fires, which also covers a caller
whose forked children still hold a copy of the socket.

It runs with an empty environment under `-I -S -B` from a sealed copy of the interpreter, is not
dumpable, and imports everything it will ever need before it freezes the heap.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from typing import Any

from pycontainer import checkpoints
from pycontainer.kernel import syscalls
from pycontainer.launcher import jobs
from pycontainer.launcher.protocol import Channel, describe_error


def main(control_fd: int, caller_pid: int) -> None:
    """Serve requests until the caller closes the socket or dies."""
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.set_name(b"pycontainer")
    os.chdir("/")
    os.umask(0o022)
    _reset_signals()
    caller = os.pidfd_open(caller_pid)
    if os.getppid() != caller_pid:
        os._exit(0)
    control = Channel(socket.socket(fileno=control_fd))
    control.send({"event": "ready"})
    gc.collect()
    gc.disable()
    gc.freeze()
    _serve(control, caller)
    os._exit(0)


def _reset_signals() -> None:
    # What the caller ignored or blocked is inherited across execve (signal(7)).
    for number in range(1, signal.NSIG):
        if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # Ignored, the kernel reaps the jobs itself (wait(2)); a job that waits for children resets it.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def _serve(control: Channel, caller: int) -> None:
    poller = select.poll()
    poller.register(control, select.POLLIN)
    poller.register(caller, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poller.poll()}
        if caller in ready or not control.fill():
            return
        while (request := control.take()) is not None:
            fds = control.take_fds()
            if os.fork() == 0:
                os.close(caller)
                control.close()
                _run(request, fds)
            for fd in fds:
                os.close(fd)


def _run(request: dict[str, Any], fds: list[int]) -> None:
    """Be the job; never returns."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        checkpoints.arm(*request["kill_at"])
        channel = Channel(socket.socket(fileno=fds[0]))
        name = request["job"]
        if name in jobs.LIVING:
            jobs.LIVING[name](request["params"], fds[1:], channel)
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
