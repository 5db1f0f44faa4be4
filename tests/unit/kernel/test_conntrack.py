"""Tracked connections: told as the kernel has them, and forgotten one by one."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from tests.support.needs import needs

pytestmark = needs("root", "unshare")

# In a network of its own, where nothing else is tracked; a rule that looks at the state turns tracking on.
SCRIPT = """
import fcntl, socket, struct, sys
from pycontainer.kernel import conntrack, nfnetlink as nf
family, address = (socket.AF_INET, "127.0.0.1") if sys.argv[1] == "4" else (socket.AF_INET6, "::1")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x1))
table = nf.Table("tracking")
state = nf.load_ct(0) + nf.verdict(nf.ACCEPT)
nf.send([table.add(), table.chain("output", "filter", 3, 0), table.rule("output", state)])
with socket.socket(family, socket.SOCK_DGRAM) as server, socket.socket(family, socket.SOCK_DGRAM) as client:
    server.bind((address, 5353))
    client.bind((address, 5300))
    for port in (5353, 5354):
        client.sendto(b"?", (address, port))
    def seen():
        return [tuple(flow[:2]) for flow in conntrack.flows(family, socket.IPPROTO_UDP, 5353)]
    assert seen() == [((address, 5353), (address, 5353))], seen()
    assert list(conntrack.flows(family, socket.IPPROTO_TCP, 5353)) == []
    # Of another address of the host, or gone to another place: not those that are meant.
    other = "192.0.2.1" if family == socket.AF_INET else "2001:db8::1"
    conntrack.forget_datagrams(other, 5353, address, 53, is_over=False)
    conntrack.forget_datagrams(address, 5353, other, 53, is_over=True)
    assert len(seen()) == 1
    (flow,) = conntrack.flows(family, socket.IPPROTO_UDP, 5353)
    every = "0.0.0.0" if family == socket.AF_INET else "::"
    conntrack.forget_datagrams(every, 5353, other, 53, is_over=False)
    assert seen() == []
    assert conntrack.forget(family, flow) is False
    assert len(list(conntrack.flows(family, socket.IPPROTO_UDP, 5354))) == 1
"""


@pytest.mark.parametrize("version", ["4", "6"])
def test_connections_to_one_port_are_told_and_forgotten_alone(version: str) -> None:
    if version == "6" and not socket.has_ipv6:
        pytest.skip("no IPv6")
    command = ["unshare", "--net", sys.executable, "-c", SCRIPT, version]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
