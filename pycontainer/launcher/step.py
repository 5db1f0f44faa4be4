"""A step of a plan, and the texts it is made of."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any, NamedTuple

from pycontainer import errors

__all__ = ["Step", "absolute", "to_bytes"]


class Step(NamedTuple):
    """One thing to do in the container's first process; name is what a failure is reported under."""

    name: str
    function: Callable[..., None]
    args: tuple[Any, ...] = ()


def to_bytes(text: str) -> bytes:
    """As paths, arguments and variables are passed to the kernel. Raises InvalidInput for a NUL byte."""
    data = text.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise errors.InvalidInput(f"{text!r} contains a NUL byte, which no path, argument or variable can")
    return data


def absolute(path: str, what: str) -> str:
    """The path, normalised. Raises InvalidInput, naming what it is the path of, unless it is absolute."""
    if not path.startswith("/"):
        raise errors.InvalidInput(f"{what} {path!r} is not an absolute path")
    clean = posixpath.normpath(path)
    return "/" + clean.lstrip("/")
