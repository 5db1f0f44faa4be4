"""Which addresses of an answer a container with an egress policy is let to."""

from __future__ import annotations

import ipaddress

import pytest

from pycontainer.launcher.dns import permits, wire

WWW = b"www.example.com"


def answer(*records: wire.Record) -> wire.Answer:
    return wire.Answer(1, 0, False, False, b"", records)


def a(name: bytes, address: str, ttl_s: int = 60) -> wire.Record:
    packed = ipaddress.ip_address(address).packed
    return wire.Record(name, wire.TYPE_A if len(packed) == 4 else wire.TYPE_AAAA, ttl_s, packed)


def alias(name: bytes, other: bytes) -> wire.Record:
    return wire.Record(name, wire.TYPE_CNAME, 60, other)


def let_in(*records: wire.Record) -> list[str]:
    found = permits.addresses_of(WWW, answer(*records))
    return [str(ipaddress.ip_address(address)) for address, _ in found]


def test_the_addresses_of_the_name_are_let_in_for_their_time() -> None:
    records = a(WWW, "192.0.2.1", 5), a(WWW, "2001:db8::1", 900)
    assert let_in(*records) == ["192.0.2.1", "2001:db8::1"]
    assert [ttl_s for _, ttl_s in permits.addresses_of(WWW, answer(*records))] == [5, 900]


def test_aliases_are_followed_in_any_order() -> None:
    chain = alias(b"b.cdn", b"c.cdn"), a(b"c.cdn", "192.0.2.3"), alias(WWW, b"b.cdn")
    assert let_in(*chain) == ["192.0.2.3"]


def test_an_alias_that_leads_back_comes_to_an_end() -> None:
    assert let_in(alias(WWW, b"x"), alias(b"x", WWW), a(b"x", "192.0.2.3")) == ["192.0.2.3"]


def test_addresses_of_other_names_in_the_answer_are_not_let_in() -> None:
    assert let_in(a(b"evil.example.org", "192.0.2.6"), alias(b"other", WWW), a(b"other", "192.0.2.7")) == []


def test_a_long_answer_lets_in_so_many_and_no_more() -> None:
    assert len(let_in(*[a(WWW, f"192.0.2.{last}") for last in range(200)])) == 64


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "127.0.0.1", "127.0.0.53", "169.254.169.254", "224.0.0.1", "255.255.255.255"),
        *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "fe80::1", "febf::1", "ff02::1"),
    ],
)
def test_what_means_this_host_or_its_link_is_never_let_in(address: str) -> None:
    assert let_in(a(WWW, address), a(WWW, "192.0.2.1")) == ["192.0.2.1"]


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "192.168.1.1", "8.8.8.8", "fd00::1", "2001:db8::1", "64:ff9b::1"]
)
def test_private_networks_may_be_permitted_by_name(address: str) -> None:
    assert let_in(a(WWW, address)) == [address]
