"""Links, addresses and routes, by rtnetlink; in the host's network namespace or through a socket of another.

Few kinds of messages are needed, so they are written down here: to import a library that knows them all takes
many times as long as to start a container. Those of every container are written once, with blanks for what
differs.
Source: rtnetlink(7), include/uapi/linux/if_link.h, if_addr.h, rtnetlink.h, veth.h.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
import time
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from pycontainer.errors import DeadlineExceeded, KernelError, Unsupported
from pycontainer.kernel.nfnetlink import attribute, attributes_of, text
from pycontainer.kernel.rtnetlink import ANSWER_BYTES as _ANSWER_BYTES
from pycontainer.kernel.rtnetlink import HEADER as _HEADER
from pycontainer.kernel.rtnetlink import dumped

if TYPE_CHECKING:
    from pycontainer.network.shaping import Shape

__all__ = ["Route", "addresses_of", "check_kind", "host_subnets"]

_NEW_LINK, _DELETE_LINK, _GET_LINK, _NEW_ROUTE, _GET_ROUTE = 16, 17, 18, 24, 26
_NEW_ADDRESS, _DELETE_ADDRESS, _GET_ADDRESS = 20, 21, 22
_REQUEST, _ACK, _EXCLUSIVE, _CREATE, _REPLACE, _DUMP = 0x1, 0x4, 0x200, 0x400, 0x100, 0x300
_ERROR, _DONE = 2, 3
_UP = 1
_UNIVERSE, _LINK = 0, 253  # scopes of a route
_OPERSTATE, _OPERATIONAL = 16, b"\6"  # IFLA_OPERSTATE, IF_OPER_UP
_BOOT, _MAIN, _UNICAST = 3, 254, 1
_PERMANENT, _NO_DAD = 0x80, 0x02
_LINK_BODY = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ADDRESS_BODY = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE_BODY = struct.Struct("=8BI")  # rtmsg: family, prefix lengths, tos, table, protocol, scope, type, flags

# Attributes of links, of their kinds, of addresses and of routes
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_NET_NS_FD = 18, 20, 28
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_BR_FORWARD_DELAY, _BR_STP_STATE, _BR_MCAST_SNOOPING = 1, 5, 23
_BRPORT_MODE, _BRPORT_ISOLATED = 4, 33
_VETH_INFO_PEER, _MACVLAN_MODE, _IPVLAN_MODE, _IPVLAN_FLAGS, _VLAN_ID = 1, 1, 1, 2, 1
_IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
_IPVLAN_FLAG = {"bridge": 0, "private": 1, "vepa": 2}
_MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8, "source": 16}
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_HINTS = {
    # net/bridge/br_private.h, BR_MAX_PORTS: 1 << 10 with 0 for none.
    errno.EXFULL: "a bridge has room for 1023 containers; make another network",
    errno.EADDRNOTAVAIL: "a link's hardware address begins with an even byte, and is not all zero",
    errno.EADDRINUSE: "another link beside the same link of the host has this address; give another",
}
_NEW_QDISC, _DELETE_QDISC = 36, 37
_TRAFFIC = struct.Struct("=IiIII")  # tcmsg: family, link, handle, parent, info
_ROOT, _HANDLE = 0xFFFFFFFF, 1 << 16
_SHAPE = "have packets leave by"
_ANSWER_S = 10.0
_LEAVES_S = 5.0
"""How long an address beside a link of the host is waited for: the kernel takes the namespace of a container
that had it apart a while after its last process."""
_PAUSE_S = 0.01


class Route:
    """Changes to one network namespace. fd: a rtnetlink socket made in it, taken over; by default ours.

    Every method only queues; `send` has the kernel carry all out, one after the other, up to the first that
    fails.
    """

    def __init__(self, fd: int = -1) -> None:
        if fd >= 0:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0, fileno=fd)
        else:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.settimeout(_ANSWER_S)
        self._queue: list[tuple[str, bytes]] = []

    def __enter__(self) -> Route:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def add_bridge(self, name: str, *, mtu: int | None = None, mac: str | None = None) -> None:
        """Make a bridge that is up and forwards at once."""
        attributes = text(_IFLA_IFNAME, name)
        attributes += _number(_IFLA_MTU, mtu) if mtu else b""
        attributes += _hardware_address(mac) if mac else b""
        settings = (
            _number(_BR_FORWARD_DELAY, 0) + _number(_BR_STP_STATE, 0) + _number(_BR_MCAST_SNOOPING, 0, size=1)
        )
        self._link(
            f"make bridge {name}",
            attributes + _info("bridge", settings),
            flags=_CREATE | _EXCLUSIVE,
            is_up=True,
        )

    def add_veth(
        self,
        name: str,
        master: int,
        peer: str,
        namespace: int,
        *,
        mac: str,
        mtu: int | None = None,
        is_isolated: bool = False,
    ) -> None:
        """Make a pair of links: one in a bridge here, the peer in another network namespace, still down."""
        blanks = {_NAME * len(name): name.encode(), _ADDRESS: bytes.fromhex(mac.replace(":", ""))}
        template = _veth_message(len(name), master, peer, mtu)
        self._queue.append(
            (f"make link {name}", _filled(template, {**blanks, _NUMBER: struct.pack("=I", namespace)}))
        )
        template = _port_message(len(name), is_isolated)
        self._queue.append((f"set up link {name}", _filled(template, {_NAME * len(name): name.encode()})))

    def add_macvlan(
        self, parent: int, name: str, namespace: int, *, mode: str, mac: str, mtu: int | None = None
    ) -> None:
        """Make a link beside a link of the host, in another network namespace."""
        info = _info("macvlan", _number(_MACVLAN_MODE, _MACVLAN_MODES[mode]))
        attributes = [
            *(text(_IFLA_IFNAME, name), _number(_IFLA_LINK, parent), _hardware_address(mac)),
            *(_number(_IFLA_NET_NS_FD, namespace), info, _number(_IFLA_MTU, mtu) if mtu else b""),
        ]
        self._link(f"make macvlan link {name}", b"".join(attributes), flags=_CREATE | _EXCLUSIVE)

    def add_ipvlan(
        self,
        parent: int,
        name: str,
        namespace: int,
        *,
        mode: str,
        flag: str = "bridge",
        mtu: int | None = None,
    ) -> None:
        """Make a link that shares the hardware address of a link of the host. flag: whom it may reach."""
        kept = _number(_IPVLAN_MODE, _IPVLAN_MODES[mode], size=2)
        info = _info("ipvlan", kept + _number(_IPVLAN_FLAGS, _IPVLAN_FLAG[flag], size=2))
        attributes = [
            *(text(_IFLA_IFNAME, name), _number(_IFLA_LINK, parent)),
            *(_number(_IFLA_NET_NS_FD, namespace), info, _number(_IFLA_MTU, mtu) if mtu else b""),
        ]
        self._link(f"make ipvlan link {name}", b"".join(attributes), flags=_CREATE | _EXCLUSIVE)

    def add_vlan(self, parent: int, name: str, tag: int) -> None:
        """Make a link of what is tagged with a number on a link of the host, up."""
        info = _info("vlan", _number(_VLAN_ID, tag, size=2))
        attributes = text(_IFLA_IFNAME, name) + _number(_IFLA_LINK, parent) + info
        self._link(f"make VLAN link {name}", attributes, flags=_CREATE | _EXCLUSIVE, is_up=True)

    def raise_link(self, name: str) -> None:
        """Let it carry packets."""
        self._queue.append((f"raise link {name}", _up_message(name)))

    def lower_link(self, name: str) -> None:
        """Let it carry none."""
        self._link(f"lower link {name}", text(_IFLA_IFNAME, name), is_up=False)

    def shape(self, index: int, shape: Shape) -> None:
        """Have what leaves by a link be delayed, lost or slowed, instead of as so far."""
        body = _TRAFFIC.pack(0, index, _HANDLE, _ROOT, 0) + shape.attributes()
        self._put_body(f"{_SHAPE} {shape.kind}", body, _NEW_QDISC, _CREATE | _REPLACE)

    def unshape(self, index: int) -> None:
        """Have it leave as it comes."""
        body = _TRAFFIC.pack(0, index, 0, _ROOT, 0)
        self._put_body("take the queue away", body, _DELETE_QDISC, 0)

    def set_alias(self, name: str, alias: str) -> None:
        """Write down whose a link is."""
        note = attribute(_IFLA_IFALIAS, alias.encode())  # "" takes it away
        self._link(f"name link {name}", text(_IFLA_IFNAME, name) + note)

    def delete_link(self, name: str) -> None:
        """Delete it, and its peer."""
        message = _link_message(text(_IFLA_IFNAME, name), kind=_DELETE_LINK)
        self._queue.append((f"delete link {name}", message))

    def add_address(self, index: int, address: str, subnet: str) -> None:
        """Give a link an address within a subnet."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        template = _address_message(index, family, int(subnet.rpartition("/")[2]))
        blanks = {_place(family): socket.inet_pton(family, address)}
        self._queue.append((f"give address {address}", _filled(template, blanks)))

    def delete_address(self, index: int, address: str, subnet: str) -> None:
        """Take an address within a subnet from a link."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        body = _ADDRESS_BODY.pack(family, int(subnet.rpartition("/")[2]), 0, 0, index)
        body += attribute(_IFA_LOCAL, socket.inet_pton(family, address))
        self._put_body(f"take address {address}", body, _DELETE_ADDRESS, 0)

    def set_default_route(self, gateway: str | None, index: int, family: int) -> None:
        """Send what goes elsewhere by a gateway, or by a link that knows its way."""
        message = _route_message(gateway, index, family)
        self._queue.append((f"route by {gateway or 'the link'}", message))

    def _link(self, what: str, attributes: bytes, *, flags: int = 0, is_up: bool | None = None) -> None:
        self._queue.append((what, _link_message(attributes, flags=flags, is_up=is_up)))

    def _put_body(self, what: str, body: bytes, kind: int, flags: int) -> None:
        self._queue.append((what, _message(kind, _ACK | flags, body)))

    def send(self) -> None:
        """Carry out what is queued.

        Raises KernelError naming what could not be done, Unsupported, DeadlineExceeded.
        """
        queue, self._queue = self._queue, []
        for what, message in queue:
            code = self._ask(what, message)
            deadline = time.monotonic() + _LEAVES_S
            while code == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(_PAUSE_S)
                code = self._ask(what, message)
            if code in (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT):
                raise Unsupported(
                    f"{what}: the kernel has no links of this kind",
                    "load its module with modprobe, or use another driver",
                )
            if code == errno.ENOENT and what.startswith(_SHAPE):
                name = what.removeprefix(_SHAPE).strip()
                raise Unsupported(
                    f"the kernel has no queue discipline {name}",
                    f"modprobe sch_{name}, or a kernel with CONFIG_NET_SCH_{name.upper()}"
                    + ("; a rate alone takes no netem" if name == "netem" else ""),
                )
            if code:
                raise KernelError(code, what, hint=_HINTS.get(code, ""))

    def _ask(self, what: str, message: bytes) -> int:
        """Have the kernel do one thing: 0, or the number of its error."""
        try:
            self._socket.sendto(message, (0, 0))
            answer = self._socket.recv(_ANSWER_BYTES)
        except TimeoutError:
            raise DeadlineExceeded(f"{what}: no answer within {_ANSWER_S:g} s", timeout_s=_ANSWER_S) from None
        return -int(struct.unpack_from("=i", answer, _HEADER.size)[0])

    def index(self, name: str) -> int:
        """The number of a link of this namespace. Raises KernelError."""
        # struct ifinfomsg: family, type, index
        return int(struct.unpack_from("=i", self._look_up(name), _HEADER.size + 4)[0])

    def is_up(self, name: str) -> bool:
        """Whether a link of this namespace carries packets by now. Raises KernelError."""
        told = attributes_of(self._look_up(name)[_HEADER.size + _LINK_BODY.size :])
        return told.get(_OPERSTATE) == _OPERATIONAL

    def _look_up(self, name: str) -> bytes:
        self._socket.sendto(_look_up_message(name), (0, 0))
        answer = self._socket.recv(_ANSWER_BYTES)
        kind = struct.unpack_from("=H", answer, 4)[0]
        if kind == _ERROR:
            raise KernelError(-struct.unpack_from("=i", answer, _HEADER.size)[0], "find link", name)
        return answer


_NAME, _ADDRESS, _NUMBER = b"\x7f", b"\x06\x7f\x7f\x7f\x7f\x06", b"\x06\x7f\x7f\x06"
"""Blanks of a message: a letter of a name, a hardware address, a descriptor's number."""


