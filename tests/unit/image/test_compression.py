"""Layers compressed at every level: the same bytes every time, which every decoder reads."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
import threading

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.image.compression import Compression, open_compressor
from pycontainer.layers import detect, open_decoder
from tests.support.needs import needs

# Three blocks, the last one short; compressible, and not the same everywhere.
BLOCK_SIZE = 1 << 16
DATA = b"".join(b"%d\n" % number for number in random.Random(1).choices(range(10**6), k=22_000))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pycontainer.image.compression.BLOCK_SIZE", BLOCK_SIZE)


def compressed(kind: str, data: bytes = DATA, step: int = 5000) -> bytes:
    stream = open_compressor(Compression.parse(kind))
    parts = [stream.compress(data[i : i + step]) for i in range(0, len(data), step)]
    return b"".join([*parts, stream.flush()])


@pytest.mark.parametrize("kind", ["gzip", "gzip:1", "gzip:6", "zstd", "zstd:1", "plain"])
def test_what_is_compressed_is_read_back(kind: str) -> None:
    data = compressed(kind)
    assert detect(data) == Compression.parse(kind).kind
    decoder = open_decoder(detect(data), io.BytesIO(data))
    assert b"".join(iter(lambda: decoder.read(1 << 20), b"")) == DATA


@pytest.mark.parametrize("kind", ["gzip", "gzip:1", "zstd", "zstd:1"])
def test_the_bytes_do_not_depend_on_processors_or_on_how_they_came(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = compressed(kind)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0})
    assert compressed(kind, step=BLOCK_SIZE if ":" in kind or kind == "zstd" else 5000) == expected


def test_the_level_counts() -> None:
    data = DATA[:BLOCK_SIZE]
    assert len(compressed("gzip:9", data)) < len(compressed("gzip:1", data))
    assert compressed("zstd:9", data) != compressed("zstd:1", data) != compressed("zstd", data)


@pytest.mark.parametrize("kind", ["gzip", "gzip:1", "zstd"])
@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE, BLOCK_SIZE + 1])
def test_every_size_comes_back(kind: str, size: int) -> None:
    data = compressed(kind, DATA[:size])
    decoder = open_decoder(detect(data), io.BytesIO(data))
    assert b"".join(iter(lambda: decoder.read(1 << 20), b"")) == DATA[:size]


def test_blocks_of_gzip_are_one_member_for_every_reader() -> None:
    assert gzip.decompress(compressed("gzip:3")) == DATA


@needs("zstd")
def test_frames_of_zstd_are_one_file_for_zstd_itself() -> None:
    done = subprocess.run(["zstd", "-dc"], input=compressed("zstd:1"), capture_output=True, timeout=60)
    assert done.stdout == DATA


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    compressed("zstd:1")
    unfinished = open_compressor(Compression.parse("gzip:1"))
    unfinished.compress(DATA)
    unfinished.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("text", ["gzip:0", "gzip:10", "zstd:23", "plain:1", "zstd:x", "zstd:", "xz", ""])
def test_what_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="layer compression"):
        Compression.parse(text)
