"""Packet filter rules as netlink messages, and their exchange with the kernel.

The monitor of a container and a job in its network namespace change rules too, and load nothing but the
standard library: so these few messages are encoded here, once. A batch is taken whole or not at all.

Source: nf_tables netlink, include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h; netlink(7).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pycontainer import errors

INET, IPV4, BRIDGE = 1, socket.AF_INET, 7
"""Families of a table: both kinds of addresses, or one; frames within a bridge."""
INTERVAL, MAP, TIMEOUT, CONCAT = 0x4, 0x8, 0x10, 0x80
"""Flags of a set (NFT_SET_*)."""
DROP, ACCEPT, JUMP, RETURN = 0, 1, -3, -5
"""Verdicts (NF_*, NFT_*)."""
INTERVAL_END = 1
"""Flag of an element: the first key after a range, that begins with the element before it."""
IP4, IP6, IFNAME = (7, 4), (8, 16), (41, 16)
"""Fields of a key: type, as nft(8) numbers them, and length in bytes."""
UP_TO = -1
"""In place of an element's flags: what follows the key is the last key of a range, and not its data."""

_NETLINK_NETFILTER = 12
_ANSWER_S = 5.0
_ANSWER_BYTES = 1 << 18
_CHUNK = 1 << 16
_BATCH_BEGIN, _BATCH_END, _NF_TABLES = 0x10, 0x11, 10 << 8
_NEW_TABLE, _DEL_TABLE, _NEW_CHAIN, _GET_CHAIN, _NEW_RULE, _GET_RULE = 0, 2, 3, 4, 6, 7
_NEW_SET, _NEW_ELEMENT, _GET_ELEMENT, _DEL_ELEMENT = 9, 12, 13, 14
_GET_GENERATION, _DESTROY_ELEMENT = 16, 30
_REQUEST, _ACK, _EXCLUSIVE, _DUMP, _CREATE, _APPEND = 0x1, 0x4, 0x200, 0x300, 0x400, 0x800
_NESTED = 0x8000
_DONE, _ERROR = 3, 2
_HEADER = struct.Struct("=IHHII")

Element = tuple[bytes, bytes | None, int]
"""Of a set: its key, what it maps to in a map, and its flags; see Table.elements."""


# -- messages --------------------------------------------------------------------------------------


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded (netlink(7), rtnetlink(3))."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def nest(kind: int, value: bytes) -> bytes:
    """An attribute of attributes."""
    return attribute(_NESTED | kind, value)


def number(kind: int, value: int) -> bytes:
    """A number of four bytes, as nf_tables takes them."""
    return attribute(kind, struct.pack("!I", value))


def text(kind: int, value: str) -> bytes:
    """A name."""
    return attribute(kind, value.encode("ascii") + b"\0")


def message(kind: int, payload: bytes, flags: int) -> bytes:
    """A message of its own."""
    return _HEADER.pack(16 + len(payload), kind, flags, 0, 0) + payload


def value(content: bytes) -> bytes:
    """NFTA_DATA_VALUE."""
    return attribute(1, content)


def _verdict_data(code: int, chain: str = "") -> bytes:
    # NFTA_DATA_VERDICT with NFTA_VERDICT_CODE, _CHAIN
    return nest(2, attribute(1, struct.pack("!i", code)) + (text(2, chain) if chain else b""))


def expression(name: str, data: bytes) -> bytes:
    """One of a rule: NFTA_LIST_ELEM with NFTA_EXPR_NAME, _DATA."""
    return nest(1, text(1, name) + nest(2, data))


def address(written: str) -> bytes:
    """An address as it is in a key."""
    return socket.inet_pton(socket.AF_INET6 if ":" in written else socket.AF_INET, written)


def link(name: str) -> bytes:
    """The name of a link as it is in a key."""
    return name.encode("ascii").ljust(IFNAME[1], b"\0")


