"""Handing an owned container over: from then on it is nobody's, and ends by itself or when it is stopped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pycontainer import errors
from pycontainer.checkpoints import reached

if TYPE_CHECKING:
    from pycontainer.launcher.monitor.control import Client
    from pycontainer.launcher.monitor.core import Monitor

__all__ = ["OPS"]


def _detach(monitor: Monitor, client: Client, request: dict[str, Any]) -> dict[str, Any]:
    """Live on when the owner ends. Raises WrongState for one whose caller waits for its result."""
    if monitor.channel is not None:
        raise errors.WrongState(
            "a container of run() ends with it; use Container.create()", verb="detach", state="running"
        )
    monitor.is_owned = False
    for name in ("caller", "lifeline"):
        fd = monitor.fds.pop(name, None)
        if fd is not None:
            monitor.loop.remove(fd)
            os.close(fd)
    reached("detach.monitor.told")
    return {}


OPS = {"detach": _detach}
