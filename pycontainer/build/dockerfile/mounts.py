"""`RUN --mount` and `RUN --device`.

Source: moby/buildkit, frontend/dockerfile/instructions: commands_runmount.go, commands_rundevice.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pycontainer.build.dockerfile.flags import csv_fields, truth, unexpected
from pycontainer.build.dockerfile.model import Device, Mount
from pycontainer.build.dockerfile.source import Problem, nearest
from pycontainer.options import parse_size

__all__ = ["parse_device", "parse_mount", "source_of_mount"]

KINDS = ("bind", "cache", "secret", "ssh", "tmpfs")
SHARING = ("locked", "private", "shared")
_ALIASES = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "rw": "readwrite",
}
_KEYS = (
    *("type", "from", "source", "target", "readonly", "readwrite", "required", "size", "id", "sharing"),
    *("mode", "uid", "gid", "env"),
)
_BARE = frozenset({"readonly", "readwrite", "required"})  # keys that stand without a value
_OCTAL = re.compile(r"[0-7]{1,11}")
_DECIMAL = re.compile(r"[0-9]{1,10}")
# container-device-interface, specification: vendor/class=name
_DEVICE_NAME = re.compile(
    r"[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]/[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?=[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?"
)


def source_of_mount(flag: str) -> Mount:
    """As much of a mount as is known before variables are: where it is from, and whether it is CSV.

    Raises: Problem for broken CSV, or a variable in `from`, on which the order of stages depends.
    """
    source = ""
    for field in csv_fields(flag, "mounts"):
        key, _, value = field.partition("=")
        if key.lower() == "from":
            if "$" in value[:-1]:
                raise Problem("'from' doesn't support variable expansion, define alias stage instead")
            source = value
    return Mount(from_stage=source)


def parse_mount(flag: str, expand: Callable[[str], str]) -> Mount:
    """Read one mount. Args: expand, which expands the variables of a value.

    Raises: Problem for a key, value or combination that is not accepted.
    """
    given: dict[str, str | None] = {}
    kind = "bind"
    for field in csv_fields(flag, "mounts"):
        written, equals, value = field.partition("=")
        key = _ALIASES.get(written.lower(), written.lower())
        if not equals and key not in _BARE:
            raise Problem(f"invalid field '{field[:100]}' must be a key=value pair")
        if key not in _KEYS:
            raise unexpected(key, field, (*_KEYS, *_ALIASES))
        expanded = expand(value) if equals else None
        if key == "type":
            kind = _one_of("mount type", expanded or "", KINDS)
        # What a key may be given to is decided by the type so far, as the order is the writer's.
        elif key in _ONLY_FOR and kind not in _ONLY_FOR[key]:
            raise Problem(f"unexpected key '{key}' for mount type '{kind}'")
        given[key] = expanded
        if key in {"readonly", "readwrite"}:
            is_set = expanded is None or truth(key, expanded)
            given["readonly"] = str(is_set == (key == "readonly")).lower()
    mount = _made(kind, given)
    _check(mount)
    return mount


_ONLY_FOR = {"required": ("secret", "ssh"), "size": ("tmpfs",), "env": ("secret",)}


def _made(kind: str, given: dict[str, str | None]) -> Mount:
    def text(key: str) -> str:
        return given.get(key) or ""

    sharing = _one_of("sharing value", text("sharing"), SHARING) if "sharing" in given else ""
    return Mount(
        kind=kind,
        target=text("target"),
        source=text("source"),
        from_stage=text("from"),
        id=text("id"),
        is_read_only=truth("readonly", text("readonly"))
        if "readonly" in given
        else kind not in {"cache", "tmpfs"},
        is_required="required" in given
        and (given["required"] is None or truth("required", given["required"])),
        sharing=sharing,
        size_bytes=_size(text("size")) if "size" in given else 0,
        mode=_number(given, "mode", _OCTAL, 8),
        uid=_number(given, "uid", _DECIMAL, 10),
        gid=_number(given, "gid", _DECIMAL, 10),
        env=given.get("env"),
    )


def _check(mount: Mount) -> None:
    if mount.kind in {"bind", "tmpfs"}:
        for key, value in (("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)):
            if value is not None:
                raise Problem(f'{key} not allowed for "{mount.kind}" type mounts')
    if mount.kind == "secret":
        if mount.from_stage:
            raise Problem("secret mount should not have a from")
        if mount.sharing:
            raise Problem("secret mount should not define sharing")
        if not (mount.source or mount.target or mount.id):
            raise Problem("invalid secret mount. one of source, target required")
        if mount.source and mount.id:
            raise Problem("both source and id can't be set")
    if mount.sharing and mount.kind != "cache":
        raise Problem(f"invalid cache sharing set for {mount.kind} mount")
    if "\0" in f"{mount.target}{mount.source}{mount.env}":
        raise Problem("a mount cannot hold a NUL character")


def _one_of(what: str, value: str, known: tuple[str, ...]) -> str:
    if value.lower() in known:
        return value.lower()
    problem = f'unsupported {what} "{value[:100]}"'
    raise Problem(problem, expected=", ".join(known), suggestion=nearest(value, known))


def _size(text: str) -> int:
    try:
        size = parse_size(text)
    except ValueError:
        size = -1
    if size < 0:
        raise Problem(f"invalid value for size: {text[:100]}", expected="bytes, as 64m")
    return size


def _number(given: dict[str, str | None], key: str, digits: re.Pattern[str], base: int) -> int | None:
    if key not in given:
        return None
    text = given[key] or ""
    if not digits.fullmatch(text) or int(text, base) > 0xFFFFFFFF:
        raise Problem(f"invalid value {text[:100]} for {key}")
    return int(text, base)


def parse_device(flag: str) -> Device:
    """Read one device: `VENDOR/CLASS=NAME`, or `name=` that, and `required`. Raises: Problem."""
    name, is_required = "", False
    for field in csv_fields(flag, "devices"):
        key, equals, value = field.partition("=")
        if key.lower() == "required":
            is_required = not equals or truth("required", value)
        elif key.lower() == "name" and equals:
            if name:
                raise Problem(f"device name already set to {name[:100]}")
            name = value
        elif not name:
            name = field
        elif not equals:
            raise Problem(f"invalid field '{field[:100]}' must be a key=value pair")
        else:
            raise unexpected(key, field, ("name", "required"))
    if not _DEVICE_NAME.fullmatch(name):
        raise Problem(f"invalid device name {name[:100]}", expected="VENDOR/CLASS=NAME")
    return Device(name=name, is_required=is_required)
