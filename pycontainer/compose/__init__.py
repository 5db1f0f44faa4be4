"""Applications of several containers, from compose files: `Compose`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.compose.application import Compose
    from pycontainer.compose.labels import ProjectInfo, list_projects
    from pycontainer.compose.output import ComposeLogLine
    from pycontainer.compose.printing import uninterpolated
    from pycontainer.compose.service import ComposeService
    from pycontainer.compose.watching import WatchEvent
    from pycontainer.compose.yamlfile import dump

__all__ = [
    "Compose",
    "ComposeLogLine",
    "ComposeService",
    "ProjectInfo",
    "WatchEvent",
    "dump",
    "list_projects",
    "uninterpolated",
]

_HOMES = {
    "Compose": "application",
    "ComposeLogLine": "output",
    "ComposeService": "service",
    "ProjectInfo": "labels",
    "WatchEvent": "watching",
    "uninterpolated": "printing",
    "dump": "yamlfile",
    "list_projects": "labels",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
