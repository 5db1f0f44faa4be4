"""From a request's path to the handler, its repository and its reference.

A path is split first and decoded after, so an encoded slash stays inside one segment and fails the grammar
there instead of becoming a separator.
Source: distribution-spec 1.1, table "Endpoints"; GET /v2/_catalog is Docker's.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_to_bytes

import attrs

from pycontainer.registry.server import grammar
from pycontainer.registry.server.refusals import Refusal

METHODS: Final[dict[str, tuple[str, ...]]] = {
    "base": ("GET", "HEAD"),
    "catalog": ("GET", "HEAD"),
    "tags": ("GET", "HEAD"),
    "referrers": ("GET", "HEAD"),
    "manifest": ("GET", "HEAD", "PUT", "DELETE"),
    "blob": ("GET", "HEAD", "DELETE"),
    "uploads": ("POST",),
    "upload": ("GET", "PATCH", "PUT", "DELETE"),
}


@attrs.frozen
class Route:
    """Where a request goes: the endpoint's name, the repository, and a tag, digest or upload id."""

    endpoint: str
    repository: str = ""
    reference: str = ""


def find(path: str) -> Route:
    """Route a path below /v2/. Raises: Refusal 404, NAME_INVALID."""
    segments = [_decoded(segment) for segment in path.split("/")]
    match segments:
        case ["", "v2"] | ["", "v2", ""]:
            return Route("base")
        case ["", "v2", "_catalog"]:
            return Route("catalog")
        case ["", "v2", *name, "tags", "list"]:
            return Route("tags", _name(name))
        case ["", "v2", *name, "referrers", reference]:
            return Route("referrers", _name(name), reference)
        case ["", "v2", *name, "manifests", reference]:
            return Route("manifest", _name(name), reference)
        case ["", "v2", *name, "blobs", "uploads"] | ["", "v2", *name, "blobs", "uploads", ""]:
            return Route("uploads", _name(name))
        case ["", "v2", *name, "blobs", "uploads", reference]:
            return Route("upload", _name(name), reference)
        case ["", "v2", *name, "blobs", reference]:
            return Route("blob", _name(name), reference)
    raise Refusal(404, "UNSUPPORTED", "no such endpoint")


def _decoded(segment: str) -> str:
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError as error:
        raise Refusal(400, "NAME_INVALID", "the path is not UTF-8") from error


def _name(segments: list[str]) -> str:
    if any("/" in segment for segment in segments):
        raise Refusal(400, "NAME_INVALID", "a slash inside a path component is not a repository name")
    return grammar.repository("/".join(segments))
