"""How one compose file goes on top of another: mappings are merged, lists appended, some things replaced.

Source: compose specification, 13-merge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pycontainer.compose.yamlfile import RESET, Override

__all__ = ["merge", "merge_service", "untagged"]

_Key: TypeAlias = tuple[object, ...]


def _port_key(item: Mapping[str, Any]) -> _Key:
    return item["host_ip"], item["target"], item["published"], item["protocol"]


def _target(item: Mapping[str, Any]) -> _Key:
    return (item["target"],)


_UNIQUE: Mapping[tuple[str, ...], Callable[[Any], _Key]] = {
    ("services", "*", "volumes"): _target,
    ("services", "*", "secrets"): _target,
    ("services", "*", "configs"): _target,
    ("services", "*", "build", "secrets"): _target,
    ("services", "*", "ports"): _port_key,
    ("services", "*", "env_file"): lambda item: (item["path"],),
    ("networks", "*", "ipam", "config"): lambda item: (item.get("subnet"),),
}
"""Lists whose items have keys: a later one replaces the one with its key. Others are compared as a whole."""

_REPLACED = {
    ("services", "*", "command"),
    ("services", "*", "entrypoint"),
    ("services", "*", "healthcheck", "test"),
    ("services", "*", "ulimits", "*"),
}

_NULLABLE = {("services", "*", "environment"), ("services", "*", "build", "args")}
"""Mappings in which no value is a value: that of the environment."""


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """A whole file with another on top of it; neither is changed."""
    found: dict[str, Any] = _mapping(base, override, ())
    return found


def merge_service(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """A service with another on top of it, as `extends` has it."""
    found: dict[str, Any] = _mapping(base, override, ("services", "*"))
    return found


def untagged(value: Any) -> Any:
    """A value without tags: there is nothing below it that they could be about."""
    if isinstance(value, Override):
        return untagged(value.value)
    if isinstance(value, dict):
        return {key: untagged(item) for key, item in value.items() if item is not RESET}
    if isinstance(value, list):
        return [untagged(item) for item in value if item is not RESET]
    return value


def _mapping(base: Mapping[str, Any], override: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    found = dict(base)
    for key, value in override.items():
        if value is RESET:
            found.pop(key, None)
        elif key not in found or isinstance(value, Override) or key.startswith("x-"):
            found[key] = untagged(value)
        elif value is not None or path in _NULLABLE:
            found[key] = _value(found[key], value, (*path, _generic(path, key)))
    return found


def _generic(path: tuple[str, ...], key: str) -> str:
    """The key, or "*" where it is a name that the user chose."""
    is_name = len(path) == 1 or path == ("services", "*", "ulimits")
    return "*" if is_name else key


def _value(base: Any, override: Any, path: tuple[str, ...]) -> Any:
    if path in _REPLACED:
        return untagged(override)
    if isinstance(base, dict) and isinstance(override, dict):
        if path == ("services", "*", "logging") and _differ(base.get("driver"), override.get("driver")):
            return untagged(override)  # options of another driver mean nothing to this one
        return _mapping(base, override, path)
    if isinstance(base, list) and isinstance(override, list):
        return _list(base, untagged(override), _UNIQUE.get(path))
    return untagged(override)


def _differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other


def _list(base: list[Any], override: list[Any], key: Callable[[Any], _Key] | None) -> list[Any]:
    if key is None:
        return [*base, *(item for item in override if item not in base)]
    found = {key(item): item for item in base}
    for item in override:
        found[key(item)] = item
    return list(found.values())
