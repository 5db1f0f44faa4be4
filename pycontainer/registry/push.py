"""An image or an index into a registry: blobs first, in parallel, then manifests, children first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from pycontainer.checkpoints import reached
from pycontainer.errors import IntegrityError
from pycontainer.image import BlobSource, Contents, Document, OnEvent, Progress, Target
from pycontainer.oci import (
    Descriptor,
    Digest,
    Index,
    Manifest,
    Reference,
    encode,
    sha256,
)
from pycontainer.registry.auth import Right
from pycontainer.registry.endpoints import push_endpoint
from pycontainer.registry.listing import referrers_index, referrers_tag
from pycontainer.registry.session import Request, Session
from pycontainer.registry.transfer import run_all
from pycontainer.registry.upload import Upload

__all__ = ["push"]

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
    plan = Contents(Target(source, descriptor), manifest_limit=session.config.limits.manifest_bytes)

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


def _put_manifest(session: Session, reference: Reference, document: Document, name: str) -> None:
    endpoint = push_endpoint(reference, session.config)
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
    session: Session, reference: Reference, document: Document, subject: Descriptor
) -> None:
    """Keep the stand-in tag of a registry without referrers API, as the specification asks of clients."""
    endpoint = push_endpoint(reference, session.config)
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
    _put_manifest(session, reference, Document(descriptor, content, changed), referrers_tag(subject.digest))


def _tell(on_event: Callable[[Progress], None] | None, event: Progress) -> None:
    if on_event is not None:
        on_event(event)
