"""Values of repeated flags: KEY=VALUE pairs, and words that commas part."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["pairs", "split_words"]


def pairs(lines: Iterable[str]) -> dict[str, str]:
    """Each KEY=VALUE; a key alone has the empty value, as on Docker's command line."""
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def split_words(values: Iterable[str]) -> list[str]:
    """What was given one by one, or several with commas between."""
    return [word.strip() for value in values for word in value.split(",") if word.strip()]
