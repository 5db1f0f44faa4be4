"""From a reference to one image's verified manifest and configuration."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

import attrs
import httpx
from cachetools import LRUCache

from pycontainer.errors import IntegrityError, InvalidImage, InvalidInput, NotFound
from pycontainer.oci import (
    CONFIG_LIMIT,
    Descriptor,
    Digest,
    Hasher,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    Reference,
    choose,
    decode_config,
    decode_manifest,
    mediatype,
    parse_digest,
    sha256,
)
from pycontainer.registry.auth import Right
from pycontainer.registry.endpoints import Endpoint
from pycontainer.registry.redact import printable
from pycontainer.registry.session import Request, Session

__all__ = ["Resolved", "Resolver"]

MAX_NESTING = 4
DOCUMENT_CACHE_BYTES = 16 << 20
ACCEPT_HEADER = ", ".join([*mediatype.ACCEPTED, "*/*;q=0.1"])
_Ask: TypeAlias = Callable[[Endpoint], bytes]


@attrs.frozen(kw_only=True)
class Resolved:
    """One image of a registry, every byte verified.

    descriptor: what the reference names, an index or the manifest itself. index_bytes: that index, or
    None. manifest_descriptor: the image's own manifest, for the platform asked for.
    """

    reference: Reference
    descriptor: Descriptor
    index_bytes: bytes | None = attrs.field(repr=False)
    manifest_bytes: bytes = attrs.field(repr=False)
    manifest: Manifest = attrs.field(repr=False)
    manifest_descriptor: Descriptor
    config_bytes: bytes = attrs.field(repr=False)
    config: ImageConfig = attrs.field(repr=False)


class Resolver:
    """Reads documents of a registry; keeps the ones named by digest in memory."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._documents: LRUCache[Digest, bytes] = LRUCache(DOCUMENT_CACHE_BYTES, getsizeof=len)

    def resolve(self, reference: Reference, platform: Platform | None) -> Resolved:
        """The image a reference names, for `platform` (the host's where None).

        An image that stands alone is taken for any platform unless one is asked for, as Docker does.
        Raises: RegistryError, NotFound (also if the platform is not offered), DigestMismatch,
        InvalidImage.
        """
        descriptor, content, document = self.top(reference)
        index_bytes = content if isinstance(document, Index) else None
        entry, seen = descriptor, {descriptor.digest}
        while isinstance(document, Index):
            entry = choose(document, platform or Platform.host())
            if entry.digest in seen or len(seen) > MAX_NESTING:
                raise InvalidImage(
                    f"indexes of {reference} are nested more than {MAX_NESTING} deep, or in a circle"
                )
            seen.add(entry.digest)
            content = self.child(reference, entry)
            document = self._decode(content, entry.media_type)
        config_bytes = self._config(reference, document)
        config = decode_config(config_bytes)
        if platform is not None and index_bytes is None:
            _check_platform(reference, entry, config, platform)
        if len(config.diff_ids) != len(document.layers):
            raise InvalidImage(
                f"{reference} has {len(document.layers)} layers, and its config names {len(config.diff_ids)}"
            )
        return Resolved(
            reference=reference,
            descriptor=descriptor,
            index_bytes=index_bytes,
            manifest_bytes=content,
            manifest=document,
            manifest_descriptor=entry,
            config_bytes=config_bytes,
            config=config,
        )

    def top(self, reference: Reference) -> tuple[Descriptor, bytes, Manifest | Index]:
        """What the reference names: its descriptor, bytes and model, read in one request.

        One GET and no HEAD before it, so that the tag cannot move in between.
        """
        if reference.digest is not None and (known := self._cached(reference.digest)) is not None:
            return self._described(known, reference.digest, "")

        def ask(endpoint: Endpoint) -> tuple[Descriptor, bytes, Manifest | Index]:
            content, headers = self._manifest(endpoint, reference, reference.identifier)
            digest = reference.digest or _hinted_digest(content, headers, str(reference))
            _check(content, digest, None, str(reference))
            return self._described(content, digest, headers.get("content-type", ""))

        found = self._session.anywhere(reference, ask, by_tag=reference.digest is None)
        self._remember(found[0].digest, found[1])
        return found

    def child(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """A manifest that an index lists, verified against its descriptor."""
        limit = self._session.config.limits.manifest_bytes
        if descriptor.size > limit:
            raise InvalidImage(f"manifest {descriptor.digest} of {descriptor.size} bytes is above {limit}")

        def ask(endpoint: Endpoint) -> bytes:
            content, _ = self._manifest(endpoint, reference, descriptor.digest, descriptor.media_type)
            _check(content, descriptor.digest, descriptor.size, f"manifest of {reference.repository}")
            return content

        return self._verified(reference, descriptor, ask)

    def blob(self, reference: Reference, descriptor: Descriptor, limit: int) -> bytes:
        """A small blob, verified."""
        if descriptor.size > limit:
            raise InvalidImage(f"blob {descriptor.digest} of {descriptor.size} bytes is above {limit}")
        request = Request(
            action=f"get blob {descriptor.digest}",
            path=f"{reference.path}/blobs/{parse_digest(descriptor.digest)}",
            headers={"Accept": "*/*"},
            right=Right.to(reference.path, "pull"),
        )

        def ask(endpoint: Endpoint) -> bytes:
            content, _ = self._session.document(endpoint, request, limit)
            _check(content, descriptor.digest, descriptor.size, f"blob of {reference.repository}")
            return content

        return self._verified(reference, descriptor, ask)

    def _verified(self, reference: Reference, descriptor: Descriptor, ask: _Ask) -> bytes:
        """From the descriptor itself, from memory, or from the registry."""
        if descriptor.data is not None:
            return descriptor.data  # verified when it was decoded
        known = self._cached(descriptor.digest)
        if known is not None:
            _check(known, descriptor.digest, descriptor.size, reference.repository)
            return known
        content = self._session.anywhere(reference, ask)
        self._remember(descriptor.digest, content)
        return content

    def _manifest(
        self, endpoint: Endpoint, reference: Reference, identifier: str, accept: str = ACCEPT_HEADER
    ) -> tuple[bytes, httpx.Headers]:
        request = Request(
            action=f"get manifest {reference.repository}{'@' if ':' in identifier else ':'}{identifier}",
            path=f"{reference.path}/manifests/{identifier}",
            headers={"Accept": accept},
            right=Right.to(reference.path, "pull"),
        )
        return self._session.document(endpoint, request, self._session.config.limits.manifest_bytes)

    def _config(self, reference: Reference, manifest: Manifest) -> bytes:
        if not mediatype.is_config(manifest.config.media_type):
            raise InvalidImage(
                f"{reference} is no container image: its config is {printable(manifest.config.media_type)}"
            )
        return self.blob(reference, manifest.config, CONFIG_LIMIT)

    def _described(
        self, content: bytes, digest: Digest, announced: str
    ) -> tuple[Descriptor, bytes, Manifest | Index]:
        document = self._decode(content, announced)
        return Descriptor(media_type=document.media_type, digest=digest, size=len(content)), content, document

    def _decode(self, content: bytes, media_type: str) -> Manifest | Index:
        return decode_manifest(
            content, media_type or None, limit_bytes=self._session.config.limits.manifest_bytes
        )

    def _cached(self, digest: Digest) -> bytes | None:
        with self._lock:
            return self._documents.get(digest)

    def _remember(self, digest: Digest, content: bytes) -> None:
        with self._lock:
            if len(content) <= DOCUMENT_CACHE_BYTES // 4:
                self._documents[digest] = content


def _hinted_digest(content: bytes, headers: httpx.Headers, source: str) -> Digest:
    """The digest of what a tag names. The server's own word is a hint, yet a wrong one is an alarm."""
    hint = headers.get("docker-content-digest")
    if hint is None:
        return sha256(content)
    try:
        digest = parse_digest(hint)
    except InvalidInput as error:
        raise IntegrityError(f"{source}: the registry names it by a bad digest: {error}") from None
    return digest


def _check(content: bytes, digest: Digest, size: int | None, source: str) -> None:
    """Size first, then digest. Raises: DigestMismatch."""
    hasher = Hasher.like(digest)
    hasher.update(content)
    hasher.check(digest, len(content) if size is None else size, source)


def _check_platform(
    reference: Reference, manifest: Descriptor, config: ImageConfig, platform: Platform
) -> None:
    """Raise NotFound unless the image, which no index lists, is one for the platform."""
    offered = Platform(os=config.os, architecture=config.architecture, variant=config.variant)
    try:
        choose(Index(manifests=(attrs.evolve(manifest, platform=offered),)), platform)
    except NotFound as error:
        raise NotFound(f"{reference}: {error}") from None
