"""Shell patterns of `*`, `?` and text, matched in time that grows with the lengths, not their powers.

A pattern is a row of pieces with a `*` between each two. The earliest place of each piece after the one
before leaves the most room for the rest, so nothing is ever tried twice.
Source: moby/buildkit, frontend/dockerfile/shell; POSIX, XCU 2.13, without brackets.
"""

from __future__ import annotations

from pycontainer.build.dockerfile.limits import MAX_MATCHING
from pycontainer.build.dockerfile.source import Problem

__all__ = ["Pattern"]

_ANY = None  # one character, whichever
_Piece = tuple[str | None, ...]


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
        mirrored = [piece[::-1] for piece in reversed(self._pieces)]
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
        first = self._pieces[0]
        if first:
            at = _find(first, value, at)
            if at < 0:
                return None
        end = _end(self._pieces, value, at, True)
        return None if end is None else (at, end)

    def _check_cost(self, value: str) -> None:
        has_any = any(char is _ANY for piece in self._pieces for char in piece)
        if has_any and self._length * len(value) > MAX_MATCHING:
            raise Problem("a pattern with ? is too long for its value")


def _pieces(text: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    piece: list[str | None] = []
    characters = iter(enumerate(text))
    for index, char in characters:
        if char == "*":
            pieces.append(tuple(piece))
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
    return [*pieces, tuple(piece)]


def _end(pieces: list[_Piece], value: str, at: int, longest: bool) -> int | None:
    """Where a match that begins at `at` ends, the farthest or nearest such place; None without a match."""
    if not _stands(pieces[0], value, at):
        return None
    at += len(pieces[0])
    for piece in pieces[1:-1]:
        at = _find(piece, value, at)
        if at < 0:
            return None
        at += len(piece)
    if len(pieces) == 1:
        return at
    last = pieces[-1]
    if not longest:
        found = _find(last, value, at)
        return None if found < 0 else found + len(last)
    # The last place of a piece is the first one in the mirror image, which has no slow worst case.
    found = _find(last[::-1], value[at:][::-1], 0)
    return None if found < 0 else len(value) - found


def _stands(piece: _Piece, value: str, at: int) -> bool:
    if len(value) - at < len(piece):
        return False
    return all(char is _ANY or char == value[at + index] for index, char in enumerate(piece))


def _find(piece: _Piece, value: str, at: int) -> int:
    if _ANY not in piece:
        return value.find("".join(char for char in piece if char is not None), at)
    return next(
        (start for start in range(at, len(value) - len(piece) + 1) if _stands(piece, value, start)), -1
    )
