"""Seeing that the kernel kills for want of memory while the container goes on, without asking for it.

Version 2 tells by poll(2) on memory.events, version 1 by an eventfd that is registered for
memory.oom_control. Source: cgroup-v2.rst, "memory.events"; cgroup-v1/memory.rst, "OOM Control".
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Any

from pycontainer.launcher import cgroup

if TYPE_CHECKING:
    from pycontainer.launcher.monitor.core import Monitor

__all__ = ["OomWatch", "has_limit"]


def has_limit(params: dict[str, Any]) -> bool:
    """Whether the launch request limits the container's memory."""
    resources = (params["spec"].get("linux") or {}).get("resources") or {}
    return ((resources.get("memory") or {}).get("limit") or 0) > 0


class OomWatch:
    """Tells the event log of kills, until the run has ended."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._fds: list[int] = []
        self.has_told: bool = False
        """Whether this run has had one, and the log knows."""

    def open(self) -> None:
        """Watch from now on; a host without means for it is no error: the end of the run tells then."""
        source = (self._monitor.cgroup.get("reads") or {}).get("oom")
        if not source:
            return
        try:
            file = str(source[0])
            if file.endswith("/memory.events"):
                self._watch(os.open(file, os.O_RDONLY), select.POLLPRI)
            else:
                self._register(file)
        except OSError:
            self.close()

    def _register(self, file: str) -> None:
        ready = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._fds.append(ready)
        control = os.open(file, os.O_RDONLY)
        self._fds.append(control)
        events = os.open(f"{os.path.dirname(file)}/cgroup.event_control", os.O_WRONLY)
        try:
            os.write(events, b"%d %d" % (ready, control))
        finally:
            os.close(events)
        self._monitor.loop.add(ready, self._see_notice)

    def _watch(self, fd: int, events: int) -> None:
        self._fds.append(fd)
        self._monitor.loop.add(fd, self._see_change, events)

    def _see_notice(self, _: int) -> None:
        os.read(self._fds[0], 8)
        if not self.has_told:  # one want of memory is noticed more than once
            self.tell()

    def _see_change(self, _: int) -> None:
        """Of several things that are counted there, one has changed."""
        os.pread(self._fds[0], 4096, 0)  # else it stays ready
        if not self.has_told and cgroup.read(self._monitor.cgroup).get("oom"):
            self.tell()

    def tell(self) -> None:
        """Write the event."""
        self.has_told = True
        self._monitor.events.report("oom")

    def close(self) -> None:
        """Watch no more; idempotent."""
        for fd in self._fds:
            self._monitor.loop.remove(fd)
            os.close(fd)
        self._fds.clear()
