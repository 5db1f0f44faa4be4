"""Connections as the kernel tracks them, and how those of a published port are forgotten.

Where the first packet of a connection goes, the later ones go, too, whatever the rules say by then. TCP
begins anew with each connection; but who goes on sending datagrams from one port stays on the way of the
first one, and so never reaches a container that came later.

Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h; net/netfilter/nf_conntrack_netlink.c.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from pycontainer import errors
from pycontainer.kernel import nfnetlink as nf

__all__ = ["Flow", "flows", "forget", "forget_datagrams"]

_CONNTRACK = 1 << 8  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE = 1, 2  # IPCTNL_MSG_CT_*
_ORIGINAL, _REPLY, _ID, _FILTER = 1, 2, 12, 25  # CTA_TUPLE_ORIG, _TUPLE_REPLY, _ID, _FILTER
_ADDRESSES, _PROTOCOL = 1, 2  # CTA_TUPLE_IP, _PROTO
_NUMBER, _SOURCE_PORT, _TARGET_PORT = 1, 2, 3  # CTA_PROTO_NUM, _SRC_PORT, _DST_PORT
_OF_PORT = 1 << 3 | 1 << 5  # CTA_FILTER_FLAG: the protocol, and the port it goes to


class Flow(NamedTuple):
    """One connection. target: where its first packet went; answers_from: whose its answers are.

    Both are the same where nothing was translated. original, number: as the kernel named it.
    """

    target: tuple[str, int]
    answers_from: tuple[str, int]
    original: bytes
    number: bytes


def flows(family: int, protocol: int, port: int) -> Iterator[Flow]:
    """Connections of this network namespace to a port, of a family and a protocol (AF_*, IPPROTO_*).

    Raises Unsupported, KernelError, DeadlineExceeded.
    """
    # The kernel has to look through all, but shows these alone; before Linux 5.8 all.
    wanted = nf.nest(_PROTOCOL, nf.attribute(_NUMBER, bytes((protocol,))) + _port(_TARGET_PORT, port))
    body = _head(family) + nf.nest(_ORIGINAL, wanted)
    body += nf.nest(_FILTER, nf.attribute(1, struct.pack("=I", _OF_PORT)))
    for _, payload in nf.asked(_CONNTRACK | _GET, body, is_dump=True):
        known = nf.attributes_of(payload[4:])
        if _ORIGINAL not in known or _REPLY not in known:
            continue
        number, (_, target) = _ends(family, known[_ORIGINAL])
        if (number, target[1]) == (protocol, port):
            _, (source, _) = _ends(family, known[_REPLY])
            yield Flow(target, source, known[_ORIGINAL], known.get(_ID, b""))


def forget(family: int, flow: Flow) -> bool:
    """Have the next packet of a connection be a first one; False if it has gone. Raises as flows."""
    body = _head(family) + nf.nest(_ORIGINAL, flow.original)
    body += nf.attribute(_ID, flow.number) if flow.number else b""
    try:
        nf.asked(_CONNTRACK | _DELETE, body, is_acknowledged=True)
    except errors.KernelError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def forget_datagrams(host_address: str, host_port: int, address: str, port: int, *, is_over: bool) -> None:
    """Forget where datagrams to a port of this host have gone so far. host_address: "0.0.0.0" for every one.

    is_over: only those that went to this address and port, which are a container's no more; otherwise all
    but those. To be called when the rules are as they shall be. Raises as flows.
    """
    family = socket.AF_INET6 if ":" in host_address else socket.AF_INET
    is_one = any(socket.inet_pton(family, host_address))
    for flow in list(flows(family, socket.IPPROTO_UDP, host_port)):
        is_to_us = flow.answers_from == (address, port)
        if is_to_us != is_over or (is_one and flow.target[0] != host_address):
            continue
        # What is not translated may pass this host on its way elsewhere.
        if flow.answers_from != flow.target or is_one or _is_of_host(family, flow.target[0]):
            forget(family, flow)


def _is_of_host(family: int, address: str) -> bool:
    with socket.socket(family, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.bind((address, 0))
        return True
    return False


def _head(family: int) -> bytes:
    return struct.pack("!BBH", family, 0, 0)


def _port(kind: int, number: int) -> bytes:
    return nf.attribute(kind, struct.pack("!H", number))


def _ends(family: int, content: bytes) -> tuple[int, tuple[tuple[str, int], tuple[str, int]]]:
    """Of a tuple its protocol, and source and destination; port 0 for what has none."""
    known = nf.attributes_of(content)
    addresses, protocol = (nf.attributes_of(known.get(kind, b"")) for kind in (_ADDRESSES, _PROTOCOL))
    first = 3 if family == socket.AF_INET6 else 1  # CTA_IP_V6_SRC, CTA_IP_V4_SRC; then the destination
    ends = []
    for offset, kind in enumerate((_SOURCE_PORT, _TARGET_PORT)):
        packed, port = addresses.get(first + offset, b""), protocol.get(kind, bytes(2))
        written = socket.inet_ntop(family, packed) if packed else ""
        ends.append((written, int.from_bytes(port, "big")))
    return protocol.get(_NUMBER, b"\0")[0], (ends[0], ends[1])
