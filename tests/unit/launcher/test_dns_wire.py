"""Messages of DNS: what is read, what is refused, and what is written."""

from __future__ import annotations

import struct

import pytest

from pycontainer.launcher.dns import wire
from tests.support import dns

LONGEST = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("web", b"web"),
        ("WEB.App.", b"web.app"),
        ("", b""),
        ("a" * 63, b"a" * 63),
        (LONGEST, LONGEST.encode()),
        ("_http._tcp.web", b"_http._tcp.web"),
    ],
)
def test_a_question_is_read_in_lower_case(asked: str, expected: bytes) -> None:
    query = wire.parse_query(dns.question(asked, dns.AAAA, number=77, payload=1400))
    assert (query.name, query.kind, query.number, query.payload) == (expected, dns.AAAA, 77, 1400)
    assert query.question == dns.question(asked, dns.AAAA)[12:]


def test_a_dot_within_a_label_makes_no_further_label() -> None:
    packet = dns.question("x")[:12] + b"\x07web.app\0" + b"\0\1\0\1"
    assert wire.parse_query(packet).name == b"web\\.app"


GOOD = dns.question("web")
OPT = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)


def changed(at: int, value: bytes) -> bytes:
    return GOOD[:at] + value + GOOD[at + len(value) :]


@pytest.mark.parametrize(
    ("packet", "answered"),
    [
        pytest.param(b"", None, id="nothing"),
        pytest.param(GOOD[:11], None, id="less than a header"),
        pytest.param(changed(2, b"\x81"), None, id="a response"),
        pytest.param(changed(2, b"\x28"), wire.NOTIMP, id="an update"),
        pytest.param(changed(5, b"\x00"), wire.FORMERR, id="no question"),
        pytest.param(changed(5, b"\x02"), wire.FORMERR, id="two questions"),
        pytest.param(changed(7, b"\x01"), wire.FORMERR, id="an answer in a query"),
        pytest.param(changed(9, b"\x01"), wire.FORMERR, id="an authority in a query"),
        pytest.param(changed(11, b"\x03") + OPT * 3, wire.FORMERR, id="too many others"),
        pytest.param(changed(11, b"\x02") + OPT * 2, wire.FORMERR, id="two OPT records"),
        pytest.param(changed(11, b"\x01") + b"\1a" + OPT, wire.FORMERR, id="an OPT record with a name"),
        pytest.param(changed(11, b"\x01"), wire.FORMERR, id="a record that is missing"),
        pytest.param(changed(11, b"\x01") + OPT[:-1], wire.FORMERR, id="a record that is cut off"),
        pytest.param(
            changed(11, b"\x01") + OPT[:-2] + b"\0\x09", wire.FORMERR, id="a record shorter than it says"
        ),
        pytest.param(GOOD + b"\0", wire.FORMERR, id="more than it says"),
        pytest.param(GOOD[:-1], wire.FORMERR, id="less than it says"),
        pytest.param(GOOD[:14], wire.FORMERR, id="a name that is cut off"),
        pytest.param(GOOD[:12] + b"\xc0\x0c\0\1\0\1", wire.FORMERR, id="a pointer to itself"),
        pytest.param(GOOD[:12] + b"\x40" + GOOD[13:], wire.FORMERR, id="a label of no known kind"),
        pytest.param(GOOD[:12] + dns.name(LONGEST + "x") + b"\0\1\0\1", wire.FORMERR, id="a name too long"),
        pytest.param(GOOD[:-1] + b"\3", wire.NOTIMP, id="the class of chaos"),
    ],
)
def test_what_is_no_question_is_refused_or_dropped(packet: bytes, answered: int | None) -> None:
    with pytest.raises(wire.Malformed) as refused:
        wire.parse_query(packet)
    assert refused.value.args[1] == answered
    if answered is not None:
        answer = wire.refusal(packet, answered)
        assert answer[:2] == packet[:2]
        assert (answer[2] >> 7, dns.code(answer), answer[4:]) == (1, answered, bytes(8))


def test_an_answer_repeats_the_question_as_it_was_asked() -> None:
    query = wire.parse_query(dns.question("Web.APP", payload=4096))
    records = [wire.Record(b"", dns.A, 600, bytes((10, 0, 0, last))) for last in (2, 3)]
    answer = wire.response(query, wire.NOERROR, records)
    assert b"\x03Web\x03APP\0" in answer
    assert dns.addresses(answer) == ["10.0.0.2", "10.0.0.3"]
    assert answer[2:4] == b"\x81\x80"  # a response, recursion asked for and had
    assert answer.endswith(b"\0\0\x29\x10\0\0\0\0\0\0\0")  # an OPT record, since there was one
    assert int.from_bytes(answer[10:12], "big") == 1
    parsed = wire.parse_answer(answer)
    assert [record.value for record in parsed.records] == [record.value for record in records]
    assert {record.ttl_s for record in parsed.records} == {600}


def test_an_answer_without_an_option_record_has_none() -> None:
    answer = wire.response(wire.parse_query(GOOD), wire.NXDOMAIN)
    assert (dns.code(answer), answer[4:12]) == (3, b"\0\1" + bytes(6))


