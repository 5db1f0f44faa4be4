"""Links, addresses and routes, by rtnetlink; in the host's network namespace or through a socket of another.

The messages are pyroute2's, which knows their attributes; sent they are by us, many at a time, for a link
more or less is a matter of microseconds. To write one down takes longer than to have the kernel carry it out:
so those of every container are written once, with blanks for what differs.
Source: rtnetlink(7), include/uapi/linux/if_link.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from pycontainer.errors import DeadlineExceeded, KernelError, Unsupported
from pycontainer.network.shaping import Shape

__all__ = ["Route", "check_kind", "host_subnets"]

_NEW_LINK, _DELETE_LINK, _GET_LINK, _NEW_ADDRESS, _NEW_ROUTE, _GET_ROUTE = 16, 17, 18, 20, 24, 26
_REQUEST, _ACK, _EXCLUSIVE, _CREATE, _REPLACE, _DUMP = 0x1, 0x4, 0x200, 0x400, 0x100, 0x300
_ERROR, _DONE = 2, 3
_UP = 1
_UNIVERSE, _LINK = 0, 253  # scopes of a route
_OPERSTATE, _OPERATIONAL = 16, b"\6"  # IFLA_OPERSTATE, IF_OPER_UP
_BOOT, _MAIN, _UNICAST = 3, 254, 1
_PERMANENT, _NO_DAD = 0x80, 0x02
_HEADER = struct.Struct("=IHHII")
_HINTS = {
    # net/bridge/br_private.h, BR_MAX_PORTS: 1 << 10 with 0 for none.
    errno.EXFULL: "a bridge has room for 1023 containers; make another network",
}
_NEW_QDISC, _DELETE_QDISC = 36, 37
_TRAFFIC = struct.Struct("=IiIII")  # tcmsg: family, link, handle, parent, info
_ROOT, _HANDLE = 0xFFFFFFFF, 1 << 16
_SHAPE = "have packets leave by"
_ANSWER_S = 10.0
_ANSWER_BYTES = 1 << 18


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
        attributes: list[tuple[str, Any]] = [("IFLA_IFNAME", name)]
        attributes += [("IFLA_MTU", mtu)] if mtu else []
        attributes += [("IFLA_ADDRESS", mac)] if mac else []
        data = {
            "attrs": [("IFLA_BR_FORWARD_DELAY", 0), ("IFLA_BR_STP_STATE", 0), ("IFLA_BR_MCAST_SNOOPING", 0)]
        }
        attributes.append(("IFLA_LINKINFO", _kind("bridge", data)))
        self._link(f"make bridge {name}", attributes, flags=_CREATE | _EXCLUSIVE, is_up=True)

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

    def add_macvlan(self, parent: int, name: str, namespace: int, *, mode: str, mac: str) -> None:
        """Make a link beside a link of the host, in another network namespace."""
        info = _kind("macvlan", {"attrs": [("IFLA_MACVLAN_MODE", mode)]})
        attributes = [("IFLA_IFNAME", name), ("IFLA_LINK", parent), ("IFLA_ADDRESS", mac),
                      ("IFLA_NET_NS_FD", namespace), ("IFLA_LINKINFO", info)]  # fmt: skip
        self._link(f"make macvlan link {name}", attributes, flags=_CREATE | _EXCLUSIVE)

    def add_ipvlan(self, parent: int, name: str, namespace: int, *, mode: int) -> None:
        """Make a link that shares the hardware address of a link of the host."""
        info = _kind("ipvlan", {"attrs": [("IFLA_IPVLAN_MODE", mode)]})
        attributes = [("IFLA_IFNAME", name), ("IFLA_LINK", parent), ("IFLA_NET_NS_FD", namespace),
                      ("IFLA_LINKINFO", info)]  # fmt: skip
        self._link(f"make ipvlan link {name}", attributes, flags=_CREATE | _EXCLUSIVE)

    def add_vlan(self, parent: int, name: str, number: int) -> None:
        """Make a link of what is tagged with a number on a link of the host, up."""
        info = _kind("vlan", {"attrs": [("IFLA_VLAN_ID", number)]})
        attributes = [("IFLA_IFNAME", name), ("IFLA_LINK", parent), ("IFLA_LINKINFO", info)]
        self._link(f"make VLAN link {name}", attributes, flags=_CREATE | _EXCLUSIVE, is_up=True)

    def raise_link(self, name: str) -> None:
        """Let it carry packets."""
        self._queue.append((f"raise link {name}", _up_message(name)))

    def lower_link(self, name: str) -> None:
        """Let it carry none."""
        self._link(f"lower link {name}", [("IFLA_IFNAME", name)], is_up=False)

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
        self._link(f"name link {name}", [("IFLA_IFNAME", name), ("IFLA_IFALIAS", alias)])

    def delete_link(self, name: str) -> None:
        """Delete it, and its peer."""
        message = _link_message([("IFLA_IFNAME", name)], kind=_DELETE_LINK)
        self._queue.append((f"delete link {name}", message))

    def add_address(self, index: int, address: str, subnet: str) -> None:
        """Give a link an address within a subnet."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        template = _address_message(index, family, int(subnet.rpartition("/")[2]))
        blanks = {_place(family): socket.inet_pton(family, address)}
        self._queue.append((f"give address {address}", _filled(template, blanks)))

    def set_default_route(self, gateway: str | None, index: int, family: int) -> None:
        """Send what goes elsewhere by a gateway, or by a link that knows its way."""
        message = _route_message(gateway, index, family)
        self._queue.append((f"route by {gateway or 'the link'}", message))

    def _link(
        self, what: str, attributes: Sequence[tuple[str, Any]], *, flags: int = 0, is_up: bool | None = None
    ) -> None:
        self._queue.append((what, _link_message(attributes, flags=flags, is_up=is_up)))

    def _put_body(self, what: str, body: bytes, kind: int, flags: int) -> None:
        header = _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | _ACK | flags, 0, 0)
        self._queue.append((what, header + body))

    def send(self) -> None:
        """Carry out what is queued.

        Raises KernelError naming what could not be done, Unsupported, DeadlineExceeded.
        """
        queue, self._queue = self._queue, []
        for what, message in queue:
            try:
                self._socket.sendto(message, (0, 0))
                answer = self._socket.recv(_ANSWER_BYTES)
            except TimeoutError:
                raise DeadlineExceeded(
                    f"{what}: no answer within {_ANSWER_S:g} s", timeout_s=_ANSWER_S
                ) from None
            code = -struct.unpack_from("=i", answer, _HEADER.size)[0]
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

    def index(self, name: str) -> int:
        """The number of a link of this namespace. Raises KernelError."""
        # struct ifinfomsg: family, type, index
        return int(struct.unpack_from("=i", self._look_up(name), _HEADER.size + 4)[0])

    def is_up(self, name: str) -> bool:
        """Whether a link of this namespace carries packets by now. Raises KernelError."""
        return _attribute(self._look_up(name)[_HEADER.size + 16 :], _OPERSTATE) == _OPERATIONAL

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


