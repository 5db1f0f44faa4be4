"""Keys, claims and policies: what is accepted, and every way in which a signature is not."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pycontainer.errors import InvalidImage, InvalidInput, PycontainerError, Unsupported, UntrustedImage
from pycontainer.oci import Digest, Reference, sha256
from pycontainer.trust import (
    BundledSignature,
    Claim,
    PublicKey,
    Signature,
    SignaturePolicy,
    SignedDocument,
    SigningKey,
    read_bundle,
    signature_tag,
)

KEY, OTHER = SigningKey.generate(), SigningKey.generate()
DIGEST, WRONG = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
APP = Reference.parse("ghcr.io/owner/app:1")
# What Sigstore's own library for JavaScript, @sigstore/sign, makes of such a statement, and its public key.
SIGSTORES = {
    "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
    "verificationMaterial": {
        "publicKey": {"hint": "g8St9Olpugx1e4QldXU41WE1vpN9Ci4+d/m6Lnck1aQ="},
        "timestampVerificationData": {},
    },
    "dsseEnvelope": {
        "payload": "eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEiLCJzdWJqZWN0IjpbeyJk"
        "aWdlc3QiOnsic2hhMjU2IjoiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJi"
        "YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYiJ9LCJhbm5vdGF0aW9ucyI6e319XSwicHJlZGljYXRl"
        "VHlwZSI6Imh0dHBzOi8vc2lnc3RvcmUuZGV2L2Nvc2lnbi9zaWduL3YxIiwicHJlZGljYXRlIjp7"
        "fX0=",
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [
            {
                "sig": "MEUCIQCNcw2lz4BlqpnhpF5bpuvxADHglqFqM5h7cxGvNjBjdwIgAfSi64MQ"
                "qSxrMWLfPgPtKzKbIxRdUdx8FkZj8l5BiOQ=",
                "keyid": "g8St9Olpugx1e4QldXU41WE1vpN9Ci4+d/m6Lnck1aQ=",
            }
        ],
    },
}
SIGSTORES_KEY = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQ2K6mzGjgtgfx7gCp3UnnEwcyC6D
Yhxp9sl59oPa1L+V6TFe4JoW0QgS9VFJuG7iY35y3e/a2Ovjxz/cpBCzNw==
-----END PUBLIC KEY-----
"""


def signed(digest: Digest = DIGEST, name: str = "ghcr.io/owner/app", key: SigningKey = KEY) -> Signature:
    payload = Signature.encode(digest, name)
    return Signature(payload, key.sign(payload))


def bundled(statement: bytes) -> bytes:
    made = BundledSignature(statement, KEY.sign(BundledSignature.signed_bytes(statement)))
    return made.bundle(KEY.public_key.fingerprint)


def policy(*requirements: dict[str, Any], scope: str = "ghcr.io/owner") -> SignaturePolicy:
    document = {"default": [{"type": "reject"}], "transports": {"docker": {scope: list(requirements)}}}
    return SignaturePolicy.parse(json.dumps(document))


def sigstore(identity: dict[str, str] | None = None) -> dict[str, Any]:
    given = {"type": "sigstoreSigned", "keyData": base64.b64encode(KEY.public_key.pem.encode()).decode()}
    return given | ({"signedIdentity": identity} if identity else {})  # type: ignore[dict-item]


