"""Decompression: several members, what may follow them, and bombs."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import sys
import zlib
from collections.abc import Callable

import pytest
from backports import zstd

from pycontainer.errors import InvalidImage, InvalidInput, Unsupported
from pycontainer.layers import Limits, codecs, detect, open_decoder

DATA = random.Random(1).randbytes(70_000) + bytes(900_000) + b"text " * 50_000
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "plain": lambda data: data,
}
KINDS = [kind for kind in COMPRESS if kind != "plain"]
SKIPPABLE = b"\x53\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"skip"


def decode(data: bytes, limits: Limits | None = None, kind: str | None = None) -> bytes:
    head, rest = data[: codecs.HEAD_SIZE], io.BytesIO(data[codecs.HEAD_SIZE :])
    decoder = open_decoder(kind or detect(head), rest, limits, head)
    return b"".join(iter(decoder.read, b""))


@pytest.fixture(params=["isal", "zlib"])
def gzip_codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
        monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    return str(request.param)


@pytest.mark.parametrize("kind", COMPRESS)
def test_codec_is_found_by_magic_and_gives_the_bytes_back(kind: str) -> None:
    packed = COMPRESS[kind](DATA)
    assert detect(packed) == kind
    assert decode(packed) == DATA


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("size", [1, 511, 100_000])
def test_readinto_fills_buffers_of_any_size(kind: str, size: int) -> None:
    data = DATA[:80_000]
    decoder = open_decoder(kind, io.BytesIO(COMPRESS[kind](data)))
    buffer = bytearray(size)
    found = bytearray()
    while count := decoder.readinto(buffer):
        found += buffer[:count]
    assert bytes(found) == data
    assert decoder.produced == len(data)
    assert decoder.readinto(bytearray()) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_members_in_a_row_are_one_stream(kind: str) -> None:
    packed = b"".join(COMPRESS[kind](DATA[at : at + 50_000]) for at in range(0, 500_000, 50_000))
    assert decode(packed) == DATA[:500_000]


def test_hundred_thousand_tiny_members_are_one_stream(gzip_codec: str) -> None:
    assert decode(gzip.compress(b"x", mtime=0) * 20_000) == b"x" * 20_000


@pytest.mark.parametrize("padding", [1, 511, 200_000])
def test_zeros_may_follow_gzip(gzip_codec: str, padding: int) -> None:
    assert decode(gzip.compress(DATA) + bytes(padding)) == DATA


@pytest.mark.parametrize("junk", [b"junk", b"\x1f", b"\x1f\x8c", bytes(100) + b"x"])
def test_anything_else_after_gzip_is_refused(gzip_codec: str, junk: bytes) -> None:
    with pytest.raises(InvalidImage, match=r"other than gzip|gzip data"):
        decode(gzip.compress(DATA) + junk)


@pytest.mark.parametrize("kind", ["zstd", "bzip2", "xz"])
def test_junk_after_other_codecs_is_refused(kind: str) -> None:
    with pytest.raises(InvalidImage, match="other than"):
        decode(COMPRESS[kind](DATA) + b"junk of any length")


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_data_is_refused(kind: str) -> None:
    packed = COMPRESS[kind](DATA)
    for length in (len(packed) - 1, len(packed) // 2, 20):
        with pytest.raises(InvalidImage, match=r"truncated|broken"):
            decode(packed[:length], kind=kind)


def test_truncated_gzip_is_refused_by_either_codec(gzip_codec: str) -> None:
    packed = gzip.compress(DATA)
    for length in (*range(2, 40), len(packed) - 8, len(packed) - 1):
        with pytest.raises(InvalidImage):
            decode(packed[:length], kind="gzip")


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_data_is_refused(kind: str) -> None:
    packed = bytearray(COMPRESS[kind](DATA))
    packed[len(packed) // 2] ^= 0xFF
    packed[len(packed) // 3] ^= 0xFF
    with pytest.raises(InvalidImage):
        decode(bytes(packed), kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_codec_for_the_data_is_refused(kind: str) -> None:
    for other in KINDS:
        if other != kind:
            with pytest.raises(InvalidImage):
                decode(COMPRESS[other](DATA), kind=kind)


def test_skippable_zstd_frames_hold_nothing() -> None:
    first, second = zstd.compress(b"one"), zstd.compress(b"two")
    assert decode(SKIPPABLE + first + SKIPPABLE * 3 + second + SKIPPABLE) == b"onetwo"


def test_zstd_window_beyond_the_limit_is_refused() -> None:
    options = {zstd.CompressionParameter.window_log: 25, zstd.CompressionParameter.content_size_flag: 0}
    compressor = zstd.ZstdCompressor(options=options)
    packed = compressor.compress(b"x" * 100) + compressor.flush()
    assert decode(packed) == b"x" * 100
    with pytest.raises(InvalidImage, match="broken zstd"):
        decode(packed, Limits(window_bytes=1 << 20))


def test_xz_dictionary_beyond_the_limit_is_refused() -> None:
    packed = lzma.compress(b"x", preset=9)
    with pytest.raises(InvalidImage, match="broken xz"):
        decode(packed, Limits(window_bytes=1 << 20))


@pytest.mark.parametrize("kind", KINDS)
def test_more_bytes_than_allowed_are_refused(kind: str) -> None:
    with pytest.raises(InvalidImage, match="more than 100000 uncompressed"):
        decode(COMPRESS[kind](DATA), Limits(bytes=100_000))


@pytest.mark.parametrize("kind", KINDS)
def test_bomb_is_refused_by_its_ratio(kind: str) -> None:
    packed = COMPRESS[kind](bytes(50 << 20))
    with pytest.raises(InvalidImage, match="beyond the ratio"):
        decode(packed, Limits(ratio=100, ratio_grace=1 << 20))


def test_highest_ratio_of_honest_gzip_is_accepted() -> None:
    compressor = zlib.compressobj(9, wbits=31)
    packed = compressor.compress(bytes(300 << 20)) + compressor.flush()
    decoder = open_decoder("gzip", io.BytesIO(packed))
    while decoder.read():
        pass
    assert decoder.produced == 300 << 20


def test_missing_zstd_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("backports.zstd", "compression.zstd", "compression"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Unsupported, match=r"install the package backports\.zstd"):
        open_decoder("zstd", io.BytesIO())


def test_unknown_codec_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="recompress"):
        open_decoder("lz4", io.BytesIO())


@pytest.mark.parametrize(
    "params", [{"entrys": 1}, {"entries": 0}, {"entries": -1}, {"entries": "9"}, {"bytes": True}]
)
def test_bad_limits_are_refused(params: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        Limits.from_params(params)
