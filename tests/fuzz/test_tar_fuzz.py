"""Damaged archives: an error that says so or a tree inside the target, never anything else."""

from __future__ import annotations

import errno
import gzip
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycontainer.errors import InvalidImage, KernelError
from pycontainer.layers import Entry, Limits
from tests.support.layers import directory, file, pax, run_job, tar

pytestmark = [pytest.mark.needs("root"), pytest.mark.fuzz]

SEED = tar(
    directory(b"d", mode=0o1777, gid=5),
    file(b"d/f", b"content" * 50, uid=1000, xattrs={b"user.x": b"y"}, mtime_ns=1_500_000_000),
    Entry(b"l", "symlink", linkname=b"../../outside"),
    file(b"l/secret", b"through the link"),
    Entry(b"h", "hardlink", linkname=b"d/f"),
    Entry(b"c", "char", devmajor=1, devminor=3),
    (Entry(b"s", size=9000, sparse=[(100, 3), (8000, 5)]), b"12345678"),
    Entry(b".wh.gone"),
    Entry(b"d/.wh..wh..opq"),
    directory(b"n" * 120 + b"/" + b"m" * 120),
) + pax([(b"path", b"late")])
NUMBERS = [b"\xff" * 8, b"\x80" + b"\xff" * 7, b"-000001\0", bytes(8), b"7777777\0", b"00000000"]
NAMES = [
    b"../outside/x",
    b"/etc/x",
    b"l/../../x",
    b".",
    b"..",
    b".wh.",
    b".wh..wh..opq",
    b"d",
    b"l",
    b"l/x",
    b"\xff" * 99,
]
FLAGS = [bytes((value,)) for value in b"01234567xgLKSVN\0"]


def with_checksum(block: bytes) -> bytes:
    blanked = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(blanked) + block[156:]


def patch(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The seed with headers forged under a right checksum, blocks moved, and bytes flipped."""
    data = SEED
    for _ in range(draw(st.integers(1, 4))):
        blocks = len(data) // 512
        at = draw(st.integers(0, max(blocks - 1, 0))) * 512
        change = draw(
            st.sampled_from(["flip", "name", "link", "number", "flag", "cut", "repeat", "swap", "raw"])
        )
        if change == "flip":
            offset = draw(st.integers(0, len(data) - 1))
            data = patch(data, offset, bytes((data[offset] ^ draw(st.integers(1, 255)),)))
            continue
        block = data[at : at + 512]
        if change == "name":
            block = patch(block, 0, draw(st.sampled_from(NAMES)).ljust(100, b"\0"))
        elif change == "link":
            block = patch(block, 157, draw(st.sampled_from(NAMES)).ljust(100, b"\0"))
        elif change == "number":
            block = patch(
                block,
                draw(st.sampled_from([100, 108, 116, 124, 136, 329, 337, 345, 483])),
                draw(st.sampled_from(NUMBERS)),
            )
        elif change == "flag":
            block = patch(block, 156, draw(st.sampled_from(FLAGS)))
        elif change == "raw":
            block = draw(st.binary(min_size=512, max_size=512))
        if change == "cut":
            data = data[: draw(st.integers(0, len(data)))] or b"x"
        elif change == "repeat":
            data = data[: at + 512] + data[at : at + 1024] + data[at + 512 :]
        elif change == "swap":
            data = data[at:] + data[:at]
        elif len(block) == 512:
            data = patch(data, at, with_checksum(block))
    return data


@settings(max_examples=300)
@given(damaged(), st.booleans(), st.booleans())
def test_damaged_archive_gives_an_error_or_a_tree_inside(data: bytes, is_packed: bool, stops: bool) -> None:
    base = Path(tempfile.mkdtemp(prefix="layers-fuzz-"))
    try:
        for name in ("target", "outside"):
            (base / name).mkdir()
        (base / "outside" / "secret").write_text("secret")
        (base / "blob").write_bytes(gzip.compress(data) if is_packed else data)
        code = 0
        try:
            run_job("unpack", {"stop_if_not_self_contained": stops}, [base / "blob", base / "target"])
        except InvalidImage:
            pass
        except KernelError as error:
            code = error.errno or 0
        # The confinement would say so if a system call had aimed elsewhere.
        assert code not in (errno.EACCES, errno.EXDEV)
        assert sorted(path.name for path in base.iterdir()) == ["blob", "outside", "target"]
        assert [path.name for path in (base / "outside").iterdir()] == ["secret"]
        assert (base / "outside" / "secret").read_text() == "secret"
    finally:
        shutil.rmtree(base)


@settings(max_examples=300)
@given(
    st.binary(max_size=3000),
    st.sampled_from([b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh9", b""]),
)
def test_damaged_compression_gives_invalid_image(tail: bytes, magic: bytes) -> None:
    import io

    from pycontainer.layers import detect, open_decoder

    decoder = open_decoder(detect(magic + tail), io.BytesIO(magic + tail), Limits(bytes=1 << 20))
    try:
        while decoder.read():
            pass
    except InvalidImage:
        pass