def _encoded(message: Any, kind: int, flags: int) -> bytes:
    message["header"]["type"] = kind
    message["header"]["flags"] = _REQUEST | flags
    message.encode()
    return bytes(message.data)


def _link_message(
    attributes: Sequence[tuple[str, Any]],
    *,
    kind: int = _NEW_LINK,
    flags: int = 0,
    is_up: bool | None = None,
) -> bytes:
    message = ifinfmsg()
    message["attrs"] = list(attributes)
    message["flags"], message["change"] = _UP if is_up else 0, 0 if is_up is None else _UP
    return _encoded(message, kind, _ACK | flags)


@lru_cache(maxsize=64)
def _veth_message(length: int, master: int, peer: str, mtu: int | None) -> bytes:
    """length: of its name. Blanks: the name, the peer's hardware address and namespace."""
    size = [("IFLA_MTU", mtu)] if mtu else []
    mac, namespace = _ADDRESS.hex(":"), struct.unpack("=I", _NUMBER)[0]
    other = {"attrs": [("IFLA_IFNAME", peer), ("IFLA_ADDRESS", mac), ("IFLA_NET_NS_FD", namespace), *size]}
    info = _kind("veth", {"attrs": [("VETH_INFO_PEER", other)]})
    name = (_NAME * length).decode()
    attributes = [("IFLA_IFNAME", name), ("IFLA_MASTER", master), ("IFLA_LINKINFO", info), *size]
    return _link_message(attributes, flags=_CREATE | _EXCLUSIVE, is_up=True)


