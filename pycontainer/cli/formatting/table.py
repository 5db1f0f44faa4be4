"""Columns of text, as Go's tabwriter lays them out for Docker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pycontainer.cli.printable import printable

__all__ = ["tabulate"]

_PADDING = 3
_LEAST = 10


def tabulate(rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of aligned columns; the last cell of a row has nothing after it.

    A column is as wide as its widest cell and three spaces, and 10 at least. Control characters are shown,
    not obeyed. Source: docker/cli, cli/command/formatter/formatter.go (tabwriter, minwidth 10, padding 3).
    """
    kept = [[printable(cell) for cell in row] for row in rows]
    widths: list[int] = []
    for row in kept:
        for column, cell in enumerate(row[:-1]):
            if column == len(widths):
                widths.append(_LEAST)
            widths[column] = max(widths[column], len(cell) + _PADDING)
    return [
        "".join([cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)] + row[-1:])
        for row in kept
    ]
