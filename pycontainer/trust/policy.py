"""Which images may be pulled and run: containers-policy.json(5), with the requirements that can be met here.

A scope is a name, or the beginning of one, up to a whole component; the longest one that fits decides, and
all of its requirements must hold. What cannot be understood is an error, never a permission.
Source: containers/image, docs/containers-policy.json.5.md.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, final

from attrs import frozen

from pycontainer.errors import InvalidImage, InvalidInput, Unsupported, UntrustedImage
from pycontainer.oci import Digest, Reference, jsontext
from pycontainer.trust.claim import Claim, Signature
from pycontainer.trust.keys import KeySource, PublicKey

__all__ = ["Identity", "Requirement", "SignaturePolicy", "verified_claims"]

LARGEST_POLICY: Final = 4 << 20
IDENTITIES: Final = (
    "matchRepository",
    "matchExact",
    "matchRepoDigestOrExact",
    "exactReference",
    "exactRepository",
    "remapIdentity",
)


@frozen(kw_only=True)
class Identity:
    """How the name in a claim must fit the image's. value: the name, of the exact ones. prefix,
    signed_prefix: of remapIdentity. takes_nameless: whether a claim without a name fits, too, which
    is good for the same digest in any repository.

    The default is matchRepository: what cosign signs has no tag.
    """

    kind: str = "matchRepository"
    value: str = ""
    prefix: str = ""
    signed_prefix: str = ""
    takes_nameless: bool = False

    def fits(self, reference: Reference, claim: Claim) -> bool:
        """Whether a claim is about the image of this name."""
        if claim.name is None:
            return self.takes_nameless
        if self.kind == "exactReference":
            return claim.has_tag and str(claim.name.with_digest(None)) == self.value
        if self.kind == "exactRepository":
            return claim.name.repository == self.value
        repository = reference.repository
        if self.kind == "remapIdentity" and _is_below(repository, self.prefix):
            repository = self.signed_prefix + repository[len(self.prefix) :]
        if claim.name.repository != repository:
            return False
        if self.kind == "matchRepository":
            return True
        if reference.digest is not None:
            return self.kind != "matchExact"  # a digest is no tag, which an exact claim is about
        return claim.has_tag and claim.name.tag == reference.tag


@frozen(kw_only=True)
class Requirement:
    """One condition: "accept" and "reject" whatever it is, or "signed" by one of the keys."""

    kind: Literal["accept", "reject", "signed"]
    keys: tuple[PublicKey, ...] = ()
    identity: Identity = Identity()


@final
class SignaturePolicy:
    """A policy. Scopes are names of images, their beginnings, or "*.example.com" for hosts."""

    def __init__(
        self, default: Sequence[Requirement], scopes: Mapping[str, Sequence[Requirement]] | None = None
    ) -> None:
        if not default or not all((scopes or {"": default}).values()):
            raise InvalidInput(
                "policy: a list of requirements is empty; say reject or insecureAcceptAnything"
            )
        self._default = tuple(default)
        self._scopes = {_normal_scope(scope): tuple(given) for scope, given in (scopes or {}).items()}

    @classmethod
    def signed(
        cls,
        scopes: Mapping[str, KeySource | PublicKey],
        *,
        default: Literal["accept", "reject"] = "reject",
        nameless: bool = False,
    ) -> SignaturePolicy:
        """Images of each scope must be signed by its key; for all others the default counts.

        As SignaturePolicy.signed({"ghcr.io/owner": "cosign.pub"}). nameless: signatures that name no image
        count, too, which is what cosign writes since version 3: whoever may push to one repository can then
        put into it what the key signed for another.
        """
        identity = Identity(takes_nameless=nameless)
        made = {}
        for scope, key in scopes.items():
            known = key if isinstance(key, PublicKey) else PublicKey.load(key)
            made[scope] = [Requirement(kind="signed", keys=(known,), identity=identity)]
        return cls([Requirement(kind=default)], made)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, nameless: bool = False) -> SignaturePolicy:
        """Read a policy.json; of its transports, docker counts. nameless: as in `signed`, where the file
        says no signedIdentity; it has no word for that itself.

        Raises: InvalidInput naming what is wrong; Unsupported for requirements of other kinds of signatures.
        """
        try:
            with open(path, "rb") as file:
                content = file.read(LARGEST_POLICY + 1)
        except OSError as error:
            raise InvalidInput(f"policy {os.fspath(path)} cannot be read: {error.strerror}") from error
        return cls.parse(content, os.fspath(path), nameless=nameless)

    @classmethod
    def parse(cls, content: bytes | str, where: str = "policy", *, nameless: bool = False) -> SignaturePolicy:
        """Read the text of a policy.json. nameless, raises: as load."""
        data = content.encode() if isinstance(content, str) else content
        try:
            whole = jsontext.Fields(jsontext.parse(data, where, LARGEST_POLICY), where)
            transports = _mapping(whole.take("transports"), f"{where}.transports")
            scopes = _mapping(transports.get("docker"), f"{where}.transports.docker")
            default = whole.take("default")
            if left := list(whole.rest()):
                raise InvalidInput(f"{where}: the key {left[0][:80]!r} is not known")
            identity = Identity(takes_nameless=nameless)
            made = {
                scope: _requirements(given, f"{where}: {scope}", identity) for scope, given in scopes.items()
            }
            return cls(_requirements(default, f"{where}.default", identity), made)
        except InvalidImage as error:
            raise InvalidInput(str(error)) from None

    def requirements(self, reference: Reference) -> tuple[Requirement, ...]:
        """What an image of this name must meet."""
        for scope in _scopes_of(reference):
            if scope in self._scopes:
                return self._scopes[scope]
        return self._default

    def needs_signatures(self, reference: Reference) -> bool:
        """Whether signatures decide, so that they are worth being fetched."""
        return any(each.kind == "signed" for each in self.requirements(reference))

    def check_unnamed(self, image_id: Digest) -> None:
        """Pass an image without a name where every image is accepted. Raises: UntrustedImage."""
        if any(each.kind != "accept" for each in self._default):
            raise UntrustedImage(
                f"image {image_id} has no name, and the policy accepts names only: tag it", digest=image_id
            )

    def check(self, reference: Reference, digests: Iterable[Digest], signatures: Sequence[Signature]) -> None:
        """Pass, or say why not. digests: under which the image is known: its index's and its manifest's.

        Raises: UntrustedImage.
        """
        wanted = tuple(digests)
        for requirement in self.requirements(reference):
            if requirement.kind == "accept":
                continue
            if requirement.kind == "reject":
                raise UntrustedImage(
                    f"{reference.familiar}: the policy rejects it; name its repository in the policy",
                    reference=str(reference),
                    digest=wanted[0],
                )
            verified_claims(reference, wanted, signatures, requirement.keys, requirement.identity)


def verified_claims(
    reference: Reference,
    digests: Sequence[Digest],
    signatures: Sequence[Signature],
    keys: Sequence[PublicKey],
    identity: Identity,
) -> list[Claim]:
    """The claims that one of the keys signed, and that are about this image under this name.

    Raises: UntrustedImage if there is none, saying what is wrong with each signature.
    """
    found, reasons = [], []
    for signature in signatures:
        signed = signature.signed_bytes(signature.payload)
        if not any(key.verifies(signed, signature.signature) for key in keys):
            reasons.append("it is by no key that is asked for")
            continue
        try:
            claim = signature.claim()
        except InvalidImage as error:
            reasons.append(str(error))
            continue
        if claim.digest not in digests:
            reasons.append(f"it is for {claim.digest}")
        elif claim.name is None and not identity.takes_nameless:
            reasons.append("it names no image, as cosign's bundles do; accept such by nameless=True")
        elif not identity.fits(reference, claim):
            reasons.append(f"it is for the name {claim.name}, which {identity.kind} does not take")
        else:
            found.append(claim)
    if not found:
        told = "; ".join(f"signature {number}: {reason}" for number, reason in enumerate(reasons[:8], 1))
        raise UntrustedImage(
            f"{reference.familiar} ({digests[0]}) has no signature that is accepted: "
            f"{told or 'it has none at all'}",
            reference=str(reference),
            digest=digests[0],
            reasons=tuple(reasons),
        )
    return found


def _scopes_of(reference: Reference) -> Iterator[str]:
    """Scopes that cover a name, the narrowest first."""
    if reference.digest is not None:
        yield f"{reference.repository}@{reference.digest}"
    if reference.tag is not None:
        yield f"{reference.repository}:{reference.tag}"
    parts = reference.repository.split("/")
    for count in range(len(parts), 0, -1):
        yield "/".join(parts[:count])
    host = reference.domain
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"
    yield ""


def _normal_scope(scope: str) -> str:
    """A scope as `_scopes_of` spells it. Raises: InvalidInput."""
    if scope == "" or scope.startswith("*."):
        return scope
    text = scope.rstrip("/")
    if "/" not in text and ("." in text or ":" in text or text == "localhost"):
        return "docker.io" if text.lower() == "index.docker.io" else text.lower()  # a registry
    try:
        found = Reference.parse(text)
    except InvalidInput as error:
        raise InvalidInput(f"policy scope {scope[:200]!r}: {error}") from None
    if "@" in text or ":" in text.rpartition("/")[2]:
        return str(found)
    # `docker.io/library` is a part of names, not Docker Hub's image library/library.
    domain, _, rest = text.partition("/")
    return f"{found.domain}/{rest}" if domain.lower() == found.domain else found.repository


def _requirements(given: object, where: str, identity: Identity) -> list[Requirement]:
    if not isinstance(given, list) or not given:
        raise InvalidInput(f"{where}: give a list of requirements that is not empty")
    return [_requirement(jsontext.Fields(each, where), where, identity) for each in given]


def _requirement(fields: jsontext.Fields, where: str, default: Identity) -> Requirement:
    kind = fields.text("type")
    simple: dict[str, Literal["accept", "reject"]] = {"insecureAcceptAnything": "accept", "reject": "reject"}
    if kind == "sigstoreSigned":
        identity = _identity(fields, where) or default
        made = Requirement(kind="signed", keys=_keys(fields, where), identity=identity)
    elif kind in simple:
        made = Requirement(kind=simple[kind])
    elif kind in ("signedBy", "signedBaseLayer"):
        raise Unsupported(
            f"{where}: requirements of type {kind} (GPG)", "sign with cosign and say sigstoreSigned"
        )
    else:
        raise InvalidInput(f"{where}: {kind[:80]!r} is no type of requirement")
    if left := list(fields.rest()):
        if left[0] in ("fulcio", "rekorPublicKeyPath", "rekorPublicKeyData", "rekorPublicKeyPaths", "pki"):
            raise Unsupported(f"{where}: {left[0]} (keyless signatures)", "use keyPath")
        raise InvalidInput(f"{where}: the key {left[0][:80]!r} is not known")
    return made


def _keys(fields: jsontext.Fields, where: str) -> tuple[PublicKey, ...]:
    paths = [path for path in (fields.text("keyPath"), *fields.texts("keyPaths")) if path]
    encoded = [text for text in (fields.text("keyData"), *fields.texts("keyDatas")) if text]
    try:
        inline = [base64.b64decode(text, validate=True) for text in encoded]
    except (binascii.Error, ValueError):
        raise InvalidInput(f"{where}: keyData is not base64") from None
    keys = (*(PublicKey.load(path) for path in paths), *(PublicKey.load(data) for data in inline))
    if not keys:
        raise InvalidInput(f"{where}: sigstoreSigned needs keyPath, keyPaths, keyData or keyDatas")
    return keys


def _identity(fields: jsontext.Fields, where: str) -> Identity | None:
    given = fields.nested("signedIdentity")
    if given is None:
        return None
    kind = given.text("type")
    if kind not in IDENTITIES:
        raise InvalidInput(f"{where}: signedIdentity {kind[:80]!r} is none of {', '.join(IDENTITIES)}")
    value = ""
    if kind == "exactReference":
        value = str(Reference.parse(given.text("dockerReference")))
    elif kind == "exactRepository":
        value = Reference.parse(given.text("dockerRepository")).repository
    made = Identity(
        kind=kind, value=value, prefix=given.text("prefix"), signed_prefix=given.text("signedPrefix")
    )
    if kind == "remapIdentity" and not (made.prefix and made.signed_prefix):
        raise InvalidInput(f"{where}: remapIdentity needs prefix and signedPrefix")
    if left := list(given.rest()):
        raise InvalidInput(f"{where}: signedIdentity: the key {left[0][:80]!r} is not known")
    return made


def _mapping(given: object, where: str) -> Mapping[str, object]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidInput(f"{where}: expected an object")
    return given


def _is_below(repository: str, prefix: str) -> bool:
    return repository == prefix or repository.startswith(prefix.rstrip("/") + "/")
