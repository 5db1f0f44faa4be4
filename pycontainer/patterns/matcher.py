"""Which paths a list of patterns leaves out.

Theory of operation. A pattern means what moby's patternmatcher makes of it: `*` and `?` stay within a
directory, `**` does not, a path below a matched directory is matched too, the last pattern that matches
decides, and `!` takes back in. Whoever wrote the patterns is not trusted, so nothing here may take
time in powers of their length: most patterns are a text, a prefix or a suffix; one with at most two
wildcards is a regular expression, which cannot blow up; any other runs through all its possible
positions in the path at once, which are the bits of one integer.
Source: moby/patternmatcher, patternmatcher.go; Go, path/filepath.Match.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from pycontainer.errors import InvalidInput
from pycontainer.patterns.ignorefile import MAX_PATTERN, MAX_PATTERNS, clean

__all__ = ["PatternMatcher"]

_WITHIN, _ACROSS, _INTO = "[^/]*", ".*", "(?:.*/)?"  # `*`; `**` at the end; `**/` and `**` before more
_FEW = 2  # wildcards of a regular expression that still takes no more than the square of a path's length


class _One(NamedTuple):
    """One character: within ranges or not. A plain one is a range of itself."""

    ranges: tuple[tuple[str, str], ...]
    is_negated: bool = False

    def takes(self, char: str) -> bool:
        return any(first <= char <= last for first, last in self.ranges) != self.is_negated

    @property
    def regex(self) -> str:
        inner = "".join(f"{_escaped(first)}-{_escaped(last)}" for first, last in self.ranges)
        return f"[{'^' if self.is_negated else ''}{inner}]"

    @property
    def plain(self) -> str:
        """The only character it takes, or ""."""
        is_plain = len(self.ranges) == 1 and self.ranges[0][0] == self.ranges[0][1] and not self.is_negated
        return self.ranges[0][0] if is_plain else ""


_NO_SLASH = _One((("/", "/"),), True)
_Token = str | _One  # one of the three wildcards, or a character


class PatternMatcher:
    """Patterns in their order.

    A walk asks from the top on: `look` tells of a path and what its entries have to know, `can_skip`
    whether none of them can be taken back in. `matches` does the same for one path.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        """Raises: InvalidInput naming a pattern that is none, or for too many."""
        self._patterns: list[_Pattern] = []
        for written in patterns:
            text = written.strip()
            if not text:
                continue
            if len(self._patterns) >= MAX_PATTERNS:
                raise InvalidInput(f"more than {MAX_PATTERNS} patterns")
            self._patterns.append(_Pattern(clean(text)))

    def __bool__(self) -> bool:
        return bool(self._patterns)

    @property
    def has_negations(self) -> bool:
        """Whether a pattern takes back in."""
        return any(pattern.is_negation for pattern in self._patterns)

    @property
    def ignores_everything(self) -> bool:
        """Whether a pattern stands for all there is."""
        return any(pattern.is_everything for pattern in self._patterns)

    def look(self, above: int, path: str) -> tuple[bool, int]:
        """Whether a path is left out, and the state for its entries.

        Args: above, the state of its directory, 0 at the top; path, from the top, without slash at the end.
        """
        is_out = False
        state = 0
        for index, pattern in enumerate(self._patterns):
            if above >> index & 1 or pattern.match(path):
                state |= 1 << index
                is_out = not pattern.is_negation
        return is_out, state

    def along(self, path: str) -> tuple[bool, int]:
        """`look` for a path alone, from the top on."""
        path = path.rstrip("/") or path[:1]
        is_out, state = False, 0
        for index, char in enumerate(path):
            if char == "/" and index:
                is_out, state = self.look(state, path[:index])
        return self.look(state, path) if path not in {"", "."} else (is_out, state)

    def matches(self, path: str) -> bool:
        """Whether a path is left out. The top itself never is."""
        return self.along(path)[0]

    def can_skip(self, path: str, state: int) -> bool:
        """Whether nothing below a directory that is left out is taken back in. Args: state, of `look`."""
        ignoring = max(
            (i for i, pattern in enumerate(self._patterns) if state >> i & 1 and not pattern.is_negation),
            default=-1,
        )
        return not any(
            pattern.is_negation and pattern.may_match_below(path)
            for pattern in self._patterns[ignoring + 1 :]
        )


