"""What values of a compose file may look like, each with the one form that it becomes.

A shape takes a value and where it stands, and gives the canonical value or raises ComposeFileError there.
Text is accepted for numbers and truth values, since variables are text. Values with the tags !reset and
!override keep them; merging deals with those.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

import attrs

from pycontainer.build import shown_url
from pycontainer.compose.places import is_remote
from pycontainer.compose.yamlfile import RESET, Document, Override, Path, shown
from pycontainer.errors import ComposeFileError
from pycontainer.options import parse_duration, parse_size

__all__ = [
    "At",
    "Shape",
    "anything",
    "boolean",
    "choice",
    "either",
    "fields",
    "host_path",
    "own_path",
    "integer",
    "listed",
    "lines",
    "mapped",
    "matching",
    "number",
    "pairs",
    "path",
    "read",
    "seconds",
    "size",
    "text",
    "texts",
    "words",
]

_TRUE = ("true", "yes", "y", "on", "1")
_FALSE = ("false", "no", "n", "off", "0")
_MAX_DIGITS = 40


@attrs.frozen(kw_only=True)
class At:
    """Where a value stands, and the directory that relative paths begin at.

    keeps_variables: whether variables stand in values that are to be put in later.
    """

    document: Document
    base: str
    keeps_variables: bool = False
    path: Path = ()

    def child(self, key: str | int) -> At:
        """The place of what is in it."""
        return attrs.evolve(self, path=(*self.path, key))

    def error(self, problem: str) -> ComposeFileError:
        """The error that says where."""
        return self.document.error(problem, self.path)


Shape: TypeAlias = Callable[[Any, At], Any]


def read(shape: Shape, value: Any, at: At) -> Any:
    """A value by its shape, with its tag."""
    if value is RESET:
        return RESET
    if isinstance(value, Override):
        return Override(shape(value.value, at))
    try:
        return shape(value, at)
    except ComposeFileError:
        if at.keeps_variables and _has_variables(value):
            return value
        raise


def _has_variables(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_variables, value.values()))
    return (
        any(map(_has_variables, value))
        if isinstance(value, list)
        else isinstance(value, str) and "$" in value
    )


def anything(value: Any, at: At) -> Any:
    """Whatever it is."""
    return value


def text(value: Any, at: At) -> str:
    """Text, or a whole number, which is meant as one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise at.error(f"text is expected, not {_kind(value)}")
    if "\0" in value:
        raise at.error("text cannot hold a NUL byte")
    return value


def boolean(value: Any, at: At) -> bool:
    """True or false, also as a word."""
    if isinstance(value, bool):
        return value
    word = value.lower() if isinstance(value, str) else ""
    if word not in (*_TRUE, *_FALSE):
        raise at.error(f"true or false is expected, not {_kind(value)}")
    return word in _TRUE


def number(value: Any, at: At) -> float:
    """A number, also as text."""
    try:
        if isinstance(value, str) and value.isascii() and len(value) <= _MAX_DIGITS:
            value = float(value)
    except ValueError:
        pass
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise at.error(f"a number is expected, not {_kind(value)}")
    return value


def integer(low: int | None = None, high: int | None = None) -> Shape:
    """A whole number between bounds."""

    def shape(value: Any, at: At) -> int:
        given = value
        if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]{1,20}", value, re.ASCII):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise at.error(f"a whole number is expected, not {_kind(given)}")
        if (low is not None and value < low) or (high is not None and value > high):
            raise at.error(
                f"{value} is not between {low} and {high}" if high is not None else f"{value} is below {low}"
            )
        return value

    return shape


def size(value: Any, at: At) -> int:
    """Bytes, as 64m."""
    try:
        return parse_size(value)
    except ValueError as error:
        raise at.error(f"{shown(value)}: {error}") from None


def seconds(value: Any, at: At) -> float:
    """A duration, as 1m30s."""
    try:
        found = parse_duration(value)
    except ValueError:
        raise at.error(f'{shown(value)}: give a duration as "1m30s"') from None
    if found < 0:
        raise at.error(f"{value!r}: a duration is not negative")
    return found


def choice(*known: str) -> Shape:
    """One of some words."""

    def shape(value: Any, at: At) -> str:
        if value not in known:
            raise at.error(f"one of {', '.join(known)} is expected, not {_kind(value)}")
        return str(value)

    return shape


def matching(pattern: str, remedy: str) -> Shape:
    """Text that matches a whole regular expression."""
    compiled = re.compile(pattern, re.ASCII)

    def shape(value: Any, at: At) -> str:
        found = text(value, at)
        if compiled.fullmatch(found) is None:
            raise at.error(f"{shown(found)}: {remedy}")
        return found

    return shape


