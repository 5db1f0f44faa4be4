"""Any message of DNS comes back as it was written, and any bytes are read or refused, never more."""

from __future__ import annotations

import struct
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from pycontainer.launcher.dns import wire
from tests.support import dns

LABEL = st.binary(min_size=1, max_size=63).filter(lambda label: b"." not in label and b"\\" not in label)
NAME = st.lists(LABEL, max_size=4).map(b".".join).filter(lambda name: len(name) < 253)
ADDRESS = st.one_of(
    st.tuples(st.just(wire.TYPE_A), st.binary(min_size=4, max_size=4)),
    st.tuples(st.just(wire.TYPE_AAAA), st.binary(min_size=16, max_size=16)),
)


@given(NAME, st.integers(0, 65535), st.integers(0, 65535), st.none() | st.integers(0, 65535))
def test_a_question_is_read_as_it_was_written(
    name: bytes, kind: int, number: int, payload: int | None
) -> None:
    option = b"" if payload is None else b"\0" + struct.pack("!HHIH", 41, payload, 0, 0)
    head = struct.pack("!6H", number, 0x0100, 1, 0, 0, 1 if option else 0)
    query = wire.parse_query(head + wire.encode_name(name) + struct.pack("!HH", kind, 1) + option)
    assert (query.name, query.kind, query.number, query.payload) == (name.lower(), kind, number, payload)


@given(
    NAME,
    st.lists(st.tuples(ADDRESS, st.integers(0, 2**32 - 1)), max_size=40),
    st.sampled_from([512, 1232, 65535]),
    st.booleans(),
)
def test_an_answer_is_read_as_far_as_it_was_written(
    name: bytes, records: list[tuple[tuple[int, bytes], int]], limit: int, has_option: bool
) -> None:
    query = wire.Query(7, 0x0100, name, wire.encode_name(name) + b"\0\1\0\1", 1, 4096 if has_option else None)
    given_records = [wire.Record(b"", kind, ttl_s, value) for (kind, value), ttl_s in records]
    packet = wire.response(query, wire.NOERROR, given_records, limit=limit)
    assert len(packet) <= limit
    found = wire.parse_answer(packet)
    assert found.is_truncated == (len(found.records) < len(records))
    assert list(found.records) == [
        record._replace(name=name.lower()) for record in given_records[: len(found.records)]
    ]


def read(packet: bytes) -> None:
    """Whatever it is, it is read or refused, with what it may be answered."""
    try:
        query = wire.parse_query(packet)
        assert len(query.name) < 1024
        wire.parse_answer(wire.response(query, wire.NXDOMAIN))
    except wire.Malformed as refused:
        code = refused.args[1]
        assert code in (None, wire.FORMERR, wire.NOTIMP)
        if code is not None:
            assert len(wire.refusal(packet, code)) == 12
    try:
        answer = wire.parse_answer(packet)
    except wire.Malformed:
        return
    assert all(len(record.value) in (4, 16) for record in answer.records if record.kind != wire.TYPE_CNAME)


@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_refused(packet: bytes) -> None:
    read(packet)


@settings(max_examples=500)
@given(st.data())
def test_a_message_with_some_bytes_changed_is_read_or_refused(data: st.DataObject) -> None:
    query = dns.question("www.example.com", payload=1232)
    records = [(dns.A, b"\1\2\3\4"), (dns.CNAME, b"\3cdn\xc0\x10"), (dns.AAAA, bytes(16))]
    packet = bytearray(data.draw(st.sampled_from([query, dns.reply(query, *records)])))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(packet) - 1))
        packet[at] = data.draw(st.sampled_from([0, 1, 0x0C, 0x3F, 0x40, 0xC0, 0xFF]) | st.integers(0, 255))
    cut = data.draw(st.integers(0, len(packet)))
    read(bytes(packet[: cut or len(packet)]))


@given(st.lists(st.integers(0, 0x3FFF), min_size=1, max_size=200))
def test_pointers_anywhere_come_to_an_end_soon(targets: list[int]) -> None:
    """Records whose names, and whose values, are pointers to any place of the message."""
    begun = time.process_time()
    query = dns.question("a")
    body = b""
    for target in targets:
        pointer = struct.pack("!H", 0xC000 | target)
        body += pointer + struct.pack("!HHIH", dns.CNAME, 1, 0, 2) + pointer
    read(query[:2] + struct.pack("!5H", 0x8180, 1, len(targets), 0, 0) + query[12:] + body)
    assert time.process_time() - begun < 2


def test_the_worst_message_takes_little_time() -> None:
    """As many records as there may be, each name at the end of the longest chain that is followed."""
    query = dns.question("a")
    base = len(query) + 12
    chain = b"".join(
        struct.pack("!H", 0xC000 | (base + 2 * index - 2 if index else 12)) for index in range(31)
    )
    hidden = struct.pack("!HHHIH", 0xC00C, dns.TXT, 1, 0, len(chain)) + chain
    deep = struct.pack("!H", 0xC000 | (base + len(chain) - 2))
    record = deep + struct.pack("!HHIH", dns.A, 1, 0, 4) + b"\1\2\3\4"
    packet = query[:2] + struct.pack("!5H", 0x8180, 1, 4001, 0, 0) + query[12:] + hidden + record * 4000
    begun = time.process_time()
    assert len(wire.parse_answer(packet).records) == 4000
    assert time.process_time() - begun < 2
    longer = packet.replace(record, struct.pack("!H", 0xC000 | (len(query) + len(hidden))) + record[2:])
    read(longer)
