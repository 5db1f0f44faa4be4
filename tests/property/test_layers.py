"""Taking a layer from a directory and unpacking it are inverse to each other."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycontainer.layers import Applier, Differ, Entry, FileBlocks, Limits, TarReader, TarWriter
from tests.support.layers import describe, tar

pytestmark = [pytest.mark.needs("root"), pytest.mark.property]

NAMES = st.sampled_from([b"a", b"b", b"long" * 40, "\u00fc".encode(), b"\xff", b"sp ace", b"new\nline"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
IDS = st.sampled_from([0, 0, 1000, 2_097_152, 2**32 - 2])
XATTRS = st.dictionaries(
    st.sampled_from([b"user.a", b"user.b", b"trusted.c"]), st.binary(max_size=40), max_size=2
)


@st.composite
def entries(draw: st.DrawFn) -> tuple[Entry, bytes]:
    kind = draw(
        st.sampled_from(
            ["file", "file", "dir", "dir", "symlink", "hardlink", "fifo", "char", "whiteout", "opaque"]
        )
    )
    path = draw(PATHS)
    if kind in ("whiteout", "opaque"):
        above, _, base = path.rpartition(b"/")
        name = b".wh." + base if kind == "whiteout" else b".wh..wh..opq"
        return Entry(above + b"/" + name if above else name), b""
    entry = Entry(
        path,
        kind,
        draw(st.integers(0, 0o7777)),
        draw(IDS),
        draw(IDS),
        mtime_ns=draw(st.integers(-(2**31) * 10**9, 2**33 * 10**9)),
    )
    content = b""
    if kind == "file":
        content = draw(st.binary(max_size=2000))
        entry.size = len(content)
    if kind in ("symlink", "hardlink"):
        entry.linkname = draw(PATHS)
    if kind == "char":
        entry.devmajor, entry.devminor = draw(st.integers(1, 255)), draw(st.integers(0, 2**20 - 1))
    if kind in ("file", "dir"):
        entry.xattrs = draw(XATTRS)
    return entry, content


def unpack(data: bytes, target: Path) -> None:
    target.mkdir()
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        Applier(TarReader(FileBlocks(io.BytesIO(data))), fd, Limits()).run()
    finally:
        os.close(fd)


def diff(root: Path) -> bytes:
    out = io.BytesIO()
    writer = TarWriter(out)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        Differ(fd, writer, Limits()).run()
    finally:
        os.close(fd)
    writer.close()
    return out.getvalue()


def comparable(root: Path) -> dict[str, tuple[Any, ...]]:
    """Without the times of whiteouts, which mean nothing."""
    return {
        path: entry if (entry[0], entry[3]) != ("0o20000", 0) else entry[:4]
        for path, entry in describe(root).items()
    }


@settings(max_examples=150)
@given(st.lists(entries(), max_size=12))
def test_diff_of_an_unpacked_layer_unpacks_to_the_same_tree(members: list[tuple[Entry, bytes]]) -> None:
    base = Path(tempfile.mkdtemp(prefix="layers-property-"))
    try:
        # Hard links to nothing and files below files are other tests' business.
        made: dict[bytes, str] = {}
        usable = []
        for entry, content in members:
            parts = entry.name.split(b"/")
            above = [b"/".join(parts[:count]) for count in range(1, len(parts))]
            if any(made.get(path, "dir") != "dir" for path in above):
                continue
            if entry.kind == "hardlink" and made.get(entry.linkname, "dir") == "dir":
                continue
            if entry.name in made and (entry.kind != "dir" or made[entry.name] != "dir"):
                continue
            made.update(dict.fromkeys(above, "dir"))
            if not parts[-1].startswith(b".wh."):
                made[entry.name] = entry.kind
            usable.append((entry, content))
        unpack(tar((Entry(b".", "dir", 0o755), b""), *usable), base / "first")
        first = diff(base / "first")
        unpack(first, base / "second")
        assert comparable(base / "second") == comparable(base / "first")
        assert diff(base / "second") == first
    finally:
        shutil.rmtree(base)
