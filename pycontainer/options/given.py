"""Times, signals and sizes that methods take beside options: read as those are, refused with the value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pycontainer.errors import InvalidOption
from pycontainer.options import units

__all__ = ["given_seconds", "given_signal", "given_size"]


@contextmanager
def _naming(value: object) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise InvalidOption(f"{value!r}: {error}") from None


def given_seconds(value: object, *, minus_one: bool = False) -> float:
    """Read a time to wait as units.parse_seconds does. Raises: InvalidOption."""
    with _naming(value):
        return units.parse_seconds(value, minus_one=minus_one)


def given_signal(value: object) -> int:
    """Read a signal as units.parse_signal does. Raises: InvalidOption."""
    with _naming(value):
        return units.parse_signal(value)


def given_size(value: object) -> int:
    """Read a size as units.parse_size does. Raises: InvalidOption."""
    with _naming(value):
        return units.parse_size(value)
