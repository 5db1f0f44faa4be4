"""Signatures of images: made, kept in registries as cosign does, verified, and asked for by a policy.

A policy is obeyed where an image comes in, before any of it is unpacked, and where it is run: signatures that
were there at the pull are kept with the image, so that running needs no registry.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from attrs import evolve, field, frozen

from pycontainer.engine.attached import attach, attached_manifests
from pycontainer.engine.engine import Engine, current_engine
from pycontainer.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PycontainerError,
    RegistryError,
    UntrustedImage,
)
from pycontainer.image import Documents
from pycontainer.oci import (
    MANIFEST_LIMIT,
    Descriptor,
    Digest,
    ImageConfig,
    Manifest,
    Platform,
    Reference,
    decode_manifest,
    encode,
    mediatype,
)
from pycontainer.trust import (
    BUNDLE,
    BUNDLE_ANNOTATIONS,
    SIGNATURE_ARTIFACT,
    SIMPLE_SIGNING,
    BundledSignature,
    Identity,
    PublicKey,
    Signature,
    SigningKey,
    is_bundle,
    read_bundle,
    signature_tag,
    verified_claims,
)

if TYPE_CHECKING:
    from pycontainer.registry import Resolved
    from pycontainer.store import ImageRecord, Tag

__all__ = ["Verified", "check_pulled", "check_run", "keep_signatures", "sign", "verify"]

MAX_SIGNATURES = 64  # of one image; more are not looked at, for a stranger may have put them there
SIGNATURE_LIMIT = 64 << 10
MAX_MANIFESTS = 32
NO_REFERRERS = (400, 405, 501)  # what registries without that API say where they should say 404

_Layer: TypeAlias = tuple[Descriptor, bytes]
"""A layer that is a signature, and what it holds."""

Key = PublicKey | str | bytes | os.PathLike[str]


@frozen(kw_only=True)
class Verified:
    """What was verified. digest: of the manifest or index that is signed. reference: its name with that
    digest, to pull just this. notes: what the signers said besides, one entry a signature.
    """

    digest: str
    reference: str
    notes: tuple[Mapping[str, object], ...] = ()


@frozen(kw_only=True)
class Found:
    """Signatures, and the documents they were in."""

    signatures: tuple[Signature, ...] = ()
    documents: tuple[bytes, ...] = field(default=(), repr=False)


def sign(
    reference: str,
    key: SigningKey,
    *,
    notes: Mapping[str, str] | None = None,
    with_tag: bool = False,
    as_referrer: bool = False,
    as_bundle: bool = False,
    engine: Engine | None = None,
) -> str:
    """Sign what a name stands for in its registry, and push the signature beside it; returns that digest.

    An index is signed as a whole. notes: further claims. with_tag: sign the name with its tag, so that the
    signature does not count for another tag (where a policy says matchExact); cosign itself leaves it out.
    as_referrer: as a referrer of the image (OCI 1.1) in place of the tag sha256-HEX.sig that cosign uses.
    as_bundle: as a Sigstore bundle among the referrers, which cosign writes since version 3.
    A signature of the same key and claim is not added again.
    Raises: NotFound, AuthDenied, RegistryError; Conflict where one more would not be looked at, or others'
    layers under that tag would be lost.
    """
    engine = engine or current_engine()
    target = Reference.parse(reference)
    client = engine.registries
    subject = client.describe(target)
    if with_tag and target.tag is None:
        raise InvalidInput(f"{reference!r} has no tag that could be signed")
    name = f"{target.repository}:{target.tag}" if with_tag else target.repository
    kind = BundledSignature if as_bundle else Signature
    payload = kind.encode(subject.digest, name, notes)
    signed = kind.signed_bytes(payload)
    is_referrer = as_referrer or as_bundle
    tag = _tag_home(target, subject.digest)
    homes = _referrer_homes(engine, target, subject.digest) if is_referrer else [tag]
    read = list(_read_at(engine, homes))
    known = [each for _, layers in read for each in layers]
    for found in _signatures(known, lambda _: None):
        if (type(found), found.payload) == (kind, payload):
            if key.public_key.verifies(signed, found.signature):
                return subject.digest
    if len(known) >= MAX_SIGNATURES or len(homes) >= MAX_MANIFESTS:
        raise Conflict(f"{target} has so many signatures that one more would not be looked at; delete some")
    if not is_referrer and any(_count(data) != len(layers) for data, layers in read):
        raise Conflict(
            f"{tag} holds layers that are no signatures, which would be lost; delete it, or sign as_referrer"
        )
    signature = kind(payload, key.sign(signed))
    documents = Documents(*(content for _, content in known))
    if isinstance(signature, BundledSignature):
        layer = documents.add(signature.bundle(key.public_key.fingerprint), BUNDLE)
    else:
        layer = evolve(documents.add(payload, SIMPLE_SIGNING), annotations=signature.annotations)
    if is_referrer:
        manifest = _referrer(documents, layer, subject)
    else:
        manifest = _tagged(documents, [*(each for each, _ in known), layer])
    top = documents.add(encode(manifest), mediatype.OCI_MANIFEST)
    home = target.with_digest(top.digest).with_tag(None) if is_referrer else tag
    client.push(home, documents, top)
    return subject.digest


def verify(
    reference: str,
    key: Key | Sequence[Key],
    *,
    with_tag: bool = False,
    nameless: bool = False,
    engine: Engine | None = None,
) -> Verified:
    """Verify that what a name stands for in its registry is signed by the key, or by one of several.

    A signature counts for the digest and the repository it names; with_tag: and for this tag alone. nameless:
    one that names none counts, too, wherever the digest is, as `cosign verify` has it: bundles that cosign
    writes since version 3 are such. Pull `.reference` of the answer: the tag may move meanwhile.
    Raises: UntrustedImage saying what is wrong with each signature; InvalidInput for with_tag and nameless;
    NotFound, RegistryError.
    """
    engine = engine or current_engine()
    target = Reference.parse(reference)
    if with_tag and nameless:
        raise InvalidInput("with_tag=True asks for a name with its tag, which a nameless signature lacks")
    given: Sequence[Key] = [key] if isinstance(key, (PublicKey, str, bytes, os.PathLike)) else key
    keys = [each if isinstance(each, PublicKey) else PublicKey.load(each) for each in given]
    digest = engine.registries.describe(target).digest
    found = _from_registry(engine, target, digest)
    identity = Identity(kind="matchExact" if with_tag else "matchRepository", takes_nameless=nameless)
    claims = verified_claims(target, [digest], found.signatures, keys, identity)
    return Verified(
        digest=digest,
        reference=str(target.with_digest(digest).with_tag(None)),
        notes=tuple(claim.notes for claim in claims),
    )


def check_pulled(engine: Engine, reference: Reference, found: Resolved) -> Found:
    """Pass an image that the engine's policy accepts, and give the signatures to be kept with it.

    Raises: UntrustedImage.
    """
    policy = engine.policy
    if policy is None:
        return Found()
    digests = _unique(found.descriptor.digest, found.manifest_descriptor.digest)
    signatures = Found()
    if policy.needs_signatures(reference):
        signatures = _joined(_from_registry(engine, reference, digest) for digest in digests)
    policy.check(reference, digests, signatures.signatures)
    return signatures


def keep_signatures(engine: Engine, record: ImageRecord, found: Found) -> None:
    """Keep signatures with an image, so that it can be verified where there is no registry."""
    if found.documents:
        with engine.store.lease(f"keep signatures of {record.id}"):
            attach(engine, record, [engine.store.content.put(document) for document in found.documents])


def check_run(engine: Engine, record: ImageRecord, name: str) -> None:
    """Pass an image of the store that the engine's policy lets run under a name.

    name: by which it was asked for; if it is none of its names (an id, say), one of these has to be accepted.
    Raises: UntrustedImage.
    """
    policy = engine.policy
    if policy is None:
        return
    names = {
        # What the name stood for, for another name may since have brought the same image by another digest.
        Reference.parse(tag.name): _unique(tag.target_digest, record.target_digest, record.manifest_digest)
        for tag in _names(engine, record)
    }
    asked = [each for each in names if name in (str(each), each.familiar) or name == each.familiar_repository]
    wanted = asked or list(names)
    kept = _kept(engine, record)
    errors: list[UntrustedImage] = []
    for reference in wanted:
        try:
            policy.check(reference, names[reference], kept.signatures)
            return
        except UntrustedImage as error:
            errors.append(error)
    for reference in wanted[:1]:
        if policy.needs_signatures(reference):
            try:
                found = _joined(_from_registry(engine, reference, digest) for digest in names[reference])
                policy.check(reference, names[reference], found.signatures)
            except PycontainerError as error:
                errors[0].add_note(f"its registry was asked: {error}")
            else:
                keep_signatures(engine, record, found)
                return
    if errors:
        raise errors[0]
    policy.check_unnamed(record.id)


def _names(engine: Engine, record: ImageRecord) -> list[Tag]:
    """The names of an image, or of the index that lists it beside the one that has the name."""
    images = engine.store.state.images
    own = images.tags(record.id)
    return own or [tag for tag in images.tags() if tag.target_digest == record.target_digest]


def _unique(*digests: Digest) -> list[Digest]:
    return list(dict.fromkeys(digests))


def _from_registry(engine: Engine, reference: Reference, digest: Digest) -> Found:
    """Signatures of a digest, under cosign's tag and among its referrers; unverified."""
    found = list(
        _read_at(engine, [_tag_home(reference, digest), *_referrer_homes(engine, reference, digest)])
    )
    layers = [each for _, several in found for each in several]
    documents = (*(manifest for manifest, _ in found), *(content for _, content in layers))

    @cache
    def document(wanted: Digest) -> bytes | None:
        named = reference.with_digest(digest).with_tag(None)
        return engine.registries.document(named)[1] if wanted == digest else None

    return Found(signatures=_signatures(layers, document), documents=documents)


