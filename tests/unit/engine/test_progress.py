from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pycontainer.engine.progress import Board, Row, shown, size_text
from pycontainer.errors import InvalidOption
from pycontainer.image import Progress

DIGEST = "sha256:" + "ab" * 32


def event(
    action: Any, done: int = 0, total: int | None = 2_000_000, digest: str = DIGEST, **more: Any
) -> Progress:
    return Progress(
        action=action, reference="alpine:3.20", digest=digest, done_bytes=done, total_bytes=total, **more
    )


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _a_real_terminal_type(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, str]]]:
    """A stand-in for the kernel's display; gives the successive contents of the output."""
    shown_: list[dict[str, str]] = []

    def display(view: Any, *, display_id: bool) -> Any:
        def update(changed: Any) -> None:
            shown_.append(changed._repr_mimebundle_())

        update(view)
        return SimpleNamespace(update=update)

    package, module = ModuleType("IPython"), ModuleType("IPython.display")
    package.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return shown_


def test_nothing_is_drawn_where_nobody_watches() -> None:
    stream = io.StringIO()
    with shown("auto", stream=stream) as on_event:
        assert on_event is None
    with shown("off", stream=Terminal()) as on_event:
        assert on_event is None
    assert stream.getvalue() == ""


def test_a_closed_or_missing_stream_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = Terminal()
    closed.close()
    monkeypatch.setattr(closed, "isatty", io.StringIO.isatty.__get__(closed))
    with shown("auto", stream=closed) as on_event:
        assert on_event is None
    monkeypatch.setattr(sys, "stderr", None)
    with shown("auto") as on_event:
        assert on_event is None


def test_a_dumb_terminal_gets_no_control_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    with shown("auto", stream=terminal) as on_event:
        assert on_event is None
    assert terminal.getvalue() == ""


def test_a_terminal_shows_bars_while_it_runs_and_one_line_after() -> None:
    terminal = Terminal()
    with shown("auto", stream=terminal) as on_event:
        assert on_event is not None
        on_event(event("downloading", 1_000_000))
        while "abababababab" not in terminal.getvalue():  # drawn by its own thread
            threading.Event().wait(0.01)
        on_event(event("downloaded", 2_000_000))
    text = terminal.getvalue()
    assert "Pulling alpine:3.20" in text
    assert "1.0 MB / 2.0 MB" in text
    assert text.rstrip().endswith("s")
    assert "Pulled alpine:3.20: 1 blobs, 2.0 MB in " in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # the cursor is back


def broken_transfer(stream: io.StringIO) -> None:
    with shown("auto", stream=stream) as on_event:
        assert on_event is not None
        on_event(event("downloading", 1))
        raise KeyError


def test_an_error_leaves_the_terminal_clean_and_passes_through() -> None:
    terminal = Terminal()
    stdout, stderr = sys.stdout, sys.stderr
    with pytest.raises(KeyError):
        broken_transfer(terminal)
    assert (sys.stdout, sys.stderr) == (stdout, stderr)
    text = terminal.getvalue()
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")
    assert "Pulled" not in text
    assert not [thread for thread in threading.enumerate() if thread.name == "pycontainer-progress"]


def test_names_are_never_read_as_markup() -> None:
    terminal = Terminal()
    with shown("auto", stream=terminal) as on_event:
        assert on_event is not None
        on_event(Progress(action="downloaded", reference="[red]x[/]", digest=DIGEST, total_bytes=1))
    assert "[red]x[/]" in terminal.getvalue()


def test_events_may_come_from_many_threads() -> None:
    terminal = Terminal()
    with shown("auto", stream=terminal) as on_event:
        assert on_event is not None

        def feed(number: int) -> None:
            for done in range(200):
                on_event(event("downloading", done, digest=f"sha256:{number:064x}"))
            on_event(event("downloaded", 2_000_000, digest=f"sha256:{number:064x}"))

        threads = [threading.Thread(target=feed, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "8 blobs, 16.0 MB" in terminal.getvalue()


def test_plain_lines_say_each_step_once() -> None:
    stream = io.StringIO()
    with shown("plain", stream=stream) as on_event:
        assert on_event is not None
        for done in range(5):
            on_event(event("downloading", done))
        on_event(event("downloaded", 2_000_000))
    assert stream.getvalue().splitlines() == [
        "alpine:3.20 abababababab downloading 2.0 MB",
        "alpine:3.20 abababababab downloaded 2.0 MB",
    ]


def test_a_notebook_updates_one_output_and_ends_with_the_summary(notebook: list[dict[str, str]]) -> None:
    with shown("auto", stream=io.StringIO()) as on_event:
        assert on_event is not None
        on_event(event("downloading", 1_000_000))
        on_event(event("downloaded", 2_000_000))
    assert "Pulling alpine:3.20" in notebook[1]["text/plain"]
    assert '<progress value="0.500">' in notebook[1]["text/html"]
    assert notebook[-1]["text/plain"].startswith("Pulled alpine:3.20: 1 blobs, 2.0 MB in ")
    assert len(notebook) == 3  # the second event came too soon after the first for an update of its own


def test_a_notebook_escapes_what_it_shows(notebook: list[dict[str, str]]) -> None:
    with shown("auto", stream=io.StringIO()) as on_event:
        assert on_event is not None
        on_event(Progress(action="resolving", reference="<script>alert(1)</script>"))
    assert not any("<script>" in bundle["text/html"] for bundle in notebook)


def test_an_error_in_a_notebook_still_ends_the_picture(notebook: list[dict[str, str]]) -> None:
    with pytest.raises(KeyError):
        broken_transfer(io.StringIO())
    assert "progress" not in notebook[-1]["text/html"]


def test_an_ipython_that_is_no_kernel_is_a_terminal_or_nothing(
    notebook: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", SimpleNamespace)
    with shown("auto", stream=io.StringIO()) as on_event:
        assert on_event is None
    assert notebook == []


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(InvalidOption), shown("fancy"):
        pass


def test_the_board_lists_what_moves_and_counts_what_is_done() -> None:
    board = Board()
    board.take(event("waiting"))
    board.take(event("exists", digest="sha256:" + "cd" * 32))
    assert board.rows() == [Row("abababababab", "waiting", 0, 2_000_000)]
    assert board.heading == "Pulling alpine:3.20  1/2"
    board.take(event("uploading", 1))
    assert board.heading.startswith("Pushing")
    assert board.summary == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (5 * 10**12, "5000.0 GB")],
)
def test_sizes_are_decimal(count: int, text: str) -> None:
    assert size_text(count) == text


WARNING = Progress(action="warning", message="reg.example warns: <b>soon</b>")


@pytest.mark.parametrize("mode", ["auto", "plain"])
def test_each_warning_is_a_line_of_its_own_even_after_a_failure(mode: str) -> None:
    stream = Terminal()

    def fail() -> None:
        with shown(mode, stream=stream) as take:
            assert take is not None
            take(WARNING)
            take(Progress(action="warning", message="reg.example warns: another"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "reg.example warns: <b>soon</b>" in stream.getvalue()
    assert "reg.example warns: another" in stream.getvalue()


def test_a_notebook_keeps_warnings(notebook: list[dict[str, str]]) -> None:
    with shown() as take:
        assert take is not None
        take(WARNING)
    assert "WARNING: reg.example warns: &lt;b&gt;soon" in notebook[-1]["text/html"]
    assert "WARNING: reg.example warns: <b>soon" in notebook[-1]["text/plain"]
