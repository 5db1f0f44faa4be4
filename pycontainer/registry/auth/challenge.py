"""WWW-Authenticate: which ways to authenticate a server offers.

A header may hold several challenges separated by commas, and so may their parameters; quoted values
may hold commas. Source: RFC 9110, 11.6.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

__all__ = ["Challenge", "parse_challenges"]

MAX_HEADER = 16 << 10
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_SCHEME = re.compile(rf"\s*+,*+\s*+({_TOKEN})(?:\s+|\s*(?=,)|\s*$)")  # "*+": never a second look at blanks
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*(?:,|$)')
_TOKEN68 = re.compile(r"\s*[A-Za-z0-9\-._~+/]+=*\s*(?:,|$)")
_ESCAPED = re.compile(r"\\(.)")


@attrs.frozen
class Challenge:
    """One offer: scheme in lower case, parameters by lower-case name."""

    scheme: str
    parameters: Mapping[str, str] = attrs.field(factory=dict)


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """All challenges of all WWW-Authenticate headers, in order; what cannot be read is left out."""
    found: list[Challenge] = []
    for header in headers:
        if len(header) <= MAX_HEADER:
            found += _parse(header)
    return found


def _parse(header: str) -> list[Challenge]:
    found = []
    position = 0
    while match := _SCHEME.match(header, position):
        position = match.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            name, quoted, plain = parameter.groups()
            value = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
            parameters.setdefault(name.lower(), value)
            position = parameter.end()
        if not parameters and (opaque := _TOKEN68.match(header, position)):
            position = opaque.end()
        found.append(Challenge(match[1].lower(), parameters))
    return found