def _place(family: int) -> bytes:
    """The blank for an address."""
    return b"\x06" + b"\x7f" * (14 if family == socket.AF_INET6 else 2) + b"\x06"


def _filled(template: bytes, blanks: dict[bytes, bytes]) -> bytes:
    for blank, value in blanks.items():
        template = template.replace(blank, value)
    return template


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, 0, 0) + body


def _link_message(
    attributes: bytes, *, kind: int = _NEW_LINK, flags: int = 0, is_up: bool | None = None
) -> bytes:
    body = _LINK_BODY.pack(0, 0, 0, _UP if is_up else 0, 0 if is_up is None else _UP)
    return _message(kind, _ACK | flags, body + attributes)


@lru_cache(maxsize=64)
def _veth_message(length: int, master: int, peer: str, mtu: int | None) -> bytes:
    """length: of its name. Blanks: the name, the peer's hardware address and namespace."""
    size = _number(_IFLA_MTU, mtu) if mtu else b""
    other = [
        *(_LINK_BODY.pack(0, 0, 0, 0, 0), text(_IFLA_IFNAME, peer), attribute(_IFLA_ADDRESS, _ADDRESS)),
        *(attribute(_IFLA_NET_NS_FD, _NUMBER), size),
    ]
    attributes = [
        *(text(_IFLA_IFNAME, (_NAME * length).decode()), _number(_IFLA_MASTER, master)),
        *(_info("veth", _nested(_VETH_INFO_PEER, *other)), size),
    ]
    return _link_message(b"".join(attributes), flags=_CREATE | _EXCLUSIVE, is_up=True)


