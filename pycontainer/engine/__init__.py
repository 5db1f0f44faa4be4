"""The object model: engines, images, containers, and what running one gives back."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.engine import waits as waits
    from pycontainer.engine.config import EngineConfig
    from pycontainer.engine.containers import Container
    from pycontainer.engine.engine import Engine, current_engine
    from pycontainer.engine.images import HistoryEntry, Image, Pruned
    from pycontainer.engine.logs import LogLine, Logs
    from pycontainer.engine.result import RunResult, Usage
    from pycontainer.engine.running import run

__all__ = [
    "Container",
    "Engine",
    "EngineConfig",
    "HistoryEntry",
    "Image",
    "LogLine",
    "Logs",
    "Pruned",
    "RunResult",
    "Usage",
    "current_engine",
    "run",
    "waits",
]

_HOMES = {
    "Container": "containers",
    "Engine": "engine",
    "EngineConfig": "config",
    "HistoryEntry": "images",
    "Image": "images",
    "LogLine": "logs",
    "Logs": "logs",
    "Pruned": "images",
    "RunResult": "result",
    "Usage": "result",
    "current_engine": "engine",
    "run": "running",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "waits":
        return import_module(f"{__name__}.waits")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = found
    return found