def _tag_home(reference: Reference, digest: Digest) -> Reference:
    return Reference(domain=reference.domain, path=reference.path, tag=signature_tag(digest))


def _referrer_homes(engine: Engine, reference: Reference, digest: Digest) -> list[Reference]:
    return [
        Reference(domain=reference.domain, path=reference.path, digest=entry.digest)
        for entry in _referrers(engine, reference, digest)
        if entry.artifact_type == SIGNATURE_ARTIFACT or is_bundle(entry.artifact_type, entry.annotations)
    ][:MAX_MANIFESTS]


def _referrers(engine: Engine, reference: Reference, digest: Digest) -> list[Descriptor]:
    try:
        return engine.registries.referrers(reference, digest)
    except RegistryError as error:
        if error.status in NO_REFERRERS:
            return []  # then the tag alone tells, and without a signature the image is refused
        raise


def _read_at(engine: Engine, homes: Iterable[Reference]) -> Iterator[tuple[bytes, list[_Layer]]]:
    """Manifests with signatures, as far as there are any, and these; what else lies there is left out."""
    left = MAX_SIGNATURES
    for home in homes:
        try:
            _, data, model = engine.registries.document(home)
        except NotFound:
            continue
        if isinstance(model, Manifest):
            layers = [layer for layer in model.layers if _is_signature(layer)][:left]
            left -= len(layers)
            yield data, [(layer, engine.registries.read(home, layer, SIGNATURE_LIMIT)) for layer in layers]


