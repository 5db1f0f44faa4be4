"""Variables in the values of a compose file: $NAME, ${NAME:-word} and the other operators of the shell.

Source: compose specification, 12-interpolation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from pycontainer.compose.yamlfile import Document, Override, Path, shown

__all__ = ["TemplateError", "interpolate", "substitute"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_STOP = (re.compile(r"[$]"), re.compile(r"[$}]"))
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")
_MAX_DEPTH = 32
MAX_CHARACTERS = 1 << 20


class TemplateError(ValueError):
    """A text whose variables cannot be put in."""


def interpolate(document: Document, variables: Mapping[str, str], warn: Callable[[str], object]) -> Document:
    """A document with all variables of its values put in; keys stay as they are.

    warn: told of variables that are not set. Raises: ComposeFileError with file, line and path.
    """

    def walk(value: Any, path: Path) -> Any:
        if isinstance(value, str):
            try:
                return substitute(value, variables, warn)
            except TemplateError as error:
                raise document.error(str(error), path) from None
        if isinstance(value, Override):
            return Override(walk(value.value, path))
        if isinstance(value, dict):
            return {key: walk(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, (*path, index)) for index, item in enumerate(value)]
        return value

    return attrs.evolve(document, value=walk(document.value, ()))


def substitute(
    text: str, variables: Mapping[str, str], warn: Callable[[str], object] = lambda name: None
) -> str:
    """A text with its variables put in; "$$" is a dollar. Raises TemplateError."""
    if "$" not in text:
        return text
    found, end = _Template(text, variables, warn).until_end(0, depth=0)
    assert end == len(text)
    return found


class _Template:
    def __init__(self, text: str, variables: Mapping[str, str], warn: Callable[[str], object]) -> None:
        self._text = text
        self._variables = variables
        self._warn = warn

    def _error(self) -> TemplateError:
        return TemplateError(
            f'invalid template {shown(self._text)}: write ${{NAME}}, ${{NAME:-word}} …, and "$$" for a dollar'
        )

    def until_end(self, start: int, *, depth: int, is_wanted: bool = True) -> tuple[str, int]:
        """What follows, up to the end, or in braces up to the closing one; and where that is.

        is_wanted: whether the text counts: what is not asked for raises no error of a missing variable.
        """
        if depth > _MAX_DEPTH:
            raise TemplateError(f"variables are nested more than {_MAX_DEPTH} deep")
        pieces: list[str] = []
        size, at, text = 0, start, self._text
        while at < len(text) and not (depth and text[at] == "}"):
            if text[at] != "$":
                stop = _STOP[depth > 0].search(text, at)
                end = stop.start() if stop is not None else len(text)
                piece, at = text[at:end], end
            elif text.startswith("$$", at):
                piece, at = "$", at + 2
            else:
                piece, at = self._variable(at + 1, depth, is_wanted)
            size += len(piece)
            if size > MAX_CHARACTERS:
                raise TemplateError(f"with its variables it has more than {MAX_CHARACTERS} characters")
            pieces.append(piece)
        return "".join(pieces), at

    def _variable(self, at: int, depth: int, is_wanted: bool) -> tuple[str, int]:
        in_braces = self._text.startswith("{", at)
        match = _NAME.match(self._text, at + in_braces)
        if match is None:
            raise self._error()
        name, at = match[0], match.end()
        value = self._variables.get(name)
        if not in_braces:
            return self._plain(name, value, is_wanted), at
        operator = next((each for each in _OPERATORS if self._text.startswith(each, at)), "")
        counts = value if not operator.startswith(":") else value or None
        takes_word = (counts is None) != operator.endswith("+")
        word, at = self.until_end(
            at + len(operator), depth=depth + 1, is_wanted=is_wanted and takes_word and bool(operator)
        )
        if not self._text.startswith("}", at) or (word and not operator):
            raise self._error()
        at += 1
        if not operator:
            return self._plain(name, value, is_wanted), at
        if operator.endswith("?"):
            if counts is None and is_wanted:
                raise TemplateError(
                    f"required variable {name} is missing a value" + (f": {word}" if word else "")
                )
            return value or "", at
        if operator.endswith("+"):
            return word if takes_word else "", at
        return word if counts is None else counts, at

    def _plain(self, name: str, value: str | None, is_wanted: bool) -> str:
        if value is None and is_wanted:
            self._warn(name)
        return value or ""
