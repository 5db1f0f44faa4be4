"""The registry client: everything the engine asks of a registry.

Thread-safe, synchronous, one per engine. Every byte that reaches a caller is verified; every error is
one of pycontainer.errors, with credentials left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import final

import attrs
import httpx

from pycontainer.errors import InvalidInput
from pycontainer.image import BlobSink, BlobSource, OnEvent, Progress
from pycontainer.oci import Descriptor, Digest, Index, Manifest, Platform, Reference, parse_digest
from pycontainer.registry import listing
from pycontainer.registry.auth import Right, forget_account, normal_key, save_account
from pycontainer.registry.cancel import Cancellation
from pycontainer.registry.config import Credentials, RegistryConfig
from pycontainer.registry.download import Download
from pycontainer.registry.endpoints import upstream
from pycontainer.registry.push import push
from pycontainer.registry.redact import redact_url
from pycontainer.registry.resolve import Resolved, Resolver
from pycontainer.registry.session import Request, Session
from pycontainer.registry.source import RemoteSource
from pycontainer.registry.transfer import run_all

__all__ = ["RegistryClient"]

ANSWER_BYTES = 64 << 10


@attrs.frozen
class _Parts:
    """What belongs to one process."""

    pid: int
    session: Session
    resolver: Resolver


@final
class RegistryClient:
    """Talks to registries as `config` says. `transport` replaces the network, for programs with their own."""

    def __init__(
        self, config: RegistryConfig | None = None, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.config: RegistryConfig = config or RegistryConfig()
        self._transport = transport
        self._inherited: list[_Parts] = []
        self._own = self._made()

    def _made(self) -> _Parts:
        session = Session(self.config, transport=self._transport)
        return _Parts(os.getpid(), session, Resolver(session))

    @property
    def _parts(self) -> _Parts:
        if self._own.pid != os.getpid():
            # A forked child must not speak on its parent's connections, nor wait for locks that threads
            # of the parent held. The old ones are kept untouched: closing them would take those locks.
            self._inherited.append(self._own)
            self._own = self._made()
        return self._own

    def resolve(
        self, reference: Reference, platform: Platform | None = None, on_event: OnEvent | None = None
    ) -> Resolved:
        """The image a reference names, for `platform` (None: this host's), with manifest and config.

        Raises: RegistryError, NotFound (also where the platform is not offered), DigestMismatch,
        InvalidImage.
        """
        if on_event is not None:
            on_event(Progress(action="resolving", reference=reference.familiar))
        with self._warned(reference, on_event):
            found = self._parts.resolver.resolve(reference, platform)
        if on_event is not None:
            on_event(
                Progress(
                    action="resolved",
                    reference=reference.familiar,
                    digest=found.descriptor.digest,
                    message=str(found.reference),
                )
            )
        return found

    def describe(self, reference: Reference) -> Descriptor:
        """The descriptor of what a reference names now; to see whether a tag has moved."""
        return self._parts.resolver.top(reference)[0]

    def document(self, reference: Reference) -> tuple[Descriptor, bytes, Manifest | Index]:
        """The manifest or index a reference names now, an artifact's too: descriptor, bytes and model."""
        return self._parts.resolver.top(reference)

    def read(self, reference: Reference, descriptor: Descriptor, limit: int) -> bytes:
        """A small blob of the reference's repository, verified, in memory.

        Raises: RegistryError, DigestMismatch; InvalidImage if it is above `limit` bytes.
        """
        return self._parts.resolver.blob(reference, descriptor, limit)

    def fetch(
        self, reference: Reference, descriptor: Descriptor, sink: BlobSink, on_event: OnEvent | None = None
    ) -> None:
        """Bring one blob into `sink`: resumed where an earlier attempt ended, from a mirror if one has it.

        Returns at once if the sink has it, and waits where another thread or process is fetching it.
        Raises: RegistryError; DigestMismatch if no server sent the right bytes.
        """
        with self._warned(reference, on_event):
            Download(self._parts.session, reference, descriptor, on_event).into(sink)

    def fetch_all(
        self,
        reference: Reference,
        descriptors: Iterable[Descriptor],
        sink: BlobSink,
        on_event: OnEvent | None = None,
        on_blob: Callable[[Descriptor], None] | None = None,
        cancellation: Cancellation | None = None,
    ) -> None:
        """Bring several blobs, config.limits.parallel_downloads at a time.

        on_event is called from the transfers' threads; on_blob, with each blob that is complete, on the
        caller's. The first error cancels the rest, as does `cancellation` from another thread; what they
        have stays in the sink for the next time.
        """
        unique = {descriptor.digest: descriptor for descriptor in descriptors}
        run_all(
            unique.values(),
            lambda descriptor: self.fetch(reference, descriptor, sink, on_event),
            self.config.limits.parallel_downloads,
            on_blob,
            cancellation,
        )

    def push(
        self,
        reference: Reference,
        source: BlobSource,
        descriptor: Descriptor,
        *,
        on_event: OnEvent | None = None,
        mount_from: Sequence[str] = (),
    ) -> Digest:
        """Push the manifest or index `descriptor` of `source` with all it needs; returns its digest.

        mount_from: paths of repositories of the same registry which may have the blobs already.
        Raises: RegistryError; NotFound if the source lacks a part.
        """
        session = self._parts.session
        with self._warned(reference, on_event):
            return push(session, reference, source, descriptor, mount_from=mount_from, on_event=on_event)

    @contextmanager
    def _warned(self, reference: Reference, on_event: OnEvent | None) -> Iterator[None]:
        """Tell, where somebody listens, what registries have warned of, whether the work succeeds or not."""
        notices = self._parts.session.notices
        try:
            yield
        finally:
            if on_event is not None:
                for message in notices.take():
                    on_event(Progress(action="warning", reference=reference.familiar, message=message))

    def source(self, reference: Reference) -> BlobSource:
        """The reference's repository as a source: blobs are read from the registry as they are asked for."""
        parts = self._parts
        return RemoteSource(parts.session, parts.resolver, reference)

    def tags(self, reference: Reference) -> list[str]:
        """All tags of the reference's repository."""
        return listing.tags(self._parts.session, reference)

    def repositories(self, host: str) -> list[str]:
        """All repositories of a registry that lists them.

        Raises: BadReference; RegistryError, NotFound where it does not.
        """
        return listing.repositories(self._parts.session, _domain(host))

    def referrers(self, reference: Reference, digest: str, artifact_type: str = "") -> list[Descriptor]:
        """What refers to `digest` (signatures, SBOMs …), of one artifact type if given."""
        return listing.referrers(self._parts.session, reference, parse_digest(digest), artifact_type)

    def delete(self, reference: Reference) -> None:
        """Delete a manifest (by digest, and with it all its tags) or one tag.

        Raises: NotFound; RegistryError where the registry does not allow it. Some registries delete by
        digest only.
        """
        request = Request(
            action=f"delete {reference}",
            method="DELETE",
            path=f"{reference.path}/manifests/{reference.identifier}",
            right=Right.to(reference.path, "pull,push,delete"),
            accepts=frozenset({200, 202, 204}),
        )
        endpoint = upstream(reference.domain, reference.registry_host)
        self._parts.session.document(endpoint, request, ANSWER_BYTES)

    def ping(self, host: str) -> str:
        """Check that a registry answers, and that its credentials are good; returns its URL.

        Raises: BadReference for a host outside the grammar; AuthDenied; RegistryError.
        """
        domain = _domain(host)
        endpoint = upstream(domain)
        request = Request(action=f"reach registry {domain}")
        self._parts.session.document(endpoint, request, ANSWER_BYTES)
        return redact_url(self._parts.session.known_url(endpoint, request)).removesuffix("/v2/")

    def login(self, name: str, account: Credentials) -> str:
        """Check an account with its registry, then keep it where `config.login_file` says; returns the file.

        name: the registry's host, or a part of its repositories, as ghcr.io/owner. A credential helper that
        the file names gets the secret. Raises: AuthDenied; RegistryError; InvalidInput for a file that is
        broken or cannot be written.
        """
        key, domain = _account_name(name)
        if account.is_empty:
            raise InvalidInput(f"no password and no token to log in to {key} with")
        alone = attrs.evolve(self.config, credentials={domain: account}, auth_files=(), inline_auth="")
        with RegistryClient(alone, transport=self._transport) as client:
            client.ping(domain)
        path = save_account(self.config, key, account)
        self._parts.session.forget_accounts()
        return str(path)

    def logout(self, name: str) -> bool:
        """Remove an account from `config.login_file` and its credential helper; whether there was one."""
        was_known = forget_account(self.config, _account_name(name)[0])
        self._parts.session.forget_accounts()
        return was_known

    def close(self) -> None:
        """Close idle connections; the client can be used again and opens new ones."""
        self._parts.session.close()

    def __enter__(self) -> RegistryClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _domain(host: str) -> str:
    domain = Reference.parse(f"{host}/ping").domain
    if domain != host.lower() and host != "index.docker.io":
        raise InvalidInput(f"{host[:200]!r} is not a registry's host, such as ghcr.io or localhost:5000")
    return domain


def _account_name(name: str) -> tuple[str, str]:
    """The key of an account, and its registry."""
    key = normal_key(name)
    host, slash, path = key.partition("/")
    domain = _domain(host)
    if slash:
        Reference.parse(f"{domain}/{path}")
    return key, domain