@lru_cache(maxsize=64)
def _port_message(length: int, is_isolated: bool) -> bytes:
    """length: of its name, the only blank."""
    # Hairpin: a packet that a container sends to a port of its own comes back by the link it left by.
    kept = {"attrs": [("IFLA_BRPORT_MODE", 1), ("IFLA_BRPORT_ISOLATED", int(is_isolated))]}
    port = {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", kept)]}
    return _link_message([("IFLA_IFNAME", (_NAME * length).decode()), ("IFLA_LINKINFO", port)])


@lru_cache(maxsize=64)
def _address_message(index: int, family: int, prefix: int) -> bytes:
    """Blank: the address."""
    message = ifaddrmsg()
    message.update(family=family, prefixlen=prefix, index=index)
    address = socket.inet_ntop(family, _place(family))
    attributes = [("IFA_LOCAL", address), ("IFA_ADDRESS", address), ("IFA_FLAGS", _PERMANENT | _NO_DAD)]
    message["attrs"] = attributes
    return _encoded(message, _NEW_ADDRESS, _ACK | _CREATE | _REPLACE)


@lru_cache(maxsize=64)
def _route_message(gateway: str | None, index: int, family: int) -> bytes:
    message = rtmsg()
    message.update(
        family=family, table=_MAIN, proto=_BOOT, type=_UNICAST, scope=_UNIVERSE if gateway else _LINK
    )
    message["attrs"] = [("RTA_OIF", index), *([("RTA_GATEWAY", gateway)] if gateway else [])]
    return _encoded(message, _NEW_ROUTE, _ACK | _CREATE | _REPLACE)


@lru_cache(maxsize=64)
def _up_message(name: str) -> bytes:
    return _link_message([("IFLA_IFNAME", name)], is_up=True)


@lru_cache(maxsize=64)
def _look_up_message(name: str) -> bytes:
    message = ifinfmsg()
    message["attrs"] = [("IFLA_IFNAME", name)]
    return _encoded(message, _GET_LINK, 0)


def _kind(name: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"attrs": [("IFLA_INFO_KIND", name), ("IFLA_INFO_DATA", data)]}


def check_kind(kind: str) -> None:
    """Refuse a kind of links that the kernel does not have, as "ipvlan". Raises Unsupported."""
    with Route() as route:
        # Without the link it belongs to none is made; whether the kind is known is asked first.
        attributes = [("IFLA_IFNAME", "pcnone"), ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", kind)]})]
        route._link(f"make {kind} link", attributes, flags=_CREATE | _EXCLUSIVE)
        try:
            route.send()
        except KernelError as error:
            if error.errno != errno.EINVAL:
                raise


def host_subnets() -> list[str]:
    """What the host has routes to, but for the default route: "10.0.0.0/8" each. Raises KernelError."""
    found = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as route:
        route.settimeout(_ANSWER_S)
        for family, size in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
            with suppress(OSError):
                body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 0, 0)
                route.sendto(_HEADER.pack(16 + len(body), _GET_ROUTE, _REQUEST | _DUMP, 0, 0) + body, (0, 0))
                found += _destinations(route, family, size)
    return found


def _destinations(route: socket.socket, family: int, size: int) -> list[str]:
    found: list[str] = []
    while True:
        answer, offset = route.recv(_ANSWER_BYTES), 0
        while offset + _HEADER.size <= len(answer):
            length, kind = struct.unpack_from("=IH", answer, offset)
            if kind == _DONE:
                return found
            if kind == _ERROR:
                raise OSError(errno.EIO, "the routes cannot be read")
            prefix, table = answer[offset + 17], answer[offset + 20]
            address = _attribute(answer[offset + 28 : offset + length], 1)
            if address is not None and len(address) == size and prefix and table == _MAIN:
                found.append(f"{socket.inet_ntop(family, address)}/{prefix}")
            offset += max(_HEADER.size, length + 3 & ~3)


def _attribute(content: bytes, wanted: int) -> bytes | None:
    offset = 0
    while offset + 4 <= len(content):
        length, kind = struct.unpack_from("=HH", content, offset)
        if kind == wanted:
            return content[offset + 4 : offset + length]
        offset += max(4, length + 3 & ~3)
    return None
