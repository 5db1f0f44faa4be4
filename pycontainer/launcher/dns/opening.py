"""Sockets of the name server, made in a container's network namespace; run there, in a job of its own.

Port 53 of 127.0.0.11 is a place that nobody holds: a container's own name server may bind port 53 of every
address. The sockets have ports that the kernel draws, and two rules in the namespace write one port for the
other in what is sent: no connection tracking, which would cost each packet of the container. What goes out is
changed before connections are tracked and what comes back after that, so who tracks them sees one pair.

Source: nf_tables netlink, include/uapi/linux/netfilter/nf_tables.h; netlink(7); nft(8), "payload statement".
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from pycontainer import errors

__all__ = ["ADDRESS", "PORT", "TABLE", "open_sockets"]

ADDRESS = "127.0.0.11"
PORT = 53
TABLE = "pycontainer_dns"

_BACKLOG = 64
_BUFFER = 1 << 20  # datagrams of a burst wait here while the monitor does something else
_NETLINK_NETFILTER = 12
_ANSWER_S = 5.0

# nfnetlink messages: the subsystem nf_tables in the upper byte, but for the brackets of a batch.
_BATCH_BEGIN, _BATCH_END, _NF_TABLES = 0x10, 0x11, 10 << 8
_NEW_TABLE, _NEW_CHAIN, _NEW_RULE = 0, 3, 6
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_NESTED = 0x8000
_ERROR = 2
_HOOK_OUT = 3
_BEFORE_TRACKING, _AFTER_TRACKING = -300, -150  # NF_IP_PRI_RAW, NF_IP_PRI_MANGLE
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_META_PROTOCOL = 16  # NFT_META_L4PROTO
_REGISTER = 1
_CHECKSUM_OF = {socket.IPPROTO_UDP: 6, socket.IPPROTO_TCP: 16}


def open_sockets() -> tuple[socket.socket, socket.socket]:
    """The socket for datagrams and the one that listens, in the network namespace that this process is in.

    The loopback link must be up. Raises Unsupported where the kernel has no nf_tables; OSError.
    """
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        for bound in (datagrams, listener):
            bound.bind((ADDRESS, 0))
        listener.listen(_BACKLOG)
        _send(_batch(datagrams.getsockname()[1], listener.getsockname()[1]))
    except BaseException:
        datagrams.close()
        listener.close()
        raise
    return datagrams, listener


def _batch(udp: int, tcp: int) -> list[bytes]:
    """The messages that make the table: all of it or nothing."""
    begin = _message(_BATCH_BEGIN, struct.pack("!BBH", 0, 0, 10), _REQUEST)
    end = _message(_BATCH_END, struct.pack("!BBH", 0, 0, 10), _REQUEST)
    made = [_nft(_NEW_TABLE, _text(1, TABLE))]
    for chain, priority in (("there", _BEFORE_TRACKING), ("back", _AFTER_TRACKING)):
        hook = _attribute(1, struct.pack("!I", _HOOK_OUT)) + _attribute(2, struct.pack("!i", priority))
        # NFTA_CHAIN_TABLE, _NAME, _HOOK, _TYPE
        made.append(_nft(_NEW_CHAIN, _text(1, TABLE) + _text(3, chain) + _nest(4, hook) + _text(7, "filter")))
    for protocol, port in ((socket.IPPROTO_UDP, udp), (socket.IPPROTO_TCP, tcp)):
        made.append(_rewrite("there", protocol, address_at=16, port_at=2, found=PORT, written=port))
        made.append(_rewrite("back", protocol, address_at=12, port_at=0, found=port, written=PORT))
    return [begin, *made, end]


def _rewrite(chain: str, protocol: int, *, address_at: int, port_at: int, found: int, written: int) -> bytes:
    """A rule that changes a port of what has our address: both at their offset in the headers."""
    expressions = (
        _load(_NETWORK_HEADER, address_at, 4)
        + _is(socket.inet_aton(ADDRESS))
        # NFTA_META_DREG, _KEY
        + _expression("meta", _number(1, _REGISTER) + _number(2, _META_PROTOCOL))
        + _is(bytes((protocol,)))
        + _load(_TRANSPORT_HEADER, port_at, 2)
        + _is(struct.pack("!H", found))
        # NFTA_IMMEDIATE_DREG, _DATA with NFTA_DATA_VALUE
        + _expression(
            "immediate", _number(1, _REGISTER) + _nest(2, _attribute(1, struct.pack("!H", written)))
        )
        # NFTA_PAYLOAD_SREG, _BASE, _OFFSET, _LEN, _CSUM_TYPE (NFT_PAYLOAD_CSUM_INET), _CSUM_OFFSET
        + _expression(
            "payload",
            _number(5, _REGISTER)
            + _number(2, _TRANSPORT_HEADER)
            + _number(3, port_at)
            + _number(4, 2)
            + _number(6, 1)
            + _number(7, _CHECKSUM_OF[protocol]),
        )
    )
    # NFTA_RULE_TABLE, _CHAIN, _EXPRESSIONS
    return _nft(_NEW_RULE, _text(1, TABLE) + _text(2, chain) + _nest(4, expressions), _APPEND)


def _load(header: int, offset: int, length: int) -> bytes:
    # NFTA_PAYLOAD_DREG, _BASE, _OFFSET, _LEN
    return _expression(
        "payload", _number(1, _REGISTER) + _number(2, header) + _number(3, offset) + _number(4, length)
    )


def _is(value: bytes) -> bytes:
    # NFTA_CMP_SREG, _OP (NFT_CMP_EQ), _DATA with NFTA_DATA_VALUE
    return _expression("cmp", _number(1, _REGISTER) + _number(2, 0) + _nest(3, _attribute(1, value)))


def _expression(name: str, data: bytes) -> bytes:
    # NFTA_LIST_ELEM with NFTA_EXPR_NAME, _DATA
    return _nest(1, _text(1, name) + _nest(2, data))


def _nft(kind: int, attributes: bytes, flags: int = 0) -> bytes:
    head = struct.pack("!BBH", socket.AF_INET, 0, 0)
    return _message(_NF_TABLES | kind, head + attributes, _REQUEST | _ACK | _CREATE | flags)


def _message(kind: int, payload: bytes, flags: int) -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, 0, 0) + payload


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _nest(kind: int, value: bytes) -> bytes:
    return _attribute(_NESTED | kind, value)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("!I", value))


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode("ascii") + b"\0")


def _send(messages: list[bytes]) -> None:
    """Have the kernel take a batch. Raises Unsupported, OSError."""
    try:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        with socket.socket(socket.AF_NETLINK, kind, _NETLINK_NETFILTER) as netlink:
            netlink.settimeout(_ANSWER_S)
            netlink.sendto(b"".join(messages), (0, 0))
            awaited = len(messages) - 2
            while awaited > 0:
                awaited -= _acknowledged(netlink.recv(1 << 16))
    except OSError as error:
        if error.errno not in (errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.ENOENT):
            raise
        raise errors.Unsupported(
            f"the kernel cannot redirect the container's name server: {os.strerror(error.errno)}",
            "modprobe nf_tables",
        ) from None


def _acknowledged(answer: bytes) -> int:
    """How many of the messages this answer accepts. Raises OSError."""
    count = offset = 0
    while offset + 16 <= len(answer):
        length, kind = struct.unpack_from("=IH", answer, offset)
        if kind == _ERROR:
            code = -struct.unpack_from("=i", answer, offset + 16)[0]
            if code:
                raise OSError(code, os.strerror(code))
            count += 1
        offset += max(16, length + 3 & ~3)
    return count
