"""Shell patterns of `*`, `?` and text, matched in time that grows with the lengths, not their powers.

A pattern is a row of pieces with a `*` between each two. The earliest place of each piece after the one
before leaves the most room for the rest, so nothing is ever tried twice.
Source: moby/buildkit, frontend/dockerfile/shell; POSIX, XCU 2.13, without brackets.
"""

from __future__ import annotations

from collections.abc import Sequence

from pycontainer.build.dockerfile.limits import MAX_MATCHING
from pycontainer.build.dockerfile.source import Problem

__all__ = ["Pattern"]

_ANY = None  # one character, whichever


class _Piece:
    """What stands between two stars: characters, of which some may be any."""

    __slots__ = ("_chars", "_text", "length")

    def __init__(self, chars: Sequence[str | None]) -> None:
        self._chars = tuple(chars)
        self._text = None if _ANY in chars else "".join(char for char in chars if char is not None)
        self.length = len(chars)

    @property
    def has_any(self) -> bool:
        return self._text is None

    def mirrored(self) -> _Piece:
        return _Piece(self._chars[::-1])

    def stands(self, value: str, at: int) -> bool:
        if self._text is not None:
            return value.startswith(self._text, at)
        if len(value) - at < self.length:
            return False
        return all(char is _ANY or char == value[at + index] for index, char in enumerate(self._chars))

    def find(self, value: str, at: int) -> int:
        """The first place from `at` on; -1 without one."""
        if self._text is not None:
            return value.find(self._text, at)
        starts = range(at, len(value) - self.length + 1)
        return next((start for start in starts if self.stands(value, start)), -1)


class Pattern:
    """A pattern, read once. Raises: Problem for a backslash before a character that needs none."""

    def __init__(self, text: str) -> None:
        self._pieces: list[_Piece] = _pieces(text)
        self._length = len(text)

    def without_prefix(self, value: str, *, longest: bool) -> str:
        """The value without the shortest or longest prefix that matches."""
        self._check_cost(value)
        end = _end(self._pieces, value, 0, longest)
        return value if end is None else value[end:]

    def without_suffix(self, value: str, *, longest: bool) -> str:
        """The value without the shortest or longest suffix that matches."""
        self._check_cost(value)
        mirrored = [piece.mirrored() for piece in reversed(self._pieces)]
        end = _end(mirrored, value[::-1], 0, longest)
        return value if end is None else value[: len(value) - end]

    def replaced(self, value: str, replacement: str, *, every: bool, limit: int) -> str:
        """The value with the first match, or every one, replaced; each match as long as can be.

        Raises: Problem where the result would be longer than `limit`.
        """
        self._check_cost(value)
        parts: list[str] = []
        at = copied = length = 0
        last_end = -1
        while at <= len(value):
            found = self._search(value, at)
            if found is None:
                break
            start, end = found
            if start == end == last_end:  # an empty match right behind another one is none
                at = end + 1
                continue
            parts += value[copied:start], replacement
            length += start - copied + len(replacement)
            if length > limit:
                raise Problem(f"a replacement makes more than {limit} characters")
            copied = last_end = end
            if not every:
                break
            at = end if end > start else end + 1
        return "".join([*parts, value[copied:]])

    def _search(self, value: str, at: int) -> tuple[int, int] | None:
        at = self._pieces[0].find(value, at)
        if at < 0:
            return None
        end = _end(self._pieces, value, at, True)
        return None if end is None else (at, end)

    def _check_cost(self, value: str) -> None:
        if any(piece.has_any for piece in self._pieces) and self._length * len(value) > MAX_MATCHING:
            raise Problem("a pattern with ? is too long for its value")


def _pieces(text: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    piece: list[str | None] = []
    characters = iter(enumerate(text))
    for index, char in characters:
        if char == "*":
            pieces.append(_Piece(piece))
            piece = []
        elif char == "?":
            piece.append(_ANY)
        elif char == "\\":
            follower = text[index + 1 : index + 2]
            if follower not in {"*", "?", "\\", "}", "/"}:
                raise Problem(f"invalid pattern ({text}) in substitution: invalid escape '\\{follower}'")
            piece.append(next(characters)[1])
        else:
            piece.append(char)
    return [*pieces, _Piece(piece)]


def _end(pieces: list[_Piece], value: str, at: int, longest: bool) -> int | None:
    """Where a match that begins at `at` ends, the farthest or nearest such place; None without a match."""
    if not pieces[0].stands(value, at):
        return None
    at += pieces[0].length
    for piece in pieces[1:-1]:
        at = piece.find(value, at)
        if at < 0:
            return None
        at += piece.length
    if len(pieces) == 1:
        return at
    last = pieces[-1]
    if not longest:
        found = last.find(value, at)
        return None if found < 0 else found + last.length
    # The last place of a piece is the first one in the mirror image, which has no slow worst case.
    found = last.mirrored().find(value[at:][::-1], 0)
    return None if found < 0 else len(value) - found
