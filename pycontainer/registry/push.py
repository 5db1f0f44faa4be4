"""An image or an index into a registry: blobs first, in parallel, then manifests, children first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from pycontainer.checkpoints import reached
from pycontainer.errors import IntegrityError, InvalidImage
from pycontainer.image import BlobSource, OnEvent, Progress
from pycontainer.oci import (
    Descriptor,
    Digest,
    Index,
    Manifest,
    Reference,
    decode_manifest,
    encode,
    mediatype,
    sha256,
)
from pycontainer.registry.auth import Right
from pycontainer.registry.endpoints import upstream
from pycontainer.registry.listing import referrers_index, referrers_tag
from pycontainer.registry.session import Request, Session
from pycontainer.registry.transfer import run_all
from pycontainer.registry.upload import Upload

__all__ = ["push"]

MAX_NESTING = 4
ANSWER_BYTES = 64 << 10


def push(
    session: Session,
    reference: Reference,
    source: BlobSource,
    descriptor: Descriptor,
    *,
    mount_from: Sequence[str] = (),
    on_event: OnEvent | None = None,
) -> Digest:
    """Push what `descriptor` (a manifest or an index of `source`) names, under the reference's tag.

    Foreign layers stay with their publisher. mount_from: repositories (paths) of the same registry that
    may have the blobs already. Returns the digest that was pushed.
    Raises: RegistryError; NotFound if the source lacks a part; InvalidImage.
    """
    plan = _Plan(source, session.config.limits.manifest_bytes)
    plan.add(descriptor)

    def send(blob: Descriptor) -> None:
        Upload(session, reference, blob, source, mount_from=mount_from, on_event=on_event).run()

    for foreign in plan.foreign:
        _tell(on_event, Progress(action="skipped", reference=reference.familiar, digest=foreign.digest))
    run_all(plan.blobs.values(), send, session.config.limits.parallel_uploads)
    for manifest in plan.manifests:
        is_top = manifest.descriptor.digest == descriptor.digest
        name = reference.tag if is_top and reference.tag else manifest.descriptor.digest
        _put_manifest(session, reference, manifest, name)
    _tell(
        on_event,
        Progress(
            action="done", reference=reference.familiar, digest=descriptor.digest, message=str(reference)
        ),
    )
    return descriptor.digest


@attrs.frozen
class _Document:
    descriptor: Descriptor
    content: bytes = attrs.field(repr=False)
    model: Manifest | Index = attrs.field(repr=False)


class _Plan:
    """What must be sent. manifests: children before the index that lists them."""

    def __init__(self, source: BlobSource, manifest_limit: int) -> None:
        self.blobs: dict[Digest, Descriptor] = {}
        self.foreign: list[Descriptor] = []
        self.manifests: list[_Document] = []
        self._seen: set[Digest] = set()
        self._source = source
        self._manifest_limit = manifest_limit

    def add(self, descriptor: Descriptor, depth: int = 0) -> None:
        if depth > MAX_NESTING:
            raise InvalidImage(f"indexes are nested more than {MAX_NESTING} deep")
        if descriptor.digest in self._seen:
            return
        self._seen.add(descriptor.digest)
        content = self._source.read(descriptor, self._manifest_limit)
        model = decode_manifest(content, descriptor.media_type, limit_bytes=self._manifest_limit)
        if isinstance(model, Index):
            for child in model.manifests:
                self.add(child, depth + 1)
        else:
            for blob in (model.config, *model.layers):
                if mediatype.is_foreign(blob.media_type):
                    self.foreign.append(blob)
                else:
                    self.blobs.setdefault(blob.digest, blob)
        self.manifests.append(_Document(descriptor, content, model))


def _put_manifest(session: Session, reference: Reference, document: _Document, name: str) -> None:
    endpoint = upstream(reference.domain, reference.registry_host)
    digest = document.descriptor.digest
    request = Request(
        action=f"push manifest {reference.repository}{'@' if ':' in name else ':'}{name}",
        method="PUT",
        path=f"{reference.path}/manifests/{name}",
        headers={"Content-Type": document.model.media_type},
        content=document.content,
        right=Right.to(reference.path, "pull,push"),
        accepts=frozenset({201, 202, 200}),
    )
    _, headers = session.document(endpoint, request, ANSWER_BYTES)
    reached("push.manifest.uploaded")
    said = headers.get("docker-content-digest")
    if said and said != digest and said.partition(":")[0] == digest.partition(":")[0]:
        raise IntegrityError(f"pushed {digest}, and {reference.repository} stored it as {said[:140]!r}")
    subject = document.model.subject
    if subject is not None and "oci-subject" not in headers:
        _list_as_referrer(session, reference, document, subject)


def _list_as_referrer(
    session: Session, reference: Reference, document: _Document, subject: Descriptor
) -> None:
    """Keep the stand-in tag of a registry without referrers API, as the specification asks of clients."""
    endpoint = upstream(reference.domain, reference.registry_host)
    listed = referrers_index(session, endpoint, reference, subject.digest) or Index()
    if any(entry.digest == document.descriptor.digest for entry in listed.manifests):
        return
    model = document.model
    config_type = model.config.media_type if isinstance(model, Manifest) else ""
    entry = Descriptor(
        media_type=model.media_type,
        digest=document.descriptor.digest,
        size=document.descriptor.size,
        artifact_type=model.artifact_type or config_type,
        annotations=model.annotations,
    )
    changed = attrs.evolve(listed, manifests=(*listed.manifests, entry))
    content = encode(changed)
    descriptor = Descriptor(media_type=changed.media_type, digest=sha256(content), size=len(content))
    _put_manifest(session, reference, _Document(descriptor, content, changed), referrers_tag(subject.digest))


def _tell(on_event: Callable[[Progress], None] | None, event: Progress) -> None:
    if on_event is not None:
        on_event(event)
