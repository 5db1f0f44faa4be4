"""Progress of a build in a notebook's cell, which is replaced as steps go on."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from pycontainer.build import BuildEvent, OnBuildEvent
from pycontainer.engine.displays import markup
from pycontainer.engine.progress import NOTEBOOK_GAP_S

__all__ = ["in_notebook"]

_TAIL_LINES = 6
_MOST_STEPS = 100
_SIGNS = {"running": "…", "cached": "CACHED", "failed": "ERROR"}
_COLOURS = {"running": markup.BLUE, "cached": markup.GREY, "failed": markup.RED}


@contextmanager
def in_notebook(display: Callable[..., Any]) -> Iterator[OnBuildEvent]:
    """What takes a build's events and shows them in the cell that runs. display: IPython's."""
    view = _View()
    handle = display(view, display_id=True)
    lock = threading.Lock()
    next_update = 0.0

    def take(event: BuildEvent) -> None:
        nonlocal next_update
        with lock:
            view.take(event)
            now = time.monotonic()
            if now >= next_update:
                next_update = now + NOTEBOOK_GAP_S
                handle.update(view)

    try:
        yield take
    finally:
        with lock:
            handle.update(view)


@attrs.define
class _Step:
    state: str = "running"
    seconds: float = 0.0
    tail: deque[str] = attrs.Factory(lambda: deque(maxlen=_TAIL_LINES))

    @property
    def sign(self) -> str:
        return _SIGNS.get(self.state) or f"{self.seconds:.1f} s"


class _View:
    """The steps so far, as HTML and as text; what a step writes is shown while it runs, or when it fails."""

    def __init__(self) -> None:
        self._steps: dict[str, _Step] = {}
        self._said: list[str] = []

    def take(self, event: BuildEvent) -> None:
        """Note an event."""
        if event.step and event.action in ("started", "output", "cached", "done", "failed"):
            step = self._steps.setdefault(" ".join(event.step.split())[:200], _Step())
            if event.action == "output":
                step.tail.extend(event.output.decode(errors="replace").splitlines())
            elif event.action != "started":
                step.state, step.seconds = event.action, event.seconds
        elif event.action in ("warning", "finished"):
            self._said.append(" ".join(filter(None, (event.action, event.digest[:19], event.message))))

    def _shown(self) -> list[tuple[str, _Step]]:
        return list(self._steps.items())[-_MOST_STEPS:]

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        rows: list[tuple[object, object]] = []
        lines: list[str] = []
        for name, step in self._shown():
            colour = _COLOURS.get(step.state, markup.GREEN)
            rows.append((markup.box("span", step.sign, f"color:{colour}"), markup.box("code", name)))
            lines.append(f"{name}  {step.sign}")
            if step.tail and step.state in ("running", "failed"):
                rows.append(("", markup.box("pre", "\n".join(step.tail), "margin:0")))
                lines += [f"  {line}" for line in step.tail]
        parts = [markup.table(rows), *(markup.box("div", each) for each in self._said[-5:])]
        text = "\n".join([*lines, *self._said[-5:]])
        return {"text/html": markup.card("build", f"{len(self._steps)} steps", parts), "text/plain": text}