class TestKeys:
    def test_a_key_pair_is_written_as_cosign_writes_it_and_read_back(self, tmp_path: Path) -> None:
        private, public = KEY.save(tmp_path / "cosign", "secret")
        assert private.read_text().startswith("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
        loaded = SigningKey.load(private, "secret")
        assert PublicKey.load(public) == loaded.public_key == KEY.public_key
        assert PublicKey.load(public).verifies(b"data", loaded.sign(b"data"))
        with pytest.raises(FileExistsError):
            KEY.save(tmp_path / "cosign", "secret")
        with pytest.raises(InvalidInput, match="passphrase is wrong"):
            SigningKey.load(private, "other")

    def test_keys_of_openssl_are_read(self) -> None:
        for form, password in (
            (serialization.PrivateFormat.PKCS8, b""),
            (serialization.PrivateFormat.PKCS8, b"pw"),
            (serialization.PrivateFormat.TraditionalOpenSSL, b""),
        ):
            hiding = (
                serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
            )
            pem = KEY._inner.private_bytes(serialization.Encoding.PEM, form, hiding)
            assert SigningKey.load(pem, password).public_key == KEY.public_key

    def test_other_kinds_of_keys_and_files_are_refused(self, tmp_path: Path) -> None:
        for other in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
            pem = other.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            with pytest.raises(InvalidInput, match="P-256"):
                PublicKey.load(pem)
        for content in (
            b"",
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            b"x" * (65 << 10),
        ):
            (tmp_path / "key").write_bytes(content)
            with pytest.raises(InvalidInput, match="key"):
                PublicKey.load(tmp_path / "key")
            with pytest.raises(InvalidInput, match="key"):
                SigningKey.load(tmp_path / "key")
        with pytest.raises(InvalidInput, match="cannot be read"):
            PublicKey.load(tmp_path / "none")

    @pytest.mark.parametrize(
        "change",
        [
            {"kdf": {"name": "scrypt", "params": {"N": 2**30, "r": 8, "p": 1}, "salt": "AAAA"}},
            {"kdf": {"name": "none"}},
            {"cipher": {"name": "nacl/secretbox", "nonce": "AAAA"}},
            {"ciphertext": "!"},
            {"kdf": []},
        ],
        ids=["costs", "kdf", "nonce", "base64", "type"],
    )
    def test_a_sealed_key_that_was_tampered_with_is_refused_at_once(self, change: dict[str, Any]) -> None:
        body = "".join(KEY.pem("pw").splitlines()[1:-1])
        envelope = json.loads(base64.b64decode(body)) | change
        text = base64.b64encode(json.dumps(envelope).encode()).decode()
        title = "ENCRYPTED SIGSTORE PRIVATE KEY"
        with pytest.raises(InvalidInput):
            SigningKey.load(f"-----BEGIN {title}-----\n{text}\n-----END {title}-----\n", "pw")

    def test_nothing_shows_a_secret(self) -> None:
        assert repr(KEY) == repr(SigningKey.load(KEY.pem("pw"), "pw"))
        assert "PRIVATE" not in repr(KEY)


class TestClaims:
    def test_a_claim_is_read_as_it_was_written(self) -> None:
        claim = Claim.parse(Signature.encode(DIGEST, "docker.io/library/app:1", {"who": "me"}))
        assert (claim.digest, str(claim.name), claim.has_tag) == (DIGEST, "docker.io/library/app:1", True)
        assert claim.notes == {"who": "me"}
        assert Claim.parse(Signature.encode(DIGEST, "index.docker.io/library/app")).name.domain == "docker.io"

    @pytest.mark.parametrize(
        "change",
        [
            lambda claim: claim["critical"].update(type="atomic container signature"),
            lambda claim: claim["critical"].update(more=1),
            lambda claim: claim["critical"]["image"].update({"docker-manifest-digest": "sha256:x"}),
            lambda claim: claim["critical"]["image"].update({"Docker-Manifest-Digest": DIGEST}),
            lambda claim: claim["critical"]["identity"].update({"docker-reference": "a b"}),
            lambda claim: claim.pop("critical"),
        ],
        ids=["type", "unknown", "digest", "spelling", "name", "missing"],
    )
    def test_a_claim_that_is_not_exactly_one_is_refused(self, change: Any) -> None:
        claim = json.loads(Signature.encode(DIGEST, "app"))
        change(claim)
        with pytest.raises(InvalidImage):
            Claim.parse(json.dumps(claim).encode())

    def test_the_tag_is_cosigns(self) -> None:
        assert signature_tag(DIGEST) == f"sha256-{'a' * 64}.sig"


class TestBundles:
    def test_a_bundle_is_read_as_it_was_written(self) -> None:
        [name, notes] = "ghcr.io/owner/app:1", {"who": "me"}
        found = BundledSignature.parse(bundled(BundledSignature.encode(DIGEST, name, notes)))
        assert found is not None
        assert KEY.public_key.verifies(found.signed_bytes(found.payload), found.signature)
        claim = found.claim()
        assert (claim.digest, str(claim.name), claim.has_tag, claim.notes) == (DIGEST, name, True, notes)

    def test_what_is_signed_is_dsses_encoding(self) -> None:
        assert BundledSignature.signed_bytes(b"a b") == b"DSSEv1 28 application/vnd.in-toto+json 3 a b"

    def test_cosigns_names_no_image_and_counts_only_where_that_is_wanted(self) -> None:
        statement = json.loads(BundledSignature.encode(DIGEST, "any"))
        del statement["subject"][0]["name"]
        found = BundledSignature.parse(bundled(json.dumps(statement).encode()))
        assert found is not None
        assert found.claim().name is None
        scopes = {"ghcr.io": KEY.public_key}
        SignaturePolicy.signed(scopes, nameless=True).check(APP, [DIGEST], [found])
        for policy, digest, reason in (
            (SignaturePolicy.signed(scopes), DIGEST, "nameless=True"),
            (SignaturePolicy.signed(scopes, nameless=True), WRONG, f"it is for {DIGEST}"),
            (SignaturePolicy.signed({"ghcr.io": OTHER.public_key}, nameless=True), DIGEST, "by no key"),
        ):
            with pytest.raises(UntrustedImage, match=reason):
                policy.check(APP, [digest], [found])

    def test_one_of_sigstores_own_library_is_verified(self) -> None:
        found = BundledSignature.parse(json.dumps(SIGSTORES).encode())
        assert found is not None
        policy = SignaturePolicy.signed({"ghcr.io": SIGSTORES_KEY}, nameless=True)
        policy.check(APP, [WRONG], [found])
        other = BundledSignature(found.payload.replace(b"bbbb", b"aaaa"), found.signature)
        with pytest.raises(UntrustedImage, match="by no key"):
            policy.check(APP, [DIGEST], [other])

    def test_neither_format_passes_for_the_other(self) -> None:
        simple, statement = signed(), BundledSignature.encode(DIGEST, "ghcr.io/owner/app")
        for found in (
            BundledSignature(simple.payload, simple.signature),
            BundledSignature(statement, KEY.sign(statement)),
            Signature(statement, KEY.sign(BundledSignature.signed_bytes(statement))),
            Signature(statement, KEY.sign(statement)),
            BundledSignature(simple.payload, KEY.sign(BundledSignature.signed_bytes(simple.payload))),
        ):
            with pytest.raises(UntrustedImage):
                policy(sigstore()).check(APP, [DIGEST], [found])

    @pytest.mark.parametrize(
        "change",
        [
            lambda whole: whole.pop("dsseEnvelope"),
            lambda whole: whole.update(messageSignature=whole.pop("dsseEnvelope")),
            lambda whole: whole["dsseEnvelope"].update(payloadType="text/plain"),
            lambda whole: whole["dsseEnvelope"].update(payload="!"),
            lambda whole: whole["dsseEnvelope"].pop("payload"),
            lambda whole: whole["dsseEnvelope"].update(signatures=[]),
            lambda whole: whole["dsseEnvelope"]["signatures"].append({"sig": "AAAA"}),
            lambda whole: whole["dsseEnvelope"].update(signatures={}),
        ],
        ids=["none", "of a message", "type", "base64", "payload", "unsigned", "twice", "kind"],
    )
    def test_another_bundle_is_no_signature(self, change: Any) -> None:
        whole = json.loads(bundled(BundledSignature.encode(DIGEST, "app")))
        change(whole)
        assert BundledSignature.parse(json.dumps(whole).encode()) is None

    @pytest.mark.parametrize(
        "change",
        [
            lambda claim: claim.update(_type="https://in-toto.io/Statement/v9"),
            lambda claim: claim.update(predicateType="https://slsa.dev/provenance/v1"),
            lambda claim: claim.update(subject=[]),
            lambda claim: claim["subject"].append(claim["subject"][0]),
            lambda claim: claim["subject"][0].update(digest={}),
            lambda claim: claim["subject"][0]["digest"].update(sha512="b" * 128),
            lambda claim: claim["subject"][0].update(digest={"sha256": "a"}),
            lambda claim: claim["subject"][0].update(name="a b"),
        ],
        ids=["type", "predicate", "no subject", "two", "no digest", "two digests", "digest", "name"],
    )
    def test_a_statement_that_is_not_exactly_one_is_refused(self, change: Any) -> None:
        statement = json.loads(BundledSignature.encode(DIGEST, "app"))
        change(statement)
        with pytest.raises(InvalidImage):
            BundledSignature(json.dumps(statement).encode(), b"").claim()


class TestBundlesOfDocuments:
    """Bundles whose messageSignature is one of the manifest's own bytes."""

    MANIFEST = b'{"schemaVersion": 2}'
    DIGEST = sha256(MANIFEST)

    def bundle(self, signed: bytes = MANIFEST, **changes: Any) -> bytes:
        octets = bytes.fromhex(self.DIGEST[7:])
        message = {
            "messageDigest": {"algorithm": "SHA2_256", "digest": base64.b64encode(octets).decode()},
            "signature": base64.b64encode(KEY.sign(signed)).decode(),
        }
        return json.dumps({"messageSignature": message | changes}).encode()

    def find(self, digest: Digest) -> bytes | None:
        return self.MANIFEST if digest == self.DIGEST else None

    def test_it_counts_for_that_manifest_wherever_nameless_ones_do(self) -> None:
        found = read_bundle(self.bundle(), self.find)
        assert isinstance(found, SignedDocument)
        scopes = {"ghcr.io": KEY.public_key}
        SignaturePolicy.signed(scopes, nameless=True).check(APP, [self.DIGEST], [found])
        for made, digest, reason in (
            (SignaturePolicy.signed(scopes), self.DIGEST, "nameless=True"),
            (SignaturePolicy.signed(scopes, nameless=True), DIGEST, f"it is for {self.DIGEST}"),
        ):
            with pytest.raises(UntrustedImage, match=reason):
                made.check(APP, [digest], [found])

    def test_a_signature_of_other_bytes_does_not(self) -> None:
        found = read_bundle(self.bundle(b"other"), self.find)
        assert found is not None
        with pytest.raises(UntrustedImage, match="by no key"):
            SignaturePolicy.signed({"": KEY.public_key}, nameless=True).check(APP, [self.DIGEST], [found])

    @pytest.mark.parametrize(
        "changes",
        [
            {"messageDigest": {"algorithm": "SHA2_512", "digest": "AAAA"}},
            {"messageDigest": {"algorithm": "SHA2_256", "digest": "AAAA"}},
            {"messageDigest": {"algorithm": "SHA2_256", "digest": "!"}},
            {"messageDigest": {"algorithm": "SHA2_256", "digest": base64.b64encode(bytes(32)).decode()}},
            {"messageDigest": None},
            {"signature": None},
            {"signature": 1},
        ],
    )
    def test_what_is_about_nothing_known_is_no_signature(self, changes: dict[str, Any]) -> None:
        assert read_bundle(self.bundle(**changes), self.find) is None


class TestPolicy:
    def test_a_file_takes_nameless_signatures_where_its_reader_says_so_and_it_asks_for_no_name(self) -> None:
        statement = json.loads(BundledSignature.encode(DIGEST, "any"))
        del statement["subject"][0]["name"]
        found = BundledSignature.parse(bundled(json.dumps(statement).encode()))
        assert found is not None
        for requirement, nameless, reason in (
            (sigstore(), True, ""),
            (sigstore(), False, "nameless=True"),
            (sigstore({"type": "matchRepository"}), True, "names no image"),
        ):
            content = json.dumps({"default": [requirement]})
            made = SignaturePolicy.parse(content, nameless=nameless)
            if reason:
                with pytest.raises(UntrustedImage, match=reason):
                    made.check(APP, [DIGEST], [found])
            else:
                made.check(APP, [DIGEST], [found])

    def test_a_signed_image_passes_and_others_fall_to_the_default(self) -> None:
        made = policy(sigstore())
        made.check(APP, [DIGEST], [signed()])
        made.check(APP, [WRONG, DIGEST], [signed(key=OTHER), signed()])
        with pytest.raises(UntrustedImage, match="the policy rejects it"):
            made.check(Reference.parse("ghcr.io/other/app"), [DIGEST], [signed()])

    @pytest.mark.parametrize(
        ("given", "reason"),
        [
            ([], "none at all"),
            ([signed(key=OTHER)], "by no key"),
            ([signed(WRONG)], f"it is for {WRONG}"),
            ([signed(name="ghcr.io/owner/other")], "ghcr.io/owner/other"),
            ([signed(name="evil.example/owner/app")], "evil.example"),
            ([Signature(signed().payload, signed(WRONG).signature)], "by no key"),
            ([Signature(signed().payload + b" ", signed().signature)], "by no key"),
            ([Signature(b"{}", KEY.sign(b"{}"))], "critical"),
            ([Signature(signed().payload, b"")], "by no key"),
        ],
        ids=["stripped", "key", "digest", "repository", "host", "swapped", "changed", "no claim", "empty"],
    )
    def test_every_other_signature_is_refused_with_its_reason(
        self, given: list[Signature], reason: str
    ) -> None:
        with pytest.raises(UntrustedImage) as caught:
            policy(sigstore()).check(APP, [DIGEST], given)
        assert reason in str(caught.value)
        assert (caught.value.reference, caught.value.digest) == (str(APP), DIGEST)
        assert len(caught.value.reasons) == len(given)

    @pytest.mark.parametrize(
        ("identity", "name", "reference", "fits"),
        [
            ("matchRepository", "ghcr.io/owner/app:9", "ghcr.io/owner/app:1", True),
            ("matchExact", "ghcr.io/owner/app:1", "ghcr.io/owner/app:1", True),
            ("matchExact", "ghcr.io/owner/app:1", "ghcr.io/owner/app:2", False),
            ("matchExact", "ghcr.io/owner/app", "ghcr.io/owner/app:latest", False),
            ("matchExact", "ghcr.io/owner/app", f"ghcr.io/owner/app@{DIGEST}", False),
            ("matchRepoDigestOrExact", "ghcr.io/owner/app", f"ghcr.io/owner/app@{DIGEST}", True),
            ("matchRepoDigestOrExact", "ghcr.io/owner/app", "ghcr.io/owner/app:1", False),
        ],
    )
    def test_the_name_must_fit_as_the_policy_says(
        self, identity: str, name: str, reference: str, fits: bool
    ) -> None:
        made, target = policy(sigstore({"type": identity})), Reference.parse(reference)
        if fits:
            made.check(target, [DIGEST], [signed(name=name)])
        else:
            with pytest.raises(UntrustedImage, match=identity):
                made.check(target, [DIGEST], [signed(name=name)])

    def test_names_can_be_fixed_or_mapped(self) -> None:
        exact = policy(sigstore({"type": "exactRepository", "dockerRepository": "docker.io/vendor/app"}))
        exact.check(APP, [DIGEST], [signed(name="docker.io/vendor/app:5")])
        mapped = {"type": "remapIdentity", "prefix": "ghcr.io/owner", "signedPrefix": "quay.io/vendor"}
        policy(sigstore(mapped)).check(APP, [DIGEST], [signed(name="quay.io/vendor/app:1")])
        with pytest.raises(UntrustedImage):
            policy(sigstore(mapped)).check(APP, [DIGEST], [signed()])

    def test_all_requirements_of_a_scope_must_hold(self) -> None:
        with pytest.raises(UntrustedImage, match="rejects"):
            policy(sigstore(), {"type": "reject"}).check(APP, [DIGEST], [signed()])

    @pytest.mark.parametrize(
        ("scope", "name", "covers"),
        [
            ("ghcr.io", "ghcr.io/a/b:1", True),
            ("ghcr.io/a", "ghcr.io/ab/c:1", False),
            ("ghcr.io/a/b:1", "ghcr.io/a/b:2", False),
            ("*.example.com", "eu.reg.example.com/a:1", True),
            ("*.example.com", "example.com/a:1", False),
            ("docker.io/library", "alpine", True),
            ("alpine", "docker.io/library/alpine:3", True),
            ("localhost:5000", "localhost:5000/a:1", True),
            ("", "anything:1", True),
        ],
    )
    def test_a_scope_covers_whole_components(self, scope: str, name: str, covers: bool) -> None:
        made = policy({"type": "insecureAcceptAnything"}, scope=scope)
        kinds = [each.kind for each in made.requirements(Reference.parse(name))]
        assert kinds == (["accept"] if covers else ["reject"])

    @pytest.mark.parametrize(
        "document",
        [
            "{",
            "[]",
            "{}",
            '{"default": []}',
            '{"default": [{"type": "accept"}]}',
            '{"default": [{"type": "sigstoreSigned"}]}',
            '{"default": [{"type": "sigstoreSigned", "keyPath": "/none"}]}',
            '{"default": [{"type": "sigstoreSigned", "keyData": "!"}]}',
            '{"default": [{"type": "reject", "more": 1}]}',
            '{"default": [{"type": "reject"}], "more": 1}',
            '{"default": [{"type": "reject"}], "transports": []}',
            '{"default": [{"type": "reject"}], "transports": {"docker": {"a b": [{"type": "reject"}]}}}',
            '{"default": [{"type": "reject"}], "transports": {"docker": {"ghcr.io": []}}}',
        ],
    )
    def test_what_cannot_be_understood_is_an_error(self, document: str) -> None:
        with pytest.raises(InvalidInput):
            SignaturePolicy.parse(document)

    @pytest.mark.parametrize("more", [{"fulcio": {}}, {"rekorPublicKeyPath": "/x"}])
    def test_what_is_not_supported_is_never_ignored(self, more: dict[str, Any]) -> None:
        with pytest.raises(PycontainerError, match="keyless"):
            policy(sigstore() | more)
        with pytest.raises(Unsupported, match="GPG"):
            policy({"type": "signedBy", "keyPath": "/x"})

    def test_an_image_without_a_name_passes_only_where_all_do(self) -> None:
        with pytest.raises(UntrustedImage, match="no name"):
            policy(sigstore()).check_unnamed(DIGEST)
        SignaturePolicy.signed({"ghcr.io": KEY.public_key}, default="accept").check_unnamed(DIGEST)
