"""The functions of templates: Go's own, and those that Docker adds.

Sources: pkg.go.dev/text/template, "Functions"; docker/cli, templates/templates.go.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pycontainer.errors import InvalidInput

__all__ = ["FUNCTIONS", "TemplateError", "is_true", "shown"]


class TemplateError(InvalidInput):
    """A template that cannot be read, or not be rendered over what there is."""


class Function(NamedTuple):
    """call: what it does. is_lazy: it gets its arguments as functions, to ask for as many as it needs."""

    call: Callable[..., Any]
    is_lazy: bool = False


def is_true(value: Any) -> bool:
    """Whether a value counts as true: neither false, nor zero, nor empty, nor nil."""
    return bool(value)


def shown(value: Any) -> str:
    """A value as Go prints it with %v."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if value != int(value) or abs(value) >= 1e21 else str(int(value))
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{_inner(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(map(_inner, value)) + "]"
    return str(value)


def _inner(value: Any) -> str:
    return "<nil>" if value is None else shown(value)


def _json(value: Any) -> str:
    plain = _plain(value)
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), default=str)


def _plain(value: Any) -> Any:
    """Rows of lists are mappings, but no dicts."""
    return dict(value) if isinstance(value, Mapping) and not isinstance(value, dict) else value


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, Mapping):
            # In Docker's maps of labels, ports and addresses what is absent is empty.
            value = value.get(key, "")
        elif isinstance(value, list | tuple | str):
            if not isinstance(key, int) or not 0 <= key < len(value):
                raise TemplateError(f"template: error calling index: index out of range: {shown(key)}")
            value = value[key]
        else:
            raise TemplateError("template: error calling index: index of untyped nil")
    return value


def _slice(value: Any, *bounds: int) -> Any:
    start = bounds[0] if bounds else 0
    end = bounds[1] if len(bounds) > 1 else len(value)
    if not 0 <= start <= end <= len(value):
        raise TemplateError(f"template: error calling slice: index out of range: {end}")
    return value[start:end]


def _join(items: Any, separator: str) -> str:
    return separator.join(map(shown, items or ()))


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else text


def _truncate(text: str, length: int) -> str:
    return text[:length]


def _title(text: str) -> str:
    return " ".join(word[:1].upper() + word[1:] for word in text.split(" "))


def _printf(form: str, *values: Any) -> str:
    """Go's verbs %v %s %d %q %t %f %x and %%, with flags and width."""
    import re

    left = list(values)

    def verb(match: re.Match[str]) -> str:
        flags, kind = match[1], match[2]
        if kind == "%":
            return "%"
        if not left:
            return f"%!{kind}(MISSING)"
        value = left.pop(0)
        if kind in "vst":
            return f"%{flags}s" % shown(value)
        if kind == "q":
            return f"%{flags}s" % json.dumps(shown(value), ensure_ascii=False)
        return str(f"%{flags}{kind}" % value)

    return re.sub(r"%([-+ 0#]*\d*(?:\.\d+)?)([vsdqtfxXeg%])", verb, form)


def _print(*values: Any) -> str:
    """Spaces stand between values of which neither is text, as in Go's Sprint."""
    made = ""
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            made += " "
        made += shown(value)
    return made


def _and(*values: Callable[[], Any]) -> Any:
    found = None
    for value in values:
        found = value()
        if not is_true(found):
            return found
    return found


def _or(*values: Callable[[], Any]) -> Any:
    found = None
    for value in values:
        found = value()
        if is_true(found):
            return found
    return found


def _html(*values: Any) -> str:
    import html

    return html.escape(_print(*values)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")


def _urlquery(*values: Any) -> str:
    from urllib.parse import quote_plus

    return quote_plus(_print(*values))


FUNCTIONS: Mapping[str, Function] = {
    "and": Function(_and, is_lazy=True),
    "or": Function(_or, is_lazy=True),
    "not": Function(lambda value: not is_true(value)),
    "eq": Function(lambda first, *others: any(first == other for other in others)),
    "ne": Function(lambda first, other: first != other),
    "lt": Function(lambda first, other: first < other),
    "le": Function(lambda first, other: first <= other),
    "gt": Function(lambda first, other: first > other),
    "ge": Function(lambda first, other: first >= other),
    "html": Function(_html),
    "index": Function(_index),
    "join": Function(_join),
    "json": Function(_json),
    "len": Function(len),
    "lower": Function(lambda text: shown(text).lower()),
    "pad": Function(_pad),
    "print": Function(_print),
    "printf": Function(_printf),
    "println": Function(lambda *values: " ".join(map(shown, values)) + "\n"),
    "slice": Function(_slice),
    "split": Function(lambda text, separator: text.split(separator)),
    "title": Function(_title),
    "truncate": Function(_truncate),
    "upper": Function(lambda text: shown(text).upper()),
    "urlquery": Function(_urlquery),
}
