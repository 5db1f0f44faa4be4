"""Named steps at which a test may kill a process, to prove that the next process repairs what is left.

Nothing happens unless a step was armed; then the process that reaches it is killed with SIGKILL, which
no handler and no finally block sees. The helper's client forwards the armed name with every job.
"""

from __future__ import annotations

import os
import signal

_armed: str | None = None
_victim: int | None = None


def arm(name: str | None, victim: int | None = None) -> None:
    """Kill a process when this one reaches the step of that name; None disarms.

    victim: process id to kill, default the process that reaches the step.
    """
    global _armed, _victim
    _armed, _victim = name, victim


def armed() -> tuple[str | None, int | None]:
    """The step armed in this process, and whom it kills."""
    return _armed, _victim


def reached(name: str) -> None:
    """Mark a step; called as `<verb>.<thing>.<past participle>`."""
    if name == _armed:
        victim = _victim or os.getpid()
        arm(None)
        os.kill(victim, signal.SIGKILL)
