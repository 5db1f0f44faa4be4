"""What a registry lists: tags and referrers, page by page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import attrs
import httpx

from pycontainer.errors import RegistryError
from pycontainer.oci import Descriptor, Digest, Index, Reference, decode_manifest, mediatype, split_digest
from pycontainer.registry import guard
from pycontainer.registry.auth import Right
from pycontainer.registry.endpoints import Endpoint, upstream
from pycontainer.registry.errors import NotInRegistry
from pycontainer.registry.redact import redact_url
from pycontainer.registry.session import Request, Session

__all__ = ["referrers", "referrers_index", "referrers_tag", "repositories", "tags"]

PAGE_ENTRIES = 1000  # ECR refuses more
PAGE_BYTES = 8 << 20
MAX_PAGES = 10_000
_NEXT = re.compile(r'<([^<>]*)>\s*;[^,]*?\brel\s*=\s*"?next"?(?:\s*[;,]|\s*$)', re.IGNORECASE)


def tags(session: Session, reference: Reference) -> list[str]:
    """All tags of the reference's repository, in the registry's order, each once."""
    request = Request(
        action=f"list tags of {reference.repository}",
        path=f"{reference.path}/tags/list",
        query=(("n", str(PAGE_ENTRIES)),),
        headers={"Accept": "application/json"},
        right=Right.to(reference.path, "pull"),
    )
    found: dict[str, None] = {}
    for content, _ in _pages(session, upstream(reference.domain, reference.registry_host), request):
        page = _json(content, request.action).get("tags") or []
        if not isinstance(page, list) or not all(isinstance(tag, str) for tag in page):
            raise RegistryError(f"cannot {request.action}: the answer's tags are no list of names")
        found.update(dict.fromkeys(page))
    return list(found)


def repositories(session: Session, domain: str) -> list[str]:
    """Paths of all repositories of a registry that lists them; many public ones do not."""
    request = Request(
        action=f"list the repositories of {domain}",
        path="_catalog",
        query=(("n", str(PAGE_ENTRIES)),),
        headers={"Accept": "application/json"},
        right=Right(scopes=("registry:catalog:*",)),
    )
    found: dict[str, None] = {}
    for content, _ in _pages(session, upstream(domain), request):
        page = _json(content, request.action).get("repositories") or []
        if not isinstance(page, list) or not all(isinstance(name, str) for name in page):
            raise RegistryError(f"cannot {request.action}: the answer's repositories are no list of names")
        found.update(dict.fromkeys(page))
    return list(found)


def referrers(
    session: Session, reference: Reference, digest: Digest, artifact_type: str = ""
) -> list[Descriptor]:
    """Descriptors of the manifests that name `digest` as their subject.

    Asks the referrers API, and the tag that stands in for it where a registry has none.
    """
    endpoint = upstream(reference.domain, reference.registry_host)
    request = Request(
        action=f"list referrers of {reference.repository}@{digest}",
        path=f"{reference.path}/referrers/{digest}",
        query=(("artifactType", artifact_type),) if artifact_type else (),
        headers={"Accept": mediatype.OCI_INDEX},
        right=Right.to(reference.path, "pull"),
    )
    try:
        pages = [_index(content) for content, _ in _pages(session, endpoint, request)]
    except NotInRegistry:
        fallback = referrers_index(session, endpoint, reference, digest)
        pages = [fallback] if fallback is not None else []
    # A server may ignore the filter, so it is applied here in any case.
    return [
        entry
        for page in pages
        for entry in page.manifests
        if not artifact_type or entry.artifact_type == artifact_type
    ]


def referrers_tag(digest: Digest) -> str:
    """The tag whose index lists the referrers of a digest.

    Source: distribution-spec, "Referrers Tag Schema".
    """
    algorithm, digits = split_digest(digest)
    return f"{algorithm[:32]}-{digits[:64]}"


def referrers_index(
    session: Session, endpoint: Endpoint, reference: Reference, digest: Digest
) -> Index | None:
    """The index behind the stand-in tag, or None."""
    request = Request(
        action=f"get referrers tag of {reference.repository}@{digest}",
        path=f"{reference.path}/manifests/{referrers_tag(digest)}",
        headers={"Accept": mediatype.OCI_INDEX},
        right=Right.to(reference.path, "pull"),
    )
    try:
        content, _ = session.document(endpoint, request, session.config.limits.manifest_bytes)
    except NotInRegistry:
        return None
    return _index(content)


def _index(content: bytes) -> Index:
    document = decode_manifest(content, mediatype.OCI_INDEX)
    assert isinstance(document, Index)  # decode_manifest refuses anything else under that type
    return document


def _pages(session: Session, endpoint: Endpoint, request: Request) -> Iterator[tuple[bytes, httpx.Headers]]:
    """Follow `Link: <...>; rel="next"` within the same server, each page once."""
    seen: set[str] = set()
    for _ in range(MAX_PAGES):
        content, headers = session.document(endpoint, request, PAGE_BYTES)
        yield content, headers
        match = _NEXT.search(headers.get("link", ""))
        if match is None:
            return
        asked = session.known_url(endpoint, request)
        following = guard.next_url(asked, match[1], "next page")
        if not guard.same_origin(asked, following):
            raise RegistryError(
                f"cannot {request.action}: the next page is on another host, {redact_url(following)}"
            )
        if str(following) in seen:
            raise RegistryError(
                f"cannot {request.action}: its pages form a circle at {redact_url(following)}"
            )
        seen.add(str(following))
        request = attrs.evolve(request, url=following)
    raise RegistryError(f"cannot {request.action}: more than {MAX_PAGES} pages")


def _json(content: bytes, action: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RegistryError(f"cannot {action}: the answer is not a JSON object")
    return document