class Table:
    """The messages that change one table, to be put into a batch.

    family: INET, IPV4 or BRIDGE; rules see packets of both kinds in the first.
    """

    def __init__(self, name: str, family: int = INET) -> None:
        self.name = name
        self.family = family

    def _message(self, kind: int, attributes: bytes, flags: int = _CREATE) -> bytes:
        head = struct.pack("!BBH", self.family, 0, 0)
        return message(_NF_TABLES | kind, head + text(1, self.name) + attributes, _REQUEST | _ACK | flags)

    def add(self, *, is_new: bool = False) -> bytes:
        """Make it, if it is not there; is_new: an error if it is."""
        return self._message(_NEW_TABLE, b"", _CREATE | (_EXCLUSIVE if is_new else 0))

    def delete(self) -> bytes:
        """Delete it with all that is in it; an error if there is none."""
        return self._message(_DEL_TABLE, b"", 0)

    def chain(self, name: str, kind: str = "", hook: int = 0, priority: int = 0) -> bytes:
        """A chain; with a kind ("filter", "nat") one that the kernel calls at a hook."""
        base = b""
        if kind:
            place = attribute(1, struct.pack("!I", hook)) + attribute(2, struct.pack("!i", priority))
            base = nest(4, place) + text(7, kind)
        return self._message(_NEW_CHAIN, text(3, name) + base)

    def rule(self, chain: str, *expressions: bytes) -> bytes:
        """A rule at the end of a chain."""
        return self._message(_NEW_RULE, text(2, chain) + nest(4, b"".join(expressions)), _CREATE | _APPEND)

    def set(
        self,
        number_: int,
        name: str,
        key: Sequence[tuple[int, int]],
        flags: int = 0,
        data: Sequence[tuple[int, int]] = (),
    ) -> bytes:
        """A set, or with data a map. number_: its own among the batch's sets.

        key, data: type (as nft(8) numbers them) and length in bytes of each field.
        """
        attributes = text(2, name) + number(3, flags | (MAP if data else 0))
        attributes += number(4, _type(key)) + number(5, _length(key))
        if data:
            attributes += number(6, _type(data)) + number(7, _length(data))
        if key[0] == IFNAME:
            # So that nft shows names: they are in the host's order of bytes (NFTNL_UDATA_SET_KEYBYTEORDER).
            attributes += attribute(13, b"\0\4" + struct.pack("=I", 1))
        if flags & CONCAT:
            fields = b"".join(nest(1, number(1, length)) for _, length in key)
            attributes += nest(9, nest(2, fields))
        return self._message(_NEW_SET, attributes + number(10, number_))

    def elements(self, set_: str, elements: Iterable[Element], *, timeout_ms: int = 0) -> bytes:
        """Add elements: (key, what it maps to or None, flags) each; no error for one that is there."""
        return self._message(_NEW_ELEMENT, text(2, set_) + nest(3, _list(elements, timeout_ms)))

    def without(self, set_: str, elements: Iterable[Element]) -> bytes:
        """Take elements away, whether they are there or not; to be sent by withdraw."""
        return self._message(_DESTROY_ELEMENT, text(2, set_) + nest(3, _list(elements, 0)), 0)


def is_rule(made: bytes) -> bool:
    """Whether a message makes a rule."""
    return int(_HEADER.unpack_from(made)[1]) == _NF_TABLES | _NEW_RULE


def _list(elements: Iterable[Element], timeout_ms: int) -> bytes:
    found = []
    for key, data, flags in elements:
        # NFTA_SET_ELEM_KEY, _DATA or _KEY_END, _FLAGS, _TIMEOUT
        made = nest(1, value(key))
        if data is not None:
            made += nest(10 if flags == UP_TO else 2, value(data))
        made += number(3, flags) if flags > 0 else b""
        made += attribute(4, struct.pack("!Q", timeout_ms)) if timeout_ms else b""
        found.append(nest(1, made))
    return b"".join(found)


def _type(fields: Sequence[tuple[int, int]]) -> int:
    found = 0
    for kind, _ in fields:
        found = found << 6 | kind
    return found


def _length(fields: Sequence[tuple[int, int]]) -> int:
    if len(fields) == 1:
        return fields[0][1]
    return sum(length + 3 & ~3 for _, length in fields)


# -- expressions -----------------------------------------------------------------------------------

# Registers of four bytes (NFT_REG32_00 on); a value begins in the one named and goes on in the next.
FIRST = 8


def load_meta(key: int, register: int = FIRST) -> bytes:
    """What is known of a packet: the name of its link, its protocol (NFT_META_*)."""
    return expression("meta", number(1, register) + number(2, key))


def load_header(base: int, offset: int, length: int, register: int = FIRST) -> bytes:
    """Bytes of a header: base 1 is the network's, 2 the transport's."""
    return expression(
        "payload", number(1, register) + number(2, base) + number(3, offset) + number(4, length)
    )


def load_ct(key: int, register: int = FIRST) -> bytes:
    """What connection tracking knows: 0 the state, 2 the status (NFT_CT_*)."""
    return expression("ct", number(1, register) + number(2, key))


def load_kind_of_destination(register: int = FIRST) -> bytes:
    """Whose the destination is, by the routing tables: 2 for the host's own (RTN_LOCAL)."""
    return expression("fib", number(1, register) + number(2, 3) + number(3, 2))


