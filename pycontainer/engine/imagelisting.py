"""Which images `Image.list` shows: Docker's filters of `docker images`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pycontainer.engine.filters import Filters, FilterValues
from pycontainer.errors import NotFound
from pycontainer.oci import Reference

if TYPE_CHECKING:
    from pycontainer.engine.engine import Engine
    from pycontainer.store import ImageRecord

__all__ = ["labels_of", "listed"]

_FILTERS = ("before", "dangling", "label", "label!", "reference", "since", "until")


def listed(engine: Engine, given: FilterValues | None) -> list[ImageRecord]:
    """The images that fit all filters, the newest first. See Image.list."""
    filters = Filters(given, _FILTERS, "images")
    images = engine.store.state.images
    before = [engine.store.find_image(name).created_at for name in filters.texts("before")]
    since = [engine.store.find_image(name).created_at for name in filters.texts("since")]
    until_ns = filters.moment_ns("until")
    asks_names = "dangling" in filters or "reference" in filters
    found = []
    for record in images.list():
        made = record.created_at
        if not all(made < moment for moment in before) or not all(made > moment for moment in since):
            continue
        if until_ns is not None and made * 1e9 >= until_ns:
            continue
        if asks_names and not _names_fit(filters, [tag.name for tag in images.tags(record.id)]):
            continue
        if ("label" in filters or "label!" in filters) and not filters.has_labels(labels_of(engine, record)):
            continue
        found.append(record)
    return found


def _names_fit(filters: Filters, names: Iterable[str]) -> bool:
    known = [reference for reference in map(Reference.parse, names) if reference.tag is not None]
    if "dangling" in filters and filters.flag("dangling", True) == bool(known):
        return False
    patterns = filters.texts("reference")
    texts = [text for name in known for text in (name.familiar, name.familiar_repository)]
    return not patterns or any(_matches(text, pattern) for text in texts for pattern in patterns)


def _matches(text: str, pattern: str) -> bool:
    """As Go's path.Match has it: no wildcard goes across a slash."""
    parts, wanted = text.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def labels_of(engine: Engine, record: ImageRecord) -> dict[str, str]:
    """The labels of an image; none of one whose documents were lost."""
    with suppress(NotFound):
        return dict(engine.image_view(record).config.config.labels)
    return {}
