"""Where something stands in a Dockerfile, and how to say that it is wrong there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from attrs import field, frozen

from pycontainer.build.dockerfile.model import Lines
from pycontainer.errors import DockerfileError

__all__ = ["Problem", "Source", "nearest"]

NEIGHBOURS = 2  # lines shown around the place, as BuildKit does
MAX_SHOWN_LINES = 12
MAX_SHOWN_CHARACTERS = 160
NEAR = 3  # edits from which on a word is no misspelling; moby/buildkit, util/suggest
MAX_SUGGESTED_FROM = 64  # a longer word is no misspelt keyword; keeps the comparison cheap


class Problem(ValueError):
    """Something wrong, whose place in the file the raiser does not know."""

    def __init__(self, problem: str, *, expected: str = "", suggestion: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.expected = expected
        self.suggestion = suggestion


@frozen(kw_only=True)
class Source:
    """The text of a Dockerfile and its name in messages."""

    filename: str
    text: str = field(repr=False)

    def error(self, problem: Problem | str, lines: Lines) -> DockerfileError:
        """The error that says where. Args: lines, whose first is 0 where the file as a whole is meant."""
        if isinstance(problem, str):
            problem = Problem(problem)
        written = self.text.removesuffix("\n").split("\n") if lines.first else []
        return DockerfileError(
            problem.problem,
            file=self.filename,
            line=lines.first,
            last_line=lines.last,
            text="\n".join(line.rstrip("\r") for line in written[lines.first - 1 : lines.last]),
            expected=problem.expected,
            suggestion=problem.suggestion,
            excerpt=_excerpt(written, lines) if lines.first else "",
        )

    @contextmanager
    def at(self, lines: Lines) -> Iterator[None]:
        """Turn each Problem within into the error of this place."""
        try:
            yield
        except Problem as problem:
            raise self.error(problem, lines) from None


def _excerpt(written: list[str], lines: Lines) -> str:
    first = max(lines.first - NEIGHBOURS, 1)
    last = min(lines.last + NEIGHBOURS, len(written))
    shown = []
    for number in range(first, min(last, first + MAX_SHOWN_LINES - 1) + 1):
        mark = ">>>" if lines.first <= number <= lines.last else "   "
        shown.append(f"{number:4} | {mark} {_printable(written[number - 1])}".rstrip())
    return "\n".join(shown)


def _printable(text: str) -> str:
    # A Dockerfile is a stranger's: its control characters must not reach a terminal.
    text = text.rstrip("\r")
    if len(text) > MAX_SHOWN_CHARACTERS:
        text = text[:MAX_SHOWN_CHARACTERS] + "…"
    return "".join(char if char.isprintable() or char == "\t" else ascii(char)[1:-1] for char in text)


def nearest(word: str, options: Iterable[str], *, ignore_case: bool = False) -> str:
    """The option that `word` probably meant: fewer than three edits away, "" where there is none.

    With ignore_case, answered in the case of `word`.
    """
    if not word or len(word) > MAX_SUGGESTED_FROM:
        return ""
    best, distance = "", NEAR
    wanted = word.lower() if ignore_case else word
    for option in sorted(options):
        if abs(len(option) - len(word)) < distance:
            found = _edits(wanted, option.lower() if ignore_case else option)
            if found == 0:
                return ""  # it was written rightly, so something else is wrong
            if found < distance:
                best, distance = option, found
    if not ignore_case:
        return best
    return best.lower() if word.islower() else best.upper() if word.isupper() else best


def _edits(one: str, other: str) -> int:
    """How many letters are missing, too much, wrong, or swapped with their neighbour."""
    before, row = list(range(len(other) + 1)), list(range(len(other) + 1))
    for index, char in enumerate(one, 1):
        above, before, row = before, row, [index]
        for column, opposite in enumerate(other, 1):
            cost = min(before[column - 1] + (char != opposite), before[column] + 1, row[column - 1] + 1)
            is_swapped = index > 1 and column > 1 and char == other[column - 2] and one[index - 2] == opposite
            row.append(min(cost, above[column - 2] + 1) if is_swapped else cost)
    return row[-1]
