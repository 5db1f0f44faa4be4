"""Here-documents: which ones a line announces. Their content is read with the lines (`statements`).

Source: moby/buildkit, frontend/dockerfile/parser; POSIX, XCU 2.7.4.
"""

from __future__ import annotations

import re

from pycontainer.build.dockerfile.limits import MAX_HEREDOCS
from pycontainer.build.dockerfile.model import Heredoc
from pycontainer.build.dockerfile.shellword import expand
from pycontainer.build.dockerfile.source import Problem

__all__ = ["announced", "parse_heredoc"]

_WORD = re.compile(r"(?P<descriptor>[0-9]*)<<(?P<strips>-?)\s*(?P<name>[^<]*)")
_MAX_DESCRIPTOR = 9  # digits; no shell takes more


def announced(line: str) -> tuple[Heredoc, ...]:
    """The here-documents of an instruction's line in the order of their content, which is still empty.

    Raises: Problem for a delimiter with an open quote, or too many documents.
    """
    if "<<" not in line:
        return ()
    try:
        words = expand(line, {}, keep_quotes=True, keep_escapes=True, keep_unset=True).words
    except Problem:
        return ()  # an open quote, which is the shell's matter
    found = tuple(document for word in words if (document := parse_heredoc(word)) is not None)
    if len(found) > MAX_HEREDOCS:
        raise Problem(f"an instruction has more than {MAX_HEREDOCS} here-documents")
    return found


def parse_heredoc(word: str) -> Heredoc | None:
    """Read `<<NAME`, `<<-NAME`, `<<"NAME"`, `3<<NAME`; None for any other word.

    Raises: Problem for an open quote in the name.
    """
    match = _WORD.fullmatch(word)
    if match is None or not match["name"]:
        return None
    words = expand(match["name"], {}, keep_unset=True).words
    if len(words) != 1:
        return None
    quoted = expand(match["name"], {}, keep_unset=True, keep_quotes=True).words
    return Heredoc(
        name=words[0],
        # Escaped quotes are in both readings, so a difference is a quote that quotes.
        is_expanded=_quotes("".join(quoted)) == _quotes(words[0]),
        strips_tabs=match["strips"] == "-",
        descriptor=int(match["descriptor"][:_MAX_DESCRIPTOR] or 0),
    )


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')
