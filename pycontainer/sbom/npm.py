"""Packages of npm: those that lie in node_modules, and those that a lock file asks for.

Source: docs.npmjs.com, package.json and package-lock.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pycontainer.sbom.packages import Package

__all__ = ["locked_packages", "npm_packages"]

_PLACE = "node_modules/"


def npm_packages(path: str, content: bytes) -> Iterator[Package]:
    """The package of a package.json; none if that is not one."""
    told = _object(content)
    name, version = told.get("name"), told.get("version")
    if isinstance(name, str) and isinstance(version, str) and name and version:
        author = told.get("author")
        yield Package(
            kind="npm",
            name=name,
            version=version,
            license=_text(told.get("license"), "type"),
            supplier=author if isinstance(author, str) else _author(author),
            homepage=_text(told.get("homepage"), ""),
            found_in=path,
        )


def locked_packages(path: str, content: bytes) -> Iterator[Package]:
    """The packages of a package-lock.json of npm 7 and newer."""
    listed = _object(content).get("packages")
    for place, told in listed.items() if isinstance(listed, dict) else ():
        if not isinstance(told, dict) or _PLACE not in place or told.get("link"):
            continue
        name, version = told.get("name", place.rpartition(_PLACE)[2]), told.get("version")
        if isinstance(name, str) and isinstance(version, str) and name and version:
            yield Package(
                kind="npm",
                name=name,
                version=version,
                license=_text(told.get("license"), "type"),
                found_in=path,
            )


def _object(content: bytes) -> dict[str, Any]:
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _text(told: object, key: str) -> str:
    if isinstance(told, dict):
        told = told.get(key)
    return told if isinstance(told, str) else ""


def _author(told: object) -> str:
    name, address = _text(told, "name"), _text(told, "email") if isinstance(told, dict) else ""
    return f"{name} <{address}>" if address else name
