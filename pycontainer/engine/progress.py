"""Progress of pulls and pushes, drawn where someone watches and nowhere else.

`shown` gives a callback for events. With "auto" that is a set of bars on a terminal's standard error, a
cell that updates itself in a notebook, and nothing at all elsewhere: a library that prints into a
program's output, or into its log, is a nuisance. Renderers read one `Board`, which any thread may feed.
"""

from __future__ import annotations

import html
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import attrs

from pycontainer.errors import InvalidOption
from pycontainer.image import OnEvent, Progress

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from pycontainer.engine.engine import Engine

__all__ = ["NOTEBOOK_GAP_S", "Board", "Row", "events_shown", "notebook_display", "shown", "size_text"]

MODES = ("auto", "plain", "off")
MOVING = frozenset({"waiting", "downloading", "verifying", "retrying", "unpacking", "uploading"})
FINAL = frozenset({"downloaded", "exists", "skipped", "unpacked", "uploaded", "mounted"})
MAX_ROWS = 12  # of a picture that must fit a small terminal
BAR_CELLS = 28
TERMINAL_GAP_S = 0.1
NOTEBOOK_GAP_S = 0.25  # every update is a message to the browser


@attrs.frozen
class Row:
    """One blob as it stands. fraction: 0 to 1, or None where nobody knows."""

    label: str
    action: str
    done_bytes: int
    total_bytes: int | None

    @property
    def fraction(self) -> float | None:
        """How much of it is done."""
        if not self.total_bytes:
            return None
        return min(1.0, self.done_bytes / self.total_bytes)

    @property
    def amount(self) -> str:
        """Bytes done and to do, as people read them."""
        if self.action not in MOVING or self.total_bytes is None:
            return size_text(self.total_bytes or self.done_bytes)
        return f"{size_text(self.done_bytes)} / {size_text(self.total_bytes)}"


class Board:
    """What is known of an operation; thread-safe."""

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, Row] = {}
        self._timer = timer
        self._started = timer()
        self._subject = ""
        self._moved: dict[str, int] = {}
        self._is_push = False
        self._warnings: list[str] = []

    def take(self, event: Progress) -> None:
        """Note an event."""
        with self._lock:
            self._subject = event.reference or self._subject
            self._is_push = self._is_push or event.action in ("uploading", "uploaded", "mounted")
            if event.action == "warning":
                self._warnings.append(event.message)
            if event.action in ("downloaded", "uploaded"):
                self._moved[event.digest] = event.total_bytes or event.done_bytes
            if event.digest and event.action in MOVING | FINAL:
                label = event.digest.partition(":")[2][:12]
                self._rows[event.digest] = Row(label, event.action, event.done_bytes, event.total_bytes)

    @property
    def heading(self) -> str:
        """What goes on, in one line."""
        with self._lock:
            verb = "Pushing" if self._is_push else "Pulling"
            finished = sum(row.action in FINAL for row in self._rows.values())
            count = f"  {finished}/{len(self._rows)}" if self._rows else ""
            return f"{verb} {self._subject}{count}"

    @property
    def summary(self) -> str:
        """What went on, in one line; empty if nothing was transferred."""
        with self._lock:
            if not self._moved:
                return ""
            verb = "Pushed" if self._is_push else "Pulled"
            size, seconds = size_text(sum(self._moved.values())), self._timer() - self._started
            return f"{verb} {self._subject}: {len(self._moved)} blobs, {size} in {seconds:.1f} s"

    @property
    def warnings(self) -> list[str]:
        """What registries have warned of."""
        with self._lock:
            return list(self._warnings)

    def rows(self) -> list[Row]:
        """The blobs that move, in the order in which they appeared; at most MAX_ROWS."""
        with self._lock:
            return [row for row in self._rows.values() if row.action in MOVING][:MAX_ROWS]


@contextmanager
def shown(mode: str = "auto", *, stream: TextIO | None = None) -> Iterator[OnEvent | None]:
    """Draw the events of one operation; gives their callback, or None where nobody watches.

    mode: "auto"; "plain", one line per step on standard error; "off". Whatever happens inside, the
    terminal is left as it was, but for one line that sums up a success.
    Raises: InvalidOption for another mode.
    """
    if mode not in MODES:
        raise InvalidOption(f"progress {mode!r} is not one of {', '.join(MODES)}")
    stream = stream or sys.stderr
    if mode == "plain":
        yield _PlainLines(stream).take
    elif mode == "off":
        yield None
    elif (display := notebook_display()) is not None:
        yield from _in_notebook(display)
    elif _is_terminal(stream):
        from rich.console import Console  # 40 ms, only where it draws

        console = Console(file=stream, force_jupyter=False)
        if console.is_dumb_terminal:
            yield None
        else:
            yield from _on_terminal(console)
    else:
        yield None


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False  # closed


