"""Pieces of HTML and SVG, each of which escapes what it is given."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "RED",
    "Markup",
    "box",
    "card",
    "escaped",
    "join",
    "line",
    "printable",
    "table",
]

BLUE, GREEN, ORANGE, RED, GREY = "#4285f4", "#34a853", "#f29900", "#d93025", "#80868b"

# Controls, which JSON and XML cannot all have, and what changes the order or the look of the text around it.
_UNSHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_CARD = (
    "font:13px/1.5 system-ui,sans-serif;border:1px solid rgba(128,128,128,.4);border-radius:6px;"
    "padding:8px 12px;margin:4px 0;max-width:760px;overflow-x:auto"
)


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def printable(text: str) -> str:
    """A stranger's text without what acts on a terminal, or changes how the text around it looks."""
    return _UNSHOWN.sub("\ufffd", _ANSI.sub("", text))


def escaped(text: object) -> Markup:
    """Any text as markup that shows it; colours of a terminal are left out."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(printable(str(text))))


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Parts one after the other."""
    return Markup(between.join(escaped(part) for part in parts))


def box(name: str, content: object, style: str = "") -> Markup:
    """An element with a content. The name and the style are ours."""
    attribute = f' style="{style}"' if style else ""
    return Markup(f"<{name}{attribute}>{escaped(content)}</{name}>")


def card(title: object, subtitle: object, parts: Iterable[object]) -> Markup:
    """A frame with a heading."""
    head = join([box("b", title, "font-size:14px"), box("span", subtitle, f"color:{GREY};margin-left:8px")])
    return box("div", join([box("div", head), *parts]), _CARD)


def table(rows: Iterable[Sequence[object]], head: Sequence[object] = ()) -> Markup:
    """Rows of cells; the first cell of each is a name."""
    lines = []
    cell = "text-align:left;vertical-align:top;padding:1px 14px 1px 0;background:none"
    if head:
        lines.append(box("tr", join(box("th", each, f"{cell};font-weight:600") for each in head)))
    for row in rows:
        first = cell if head else f"{cell};color:{GREY}"
        cells = [box("td", each, first if index == 0 else cell) for index, each in enumerate(row)]
        lines.append(box("tr", join(cells)))
    return box("table", join(lines), "border-collapse:collapse;border:none;margin:4px 0;font-size:12px")


def line(
    values: Sequence[float], colour: str, width: int = 160, height: int = 28, top: float = 0.0
) -> Markup:
    """A line over evenly spaced values, from 0 to the largest, or to top if that is more."""
    most = max([*values, top, 1e-9])
    step = width / max(1, len(values) - 1)
    heights = [height - 2 - value / most * (height - 4) for value in values]
    points = " ".join(f"{index * step:.1f},{y:.1f}" for index, y in enumerate(heights))
    return Markup(
        f'<svg width="{width}" height="{height}" style="vertical-align:middle">'
        f'<polyline points="0,{height} {points} {width},{height}" fill="{colour}" fill-opacity="0.15"/>'
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/></svg>'
    )
