"""Files of KEY=VALUE lines as compose reads them: quotes, escapes, comments and variables.

Source: compose specification, 05-services, "Env_file format".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pycontainer.compose.interpolation import TemplateError, substitute
from pycontainer.errors import ComposeFileError

__all__ = ["parse_environment", "read_environment"]

MAX_BYTES = 1 << 20
_KEY = re.compile(r"(?:export[ \t]+)?([A-Za-z0-9_.\[\]-]+)[ \t]*([=:]|(?=\r?\n|#|$))", re.ASCII)
_BLANK = re.compile(r"[ \t\r]*(?:#[^\n]*)?(?:\n|$)")
_INLINE = re.compile(r"[ \t]#[^\n]*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$$"}


def read_environment(path: Path, known: Mapping[str, str], *, is_raw: bool = False) -> dict[str, str | None]:
    """The variables of a file; see parse_environment. Raises: ComposeFileError with file and line."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ComposeFileError(
            f"{error.strerror}; it is named as a file of variables", file=str(path)
        ) from None
    if len(content) > MAX_BYTES:
        raise ComposeFileError(f"it has more than {MAX_BYTES} bytes", file=str(path))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ComposeFileError("it is no text in UTF-8", file=str(path)) from None
    return parse_environment(text, known, file=str(path), is_raw=is_raw)


def parse_environment(
    text: str, known: Mapping[str, str], *, file: str = "", is_raw: bool = False
) -> dict[str, str | None]:
    """The variables of a text; None for one that is named without a value, and not known.

    known: variables that others may refer to, beside those further up in the text. is_raw: lines are taken as
    they are, without quotes, escapes and variables (`format: raw`). Raises: ComposeFileError.
    """
    found: dict[str, str | None] = {}
    at, line = 0, 1
    while at < len(text):
        if blank := _BLANK.match(text, at):
            line, at = line + 1, blank.end()
            continue
        start = re.compile(r"[ \t]*").match(text, at)
        assert start is not None
        key = _KEY.match(text, start.end())
        if key is None:
            raise ComposeFileError(
                "a line is KEY=VALUE, with letters, digits and _ . - in the key", file=file, line=line
            )
        name, begin = key[1], key.end()
        if not key[2]:
            found[name] = known.get(name)
            end = _end_of_line(text, begin)
        elif is_raw:
            end = _end_of_line(text, begin)
            found[name] = text[begin:end].rstrip("\r")
        else:
            visible = {**{name: value for name, value in found.items() if value is not None}, **known}
            found[name], end = _value(text, begin, visible, file, line)
        line += text.count("\n", at, end) + 1
        at = end + 1
    return found


def _end_of_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _value(text: str, at: int, known: Mapping[str, str], file: str, line: int) -> tuple[str, int]:
    while at < len(text) and text[at] in " \t":
        at += 1
    quote = text[at] if at < len(text) and text[at] in "'\"" else ""
    try:
        if not quote:
            end = _end_of_line(text, at)
            plain = _INLINE.sub("", f" {text[at:end]}", count=1).strip()
            return substitute(plain, known), end
        content, end = _quoted(text, at + 1, quote)
        if end < 0:
            raise ComposeFileError(f"the quote {quote} is not closed", file=file, line=line)
        rest = text[end : _end_of_line(text, end)].strip()
        if rest and not rest.startswith("#"):
            raise ComposeFileError(f"{rest!r} follows the closing quote", file=file, line=line)
        return (content if quote == "'" else substitute(content, known)), _end_of_line(text, end)
    except TemplateError as error:
        raise ComposeFileError(str(error), file=file, line=line) from None


def _quoted(text: str, at: int, quote: str) -> tuple[str, int]:
    """What is between quotes, and where they have ended, or -1. In double quotes "$" stays for later."""
    pieces: list[str] = []
    while at < len(text):
        letter = text[at]
        if letter == quote:
            return "".join(pieces), at + 1
        if letter == "\\" and at + 1 < len(text):
            following = text[at + 1]
            if quote == '"':
                pieces.append(_ESCAPES.get(following, following))
            else:
                pieces.append("'" if following == "'" else f"\\{following}")
            at += 2
            continue
        pieces.append(letter)
        at += 1
    return "", -1