@lru_cache(maxsize=64)
def _port_message(length: int, is_isolated: bool) -> bytes:
    """length: of its name, the only blank."""
    # Hairpin: a packet that a container sends to a port of its own comes back by the link it left by.
    kept = _number(_BRPORT_MODE, 1, size=1) + _number(_BRPORT_ISOLATED, int(is_isolated), size=1)
    port = _nested(_IFLA_LINKINFO, text(_INFO_SLAVE_KIND, "bridge"), _nested(_INFO_SLAVE_DATA, kept))
    return _link_message(text(_IFLA_IFNAME, (_NAME * length).decode()) + port)


@lru_cache(maxsize=64)
def _address_message(index: int, family: int, prefix: int) -> bytes:
    """Blank: the address."""
    place = _place(family)
    body = [
        *(_ADDRESS_BODY.pack(family, prefix, 0, 0, index), attribute(_IFA_LOCAL, place)),
        *(attribute(_IFA_ADDRESS, place), _number(_IFA_FLAGS, _PERMANENT | _NO_DAD)),
    ]
    return _message(_NEW_ADDRESS, _ACK | _CREATE | _REPLACE, b"".join(body))


@lru_cache(maxsize=64)
def _route_message(gateway: str | None, index: int, family: int) -> bytes:
    scope = _UNIVERSE if gateway else _LINK
    body = _ROUTE_BODY.pack(family, 0, 0, 0, _MAIN, _BOOT, scope, _UNICAST, 0) + _number(_RTA_OIF, index)
    if gateway:
        body += attribute(_RTA_GATEWAY, socket.inet_pton(family, gateway))
    return _message(_NEW_ROUTE, _ACK | _CREATE | _REPLACE, body)


