"""Digests: the grammar decides before anything else sees them."""

from __future__ import annotations

import hashlib

import pytest

from pycontainer.errors import DigestMismatch, InvalidInput
from pycontainer.oci import Hasher, chain_ids, parse_digest, sha256, split_digest

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"sha512:{HEX * 2}"], ids=["sha256", "sha512"])
def test_a_digest_of_a_supported_algorithm_is_kept_as_it_is(text: str) -> None:
    assert parse_digest(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        ":",
        f":{HEX}",
        HEX,
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha256:{HEX}\n",
        f"sha256: {HEX[1:]}",
        "sha256:../../x",
        "sha256:" + "../" * 21 + "x",
        f"sha256:{HEX[:-1]}/",
        f"sha256:{HEX[:-1]}٣",
        f"sha512:{HEX}",
        f"md5:{HEX[:32]}",
        f"blake3:{HEX}",
        f"sha256+b64:{HEX}",
        f"sha256:sha256:{HEX[7:]}",
        "sha256:\0" + HEX[1:],
    ],
    ids=lambda text: repr(text)[:40],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_digest(text)


def test_a_digest_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidInput, match="must be text, got bytes"):
        parse_digest(b"sha256:00")  # type: ignore[arg-type]


def test_the_error_does_not_echo_megabytes() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_digest("sha256:" + "f" * 1_000_000)
    assert len(str(caught.value)) < 300


def test_splitting_gives_algorithm_and_digits() -> None:
    assert split_digest(parse_digest(f"sha256:{HEX}")) == ("sha256", HEX)


def test_the_hasher_agrees_with_hashlib_in_any_division_into_chunks() -> None:
    data = bytes(range(256)) * 50
    for algorithm in ("sha256", "sha512"):
        hasher = Hasher(algorithm)
        for start in range(0, len(data), 999):
            hasher.update(memoryview(data)[start : start + 999])
        assert hasher.digest() == f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
        assert hasher.size == len(data)


def test_an_unknown_algorithm_is_refused_by_the_hasher() -> None:
    with pytest.raises(InvalidInput, match="md5"):
        Hasher("md5")


def test_checking_compares_the_size_before_the_digest() -> None:
    hasher = Hasher()
    hasher.update(b"abc")
    hasher.check(sha256(b"abc"), 3, "test")
    with pytest.raises(DigestMismatch, match="test: expected 4 bytes, got 3 bytes"):
        hasher.check(sha256(b"other"), 4, "test")
    with pytest.raises(DigestMismatch, match=f"expected {sha256(b'abd')}"):
        hasher.check(sha256(b"abd"), 3, "test")


def test_a_chain_id_hashes_the_parent_with_the_layer() -> None:
    layers = [sha256(bytes([n])) for n in range(3)]
    chain = chain_ids(layers)
    assert chain[0] == layers[0]
    assert chain[1] == sha256(f"{layers[0]} {layers[1]}".encode())
    assert chain[2] == sha256(f"{chain[1]} {layers[2]}".encode())
    assert chain_ids([]) == []
