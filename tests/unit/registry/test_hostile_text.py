"""Text a server chooses, generated: whatever it says, the parsers answer or refuse, and show no secret."""

from __future__ import annotations

import time

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from pycontainer.errors import PycontainerError, RegistryError
from pycontainer.registry.auth.bearer import bearer_flow
from pycontainer.registry.auth.challenge import Challenge, parse_challenges
from pycontainer.registry.auth.flow import Ask, TokenAnswer
from pycontainer.registry.config import Credentials
from pycontainer.registry.errors import refusal
from pycontainer.registry.guard import Zone, next_url, zone_of_name
from pycontainer.registry.redact import printable, redact_url
from pycontainer.registry.retry import parse_retry_after

HEADERISH = st.text(st.sampled_from('Bearer Basic realm="x,y\\",= \t;:/abc'), max_size=200) | st.text(
    max_size=200
)
TOKENS = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,10}", fullmatch=True)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


@given(HEADERISH)
def test_any_challenge_header_is_read_or_left_out(header: str) -> None:
    for challenge in parse_challenges([header]):
        assert challenge.scheme == challenge.scheme.lower()


@given(
    st.lists(
        st.tuples(TOKENS, st.dictionaries(TOKENS.map(str.lower), VALUES, min_size=1, max_size=4)), max_size=4
    )
)
def test_challenges_that_were_written_by_the_rules_are_read_back(
    offers: list[tuple[str, dict[str, str]]],
) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(
        f"{scheme} " + ", ".join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in offers
    )
    assert parse_challenges([header]) == [
        Challenge(scheme.lower(), parameters) for scheme, parameters in offers
    ]


def _processor_time(size: int) -> float:
    """Seconds to read hostile texts of about this many characters, the best of three."""

    def once() -> float:
        started = time.process_time()
        for pattern in ('a="', "a,", 'Bearer realm="\\', "a=b,", " \t", "a a ", '"'):
            text = pattern * (size // len(pattern))
            parse_challenges([text])
            redact_url("https://x/?" + text)
            printable(text)
        return time.process_time() - started

    return min(once() for _ in range(3))


def test_hostile_headers_take_time_by_their_length_not_by_its_square() -> None:
    # Of a text eight times as long: 8 times as much, or 64 if each character is looked at with all others.
    assert _processor_time(16_000) < 32 * _processor_time(2_000)


@given(st.text(max_size=300) | st.from_regex(r"https?://[ -~]{0,60}", fullmatch=True))
def test_any_url_is_shown_in_one_line_without_user_info(text: str) -> None:
    shown = redact_url(text)
    assert shown.isprintable()
    assert shown.isascii()
    assert len(shown) <= 300


@given(st.text(max_size=100) | st.from_regex(r"(https?:)?/{0,3}[ -~]{0,60}", fullmatch=True))
def test_any_location_is_a_safe_url_or_refused(location: str) -> None:
    base = httpx.URL("https://reg.example/v2/a/")
    try:
        url = next_url(base, location, "redirect")
    except RegistryError:
        return
    assert url.scheme == "https"
    assert url.host
    assert not url.userinfo


@given(st.text(max_size=60))
def test_any_host_has_a_zone_or_must_be_resolved(host: str) -> None:
    assert zone_of_name(host) in {None, *Zone}


@given(st.integers(100, 599), st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_refusal_is_an_error_in_one_line(status: int, body: bytes) -> None:
    assert str(refusal("pull", "https://me:pw@r.io/", status, body)).isprintable()


@given(st.text(max_size=50))
def test_any_retry_after_is_seconds_or_nothing(value: str) -> None:
    seconds = parse_retry_after(value)
    assert seconds is None or seconds >= 0


@given(
    realm=st.text(max_size=80) | st.from_regex(r"https?://[a-z.@:/?#&=%-]{0,40}", fullmatch=True),
    service=st.text(max_size=40),
    status=st.sampled_from([200, 401, 404, 500]),
    body=st.binary(max_size=100) | st.just(b'{"token":"t"}'),
)
@settings(max_examples=300)
def test_no_challenge_makes_the_token_flow_leak_or_crash(
    realm: str, service: str, status: int, body: bytes
) -> None:
    flow = bearer_flow(
        Challenge("bearer", {"realm": realm, "service": service}),
        Ask(
            url="https://reg.example/v2/",
            scopes=("repository:a:pull",),
            credentials=Credentials(username="me", password="s3cret"),
        ),
    )
    header = ""
    try:
        request = next(flow)
        while True:
            assert request.url.startswith("https://")
            assert not set(request.url) & set("\r\n ")
            assert "s3cret" not in request.url
            request = flow.send(TokenAnswer(status=status, body=body))
    except PycontainerError as error:
        shown = str(error)
    except StopIteration as stop:
        shown, header = "", stop.value.header
    assert "s3cret" not in shown
    assert header.isprintable()
