from __future__ import annotations

import httpx
import pytest

from pycontainer.errors import RegistryError
from pycontainer.registry.guard import (
    Zone,
    check_literal,
    next_url,
    same_origin,
    zone_of_address,
    zone_of_name,
)
from pycontainer.registry.redact import printable, redact_url

ZONES = {
    "8.8.8.8": Zone.PUBLIC,
    "2606:4700::1111": Zone.PUBLIC,
    "10.0.0.1": Zone.PRIVATE,
    "192.168.1.1": Zone.PRIVATE,
    "172.16.0.1": Zone.PRIVATE,
    "100.64.0.1": Zone.PRIVATE,
    "fd00::1": Zone.PRIVATE,
    "127.0.0.1": Zone.LOOPBACK,
    "127.1.2.3": Zone.LOOPBACK,
    "::1": Zone.LOOPBACK,
    "0.0.0.0": Zone.LOOPBACK,
    "0.1.2.3": Zone.LOOPBACK,
    "::": Zone.LOOPBACK,
    "::ffff:127.0.0.1": Zone.LOOPBACK,
    "::ffff:10.0.0.1": Zone.PRIVATE,
    "::ffff:169.254.169.254": Zone.LINK,
    "64:ff9b::a9fe:a9fe": Zone.LINK,
    "64:ff9b::7f00:1": Zone.LOOPBACK,
    "2002:7f00:1::": Zone.LOOPBACK,
    "169.254.169.254": Zone.LINK,
    "fe80::1": Zone.LINK,
    "fe80::1%eth0": Zone.LINK,
    "224.0.0.1": Zone.LINK,
    "ff02::1": Zone.LINK,
    "fd00:ec2::254": Zone.LINK,
    "100.100.100.200": Zone.LINK,
}


@pytest.mark.parametrize(("address", "zone"), ZONES.items())
def test_every_address_has_the_zone_it_really_reaches(address: str, zone: Zone) -> None:
    assert zone_of_address(address) is zone


@pytest.mark.parametrize(
    ("host", "zone"),
    [
        ("localhost", Zone.LOOPBACK),
        ("LOCALHOST.", Zone.LOOPBACK),
        ("db.localhost", Zone.LOOPBACK),
        ("[::1]", Zone.LOOPBACK),
        ("169.254.169.254", Zone.LINK),
        ("registry.example", None),
        ("localhost.example", None),
    ],
)
def test_a_name_tells_its_zone_only_where_it_needs_no_resolving(host: str, zone: Zone | None) -> None:
    assert zone_of_name(host) is zone


def test_a_target_nearer_than_the_registry_is_refused() -> None:
    for allowed, url in [
        (Zone.PUBLIC, "https://10.0.0.1/"),
        (Zone.PUBLIC, "https://localhost/"),
        (Zone.PRIVATE, "https://127.0.0.1/"),
        (Zone.LOOPBACK, "http://169.254.169.254/latest/meta-data"),
    ]:
        with pytest.raises(RegistryError):
            check_literal(httpx.URL(url), allowed)
    check_literal(httpx.URL("https://10.0.0.1/"), Zone.PRIVATE)
    check_literal(httpx.URL("http://127.0.0.1:5000/"), Zone.LOOPBACK)
    check_literal(httpx.URL("https://cdn.example/"), Zone.PUBLIC)


BASE = httpx.URL("https://reg.example/v2/a/blobs/x?y=1")


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/v2/b", "https://reg.example/v2/b"),
        ("c?d=e", "https://reg.example/v2/a/blobs/c?d=e"),
        ("?q", "https://reg.example/v2/a/blobs/x?q"),
        ("https://cdn.example/z", "https://cdn.example/z"),
        ("//cdn.example/z", "https://cdn.example/z"),
    ],
)
def test_a_location_may_be_relative_or_absolute(location: str, expected: str) -> None:
    assert str(next_url(BASE, location, "redirect")) == expected


@pytest.mark.parametrize(
    "location",
    [
        "",
        "http://reg.example/v2/b",
        "file:///etc/passwd",
        "ftp://reg.example/x",
        "https://user:pw@reg.example/",
        "https://reg.example/\r\nX: 1",
        "https://rég.example/",
        "/" + "x" * 10_000,
        "https://[::1",
        "https://reg.example:99999999/",
    ],
)
def test_a_location_that_must_not_be_followed_is_refused(location: str) -> None:
    with pytest.raises(RegistryError):
        next_url(BASE, location, "redirect")


def test_plain_http_may_move_up_to_https_but_not_down() -> None:
    assert next_url(httpx.URL("http://r.example/"), "https://r.example/x", "redirect").scheme == "https"


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("https://a.io/x", "https://a.io:443/y", True),
        ("https://A.io/x", "https://a.io/y", True),
        ("https://a.io/", "http://a.io/", False),
        ("https://a.io/", "https://a.io:8443/", False),
        ("https://a.io/", "https://b.io/", False),
        ("https://a.io/", "https://a.io.evil.io/", False),
    ],
)
def test_credentials_stay_with_scheme_host_and_port(one: str, other: str, is_same: bool) -> None:
    assert same_origin(httpx.URL(one), httpx.URL(other)) is is_same


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:s3cret@r.io/v2/?n=5", "https://r.io/v2/?n=5"),
        (
            "https://s3.io/x?X-Amz-Signature=s3cret&digest=sha256:1",
            "https://s3.io/x?X-Amz-Signature=...&digest=sha256:1",
        ),
        ("https://r.io/?token=s3cret#s3cret", "https://r.io/?token=..."),
        ("https://r.io/\r\nSet-Cookie: s", "https://r.io/ Set-Cookie: s"),
        ("http://[::1", "<unreadable url>"),
    ],
)
def test_urls_are_shown_without_what_gives_rights(url: str, shown: str) -> None:
    assert redact_url(url) == shown


def test_a_servers_text_is_shown_in_one_short_line_of_ascii() -> None:
    assert printable("a\x1b[31m\nb\u202ec") == "a [31m b c"
    assert len(printable("x" * 10_000)) == 300
