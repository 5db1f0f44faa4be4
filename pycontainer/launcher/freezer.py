"""Stopping every process of a container where it is, and letting them go on: cgroup.freeze, or v1's freezer.

A target is what a cgroup plan has under "freeze": the file, and what to write into it to freeze and to
thaw. Whether a container is paused is what the kernel has in that file, and written down nowhere else.
Functions take a missing cgroup, or no target at all, for one that is not frozen. A SIGKILL reaches a frozen
process at once on version 2, on version 1 only when it is thawed.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Mapping
from typing import Any

from pycontainer.errors import DeadlineExceeded, KernelError

__all__ = ["freeze", "is_frozen", "thaw"]

Target = Mapping[str, Any]

_GONE = (errno.ENOENT, errno.ENODEV)  # ENODEV: the file was open while its cgroup went
_V1_PAUSES_S = (0.0005, 0.05)


def freeze(target: Target | None, timeout_s: float = 10) -> bool:
    """Stop every process from running and wait until none does; False when the cgroup is gone.

    Raises: DeadlineExceeded when one cannot be stopped (it waits for a device, say); it is thawed again.
    KernelError.
    """
    if target is None:
        return False
    wait = _await_events if target["file"].endswith("/cgroup.freeze") else _await_state
    if not _write(target["file"], target["frozen"]):
        return False
    try:
        if wait(target, time.monotonic() + timeout_s):
            return True
    except FileNotFoundError:
        return False
    except BaseException:
        thaw(target)  # nobody knows of it, so nobody would
        raise
    thaw(target)
    raise DeadlineExceeded(f"not every process could be paused in {timeout_s:g} s", timeout_s=timeout_s)


def thaw(target: Target | None) -> bool:
    """Let the processes run again; False when the cgroup is gone. Raises: KernelError."""
    return target is not None and _write(target["file"], target["thawed"])


def is_frozen(target: Target | None) -> bool:
    """Whether the processes are stopped, or being stopped, by a freeze of this very cgroup."""
    if target is None:
        return False
    try:
        return _read(target["file"]).strip() not in (target["thawed"], "")
    except OSError:
        return False


def _await_events(target: Target, deadline: float) -> bool:
    """Version 2 tells: poll(2) on cgroup.events reports each change (cgroups(7))."""
    fd = os.open(f"{os.path.dirname(target['file'])}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    try:
        poller = select.poll()
        poller.register(fd, select.POLLPRI)
        while True:
            try:
                if b"frozen 1" in os.pread(fd, 4096, 0).splitlines():
                    return True
            except OSError:
                raise FileNotFoundError(errno.ENOENT, "the cgroup is gone") from None
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            poller.poll(left_s * 1000)
    finally:
        os.close(fd)


def _await_state(target: Target, deadline: float) -> bool:
    """Version 1 says FREEZING on the way, tells nobody when it is done, and goes on when it is read."""
    pause_s, longest_s = _V1_PAUSES_S
    while True:
        if _read(target["file"]).strip() == target["frozen"]:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, longest_s)
        if not _write(target["file"], target["frozen"]):
            return False


def _write(file: str, text: str) -> bool:
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as problem:
        if problem.errno in _GONE:
            return False
        raise KernelError(problem.errno or errno.EIO, "write", file) from None
    return True


def _read(file: str) -> str:
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 64).decode()
    finally:
        os.close(fd)
