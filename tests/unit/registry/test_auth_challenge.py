from __future__ import annotations

import pytest

from pycontainer.registry.auth.challenge import Challenge, parse_challenges

CASES = {
    "one": (
        ['Bearer realm="https://auth.example/token",service="s",scope="repository:a:pull"'],
        [
            Challenge(
                "bearer",
                {"realm": "https://auth.example/token", "service": "s", "scope": "repository:a:pull"},
            )
        ],
    ),
    "commas inside quotes": (
        ['Bearer realm="https://a.example/t",scope="repository:a:pull,push"'],
        [Challenge("bearer", {"realm": "https://a.example/t", "scope": "repository:a:pull,push"})],
    ),
    "several in one header": (
        ['Basic realm="x", Bearer realm="https://a.example/t", service=s'],
        [
            Challenge("basic", {"realm": "x"}),
            Challenge("bearer", {"realm": "https://a.example/t", "service": "s"}),
        ],
    ),
    "several headers": (
        ['Basic realm="x"', "Negotiate"],
        [Challenge("basic", {"realm": "x"}), Challenge("negotiate")],
    ),
    "a scheme without parameters first": (
        ["Negotiate, Basic realm=x"],
        [Challenge("negotiate"), Challenge("basic", {"realm": "x"})],
    ),
    "an opaque token first": (
        ["NTLM TlRMTVNTUAACAAAA==, Basic realm=x"],
        [Challenge("ntlm"), Challenge("basic", {"realm": "x"})],
    ),
    "escaped quotes": (
        [r'Basic realm="a \"b\", c"'],
        [Challenge("basic", {"realm": 'a "b", c'})],
    ),
    "names in any case, spaces around": (
        ['bEARER  REALM = "r" , Service = "s"'],
        [Challenge("bearer", {"realm": "r", "service": "s"})],
    ),
    "the first of two equal names counts": (
        ['Bearer realm="first",realm="second"'],
        [Challenge("bearer", {"realm": "first"})],
    ),
    "nothing": ([""], []),
    "rubbish": (['="'], []),
    "an unfinished quote": (['Bearer realm="abc'], [Challenge("bearer")]),
    "far too long": (["Bearer " + "x" * 100_000], []),
}


@pytest.mark.parametrize(("headers", "expected"), CASES.values(), ids=CASES)
def test_challenges_are_read_as_rfc_9110_writes_them(headers: list[str], expected: list[Challenge]) -> None:
    assert parse_challenges(headers) == expected
