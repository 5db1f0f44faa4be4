"""A pid 1 for programs that are none: reaps what is orphaned, passes signals on, ends as its child ends.

It is the process that set the container up, after it gave up everything: the program's ids, capabilities
and filter are in force, no descriptor but the streams is open, and it is not dumpable, so that its
executable, the host's interpreter, cannot be reached through /proc/1/exe.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from pycontainer.kernel import syscalls
from pycontainer.launcher import pty

_NOT_FORWARDED = {
    signal.SIGCHLD,
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGTSTP,
}
# Faults of this process itself: blocked, they would loop instead of ending it.
_FAULTS = {
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGABRT,
    signal.SIGSYS,
}
_WAITED = frozenset(signal.valid_signals() - _FAULTS - {signal.SIGKILL, signal.SIGSTOP})


def run(execute: Callable[[], None], report_fd: int, *, has_terminal: bool) -> None:
    """Fork; the child runs execute (which reports its own failure), this process never returns.

    has_terminal: stdin is the container's own terminal, for the child's session to control.
    """
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        # Of its own session, the program is also the leader of what a terminal signals (tini -s).
        os.setsid()
        if has_terminal:
            pty.take_control()
        execute()
        os._exit(127)
    os.close(report_fd)
    for stream in (0, 1, 2):
        # Their readers wait for the end of the program's output, not of ours.
        os.close(stream)
    os._exit(_serve(child))


def _serve(child: int) -> int:
    while True:
        number = signal.sigwait(_WAITED)
        if number != signal.SIGCHLD:
            if number not in _NOT_FORWARDED:
                os.kill(child, number)
            continue
        ended = _reap(child)
        if ended is not None:
            return ended


def _reap(child: int) -> int | None:
    """Collect every ended process; the program's exit code when it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
