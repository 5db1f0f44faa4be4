"""All processes that one process of a container begets, held together by a cgroup of their own.

A program that forks twice and calls setsid(2) leaves its parent, its group and its session, but not its
cgroup. So each further process of a container gets a directory below the container's: in version 2 where
there is one (no controller is enabled in it, so limits and figures stay the container's, and processes may
be above it, too), else in the freezer's hierarchy. Source: cgroups(7), "cgroup.kill", "freezer.state".
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Mapping
from typing import Any

from pycontainer import errors

__all__ = ["PREFIX", "Tree"]

Json = Mapping[str, Any]
PREFIX = "exec-"
"""Of the directory's name, below the container's own."""

_PATIENCE_S = 10.0
_MAX_WATCHED = 256


class Tree:
    """The processes of one exec. Makes nothing before `make`.

    container: the cgroup plan of the container. name: unique among its trees, as an id.
    """

    def __init__(self, container: Json, name: str) -> None:
        freeze = container.get("freeze")
        self._is_v2 = bool(container.get("clone_into"))
        above = container.get("clone_into") or (os.path.dirname(freeze["file"]) if freeze else "")
        self.directory: str = f"{above}/{PREFIX}{name[:12]}" if above else ""
        """Empty on a host with neither: then only the process itself can be found again."""
        self._above = above
        self._procs = tuple(container.get("procs") or ())

    @property
    def cgroup(self) -> Json:
        """What `joining.join` takes as params["cgroup"]."""
        if self._is_v2:
            return {"clone_into": self.directory, "procs": self._procs}
        own = f"{self._above}/cgroup.procs"
        return {"procs": [f"{self.directory}/cgroup.procs" if file == own else file for file in self._procs]}

    def make(self) -> None:
        """Make the directory. Raises WrongState when the container's is gone."""
        if not self.directory:
            return
        try:
            os.mkdir(self.directory, 0o755)
        except FileNotFoundError:
            raise errors.WrongState(
                "the container has ended; start it first", verb="exec", state="exited", allowed=("running",)
            ) from None

    def members(self) -> set[int]:
        """Process ids on the host; without those that only wait to be reaped."""
        return _members(self.directory) if self.directory else set()

    def kill(self) -> None:
        """Send SIGKILL to every process, whatever they fork meanwhile; wait until they are dead.

        The waiting is bounded: what the kernel holds in a system call, or a pause holds, dies later.
        Children of this process are not reaped.
        """
        if not self.directory:
            return
        deadline = time.monotonic() + _PATIENCE_S
        if self._is_v2 and _write(f"{self.directory}/cgroup.kill", "1"):
            self._await_dead(deadline)
            return
        # Frozen, none can fork while the others are being killed; thawed, they die (freezer, version 1).
        file, frozen, thawed = (
            ("cgroup.freeze", "1", "0") if self._is_v2 else ("freezer.state", "FROZEN", "THAWED")
        )
        while (members := self.members()) and time.monotonic() < deadline:
            _write(f"{self.directory}/{file}", frozen)
            for pid in members | self.members():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            _write(f"{self.directory}/{file}", thawed)
            self._await_dead(deadline)

    def _await_dead(self, deadline: float) -> None:
        poller = select.poll()
        watched = []
        for pid in list(self.members())[:_MAX_WATCHED]:
            try:
                watched.append(os.pidfd_open(pid))
            except OSError:
                continue
            poller.register(watched[-1], select.POLLIN)
        left = len(watched)
        while left and (left_s := deadline - time.monotonic()) > 0:
            for fd, _ in poller.poll(left_s * 1000):
                poller.unregister(fd)
                left -= 1
        for fd in watched:
            os.close(fd)

    def remove(self) -> bool:
        """Remove the directory; False while processes are in it."""
        if not self.directory:
            return True
        try:
            os.rmdir(self.directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
        return True

    def release(self) -> None:
        """Give the processes that are left to the container, and remove the directory."""
        if self.remove():
            return
        for pid in self.members():
            _write(f"{self._above}/cgroup.procs", str(pid))
        self.remove()


def _members(directory: str) -> set[int]:
    try:
        fd = os.open(f"{directory}/cgroup.procs", os.O_RDONLY)
    except OSError:
        return set()
    pids: set[int] = set()
    try:
        tail = b""
        while chunk := os.read(fd, 65536):
            *lines, tail = (tail + chunk).split(b"\n")
            pids.update(int(line) for line in lines if line)
    except OSError:
        pass
    finally:
        os.close(fd)
    return pids


def _write(file: str, text: str) -> bool:
    try:
        fd = os.open(file, os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(fd, text.encode())
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
