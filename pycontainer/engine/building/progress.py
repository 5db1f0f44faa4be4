"""Progress of builds, shown where someone watches: events to a callback, plain lines, or a live view."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from pycontainer.build import BuildEvent, OnBuildEvent
from pycontainer.engine.progress import notebook_display
from pycontainer.errors import InvalidOption

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["shown_build"]

MODES = ("auto", "plain", "rich", "off")
_SHOWN = frozenset({"started", "cached", "done", "failed", "warning", "exporting", "finished"})
_TAIL_LINES = 6


@contextmanager
def shown_build(
    progress: OnBuildEvent | str, *, stream: TextIO | None = None
) -> Iterator[OnBuildEvent | None]:
    """What takes a build's events: the caller's own, or one that draws on standard error, or none.

    progress: a callable; "plain", a line for each thing that happens; "rich", a view that is redrawn, on a
    terminal; "auto", that on a terminal, a cell in a notebook, and nothing elsewhere; "off". Raises:
    InvalidOption.
    """
    if callable(progress):
        yield progress
        return
    if progress not in MODES:
        raise InvalidOption(f"progress {progress!r} is not one of {', '.join(MODES)}, nor a callable")
    stream = stream or sys.stderr
    is_terminal = bool(getattr(stream, "isatty", bool)())
    if progress == "plain" or (progress == "rich" and not is_terminal):
        yield _Plain(stream).take
    elif progress == "auto" and (display := notebook_display()) is not None:
        from pycontainer.engine.building.notebook import in_notebook  # only there

        with in_notebook(display) as take:
            yield take
    elif is_terminal and progress != "off":
        with _Live(stream) as live:
            yield live.take
    else:
        yield None


class _Plain:
    """One line for each event, numbered by step, as BuildKit's plain output."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._partial: dict[tuple[str, str], bytes] = {}

    def take(self, event: BuildEvent) -> None:
        """Write an event."""
        with self._lock:
            for line in self._lines(event):
                self._stream.write(line + "\n")
            self._stream.flush()

    def _lines(self, event: BuildEvent) -> Iterator[str]:
        if event.action == "output":
            yield from self._output(event)
            return
        if event.action not in _SHOWN:
            return
        if not event.step:
            yield " ".join(word for word in (event.action, event.digest[:19], event.message) if word)
            return
        is_new = event.step not in self._numbers
        number = self._numbers.setdefault(event.step, len(self._numbers) + 1)
        if is_new:
            yield f"#{number} {_one_line(event.step)}"
        if event.action == "cached":
            yield f"#{number} CACHED"
        elif event.action == "done":
            yield f"#{number} DONE {event.seconds:.1f}s"
        elif event.action == "failed":
            yield f"#{number} ERROR: {event.message}"

    def _output(self, event: BuildEvent) -> Iterator[str]:
        key = (event.step, event.stream)
        *lines, rest = (self._partial.get(key, b"") + event.output).split(b"\n")
        self._partial[key] = rest
        number = self._numbers.setdefault(event.step, len(self._numbers) + 1)
        for line in lines:
            yield f"#{number} {_printable(line)}"


class _Live:
    """Steps that run, with the end of what they wrote, redrawn on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._lock = threading.Lock()
        self._running: dict[str, deque[str]] = {}
        self._finished = 0
        self._console = Console(file=stream)
        self._live = Live(
            console=self._console, transient=True, get_renderable=self._view, refresh_per_second=8
        )

    def __enter__(self) -> _Live:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def take(self, event: BuildEvent) -> None:
        """Note an event; what is over is written once, and stays."""
        with self._lock:
            if event.action == "output":
                lines = self._running.setdefault(event.step, deque(maxlen=_TAIL_LINES))
                lines.extend(map(_printable, event.output.rstrip(b"\n").split(b"\n")))
            elif event.action == "started":
                self._running.setdefault(event.step, deque(maxlen=_TAIL_LINES))
            elif event.action in ("cached", "done", "failed"):
                self._running.pop(event.step, None)
                self._finished += 1
                how = {"cached": "CACHED", "failed": "ERROR"}.get(event.action, f"{event.seconds:.1f}s")
                self._console.print(f"{_one_line(event.step)}  {how}", markup=False, highlight=False)
            elif event.action in ("warning", "finished"):
                self._console.print(
                    " ".join(word for word in (event.action, event.digest[:19], event.message) if word),
                    markup=False, highlight=False,
                )  # fmt: skip

    def _view(self) -> Text:
        from rich.text import Text

        with self._lock:
            lines = []
            for step, tail in self._running.items():
                lines.append(_one_line(step))
                lines += [f"  {line}" for line in tail]
        return Text("\n".join(lines), overflow="ellipsis", no_wrap=True)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


def _printable(line: bytes) -> str:
    """A line of a program's output without what could steer the terminal."""
    text = line.rsplit(b"\r", 1)[-1].decode(errors="replace")
    return "".join(character if character.isprintable() or character == "\t" else "�" for character in text)