@lru_cache(maxsize=64)
def _up_message(name: str) -> bytes:
    return _link_message(text(_IFLA_IFNAME, name), is_up=True)


@lru_cache(maxsize=64)
def _look_up_message(name: str) -> bytes:
    return _message(_GET_LINK, 0, _LINK_BODY.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name))


def _number(kind: int, value: int, *, size: int = 4) -> bytes:
    """An attribute of so many bytes, in this machine's order."""
    return attribute(kind, value.to_bytes(size, sys.byteorder))


def _nested(kind: int, *parts: bytes) -> bytes:
    """An attribute that holds others, or what stands before them."""
    return attribute(kind, b"".join(parts))


def _info(kind: str, data: bytes = b"") -> bytes:
    """What kind of link it is, and the kind's own attributes."""
    return _nested(_IFLA_LINKINFO, text(_INFO_KIND, kind), _nested(_INFO_DATA, data) if data else b"")


def _hardware_address(mac: str) -> bytes:
    return attribute(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))


def check_kind(kind: str) -> None:
    """Refuse a kind of links that the kernel does not have, as "ipvlan". Raises Unsupported."""
    with Route() as route:
        # Without the link it belongs to none is made; whether the kind is known is asked first.
        route._link(
            f"make {kind} link", text(_IFLA_IFNAME, "pcnone") + _info(kind), flags=_CREATE | _EXCLUSIVE
        )
        try:
            route.send()
        except KernelError as error:
            if error.errno != errno.EINVAL:
                raise


