"""A container's part of the packet filter: its monitor makes it again when another program has deleted it.

Theory of operation. The kernel tells whoever listens of every change of any rule; a filter in the kernel
keeps back what changes often, so a monitor wakes only when something like a rule or a table comes or goes.
Of a table that was deleted each monitor of the store makes what it knows: the part without which there is
no table, which a file holds and the first one makes, and the elements of its own container. So the rules are
whole for those that run, without asking a database, and in whatever order the monitors come. A rule more
than there is otherwise tells the next start that the rest (of networks where nothing runs) is missing.

params["rules"]: {"base": path of a file, "own": {name of a table: messages, in base64}}. The file: {name:
{"family", "count": of rules at least, "messages": in base64, which make what is in the table}}.

Source: nf_tables netlink, net/netfilter/nf_tables_api.c (nft_commit_notify); socket(7), SO_ATTACH_FILTER.
"""

from __future__ import annotations

import binascii
import ctypes
import errno
import json
import socket
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pycontainer import errors

if TYPE_CHECKING:
    from pycontainer.launcher.monitor.control import Client
    from pycontainer.launcher.monitor.core import Monitor

__all__ = ["OPS", "Rules"]

_NETLINK_NETFILTER = 12
_GROUP = 1 << 7 - 1  # NFNLGRP_NFTABLES
_NF_TABLES = 10 << 8
# New, deleted and destroyed elements, and the number of the change: what publishing a port leads to.
_FREQUENT = tuple(_NF_TABLES | kind for kind in (12, 14, 30, 15))
# What a table is made of, deleted or destroyed (NFT_MSG_DELTABLE, _DELCHAIN, _DELRULE, _DESTROY*).
_GONE = frozenset(_NF_TABLES | kind for kind in (2, 5, 8, 26, 27, 28))
_SO_ATTACH_FILTER = 26
_AT_ONCE = 1 << 16
_HEADER = struct.Struct("=IHHII")


class Rules:
    """What one container has in the packet filter."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._socket: socket.socket | None = None

    def watch(self) -> None:
        """Make them again from now on whenever they are deleted, if there are any; idempotent."""
        if self._socket is not None or not self._monitor.params.get("rules"):
            return
        given = self._monitor.fds.pop("rules", -1)
        try:
            self._socket = socket.socket(fileno=given) if given >= 0 else _listening()
        except OSError:
            return  # a kernel without nf_tables, where there are none
        self._monitor.loop.add(self._socket, self._look)

    @property
    def descriptor(self) -> int:
        """Where they are watched, for another process that goes on with it; -1 if they are not."""
        return self._socket.fileno() if self._socket is not None else -1

    def configure(self, described: Mapping[str, Any] | None) -> None:
        """These are the container's from now on; None if it has none."""
        self._monitor.params["rules"] = described
        if described:
            self.watch()
        else:
            self.close()

    def close(self) -> None:
        """Let them go; idempotent."""
        if self._socket is not None:
            self._monitor.loop.remove(self._socket)
            self._socket.close()
            self._socket = None

    def _look(self, _: int) -> None:
        assert self._socket is not None
        own = self._monitor.params["rules"]["own"]
        gone: set[str] = set()
        while True:
            try:
                gone |= _deleted_in(self._socket.recv(_AT_ONCE))
            except BlockingIOError:
                break
            except OSError:
                gone |= own.keys()  # more was told than there was room for
        for name in sorted(gone & own.keys(), reverse=True):  # the guard of senders before what trusts it
            try:
                self._restore(name)
            except (OSError, ValueError, KeyError, errors.PycontainerError):
                continue  # the next start makes them; nobody is there to be told

    def _restore(self, name: str) -> None:
        from pycontainer.kernel import nfnetlink as nf  # only those load it whose rules were deleted

        described = self._monitor.params["rules"]
        with open(described["base"], "rb") as file:
            base = json.load(file)[name]
        own = [binascii.a2b_base64(each) for each in described["own"][name]]
        table, count = nf.Table(name, int(base["family"])), int(base["count"])
        whole = [*map(binascii.a2b_base64, base["messages"]), *own]
        if nf.rule_count(table) < count:
            try:
                nf.send([table.add(is_new=True), *whole])
                return
            except errors.KernelError as error:
                if error.errno != errno.EEXIST:
                    raise
            # Another monitor was faster; or its rules were deleted, and the table was not.
            if nf.rule_count(table) < count:
                nf.send([table.add(), table.delete(), table.add(), *whole])
                return
        if own:
            nf.send(own)


def _listening() -> socket.socket:
    """A socket that hears of changes of rules, but for the frequent ones."""
    # Loads the kind of the first message of those that come together, and compares it; sock_filter each.
    program = [(0x28, 0, 0, 4)]  # BPF_LD | BPF_H | BPF_ABS
    left = len(_FREQUENT)
    for kind in _FREQUENT:
        swapped = int.from_bytes(struct.pack("=H", kind), "big")
        program.append((0x15, left, 0, swapped))  # BPF_JMP | BPF_JEQ | BPF_K
        left -= 1
    program += [(0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0)]  # BPF_RET: all of it, nothing
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
    kinds = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    listening = socket.socket(socket.AF_NETLINK, kinds, _NETLINK_NETFILTER)
    try:
        described = struct.pack("@HP", len(program), ctypes.addressof(code))
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
        listening.bind((0, _GROUP))
    except BaseException:
        listening.close()
        raise
    return listening


def _deleted_in(told: bytes) -> set[str]:
    """The tables of which something was deleted."""
    found = set()
    offset = 0
    while offset + _HEADER.size <= len(told):
        length, kind, *_ = _HEADER.unpack_from(told, offset)
        if kind in _GONE and length >= _HEADER.size + 8:
            # struct nfgenmsg, then the table's name, which is the first attribute of all of these.
            size, attribute = struct.unpack_from("=HH", told, offset + _HEADER.size + 4)
            if attribute == 1:
                name = told[offset + _HEADER.size + 8 : offset + _HEADER.size + 4 + size]
                found.add(name.rstrip(b"\0").decode("ascii", "replace"))
        offset += max(_HEADER.size, length + 3 & ~3)
    return found


def _rules(monitor: Monitor, client: Client, request: dict[str, Any]) -> dict[str, Any]:
    """Have request["rules"], request["uses"], and request["ports"] if there are any, described as at the
    start.
    """
    monitor.events.uses = monitor.params["uses"] = request["uses"]
    if request.get("ports") and monitor.ports is not None:
        monitor.ports.configure(request["ports"])
    monitor.rules.configure(request["rules"])
    return {}


OPS = {"rules": _rules}
