"""Links of the host that go into a container's network namespace, as linux.netDevices names them.

Theory of operation. The kernel takes a link that goes elsewhere down and its addresses away; so these are
read before, and given to it again there, where it is up in the end. Either all go or none: `Moved.undo` gives
them back as they were. When the namespace ends, the kernel returns those of hardware by itself and deletes
the others.
Source: opencontainers/runtime-spec config-linux.md, "Network devices"; rtnetlink(7).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from pycontainer import errors
from pycontainer.kernel import namespaces, rtnetlink
from pycontainer.kernel.nfnetlink import attribute, attributes_of, text
from pycontainer.kernel.rtnetlink import HEADER
from pycontainer.launcher.away import Away

__all__ = ["Moved", "move"]

_NEW_LINK, _GET_LINK, _NEW_ADDRESS, _GET_ADDRESS = 16, 18, 20, 22
_REQUEST, _ACK, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x200, 0x400
_ERROR = 2
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_IFLA_IFNAME, _IFLA_NET_NS_FD = 3, 28
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_PERMANENT, _NO_DAD, _EVERYWHERE = 0x80, 0x02, 0
_UP = 1
_ANSWER_S = 10.0


class _Link(NamedTuple):
    """One that was moved: its names here and there, whether it was up, and messages with its addresses."""

    name: str
    inside: str
    was_up: bool
    addresses: tuple[tuple[bytes, bytes], ...]


class Moved:
    """Links that are in a namespace now, which stays as long as this is open."""

    def __init__(self, namespace: int) -> None:
        self._namespace = os.dup(namespace)
        self._links: list[_Link] = []

    def close(self) -> None:
        """Leave them where they are."""
        os.close(self._namespace)

    def undo(self) -> None:
        """Give back those that went, as far as the kernel lets, and close."""
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with _Route() as here, _route_in(self._namespace) as there:
                for link in reversed(self._links):
                    with suppress(OSError):
                        _transfer(there, here, link, link.inside, link.name, home, is_up=link.was_up)
        finally:
            os.close(home)
            self.close()

    def add(self, name: str, inside: str) -> None:
        """Move one. Raises LaunchError."""
        with _Route() as here, _route_in(self._namespace) as there:
            try:
                index, flags = here.find(name)
                link = _Link(name, inside, bool(flags & _UP), here.addresses(index))
                if there.has(inside):
                    raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
                self._links.append(link)
                _transfer(here, there, link, name, inside, self._namespace, is_up=True)
            except OSError as error:
                reason = error.strerror or str(error)
                raise errors.LaunchError(
                    f"linux.netDevices: {name} cannot be moved into the container as {inside}: {reason}",
                    step="network devices",
                    reason=reason,
                ) from None


def move(devices: Mapping[str, Any], namespace: int) -> Moved:
    """Move links of this network namespace into another one, all or none. This process has one thread.

    devices: link -> {"name": what it is called there}, as in the runtime-spec. Raises LaunchError.
    """
    moved = Moved(namespace)
    try:
        for name, described in devices.items():
            moved.add(name, (described or {}).get("name") or name)
    except BaseException:
        moved.undo()
        raise
    return moved


def _transfer(
    source: _Route, target: _Route, link: _Link, old: str, new: str, namespace: int, *, is_up: bool
) -> None:
    index, _ = source.find(old)
    # By its number, or the name would count only where the other one is taken (do_setlink).
    source.change(index, text(_IFLA_IFNAME, new) + attribute(_IFLA_NET_NS_FD, struct.pack("=I", namespace)))
    index, _ = target.find(new)
    for head, attributes in link.addresses:
        family, prefix, flags, scope, _ = _ADDRESS.unpack(head)
        target.ask(
            _NEW_ADDRESS,
            _ACK | _CREATE | _EXCLUSIVE,
            _ADDRESS.pack(family, prefix, flags, scope, index) + attributes,
        )
    if is_up:
        target.change(index, b"", is_up=True)


def _route_in(namespace: int) -> _Route:
    away = Away()
    try:
        away.join(namespace, namespaces.NEWNET)
        return _Route()
    finally:
        away.come_back()
        for fd in away.descriptors:
            os.close(fd)


class _Route:
    """A rtnetlink socket of the network namespace that it was made in."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.settimeout(_ANSWER_S)

    def __enter__(self) -> _Route:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, kind: int, flags: int, body: bytes) -> bytes:
        """The kernel's answer to one request. Raises OSError."""
        self._socket.sendto(HEADER.pack(HEADER.size + len(body), kind, _REQUEST | flags, 0, 0) + body, (0, 0))
        answer = self._socket.recv(rtnetlink.ANSWER_BYTES)
        if struct.unpack_from("=H", answer, 4)[0] == _ERROR:
            code = -struct.unpack_from("=i", answer, HEADER.size)[0]
            if code:
                raise OSError(code, os.strerror(code))
        return answer

    def find(self, name: str) -> tuple[int, int]:
        """The number and the flags of a link. Raises OSError."""
        answer = self.ask(_GET_LINK, 0, _LINK.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name))
        _, _, index, flags, _ = _LINK.unpack_from(answer, HEADER.size)
        return index, flags

    def has(self, name: str) -> bool:
        """Whether there is a link of this name. Raises OSError."""
        try:
            self.find(name)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return False
        return True

    def change(self, index: int, attributes: bytes, *, is_up: bool = False) -> None:
        """Change a link. Raises OSError."""
        flags = _UP if is_up else 0
        self.ask(_NEW_LINK, _ACK, _LINK.pack(0, 0, index, flags, flags) + attributes)

    def addresses(self, wanted: int) -> tuple[tuple[bytes, bytes], ...]:
        """The lasting addresses of a link that reach beyond it: (struct ifaddrmsg, attributes) each."""
        found: list[tuple[bytes, bytes]] = []
        everything = _ADDRESS.pack(0, 0, 0, 0, 0)
        for message in rtnetlink.dumped(self._socket, _GET_ADDRESS, everything, _NEW_ADDRESS):
            _, _, _, scope, index = _ADDRESS.unpack_from(message)
            held = attributes_of(message[_ADDRESS.size :])
            flags = struct.unpack("=I", held.get(_IFA_FLAGS, b"\0\0\0\0"))[0]
            if index == wanted and scope == _EVERYWHERE and flags & _PERMANENT:
                found.append((message[: _ADDRESS.size], _kept(held)))
        return tuple(found)


def _kept(held: Mapping[int, bytes]) -> bytes:
    # Not asked about again: nobody else had it while it was here.
    lasting = struct.pack("=I", _PERMANENT | _NO_DAD)
    kinds = [kind for kind in (_IFA_LOCAL, _IFA_ADDRESS, _IFA_BROADCAST) if kind in held]
    return b"".join(attribute(kind, held[kind]) for kind in kinds) + attribute(_IFA_FLAGS, lasting)
