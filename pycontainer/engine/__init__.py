"""The object model: engines, images, containers, and what running one gives back."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.engine import waits as waits
    from pycontainer.engine.config import EngineConfig
    from pycontainer.engine.containers import Container
    from pycontainer.engine.diskusage import ContainerUsage, DiskUsage, ImageUsage, disk_usage
    from pycontainer.engine.engine import Engine, current_engine
    from pycontainer.engine.eventstream import Event, Events, read_events
    from pycontainer.engine.images import HistoryEntry, Image
    from pycontainer.engine.logs import LogLine, Logs
    from pycontainer.engine.pruning import Pruned, prune
    from pycontainer.engine.result import RunResult, Usage
    from pycontainer.engine.running import run

__all__ = [
    "Container",
    "ContainerUsage",
    "DiskUsage",
    "Engine",
    "EngineConfig",
    "Event",
    "Events",
    "HistoryEntry",
    "Image",
    "ImageUsage",
    "LogLine",
    "Logs",
    "Pruned",
    "RunResult",
    "Usage",
    "current_engine",
    "disk_usage",
    "prune",
    "read_events",
    "run",
    "waits",
]

_HOMES = {
    "Container": "containers",
    "ContainerUsage": "diskusage",
    "DiskUsage": "diskusage",
    "Engine": "engine",
    "EngineConfig": "config",
    "Event": "eventstream",
    "Events": "eventstream",
    "HistoryEntry": "images",
    "Image": "images",
    "ImageUsage": "diskusage",
    "LogLine": "logs",
    "Logs": "logs",
    "Pruned": "pruning",
    "RunResult": "result",
    "Usage": "result",
    "current_engine": "engine",
    "disk_usage": "diskusage",
    "prune": "pruning",
    "read_events": "eventstream",
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
