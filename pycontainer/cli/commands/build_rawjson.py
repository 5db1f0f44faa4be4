"""--progress=rawjson: what a build tells, a line of JSON each, in the shape of BuildKit's status.

Source: moby/buildkit, client/graph.go (SolveStatus); docker/buildx, util/progress.
"""

from __future__ import annotations

import base64
import json
import threading
from datetime import UTC, datetime
from typing import Any, TextIO

from pycontainer.build import BuildEvent
from pycontainer.oci import sha256

__all__ = ["RawJson"]

_STREAMS = {"stdout": 1, "stderr": 2}
_ENDS = ("cached", "done", "failed", "finished")
_EXPORT = "exporting to image"


class RawJson:
    """Writes events as they come, from any thread; call `take` with each.

    A step is a vertex, whose digest is made of its name: it tells the steps of one build apart.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._started: dict[str, str] = {}

    def take(self, event: BuildEvent) -> None:
        """Write what BuildKit would tell of it; nothing for what it tells nothing of."""
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        with self._lock:
            told = self._told(event, now)
            if told:
                self._stream.write(json.dumps(told, separators=(",", ":")) + "\n")
                self._stream.flush()

    def _told(self, event: BuildEvent, now: str) -> dict[str, Any]:
        vertex = sha256((event.step or _EXPORT).encode())
        if event.action == "warning":
            lines = {"start": {"line": event.lines[0]}, "end": {"line": event.lines[1]}}
            warning = {"vertex": vertex, "level": 1, "short": _encoded(event.message.encode())}
            return {"warnings": [{**warning, "range": [lines] if event.lines[0] else []}]}
        if event.action == "output":
            log = {"vertex": vertex, "stream": _STREAMS.get(event.stream, 1), "data": _encoded(event.output)}
            return {"logs": [{**log, "timestamp": now}]}
        if event.action == "transfer" and event.progress is not None:
            return self._transferred(event, vertex, now)
        if event.action not in ("started", "exporting", *_ENDS):
            return {}
        made: dict[str, Any] = {"digest": vertex, "name": event.step or _EXPORT}
        made["started"] = self._started.setdefault(vertex, now)
        if event.action in _ENDS:
            made["completed"] = now
        if event.action == "cached":
            made["cached"] = True
        if event.action == "failed":
            made["error"] = event.message or "failed"
        return {"vertexes": [made]}

    def _transferred(self, event: BuildEvent, vertex: str, now: str) -> dict[str, Any]:
        progress = event.progress
        assert progress is not None
        name = f"{progress.action} {progress.digest}"
        status: dict[str, Any] = {"id": name, "vertex": vertex, "name": name, "timestamp": now}
        status |= {"current": progress.done_bytes, "total": progress.total_bytes or 0}
        return {"statuses": [{**status, "started": self._started.setdefault(name, now)}]}


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