def mask(content: bytes, register: int = FIRST) -> bytes:
    """Keep these bits."""
    kept = number(3, len(content)) + nest(4, value(content)) + nest(5, value(bytes(len(content))))
    return expression("bitwise", number(1, register) + number(2, register) + kept)


def compare(content: bytes, register: int = FIRST, *, is_equal: bool = True) -> bytes:
    """Go on only if it is equal, or is not."""
    return expression("cmp", number(1, register) + number(2, 0 if is_equal else 1) + nest(3, value(content)))


def look_up(set_: str, register: int = FIRST, *, into: int | None = None, is_in: bool = True) -> bytes:
    """Go on only if it is in the set, or is not; of a map, load what it maps to."""
    data = text(1, set_) + number(2, register) + (b"" if into is None else number(3, into))
    return expression("lookup", data + (b"" if is_in else number(5, 1)))


def verdict(code: int, chain: str = "") -> bytes:
    """What becomes of the packet."""
    return expression("immediate", number(1, 0) + nest(2, _verdict_data(code, chain)))


def dnat(family: int, address: int = FIRST, port: int = FIRST + 1) -> bytes:
    """Change the destination to what the registers say."""
    registers = number(3, address) + number(4, address) + number(5, port) + number(6, port)
    return expression("nat", number(1, 1) + number(2, family) + registers + number(7, 0x3))


def snat(family: int, address: int = FIRST) -> bytes:
    """Change the source to the address in a register."""
    return expression("nat", number(1, 0) + number(2, family) + number(3, address) + number(4, address))


def masquerade() -> bytes:
    """Change the source to the address of the link it leaves by."""
    return expression("masq", b"")


def reject() -> bytes:
    """Refuse it with "administratively prohibited" (NFT_REJECT_ICMPX_UNREACH)."""
    return expression("reject", number(1, 2) + attribute(2, b"\3"))


# -- the kernel ------------------------------------------------------------------------------------


def send(messages: Sequence[bytes]) -> None:
    """Have the kernel take a batch: all of it or nothing. Raises Unsupported, KernelError."""
    bracket = struct.pack("!BBH", 0, 0, 10)
    whole = [message(_BATCH_BEGIN, bracket, _REQUEST), *messages, message(_BATCH_END, bracket, _REQUEST)]
    try:
        with _socket() as netlink:
            netlink.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, max(_CHUNK, 2 * sum(map(len, whole))))
            netlink.sendto(b"".join(whole), (0, 0))
            awaited = len(messages)
            while awaited > 0:
                awaited -= sum(1 for kind, _ in _parts(netlink.recv(_ANSWER_BYTES)) if kind == _ERROR)
    except OSError as error:
        raise _explained(error) from None


def withdraw(messages: Sequence[bytes]) -> None:
    """Have the kernel take messages of Table.without, whatever is still there. Raises as send."""
    if not messages:
        return
    try:
        send(messages)
    except (errors.Unsupported, errors.KernelError) as error:
        if isinstance(error, errors.KernelError) and error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
        # Linux before 6.3 fails for what is not there, and later ones do without the table, and with it
        # the whole batch.
        for each in messages:
            length, kind, *rest = _HEADER.unpack_from(each)
            assert kind == _NF_TABLES | _DESTROY_ELEMENT
            _delete(_HEADER.pack(length, _NF_TABLES | _DEL_ELEMENT, *rest) + each[_HEADER.size :])


def _delete(one: bytes) -> None:
    try:
        send([one])
    except errors.KernelError as error:
        if error.errno != errno.ENOENT:
            raise


def _explained(error: OSError) -> errors.PycontainerError:
    if error.errno in (errno.EPROTONOSUPPORT, errno.EOPNOTSUPP):
        return errors.Unsupported("the kernel has no nf_tables", "modprobe nf_tables")
    if isinstance(error, TimeoutError):
        return errors.DeadlineExceeded(
            f"the kernel did not answer within {_ANSWER_S:g} s", timeout_s=_ANSWER_S
        )
    return errors.KernelError(error.errno or 0, "nf_tables", "", "see pycontainer doctor")


def generation() -> int:
    """A number that changes with every change of any rule of this network namespace. Raises as send."""
    for kind, payload in asked(_NF_TABLES | _GET_GENERATION, struct.pack("!BBH", 0, 0, 0)):
        if kind != _ERROR:
            return int(struct.unpack("!I", attributes_of(payload[4:])[1])[0])
    return 0


