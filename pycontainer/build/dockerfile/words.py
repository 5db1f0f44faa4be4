"""How an instruction's line falls into keyword, flags and arguments, and how arguments into words.

Source: moby/buildkit, frontend/dockerfile/parser: split_command.go, line_parsers.go.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

from pycontainer.build.dockerfile.shellword import SPACES
from pycontainer.build.dockerfile.source import Problem

__all__ = ["BLANKS", "fields", "json_strings", "split_flags", "split_keyword", "split_words"]

BLANKS = re.compile(r"[\t\v\f\r ]+")
_SPACE = re.compile(f"[{SPACES}]+")
_PLAIN = re.compile(f"[^{SPACES}'\"\\\\`]+(?=[{SPACES}]|$)")
_MARKED = re.compile("['\"\\\\`]")
_JSON_ARRAY = re.compile(r"\[[\t\n\r ]*(?:\]|[\"{\[\-0-9tfn])")
MAX_JSON_DEPTH = 100


def split_keyword(line: str) -> tuple[str, str]:
    """The keyword of an instruction and what follows it."""
    parts = BLANKS.split(line.strip(SPACES), maxsplit=1)
    return parts[0], parts[1] if len(parts) > 1 else ""


def split_flags(rest: str, escape: str) -> tuple[tuple[str, ...], str]:
    """The words with `--` in front of the arguments, unquoted, and the arguments; a lone `--` ends them."""
    flags: list[str] = []
    at = 0
    while True:
        if rest[at : at + 1] in SPACES:
            at += len(rest) - at - len(rest[at:].lstrip(SPACES))
        if not rest.startswith("--", at):
            return tuple(flags), rest[at:].rstrip(SPACES)
        word, at = _flag(rest, at, escape)
        if word == "--":
            return tuple(flags), rest[at:].strip(SPACES)
        flags.append(word)


def _flag(rest: str, at: int, escape: str) -> tuple[str, int]:
    plain = _PLAIN.match(rest, at)
    if plain is not None:
        return plain[0], plain.end()
    parts: list[str] = []
    quote = ""
    while at < len(rest):
        char = rest[at]
        if char == quote:
            quote = ""
        elif not quote and char in SPACES:
            break
        elif not quote and char in "'\"":
            quote = char
        elif char == escape:
            at += 1
            parts.append(rest[at : at + 1])
        else:
            parts.append(char)
        at += 1
    return "".join(parts), min(at, len(rest))


def fields(rest: str) -> tuple[str, ...]:
    """Words between blanks; quotes mean nothing."""
    return tuple(BLANKS.split(rest)) if rest else ()


def split_words(rest: str, escape: str) -> tuple[str, ...]:
    """Words between blanks outside of quotes; quotes and escapes stay in them."""
    if _MARKED.search(rest) is None:
        rest = rest.strip(SPACES)
        return tuple(_SPACE.split(rest)) if rest else ()
    words: list[str] = []
    start: int | None = None
    quote = ""
    at = 0
    while at < len(rest):
        char = rest[at]
        if start is None:
            if char in SPACES:
                at += 1
                continue
            start = at
        if char == escape and quote != "'":
            at += 1  # whatever follows belongs to the word
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in SPACES:
            words.append(rest[start:at])
            start = None
        at += 1
    if start is not None:
        last = rest[start:]
        words.append(last[:-1] if at > len(rest) else last)  # an escape at the end escapes nothing
    return tuple(word for word in words if word)


def json_strings(text: str) -> tuple[str, ...] | None:
    """The strings of a JSON array; None for text that is no JSON array, which is then the shell form.

    Raises: Problem for an array of anything else.
    """
    if not text.startswith("[") or not _JSON_ARRAY.match(text):
        return None
    if text.count("[") + text.count("{") > MAX_JSON_DEPTH and _is_deep(text):
        return None
    try:
        found = json.loads(text, parse_constant=_refused, parse_int=len, parse_float=len)
    except ValueError:
        return None
    if not all(isinstance(item, str) for item in found):
        raise Problem("when using JSON array syntax, arrays must be comprised of strings only")
    # A lone surrogate stands for nothing; Go writes the replacement character.
    return tuple(item.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for item in found)


def _is_deep(text: str) -> bool:
    depth, is_quoted = 0, False
    characters = iter(text)
    for char in characters:
        if is_quoted:
            if char == "\\":
                next(characters, "")
            is_quoted = char != '"'
        elif char == '"':
            is_quoted = True
        else:
            depth += (char in "[{") - (char in "]}")
            if depth > MAX_JSON_DEPTH:
                return True
    return False


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
