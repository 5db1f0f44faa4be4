"""Processes by descriptor, immune to process ids being used again. Source: pidfd_open(2), proc(5)."""

from __future__ import annotations

import os
import select

from pycontainer.kernel import syscalls

__all__ = ["children", "has_ended", "open_checked", "send_signal", "start_time"]


def has_ended(pidfd: int) -> bool:
    """Whether the process has terminated (it may still be a zombie)."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))


def send_signal(pidfd: int, signum: int) -> bool:
    """Signal the process; False when it has already ended."""
    try:
        syscalls.pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        return False
    return True


def start_time(pid: int) -> int:
    """When the process started, in clock ticks since boot: with its id, its identity until reboot."""
    return int(_fields(pid)[19])


def children() -> list[int]:
    """The process ids of this process's children, ended ones too, for a process of one thread."""
    me = os.getpid()
    try:
        with open(f"/proc/self/task/{me}/children") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return _searched(me)  # a kernel without CONFIG_PROC_CHILDREN


def _searched(parent: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if int(_fields(int(name))[1]) == parent:
                    found.append(int(name))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended, and been reaped, since we looked
    return found


def _fields(pid: int) -> list[bytes]:
    """The fields of /proc/pid/stat from the third on."""
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    try:
        # The program's name may hold spaces and brackets; the fields count from the last bracket.
        return os.read(fd, 4096).rpartition(b")")[2].split()
    finally:
        os.close(fd)


def open_checked(pid: int, started: int) -> int | None:
    """A pidfd of the process with this id and start time, or None when that one has ended.

    Whether its parent knows already or not: a zombie does nothing any more.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        if start_time(pid) == started and not has_ended(pidfd):
            return pidfd
    except (FileNotFoundError, ProcessLookupError):
        pass
    os.close(pidfd)
    return None
