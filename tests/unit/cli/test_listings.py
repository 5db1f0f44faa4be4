"""Lists: tables, JSON, lines of one's own; sizes and ages in Docker's words."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest

from pycontainer.cli.formatting import Field, Listing, ago, binary_size, decimal_size, tabulate


class Box(NamedTuple):
    name: str
    labels: dict[str, str]


def _never(_: object) -> str:
    raise AssertionError("nobody asked for it")


BOXES = [Box("web", {"tier": "front"}), Box("a-longer-name", {})]
LISTING: Listing[Box] = Listing(
    {
        "Name": Field("NAMES", lambda box: box.name),
        "Labels": Field("LABELS", lambda box: ",".join(f"{k}={v}" for k, v in box.labels.items())),
        "Label": Field("", lambda box: lambda name: box.labels.get(name, ""), is_method=True),
    },
    ("Name", "Labels"),
)


def test_columns_are_as_wide_as_their_widest_cell_and_ten_at_least() -> None:
    assert tabulate([["A", "B", "C"], ["1", "a wide cell", "x"]]) == [
        "A         B             C",
        "1         a wide cell   x",
    ]


@pytest.mark.parametrize("form", ["", "table"])
def test_the_usual_table_has_headers(form: str) -> None:
    assert LISTING.lines(BOXES, form) == [
        "NAMES           LABELS",
        "web             tier=front",
        "a-longer-name   ",
    ]


def test_a_table_of_own_columns_has_their_headers() -> None:
    assert LISTING.lines(BOXES, r'table {{.Label "tier"}}\t{{upper .Name}}') == [
        "TIER      NAMES",
        "front     WEB",
        "          A-LONGER-NAME",
    ]


def test_a_template_makes_a_line_of_each() -> None:
    assert LISTING.lines(BOXES, r"{{.Name}}\t{{.Labels}}") == ["web\ttier=front", "a-longer-name\t"]


def test_json_is_an_object_a_line_without_what_takes_arguments() -> None:
    assert [json.loads(line) for line in LISTING.lines(BOXES, "json")] == [
        {"Labels": "tier=front", "Name": "web"},
        {"Labels": "", "Name": "a-longer-name"},
    ]


def test_only_fields_that_are_asked_for_are_read() -> None:
    listing: Listing[Box] = Listing({**LISTING.fields, "Size": Field("SIZE", _never)}, ("Name",))
    assert listing.lines(BOXES[:1], "{{.Name}}") == ["web"]
    assert listing.lines(BOXES[:1]) == ["NAMES", "web"]


@pytest.mark.parametrize(
    ("expected", "seconds"),
    [
        # The examples of go-units' own tests, duration_test.go
        ("Less than a second", 0.45),
        ("1 second", 1),
        ("45 seconds", 45),
        ("46 seconds", 46),
        ("59 seconds", 59),
        ("About a minute", 60),
        ("About a minute", 90),
        ("3 minutes", 180),
        ("59 minutes", 3599),
        ("About an hour", 3600),
        ("About an hour", 89 * 60),
        ("2 hours", 90 * 60),
        ("47 hours", 47 * 3600),
        ("2 days", 48 * 3600),
        ("13 days", 13 * 86400),
        ("2 weeks", 14 * 86400),
        ("4 weeks", 29 * 86400),
        ("2 months", 60 * 86400),
        ("23 months", 23 * 30 * 86400 + 86400),
        ("2 years", 2 * 365 * 86400),
    ],
)
def test_ages_are_told_as_docker_tells_them(expected: str, seconds: float) -> None:
    assert ago(seconds) == expected


@pytest.mark.parametrize(
    ("decimal", "binary", "size"),
    [
        ("0B", "0B", 0),
        ("999B", "999B", 999),
        ("1kB", "1000B", 1000),
        ("1.024kB", "1KiB", 1024),
        ("1.024MB", "1000KiB", 1024 * 1000),
        ("1.049MB", "1MiB", 1 << 20),
        ("1.1TB", "1TiB", 1 << 40),
    ],
)
def test_sizes_are_told_as_docker_tells_them(decimal: str, binary: str, size: int) -> None:
    assert (decimal_size(size), binary_size(size)) == (decimal, binary)


def test_what_others_wrote_commands_no_terminal() -> None:
    hostile = Box("\x1b]0;title\x07\x1b[2J\x9b2J\r\nname", {})
    (_, line) = LISTING.lines([hostile], "table {{.Name}}")[:2]
    shown = "".join([line, *LISTING.lines([hostile]), *tabulate([["\x1b[31m", "\x7f"]])])
    assert not {letter for letter in shown if ord(letter) < 32 or 127 <= ord(letter) < 160}