def test_records_that_do_not_fit_are_left_out_and_that_is_said() -> None:
    query = wire.parse_query(GOOD)
    records = [wire.Record(b"", dns.A, 600, bytes((10, 0, 0, last))) for last in range(100)]
    answer = wire.response(query, wire.NOERROR, records, limit=query.udp_bytes)
    assert len(answer) <= 512
    assert answer[2] & 2
    assert 20 < len(dns.addresses(answer)) < 100
    assert wire.parse_answer(answer).is_truncated
    whole = wire.response(query, wire.NOERROR, records)
    assert (whole[2] & 2, len(dns.addresses(whole))) == (0, 100)
    assert wire.parse_answer(wire.truncated(query)).is_truncated


@pytest.mark.parametrize(
    ("payload", "expected"), [(None, 512), (0, 512), (512, 512), (1232, 1232), (65535, 4096)]
)
def test_an_answer_by_udp_has_as_many_bytes_as_the_client_takes(payload: int | None, expected: int) -> None:
    assert wire.parse_query(dns.question("web", payload=payload)).udp_bytes == expected


def answer_with(*records: bytes, count: int | None = None) -> bytes:
    head = GOOD[:2] + struct.pack("!5H", 0x8180, 1, len(records) if count is None else count, 0, 0)
    return head + GOOD[12:] + b"".join(records)


def record(owner: bytes, kind: int, value: bytes, length: int | None = None) -> bytes:
    return owner + struct.pack("!HHIH", kind, 1, 60, len(value) if length is None else length) + value


def test_aliases_and_addresses_of_an_answer_are_read() -> None:
    alias = record(b"\xc0\x0c", dns.CNAME, b"\x03CDN\xc0\x0c")
    found = wire.parse_answer(answer_with(alias, record(b"\x03cdn\xc0\x0c", dns.A, b"\1\2\3\4")))
    assert [(each.name, each.kind, each.value) for each in found.records] == [
        (b"web", dns.CNAME, b"cdn.web"),
        (b"cdn.web", dns.A, b"\1\2\3\4"),
    ]


def test_records_of_other_kinds_are_passed_over() -> None:
    found = wire.parse_answer(answer_with(record(b"\xc0\x0c", dns.TXT, b"\3abc"), record(b"\0", 41, b"")))
    assert list(found.records) == []


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(GOOD, id="a query"),
        pytest.param(GOOD[:3], id="less than a header"),
        pytest.param(answer_with(count=1), id="a record that is missing"),
        pytest.param(answer_with(count=65535), id="more records than there can be"),
        pytest.param(answer_with(record(b"\xc0\x0c", dns.A, b"\1\2\3")), id="an address too short"),
        pytest.param(answer_with(record(b"\xc0\x0c", dns.AAAA, bytes(4))), id="an address of the other kind"),
        pytest.param(answer_with(record(b"\xc0\x0c", dns.A, b"\1\2\3\4", 9)), id="longer than the packet"),
        pytest.param(answer_with(record(b"\xc0\xff", dns.A, b"\1\2\3\4")), id="a pointer ahead"),
        pytest.param(answer_with(record(b"\xc0\x15", dns.A, b"\1\2\3\4")), id="a pointer to itself"),
        pytest.param(answer_with(record(b"\xc0", dns.A, b"")[:1]), id="half a pointer"),
        pytest.param(answer_with(record(b"\xc0\x0c", dns.CNAME, b"\xc0\x0c\0")), id="an alias too short"),
        pytest.param(
            answer_with(record(b"\xc0\x0c", dns.CNAME, b"\x3fabc")), id="an alias beyond its record"
        ),
        pytest.param(answer_with(record(b"\x80\x0c", dns.A, b"\1\2\3\4")), id="a label of no known kind"),
    ],
)
def test_an_answer_that_is_not_whole_is_refused(packet: bytes) -> None:
    with pytest.raises(wire.Malformed):
        wire.parse_answer(packet)


@pytest.mark.parametrize(("hops", "is_read"), [(31, True), (32, False)])
def test_pointers_that_lead_from_one_to_the_next_come_to_an_end(hops: int, is_read: bool) -> None:
    """A compression bomb: a record that nobody reads holds a chain of pointers; others begin at its end."""
    base = len(GOOD) + 12
    chain = b"".join(struct.pack("!H", 0xC000 | (base + 2 * at - 2 if at else 12)) for at in range(hops))
    bomb = answer_with(
        record(b"\xc0\x0c", dns.TXT, chain),
        *[record(struct.pack("!H", 0xC000 | (base + 2 * hops - 2)), dns.A, b"\1\2\3\4")] * 100,
    )
    if is_read:
        assert {each.name for each in wire.parse_answer(bomb).records} == {b"web"}
    else:
        with pytest.raises(wire.Malformed, match="one too many"):
            wire.parse_answer(bomb)


@pytest.mark.parametrize("text", ["a..b", "a" * 64, LONGEST + "x"])
def test_a_name_that_dns_does_not_have_is_not_written(text: str) -> None:
    with pytest.raises(wire.Malformed):
        wire.encode_name(text.encode())