class Chain(NamedTuple):
    """A chain of anybody's. hook, policy: where the kernel calls it, and what becomes of a packet at its end;
    -1 for one that only rules lead to.
    """

    family: int
    table: str
    name: str
    hook: int = -1
    policy: int = -1


def chains() -> list[Chain]:
    """All chains of this network namespace. Raises as send."""
    found = []
    for _, payload in asked(_NF_TABLES | _GET_CHAIN, struct.pack("!BBH", 0, 0, 0), is_dump=True):
        own = attributes_of(payload[4:])  # NFTA_CHAIN_TABLE, _NAME, _HOOK with NFTA_HOOK_HOOKNUM, _POLICY
        table, name = (own[kind].rstrip(b"\0").decode("utf-8", "replace") for kind in (1, 3))
        hook, policy = attributes_of(own.get(4, b"")).get(1), own.get(5)
        numbers = (-1 if each is None else int.from_bytes(each, "big") for each in (hook, policy))
        found.append(Chain(payload[0], table, name, *numbers))
    return found


def rules_of(table: Table) -> list[tuple[str, bytes]]:
    """The rules of a table: the chain of each, and its expressions (NFTA_RULE_CHAIN, _EXPRESSIONS)."""
    found = []
    for payload in _listed(table, _GET_RULE, b""):
        own = attributes_of(payload[4:])
        found.append((own.get(2, b"").rstrip(b"\0").decode("utf-8", "replace"), own.get(4, b"")))
    return found


def rule_count(table: Table) -> int:
    """How many rules a table has; 0 when there is no such table. Raises as send."""
    return len(_listed(table, _GET_RULE, b""))


def elements_of(table: Table, set_: str) -> list[Element]:
    """What is in a set that is no map; nothing when there is no such set. Raises as send."""
    found: list[Element] = []
    for payload in _listed(table, _GET_ELEMENT, text(2, set_)):
        for _, element in items_of(attributes_of(payload[4:]).get(3, b"")):
            own = attributes_of(element)
            end = attributes_of(own[10])[1] if 10 in own else None
            found.append((attributes_of(own[1])[1], end, 0 if end is None else UP_TO))
    return found


def _listed(table: Table, kind: int, attributes: bytes) -> list[bytes]:
    """The payloads of what is in a table; none when there is no such table."""
    head = struct.pack("!BBH", table.family, 0, 0) + text(1, table.name) + attributes
    try:
        return [payload for _, payload in asked(_NF_TABLES | kind, head, is_dump=True)]
    except errors.KernelError as error:
        if error.errno in (errno.ENOENT, errno.EAFNOSUPPORT):
            return []
        raise


def asked(
    kind: int, body: bytes, *, is_dump: bool = False, is_acknowledged: bool = False
) -> list[tuple[int, bytes]]:
    """What the kernel answers to one message: kind and payload each. Raises as send."""
    flags = (_DUMP if is_dump else 0) | (_ACK if is_acknowledged else 0)
    try:
        with _socket() as netlink:
            netlink.sendto(message(kind, body, _REQUEST | flags), (0, 0))
            found: list[tuple[int, bytes]] = []
            while True:
                found += _parts(netlink.recv(_ANSWER_BYTES))
                if not flags & _DUMP or any(each == _DONE for each, _ in found[-1:]):
                    return [each for each in found if each[0] != _DONE]
    except OSError as error:
        raise _explained(error) from None


def _socket() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    netlink.settimeout(_ANSWER_S)
    return netlink


def _parts(answer: bytes) -> list[tuple[int, bytes]]:
    """The messages of an answer: kind and payload each. Raises OSError for one that refuses."""
    found = []
    offset = 0
    while offset + _HEADER.size <= len(answer):
        length, kind, _flags, _sequence, _port = _HEADER.unpack_from(answer, offset)
        payload = answer[offset + _HEADER.size : offset + length]
        if kind == _ERROR:
            code = -struct.unpack_from("=i", payload)[0]
            if code:
                raise OSError(code, os.strerror(code))
        found.append((kind, payload))
        offset += max(_HEADER.size, length + 3 & ~3)
    return found


def attributes_of(content: bytes) -> dict[int, bytes]:
    """The attributes of a message or of a nest, by kind."""
    return dict(items_of(content))


def items_of(content: bytes) -> list[tuple[int, bytes]]:
    """The attributes of a list, in which several are of one kind."""
    found = []
    offset = 0
    while offset + 4 <= len(content):
        length, kind = struct.unpack_from("=HH", content, offset)
        found.append((kind & ~_NESTED, content[offset + 4 : offset + length]))
        offset += max(4, length + 3 & ~3)
    return found
