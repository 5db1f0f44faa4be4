"""How builds are shown: lines for people and logs, and nothing where nobody asked."""

from __future__ import annotations

import io

import pytest

from pycontainer.build import BuildEvent
from pycontainer.engine.building.progress import shown_build
from pycontainer.errors import InvalidOption


def test_plain_lines_are_numbered_by_step_and_whole() -> None:
    stream = io.StringIO()
    with shown_build("plain", stream=stream) as take:
        assert take is not None
        take(BuildEvent(action="started", step="[1/2] RUN a"))
        take(BuildEvent(action="cached", step="[2/2] RUN b"))
        take(BuildEvent(action="output", step="[1/2] RUN a", output=b"one\ntw", stream="stdout"))
        take(
            BuildEvent(
                action="output", step="[1/2] RUN a", output=b"o\n10%\r20%\n\x1b[31mred\n", stream="stdout"
            )
        )
        take(BuildEvent(action="done", step="[1/2] RUN a", seconds=1.25))
        take(BuildEvent(action="failed", step="[1/2] RUN a", message="it failed"))
        take(BuildEvent(action="finished", digest="sha256:" + "a" * 64, message="made:1"))
    assert stream.getvalue().splitlines() == [
        "#1 [1/2] RUN a", "#2 [2/2] RUN b", "#2 CACHED", "#1 one", "#1 two", "#1 20%", "#1 \ufffd[31mred",
        "#1 DONE 1.2s", "#1 ERROR: it failed", "finished sha256:aaaaaaaaaaaa made:1",
    ]  # fmt: skip


def test_nothing_is_shown_where_nobody_watches() -> None:
    for mode in ("auto", "off"):
        with shown_build(mode, stream=io.StringIO()) as take:
            assert take is None
    events: list[BuildEvent] = []
    with shown_build(events.append) as take:
        assert take is not None
        take(BuildEvent(action="exporting"))
    assert len(events) == 1
    with pytest.raises(InvalidOption, match="loud"), shown_build("loud"):
        pass


def test_a_live_view_leaves_what_is_over() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with shown_build("rich", stream=stream) as take:
        assert take is not None
        take(BuildEvent(action="started", step="[1/1] RUN a"))
        take(BuildEvent(action="output", step="[1/1] RUN a", output=b"line [bold]\n"))
        take(BuildEvent(action="done", step="[1/1] RUN a", seconds=0.5))
        take(BuildEvent(action="warning", message="careful"))
    assert "[1/1] RUN a  0.5s" in stream.getvalue()
    assert "warning careful" in stream.getvalue()
