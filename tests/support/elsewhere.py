"""Another host, beside this one: a network namespace with a link to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["HOST", "OTHER", "SECOND", "another_host", "ask", "link_to_it"]

# A subnet for each process, of the addresses of RFC 2544: several may run tests at once.
_SUBNET = f"198.19.{os.getpid() % 256}"
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


def link_to_it() -> str:
    """The name of this host's end of the link."""
    return f"pct{os.getpid()}a"


@contextmanager
def another_host() -> Iterator[list[str]]:
    """A command that runs a program there; its packets to anywhere come to this host."""
    name = f"pct{os.getpid()}"
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
        subprocess.run(["ip", "link", "del", link_to_it()], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", name], check=False)


def ask(address: str, port: int, prefix: list[str] | None = None, *, limit_s: float = 2.0) -> bytes:
    """What a page of the container says, asked for here or elsewhere; empty when it cannot be reached."""
    command = [*(prefix or []), sys.executable, "-I", "-S", "-c", _ASKER, address, str(port), str(limit_s)]
    done = subprocess.run(command, capture_output=True, timeout=30)
    return done.stdout.partition(b"\r\n\r\n")[2]