def _on_terminal(console: Console) -> Iterator[OnEvent]:
    from rich.live import Live

    board = Board()
    # Redirection off: stdout belongs to the program, and may not even be this terminal.
    live = Live(
        get_renderable=lambda: _picture(board),
        console=console,
        transient=True,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    try:
        with live, _ticking(live.refresh):
            yield board.take
    finally:
        for warning in board.warnings:
            console.print(f"WARNING: {warning}", highlight=False, markup=False)
    if board.summary:
        console.print(board.summary, highlight=False, markup=False)


@contextmanager
def _ticking(draw: Callable[[], None]) -> Iterator[None]:
    """Draw again and again in a thread that is gone afterwards; rich's own is only told to end."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(TERMINAL_GAP_S):
            draw()

    thread = threading.Thread(target=tick, name="pycontainer-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _picture(board: Board) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    for row in board.rows():
        fraction = row.fraction
        bar = ProgressBar(total=1.0, completed=fraction or 0.0, width=BAR_CELLS, pulse=fraction is None)
        # Text, not str: no name or message is ever read as markup.
        table.add_row(Text(row.label), Text(row.action), bar, Text(row.amount))
    return Group(Text(board.heading, no_wrap=True, overflow="ellipsis"), table)


class _PlainLines:
    """One line for each change of a blob's state."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._last: dict[str, str] = {}

    def take(self, event: Progress) -> None:
        with self._lock:
            if self._last.get(event.digest) == event.action != "warning":
                return
            self._last[event.digest] = event.action
            size = size_text(event.total_bytes) if event.total_bytes else ""
            parts = [event.reference, event.digest.partition(":")[2][:12], event.action, size, event.message]
            self._stream.write(" ".join(part for part in parts if part) + "\n")
            self._stream.flush()


def notebook_display() -> Callable[..., Any] | None:
    """IPython's display function, if this process is a notebook's kernel."""
    # Looked up, not imported: who runs in a kernel has it loaded.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    found: Callable[..., Any] = display
    return found


def _in_notebook(display: Callable[..., Any]) -> Iterator[OnEvent]:
    """A cell output that is replaced as events come, and at the end by the summary."""
    board = Board()
    view = _BoardView(board)
    handle = display(view, display_id=True)
    lock = threading.Lock()
    next_update = 0.0

    def take(event: Progress) -> None:
        nonlocal next_update
        board.take(event)
        with lock:
            now = time.monotonic()
            if now < next_update:
                return
            next_update = now + NOTEBOOK_GAP_S
            handle.update(view)

    try:
        yield take
    finally:
        view.is_over = True
        handle.update(view)


class _BoardView:
    """A board as a notebook shows it, in HTML and as text."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.is_over = False

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/html": self._html(), "text/plain": self._text()}

    def _html(self) -> str:
        warnings = "".join(f"<div>WARNING: {html.escape(text)}</div>" for text in self._board.warnings)
        if self.is_over:
            return f"{warnings}<div>{html.escape(self._board.summary)}</div>"
        rows = "".join(
            f"<tr><td><code>{html.escape(row.label)}</code></td><td>{html.escape(row.action)}</td>"
            f"<td><progress{_value(row.fraction)}></progress></td><td>{html.escape(row.amount)}</td></tr>"
            for row in self._board.rows()
        )
        return f"{warnings}<div>{html.escape(self._board.heading)}</div><table>{rows}</table>"

    def _text(self) -> str:
        warnings = [f"WARNING: {text}" for text in self._board.warnings]
        if self.is_over:
            return "\n".join([*warnings, self._board.summary])
        lines = [f"  {row.label}  {row.action}  {row.amount}" for row in self._board.rows()]
        return "\n".join([*warnings, self._board.heading, *lines])


def _value(fraction: float | None) -> str:
    return "" if fraction is None else f' value="{fraction:.3f}"'


def size_text(count: int) -> str:
    """Bytes in decimal units, as Docker and disk makers count: `12.3 MB`."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


@contextmanager
def events_shown(engine: Engine, on_event: OnEvent | None) -> Iterator[OnEvent | None]:
    """The caller's own receiver of events, else one that draws where someone watches."""
    if on_event is not None:
        yield on_event
        return
    with shown(engine.config.progress) as drawn:
        yield drawn
