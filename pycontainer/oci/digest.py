"""Content digests: `algorithm:hex`, checked before they become part of any path or URL.

Supported algorithms are the two registered ones Python computes at speed. Hex digits are lower case,
as the specification demands: two spellings of one digest would be two names of one blob.
Source: OCI image-spec, descriptor.md, "Digests".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NewType

from pycontainer.errors import DigestMismatch, InvalidInput

__all__ = ["Digest", "Hasher", "chain_ids", "parse_digest", "sha256", "split"]

Digest = NewType("Digest", str)

HEX_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+")
_SHOWN = 100  # a hostile text is quoted in errors up to here


def parse_digest(text: str) -> Digest:
    """Check a digest against the grammar and the supported algorithms.

    Raises: InvalidInput naming what is wrong.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"digest must be text, got {type(text).__name__}")
    algorithm, colon, digits = text.partition(":")
    length = HEX_LENGTHS.get(algorithm)
    if not colon or length is None:
        known = " or ".join(HEX_LENGTHS)
        raise InvalidInput(f"digest {text[:_SHOWN]!r} does not start with {known} and a colon")
    if len(digits) != length or not _HEX.fullmatch(digits):
        raise InvalidInput(f"digest {text[:_SHOWN]!r} needs {length} lower-case hex digits")
    return Digest(text)


def split(digest: Digest) -> tuple[str, str]:
    """The algorithm and the hex digits of a digest."""
    algorithm, _, digits = digest.partition(":")
    return algorithm, digits


def sha256(data: bytes | bytearray | memoryview) -> Digest:
    """The sha256 digest of bytes in memory."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


class Hasher:
    """A running digest that also counts bytes.

    Attributes: algorithm; size (bytes hashed so far).
    """

    __slots__ = ("_hash", "algorithm", "size")

    def __init__(self, algorithm: str = "sha256") -> None:
        if algorithm not in HEX_LENGTHS:
            raise InvalidInput(f"digest algorithm {algorithm[:_SHOWN]!r} is not {' or '.join(HEX_LENGTHS)}")
        self.algorithm: str = algorithm
        self.size: int = 0
        self._hash = hashlib.new(algorithm)

    @classmethod
    def like(cls, digest: Digest) -> Hasher:
        """A hasher of the algorithm that `digest` uses."""
        return cls(split(digest)[0])

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Hash one more chunk; releases the GIL for chunks above 2 KiB."""
        self._hash.update(chunk)
        self.size += len(chunk)

    def digest(self) -> Digest:
        """The digest of what was hashed so far."""
        return Digest(f"{self.algorithm}:{self._hash.hexdigest()}")

    def check(self, digest: Digest, size: int, source: str) -> None:
        """Compare with what was promised, size first.

        Raises: DigestMismatch.
        """
        if self.size != size:
            raise DigestMismatch(f"{size} bytes", f"{self.size} bytes", source)
        if self.digest() != digest:
            raise DigestMismatch(digest, self.digest(), source)


def chain_ids(diff_ids: Iterable[Digest]) -> list[Digest]:
    """ChainID of each layer of a stack, bottom first: it names a layer together with all below it.

    Source: OCI image-spec, config.md, "Layer ChainID".
    """
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(sha256(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain
