"""DNS messages as bytes: read strictly, written shortly. Pure functions.

A query that is not exactly one question is refused, or dropped where no answer could be told from one to
another. Names keep the bytes they came as; compared they are in lower case. A pointer may only go back to
before the name it ends, so that following pointers comes to an end, and a name has 255 bytes at most.

Source: RFC 1035, section 4; RFC 6891 for the OPT record; RFC 2308 for what a missing record looks like.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

__all__ = [
    "FORMERR",
    "MAX_MESSAGE",
    "NOERROR",
    "NOTIMP",
    "NXDOMAIN",
    "PLAIN_UDP",
    "REFUSED",
    "SERVFAIL",
    "TYPE_A",
    "TYPE_AAAA",
    "TYPE_ANY",
    "TYPE_CNAME",
    "TYPE_PTR",
    "Answer",
    "Malformed",
    "Query",
    "Record",
    "encode_name",
    "parse_answer",
    "parse_query",
    "refusal",
    "response",
    "truncated",
]

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
TYPE_A, TYPE_CNAME, TYPE_PTR, TYPE_AAAA, TYPE_ANY = 1, 5, 12, 28, 255
_TYPE_OPT = 41
_CLASS_IN = 1

PLAIN_UDP = 512
"""Bytes of an answer that every client takes by UDP."""

MAX_MESSAGE = 65535
_MAX_NAME = 255
_MAX_LABEL = 63
_OUR_UDP = 4096  # what is said to take by UDP; the client is on the same host, where nothing is fragmented
_MAX_RECORDS = 4096
_MAX_POINTERS = 32  # of one name; who compresses names needs one for each

_QR, _AA, _TC, _RD, _RA, _AD, _CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
_HEADER = struct.Struct("!6H")
_TYPE_CLASS = struct.Struct("!HH")
_FIXED = struct.Struct("!HHIH")
_QUESTION_AT = 0xC00C  # a pointer to the name of the question


class Malformed(ValueError):
    """No message of DNS, or none that is answered."""


class Query(NamedTuple):
    """One question as it was asked."""

    number: int
    """The id, by which the answer is told."""
    flags: int
    name: bytes
    """Labels joined by dots, in lower case; b"" is the root."""
    question: bytes
    """Name, type and class as they were sent."""
    kind: int
    payload: int | None
    """Bytes that the client takes by UDP, from its OPT record; None without one."""

    @property
    def udp_bytes(self) -> int:
        """Most bytes that an answer by UDP may have."""
        return max(PLAIN_UDP, min(self.payload or 0, _OUR_UDP))


class Record(NamedTuple):
    """One record of an answer; name in lower case, or b"" for "the name that was asked for"."""

    name: bytes
    kind: int
    ttl_s: int
    value: bytes


class Answer(NamedTuple):
    """A response of another server, checked in all its parts."""

    number: int
    code: int
    is_truncated: bool
    is_authoritative: bool
    question: bytes
    records: Sequence[Record]
    """The addresses and aliases among its answers; an alias' value is the other name, in lower case."""


def parse_query(packet: bytes) -> Query:
    """The question in a packet.

    Raises Malformed, with what `refusal` may answer as its `args[1]`, None when it deserves no answer.
    """
    if len(packet) < _HEADER.size:
        raise Malformed("shorter than a header", None)
    number, flags, questions, answers, authorities, others = _HEADER.unpack_from(packet)
    if flags & _QR:
        raise Malformed("a response", None)  # answering one could make two servers talk for ever
    if flags >> 11 & 0xF:
        raise Malformed("an operation other than a query", NOTIMP)
    if questions != 1 or answers or authorities or others > 2:
        raise Malformed("not one question", FORMERR)
    try:
        name, offset = _read_name(packet, _HEADER.size, has_pointers=False)
        kind, family = _TYPE_CLASS.unpack_from(packet, offset)
        offset += _TYPE_CLASS.size
        question = packet[_HEADER.size : offset]
        payload = None
        for _ in range(others):
            owner, offset = _read_name(packet, offset, has_pointers=False)
            record, size, _, length = _FIXED.unpack_from(packet, offset)
            offset += _FIXED.size + length
            if record == _TYPE_OPT:
                if owner or payload is not None:
                    raise Malformed("a second OPT record, or one with a name", FORMERR)
                payload = size
    except struct.error:
        raise Malformed("cut off", FORMERR) from None
    if offset != len(packet):
        raise Malformed("not as long as it says", FORMERR)
    if family != _CLASS_IN:
        raise Malformed("a class other than IN", NOTIMP)
    return Query(number, flags, name, question, kind, payload)


def refusal(packet: bytes, code: int) -> bytes:
    """The answer to a query that cannot be read: nothing but the code."""
    number, flags = struct.unpack_from("!HH", packet)
    return _HEADER.pack(number, _QR | flags & 0x7800 | flags & _RD | _RA | code, 0, 0, 0, 0)


def response(query: Query, code: int, records: Sequence[Record] = (), *, limit: int = MAX_MESSAGE) -> bytes:
    """The answer to a query; without those records that do not fit, and then marked as truncated."""
    option = b""
    if query.payload is not None:
        option = b"\0" + _FIXED.pack(_TYPE_OPT, _OUR_UDP, 0, 0)
    room = limit - _HEADER.size - len(query.question) - len(option)
    body, count = b"", 0
    for record in records:
        name = encode_name(record.name) if record.name else _QUESTION_AT.to_bytes(2, "big")
        line = name + _FIXED.pack(record.kind, _CLASS_IN, record.ttl_s, len(record.value)) + record.value
        if len(body) + len(line) > room:
            break
        body, count = body + line, count + 1
    flags = _QR | query.flags & _RD | _RA | code
    if count < len(records):
        flags |= _TC
    head = _HEADER.pack(query.number, flags, 1, count, 0, 1 if option else 0)
    return head + query.question + body + option


def truncated(query: Query) -> bytes:
    """An answer that only says: ask again by TCP."""
    answer = response(query, NOERROR)
    flags = int.from_bytes(answer[2:4], "big") | _TC
    return answer[:2] + flags.to_bytes(2, "big") + answer[4:]


def parse_answer(packet: bytes) -> Answer:
    """A response, every record of which is where and as long as it says. Raises Malformed."""
    if len(packet) < _HEADER.size:
        raise Malformed("shorter than a header")
    number, flags, questions, *counts = _HEADER.unpack_from(packet)
    if not flags & _QR or flags >> 11 & 0xF or questions != 1 or sum(counts) > _MAX_RECORDS:
        raise Malformed("not the response to one question")
    records = []
    try:
        _, offset = _read_name(packet, _HEADER.size, has_pointers=False)
        offset += _TYPE_CLASS.size
        question = packet[_HEADER.size : offset]
        for index in range(sum(counts)):
            record, offset = _read_record(packet, offset)
            if record is not None and index < counts[0]:
                records.append(record)
    except struct.error:
        raise Malformed("cut off") from None
    if offset > len(packet):
        raise Malformed("cut off")
    return Answer(number, flags & 0xF, bool(flags & _TC), bool(flags & _AA), question, records)


def _read_record(packet: bytes, offset: int) -> tuple[Record | None, int]:
    """The record at a place, None for one that is of no interest, and where the next one is."""
    begin = offset
    offset = _skip_name(packet, begin)
    kind, family, ttl_s, length = _FIXED.unpack_from(packet, offset)
    offset += _FIXED.size
    end = offset + length
    if end > len(packet):
        raise Malformed("cut off")
    sizes = {TYPE_A: 4, TYPE_AAAA: 16}
    if family != _CLASS_IN or kind not in (TYPE_A, TYPE_AAAA, TYPE_CNAME):
        return None, end
    owner, _ = _read_name(packet, begin)
    if kind == TYPE_CNAME:
        value, after = _read_name(packet, offset)
        if after != end:
            raise Malformed("an alias of another length than it says")
        return Record(owner, kind, ttl_s, value), end
    if length != sizes[kind]:
        raise Malformed("an address of another length than its kind has")
    return Record(owner, kind, ttl_s, packet[offset:end]), end


def _skip_name(packet: bytes, offset: int) -> int:
    """Where a name ends, without following its pointer."""
    while True:
        if offset >= len(packet):
            raise Malformed("cut off")
        length = packet[offset]
        if length & 0xC0 == 0xC0:
            return offset + 2
        if length > _MAX_LABEL:
            raise Malformed("a label of no kind that is known")
        offset += 1 + length
        if not length:
            return offset


def _read_name(packet: bytes, offset: int, *, has_pointers: bool = True) -> tuple[bytes, int]:
    """The name at a place, in lower case, and where it ends there. Raises Malformed."""
    labels: list[bytes] = []
    total, end, begin, pointers = 0, -1, offset, 0
    while True:
        if offset >= len(packet):
            raise Malformed("cut off", FORMERR)
        length = packet[offset]
        if length & 0xC0 == 0xC0 and has_pointers:
            if offset + 1 >= len(packet):
                raise Malformed("cut off", FORMERR)
            target = (length & 0x3F) << 8 | packet[offset + 1]
            end = offset + 2 if end < 0 else end
            pointers += 1
            if target >= begin or pointers > _MAX_POINTERS:
                raise Malformed("a pointer that does not go back, or one too many", FORMERR)
            begin = offset = target
            continue
        if length > _MAX_LABEL:
            raise Malformed("a label of no kind that is known", FORMERR)
        offset += 1
        total += 1 + length
        if total > _MAX_NAME or offset + length > len(packet):
            raise Malformed("a name that is too long", FORMERR)
        if not length:
            return b".".join(labels).lower(), offset if end < 0 else end
        # A dot within a label is legal, and must not read as two labels.
        labels.append(packet[offset : offset + length].replace(b".", b"\\."))
        offset += length


def encode_name(name: bytes) -> bytes:
    """A name of labels joined by dots, as it is sent. Raises Malformed."""
    encoded = b""
    for label in name.split(b".") if name else ():
        if not 1 <= len(label) <= _MAX_LABEL:
            raise Malformed(f"a label of {len(label)} bytes")
        encoded += bytes((len(label),)) + label
    if len(encoded) >= _MAX_NAME:
        raise Malformed("a name that is too long")
    return encoded + b"\0"
