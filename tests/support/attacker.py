"""A hostile program of a container: exchanges what paths stand for as fast as it can, until its stdin ends.

Run as a program of its own, with the process id of the container's first process, the host's path that it
wants reached, and a device's number; it enters the container's mount namespace with all of root's powers,
more than a container has. It prints a line when it has begun, and in the end how often it exchanged.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress

from pycontainer.kernel import namespaces, syscalls

_AT_FDCWD, _EXCHANGE, _BIND, _DETACH = -100, 2, 4096, 2
_libc = ctypes.CDLL(None, use_errno=True)

INSIDE = b"inside"
"""The content of every file the container has."""


def exchange(one: bytes, other: bytes) -> None:
    """Let two names stand for each other's file, at once (renameat2(2), RENAME_EXCHANGE)."""
    _libc.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _EXCHANGE)


def prepare(victim: bytes) -> None:
    """What is exchanged: a directory with a link to the host's, a file with a FIFO, a device and a link."""
    for directory in (b"/w", b"/w/dir", b"/w/dir/deep", b"/w/mnt", b"/w/far", victim):
        os.makedirs(directory, exist_ok=True)
    for name in (b"/w/dir/secret", b"/w/dir/deep/secret", b"/w/mnt/secret", b"/w/far/secret", b"/w/file"):
        put(name)
    put(victim + b"/secret")
    for number, target in enumerate(
        (victim, b"../" * 40 + victim[1:], b"/proc/1/root" + victim, b"/proc/self/cwd")
    ):
        os.symlink(target, b"/w/link%d" % number)
    os.symlink(victim + b"/secret", b"/w/filelink")
    os.mkfifo(b"/w/fifo")
    os.mknod(b"/w/null", 0o020666, os.makedev(1, 3))


def put(path: bytes) -> None:
    """Write what every file of the container says."""
    with open(path, "wb") as file:
        file.write(INSIDE)


def moves() -> list[Callable[[], None]]:
    """Each makes something else of a path, and the next time back again."""

    def mount() -> None:
        _libc.mount(b"/w/far", b"/w/mnt", None, _BIND, None)

    def unmount() -> None:
        _libc.umount2(b"/w/mnt", _DETACH)

    def away() -> None:
        with suppress(OSError):
            os.rename(b"/w/dir/deep", b"/w/far/deep")

    def back() -> None:
        with suppress(OSError):
            os.rename(b"/w/far/deep", b"/w/dir/deep")

    swaps = [
        *((b"/w/dir", b"/w/link%d" % number) for number in range(4)),
        *((b"/w/file", other) for other in (b"/w/fifo", b"/w/null", b"/w/filelink")),
    ]
    made: list[Callable[[], None]] = []
    for one, other in swaps:
        made += [lambda one=one, other=other: exchange(one, other)] * 2  # type: ignore[misc]
        made += [mount, away, unmount, back]
    return made


def main() -> None:
    """Attack."""
    pid, victim = int(sys.argv[1]), os.fsencode(sys.argv[2])
    all_moves = moves()
    namespaces.enter(os.pidfd_open(pid), namespaces.NEWNS)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 9)
    os.chdir("/")
    prepare(victim)
    os.write(1, b"begun\n")
    rounds = 0
    while not select.select([0], [], [], 0)[0]:
        for move in all_moves:
            move()
        rounds += 1
    os.write(1, b"%d\n" % (rounds * len(all_moves)))


if __name__ == "__main__":
    main()
