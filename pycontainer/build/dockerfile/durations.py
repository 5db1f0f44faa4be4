"""Durations as Go writes them, which HEALTHCHECK takes: `1m30s`, `1.5h`, `250ms`.

Source: Go, time.ParseDuration.
"""

from __future__ import annotations

import re
from fractions import Fraction

from pycontainer.build.dockerfile.source import Problem

__all__ = ["nanoseconds"]

_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?P<unit>ns|us|µs|μs|ms|s|m|h)")
_MAX = 2**63 - 1
_MAX_LENGTH = 64


def nanoseconds(text: str) -> int:
    """Read a duration; a number without a unit is none, except 0. Raises: Problem."""
    sign, rest = (text[0], text[1:]) if text[:1] in {"+", "-"} else ("+", text)
    if rest == "0":
        return 0
    total, at = Fraction(0), 0
    while (match := _PART.match(rest, at)) and len(text) <= _MAX_LENGTH:
        total += Fraction(match["number"]) * _UNITS[match["unit"]]
        at = match.end()
    if not rest or at != len(rest) or total > _MAX:
        raise Problem(
            f'invalid duration "{text[:_MAX_LENGTH]}"', expected="a number and a unit, as 30s or 1m30s"
        )
    return int(total) if sign == "+" else -int(total)
