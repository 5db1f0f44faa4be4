"""Listings in pages: the n and last parameters and the Link header (distribution-spec, "Listing Tags")."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from pycontainer.registry.server.messages import Request
from pycontainer.registry.server.refusals import Refusal

# Entries of a listing when the client names no number; more come by the Link header.
_PAGE_ENTRIES: Final = 1000


def tag_order(tag: str) -> tuple[str, str]:
    """The specification's order of tags: case-insensitive; the rest makes it total."""
    return tag.lower(), tag


def paged(names: list[str], request: Request, path: str, *, key: Any) -> tuple[list[str], str | None]:
    """One page of sorted names after "last", and the Link to the next one."""
    last, count = request.query("last"), request.query("n")
    if count is not None and not (count.isascii() and count.isdigit() and len(count) < 10):
        raise Refusal(400, "UNSUPPORTED", f"n={count[:20]!r} is not a number of entries")
    wanted = min(_PAGE_ENTRIES if count is None else int(count), 10 * _PAGE_ENTRIES)
    if last:
        names = [name for name in names if key(name) > key(last)]
    page = names[:wanted]
    if not page or len(page) == len(names):
        return page, None
    return page, f'<{path}?last={quote(page[-1], safe="")}&n={wanted}>; rel="next"'
