"""ECDSA keys on the curve P-256, as cosign has them: public ones in PEM, private ones under a passphrase.

An encrypted private key is cosign's own format: scrypt makes a key of the passphrase, and NaCl's secretbox
hides the PKCS #8 document. Keys of OpenSSL (PKCS #8, encrypted or not, and SEC 1) are read, too.
Source: sigstore, "Signature Specification"; go-securesystemslib, encrypted/encrypted.go; RFC 7914; RFC 5208.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any, Final, final

from pycontainer.errors import InvalidInput, Unsupported

__all__ = ["PublicKey", "SigningKey"]

LARGEST_FILE: Final = 64 << 10
SEALED_TYPES: Final = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
# The costs that go-securesystemslib has written and reads; others would be a way to make us work for hours.
COSTS: Final = ({"N": 32768, "r": 8, "p": 1}, {"N": 65536, "r": 8, "p": 1})
SCRYPT_MEMORY: Final = 128 << 20
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END \1-----")

KeySource = str | bytes | os.PathLike[str]
"""PEM as text or bytes, or the path of a file."""


@final
class PublicKey:
    """A key that signatures are verified with. Equal if it is the same key."""

    def __init__(self, inner: Any) -> None:
        ec = _cryptography("hazmat.primitives.asymmetric.ec")
        if not isinstance(inner, ec.EllipticCurvePublicKey) or inner.curve.name != "secp256r1":
            raise InvalidInput("the public key is not one of ECDSA on P-256, as cosign makes them")
        self._inner = inner

    @classmethod
    def load(cls, source: KeySource) -> PublicKey:
        """Read a public key. Raises: InvalidInput for anything else; Unsupported without `cryptography`."""
        serialization = _cryptography("hazmat.primitives.serialization")
        content, where = _content(source)
        try:
            inner = serialization.load_pem_public_key(content)
        except (ValueError, TypeError, _cryptography("exceptions").UnsupportedAlgorithm):
            raise InvalidInput(f"{where} holds no public key in PEM") from None
        return cls(inner)

    @property
    def pem(self) -> str:
        """The key as PEM, as cosign.pub has it."""
        serialization = _cryptography("hazmat.primitives.serialization")
        encoded: bytes = self._inner.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return encoded.decode("ascii")

    @property
    def fingerprint(self) -> str:
        """sha256 of the key's DER, to tell keys apart."""
        serialization = _cryptography("hazmat.primitives.serialization")
        der: bytes = self._inner.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return f"sha256:{hashlib.sha256(der).hexdigest()}"

    def verifies(self, data: bytes, signature: bytes) -> bool:
        """Whether the signature (ASN.1 DER, over SHA-256) of these bytes is this key's."""
        ec = _cryptography("hazmat.primitives.asymmetric.ec")
        hashes = _cryptography("hazmat.primitives.hashes")
        try:
            self._inner.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except _cryptography("exceptions").InvalidSignature:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.pem == other.pem

    def __hash__(self) -> int:
        return hash(self.pem)

    def __repr__(self) -> str:
        return f"PublicKey({self.fingerprint[:19]})"


