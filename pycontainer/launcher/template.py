"""The template: a fork of the helper that does nothing but be forked, for what lives long.

Theory of operation. A process and its forks share their memory until one of them writes. The helper writes to
some three hundred pages with whatever it serves, and each monitor forked from it would be left alone with
these. So monitors are forked from a process that knows nothing but that: a message with one descriptor, the
channel of the new process, is a fork. It ends when the helper does.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable

from pycontainer.kernel import syscalls
from pycontainer.launcher.protocol import Channel

__all__ = ["Template"]

_FORK, _NAMES = b"f", b"n"


class Template:
    """The helper's end of it. be: called in each of its forks; never returns. name: its own, and theirs."""

    def __init__(self, be: Callable[[Channel], None], *, name: bytes) -> None:
        self._be = be
        self._name = name
        self._sock = self._start()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            syscalls.set_name(self._name)
            syscalls.close_all_but((0, 1, 2, theirs.fileno()))
            _serve(theirs, self._be)
        theirs.close()
        return ours

    def fork(self) -> Channel:
        """The channel to a new process; one that could not be made is one that has closed it."""
        ours, theirs = Channel.pair()
        self._tell(_FORK, [theirs.fileno()])
        theirs.close()
        return ours

    def load_names(self) -> None:
        """Have one copy of the name server's code for all that are forked from now on."""
        self._tell(_NAMES, [])

    def _tell(self, word: bytes, fds: list[int]) -> None:
        try:
            socket.send_fds(self._sock, [word], fds)
        except OSError:  # it was killed
            self._sock.close()
            self._sock = self._start()
            socket.send_fds(self._sock, [word], fds)

    def close(self) -> None:
        """Let it end, in the helper; or let go of it in one that was forked from that."""
        self._sock.close()

    def end(self) -> Channel:
        """Let it end; what is returned is closed by the other end when it has."""
        self._sock.shutdown(socket.SHUT_WR)
        return Channel(self._sock)


def _serve(helper: socket.socket, be: Callable[[Channel], None]) -> None:
    """Be forked until the helper has gone; never returns."""
    room = socket.CMSG_SPACE(4)
    while True:
        # Neither messages of ours nor what os.fork does besides: each is pages that the forks are left with.
        word, rights, _, _ = helper.recvmsg(1, room, socket.MSG_CMSG_CLOEXEC)
        if word == _FORK:
            fd = int.from_bytes(rights[0][2], sys.byteorder)
            try:
                pid, pidfd = syscalls.clone3(0)
            except OSError:
                pass  # no process, or no memory, is left: who asked sees that nobody answers
            else:
                if pid == 0:
                    helper.close()
                    be(Channel(socket.socket(fileno=fd)))
                os.close(pidfd)
            os.close(fd)
        elif word == _NAMES:
            import pycontainer.launcher.dns.opening
            import pycontainer.launcher.dns.server  # noqa: F401
        else:
            os._exit(0)
