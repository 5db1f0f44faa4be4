"""Words as a shell reads them: quotes, escapes, variables with every modifier BuildKit knows.

`$name`, `${name}`, and with a word: `:-` `-` `:+` `+` `:?` `?` (a colon counts empty as unset), `#` `##`
`%` `%%` (cut a prefix or suffix), `/` and `//` (replace the first or every match). The word is read by
the same rules, so variables nest.
Source: moby/buildkit, frontend/dockerfile/shell; POSIX, XCU 2.6.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from attrs import frozen

from pycontainer.build.dockerfile.limits import MAX_NESTING, MAX_WORD, MAX_WORK
from pycontainer.build.dockerfile.patterns import Pattern
from pycontainer.build.dockerfile.source import Problem

__all__ = ["SPACES", "Expansion", "expand"]

# Go's unicode.IsSpace, which decides in BuildKit; Python's str.isspace knows four control characters more.
SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006"
    "\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_BLANKS = re.compile(f"[{SPACES}]+")
_PLAIN = re.compile(r"[^$'\"\\`<\s]*")
_HEREDOC_BLANKS = re.compile(r"-?[ \t]+")
_PARAMETERS = frozenset("@*#?-$!0")  # POSIX, XCU 2.5.2; never set here


@frozen
class Expansion:
    """Attributes: text, words (the text split at blanks outside of quotes), used (variables that were
    read and set), missing (read and not set).
    """

    text: str
    words: tuple[str, ...] = ()
    used: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()


def expand(
    word: str,
    values: Mapping[str, str],
    *,
    escape: str = "\\",
    keep_quotes: bool = False,
    keep_escapes: bool = False,
    keep_unset: bool = False,
    ignore_quotes: bool = False,
) -> Expansion:
    """Expand a word.

    Args: escape, the escape character; keep_quotes and keep_escapes, leave them in the text;
    keep_unset, leave variables that are not set as they are written; ignore_quotes, quotes are text
    as any other (here-documents).
    Raises: Problem for a quote or brace without its end, a bad modifier, a value demanded by `?`.
    """
    if _PLAIN.fullmatch(word):
        return Expansion(word, (word,) if word else ())
    reader = _Reader(word, values, escape, keep_quotes, keep_escapes, keep_unset, ignore_quotes)
    text, words = reader.until("", keep_escapes)
    return Expansion(text, tuple(words), frozenset(reader.used), frozenset(reader.missing))


@cache
def _run_without(special: str) -> re.Pattern[str]:
    return re.compile(f"[^{re.escape(special)}]*")


class _Words:
    """Collects characters into words."""

    __slots__ = ("_is_open", "_parts", "_words")

    def __init__(self) -> None:
        self._words: list[str] = []
        self._parts: list[str] = []
        self._is_open = False

    def text(self, text: str) -> None:
        """Text that is split at blanks."""
        for index, piece in enumerate(_BLANKS.split(text)):
            if index and self._is_open and self._parts:
                self._close()
            if piece:
                self.raw(piece)

    def raw(self, text: str) -> None:
        """Text whose blanks belong to the word."""
        self._is_open = True
        if text:
            self._parts.append(text)

    def _close(self) -> None:
        self._words.append("".join(self._parts))
        self._parts.clear()
        self._is_open = False

    def all(self) -> list[str]:
        if self._parts:
            self._close()
        return self._words


class _Reader:
    def __init__(
        self,
        word: str,
        values: Mapping[str, str],
        escape: str,
        keep_quotes: bool,
        keep_escapes: bool,
        keep_unset: bool,
        ignore_quotes: bool,
    ) -> None:
        self._word = word
        self._at = 0
        self._values = values
        self._escape = escape
        self._keep_quotes = keep_quotes
        self._keep_escapes = keep_escapes
        self._keep_unset = keep_unset
        self._ignore_quotes = ignore_quotes
        self._depth = 0
        self._made = 0
        self.used: set[str] = set()
        self.missing: set[str] = set()

    def _peek(self) -> str:
        return self._word[self._at] if self._at < len(self._word) else ""

    def _next(self) -> str:
        char = self._peek()
        self._at += 1
        return char

    def _ended(self) -> bool:
        return self._at >= len(self._word)

    def until(self, stop: str, keep_escapes: bool) -> tuple[str, list[str]]:
        """Read to the unquoted character `stop`, which is taken, or to the end where it is ""."""
        outer, self._keep_escapes = self._keep_escapes, keep_escapes
        parts: list[str] = []
        words = _Words()
        while not self._ended():
            char = self._peek()
            if char == stop:
                self._at += 1
                self._keep_escapes = outer
                return self._joined(parts), words.all()
            if char == "$":
                made = self._variable()
                words.text(made)
            elif char in "'\"" and not self._ignore_quotes:
                made = self._single_quoted() if char == "'" else self._double_quoted()
                words.raw(made)
            elif char == "<":
                made = self._redirection()
                words.raw(made)
            elif char == self._escape:
                made = self._escaped()
                words.raw(made)
            else:
                made = self._text(stop)
                words.text(made)
            parts.append(made)
        if stop:
            raise Problem(f"unexpected end of statement while looking for matching {stop}")
        self._keep_escapes = outer
        return self._joined(parts), words.all()

    def _joined(self, parts: list[str]) -> str:
        text = "".join(parts)
        self._grow(len(text))
        return text

    def _grow(self, length: int) -> None:
        self._made += length
        if length > MAX_WORD or self._made > MAX_WORK:
            raise Problem(f"a word expands to more than {MAX_WORD} characters")

    def _text(self, stop: str) -> str:
        """A run of characters that mean themselves."""
        run = _run_without(f"$<{self._escape}{stop}" + ("" if self._ignore_quotes else "'\""))
        return self._matched(run)

    def _matched(self, run: re.Pattern[str]) -> str:
        start = self._at
        found = run.match(self._word, start + 1)
        self._at = found.end() if found else start + 1
        return self._word[start : self._at]

    def _escaped(self) -> str:
        kept = self._next() if self._keep_escapes else ""
        if not kept:
            self._at += 1
        return kept + self._next()  # nothing is escaped at the end of the word

    def _redirection(self) -> str:
        """`<`, or `<<` or `<<-` with the blanks behind, which belong to the word of a here-document."""
        start = self._at
        self._at += 1
        if self._peek() == "<":
            blanks = _HEREDOC_BLANKS.match(self._word, self._at + 1)
            self._at = blanks.end() if blanks else self._at + 1
        return self._word[start : self._at]

    def _single_quoted(self) -> str:
        end = self._word.find("'", self._at + 1)
        if end < 0:
            raise Problem("unexpected end of statement while looking for matching single-quote")
        text = self._word[self._at : end + 1]
        self._at = end + 1
        return text if self._keep_quotes else text[1:-1]

    def _double_quoted(self) -> str:
        quote = self._next()
        parts = [quote] if self._keep_quotes else []
        while not self._ended():
            char = self._peek()
            if char == '"':
                self._at += 1
                return "".join([*parts, quote] if self._keep_quotes else parts)
            if char == "$":
                parts.append(self._variable())
            elif char == self._escape:
                self._at += 1
                follower = self._peek()
                if self._keep_escapes:
                    parts.append(char)
                if follower and follower in f'"${self._escape}':
                    parts.append(self._next())
                elif follower:
                    parts.append(char)
            else:
                parts.append(self._matched(_run_without(f'"${self._escape}')))
        raise Problem("unexpected end of statement while looking for matching double-quote")

    def _variable(self) -> str:
        self._at += 1  # the dollar
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self._get(name)
            return f"${name}" if value is None and self._keep_unset else self._value(value)
        self._at += 1
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise Problem(f"variables are nested deeper than {MAX_NESTING} levels")
        value_text = self._braced()
        self._depth -= 1
        return value_text

    def _braced(self) -> str:
        if self._ended():
            raise Problem("syntax error: missing '}'")
        if self._peek() in "{}:":
            raise Problem("syntax error: bad substitution")
        name = self._name()
        if self._ended():
            raise Problem("syntax error: missing '}'")
        modifier = operator = self._next()
        if operator == "}":
            value = self._get(name)
            return f"${{{name}}}" if value is None and self._keep_unset else self._value(value)
        if operator == "/":
            return self._replaced(name)
        if operator == ":":
            operator = self._next()
            modifier += operator
        elif operator not in {"+", "-", "?", "#", "%"}:
            raise Problem(f"unsupported modifier ({modifier}) in substitution")
        word = self._inner("}", operator in {"#", "%"}, "'}'")
        value = self._get(name)
        if value is None and self._keep_unset:
            return f"${{{name}{modifier}{word}}}"
        return self._modified(name, modifier, operator, word, value)

    def _modified(self, name: str, modifier: str, operator: str, word: str, value: str | None) -> str:
        is_set = value is not None and not (value == "" and modifier.startswith(":"))
        if operator == "-":
            return self._value(value) if is_set else word
        if operator == "+":
            return word if is_set else ""
        if operator == "?":
            if not is_set:
                default = f"is not allowed to be {'unset' if value is None else 'empty'}"
                raise Problem(f"{name}: {word or default}")
            return self._value(value)
        if operator in {"#", "%"}:
            is_longest = word.startswith(operator)
            pattern = Pattern(word[1:] if is_longest else word)
            cut = pattern.without_suffix if operator == "%" else pattern.without_prefix
            return self._value(cut(value or "", longest=is_longest))
        raise Problem(f"unsupported modifier ({modifier}) in substitution")

    def _replaced(self, name: str) -> str:
        is_every = self._peek() == "/"
        self._at += is_every
        pattern = self._inner("/", True, "'/' in ${}")
        replacement = self._inner("}", True, "'}'")
        value = self._get(name)
        if value is None and self._keep_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        made = Pattern(pattern).replaced(value or "", replacement, every=is_every, limit=MAX_WORD)
        return self._value(made)

    def _inner(self, stop: str, keep_escapes: bool, missing: str) -> str:
        try:
            return self.until(stop, keep_escapes)[0]
        except Problem:
            if self._ended():
                raise Problem(f"syntax error: missing {missing}") from None
            raise

    def _name(self) -> str:
        """A name, a number, or one special parameter; "" where none stands here."""
        start = self._at
        char = self._peek()
        if char.isdecimal():
            while self._peek().isdecimal():
                self._at += 1
        elif char and char in _PARAMETERS:
            self._at += 1
        else:
            while (char := self._peek()) and (char.isalpha() or char.isdecimal() or char == "_"):
                self._at += 1
        return self._word[start : self._at]

    def _get(self, name: str) -> str | None:
        value = self._values.get(name)
        (self.missing if value is None else self.used).add(name)
        return value

    def _value(self, value: str | None) -> str:
        if not value:
            return ""
        self._grow(len(value))
        return value
