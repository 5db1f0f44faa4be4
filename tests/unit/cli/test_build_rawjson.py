"""--progress=rawjson: BuildKit's status, a line each."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

from pycontainer.build import BuildEvent
from pycontainer.cli.commands.build_rawjson import RawJson
from pycontainer.image import Progress


def told(*events: BuildEvent) -> list[dict[str, Any]]:
    stream = io.StringIO()
    writer = RawJson(stream)
    for event in events:
        writer.take(event)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_step_is_a_vertex_that_starts_and_completes() -> None:
    [started], [output], [done] = (
        next(iter(line.values()))
        for line in told(
            BuildEvent(action="started", step="[1/1] RUN a"),
            BuildEvent(action="output", step="[1/1] RUN a", output=b"\xff\n", stream="stderr"),
            BuildEvent(action="done", step="[1/1] RUN a"),
        )
    )
    assert (started["name"], "completed" in started) == ("[1/1] RUN a", False)
    assert (done["digest"], done["started"]) == (started["digest"], started["started"])
    assert "completed" in done
    assert (output["vertex"], output["stream"]) == (started["digest"], 2)
    assert base64.b64decode(output["data"]) == b"\xff\n"


def test_what_is_cached_failed_or_doubtful_says_so() -> None:
    progress = Progress(action="downloading", digest="sha256:0", done_bytes=5)
    cached, failed, warned, pulled, export, finished = told(
        BuildEvent(action="cached", step="[1/2] RUN a"),
        BuildEvent(action="failed", step="[2/2] RUN b", message="it failed"),
        BuildEvent(action="warning", message="careful", lines=(3, 4)),
        BuildEvent(action="transfer", progress=progress),
        BuildEvent(action="exporting"),
        BuildEvent(action="finished"),
    )
    assert cached["vertexes"][0]["cached"] is True
    assert failed["vertexes"][0]["error"] == "it failed"
    [warning] = warned["warnings"]
    assert base64.b64decode(warning["short"]) == b"careful"
    assert warning["range"] == [{"start": {"line": 3}, "end": {"line": 4}}]
    assert (pulled["statuses"][0]["current"], pulled["statuses"][0]["total"]) == (5, 0)
    assert export["vertexes"][0]["digest"] == finished["vertexes"][0]["digest"]
    assert "completed" in finished["vertexes"][0]
