"""The option volumes: Docker's -v, and what is easily written in Python for the same.

["data:/var/lib/x", "/srv:/data:ro", "/cache"] or {"data": "/var/lib/x", "/srv": ("/data", "ro")}. What begins
with "/", "." or "~" is a directory of the host, made if it is missing; every other name is a volume's, made
likewise; without one it is a volume of the container's own. Source: docker run, reference manual, -v.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping

import attrs

from pycontainer.errors import InvalidOption
from pycontainer.options.kinds import LINES, Kind
from pycontainer.options.mounts import (
    MountPoint,
    dump_mounts,
    mount_flags,
    mount_propagations,
    recorded_mount,
)

__all__ = ["VOLUMES", "VOLUMES_FROM", "parse_volume_name", "split_volumes_from"]

_NAME = r"(?a)[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}"
_CONTAINER = r"(?a)[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}(:(ro|rw))?"
_IGNORED = ("consistent", "cached", "delegated", "default", "rbind", "z", "Z")
_FORM = 'give {"data": "/var/lib/x"}, {"/srv": ("/data", "ro")} or ["data:/var/lib/x:ro"]'


def parse_volume_name(name: object) -> str:
    """The name of a volume. Raises InvalidOption."""
    if not isinstance(name, str) or re.fullmatch(_NAME, name) is None:
        raise InvalidOption(f"volume {_not_a_name(name)}")
    return name


def _not_a_name(name: object) -> str:
    return (
        f"{name!r} is no name: start with a letter or digit, then letters, digits, _ . -; a directory of the "
        "host is given by its path, as /srv/data or ./data"
    )


def _volumes(value: object) -> tuple[MountPoint, ...]:
    if isinstance(value, str | MountPoint):
        value = [value]
    if isinstance(value, Mapping):
        found = [each for source, place in value.items() for each in _placed(source, place)]
    elif isinstance(value, Iterable) and not isinstance(value, bytes):
        found = [_one(item) for item in value]
    else:
        raise ValueError(_FORM)
    for point in found:
        if sum(other.target == point.target for other in found) > 1:
            raise ValueError(f"two volumes have the target {point.target}; leave one out")
    return tuple(found)


def _placed(source: object, place: object) -> Iterator[MountPoint]:
    """One entry of a dict: what, and where; several places as a list."""
    if isinstance(place, list):
        for each in place:
            yield from _placed(source, each)
        return
    if isinstance(place, Mapping) and "bind" in place:  # as docker-py has it
        place = (place["bind"], place.get("mode", "rw"))
    target, words = (place[0], place[1]) if isinstance(place, tuple) and len(place) == 2 else (place, "")
    if not isinstance(target, str | os.PathLike) or not isinstance(words, str):
        raise ValueError(_FORM)
    if ":" in str(target):
        raise ValueError(f"{target!r} is no place for a volume: {_FORM}")
    yield _bound(_source(source), str(os.fspath(target)), words)


def _source(value: object) -> str:
    """A path, a name, or a Volume, which has one."""
    if isinstance(value, os.PathLike):
        return os.path.abspath(str(os.fspath(value)))
    text = value if isinstance(value, str) else getattr(value, "name", None)
    if not isinstance(text, str) or not text:
        raise ValueError(_FORM)
    return text


def _one(item: object) -> MountPoint:
    if isinstance(item, MountPoint):
        return item
    if isinstance(item, Mapping) and "kind" in item:
        return recorded_mount(item)
    if not isinstance(item, str):
        raise ValueError(_FORM)
    parts = item.split(":")
    if len(parts) == 1:
        return MountPoint(kind="volume", target=_target(item))
    if len(parts) > 3 or not all(parts[:2]):
        raise ValueError(f"{item!r}: {_FORM}")
    return _bound(parts[0], parts[1], parts[2] if len(parts) == 3 else "")


def _target(path: str) -> str:
    normal = os.path.normpath(path)
    if not path.startswith("/") or normal in ("/", "//") or ".." in path.split("/") or "\0" in path:
        raise ValueError(f"{path!r} is no place for a mount; give an absolute path that is not /")
    return normal


def _bound(source: str, target: str, words: str) -> MountPoint:
    if source.startswith(("/", ".", "~")):
        path = os.path.abspath(os.path.expanduser(source))
        point = MountPoint(kind="bind", target=_target(target), source=path, is_made=True)
    elif re.fullmatch(_NAME, source):
        point = MountPoint(kind="volume", target=_target(target), source=source)
    else:
        raise ValueError(_not_a_name(source))
    for word in filter(None, words.split(",")):
        point = _with(point, word)
    if point.is_owned and (point.is_copied or point.has_ids):
        raise ValueError("U gives files to a user, cow and idmap leave them; choose one")
    return point


def _with(point: MountPoint, word: str) -> MountPoint:
    if word in ("ro", "rw"):
        return attrs.evolve(point, is_readonly=word == "ro")
    if word in mount_flags():
        return attrs.evolve(point, words=(*point.words, word))
    if word == "U":  # as podman has it
        return attrs.evolve(point, is_owned=True)
    if word in ("nocopy", "copy") and point.kind == "volume":
        return attrs.evolve(point, is_filled=word == "copy")
    if point.kind == "bind" and word in mount_propagations():
        return attrs.evolve(point, propagation=word)
    if word in ("cow", "O"):
        return attrs.evolve(point, is_copied=True)
    if point.kind == "bind" and word == "idmap":
        return attrs.evolve(point, has_ids=True)
    if point.kind == "bind" and word == "rro":  # as nerdctl has it
        return attrs.evolve(point, is_readonly=True, recursion="readonly")
    if point.kind == "bind" and word == "bind":
        return attrs.evolve(point, recursion="disabled")
    if word == "idmap":
        return point  # where ids are mapped, those of volumes are
    if word in _IGNORED:
        return point
    raise ValueError(f"{word!r} is no option of a {point.kind}; there are ro, rw, nosuid, nodev, noexec, …")


def _volumes_from(value: object) -> tuple[str, ...]:
    given = value if isinstance(value, list | tuple) else [value]
    lines: tuple[str, ...] = LINES.parse([getattr(each, "name", each) for each in given])
    for line in lines:
        if re.fullmatch(_CONTAINER, line) is None:
            raise ValueError(f'{line!r}: give the name of a container, or "name:ro"')
    return lines


def split_volumes_from(line: str) -> tuple[str, bool]:
    """The container whose mounts are wanted, and whether read-only."""
    name, _, word = line.partition(":")
    return name, word == "ro"


VOLUMES = Kind(
    "Mapping[Any, Any] | Sequence[str] | str", "[SOURCE:]TARGET[:OPTIONS]", _volumes, dump_mounts, True
)
VOLUMES_FROM = Kind("Sequence[str] | str", "CONTAINER[:ro]", _volumes_from, list, True)
