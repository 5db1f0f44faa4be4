"""The keys about programs and files that are brought into running containers: hooks, and `develop`."""

from __future__ import annotations

from typing import Any

from pycontainer.compose.shapes import (
    At,
    boolean,
    choice,
    fields,
    listed,
    pairs,
    path,
    text,
    texts,
    words,
)

__all__ = ["DEVELOP", "ENVIRONMENT", "HOOK"]

ENVIRONMENT = pairs(missing=None)
HOOK = fields(
    {
        "command": words,
        "user": text,
        "privileged": boolean,
        "working_dir": text,
        "environment": ENVIRONMENT,
    },
    required=("command",),
)


def _watch(value: Any, at: At) -> dict[str, Any]:
    found: dict[str, Any] = _WATCH(value, at)
    if found["action"].startswith("sync") and not found.get("target"):
        raise at.error("the key 'target' is missing: where the files belong in the container")
    return found


_WATCH = fields(
    {
        "path": path,
        "action": choice("sync", "rebuild", "restart", "sync+restart", "sync+exec"),
        "target": text,
        "ignore": texts,
        "include": texts,
        "initial_sync": boolean,
        "exec": HOOK,
    },
    required=("path", "action"),
)
DEVELOP = fields({"watch": listed(_watch)})
