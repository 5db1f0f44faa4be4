"""Namespaces: their flags, creation and joining. Source: namespaces(7), clone(2), setns(2)."""

from __future__ import annotations

from pycontainer.kernel import syscalls

__all__ = [
    "FLAGS",
    "NEWCGROUP",
    "NEWIPC",
    "NEWNET",
    "NEWNS",
    "NEWPID",
    "NEWTIME",
    "NEWUSER",
    "NEWUTS",
    "enter",
    "leave",
]

NEWTIME = 0x80
NEWNS = 0x20000
NEWCGROUP = 0x2000000
NEWUTS = 0x4000000
NEWIPC = 0x8000000
NEWUSER = 0x10000000
NEWPID = 0x20000000
NEWNET = 0x40000000

FLAGS = {
    "user": NEWUSER,
    "pid": NEWPID,
    "network": NEWNET,
    "ipc": NEWIPC,
    "uts": NEWUTS,
    "cgroup": NEWCGROUP,
    "time": NEWTIME,
    "mount": NEWNS,
}
"""The runtime specification's names; joined in this order, the owning user namespace first."""


def enter(fd: int, kinds: int) -> None:
    """Join the namespace fd refers to, or those kinds of the process of a pidfd."""
    syscalls.setns(fd, kinds)


def leave(kinds: int) -> None:
    """Move this process into new namespaces of these kinds (for pid and time: its next children)."""
    syscalls.unshare(kinds)