def words(value: Any, at: At) -> list[str] | None:
    """A command: a list of words, or a line that is split as a shell would; None for the image's."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError as error:
            raise at.error(f"{shown(value)}: {error}") from None
    if not isinstance(value, list):
        raise at.error(f"a line of text or a list of words is expected, not {_kind(value)}")
    return [_scalar_text(item, at.child(index)) for index, item in enumerate(value)]


def listed(shape: Shape) -> Shape:
    """A list of values of one shape."""

    def whole(value: Any, at: At) -> list[Any]:
        if not isinstance(value, list):
            raise at.error(f"a list is expected, not {_kind(value)}")
        found = (read(shape, item, at.child(index)) for index, item in enumerate(value))
        return [item for item in found if item is not RESET]

    return whole


lines: Shape = listed(text)


def texts(value: Any, at: At) -> list[str]:
    """A list of texts, or a single one."""
    found: list[str] = lines([value] if isinstance(value, str) else value, at)
    return found


def pairs(*, missing: str | None = "", pattern: str | None = None) -> Shape:
    """{"KEY": value} or ["KEY=value"] as a dict of texts; missing: what a key without a value has."""

    def whole(value: Any, at: At) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if isinstance(value, list):
            for index, item in enumerate(value):
                key, equals, rest = text(item, at.child(index)).partition("=")
                _check_key(key, at.child(index))
                found[key] = rest if equals else missing
        elif isinstance(value, dict):
            for key, item in value.items():
                _check_key(key, at.child(key))
                found[key] = item if item is RESET else read(_pair_value, item, at.child(key))
                if found[key] is None:
                    found[key] = missing
        else:
            raise at.error(f"a mapping, or a list of KEY=VALUE, is expected, not {_kind(value)}")
        return found

    return whole


def _check_key(key: str, at: At) -> None:
    if not key or "=" in key or "\0" in key:
        raise at.error(f"{shown(key)} is no key")


def _pair_value(value: Any, at: At) -> str | None:
    return None if value is None else _scalar_text(value, at)


def _scalar_text(value: Any, at: At) -> str:
    """A scalar as the text that it was written as."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if value.is_integer() else repr(value)
    return text(value, at)


def mapped(shape: Shape, *, keys: str | None = None, allows_none: bool = False) -> Shape:
    """A mapping of names to values of one shape. keys: what names match. allows_none: {} for no value."""
    pattern = re.compile(keys, re.ASCII) if keys is not None else None

    def whole(value: Any, at: At) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise at.error(f"a mapping is expected, not {_kind(value)}")
        found = {}
        for key, item in value.items():
            if pattern is not None and not key.startswith("x-") and pattern.fullmatch(key) is None:
                raise at.child(key).error(f"{shown(key)} is no name: give letters, digits and _ . -")
            item = {} if item is None and allows_none else item
            found[key] = read(shape, item, at.child(key))
        return found

    return whole


def fields(
    known: Mapping[str, Shape], *, required: Collection[str] = (), has_extensions: bool = True
) -> Shape:
    """A mapping with certain keys; those that begin with x- are anybody's."""

    def whole(value: Any, at: At) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise at.error(f"a mapping is expected, not {_kind(value)}")
        found = {}
        for key, item in value.items():
            if key.startswith("x-") and has_extensions:
                found[key] = item
            elif key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"do you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
                raise at.child(key).error(f"there is no key {shown(key)} here; {hint}")
            elif item is not None:
                found[key] = read(known[key], item, at.child(key))
        for key in required:
            if key not in found:
                raise at.error(f"the key {key!r} is missing")
        return found

    return whole


def either(kinds: Mapping[type, Shape], expected: str) -> Shape:
    """A value whose shape follows from its type."""

    def whole(value: Any, at: At) -> Any:
        for kind, shape in kinds.items():
            if isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool):
                return shape(value, at)
        raise at.error(f"{expected} is expected, not {_kind(value)}")

    return whole


def path(value: Any, at: At) -> str:
    """A path of the host, made absolute."""
    return host_path(text(value, at), at)


def own_path(value: Any, at: At) -> str:
    """A path of the host where files of others could be meant: those are not fetched for it."""
    given = text(value, at)
    if is_remote(given):
        raise at.error(f"{shown_url(given)} is not of this host; fetch it first, and name the copy")
    return host_path(given, at)


def host_path(given: str, at: At) -> str:
    """A path of the host as it is meant in a file."""
    if not given:
        raise at.error("the path is empty")
    if at.keeps_variables and given.startswith("$"):
        return given
    return os.path.normpath(os.path.join(at.base, os.path.expanduser(given)))


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return shown(value)
