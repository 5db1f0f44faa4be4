"""Named steps at which a test may kill a process, to prove that the next process repairs what is left.

Nothing happens unless a step was armed; then the process that reaches it is killed with SIGKILL, which
no handler and no finally block sees. The helper's client forwards the armed name with every job.
"""

from __future__ import annotations

import os
import signal

_armed: str | None = None


def arm(name: str | None) -> None:
    """Kill this process when it reaches the step of that name; None disarms."""
    global _armed
    _armed = name


def armed() -> str | None:
    """The step armed in this process, if any."""
    return _armed


def reached(name: str) -> None:
    """Mark a step; called as `<verb>.<thing>.<past participle>`."""
    if name == _armed:
        os.kill(os.getpid(), signal.SIGKILL)