@final
class SigningKey:
    """A private key. Its repr shows nothing of it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.public_key: PublicKey = PublicKey(inner.public_key())

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key."""
        ec = _cryptography("hazmat.primitives.asymmetric.ec")
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, source: KeySource, password: str | bytes = b"") -> SigningKey:
        """Read a private key of cosign, podman, skopeo or OpenSSL.

        Raises: InvalidInput if it is none, or the passphrase is wrong; Unsupported without `cryptography`.
        """
        content, where = _content(source)
        secret = password.encode() if isinstance(password, str) else password
        serialization = _cryptography("hazmat.primitives.serialization")
        block = _PEM.search(content)
        try:
            if block is not None and block[1].decode() in SEALED_TYPES:
                opened = _unseal(base64.b64decode(block[2]), secret, where)
                return cls(serialization.load_der_private_key(opened, None))
            return cls(serialization.load_pem_private_key(content, secret or None))
        except (
            ValueError,
            TypeError,
            AttributeError,
            _cryptography("exceptions").UnsupportedAlgorithm,
        ) as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(f"{where} holds no private key that this passphrase opens") from None

    def sign(self, data: bytes) -> bytes:
        """The signature of these bytes, ASN.1 DER, over SHA-256."""
        ec = _cryptography("hazmat.primitives.asymmetric.ec")
        hashes = _cryptography("hazmat.primitives.hashes")
        signature: bytes = self._inner.sign(data, ec.ECDSA(hashes.SHA256()))
        return signature

    def pem(self, password: str | bytes) -> str:
        """The key in cosign's format, encrypted with a passphrase, which may be empty as with cosign."""
        serialization = _cryptography("hazmat.primitives.serialization")
        der = self._inner.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        sealed = _seal(der, password.encode() if isinstance(password, str) else password)
        lines = base64.encodebytes(sealed).decode("ascii").replace("\n", "")
        body = "\n".join(lines[at : at + 64] for at in range(0, len(lines), 64))
        return f"-----BEGIN {SEALED_TYPES[0]}-----\n{body}\n-----END {SEALED_TYPES[0]}-----\n"

    def save(self, prefix: str | os.PathLike[str], password: str | bytes) -> tuple[Path, Path]:
        """Write PREFIX.key (mode 0600) and PREFIX.pub, as `cosign generate-key-pair` does; returns both.

        Raises: OSError, also where one of them is there already.
        """
        private, public = Path(f"{os.fspath(prefix)}.key"), Path(f"{os.fspath(prefix)}.pub")
        for path, text, mode in ((private, self.pem(password), 0o600), (public, self.public_key.pem, 0o644)):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with open(fd, "w", encoding="ascii") as file:
                file.write(text)
        return private, public

    def __repr__(self) -> str:
        return f"SigningKey({self.public_key.fingerprint[:19]})"


def _content(source: KeySource) -> tuple[bytes, str]:
    """The bytes of a key, and how to call it in errors: never by its content."""
    if isinstance(source, bytes) or (isinstance(source, str) and "-----BEGIN" in source):
        return source if isinstance(source, bytes) else source.encode(), "what was given as a key"
    try:
        with open(source, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InvalidInput(f"key {os.fspath(source)} cannot be read: {error.strerror}") from error
    if len(content) > LARGEST_FILE:
        raise InvalidInput(f"key {os.fspath(source)} is larger than {LARGEST_FILE} bytes")
    return content, f"key {os.fspath(source)}"


def _seal(document: bytes, password: bytes) -> bytes:
    salt, nonce = os.urandom(32), os.urandom(24)
    box = _box(password, salt, COSTS[0])
    hidden = box.encrypt(document, nonce).ciphertext
    return json.dumps(
        {
            "kdf": {"name": "scrypt", "params": COSTS[0], "salt": _base64(salt)},
            "cipher": {"name": "nacl/secretbox", "nonce": _base64(nonce)},
            "ciphertext": _base64(hidden),
        },
        separators=(",", ":"),
    ).encode()


def _unseal(sealed: bytes, password: bytes, where: str) -> bytes:
    try:
        envelope = json.loads(sealed)
        kdf, cipher = envelope["kdf"], envelope["cipher"]
        names, costs = (kdf["name"], cipher["name"]), kdf["params"]
        salt, nonce, hidden = (
            base64.b64decode(text, validate=True)
            for text in (kdf["salt"], cipher["nonce"], envelope["ciphertext"])
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidInput(f"{where} is not in cosign's format") from None
    if names != ("scrypt", "nacl/secretbox") or costs not in COSTS or len(nonce) != 24:
        raise InvalidInput(f"{where} is encrypted in a way that cosign's keys are not")
    box = _box(password, salt, costs)
    try:
        opened: bytes = box.decrypt(hidden, nonce)
    except _nacl("exceptions").CryptoError:
        raise InvalidInput(f"{where}: the passphrase is wrong") from None
    return opened


def _box(password: bytes, salt: bytes, costs: dict[str, int]) -> Any:
    key = hashlib.scrypt(
        password, salt=salt, n=costs["N"], r=costs["r"], p=costs["p"], maxmem=SCRYPT_MEMORY, dklen=32
    )
    return _nacl("secret").SecretBox(key)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _cryptography(module: str) -> Any:
    return _optional(f"cryptography.{module}")


def _nacl(module: str) -> Any:
    return _optional(f"nacl.{module}")


def _optional(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise Unsupported(
            f"signatures without the package {module.partition('.')[0]}",
            "install pycontainer-engine[sign]",
        ) from None
