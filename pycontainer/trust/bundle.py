"""Sigstore bundles: how cosign keeps signatures since version 3, among the referrers of an image.

A bundle wraps a DSSE envelope, and that an in-toto statement about a digest. cosign's statements name no
image; ours have its name as that of the subject, which cosign leaves alone. A bundle can also wrap a
signature of the bytes of the manifest itself, which names nothing either.
Source: sigstore/cosign, specs/BUNDLE_SPEC.md; sigstore/protobuf-specs, sigstore_bundle.proto; DSSE protocol,
"Signature Definition"; in-toto attestation framework, statement v1.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen

from pycontainer.errors import BadReference, InvalidImage
from pycontainer.oci import Digest, Reference, jsontext, parse_digest, sha256, split_digest
from pycontainer.trust.claim import Claim, Signature, has_tag

__all__ = [
    "BUNDLE",
    "BUNDLE_ANNOTATIONS",
    "SIGNED_PREDICATE",
    "BundledSignature",
    "SignedDocument",
    "is_bundle",
    "read_bundle",
]

BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGNED_PREDICATE: Final = "https://sigstore.dev/cosign/sign/v1"
PREDICATE_ANNOTATION: Final = "dev.sigstore.bundle.predicateType"
BUNDLE_ANNOTATIONS: Final = {
    "dev.sigstore.bundle.content": "dsse-envelope",
    PREDICATE_ANNOTATION: SIGNED_PREDICATE,
}
LARGEST_BUNDLE: Final = 1 << 20
_STATEMENT = "https://in-toto.io/Statement/v1"
_STATEMENTS = (_STATEMENT, "https://in-toto.io/Statement/v0.1")
_SHA256_BYTES = 32
_PAYLOAD = "application/vnd.in-toto+json"


def is_bundle(media_type: str, annotations: Mapping[str, str]) -> bool:
    """Whether this is a bundle, of any version, and its annotations do not tell of something else in it."""
    if not media_type.startswith("application/vnd.dev.sigstore.bundle"):
        return False
    return annotations.get(PREDICATE_ANNOTATION, SIGNED_PREDICATE) == SIGNED_PREDICATE


@frozen
class BundledSignature(Signature):
    """A signature of a statement, in the envelope of a bundle."""

    @staticmethod
    def encode(digest: Digest, name: str, notes: Mapping[str, str] | None = None) -> bytes:
        """The statement that this is an image of a name."""
        algorithm, digits = split_digest(digest)
        subject = {"name": name, "digest": {algorithm: digits}, "annotations": dict(notes or {})}
        return jsontext.dump(
            {"_type": _STATEMENT, "subject": [subject], "predicateType": SIGNED_PREDICATE, "predicate": {}}
        )

    @classmethod
    def parse(cls, data: bytes) -> BundledSignature | None:
        """Read a bundle; None for one that is unreadable, or of something else."""
        try:
            envelope = jsontext.Fields(jsontext.parse(data, "bundle", LARGEST_BUNDLE), "bundle").nested(
                "dsseEnvelope"
            )
            if envelope is None or envelope.text("payloadType") != _PAYLOAD:
                return None
            payload = envelope.base64("payload")
            signatures = [each.base64("sig") for each in envelope.nested_list("signatures", 1)]
        except InvalidImage:
            return None
        if payload is None or not signatures or signatures[0] is None:
            return None
        return cls(payload, signatures[0])

    def bundle(self, fingerprint: str) -> bytes:
        """The bundle's bytes. fingerprint: of the key, as PublicKey has it, to find the key by."""
        hint = bytes.fromhex(fingerprint.removeprefix("sha256:"))
        return jsontext.dump(
            {
                "mediaType": BUNDLE,
                "verificationMaterial": {"publicKey": {"hint": _base64(hint)}},
                "dsseEnvelope": {
                    "payload": _base64(self.payload),
                    "payloadType": _PAYLOAD,
                    "signatures": [{"sig": _base64(self.signature)}],
                },
            }
        )

    @staticmethod
    def signed_bytes(payload: bytes) -> bytes:
        """DSSE's pre-authentication encoding: the type is signed with the payload."""
        return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode(), len(payload), payload)

    def claim(self) -> Claim:
        """Read the statement, whose signature was verified before.

        Raises: InvalidImage for anything that is not exactly one that signs one image.
        """
        whole = jsontext.Fields(jsontext.parse(self.payload, "signed statement", LARGEST_BUNDLE), "statement")
        kind, predicate = whole.text("_type"), whole.text("predicateType")
        if kind not in _STATEMENTS or predicate != SIGNED_PREDICATE:
            raise InvalidImage(f"statement: it is of type {predicate[:80]!r}, not {SIGNED_PREDICATE!r}")
        subjects = list(whole.nested_list("subject", 1))
        if not subjects:
            raise InvalidImage("statement.subject: missing")
        subject = subjects[0]
        digests = subject.text_map("digest")
        text, notes = subject.text("name"), subject.take("annotations")
        if len(digests) != 1:
            raise InvalidImage("statement.subject.digest: expected one")
        try:
            digest = parse_digest(":".join(*digests.items()))
            name = Reference.parse(text) if text else None
        except BadReference as error:
            raise InvalidImage(f"statement.subject.name: {error}") from None
        except ValueError as error:
            raise InvalidImage(f"statement.subject.digest: {error}") from None
        return Claim(
            digest=digest,
            name=name,
            has_tag=has_tag(text),
            notes=notes if isinstance(notes, dict) else {},
        )


@frozen
class SignedDocument(Signature):
    """A signature of the bytes of a manifest or index itself (messageSignature). payload: these bytes."""

    @classmethod
    def parse(cls, data: bytes, find: Callable[[Digest], bytes | None]) -> SignedDocument | None:
        """Read a bundle. find: gives a manifest by the digest that the bundle says it is about.

        Returns: None for a bundle that is unreadable, of something else, or about what is not found.
        """
        try:
            whole = jsontext.Fields(jsontext.parse(data, "bundle", LARGEST_BUNDLE), "bundle")
            message = whole.nested("messageSignature")
            told = None if message is None else message.nested("messageDigest")
            if message is None or told is None or told.text("algorithm") != "SHA2_256":
                return None
            digest, signature = told.base64("digest"), message.base64("signature")
        except InvalidImage:
            return None
        if digest is None or signature is None or len(digest) != _SHA256_BYTES:
            return None
        document = find(Digest(f"sha256:{digest.hex()}"))
        return None if document is None else cls(document, signature)

    def claim(self) -> Claim:
        """That the bytes that were signed are an image, whatever it is called."""
        return Claim(digest=sha256(self.payload), name=None, has_tag=False)


def read_bundle(data: bytes, find: Callable[[Digest], bytes | None]) -> Signature | None:
    """The signature in a bundle of either kind, see SignedDocument; None for what is none."""
    return BundledSignature.parse(data) or SignedDocument.parse(data, find)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
