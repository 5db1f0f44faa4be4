"""Whom to believe what an image is: signatures, the policy that asks for them, and pinned digests.

Names load on first use: cryptography, which is optional, comes with the first key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycontainer.frontdoor import opened

if TYPE_CHECKING:
    from pycontainer.trust.bundle import (
        BUNDLE,
        BUNDLE_ANNOTATIONS,
        BundledSignature,
        SignedDocument,
        is_bundle,
        read_bundle,
    )
    from pycontainer.trust.claim import (
        SIGNATURE_ANNOTATION,
        SIGNATURE_ARTIFACT,
        SIMPLE_SIGNING,
        Claim,
        Signature,
        signature_tag,
    )
    from pycontainer.trust.keys import PublicKey, SigningKey
    from pycontainer.trust.lockfile import read_lock, write_lock
    from pycontainer.trust.policy import Identity, Requirement, SignaturePolicy, verified_claims

__all__ = [
    "BUNDLE",
    "BUNDLE_ANNOTATIONS",
    "SIGNATURE_ANNOTATION",
    "SIGNATURE_ARTIFACT",
    "SIMPLE_SIGNING",
    "BundledSignature",
    "SignedDocument",
    "Claim",
    "Identity",
    "PublicKey",
    "Requirement",
    "Signature",
    "SignaturePolicy",
    "SigningKey",
    "is_bundle",
    "read_bundle",
    "read_lock",
    "signature_tag",
    "verified_claims",
    "write_lock",
]

_HOMES = {
    "Identity": "policy",
    "PublicKey": "keys",
    "Requirement": "policy",
    "SignaturePolicy": "policy",
    "SigningKey": "keys",
    "read_lock": "lockfile",
    "verified_claims": "policy",
    "write_lock": "lockfile",
}
_HOMES |= dict.fromkeys(
    ["Claim", "SIGNATURE_ANNOTATION", "SIGNATURE_ARTIFACT", "SIMPLE_SIGNING", "Signature", "signature_tag"],
    "claim",
)
_HOMES |= dict.fromkeys(["BUNDLE", "BUNDLE_ANNOTATIONS", "BundledSignature"], "bundle")
_HOMES |= dict.fromkeys(["SignedDocument", "is_bundle", "read_bundle"], "bundle")


def __getattr__(name: str) -> object:
    return opened(__name__, _HOMES, name)
