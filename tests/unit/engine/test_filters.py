"""Filters and moments: what they take, and what they refuse by name."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from pycontainer.engine.filters import Filters
from pycontainer.engine.moments import Moment, to_nanoseconds
from pycontainer.errors import InvalidInput, InvalidOption

KNOWN = ("dangling", "label", "label!", "name", "until")


@pytest.mark.parametrize(
    ("given", "labels", "fits"),
    [
        ({"label": "a"}, {"a": "1"}, True),
        ({"label": "a=1"}, {"a": "1"}, True),
        ({"label": "a=2"}, {"a": "1"}, False),
        ({"label": "a="}, {"a": ""}, True),
        ({"label": ["a", "b"]}, {"a": "1"}, False),
        ({"label": {"a": "1", "b": None}}, {"a": "1", "b": "x"}, True),
        ({"label!": "a"}, {"a": "1"}, False),
        ({"label!": "a=2"}, {"a": "1"}, True),
        ({"label": "k=v=w"}, {"k": "v=w"}, True),
    ],
    ids=str,
)
def test_labels(given: dict[str, object], labels: dict[str, str], fits: bool) -> None:
    assert Filters(given, KNOWN, "tests").has_labels(labels) == fits


def test_what_is_not_given_fits_everything() -> None:
    filters = Filters({"name": []}, KNOWN, "tests")
    assert "name" not in filters
    assert filters.has_any("name", "x")
    assert filters.has_pattern_in("name", "x")
    assert filters.flag("dangling", True)
    assert filters.moment_ns("until") is None


@pytest.mark.parametrize(
    "given",
    [{"nmae": "x"}, {"dangling": "perhaps"}, {"until": ["1h", "2h"]}, {"until": "soon"}, {"name": 1.5}],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(given: dict[str, object]) -> None:
    def ask() -> None:
        filters = Filters(given, KNOWN, "tests")
        filters.flag("dangling", True)
        filters.moment_ns("until")
        filters.texts("name")

    with pytest.raises(InvalidInput):
        ask()


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (0, 0),
        (1.5, 1_500_000_000),
        ("1700000000", 1_700_000_000 * 10**9),
        ("2026-01-31T12:00:00.000001Z", 1769860800 * 10**9 + 1000),
        (datetime(2026, 1, 31, 12, tzinfo=UTC), 1769860800 * 10**9),
    ],
    ids=str,
)
def test_moments(moment: Moment, expected: int) -> None:
    assert to_nanoseconds(moment, "since") == expected


@pytest.mark.parametrize("ago", [timedelta(minutes=90), "90m", "1h30m"], ids=str)
def test_durations_are_ago(ago: Moment) -> None:
    before = time.time_ns()
    found = to_nanoseconds(ago, "since")
    assert before <= found + 5400 * 10**9 <= time.time_ns()


@pytest.mark.parametrize("moment", [-1, float("nan"), "yesterday", "", None, [1]], ids=str)
def test_no_moments(moment: Moment) -> None:
    with pytest.raises(InvalidOption, match="since="):
        to_nanoseconds(moment, "since")
