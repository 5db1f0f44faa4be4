"""Sockets of the name server, made in a container's network namespace; run there, in a job of its own.

Port 53 of 127.0.0.11 is a place that nobody holds: a container's own name server may bind port 53 of every
address. The sockets have ports that the kernel draws, and two rules in the namespace write one port for the
other in what is sent: no connection tracking, which would cost each packet of the container. What goes out is
changed before connections are tracked and what comes back after that, so who tracks them sees one pair.

Source: nf_tables netlink, include/uapi/linux/netfilter/nf_tables.h; netlink(7); nft(8), "payload statement".
"""

from __future__ import annotations

import socket
import struct

from pycontainer.kernel import nfnetlink as nf

__all__ = ["ADDRESS", "PORT", "TABLE", "open_sockets"]

ADDRESS = "127.0.0.11"
PORT = 53
TABLE = "pycontainer_dns"

_BACKLOG = 64
_BUFFER = 1 << 20  # datagrams of a burst wait here while the monitor does something else

_HOOK_OUT = 3
_BEFORE_TRACKING, _AFTER_TRACKING = -300, -150  # NF_IP_PRI_RAW, NF_IP_PRI_MANGLE
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_META_PROTOCOL = 16  # NFT_META_L4PROTO
_CHECKSUM_OF = {socket.IPPROTO_UDP: 6, socket.IPPROTO_TCP: 16}


def open_sockets() -> tuple[socket.socket, socket.socket]:
    """The socket for datagrams and the one that listens, in the network namespace that this process is in.

    The loopback link must be up. Raises Unsupported where the kernel has no nf_tables; KernelError, OSError.
    """
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        for bound in (datagrams, listener):
            bound.bind((ADDRESS, 0))
        listener.listen(_BACKLOG)
        nf.send(_batch(datagrams.getsockname()[1], listener.getsockname()[1]))
    except BaseException:
        datagrams.close()
        listener.close()
        raise
    return datagrams, listener


def _batch(udp: int, tcp: int) -> list[bytes]:
    """The messages that make the table."""
    table = nf.Table(TABLE, nf.IPV4)
    made = [
        table.add(),
        table.chain("there", "filter", _HOOK_OUT, _BEFORE_TRACKING),
        table.chain("back", "filter", _HOOK_OUT, _AFTER_TRACKING),
    ]
    for protocol, port in ((socket.IPPROTO_UDP, udp), (socket.IPPROTO_TCP, tcp)):
        made.append(table.rule("there", *_rewrite(protocol, 16, 2, PORT, port)))
        made.append(table.rule("back", *_rewrite(protocol, 12, 0, port, PORT)))
    return made


def _rewrite(protocol: int, address_at: int, port_at: int, found: int, written: int) -> list[bytes]:
    """What changes a port of a packet that has our address: both at their offset in the headers."""
    return [
        nf.load_header(_NETWORK_HEADER, address_at, 4),
        nf.compare(socket.inet_aton(ADDRESS)),
        nf.load_meta(_META_PROTOCOL),
        nf.compare(bytes((protocol,))),
        nf.load_header(_TRANSPORT_HEADER, port_at, 2),
        nf.compare(struct.pack("!H", found)),
        # NFTA_IMMEDIATE_DREG, _DATA
        nf.expression("immediate", nf.number(1, nf.FIRST) + nf.nest(2, nf.value(struct.pack("!H", written)))),
        # NFTA_PAYLOAD_SREG, _BASE, _OFFSET, _LEN, _CSUM_TYPE (NFT_PAYLOAD_CSUM_INET), _CSUM_OFFSET
        nf.expression(
            "payload",
            nf.number(5, nf.FIRST)
            + nf.number(2, _TRANSPORT_HEADER)
            + nf.number(3, port_at)
            + nf.number(4, 2)
            + nf.number(6, 1)
            + nf.number(7, _CHECKSUM_OF[protocol]),
        ),
    ]
