"""What a signature says: that a digest is an image of a name. cosign's documents, written and read.

A signature is made over the bytes of a claim, in the format "simple signing". Both lie in a manifest, whose
layers are claims and whose annotations are the signatures; its tag is made of the digest that is signed.
Source: sigstore, "Signature Specification"; containers/image, docs/containers-signature.5.md.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from attrs import Factory, field, frozen

from pycontainer.errors import BadReference, InvalidImage
from pycontainer.oci import Digest, Reference, jsontext, split_digest

__all__ = [
    "SIGNATURE_ANNOTATION",
    "SIGNATURE_ARTIFACT",
    "SIMPLE_SIGNING",
    "Claim",
    "Signature",
    "has_tag",
    "signature_tag",
]

SIMPLE_SIGNING: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_ANNOTATION: Final = "dev.cosignproject.cosign/signature"
SIGNATURE_ARTIFACT: Final = "application/vnd.dev.cosign.artifact.sig.v1+json"
CLAIM_TYPE: Final = "cosign container image signature"
LARGEST_CLAIM: Final = 1 << 20
LONGEST_SIGNATURE: Final = 4096


@frozen(kw_only=True)
class Claim:
    """digest: of the manifest or index. name: the image's as the signer wrote it, with a tag or without; None
    if it says none. notes: what else the signer wanted to say.
    """

    digest: Digest
    name: Reference | None
    has_tag: bool
    notes: Mapping[str, object] = Factory(dict)

    @classmethod
    def parse(cls, data: bytes) -> Claim:
        """Read a claim, whose signature was verified before.

        Raises: InvalidImage for anything that is not exactly one.
        """
        whole = jsontext.Fields(jsontext.parse(data, "signed claim", LARGEST_CLAIM), "claim")
        critical = whole.nested("critical")
        if critical is None:
            raise InvalidImage("claim.critical: missing")
        kind = critical.text("type")
        image, identity = critical.nested("image"), critical.nested("identity")
        if kind != CLAIM_TYPE or image is None or identity is None:
            raise InvalidImage(f"claim: it is of type {kind[:80]!r}, not {CLAIM_TYPE!r}, or lacks a part")
        digest, text = image.digest("docker-manifest-digest"), identity.text("docker-reference")
        # Whatever else is called critical must be understood, or the claim means something else.
        if left := [*critical.rest(), *image.rest(), *identity.rest()]:
            raise InvalidImage(f"claim.critical: {left[0][:80]!r} is not known")
        try:
            name = Reference.parse(text)
        except BadReference as error:
            raise InvalidImage(f"claim.critical.identity: {error}") from None
        notes = whole.take("optional")
        given = notes if isinstance(notes, dict) else {}
        return cls(digest=digest, name=name, has_tag=has_tag(text), notes=given)


@frozen
class Signature:
    """A claim's bytes and the signature of them, neither of which was looked at.

    This one is in the format "simple signing"; others have their own encode, signed_bytes and claim.
    """

    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @staticmethod
    def encode(digest: Digest, name: str, notes: Mapping[str, str] | None = None) -> bytes:
        """The payload that claims that this is an image of a name."""
        return jsontext.dump(
            {
                "critical": {
                    "identity": {"docker-reference": name},
                    "image": {"docker-manifest-digest": digest},
                    "type": CLAIM_TYPE,
                },
                "optional": dict(notes) if notes else None,
            }
        )

    @staticmethod
    def signed_bytes(payload: bytes) -> bytes:
        """What of a payload is signed."""
        return payload

    def claim(self) -> Claim:
        """Read the payload, whose signature was verified before. Raises: InvalidImage."""
        return Claim.parse(self.payload)

    @classmethod
    def of(cls, payload: bytes, annotations: Mapping[str, str]) -> Signature | None:
        """The claim of a layer with the signature of its annotations; None for one that is unreadable."""
        text = annotations.get(SIGNATURE_ANNOTATION, "")
        if not text or len(text) > LONGEST_SIGNATURE:
            return None
        try:
            return cls(payload, base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            return None

    @property
    def annotations(self) -> dict[str, str]:
        """What a layer with the claim is annotated with."""
        return {SIGNATURE_ANNOTATION: base64.b64encode(self.signature).decode("ascii")}


def signature_tag(digest: Digest) -> str:
    """The tag under which the signatures of a digest lie in its repository: sha256-HEX.sig."""
    return "{}-{}.sig".format(*split_digest(digest))


def has_tag(name: str) -> bool:
    """Whether a name as it was written has a tag."""
    return ":" in name.rpartition("/")[2]