def host_subnets(*, besides: int = 0) -> list[str]:
    """What the host has routes to, but for the default route: "10.0.0.0/8" each. Raises KernelError.

    besides: the number of a link whose routes do not count.
    """
    found = []
    for family, size in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
        for message in _dumped(_GET_ROUTE, _ROUTE_BODY.pack(family, *[0] * 8), _NEW_ROUTE):
            prefix, table = message[1], message[4]
            told = attributes_of(message[_ROUTE_BODY.size :])
            address, link = told.get(_RTA_DST), told.get(_RTA_OIF)
            is_beside = besides and link == besides.to_bytes(4, sys.byteorder)
            if address is not None and len(address) == size and prefix and table == _MAIN and not is_beside:
                found.append(f"{socket.inet_ntop(family, address)}/{prefix}")
    return found


def addresses_of(index: int) -> dict[str, int]:
    """The addresses of a link that are not of that link alone, with their prefix lengths."""
    found = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        for message in _dumped(_GET_ADDRESS, _ADDRESS_BODY.pack(family, 0, 0, 0, 0), _NEW_ADDRESS):
            _, prefix, _, scope, link = _ADDRESS_BODY.unpack_from(message)
            told = attributes_of(message[_ADDRESS_BODY.size :])
            address = told.get(_IFA_LOCAL) or told.get(_IFA_ADDRESS)
            if link == index and scope == _UNIVERSE and address is not None:
                found[socket.inet_ntop(family, address)] = prefix
    return found


def _dumped(kind: int, body: bytes, answered: int) -> list[bytes]:
    """What the kernel tells of all that there is of a kind; nothing where it has no such addresses."""
    with (
        suppress(OSError),
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as sock,
    ):
        sock.settimeout(_ANSWER_S)
        return dumped(sock, kind, body, answered)
    return []
