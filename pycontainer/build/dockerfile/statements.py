"""From lines to statements: directives, comments, continuations, here-documents.

A statement is an instruction split into keyword, flags and arguments; whether the keyword exists and
what the arguments mean is decided after this (`instructions`).
Source: moby/buildkit, frontend/dockerfile/parser: parser.go, directives.go, line_parsers.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from attrs import define, evolve, field, frozen

from pycontainer.build.dockerfile.heredocs import announced
from pycontainer.build.dockerfile.limits import MAX_FILE, MAX_INSTRUCTION, MAX_INSTRUCTIONS, MAX_LINE
from pycontainer.build.dockerfile.model import NOWHERE, Directive, Heredoc, Lines
from pycontainer.build.dockerfile.shellword import SPACES
from pycontainer.build.dockerfile.source import Problem, Source
from pycontainer.build.dockerfile.words import (
    BLANKS,
    fields,
    json_strings,
    split_flags,
    split_keyword,
    split_words,
)

__all__ = ["Statement", "Statements", "statements"]

DIRECTIVES = frozenset({"check", "escape", "syntax"})
_DIRECTIVE = re.compile(r"#\s*(?P<name>[a-zA-Z][a-zA-Z0-9]*)\s*=\s*(?P<value>.+)", re.ASCII)
_BOM = "\ufeff"


@define(kw_only=True, eq=False)
class Statement:
    """One instruction, split. Not frozen only because that takes longer to make.

    Attributes: keyword (as written), flags (unquoted, with `--`), args, seps (of ENV and LABEL: for each
    pair of args, "=" or "" for the form with a blank), is_json, child (what ONBUILD triggers), line (all
    of it with its continuations), heredocs, comments (of the lines directly above), lines,
    has_empty_lines (within a continuation).
    """

    keyword: str
    flags: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    seps: tuple[str, ...] = ()
    is_json: bool = False
    child: Statement | None = None
    line: str = ""
    heredocs: tuple[Heredoc, ...] = ()
    comments: tuple[str, ...] = ()
    lines: Lines = NOWHERE
    has_empty_lines: bool = False


@frozen(kw_only=True)
class Statements:
    """Attributes: escape (the escape character), directives by name, items."""

    source: Source = field(repr=False)
    escape: str
    directives: dict[str, Directive]
    items: tuple[Statement, ...]


def statements(text: str, filename: str = "Dockerfile") -> Statements:
    """Split a Dockerfile.

    Raises: DockerfileError for a broken directive, a here-document without its end, a line too long, a
    pair without a value, a JSON array of other things than strings, or no instruction at all.
    """
    source = Source(filename=filename, text=text.removeprefix(_BOM))
    whole = Lines(first=0, last=0)
    if len(text) > MAX_FILE:
        raise source.error(f"a Dockerfile of more than {MAX_FILE} characters is not read", whole)
    reader = _Reader(source)
    items = tuple(islice(reader.statements(), MAX_INSTRUCTIONS + 1))
    if len(items) > MAX_INSTRUCTIONS:
        raise source.error(f"more than {MAX_INSTRUCTIONS} instructions", items[-1].lines)
    if not items:
        raise source.error("file with no instructions", whole)
    return Statements(source=source, escape=reader.escape, directives=reader.directives, items=items)


class _Reader:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._lines = source.text.split("\n")
        if not self._lines[-1]:
            self._lines.pop()  # what follows the last end of a line is no line
        self._at = 0  # lines read so far, which is also the number of the last of them
        self.escape = "\\"
        self.directives: dict[str, Directive] = {}

    def statements(self) -> Iterator[Statement]:
        self._read_directives()
        comments: list[str] = []
        while self._at < len(self._lines):
            line = self._next().rstrip("\r").lstrip(SPACES)
            if line.startswith("#"):
                comment = line[1:].strip(SPACES)
                if comment:
                    comments.append(comment)
                else:
                    comments = []
            elif not line:
                comments = []
            else:
                statement = self._statement(line, tuple(comments))
                comments = []
                if statement is not None:
                    yield statement

    def _here(self, first: int = 0) -> Lines:
        return Lines(first=first or self._at, last=self._at)

    def _next(self) -> str:
        line = self._lines[self._at]
        self._at += 1
        if len(line) > MAX_LINE:
            raise self._source.error(
                f"dockerfile line greater than max allowed size of {MAX_LINE}", self._here()
            )
        return line

    def _read_directives(self) -> None:
        if self._lines and self._lines[0].startswith("#!"):
            self._at = 1
        while self._at < len(self._lines):
            match = _DIRECTIVE.fullmatch(self._lines[self._at].strip(SPACES))
            name = match["name"].lower() if match else ""
            if match is None or name not in DIRECTIVES:
                return
            self._next()
            if name in self.directives:
                raise self._source.error(f"only one {name} parser directive can be used", self._here())
            value = match["value"]
            if name == "escape" and self._lines[0].startswith("#!"):
                return  # BuildKit looks for this one on its own, from the first line
            if name == "escape":
                if value not in {"\\", "`"}:
                    problem = f"invalid escape token '{value[:20]}' does not match ` or \\"
                    raise self._source.error(problem, self._here())
                self.escape = value
            self.directives[name] = Directive(name=name, value=value, lines=self._here())

    def _statement(self, first: str, comments: tuple[str, ...]) -> Statement | None:
        started = self._at
        has_empty_lines = False
        line, goes_on = self._continued(first) if self.escape in first else (first, False)
        parts = [line]
        length = len(line)
        while goes_on and self._at < len(self._lines):
            raw = self._next().rstrip("\r")
            bare = raw.lstrip(SPACES)
            if bare.startswith("#"):
                continue
            if not bare:
                has_empty_lines = True
                continue
            line, goes_on = self._continued(raw)
            parts.append(line)
            length += len(line)
            if length > MAX_INSTRUCTION:
                problem = f"an instruction of more than {MAX_INSTRUCTION} characters is not read"
                raise self._source.error(problem, self._here(started))
        if len(parts) > 1:
            line = "".join(parts)
        if not line.strip(SPACES):
            return None
        try:
            made = _split(line, self.escape)
            if not line.isascii():
                _check_text(line)
            if "<<" in line and _takes_heredocs(made):
                documents = announced(line)
                made.heredocs = tuple(self._content(document, started) for document in documents)
        except Problem as problem:
            raise self._source.error(problem, self._here(started)) from None
        made.comments = comments
        made.lines = Lines(first=started, last=self._at)
        made.has_empty_lines = has_empty_lines
        return made

    def _continued(self, line: str) -> tuple[str, bool]:
        """The line without a continuation character at its end, and whether there was one."""
        bare = line.rstrip(" \t")
        # Two of them are an escaped one, which continues nothing.
        if not bare.endswith(self.escape) or bare[-2:-1] == self.escape:
            return line, False
        return bare[:-1], True

    def _content(self, document: Heredoc, started: int) -> Heredoc:
        content: list[str] = []
        while self._at < len(self._lines):
            line = self._next()
            end = line.rstrip("\r")
            if (end.lstrip("\t") if document.strips_tabs else end) == document.name:
                text = "\n".join([*content, ""]) if content else ""
                _check_text(text)
                return evolve(document, content=text)
            content.append(line)
        problem = Problem("unterminated heredoc", expected=f"a line {document.name[:80]!r} that ends it")
        raise self._source.error(problem, self._here(started))


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Problem("an instruction that is not UTF-8 text") from None


def _takes_heredocs(statement: Statement) -> bool:
    inner = statement.child or statement
    return inner.keyword.upper() in {"ADD", "COPY", "RUN"} and not inner.is_json


def _split(line: str, escape: str, *, is_trigger: bool = False) -> Statement:
    keyword, rest = split_keyword(line)
    flags, rest = split_flags(rest, escape)
    name = keyword.upper()
    if name == "ONBUILD":
        # A trigger that is ONBUILD again is refused later; its own trigger is not looked at.
        child = _split(rest, escape, is_trigger=True) if rest and not is_trigger else None
        return Statement(keyword=keyword, flags=flags, line=line, child=child)
    split = _SPLITTERS.get(name)
    args, seps, is_json = split(name, rest, escape) if split and rest else ((), (), False)
    return Statement(keyword=keyword, flags=flags, line=line, args=args, seps=seps, is_json=is_json)


class _Arguments(NamedTuple):
    args: tuple[str, ...] = ()
    seps: tuple[str, ...] = ()
    is_json: bool = False


def _text(name: str, rest: str, escape: str) -> _Arguments:
    return _Arguments((rest,))


def _words(name: str, rest: str, escape: str) -> _Arguments:
    return _Arguments(split_words(rest, escape))


def _fields(name: str, rest: str, escape: str) -> _Arguments:
    return _Arguments(fields(rest))


def _json_or_text(name: str, rest: str, escape: str) -> _Arguments:
    strings = json_strings(rest)
    return _Arguments((rest,) if rest else ()) if strings is None else _Arguments(strings, is_json=True)


def _json_or_fields(name: str, rest: str, escape: str) -> _Arguments:
    strings = json_strings(rest)
    return _Arguments(fields(rest)) if strings is None else _Arguments(strings, is_json=True)


def _pairs(name: str, rest: str, escape: str) -> _Arguments:
    words = split_words(rest, escape)
    if not words:
        return _Arguments()
    if "=" not in words[0]:  # NAME value, the old form, whose value is the rest of the line
        parts = BLANKS.split(rest, maxsplit=1)
        if len(parts) < 2:
            raise Problem(f"{name} must have two arguments", expected="NAME=value")
        return _Arguments(tuple(parts), ("",))
    args: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            problem = f'Syntax error - can\'t find = in "{word[:100]}". Must be of the form: name=value'
            raise Problem(problem)
        args += key, value
    return _Arguments(tuple(args), ("=",) * (len(args) // 2))


def _health(name: str, rest: str, escape: str) -> _Arguments:
    kind = rest.split(None, 1)[0]
    command = _json_or_text(name, rest[len(kind) :].lstrip(SPACES), escape)
    return _Arguments((kind, *command.args), is_json=command.is_json)


_SPLITTERS: dict[str, Callable[[str, str, str], _Arguments]] = {
    "ADD": _json_or_fields,
    "ARG": _words,
    "CMD": _json_or_text,
    "COPY": _json_or_fields,
    "ENTRYPOINT": _json_or_text,
    "ENV": _pairs,
    "EXPOSE": _fields,
    "FROM": _fields,
    "HEALTHCHECK": _health,
    "LABEL": _pairs,
    "MAINTAINER": _text,
    "RUN": _json_or_text,
    "SHELL": _json_or_text,
    "STOPSIGNAL": _text,
    "USER": _text,
    "VOLUME": _json_or_fields,
    "WORKDIR": _text,
}
