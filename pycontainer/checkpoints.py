"""Named steps at which a test may kill a process, to prove that the next process repairs what is left.

Nothing happens unless a step was armed; then the process that reaches it is killed with SIGKILL, which
no handler and no finally block sees. The helper's client forwards the armed name with every job.
Or all steps are written down with their times, to tell where the time goes.
"""

from __future__ import annotations

import os
import signal
import time

_TRACE = "trace:"
_armed: str | None = None
_victims: tuple[int, ...] = ()


def arm(name: str | None, *victims: int) -> None:
    """Kill processes when this one reaches the step of that name; None disarms.

    "trace:FILE" instead kills nobody: a line "NANOSECONDS PID NAME" goes to the file for each step, by the
    monotonic clock. victims: process ids to kill, in this order; 0, and the default, is the process that
    reaches the step.
    """
    global _armed, _victims
    _armed, _victims = name, victims


def armed() -> tuple[str | int | None, ...]:
    """The step armed in this process and whom it kills: the arguments of `arm`."""
    return _armed, *_victims


def reached(name: str) -> None:
    """Mark a step; called as `<verb>.<thing>.<past participle>`."""
    if _armed is None:
        return
    if _armed.startswith(_TRACE):
        _write_down(name, _armed.removeprefix(_TRACE))
    elif name == _armed:
        victims = _victims or (0,)
        arm(None)
        for victim in victims:
            os.kill(victim or os.getpid(), signal.SIGKILL)


def _write_down(name: str, path: str) -> None:
    line = f"{time.monotonic_ns()} {os.getpid()} {name}\n".encode()
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.write(fd, line)
    os.close(fd)
