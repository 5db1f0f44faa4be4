"""Who a process is, beyond its number: pids repeat, but not with the same start time in the same boot."""

from __future__ import annotations

import os

from pycontainer.kernel import pidfd
from pycontainer.launcher import status

__all__ = ["boot_id", "lives"]


def boot_id() -> str:
    """The id of this boot of the kernel."""
    return status.BOOT_ID


def lives(boot: object, pid: object, start: object) -> bool:
    """Whether the process with this identity is still running; values as read from a file."""
    if boot != boot_id() or not isinstance(pid, int) or not isinstance(start, int) or pid <= 0:
        return False
    opened = pidfd.open_checked(pid, start)
    if opened is not None:
        os.close(opened)
    return opened is not None
