"""Human quantities: sizes, durations, CPU counts and signals as text or number, turned into exact ones.

Every parser raises ValueError with a message that says what would be accepted; the caller knows the
option's name and adds it.
"""

from __future__ import annotations

import math
import re
import signal
from datetime import timedelta

# Docker's spelling: one letter or the letter with "b", always powers of 1024 (go-units RAMInBytes).
_SIZE = r"(?ai)(?P<number>\d+(?:\.\d+)?) ?(?P<unit>[kmgtp]?)(?:i?b)?"
_SIZE_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATION_PART = r"(?a)(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|us|ns|s|m|h|d)"
_DURATION_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
MAX_BYTES = 2**63 - 1  # the kernel's page counters and the runtime-spec's int64
_RT_SIGNAL = r"(?a)RTM(?P<base>IN|AX)(?P<offset>[+-]\d{1,2})?"


def parse_size(value: object) -> int:
    """Read a size in bytes: an int, or text as "512m", "1.5g", "64KiB" (powers of 1024); -1 is kept."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError('give bytes as a whole number, or text as "512m"')
    if isinstance(value, str):
        text = value.strip()
        if text == "-1":
            return -1
        match = re.fullmatch(_SIZE, text)
        if match is None:
            raise ValueError('give bytes as a whole number, or text as "512m"')
        number, factor = match["number"], 1024 ** _SIZE_POWERS[match["unit"].lower()]
        value = int(float(number) * factor) if "." in number else int(number[:20]) * factor
    if not -1 <= value <= MAX_BYTES:
        raise ValueError(f"a size is between 0 and {MAX_BYTES} bytes")
    return value


def parse_duration(value: object) -> float:
    """Read a duration in seconds: a number, a timedelta, or text as "1.5s", "1m30s", "250ms"."""
    seconds: float
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str):
        seconds = _duration_text(value.strip())
    else:
        raise ValueError('give seconds, a timedelta, or text as "1.5s"')
    if math.isnan(seconds) or abs(seconds) > 1e9:  # 30 years
        raise ValueError("a duration is a finite number of seconds")
    return seconds


def parse_seconds(value: object, *, minus_one: bool = False) -> float:
    """Read a time to wait in seconds, 0 or more; with minus_one, -1 is accepted and means for ever."""
    seconds = parse_duration(value)
    if seconds < 0 and not (minus_one and seconds == -1):
        raise ValueError("give seconds from 0" + (", or -1 to wait for ever" if minus_one else ""))
    return seconds


def _duration_text(text: str) -> float:
    try:
        return float(text) if text.isascii() else math.nan
    except ValueError:
        pass
    total, position = 0.0, 0
    for match in re.finditer(_DURATION_PART, text):
        if match.start() != position:
            break
        total += float(match["number"]) * _DURATION_UNITS[match["unit"]]
        position = match.end()
    if not text or position != len(text):
        raise ValueError('give seconds, a timedelta, or text as "1.5s"')
    return total


def parse_cpus(value: object) -> float:
    """Read a number of CPUs, as 1.5 or "0.25"; exact to a billionth as in Docker."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("give a number of CPUs as 1.5")
    try:
        cpus = float(value) if str(value).isascii() else math.nan
    except ValueError:
        raise ValueError("give a number of CPUs as 1.5") from None
    if not 0 < cpus < 1e6:
        raise ValueError("give a number of CPUs above 0")
    return cpus


def parse_signal(value: object) -> int:
    """Read a signal: a number, "TERM", "SIGTERM", or a real-time one as "SIGRTMIN+3"."""
    if isinstance(value, int) and not isinstance(value, bool):
        number = int(value)
    elif isinstance(value, str) and value.isascii() and value.isdigit():
        number = int(value[:6])
    elif isinstance(value, str):
        number = _signal_name(value.upper().removeprefix("SIG"))
    else:
        raise ValueError('give a signal as "SIGTERM" or 15')
    if not 1 <= number <= int(signal.SIGRTMAX):
        raise ValueError(f"a signal is between 1 and {int(signal.SIGRTMAX)}")
    return number


def _signal_name(name: str) -> int:
    match = re.fullmatch(_RT_SIGNAL, name)
    if match is not None:
        base = signal.SIGRTMIN if match["base"] == "IN" else signal.SIGRTMAX
        number = int(base) + int(match["offset"] or 0)
        if not signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            raise ValueError("the real-time signal is out of range")
        return number
    found = signal.Signals.__members__.get(f"SIG{name}")
    if found is None:
        raise ValueError('give a signal as "SIGTERM" or 15')
    return int(found)
