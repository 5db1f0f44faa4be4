"""Pictures: who is in a network, what a build is made of, how use went over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pycontainer.engine.displays import markup
from pycontainer.engine.displays.markup import Markup, card, escaped, join
from pycontainer.engine.progress import size_text

if TYPE_CHECKING:
    from pycontainer.build import Plan
    from pycontainer.engine.stats import Stats

__all__ = ["build_graph_html", "looks_html", "network_svg"]

_WIDTH = 720
_BOX_W, _BOX_H, _GAP = 132, 38, 12
_MOST = 60  # boxes of a picture that somebody can read
_FONT = 'font-family="system-ui,sans-serif" fill="currentColor"'
_LINE = f'stroke="{markup.GREY}" stroke-width="1.5" fill="none"'


def network_svg(name: str, is_internal: bool, containers: Sequence[tuple[str, str, str]]) -> Markup:
    """A line for the network, with what is connected below it: name, address, colour of the state."""
    shown = containers[:_MOST]
    columns = max(1, (_WIDTH + _GAP) // (_BOX_W + _GAP))
    rows = (len(shown) + columns - 1) // columns
    top = 64
    gap = ' stroke-dasharray="3 3"' if is_internal else ""
    parts: list[object] = [
        _box(_WIDTH / 2 - 66, 2, "no way out" if is_internal else "host", "", markup.GREY, height=24),
        Markup(f'<path d="M{_WIDTH / 2} 26 V44" {_LINE}{gap}/>'),
        Markup(f'<path d="M0 44 H{_WIDTH}" stroke="{markup.BLUE}" stroke-width="4"/>'),
        Markup(f'<text x="2" y="38" font-size="11" {_FONT}>{escaped(name)}</text>'),
    ]
    for index, (title, address, colour) in enumerate(shown):
        x, y = (index % columns) * (_BOX_W + _GAP), top + (index // columns) * (_BOX_H + 2 * _GAP)
        lane = x - _GAP / 2 if index >= columns else x + _BOX_W / 2
        turn = f" V{y + _BOX_H / 2} H{x}" if index >= columns else f" V{y}"
        parts.append(Markup(f'<path d="M{max(1.0, lane)} 44{turn}" {_LINE}/>'))
        parts.append(_box(x, y, title, address, colour))
    if len(containers) > len(shown):
        more = f"… and {len(containers) - len(shown)} more"
        parts.append(Markup(f'<text x="2" y="{top + rows * 62}" font-size="11" {_FONT}>{more}</text>'))
    return _svg(_WIDTH, top + max(1, rows) * (_BOX_H + 2 * _GAP), parts)


def _svg(width: float, height: float, parts: Sequence[object]) -> Markup:
    view = f'viewBox="0 0 {width:.0f} {height:.0f}"'
    return Markup(
        f'<svg {view} width="{width:.0f}" height="{height:.0f}" style="max-width:100%">{join(parts)}</svg>'
    )


def _box(x: float, y: float, title: str, below: str, colour: str, *, height: int = _BOX_H) -> Markup:
    short = title if len(title) <= 19 else f"{title[:18]}…"
    first = y + (16 if below or height < _BOX_H else 23)
    lines = f'<text x="{x + 10}" y="{first}" font-size="12" font-weight="600" {_FONT}>{escaped(short)}</text>'
    if below:
        cut = below if len(below) <= 19 else f"{below[:18]}…"
        lines += f'<text x="{x + 10}" y="{y + 30}" font-size="11" {_FONT} opacity="0.7">{escaped(cut)}</text>'
    return Markup(
        f'<g><title>{escaped(title)}</title><rect x="{x}" y="{y}" width="{_BOX_W}" height="{height}" rx="5" '
        f'fill="{colour}" fill-opacity="0.12" stroke="{colour}"/>{lines}</g>'
    )


def build_graph_html(plan: Plan) -> str:
    """The stages a target needs, each right of what it is built on and copies from."""
    depths: dict[int, int] = {}
    for planned in plan.stages:
        depths[planned.index] = max((depths[each] + 1 for each in planned.needs if each in depths), default=0)
    places: dict[int, tuple[float, float]] = {}
    filled: dict[int, int] = {}
    parts: list[object] = []
    for planned in plan.stages[:_MOST]:
        depth = depths[planned.index]
        row = filled.get(depth, 0)
        filled[depth] = row + 1
        x, y = depth * (_BOX_W + 48.0), row * (_BOX_H + 2.0 * _GAP) + 2
        places[planned.index] = x, y
        colour = markup.GREEN if planned.index == plan.target else markup.BLUE
        count = len(planned.instructions)
        base = "" if planned.base.stage is not None else f"from {planned.base.name}"
        below = base or f"{count} instruction{'s' if count != 1 else ''}"
        parts.append(_box(x, y, planned.stage.title, below, colour))
        for needed in sorted(planned.needs & places.keys()):
            from_x, from_y = places[needed]
            dashed = "" if planned.base.stage == needed else ' stroke-dasharray="4 3"'
            begin_x, begin_y, end_y = from_x + _BOX_W, from_y + _BOX_H / 2, y + _BOX_H / 2
            bend = (begin_x + x) / 2
            path = f"M{begin_x} {begin_y} C{bend} {begin_y} {bend} {end_y} {x} {end_y}"
            parts.insert(0, Markup(f'<path d="{path}" {_LINE}{dashed}/>'))
    width = (max(depths.values(), default=0) + 1) * (_BOX_W + 48) - 46
    height = max(filled.values(), default=1) * (_BOX_H + 2 * _GAP)
    title = plan.stage(plan.target).stage.title
    return card(f"build of {title}", "solid: built on, dashed: copied from", [_svg(width, height, parts)])


def looks_html(looks: Sequence[Stats], title: str = "usage") -> str:
    """Processor and memory over time, with scales."""
    if len(looks) < 2:
        return card(title, "too few looks for a picture", [])
    begin = looks[0].monotonic_ns
    seconds = [(look.monotonic_ns - begin) / 1e9 for look in looks]
    processor = [look.cpu_percent or 0.0 for look in looks]
    memory = [float(look.memory_bytes or 0) for look in looks]
    parts = [
        _plot("CPU", seconds, processor, f"{max(processor):.0f} %", markup.BLUE),
        _plot("memory", seconds, memory, size_text(int(max(memory))), markup.GREEN),
    ]
    received = [float(look.received_bytes + look.sent_bytes) for look in looks]
    if received[-1] > received[0]:
        moved = [value - received[0] for value in received]
        parts.append(_plot("network", seconds, moved, size_text(int(moved[-1])), markup.ORANGE))
    return card(title, f"{seconds[-1]:.1f} s", parts)


def _plot(name: str, seconds: Sequence[float], values: Sequence[float], most: str, colour: str) -> Markup:
    width, height, left, bottom = _WIDTH, 110, 70, 18
    top_value, last = max([*values, 1e-9]), seconds[-1] or 1.0
    floor, room = height - bottom, width - left - 4
    points = " ".join(
        f"{left + at / last * room:.1f},{8 + (1 - value / top_value) * (floor - 8):.1f}"
        for at, value in zip(seconds, values, strict=True)
    )
    return _svg(
        width,
        height,
        [
            Markup(f'<path d="M{left} 8 V{floor} H{width - 4}" stroke="{markup.GREY}" fill="none"/>'),
            Markup(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'),
            Markup(f'<text x="0" y="{floor / 2}" font-size="12" font-weight="600" {_FONT}>{name}</text>'),
            Markup(f'<text x="{left - 4}" y="14" font-size="10" text-anchor="end" {_FONT}>{most}</text>'),
            Markup(f'<text x="{left}" y="{height - 4}" font-size="10" {_FONT}>0</text>'),
            Markup(
                f'<text x="{width - 4}" y="{height - 4}" font-size="10" text-anchor="end" {_FONT}>'
                f"{last:.1f} s</text>"
            ),
        ],
    )
