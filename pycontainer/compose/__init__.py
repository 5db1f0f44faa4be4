"""Applications of several containers, from compose files: `Compose`."""

from __future__ import annotations

from pycontainer.frontdoor import opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.compose.application import Compose
    from pycontainer.compose.labels import ProjectInfo, list_projects
    from pycontainer.compose.output import ComposeLogLine
    from pycontainer.compose.planning import PlannedChange
    from pycontainer.compose.printing import uninterpolated
    from pycontainer.compose.service import ComposeService
    from pycontainer.compose.watching import WatchEvent
    from pycontainer.compose.yamlfile import dump

__all__ = [
    "Compose",
    "ComposeLogLine",
    "ComposeService",
    "PlannedChange",
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
    "PlannedChange": "planning",
    "ProjectInfo": "labels",
    "WatchEvent": "watching",
    "dump": "yamlfile",
    "list_projects": "labels",
    "uninterpolated": "printing",
}


def __getattr__(name: str) -> object:
    return opened(__name__, _HOMES, name)
