"""Text about registry traffic that is safe to show: no credentials, no control characters.

Everything that ends in an error, an event or a repr passes through here, since a server chooses
much of it.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

__all__ = ["printable", "redact_url"]

SHOWN_CHARACTERS = 300
# Every value a query may carry is dropped but these, which name content and hold no rights.
HARMLESS_PARAMETERS = frozenset({"n", "last", "ns", "digest", "from", "mount", "artifactType"})
_UNSAFE = re.compile(r"[^\x20-\x7e]+")


def redact_url(url: object) -> str:
    """The URL without user info and with the values of unknown query parameters blanked.

    Signed storage URLs carry their rights in the query, so only names known as harmless keep values.
    """
    text = printable(str(url), limit=2048)
    try:
        parts = urlsplit(text)
    except ValueError:
        return "<unreadable url>"
    host = parts.netloc.rpartition("@")[2]
    query = "&".join(_redact_parameter(pair) for pair in parts.query.split("&") if pair)
    return printable(urlunsplit((parts.scheme, host, parts.path, query, "")))


def printable(text: str, limit: int = SHOWN_CHARACTERS) -> str:
    """The text in one line of visible ASCII, cut to `limit` characters."""
    line = _UNSAFE.sub(" ", text[: limit * 2]).strip()
    return line if len(line) <= limit else line[: limit - 3] + "..."


def _redact_parameter(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return pair if not equals or name in HARMLESS_PARAMETERS else f"{name}=..."
