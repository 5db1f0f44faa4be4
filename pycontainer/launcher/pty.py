"""A pseudo terminal of the container's own devpts, made inside and watched over from outside.

Theory of operation. The first process (or one that has joined) opens ptmx of the devpts that is mounted
in its root, never the host's /dev/ptmx: an index of another instance would name a stranger's terminal.
The other end comes from the master itself (TIOCGPTPEER), so no name below /dev/pts is looked up that
somebody could swap meanwhile (CVE-2025-52565). The master goes to whoever shall read it over a unix
socket; that one checks again what came before it is used.

Source: pty(7), ioctl_tty(2), Documentation/filesystems/devpts.rst; fs/devpts/inode.c for the numbers.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import stat
import struct
import termios
from typing import NamedTuple

from pycontainer.kernel import mounts, syscalls
from pycontainer.launcher.steps import inroot
from pycontainer.launcher.steps.context import CONSOLE, Context, Refused

__all__ = [
    "MAX_SIZE",
    "Refused",
    "Terminal",
    "check_master",
    "give_terminal",
    "hand_over",
    "open_peer",
    "open_terminal",
    "receive_master",
    "resize",
    "take_control",
    "use_terminal",
]

MAX_SIZE = 65535
"""Rows or columns a terminal has at most (struct winsize)."""

_DEVPTS_MAGIC = 0x1CD1
_PTMX = os.makedev(5, 2)
_PTMX_INODE = 2
_FIRST_PEER_INODE = 3
_PEER_MAJORS = range(136, 144)
_WINSIZE = struct.Struct("HHHH")
_INT = struct.Struct("i")
_TIOCSPTLCK = 0x40045431
_TIOCGPTN = 0x80045430
_TIOCGPTPEER = 0x5441
_NAME = b"/dev/ptmx"
_STREAMS = (0, 1, 2)


class Terminal(NamedTuple):
    """Both ends of a pseudo terminal, as descriptors that close on execve."""

    master: int
    peer: int


def open_terminal(root: int, rows: int = 0, columns: int = 0) -> Terminal:
    """Make a pseudo terminal of the devpts at dev/pts below root (a directory's descriptor).

    rows, columns: 0 leaves the size unset. Raises Refused when what lies there is no devpts.
    """
    try:
        flags = os.O_RDWR | os.O_NOCTTY
        master = inroot.locate(root, b"/dev/pts/ptmx", flags, strict=True)
    except OSError as error:
        raise Refused(
            f"no terminal can be made: /dev/pts/ptmx of the container: {error.strerror}; "
            "a devpts with ptmxmode=0666 has to be mounted on /dev/pts"
        ) from None
    try:
        check_master(master)
        fcntl.ioctl(master, _TIOCSPTLCK, _INT.pack(0))
        peer = open_peer(master)
    except (OSError, Refused):
        os.close(master)
        raise
    if rows or columns:
        resize(master, rows, columns)
    return Terminal(master, peer)


def open_peer(master: int) -> int:
    """The end the programs use, opened by way of the master and checked. Raises Refused, OSError."""
    peer = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    ours, theirs = os.fstat(master), os.fstat(peer)
    number = _number(master)
    is_peer = (
        stat.S_ISCHR(theirs.st_mode)
        and os.major(theirs.st_rdev) in _PEER_MAJORS
        and theirs.st_ino == number + _FIRST_PEER_INODE
        and theirs.st_dev == ours.st_dev
    )
    if not is_peer:
        os.close(peer)
        raise Refused("the terminal's other end is not of the same devpts")
    return peer


def check_master(fd: int) -> None:
    """Make sure that fd is the master of a pseudo terminal, of some devpts. Raises Refused."""
    found = os.fstat(fd)
    is_master = (
        stat.S_ISCHR(found.st_mode)
        and found.st_rdev == _PTMX
        and found.st_ino == _PTMX_INODE
        and syscalls.filesystem_type(fd) == _DEVPTS_MAGIC
    )
    try:
        if is_master and _number(fd) >= 0:
            return
    except OSError:
        pass
    raise Refused("what was opened as a terminal is not ptmx of a devpts")


def _number(master: int) -> int:
    number: int = _INT.unpack(fcntl.ioctl(master, _TIOCGPTN, bytes(_INT.size)))[0]
    return number


def resize(fd: int, rows: int, columns: int) -> None:
    """Set the terminal's size; its foreground processes get SIGWINCH when it changes. Raises OSError."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, _WINSIZE.pack(rows, columns, 0, 0))


def hand_over(sock: int, master: int) -> None:
    """Send the master over a connected unix socket, as runc does for --console-socket."""
    with socket.socket(fileno=os.dup(sock)) as channel:
        rights = array.array("i", (master,))
        channel.sendmsg([_NAME], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], socket.MSG_NOSIGNAL)


def receive_master(sock: int) -> int | None:
    """The master that was handed over, checked; None when the other end closed without one.

    Raises Refused for anything else than exactly one master.
    """
    with socket.socket(fileno=os.dup(sock)) as channel:
        said, ancillary, flags, _ = channel.recvmsg(4096, socket.CMSG_SPACE(4 * 4), socket.MSG_CMSG_CLOEXEC)
    received = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
    if not said and not received:
        return None
    try:
        if len(received) != 1 or flags & socket.MSG_CTRUNC:
            raise Refused(f"{len(received)} descriptors came where one terminal was awaited")
        check_master(received[0])
    except Refused:
        for fd in received:
            os.close(fd)
        raise
    return received[0]


def use_terminal(peer: int) -> None:
    """Make the peer the standard streams of this process, and close it."""
    for number in _STREAMS:
        os.dup2(peer, number)
    if peer not in _STREAMS:
        os.close(peer)


def take_control() -> None:
    """Make the terminal on stdin the controlling one of this session, which this process leads."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def give_terminal(context: Context, rows: int, columns: int, is_controlling: bool) -> None:
    """A step of the first process: terminal, /dev/console, and the master to the one who watches.

    It needs the mounts, and the root still reachable by descriptor. is_controlling: not where an init
    gives the terminal to its child's session instead.
    """
    terminal = open_terminal(context.root, rows, columns)
    hand_over(context.fds[CONSOLE], terminal.master)
    os.close(terminal.master)
    _bind_console(context, terminal.peer)
    use_terminal(terminal.peer)
    if is_controlling:
        take_control()


def _bind_console(context: Context, peer: int) -> None:
    """Show the peer as /dev/console: what is there already must be no link, and is covered."""
    dev = inroot.target(context.root, b"/dev", is_directory=True, strict=True)
    try:
        spot = inroot.target(dev, b"console", is_directory=False, strict=True)
        try:
            tree = mounts.clone(peer)
            mounts.attach(tree, spot)
            os.close(tree)
        finally:
            os.close(spot)
    finally:
        os.close(dev)