def _is_signature(layer: Descriptor) -> bool:
    is_kind = layer.media_type == SIMPLE_SIGNING or is_bundle(layer.media_type, layer.annotations)
    return is_kind and layer.size <= SIGNATURE_LIMIT


def _kept(engine: Engine, record: ImageRecord) -> Found:
    content = engine.store.content
    layers = [
        (layer, content.read(layer, SIGNATURE_LIMIT))
        for _, manifest in attached_manifests(engine, record)
        for layer in manifest.layers
        if _is_signature(layer) and content.has(layer.digest)  # of too many not all were looked at
    ]

    def document(wanted: Digest) -> bytes | None:
        if wanted not in (record.target_digest, record.manifest_digest) or not content.has(wanted):
            return None
        octets = Descriptor(media_type="application/octet-stream", digest=wanted, size=content.size(wanted))
        return content.read(octets, MANIFEST_LIMIT)

    return Found(signatures=_signatures(layers, document))


def _count(manifest: bytes) -> int:
    """Its layers, whatever they are."""
    model = decode_manifest(manifest)
    return len(model.layers) if isinstance(model, Manifest) else 0


def _signatures(
    layers: Iterable[_Layer], document: Callable[[Digest], bytes | None]
) -> tuple[Signature, ...]:
    """Those that can be read. document: see SignedDocument."""
    made = (
        Signature.of(content, layer.annotations)
        if layer.media_type == SIMPLE_SIGNING
        else read_bundle(content, document)
        for layer, content in layers
    )
    return tuple(signature for signature in made if signature is not None)


def _joined(several: Iterable[Found]) -> Found:
    found = list(several)
    return Found(
        signatures=tuple(each for one in found for each in one.signatures),
        documents=tuple(each for one in found for each in one.documents),
    )


def _referrer(documents: Documents, layer: Descriptor, subject: Descriptor) -> Manifest:
    """The artifact with one signature that cosign makes, of either kind."""
    is_simple = layer.media_type == SIMPLE_SIGNING
    return Manifest(
        artifact_type=SIGNATURE_ARTIFACT if is_simple else layer.media_type,
        config=documents.add(b"{}", mediatype.OCI_EMPTY),
        layers=(layer,),
        subject=subject,
        annotations={} if is_simple else BUNDLE_ANNOTATIONS,
    )


def _tagged(documents: Documents, layers: Sequence[Descriptor]) -> Manifest:
    """The image whose layers are claims that cosign makes."""
    host = Platform.host()
    config = ImageConfig(
        os=host.os, architecture=host.architecture, diff_ids=tuple(layer.digest for layer in layers)
    )
    return Manifest(config=documents.add(encode(config), mediatype.OCI_CONFIG), layers=tuple(layers))
