"""What callers find on their own side: a pid file, and sockets that descriptors are sent to."""

from __future__ import annotations

import os
import socket

from pycontainer.errors import InvalidOption

__all__ = ["connect", "send_pidfd", "write_pid"]


def connect(path: str) -> int:
    """A connection to a unix socket, however long its path is. Raises InvalidOption."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        directory = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY)
        try:
            sock.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        finally:
            os.close(directory)
    except OSError as error:
        sock.close()
        raise InvalidOption(f"the socket {path} cannot be connected to: {error.strerror}") from None
    return sock.detach()


def send_pidfd(path: str, pidfd: int) -> None:
    """Send a process's pidfd to whoever listens on the socket. Raises InvalidOption, OSError."""
    with socket.socket(fileno=connect(path)) as sock:
        socket.send_fds(sock, [b"pidfd"], [pidfd])


def write_pid(path: str, pid: int) -> None:
    """Write the id of a process to a file that readers see whole or not at all. Raises OSError."""
    parent, name = os.path.split(path)
    made = os.path.join(parent, f".{name}")
    with open(made, "w") as file:
        file.write(str(pid))
    os.rename(made, path)
