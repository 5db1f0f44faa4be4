"""What callers ask of an application, checked: which files, services, numbers and times."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pycontainer.compose.loading import Fetch, find_files
from pycontainer.compose.places import is_remote
from pycontainer.errors import InvalidInput, NotFound
from pycontainer.options import given_seconds

if TYPE_CHECKING:
    from pycontainer.compose.model import ServiceSpec

__all__ = ["Duration", "PathLike", "checked_scale", "file_paths", "seconds", "unknown"]

Duration: TypeAlias = float | str | timedelta
PathLike: TypeAlias = str | os.PathLike[str]


def file_paths(path: PathLike | Sequence[PathLike] | None, fetch: Fetch) -> list[Path]:
    """The files that are meant; None is the current directory, where a file is searched for.

    fetch: brings those that are not of this host.
    """
    if path is None:
        return find_files(Path.cwd())
    if isinstance(path, str | os.PathLike):
        if os.path.isdir(path):
            return find_files(Path(path).absolute())
        path = [path]
    if not path:
        raise InvalidInput("path=[]: give at least one file")
    return [fetch(str(each)) if is_remote(str(each)) else Path(each) for each in path]


def unknown(name: str, known: Iterable[str]) -> NotFound:
    """The error about a service that is not there."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    hint = (
        f"do you mean {near[0]!r}?" if near else f"there are {', '.join(names)}" if names else "there is none"
    )
    return NotFound(f"no such service: {name}; {hint}")


def checked_scale(service: ServiceSpec, asked: int | None) -> int:
    """How many containers a service is to have: as asked, or as its file says. Raises: InvalidInput."""
    if asked is None:
        return service.scale
    if asked < 0:
        raise InvalidInput(f"service {service.name}: {asked} containers are none; give 0 or more")
    if asked > 1 and "container_name" in service.keys:
        raise InvalidInput(f"service {service.name}: {asked} containers cannot all have one container_name")
    return asked


def seconds(value: Duration | None) -> float | None:
    """Seconds; None stays, and -1 is for ever."""
    return None if value is None else given_seconds(value, minus_one=True)
