"""Reading archives: what is right is read as Go and GNU tar read it, what is wrong names its place."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from pycontainer.errors import InvalidImage
from pycontainer.layers import Entry, FileBlocks, Limits, TarReader
from tests.support.layers import END, directory, file, header, member, octal, padded, pax, record, tar


def read(data: bytes, limits: Limits | None = None, slot_size: int = 4096) -> list[tuple[Entry, bytes]]:
    reader = TarReader(FileBlocks(io.BytesIO(data), slot_size), limits)
    found = []
    while (entry := reader.next()) is not None:
        content = b""
        while len(piece := reader.piece()):
            content += bytes(piece)
        found.append((entry, content))
    return found


def one(data: bytes) -> Entry:
    (entry, _), *more = read(data)
    assert not more
    return entry


class TestNames:
    def test_ustar_prefix_and_name_are_joined(self) -> None:
        assert one(member(b"name", prefix=b"some/where")).name == b"some/where/name"

    def test_gnu_magic_has_no_prefix(self) -> None:
        block = member(b"name", magic=b"ustar  \0", prefix=b"01234567012")
        assert one(block).name == b"name"

    def test_old_header_without_magic_is_read(self) -> None:
        assert one(member(b"name", b"x", magic=bytes(8), flag=b"\0")).name == b"name"

    def test_old_header_says_directory_by_trailing_slash(self) -> None:
        entry = one(header(b"name/", b"\0", 7, magic=bytes(8)))
        assert (entry.kind, entry.name, entry.size) == ("dir", b"name", 0)

    def test_trailing_slash_on_a_file_is_dropped(self) -> None:
        entry = one(member(b"name/", b"x"))
        assert (entry.kind, entry.name) == ("file", b"name")

    def test_gnu_long_name_and_link_are_used(self) -> None:
        data = member(b"././@LongLink", b"n" * 300 + b"\0", b"L") + member(
            b"././@LongLink", b"t" * 300 + b"\0", b"K"
        )
        entry = one(data + header(b"short", b"2", linkname=b"short"))
        assert (entry.name, entry.linkname) == (b"n" * 300, b"t" * 300)

    def test_gnu_long_name_beats_pax_path_beats_ustar(self) -> None:
        long_name, path = member(b"L", b"gnu\0", b"L"), pax([(b"path", b"pax")])
        assert one(long_name + path + member(b"ustar")).name == b"gnu"
        assert one(path + long_name + member(b"ustar")).name == b"gnu"
        assert one(path + member(b"ustar")).name == b"pax"

    def test_only_the_last_of_several_pax_headers_counts(self) -> None:
        assert one(pax([(b"path", b"one")]) + pax([(b"uid", b"7")]) + member(b"ustar")).name == b"ustar"

    def test_bytes_of_names_are_kept(self) -> None:
        for name in (b"caf\xe9", "café".encode(), b"new\nline", b"back\\slash", b"\x01\x7f"):
            assert one(member(name)).name == name

    def test_name_of_the_full_field_needs_no_nul(self) -> None:
        assert one(member(b"n" * 100)).name == b"n" * 100

    def test_name_ends_at_the_first_nul(self) -> None:
        assert one(member(b"one\0two")).name == b"one"

    @pytest.mark.parametrize("data", [member(b""), member(b"\0x")], ids=["empty", "nul first"])
    def test_empty_name_is_refused(self, data: bytes) -> None:
        with pytest.raises(InvalidImage, match="the name is empty"):
            read(data)

    def test_nul_in_a_pax_path_is_refused(self) -> None:
        with pytest.raises(InvalidImage, match="malformed"):
            read(pax([(b"path", b"a\0b")]) + member(b"x"))


class TestNumbers:
    def test_octal_with_spaces_and_nuls_is_read(self) -> None:
        assert one(header(b"x", mode=b" 644 \0\0\0")).mode == 0o644
        assert one(header(b"x", mode=bytes(8))).mode == 0

    def test_mode_bits_above_07777_are_dropped(self) -> None:
        assert one(header(b"x", mode=b"0104755\0")).mode == 0o4755

    def test_base_256_is_read(self) -> None:
        assert one(header(b"x", uid=b"\x80" + (3_000_000_000).to_bytes(7, "big"))).uid == 3_000_000_000

    def test_negative_base_256_time_is_read(self) -> None:
        assert one(header(b"x", mtime=b"\xff" * 11 + b"\xfe")).mtime_ns == -2_000_000_000

    @pytest.mark.parametrize(
        "fields",
        [
            {"size": b"\xff" * 12},
            {"size": b"-0000000010\0"},
            {"size": b"0x00000010 \0"},
            {"size": b"0000_000010\0"},
            {"size": b"00000000089\0"},
            {"uid": b"\xff" * 8},
            {"uid": b"-000001\0"},
            {"uid": b"\x80" + (1 << 32).to_bytes(7, "big")},
            {"gid": b"\x80" + ((1 << 32) - 1).to_bytes(7, "big")},
            {"mode": b"rwxr-xr\0"},
            {"mtime": b"\x80" + b"\xff" * 11},
        ],
        ids=str,
    )
    def test_number_out_of_range_or_malformed_is_refused(self, fields: dict[str, bytes]) -> None:
        with pytest.raises(InvalidImage, match="at offset 0"):
            read(header(b"x", **fields))

    @pytest.mark.parametrize("key", [b"uid", b"gid", b"size"])
    @pytest.mark.parametrize("value", [b"-1", b"1e3", b"+1", b"1_0", b" 1", b"9" * 30])
    def test_bad_number_in_a_pax_record_is_refused(self, key: bytes, value: bytes) -> None:
        with pytest.raises(InvalidImage):
            read(pax([(key, value)]) + member(b"x"))

    @pytest.mark.parametrize(
        ("value", "expected"),
        [(b"1.5", 1_500_000_000), (b"-1.25", -1_250_000_000), (b"-0.5", -500_000_000), (b"7", 7_000_000_000),
         (b"0.1234567899", 123_456_789), (b"99999999999999999999", 99999999999999999999 * 10**9)],
    )  # fmt: skip
    def test_pax_times_are_nanoseconds(self, value: bytes, expected: int) -> None:
        assert one(pax([(b"mtime", value)]) + member(b"x")).mtime_ns == expected

    @pytest.mark.parametrize("value", [b"now", b"1.-5", b"1,5", b"--1", b"nan", b"inf"])
    def test_bad_time_is_refused(self, value: bytes) -> None:
        with pytest.raises(InvalidImage):
            read(pax([(b"mtime", value)]) + member(b"x"))

    def test_signed_checksum_of_old_tars_is_accepted(self) -> None:
        block = header(b"\xff\xfe")
        signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + b" " * 8 + block[156:])
        assert one(block[:148] + b"%06o\0 " % signed + block[156:]).name == b"\xff\xfe"

    def test_wrong_checksum_is_refused(self) -> None:
        with pytest.raises(InvalidImage, match="checksum"):
            read(header(b"x", checksum=b"000001\0 "))


class TestTypes:
    def test_contiguous_file_is_a_file(self) -> None:
        assert one(member(b"x", b"data", b"7")).kind == "file"

    @pytest.mark.parametrize("flag", [b"V", b"M", b"D", b"N", b"X", b"A", b"8", b"9", b"\xff"])
    def test_unknown_type_is_refused(self, flag: bytes) -> None:
        with pytest.raises(InvalidImage, match="type flag"):
            read(header(b"x", flag))

    @pytest.mark.parametrize("flag", [b"1", b"2", b"3", b"4", b"5", b"6"])
    def test_what_has_no_content_has_none_whatever_its_size_says(self, flag: bytes) -> None:
        names = [
            entry.name for entry, _ in read(header(b"x", flag, 4096, linkname=b"y") + member(b"next") + END)
        ]
        assert names == [b"x", b"next"]

    def test_device_numbers_are_read(self) -> None:
        entry = one(header(b"x", b"4", major=octal(8, 8), minor=octal(17, 8)))
        assert (entry.kind, entry.devmajor, entry.devminor) == ("block", 8, 17)


class TestExtendedHeaders:
    def test_global_header_applies_until_overridden(self) -> None:
        data = (
            pax([(b"uid", b"5"), (b"comment", b"x")], b"g")
            + member(b"a")
            + pax([(b"uid", b"6")])
            + member(b"b")
        )
        assert [entry.uid for entry, _ in read(data + member(b"c"))] == [5, 6, 5]

    @pytest.mark.parametrize("key", [b"path", b"linkpath", b"size", b"GNU.sparse.map"])
    def test_global_header_that_names_every_entry_is_refused(self, key: bytes) -> None:
        with pytest.raises(InvalidImage, match="global"):
            read(pax([(key, b"1")], b"g") + member(b"a"))

    def test_xattrs_are_read_from_both_forms(self) -> None:
        records = [
            (b"SCHILY.xattr.user.a", b"\0\n="),
            (b"LIBARCHIVE.xattr.user.b%3D", b"AAE"),
            (b"SCHILY.xattr.user.e", b""),
        ]
        assert one(pax(records) + member(b"x")).xattrs == {
            b"user.a": b"\0\n=",
            b"user.b=": b"\0\1",
            b"user.e": b"",
        }

    @pytest.mark.parametrize(
        "records",
        [[(b"SCHILY.xattr.", b"x")], [(b"SCHILY.xattr." + b"n" * 256, b"x")],
         [(b"LIBARCHIVE.xattr.user.%zz", b"AA")], [(b"LIBARCHIVE.xattr.user.x", b"A")]],
        ids=["no name", "long name", "quoting", "base64"],
    )  # fmt: skip
    def test_bad_xattr_is_refused(self, records: list[tuple[bytes, bytes]]) -> None:
        with pytest.raises(InvalidImage):
            read(pax(records) + member(b"x"))

    @pytest.mark.parametrize(
        "body",
        [b"path=x\n", b"8 path=x\n", b"11 path=x\n", b"10 path=xx", b"-5 a=b\n",
         b"9999999999999999999999 a=b\n",
         b"5 =x\n", b"6 ab\n\n", b"0 a=b\n", b"3 \n", b"\0" * 10, b"8 a\0b=c\n", b" 6 a=b\n"],
    )  # fmt: skip
    def test_malformed_record_is_refused(self, body: bytes) -> None:
        with pytest.raises(InvalidImage, match="at offset 0"):
            read(member(b"x", body, b"x") + member(b"y"))

    def test_metadata_beyond_its_limit_is_refused(self) -> None:
        for flag in b"xgLK":
            with pytest.raises(InvalidImage, match="metadata"):
                read(header(b"x", bytes((flag,)), (1 << 20) + 1))

    def test_header_without_its_entry_is_refused(self) -> None:
        with pytest.raises(InvalidImage, match="without its entry"):
            read(pax([(b"path", b"x")]))
        with pytest.raises(InvalidImage, match="without its entry"):
            read(member(b"L", b"long\0", b"L") + END)

    def test_endless_headers_count_as_entries(self) -> None:
        with pytest.raises(InvalidImage, match="more than 10 entries"):
            read(member(b"L", b"long\0", b"L") * 20, Limits(entries=10))


def old_sparse(
    extents: list[tuple[int, int]], real: int, data: bytes, more: list[tuple[int, int]] | None = None
) -> bytes:
    def table(pairs: list[tuple[int, int]], count: int) -> bytes:
        text = b"".join(octal(offset, 12) + octal(length, 12) for offset, length in pairs)
        return text.ljust(24 * count, b"\0")

    # atime, ctime, offset, longnames, unused; map; is extended; real size
    tail = bytes(41) + table(extents, 4) + (b"\1" if more else b"\0") + octal(real, 12)
    block = header(
        b"s", b"S", len(data), magic=b"ustar  \0", prefix=tail[:155], tail=tail[155:].ljust(12, b"\0")
    )
    extension = table(more, 21) + bytes(8) if more else b""
    return block + extension + padded(data)


class TestSparse:
    def test_old_gnu_map_is_read_with_its_extension(self) -> None:
        extents = [(index * 1000, 1) for index in range(4)]
        (entry, content), *_ = read(old_sparse(extents, 9000, b"abcdef", [(5000, 1), (6000, 1)]))
        assert entry.sparse == [*extents, (5000, 1), (6000, 1)]
        assert (entry.size, content) == (9000, b"abcdef")

    def test_pax_0_0_is_read(self) -> None:
        records = [(b"GNU.sparse.size", b"100"), (b"GNU.sparse.numblocks", b"2")]
        for offset in (10, 50):
            records += [(b"GNU.sparse.offset", b"%d" % offset), (b"GNU.sparse.numbytes", b"3")]
        assert one(pax(records) + member(b"x", b"abcdef")).sparse == [(10, 3), (50, 3)]

    def test_pax_0_1_is_read(self) -> None:
        records = [
            (b"GNU.sparse.size", b"100"),
            (b"GNU.sparse.map", b"10,3,50,3"),
            (b"GNU.sparse.name", b"real"),
        ]
        entry = one(pax(records) + member(b"x", b"abcdef"))
        assert (entry.sparse, entry.name, entry.size) == ([(10, 3), (50, 3)], b"real", 100)

    def test_pax_1_0_is_read_with_a_map_of_many_blocks(self) -> None:
        extents = [(index * 10, 1) for index in range(500)]
        data = tar((Entry(b"x", size=6000, sparse=extents), b"d" * 500))
        ((entry, content),) = read(data)
        assert (entry.sparse, content) == (extents, b"d" * 500)

    @pytest.mark.parametrize("version", ["0.0", "0.1", "1.0", "old"])
    def test_what_gnu_tar_writes_is_read(self, version: str, tmp_path: Path) -> None:
        with (tmp_path / "holes").open("wb") as out:
            for offset in (0, 1 << 20, 3 << 20, 5 << 20, 7 << 20, 9 << 20):
                out.seek(offset)
                out.write(b"data" * 1024)
            out.truncate(10 << 20)
        form = ["--format=gnu"] if version == "old" else ["--format=posix", f"--sparse-version={version}"]
        made = subprocess.run(
            ["tar", "-C", tmp_path, *form, "-S", "-cf", "-", "holes"], check=True, capture_output=True
        )
        ((entry, content),) = read(made.stdout)
        assert (entry.name, entry.size) == (b"holes", 10 << 20)
        assert entry.sparse is not None
        whole = bytearray(entry.size)
        for offset, length in entry.sparse:
            whole[offset : offset + length], content = content[:length], content[length:]
        assert bytes(whole) == (tmp_path / "holes").read_bytes()

    @pytest.mark.parametrize(
        "extents",
        [[(0, 7)], [(0, 5)], [(10, 3), (5, 3)], [(0, 4), (3, 2)], [(98, 6)], [(1 << 62, 6)]],
        ids=["too much", "too little", "backwards", "overlap", "beyond the end", "far beyond"],
    )
    def test_map_that_lies_is_refused(self, extents: list[tuple[int, int]]) -> None:
        numbers = b",".join(b"%d,%d" % pair for pair in extents)
        records = [(b"GNU.sparse.size", b"100"), (b"GNU.sparse.map", numbers)]
        with pytest.raises(InvalidImage, match="sparse map"):
            read(pax(records) + member(b"x", b"abcdef"))
        with pytest.raises(InvalidImage, match="sparse map"):
            read(old_sparse(extents, 100, b"abcdef"))

    @pytest.mark.parametrize(
        "text", [b"1\n0\n", b"x\n", b"-1\n", b"99999999999\n", b"1" * 512, b"1\n-5\n6\n", b"1\n0\n6 \n"]
    )
    def test_broken_map_in_the_content_is_refused(self, text: bytes) -> None:
        records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"100")]
        with pytest.raises(InvalidImage):
            read(pax(records) + member(b"x", padded(text) + b"abcdef"))

    @pytest.mark.parametrize(
        "records", [[(b"GNU.sparse.map", b"0,6")], [(b"GNU.sparse.map", b"0,6"), (b"GNU.sparse.size", b"-9")]]
    )
    def test_sparse_file_without_its_real_size_is_refused(self, records: list[tuple[bytes, bytes]]) -> None:
        with pytest.raises(InvalidImage, match="real size"):
            read(pax(records) + member(b"x", b"abcdef"))


class TestStreams:
    def test_empty_stream_and_lone_end_marks_hold_nothing(self) -> None:
        for data in (b"", bytes(512), END, END * 20):
            assert read(data) == []

    def test_missing_end_mark_is_accepted(self) -> None:
        assert len(read(member(b"x", b"data"))) == 1

    def test_single_zero_block_in_the_middle_is_refused(self) -> None:
        with pytest.raises(InvalidImage, match="single zero block"):
            read(member(b"x") + bytes(512) + member(b"y"))

    def test_what_follows_the_end_mark_is_not_an_entry(self) -> None:
        assert len(read(member(b"x") + END + member(b"hidden"))) == 1

    @pytest.mark.parametrize("length", [1, 100, 511, 513, 600, 1023, 1200, 1535])
    def test_truncation_anywhere_is_refused_with_the_offset(self, length: int) -> None:
        data = member(b"first", b"d" * 600)
        assert len(data) == 1536
        with pytest.raises(InvalidImage, match="truncated at offset"):
            read(data[:length])

    def test_size_far_beyond_the_archive_is_refused(self) -> None:
        with pytest.raises(InvalidImage, match="truncated"):
            read(header(b"x", size=b"\x80\0\0\0" + (1 << 62).to_bytes(8, "big")))

    @pytest.mark.parametrize("slot_size", [512, 1024, 4096, 1 << 18])
    def test_entries_cross_slots_of_any_size(self, slot_size: int) -> None:
        members = [file(b"f%d" % index, bytes((index,)) * index * 37) for index in range(60)]
        found = read(tar(*members), slot_size=slot_size)
        assert [(entry.name, content) for entry, content in found] == [
            (entry.name, content) for entry, content in members
        ]

    def test_content_nobody_reads_is_skipped(self) -> None:
        reader = TarReader(FileBlocks(io.BytesIO(tar(file(b"a", b"x" * 9999), file(b"b"))), 1024))
        assert [entry.name for entry in iter(reader.next, None)] == [b"a", b"b"]

    def test_drain_reads_to_the_last_byte(self) -> None:
        source = io.BytesIO(tar(file(b"a")) + b"trailing" * 9999)
        reader = TarReader(FileBlocks(source, 1024))
        while reader.next():
            pass
        reader.drain()
        assert source.read() == b""


def test_every_field_survives_writing_and_reading() -> None:
    entry = Entry(
        "weit/ü".encode() * 30,
        "file",
        0o7751,
        4_000_000_000,
        3_000_000,
        3,
        -1_234_567_890,
        xattrs={b"user.x": bytes(range(256)), b"user.empty": b""},
    )
    assert read(tar((entry, b"abc"))) == [(entry, b"abc")]


def test_python_tarfile_agrees_on_what_we_write() -> None:
    data = tar(
        directory(b"d" * 90, mode=0o1777),
        file(b"d" * 90 + b"/" + b"f" * 90, b"abc", uid=3_000_000, mtime_ns=5_500_000_000),
        Entry(b"link", "symlink", 0o777, linkname=b"t" * 150),
        Entry(b"hard", "hardlink", linkname=b"link"),
        Entry(b"dev", "char", 0o600, devmajor=5, devminor=1),
        Entry(b"fifo", "fifo"),
    )
    with tarfile.open(fileobj=io.BytesIO(data)) as theirs:
        for (ours, _), member_ in zip(read(data), theirs, strict=True):
            assert ours.name == member_.name.encode()
            assert (ours.mode, ours.uid, ours.size) == (member_.mode, member_.uid, member_.size)
            assert ours.linkname == member_.linkname.encode()
            assert ours.mtime_ns == int(member_.mtime * 1_000_000_000)


def test_record_lengths_count_their_own_digits() -> None:
    for size in (*range(80, 110), *range(980, 1010)):
        data = tar((Entry(b"x", xattrs={b"user.v": b"v" * size}), b""))
        assert record(b"SCHILY.xattr.user.v", b"v" * size) in data
