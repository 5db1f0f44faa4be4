"""Applications as `compose config` prints them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycontainer.compose.asked import PathLike, file_paths
from pycontainer.compose.graph import needed
from pycontainer.compose.loading import read_uninterpolated
from pycontainer.compose.remote import Remote
from pycontainer.engine import current_engine

if TYPE_CHECKING:
    from pycontainer.compose.model import Project
    from pycontainer.engine import Engine

__all__ = ["only", "shown", "uninterpolated"]

_DURATIONS = (
    "delay",
    "interval",
    "monitor",
    "start_interval",
    "start_period",
    "stop_grace_period",
    "timeout",
    "window",
)
_REFERENCES = ("networks", "secrets", "configs")


def shown(document: Mapping[str, Any], *, escapes: bool = True) -> dict[str, Any]:
    """A document as a file would have it: durations with their unit, and dollars that are no variables.

    escapes: False for one whose variables still stand in it.
    """
    return {name: _shown(item, name, escapes) for name, item in document.items()}


def uninterpolated(
    path: PathLike | Sequence[PathLike] | None = None,
    *,
    directory: PathLike | None = None,
    engine: Engine | None = None,
) -> dict[str, Any]:
    """The files put together in canonical form, with the variables that stand in them.

    What has no canonical form without its variables stays as it is written. path, directory: as for Compose.
    Raises as Compose.
    """
    fetch = Remote(lambda: engine or current_engine())
    place = None if directory is None else Path(directory)
    return shown(read_uninterpolated(file_paths(path, fetch), directory=place, fetch=fetch), escapes=False)


def _shown(value: Any, key: str, escapes: bool) -> Any:
    if isinstance(value, Mapping):
        return {name: _shown(item, name, escapes) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(item, "", escapes) for item in value]
    if key in _DURATIONS and isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}s"
    return value.replace("$", "$$") if isinstance(value, str) and escapes else value


def only(project: Project, services: Collection[str]) -> dict[str, Any]:
    """The document with these services, what they depend on, and the resources that those use."""
    document = dict(project.document)
    wanted = needed({name: list(each.depends_on) for name, each in project.services.items()}, services)
    document["services"] = {name: keys for name, keys in document["services"].items() if name in wanted}
    used: dict[str, set[str]] = {section: set() for section in (*_REFERENCES, "volumes")}
    for name in wanted:
        keys = project.services[name].keys
        for section in _REFERENCES:
            given = keys.get(section, ())
            used[section] |= {each if isinstance(each, str) else each["source"] for each in given}
        used["volumes"] |= {
            each.get("source", "") for each in keys.get("volumes", ()) if each["type"] == "volume"
        }
    for section, names in used.items():
        kept = {key: value for key, value in document.get(section, {}).items() if key in names}
        document.pop(section, None)
        document |= {section: kept} if kept else {}
    return document
