"""Sizes and ages in the words of Docker. Source: github.com/docker/go-units, size.go and duration.go."""

from __future__ import annotations

from datetime import datetime

__all__ = ["ago", "binary_size", "decimal_size", "zone_time"]

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def decimal_size(size_bytes: float, digits: int = 4) -> str:
    """As "1.234MB", in powers of 1000."""
    return _size(size_bytes, 1000.0, _DECIMAL, digits)


def binary_size(size_bytes: float) -> str:
    """As "1.5GiB", in powers of 1024."""
    return _size(size_bytes, 1024.0, _BINARY, 4)


def _size(size: float, base: float, units: tuple[str, ...], digits: int) -> str:
    index = 0
    while size >= base and index < len(units) - 1:
        size /= base
        index += 1
    return f"{size:.{digits}g}{units[index]}"


def ago(seconds: float) -> str:
    """As "About a minute", "3 hours", "2 weeks"; Docker adds the "ago"."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    for limit, unit, name in ((48, 1, "hours"), (24 * 14, 24, "days"), (24 * 60, 168, "weeks")):
        if hours < limit:
            return f"{hours // unit} {name}"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{hours // 24 // 365} years"


def zone_time(moment: datetime) -> str:
    """As Go prints a local time: "2026-01-31 12:00:00 +0000 UTC"."""
    local = moment.astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S %z %Z")
