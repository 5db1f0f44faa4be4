"""Tables that are shown anew again and again, in place on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import click

__all__ = ["refreshed"]

_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"


def refreshed(lines: Callable[[], Sequence[str] | None], *, interval_s: float) -> None:
    """Show these lines until there are none any more (None), at most once in an interval.

    On a terminal each time in place of the last; elsewhere one after the other. Ends with KeyboardInterrupt
    as well, for which nothing has to be tidied up.
    """
    is_terminal = sys.stdout.isatty()
    if is_terminal:
        click.echo(f"{_HOME}{_CLEAR_REST}", nl=False)
    due = time.monotonic()
    while (shown := lines()) is not None:
        if is_terminal:
            text = "".join(f"{line}{_CLEAR_LINE}\n" for line in shown)
            click.echo(f"{_HOME}{text}{_CLEAR_REST}", nl=False)
        else:
            for line in shown:
                click.echo(line)
        sys.stdout.flush()
        due += interval_s
        time.sleep(max(0.0, due - time.monotonic()))