class _Pattern:
    def __init__(self, text: str) -> None:
        self.is_negation = text.startswith("!")
        self._text = text = text.removeprefix("!")
        if not text:
            raise InvalidInput('illegal exclusion pattern: "!"; give what is to be taken back in')
        if len(text) > MAX_PATTERN:
            raise InvalidInput(f"a pattern of more than {MAX_PATTERN} characters: {text[:50]!r}…")
        self._tokens = _tokens(text)
        wild = [
            index for index, token in enumerate(self._tokens) if not (isinstance(token, _One) and token.plain)
        ]
        self._fixed = _joined(self._tokens[: wild[0]] if wild else self._tokens)
        self._is_open = bool(wild)
        self.match: Callable[[str], bool] = self._matcher(wild)

    @property
    def is_everything(self) -> bool:
        return not self.is_negation and self._text in {"*", "**", "**/*"}

    def may_match_below(self, directory: str) -> bool:
        """Whether a path below this directory could match, judged by the text before the first wildcard."""
        below = f"{directory}/"
        return self._fixed.startswith(below) or (self._is_open and below.startswith(self._fixed))

    def _matcher(self, wild: list[int]) -> Callable[[str], bool]:
        tokens = self._tokens
        if not wild:
            fixed = self._fixed
            return lambda path: path == fixed
        if wild == [len(tokens) - 1] and tokens[-1] == _ACROSS:
            fixed = self._fixed
            return lambda path: path.startswith(fixed)
        if wild == [0] and tokens[0] == _INTO and not re.search(r"[\\[]", self._text):
            return _suffix(self._text[2:])
        if sum(isinstance(token, str) for token in tokens) <= _FEW:
            text = "".join(token if isinstance(token, str) else token.regex for token in tokens)
            whole = re.compile(text, re.DOTALL).fullmatch
            return lambda path: whole(path) is not None
        return lambda path: _run(tokens, path)


def _suffix(text: str) -> Callable[[str], bool]:
    """`**/name` and `**name`: the former wants the beginning of a part of the path."""
    bare = text.removeprefix("/")
    if bare == text:
        return lambda path: path.endswith(text)
    return lambda path: path == bare or path.endswith(text)


def _joined(tokens: list[_Token]) -> str:
    return "".join(token.plain for token in tokens if isinstance(token, _One))


def _escaped(char: str) -> str:
    return f"\\{char}" if char in "\\]^-[&~|" else char


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "*":
            if not text.startswith("*", at):
                tokens.append(_WITHIN)
                continue
            at += 1
            at += text.startswith("/", at)
            tokens.append(_INTO if at < len(text) else _ACROSS)
        elif char == "?":
            tokens.append(_NO_SLASH)
        elif char == "[":
            one, at = _class(text, at)
            tokens.append(one)
        else:
            if char == "\\":
                char = text[at : at + 1]
                at += 1
            tokens.append(_plain(char, text))
    return tokens


def _plain(char: str, text: str) -> _One:
    if not char:
        raise InvalidInput(f"the pattern {text!r} ends in a backslash that escapes nothing")
    return _One(((char, char),))


def _class(text: str, at: int) -> tuple[_One, int]:
    """`[a-z]`, `[^a]`, from behind the bracket on."""
    is_negated = text.startswith("^", at)
    at += is_negated
    ranges: list[tuple[str, str]] = []
    while not (ranges and text.startswith("]", at)):
        first, at = _class_character(text, at)
        last = first
        if text.startswith("-", at):
            last, at = _class_character(text, at + 1)
        if last < first:
            raise InvalidInput(f"the pattern {text!r}: the range {first}-{last} runs backwards")
        ranges.append((first, last))
    return _One(tuple(ranges), is_negated), at + 1


def _class_character(text: str, at: int) -> tuple[str, int]:
    char = text[at : at + 1]
    if char == "\\":
        at += 1
        char = text[at : at + 1]
    elif char in {"-", "]"}:
        raise InvalidInput(f"the pattern {text!r}: {char} in brackets stands for itself behind a backslash")
    if not char:
        raise InvalidInput(f"the pattern {text!r}: a bracket is not closed")
    return char, at + 1


def _run(tokens: list[_Token], path: str) -> bool:
    """All positions of the path that the tokens so far can reach, as bits; the lowest is before the path."""
    everywhere = (1 << len(path) + 1) - 1
    slashes = sum(1 << index for index, char in enumerate(path) if char == "/")
    inside = everywhere >> 1 & ~slashes  # positions with a character behind them that is no slash
    masks: dict[_One, int] = {}
    reached = 1
    for token in tokens:
        if isinstance(token, _One):
            if token not in masks:
                masks[token] = sum(1 << index for index, char in enumerate(path) if token.takes(char))
            reached = (reached & masks[token]) << 1
        elif token == _WITHIN:
            # Adding carries through each run of ones from where it is entered to its end.
            entered = reached & inside
            reached |= ((entered + inside) ^ inside | entered) & everywhere
        else:
            behind = everywhere & ~((reached & -reached) - 1)  # the lowest one, and all above
            reached = behind if token == _ACROSS else reached | (behind & slashes) << 1
        if not reached:
            return False
    return bool(reached >> len(path) & 1)
