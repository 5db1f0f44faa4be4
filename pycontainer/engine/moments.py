"""Points in time as users give them: a datetime, seconds since the epoch, or how long ago."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, overload

from pycontainer.errors import InvalidOption
from pycontainer.options import parse_duration

__all__ = ["Moment", "from_nanoseconds", "left_ms", "to_nanoseconds"]

Moment: TypeAlias = datetime | float | str | timedelta
"""A datetime (without a zone: local time), seconds since the epoch, or ago: a timedelta, "10m", "1h30m".

Text may also be what isoformat() writes, or seconds since the epoch in digits, as Docker takes them.
"""


def left_ms(deadline: float | None) -> float | None:
    """What poll(2) may wait until a deadline of the monotonic clock: milliseconds, or None for ever."""
    return None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000


_LAST_S = datetime.max.replace(tzinfo=UTC).timestamp() - 1


@overload
def from_nanoseconds(at_ns: int) -> datetime: ...


@overload
def from_nanoseconds(at_ns: int | None) -> datetime | None: ...


def from_nanoseconds(at_ns: int | None) -> datetime | None:
    """Nanoseconds since the epoch as a date in UTC, exact to the microsecond; None stays None."""
    if at_ns is None:
        return None
    seconds, rest = divmod(at_ns, 10**9)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def to_nanoseconds(moment: Moment, name: str) -> int:
    """The moment in nanoseconds since the epoch. Raises: InvalidOption naming the option."""
    if isinstance(moment, str):
        moment = _parse(moment, name)
    if isinstance(moment, datetime):
        # Whole microseconds: a float of today's seconds is not exact to one.
        seconds = moment.replace(microsecond=0).timestamp()
        return int(seconds) * 10**9 + moment.microsecond * 1000
    if isinstance(moment, timedelta):
        return time.time_ns() - moment // timedelta(microseconds=1) * 1000
    given: object = moment
    if not isinstance(given, int | float) or not math.isfinite(given) or not 0 <= given <= _LAST_S:
        raise InvalidOption(
            f"{name}={moment!r}: give a datetime, seconds since the epoch, or a duration such as '10m'"
        )
    return moment * 10**9 if isinstance(moment, int) else int(moment * 1e9)


def _parse(text: str, name: str) -> datetime | float | timedelta:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        pass
    try:
        return timedelta(seconds=parse_duration(text))
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidOption(
            f"{name}={text!r}: give a date as 2026-01-31T12:00:00Z, or a duration such as '10m'"
        ) from None
