"""Writing archives: deterministic, plain where ustar is enough, refusing what a tar cannot hold."""

from __future__ import annotations

import io

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.layers import Entry, TarWriter
from tests.support.layers import file, tar


def test_plain_entry_takes_one_header_and_no_more() -> None:
    assert len(tar(file(b"x", b"abc"))) == 512 + 512 + 1024


def test_same_entries_give_the_same_bytes_whatever_the_order_of_attributes() -> None:
    one = tar((Entry(b"x", xattrs={b"user.a": b"1", b"user.b": b"2"}), b""))
    two = tar((Entry(b"x", xattrs={b"user.b": b"2", b"user.a": b"1"}), b""))
    assert one == two


def test_long_name_fits_into_the_prefix_without_pax() -> None:
    assert b"PaxHeaders" not in tar(file(b"d" * 150 + b"/" + b"f" * 99))


def test_size_counts_what_was_written() -> None:
    out = io.BytesIO()
    writer = TarWriter(out)
    writer.add(Entry(b"x", size=5), io.BytesIO(b"12345678"))
    writer.close()
    assert writer.size == len(out.getvalue())


@pytest.mark.parametrize(
    ("entry", "content"),
    [
        (Entry(b"x", size=5), b"123"),
        (Entry(b"x", size=5), b"1234567"),
        (Entry(b"x", size=5), None),
        (Entry(b""), None),
        (Entry(b"a\0b"), None),
        (Entry(b"x", "socket"), None),
        (Entry(b"x", "symlink"), None),
        (Entry(b"x", uid=-1), None),
        (Entry(b"x", "char", devmajor=1 << 30), None),
        (Entry(b"x", xattrs={b"user.a=b": b""}), None),
    ],
    ids=repr,
)
def test_what_cannot_be_stored_is_refused(entry: Entry, content: bytes | None) -> None:
    with pytest.raises(InvalidInput):
        TarWriter(io.BytesIO()).add(entry, content)


def test_content_that_ends_early_is_refused() -> None:
    with pytest.raises(InvalidInput, match="ends 2 bytes before"):
        TarWriter(io.BytesIO()).add(Entry(b"x", size=5), io.BytesIO(b"123"))
