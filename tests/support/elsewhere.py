"""Another host, beside this one: a network namespace with a link to it."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["HOST", "OTHER", "SECOND", "another_host", "ask", "is_shut", "link_to_it"]


def _own_number() -> tuple[int, socket.socket]:
    """A number that no other process has in this network namespace; free again when the socket is closed."""
    for tried in range(256):
        number = (os.getpid() + tried) % 256
        held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            held.bind(f"\0pycontainer-tests-{number}")
        except OSError as error:
            held.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return number, held
    raise RuntimeError("256 processes run tests that need another host")


_NUMBER, _held = _own_number()
# A subnet for each process, of the addresses of RFC 2544: several may run tests at once.
_SUBNET = f"198.19.{_NUMBER}"
HOST, OTHER, SECOND = (f"{_SUBNET}.{number}" for number in (1, 2, 7))
"""Addresses of this host and the other one on the link between them, and one that nobody has yet."""

_ASKER = """
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
with socket.create_connection((address, port), timeout=float(sys.argv[3])) as sock:
    sock.sendall(b"GET /index.html HTTP/1.0\\r\\n\\r\\n")
    while chunk := sock.recv(4096):
        sys.stdout.buffer.write(chunk)
"""


# Asks for the one before the other, which is let in: when that has been answered, the first would have been.
_KNOCKER = """
import select, socket, sys
shut = socket.socket()
shut.setblocking(False)
shut.connect_ex((sys.argv[1], int(sys.argv[2])))
for _ in range(3):
    socket.create_connection((sys.argv[3], int(sys.argv[4])), timeout=20).close()
has_come = select.select([], [shut], [], 0.3)[1] and not shut.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
print("open" if has_come else "shut")
"""


def link_to_it() -> str:
    """The name of this host's end of the link."""
    return f"pct{_NUMBER}a"


@contextmanager
def another_host() -> Iterator[list[str]]:
    """A command that runs a program there; its packets to anywhere come to this host."""
    name = f"pct{_NUMBER}"
    _remove(name)  # of who had the number before, and was killed
    try:
        for command in (
            f"netns add {name}",
            f"link add {link_to_it()} type veth peer name {name}b netns {name}",
            f"addr add {HOST}/24 dev {link_to_it()}",
            f"link set {link_to_it()} up",
            f"-n {name} addr add {OTHER}/24 dev {name}b",
            f"-n {name} link set {name}b up",
            f"-n {name} link set lo up",
            f"-n {name} route add default via {HOST}",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        yield ["ip", "netns", "exec", name]
    finally:
        _remove(name)


def _remove(name: str) -> None:
    for command in (["link", "del", link_to_it()], ["netns", "del", name]):
        subprocess.run(["ip", *command], check=False, capture_output=True)


def ask(address: str, port: int, prefix: list[str] | None = None, *, limit_s: float = 2.0) -> bytes:
    """What a page of the container says, asked for here or elsewhere; empty when it cannot be reached."""
    command = [*(prefix or []), sys.executable, "-I", "-S", "-c", _ASKER, address, str(port), str(limit_s)]
    done = subprocess.run(command, capture_output=True, timeout=30)
    return done.stdout.partition(b"\r\n\r\n")[2]


def is_shut(address: str, port: int, prefix: list[str]) -> bool:
    """Whether nobody lets the other host in there, though it does reach this host at the same time."""
    with socket.create_server((HOST, 0)) as server:
        where = (address, port, HOST, server.getsockname()[1])
        command = [*prefix, sys.executable, "-I", "-S", "-c", _KNOCKER, *map(str, where)]
        done = subprocess.run(command, capture_output=True, timeout=90, check=True)
    return done.stdout == b"shut\n"
