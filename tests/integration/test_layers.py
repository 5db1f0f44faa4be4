"""Unpacking: every kind of name, link, whiteout, type and stream, legal or hostile, both ways to apply.

`direct` writes the overlay form into an empty directory, `stacked` goes through an overlay over a lower
layer. The expectations are the same for both, and nothing outside the target may ever change.
"""

from __future__ import annotations

import errno
import gzip
import os
import resource
import signal
import stat
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import InvalidImage, InvalidInput, KernelError, PycontainerError, TransferFailed
from pycontainer.kernel import mounts, namespaces
from pycontainer.layers import COMPLETE, JOBS, Applier, Entry, FileBlocks, Limits, TarReader
from tests.support.layers import (
    END,
    describe,
    directory,
    file,
    header,
    in_child,
    member,
    merged,
    octal,
    pax,
    run_job,
    tar,
    unpack,
    unpack_stacked,
)

pytestmark = [pytest.mark.needs("root", "overlay"), pytest.mark.integration]

Tree = dict[str, tuple[Any, ...]]
CAPABILITY_V2 = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
CAPABILITY_V3 = struct.pack("<6I", 0x03000001, 1 << 10, 0, 0, 0, 1000)
ACCESS_LIST = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, bits, who)
    for tag, bits, who in (
        (1, 6, 0xFFFFFFFF),
        (2, 4, 1234),
        (4, 4, 0xFFFFFFFF),
        (16, 4, 0xFFFFFFFF),
        (32, 4, 0xFFFFFFFF),
    )
)


class Place:
    """A target directory among things that must not be touched."""

    def __init__(self, base: Path, way: str) -> None:
        self.base = base
        self.way = way
        self.outside = base / "outside"
        self.outside.mkdir()
        (self.outside / "secret").write_text("secret")
        self.store = base / "store"
        self.store.mkdir()
        (self.store / "neighbour").write_text("neighbour")
        self.empty = base / "empty"
        unpack(tar(directory(b".")), self.empty)

    def apply(self, data: bytes, **params: Any) -> Tree:
        """Unpack; what a container sees of it."""
        if self.way == "direct":
            unpack(data, self.store / "layer", **params)
            return merged([self.store / "layer"], self.base / "view")
        unpack_stacked(data, self.store / "layer", [self.empty], **params)
        return merged([self.store / "layer", self.empty], self.base / "view")

    def refuses(self, data: bytes, match: str = "", **params: Any) -> None:
        with pytest.raises(InvalidImage, match=match or None):
            self.apply(data, **params)


@pytest.fixture(params=["direct", "stacked"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path, str(request.param))
    before = describe(place.outside), describe(tmp_path / "empty")
    passwd = Path("/etc/passwd").stat()
    yield place
    assert (describe(place.outside), describe(tmp_path / "empty")) == before
    assert Path("/etc/passwd").stat()[:8] == passwd[:8]
    assert {path.name.partition(".")[0] for path in place.store.iterdir()} <= {"neighbour", "layer"}
    assert (place.store / "neighbour").read_text() == "neighbour"


def kinds(tree: Tree) -> dict[str, str]:
    names = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo"}
    return {path: names.get(stat.S_IFMT(int(entry[0], 8)), "device") for path, entry in tree.items()}


class TestNames:
    @pytest.mark.parametrize("name", [b"../x", b"a/../../x", b"/../x", b"..", b"a/..//../x", b"./../x"])
    def test_name_that_leads_out_is_refused(self, place: Place, name: bytes) -> None:
        place.refuses(tar(directory(b"a"), file(name)), "leads out of the layer")

    @pytest.mark.parametrize(
        ("name", "expected"),
        [(b"/x", "x"), (b"//x", "x"), (b"./x", "x"), (b"a/../x", "x"), (b"a/./x", "a/x"), (b"a//x", "a/x"),
         (b"././/x", "x"), (b"x/", "x"), (b"...", "..."), (b"..x", "..x"), (b"x\ny", "x\ny"), (b"-rf", "-rf"),
         (b"\xff\xfe", "\udcff\udcfe"), (b"\\..\\x", "\\..\\x"), (b"C:x", "C:x")],
    )  # fmt: skip
    def test_name_is_cleaned_as_other_engines_do(self, place: Place, name: bytes, expected: str) -> None:
        assert kinds(place.apply(tar(directory(b"a"), file(name)))) == {"a": "dir", expected: "file"}

    @pytest.mark.parametrize("name", [b".", b"/", b"./", b"a/.."])
    def test_root_listed_in_any_form_is_the_root(self, place: Place, name: bytes) -> None:
        assert kinds(place.apply(tar(directory(name), file(b"x")))) == {"x": "file"}
        assert (place.store / "layer").stat().st_mode & 0o7777 == 0o755

    def test_root_gets_its_own_mode_owner_and_time(self, place: Place) -> None:
        place.apply(tar(directory(b".", mode=0o1711, uid=12, gid=34, mtime_ns=5 * 10**9), file(b"x")))
        found = (place.store / "layer").stat()
        assert (found.st_mode & 0o7777, found.st_uid, found.st_gid, found.st_mtime) == (0o1711, 12, 34, 5)

    @pytest.mark.parametrize("name", [b".", b"/", b"a/.."])
    def test_root_that_is_no_directory_is_refused(self, place: Place, name: bytes) -> None:
        place.refuses(tar(file(name)), "root of the layer")

    def test_nul_in_a_name_is_refused(self, place: Place) -> None:
        place.refuses(pax([(b"path", b"a\0b")]) + member(b"x") + END)

    def test_longest_names_are_kept(self, place: Place) -> None:
        part = b"p" * 255
        path = b"/".join([part] * 15)
        parents = [directory(b"/".join([part] * count)) for count in range(1, 16)]
        assert os.fsdecode(path + b"/f") in place.apply(tar(*parents, file(path + b"/f")))

    def test_part_above_255_bytes_is_refused(self, place: Place) -> None:
        place.refuses(tar(file(b"n" * 256)), "256 bytes")

    def test_path_above_4095_bytes_is_refused(self, place: Place) -> None:
        place.refuses(tar(file(b"/".join([b"p" * 255] * 16 + [b"x"]))), "a path of")

    def test_nesting_beyond_the_limit_is_refused(self, place: Place) -> None:
        place.refuses(tar(file(b"d/" * 300 + b"f")), "parts")

    def test_case_and_unicode_twins_are_different_files(self, place: Place) -> None:
        names = [b"name", b"NAME", "\u00e9".encode(), "e\u0301".encode()]
        assert len(place.apply(tar(*(file(name) for name in names)))) == 4

    def test_missing_parents_are_made_0755_root(self, place: Place) -> None:
        tree = place.apply(tar(file(b"a/b/c", uid=7)))
        assert tree["a/b"][:3] == ("0o40755", 0, 0)

    def test_file_below_a_file_is_refused(self, place: Place) -> None:
        place.refuses(tar(file(b"a"), file(b"a/b")), "no directory")


class TestSymlinks:
    @pytest.mark.parametrize(
        "target", [b"/", b"/etc", b"../../../../../../../../etc", b"/proc/self/root/etc", b"."]
    )
    def test_file_under_a_link_lands_inside(self, place: Place, target: bytes) -> None:
        tree = place.apply(tar(Entry(b"l", "symlink", linkname=target), file(b"l/canary-of-pycontainer")))
        assert [path for path in tree if path.endswith("canary-of-pycontainer")]
        assert not Path("/etc/canary-of-pycontainer").exists()
        assert not Path("/canary-of-pycontainer").exists()

    def test_chain_of_links_lands_inside(self, place: Place) -> None:
        entries = [
            Entry(b"a", "symlink", linkname=b"../.."),
            Entry(b"b", "symlink", linkname=b"a/.."),
            file(b"b/x"),
        ]
        assert kinds(place.apply(tar(*entries))) == {"a": "link", "b": "link", "x": "file"}

    def test_link_to_a_real_directory_outside_is_not_followed(self, place: Place) -> None:
        target = os.fsencode(place.outside)
        place.apply(tar(Entry(b"l", "symlink", linkname=target), file(b"l/secret", b"overwritten")))

    def test_dangling_link_as_parent_makes_its_target_inside(self, place: Place) -> None:
        tree = place.apply(tar(Entry(b"lib", "symlink", linkname=b"usr/lib"), file(b"lib/x")))
        assert kinds(tree) == {"lib": "link", "usr": "dir", "usr/lib": "dir", "usr/lib/x": "file"}

    @pytest.mark.parametrize("links", [[(b"a", b"a")], [(b"a", b"b"), (b"b", b"a")], [(b"a", b"a/x")]])
    def test_loop_of_links_is_refused(self, place: Place, links: list[tuple[bytes, bytes]]) -> None:
        entries = [Entry(name, "symlink", linkname=target) for name, target in links]
        place.refuses(tar(*entries, file(b"a/x")), "loop")

    def test_too_many_hops_are_refused(self, place: Place) -> None:
        links = [Entry(b"l%d" % index, "symlink", linkname=b"l%d" % (index + 1)) for index in range(45)]
        place.refuses(tar(directory(b"l45"), *links, file(b"l0/x")), "loop")

    def test_link_to_a_fifo_or_file_is_no_directory(self, place: Place) -> None:
        place.refuses(
            tar(Entry(b"f", "fifo"), Entry(b"l", "symlink", linkname=b"f"), file(b"l/x")), "no directory"
        )

    def test_directory_replaces_a_link(self, place: Place) -> None:
        entries = [directory(b"t"), Entry(b"l", "symlink", linkname=b"t"), directory(b"l"), file(b"l/x")]
        assert kinds(place.apply(tar(*entries))) == {"t": "dir", "l": "dir", "l/x": "file"}

    def test_link_replaces_a_directory_and_what_was_in_it(self, place: Place) -> None:
        entries = [
            directory(b"t"),
            directory(b"d"),
            file(b"d/x"),
            Entry(b"d", "symlink", linkname=b"t"),
            file(b"d/y"),
        ]
        assert kinds(place.apply(tar(*entries))) == {"t": "dir", "d": "link", "t/y": "file"}

    def test_file_replaces_a_link_and_not_its_target(self, place: Place) -> None:
        target = os.fsencode(place.outside / "secret")
        tree = place.apply(tar(Entry(b"l", "symlink", linkname=target), file(b"l", b"new")))
        assert kinds(tree) == {"l": "file"}

    def test_link_changed_to_another_directory_is_resolved_anew(self, place: Place) -> None:
        entries = [directory(b"a"), directory(b"b"), Entry(b"l", "symlink", linkname=b"a"), file(b"l/x")]
        entries += [Entry(b"l", "symlink", linkname=b"b"), file(b"l/y")]
        assert kinds(place.apply(tar(*entries))) == {
            "a": "dir",
            "b": "dir",
            "l": "link",
            "a/x": "file",
            "b/y": "file",
        }

    def test_owner_time_and_attributes_hit_the_link(self, place: Place) -> None:
        target = os.fsencode(place.outside / "secret")
        xattrs = {b"user.x": b"1", b"trusted.t": b"2"}
        entry = Entry(
            b"l", "symlink", 0o4777, uid=7, gid=8, mtime_ns=9 * 10**9, linkname=target, xattrs=xattrs
        )
        found = place.apply(tar(entry))["l"]
        assert found[:6] == ("0o120777", 7, 8, os.fsdecode(target), 9 * 10**9, {"trusted.t": b"2"})

    def test_link_to_nothing_is_refused(self, place: Place) -> None:
        place.refuses(header(b"l", b"2") + END, "symbolic link to nothing")


class TestHardlinks:
    @pytest.mark.parametrize("target", [b"../../etc/passwd", b"/../etc/passwd", b"d/../../x"])
    def test_link_that_leads_out_is_refused(self, place: Place, target: bytes) -> None:
        place.refuses(tar(directory(b"d"), Entry(b"h", "hardlink", linkname=target)), "leads out")

    @pytest.mark.parametrize("target", [b"/etc/passwd", b"etc/passwd", b"missing", b"d/missing"])
    def test_link_to_a_missing_file_is_refused(self, place: Place, target: bytes) -> None:
        place.refuses(tar(directory(b"d"), Entry(b"h", "hardlink", linkname=target)), "which is not there")

    def test_link_to_a_later_entry_is_refused(self, place: Place) -> None:
        place.refuses(tar(Entry(b"h", "hardlink", linkname=b"x"), file(b"x")), "which is not there")

    @pytest.mark.parametrize("target", [b"d/f", b"/d/f", b"./d/../d/f", b"d//f"])
    def test_link_inside_shares_the_file(self, place: Place, target: bytes) -> None:
        tree = place.apply(
            tar(directory(b"d"), file(b"d/f", mode=0o4711), Entry(b"h", "hardlink", linkname=target))
        )
        assert tree["h"] == tree["d/f"]

    def test_link_to_a_symlink_is_a_link_to_it(self, place: Place) -> None:
        entries = [Entry(b"l", "symlink", linkname=b"/etc/passwd"), Entry(b"h", "hardlink", linkname=b"l")]
        assert place.apply(tar(*entries))["h"][3] == "/etc/passwd"

    def test_link_through_a_linked_directory_stays_inside(self, place: Place) -> None:
        outside = os.fsencode(place.outside)
        entries = [Entry(b"l", "symlink", linkname=outside), Entry(b"h", "hardlink", linkname=b"l/secret")]
        place.refuses(tar(*entries), "which is not there")

    def test_link_through_a_linked_directory_inside_works(self, place: Place) -> None:
        entries = [
            directory(b"d"),
            file(b"d/f"),
            Entry(b"l", "symlink", linkname=b"d"),
            Entry(b"h", "hardlink", linkname=b"l/f"),
        ]
        tree = place.apply(tar(*entries))
        assert tree["h"] == tree["d/f"]

    @pytest.mark.parametrize(("name", "target"), [(b"h", b"h"), (b"h", b"/./h"), (b"d/h", b"d//h")])
    def test_link_to_itself_is_refused(self, place: Place, name: bytes, target: bytes) -> None:
        place.refuses(tar(directory(b"d"), file(name), Entry(name, "hardlink", linkname=target)), "itself")

    @pytest.mark.parametrize("target", [b".", b"/", b"d", b"d/.."])
    def test_link_to_a_directory_is_refused(self, place: Place, target: bytes) -> None:
        place.refuses(tar(directory(b"d"), Entry(b"h", "hardlink", linkname=target)), "hard link to")

    def test_link_to_a_device_or_fifo_is_that_device(self, place: Place) -> None:
        entries = [Entry(b"dev", "char", devmajor=1, devminor=3), Entry(b"h", "hardlink", linkname=b"dev")]
        entries += [Entry(b"fifo", "fifo"), Entry(b"i", "hardlink", linkname=b"fifo")]
        tree = place.apply(tar(*entries))
        assert (tree["h"], tree["i"]) == (tree["dev"], tree["fifo"])

    @pytest.mark.parametrize("target", [b".wh.x", b"d/.wh.x", b".wh.x/y", b".wh..wh.plnk/12.34"])
    def test_link_to_a_whiteout_is_refused(self, place: Place, target: bytes) -> None:
        place.refuses(
            tar(directory(b"d"), Entry(b".wh.x"), Entry(b"h", "hardlink", linkname=target)), "whiteout"
        )

    def test_link_to_a_hidden_file_is_refused(self, place: Place) -> None:
        place.refuses(tar(Entry(b".wh.x"), Entry(b"h", "hardlink", linkname=b"x")), "which is not there")

    def test_link_replaces_what_was_there(self, place: Place) -> None:
        entries = [file(b"f"), directory(b"h"), file(b"h/x"), Entry(b"h", "hardlink", linkname=b"f")]
        tree = place.apply(tar(*entries, Entry(b"h", "hardlink", linkname=b"f")))
        assert tree == {"f": tree["f"], "h": tree["f"]}

    def test_link_that_replaces_the_directory_of_its_target_is_refused(self, place: Place) -> None:
        place.refuses(
            tar(directory(b"d"), file(b"d/f"), Entry(b"d", "hardlink", linkname=b"d/f")), "hard link"
        )

    def test_link_to_nothing_is_refused(self, place: Place) -> None:
        place.refuses(header(b"h", b"1") + END, "hard link to the root")

    def test_links_among_many_directories_stay_right(self, place: Place) -> None:
        entries: list[Any] = [file(b"f")]
        for index in range(150):
            entries += [directory(b"d%d" % index), file(b"d%d/f" % index, b"%d" % index)]
        for index in range(150):
            entries.append(Entry(b"d%d/h" % index, "hardlink", linkname=b"d%d/f" % (149 - index)))
        tree = place.apply(tar(*entries))
        assert all(tree[f"d{index}/h"] == tree[f"d{149 - index}/f"] for index in range(150))


class TestWhiteouts:
    @pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh...", b"d/.wh.", b"d/.wh..", b"d/.wh..."])
    def test_whiteout_of_nothing_is_refused(self, place: Place, name: bytes) -> None:
        place.refuses(tar(directory(b"d"), Entry(name)), "names nothing")

    def test_entry_below_a_whiteout_is_refused(self, place: Place) -> None:
        place.refuses(tar(directory(b".wh.a"), file(b".wh.a/b")), "below a whiteout")

    def test_whiteout_that_leads_out_is_refused(self, place: Place) -> None:
        place.refuses(tar(Entry(b"../.wh.neighbour")), "leads out")

    def test_whiteout_through_a_link_stays_inside(self, place: Place) -> None:
        outside = os.fsencode(place.outside)
        place.apply(
            tar(Entry(b"l", "symlink", linkname=outside), Entry(b"l/.wh.secret"), Entry(b"l/.wh..wh..opq"))
        )

    @pytest.mark.parametrize("order", [1, -1])
    def test_whiteout_spares_what_its_own_layer_brings(self, place: Place, order: int) -> None:
        members = [[Entry(b".wh.x")], [file(b"x")], [Entry(b".wh.d")], [directory(b"d"), file(b"d/y")]]
        flat = [item for group in members[::order] for item in group]
        assert kinds(place.apply(tar(*flat))) == {"x": "file", "d": "dir", "d/y": "file"}

    def test_opaque_below_a_file_is_refused(self, place: Place) -> None:
        place.refuses(tar(file(b"f"), Entry(b"f/.wh..wh..opq")), "no directory")

    def test_remains_of_aufs_are_skipped(self, place: Place) -> None:
        entries = [directory(b".wh..wh.plnk"), file(b".wh..wh.plnk/12.34"), file(b".wh..wh.aufs"), file(b"x")]
        assert kinds(place.apply(tar(*entries))) == {"x": "file"}

    def test_names_that_only_contain_the_mark_are_ordinary(self, place: Place) -> None:
        assert kinds(place.apply(tar(directory(b"a.wh.b"), file(b"a.wh.b/c.wh.")))) == {
            "a.wh.b": "dir",
            "a.wh.b/c.wh.": "file",
        }

    def test_device_0_0_is_refused(self, place: Place) -> None:
        place.refuses(tar(Entry(b"x", "char")), "0:0")


class TestTypesAndAttributes:
    def test_nodes_are_made_with_owner_mode_and_time(self, place: Place) -> None:
        attributes: dict[str, Any] = {"mode": 0o640, "uid": 5, "gid": 6, "mtime_ns": 123_456_789_012}
        entries = [
            Entry(b"c", "char", devmajor=4095, devminor=1048575, **attributes),
            Entry(b"f", "fifo", **attributes),
        ]
        tree = place.apply(tar(*entries, Entry(b"b", "block", devmajor=8, devminor=1, **attributes)))
        assert tree["c"][:5] == ("0o20640", 5, 6, os.makedev(4095, 1048575), 123_456_789_012)
        assert tree["b"][:4] == ("0o60640", 5, 6, os.makedev(8, 1))
        assert tree["f"][:3] == ("0o10640", 5, 6)

    @pytest.mark.parametrize(("major", "minor"), [(4096, 0), (0, 1 << 20), (1 << 20, 1 << 20)])
    def test_device_out_of_range_is_refused(self, place: Place, major: int, minor: int) -> None:
        place.refuses(header(b"x", b"4", major=octal(major, 8), minor=octal(minor, 8)) + END, "out of range")

    @pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o1644, 0o7777, 0o0, 0o4000])
    def test_special_bits_survive_the_change_of_owner(self, place: Place, mode: int) -> None:
        tree = place.apply(
            tar(file(b"f", mode=mode, uid=1000, gid=1000), directory(b"d", mode=mode, uid=1, gid=2))
        )
        assert (tree["f"][0], tree["d"][0]) == (oct(stat.S_IFREG | mode), oct(stat.S_IFDIR | mode))

    @pytest.mark.parametrize("value", [CAPABILITY_V2, CAPABILITY_V3], ids=["v2", "v3"])
    def test_file_capabilities_survive_owner_and_content(self, place: Place, value: bytes) -> None:
        xattrs = {b"security.capability": value}
        assert place.apply(tar(file(b"f", uid=1000, mode=0o6755, xattrs=xattrs)))["f"][5] == {
            "security.capability": value
        }

    def test_access_lists_are_kept_and_not_inherited(self, place: Place) -> None:
        both = {b"system.posix_acl_access": ACCESS_LIST, b"system.posix_acl_default": ACCESS_LIST}
        tree = place.apply(
            tar(directory(b"d", mode=0o644, xattrs=both), file(b"d/f", mode=0o666), directory(b"d/s"))
        )
        assert tree["d"][5] == {os.fsdecode(key): value for key, value in both.items()}
        assert (tree["d/f"][0], tree["d/f"][5]) == ("0o100666", {})
        assert (tree["d/s"][0], tree["d/s"][5]) == ("0o40755", {})

    def test_attributes_of_overlayfs_and_security_modules_are_dropped(self, place: Place) -> None:
        dropped = [b"trusted.overlay.opaque", b"trusted.overlay.redirect", b"trusted.overlay.metacopy"]
        dropped += [b"trusted.overlay.overlay.whiteout", b"user.overlay.opaque", b"user.overlay.whiteout"]
        dropped += [b"security.selinux", b"security.apparmor", b"security.ima", b"nonsense", b"unknown.space"]
        xattrs = dict.fromkeys(dropped, b"y") | {b"user.kept": b"1"}
        place.apply(tar(file(b"f", xattrs=xattrs), directory(b"d", xattrs=xattrs)))
        for name in ("f", "d"):
            assert os.listxattr(place.store / "layer" / name) in (
                ["user.kept"],
                ["user.kept", "trusted.overlay.origin"],
            )

    @pytest.mark.parametrize("size", [65537, 1 << 19])
    def test_attribute_beyond_the_kernels_limit_is_refused(self, place: Place, size: int) -> None:
        place.refuses(tar(file(b"f", xattrs={b"user.x": b"v" * size})), "the kernel allows 65536")

    def test_extreme_owners_are_kept(self, place: Place) -> None:
        assert place.apply(tar(file(b"f", uid=2**32 - 2, gid=2**31)))["f"][1:3] == (2**32 - 2, 2**31)

    @pytest.mark.parametrize("key", [b"uid", b"gid"])
    @pytest.mark.parametrize("value", [b"-1", b"4294967295", b"4294967296", b"99999999999999999999"])
    def test_owner_out_of_range_is_refused(self, place: Place, key: bytes, value: bytes) -> None:
        place.refuses(pax([(key, value)]) + member(b"x") + END, "x")

    @pytest.mark.parametrize(
        ("value", "expected"),
        [(b"-1.5", -1_500_000_000), (b"-99999999999999999999", -(2**31) * 10**9), (b"0", 0)],
    )
    def test_strange_times_are_kept_or_clamped(self, place: Place, value: bytes, expected: int) -> None:
        assert place.apply(pax([(b"mtime", value)]) + member(b"x") + END)["x"][4] == expected

    def test_huge_time_is_clamped(self, place: Place) -> None:
        assert (
            place.apply(pax([(b"mtime", b"99999999999999999999")]) + member(b"x") + END)["x"][4]
            >= (2**33) * 10**9
        )

    def test_directories_keep_their_time_and_mode_whatever_is_made_in_them(self, place: Place) -> None:
        entries = [
            directory(b"d", mode=0o555, mtime_ns=10**9),
            directory(b"d/e", mode=0, mtime_ns=2 * 10**9),
            file(b"d/e/f"),
        ]
        tree = place.apply(tar(*entries, file(b"d/g"), Entry(b"d/.wh.gone")))
        assert (tree["d"][0], tree["d"][4]) == ("0o40555", 10**9)
        assert (tree["d/e"][0], tree["d/e"][4]) == ("0o40000", 2 * 10**9)

    def test_group_is_not_inherited_from_a_setgid_directory(self, place: Place) -> None:
        entries = [
            directory(b"d", mode=0o2775, gid=50),
            file(b"d/f"),
            directory(b"d/s"),
            Entry(b"d/l", "symlink", linkname=b"x"),
        ]
        tree = place.apply(tar(*entries))
        assert [tree[name][2] for name in ("d", "d/f", "d/s", "d/l")] == [50, 0, 0, 0]
        assert tree["d/s"][0] == "0o40755"

    def test_last_of_duplicate_entries_wins(self, place: Place) -> None:
        entries = [
            file(b"f", b"first", uid=1),
            directory(b"d", mode=0o700, uid=1, mtime_ns=1),
            file(b"d/x"),
            Entry(b"g", "fifo"),
        ]
        entries += [
            file(b"f", b"second", uid=2),
            directory(b"d", mode=0o511, mtime_ns=2 * 10**9),
            file(b"g", b"third"),
        ]
        tree = place.apply(tar(*entries))
        assert (tree["f"][1], tree["f"][3][0]) == (2, 6)
        assert (tree["d"][0], tree["d"][1], tree["d"][4]) == ("0o40511", 0, 2 * 10**9)
        assert kinds(tree) == {"f": "file", "d": "dir", "d/x": "file", "g": "file"}

    def test_replacing_directories_without_end_is_refused(self, place: Place) -> None:
        place.refuses(tar(*[directory(b"d"), file(b"d")] * 1002), "replaces more than")

    def test_sparse_file_has_holes_and_its_data(self, place: Place) -> None:
        extents = [(4096, 4096), (10 << 20, 5)]
        tree = place.apply(tar((Entry(b"s", size=20 << 20, sparse=extents), b"x" * 4096 + b"12345")))
        assert tree["s"][3][0] == 20 << 20
        path = place.store / "layer" / "s"
        assert path.stat().st_blocks * 512 < 1 << 20
        content = path.read_bytes()
        assert content[4096:8192] == b"x" * 4096
        assert content[10 << 20 : (10 << 20) + 5] == b"12345"
        assert content.count(0) == (20 << 20) - 4101

    def test_big_file_of_many_slots_is_whole(self, place: Place) -> None:
        content = os.urandom(1 << 20) * 11 + b"tail"
        place.apply(gzip.compress(tar(file(b"a", b"1"), file(b"f", content), file(b"z", b"2")), 1))
        assert (place.store / "layer" / "f").read_bytes() == content
        assert (place.store / "layer" / "z").read_bytes() == b"2"


class TestStreams:
    @pytest.mark.parametrize(
        "data",
        [member(b"x", b"d" * 600)[:1000], member(b"x")[:100], header(b"x", checksum=b"000000\0 "),
         header(b"x", size=b"-0000000001\0"), header(b"x", size=b"\xff" * 12), b"no tar at all", bytes(100),
         gzip.compress(tar(file(b"x")))[:-9], gzip.compress(tar(file(b"x"))) + b"junk"],
        ids=["body", "header", "checksum", "octal", "binary", "text", "zeros", "gzip", "junk"],
    )  # fmt: skip
    def test_broken_stream_is_refused(self, place: Place, data: bytes) -> None:
        place.refuses(data)

    def test_error_names_the_entry_and_the_offset(self, place: Place) -> None:
        place.refuses(tar(file(b"good"), file(b"bad/../../x")), r"tar entry b'bad/../../x' at offset 1024: ")

    def test_bomb_is_refused_early(self, place: Place) -> None:
        packed = gzip.compress(header(b"x", size=octal(1 << 30, 12)) + bytes(64 << 20))
        place.refuses(packed, "ratio", limits={"ratio": 100, "ratio_grace": 1 << 20})
        assert (place.store / "layer" / "x").stat().st_size < 32 << 20

    def test_too_many_entries_are_refused(self, place: Place) -> None:
        place.refuses(
            tar(*(file(b"f%d" % index, b"") for index in range(60))), "more than 50", limits={"entries": 50}
        )

    def test_too_many_bytes_are_refused(self, place: Place) -> None:
        place.refuses(tar(file(b"f", b"x" * 9999)), "more than 5000", limits={"bytes": 5000})

    @pytest.mark.parametrize("tail", [b"", b"x", b"trailing" * 300_000], ids=["none", "one", "slots"])
    def test_digest_covers_what_follows_the_end(self, tmp_path: Path, tail: bytes) -> None:
        data = tar(file(b"x")) + tail
        expected = (
            subprocess.run(["sha256sum"], input=data, check=True, capture_output=True).stdout[:64].decode()
        )
        result = unpack(gzip.compress(data), tmp_path / "layer")
        assert (result["diff_id"], result["tar_size"]) == (f"sha256:{expected}", len(data))


class TestSelfContained:
    @pytest.mark.parametrize(
        ("members", "reason"),
        [([directory(b"a"), file(b"a/x")], ""),
         ([directory(b"a"), file(b"a/x"), Entry(b"h", "hardlink", linkname=b"a/x"), Entry(b"a/.wh.y")], ""),
         ([file(b"a/x")], "a/x"), ([directory(b"a/b")], "a/b"), ([Entry(b"a/.wh.x")], "a/.wh.x"),
         ([Entry(b"a/.wh..wh..opq")], "a/.wh..wh..opq"), ([Entry(b".wh..wh..opq")], "whole root"),
         ([Entry(b"h", "hardlink", linkname=b"x")], "h: a hard link to x"),
         ([file(b"x"), Entry(b"l", "symlink", linkname=b"/"), file(b"l/y")], "l/y")],
        ids=lambda value: value if isinstance(value, str) else "",
    )  # fmt: skip
    def test_first_dependence_on_lower_layers_ends_the_pass(
        self, tmp_path: Path, members: list[Any], reason: str
    ) -> None:
        result = unpack(tar(*members, file(b"last")), tmp_path / "layer", stop_if_not_self_contained=True)
        assert result["is_self_contained"] == (not reason)
        assert reason in result["reason"]
        assert (tmp_path / "layer" / "last").exists() == (not reason)
        assert bool(result["diff_id"]) == (not reason)

    def test_lowest_layer_is_applied_whatever_it_lists(self, tmp_path: Path) -> None:
        result = unpack(tar(file(b"a/b"), Entry(b".wh..wh..opq")), tmp_path / "layer")
        assert (result["is_self_contained"], result["entries"]) == (False, 2)
        assert result["diff_id"]


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    """A lower layer with a bit of everything."""
    target = tmp_path / "lower"
    entries = [
        directory(b".", mode=0o711, uid=3),
        directory(b"etc", mode=0o750, uid=5, gid=6, mtime_ns=10**9),
    ]
    entries += [file(b"etc/conf", b"lower"), directory(b"usr"), directory(b"usr/lib"), file(b"usr/lib/a")]
    entries += [Entry(b"lib", "symlink", linkname=b"usr/lib"), Entry(b"abs", "symlink", linkname=b"/usr/lib")]
    entries += [
        directory(b"tmp", mode=0o1777),
        file(b"bin", mode=0o4755, uid=0),
        directory(b"deep"),
        directory(b"deep/er"),
    ]
    unpack(tar(*entries, file(b"deep/er/x"), file(b"deep/y")), target)
    return target


class TestAcrossLayers:
    def stack(self, tmp_path: Path, lower: Path, *members: Any) -> Tree:
        unpack_stacked(tar(*members), tmp_path / "upper", [lower])
        return merged([tmp_path / "upper", lower], tmp_path / "view")

    def test_unlisted_directories_keep_what_the_lower_layer_says(self, tmp_path: Path, lower: Path) -> None:
        tree = self.stack(tmp_path, lower, file(b"etc/new"), file(b"tmp/t"))
        assert (tree["etc"][:3], tree["tmp"][0]) == (("0o40750", 5, 6), "0o41777")

    def test_root_keeps_what_the_lower_layer_says(self, tmp_path: Path, lower: Path) -> None:
        self.stack(tmp_path, lower, file(b"x"))
        found = (tmp_path / "upper").stat()
        assert (found.st_mode & 0o7777, found.st_uid) == (0o711, 3)

    @pytest.mark.parametrize("link", [b"lib", b"abs"])
    def test_file_under_a_link_of_an_earlier_layer_lands_inside(
        self, tmp_path: Path, lower: Path, link: bytes
    ) -> None:
        tree = self.stack(tmp_path, lower, file(link + b"/b"))
        assert "usr/lib/b" in tree
        assert kinds(tree)[os.fsdecode(link)] == "link"

    def test_hard_link_to_a_lower_file_copies_it_up(self, tmp_path: Path, lower: Path) -> None:
        tree = self.stack(tmp_path, lower, Entry(b"h", "hardlink", linkname=b"bin"))
        assert tree["h"] == tree["bin"]
        assert tree["h"][0] == "0o104755"

    def test_directory_replaces_a_lower_link_and_link_a_lower_directory(
        self, tmp_path: Path, lower: Path
    ) -> None:
        tree = self.stack(
            tmp_path, lower, directory(b"lib"), file(b"lib/x"), Entry(b"deep", "symlink", linkname=b"usr")
        )
        assert {"lib/x", "usr/lib/a"} <= set(tree)
        assert not any(path.startswith(("deep/", "lib/a")) for path in tree)

    def test_file_replaces_a_lower_directory(self, tmp_path: Path, lower: Path) -> None:
        tree = self.stack(tmp_path, lower, file(b"deep", b"file"))
        assert [path for path in tree if path.startswith("deep")] == ["deep"]

    def test_whiteout_of_a_lower_link_removes_the_link_alone(self, tmp_path: Path, lower: Path) -> None:
        tree = self.stack(tmp_path, lower, Entry(b".wh.lib"))
        assert "lib" not in tree
        assert "usr/lib/a" in tree

    def test_whiteout_of_a_lower_directory_removes_it_all(self, tmp_path: Path, lower: Path) -> None:
        tree = self.stack(
            tmp_path, lower, Entry(b".wh.deep"), Entry(b"usr/lib/.wh.a"), Entry(b"etc/.wh.absent")
        )
        assert not any(path.startswith("deep") for path in tree)
        assert "usr/lib/a" not in tree

    @pytest.mark.parametrize("order", [1, -1])
    @pytest.mark.parametrize("way", ["direct", "stacked"])
    @pytest.mark.parametrize("mark", [b"deep/.wh..wh..opq", b".wh.deep"])
    def test_opaque_directory_hides_lower_content_wherever_the_mark_stands(
        self, tmp_path: Path, lower: Path, order: int, way: str, mark: bytes
    ) -> None:
        contents = [directory(b"deep/er"), file(b"deep/er/z"), file(b"deep/w")]
        members = [directory(b"deep"), *([Entry(mark), *contents] if order > 0 else [*contents, Entry(mark)])]
        if way == "direct":
            unpack(tar(*members), tmp_path / "upper", stop_if_not_self_contained=True)
            tree = merged([tmp_path / "upper", lower], tmp_path / "view")
        else:
            tree = self.stack(tmp_path, lower, *members)
        assert {path for path in tree if path.startswith("deep/")} == {"deep/er", "deep/er/z", "deep/w"}

    def test_opaque_root_replaces_everything_below(self, tmp_path: Path, lower: Path) -> None:
        assert set(self.stack(tmp_path, lower, file(b"only"), Entry(b".wh..wh..opq"))) == {"only"}

    def test_opaque_through_a_link_spares_what_came_through_the_link(
        self, tmp_path: Path, lower: Path
    ) -> None:
        tree = self.stack(tmp_path, lower, file(b"lib/mine"), Entry(b"usr/lib/.wh..wh..opq"))
        assert {path for path in tree if path.startswith("usr/lib/")} == {"usr/lib/mine"}

    def test_self_contained_layer_means_the_same_both_ways(self, tmp_path: Path, lower: Path) -> None:
        members = [
            directory(b"etc", mode=0o700),
            file(b"etc/conf", b"upper"),
            Entry(b"etc/.wh.none"),
            Entry(b".wh.bin"),
        ]
        members += [
            directory(b"lib"),
            file(b"lib/z"),
            directory(b"deep"),
            Entry(b"deep/.wh.er"),
            file(b"deep/y", b"2"),
        ]
        stacked = self.stack(tmp_path, lower, *members)
        unpack(tar(*members), tmp_path / "upper2", stop_if_not_self_contained=True)
        assert merged([tmp_path / "upper2", lower], tmp_path / "view2") == stacked

    def test_stack_of_a_hundred_layers_works(self, tmp_path: Path) -> None:
        layers = []
        for index in range(100):
            (tmp_path / f"l{index}").mkdir()
            (tmp_path / f"l{index}" / f"f{index}").touch()
            layers.insert(0, tmp_path / f"l{index}")
        result = unpack_stacked(
            tar(Entry(b".wh.f50"), Entry(b"h", "hardlink", linkname=b"f7")), tmp_path / "top", layers
        )
        assert result["entries"] == 2
        assert stat.S_ISCHR((tmp_path / "top" / "f50").stat().st_mode)

    def test_kernel_without_the_new_mount_api_for_overlay_uses_the_old_one(
        self, tmp_path: Path, lower: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unavailable(*_: object) -> int:
            raise OSError(errno.EINVAL, "as before Linux 6.5")

        monkeypatch.setattr(mounts, "overlay", unavailable)
        unpack_stacked(tar(file(b"etc/new"), Entry(b".wh.bin")), tmp_path / "upper", [lower])
        monkeypatch.undo()
        tree = merged([tmp_path / "upper", lower], tmp_path / "view")
        assert "etc/new" in tree
        assert "bin" not in tree


class TestGrowingBlob:
    def grow(self, tmp_path: Path, data: bytes, last: int | None) -> dict[str, Any]:
        (tmp_path / "layer").mkdir()
        reading, writing = os.pipe()
        blob = (tmp_path / "blob").open("wb", buffering=0)

        def write() -> None:
            for at in range(0, len(data), 100_000):
                blob.write(data[at : at + 100_000])
                os.write(writing, struct.pack("<Q", min(at + 100_000, len(data))))
            if last is not None:
                os.write(writing, struct.pack("<Q", last))
            os.close(writing)

        # The child would otherwise keep the writing end open and never see the end of the pipe.
        os.set_inheritable(writing, False)
        target = os.open(tmp_path / "layer", os.O_RDONLY | os.O_DIRECTORY)
        source = os.open(tmp_path / "blob", os.O_RDONLY)
        thread = threading.Thread(target=write)

        def job() -> dict[str, Any]:
            os.close(writing)
            return JOBS["unpack"]({}, [source, reading, target], lambda _event: None)

        try:
            return in_child(job, on_fork=thread.start)
        finally:
            thread.join()
            blob.close()
            for fd in (reading, target, source):
                os.close(fd)

    def test_unpacks_while_the_blob_is_written(self, tmp_path: Path) -> None:
        content = os.urandom(3_000_000)
        data = gzip.compress(tar(file(b"x", content)), 1)
        result = self.grow(tmp_path, data, COMPLETE)
        assert result["entries"] == 1
        assert (tmp_path / "layer" / "x").read_bytes() == content

    def test_download_that_breaks_off_is_an_error(self, tmp_path: Path) -> None:
        data = gzip.compress(tar(file(b"x", os.urandom(500_000))), 1)
        with pytest.raises(TransferFailed, match="before the blob was complete"):
            self.grow(tmp_path, data, None)

    def test_whole_archive_is_not_believed_before_it_is_verified(self, tmp_path: Path) -> None:
        with pytest.raises(TransferFailed):
            self.grow(tmp_path, tar(file(b"x")), None)


class TestConfinement:
    def test_job_cannot_touch_anything_else_afterwards(self, tmp_path: Path) -> None:
        blob, target = tmp_path / "blob", tmp_path / "layer"
        blob.write_bytes(tar(file(b"x")))
        target.mkdir()

        def job() -> list[str]:
            fds = [os.open(blob, os.O_RDONLY), os.open(target, os.O_RDONLY | os.O_DIRECTORY)]
            JOBS["unpack"]({}, fds, lambda _event: None)
            refused = []
            for attempt in (
                lambda: (tmp_path / "escaped").touch(),
                lambda: blob.unlink(),
                lambda: Path("/etc/passwd").read_bytes(),
                lambda: os.listdir("/etc"),
                lambda: os.execv("/bin/true", ["true"]),
                lambda: os.rename(target / "x", tmp_path / "escaped"),
                lambda: os.link(target / "x", tmp_path / "escaped"),
            ):
                try:
                    attempt()
                except OSError as error:
                    refused.append(errno.errorcode[error.errno or 0])
            (target / "allowed").touch()
            return refused

        refused = in_child(job)
        assert len(refused) == 7
        assert set(refused) <= {"EACCES", "EXDEV"}
        assert (target / "allowed").exists()
        assert not (tmp_path / "escaped").exists()

    def test_killed_decompressor_is_reported(self, tmp_path: Path) -> None:
        blob, target = tmp_path / "blob", tmp_path / "layer"
        blob.write_bytes(gzip.compress(tar(file(b"x", os.urandom(30 << 20))), 1))
        target.mkdir()

        def job() -> object:
            from pycontainer import checkpoints

            checkpoints.arm("unpack.slot.inflated")
            fds = [os.open(blob, os.O_RDONLY), os.open(target, os.O_RDONLY | os.O_DIRECTORY)]
            return JOBS["unpack"]({}, fds, lambda _event: None)

        with pytest.raises(PycontainerError, match="inflates the layer died"):
            in_child(job)

    def test_wrong_number_of_descriptors_is_refused(self) -> None:
        for name in JOBS:
            with pytest.raises(InvalidInput, match="not 1 descriptors"):
                JOBS[name]({}, [0], lambda _event: None)


class TestFailuresOfTheHost:
    def on_tmpfs(self, tmp_path: Path, options: str, data: bytes) -> None:
        (tmp_path / "blob").write_bytes(data)

        def job() -> object:
            namespaces.leave(namespaces.NEWNS)
            subprocess.run(["mount", "--make-rprivate", "/"], check=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(tmp_path)], check=True)
            (tmp_path / "layer").mkdir()
            fds = [blob, os.open(tmp_path / "layer", os.O_RDONLY | os.O_DIRECTORY)]
            return JOBS["unpack"]({}, fds, lambda _event: None)

        blob = os.open(tmp_path / "blob", os.O_RDONLY)
        try:
            in_child(job)
        finally:
            os.close(blob)

    def test_full_file_system_is_said_with_the_entry_and_the_remedy(self, tmp_path: Path) -> None:
        data = tar(file(b"small"), file(b"big", bytes(4 << 20)))
        with pytest.raises(KernelError, match=r"b'big'.*No space left.*prune") as caught:
            self.on_tmpfs(tmp_path, "size=1m", data)
        assert caught.value.errno == errno.ENOSPC

    def test_a_quota_that_is_used_up_is_said_with_the_entry(self, tmp_path: Path) -> None:
        (tmp_path / "blob").write_bytes(tar(file(b"small"), file(b"big", bytes(4 << 20))))
        (tmp_path / "layer").mkdir()

        def job() -> object:
            written, write = 0, os.write

            def bounded(fd: int, data: Any) -> int:
                nonlocal written
                if stat.S_ISREG(os.fstat(fd).st_mode):
                    written += len(data)
                    if written > 1 << 20:
                        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
                return write(fd, data)

            os.write = bounded  # as a file system with quotas answers, which few kernels have
            fds = [
                os.open(tmp_path / "blob", os.O_RDONLY),
                os.open(tmp_path / "layer", os.O_RDONLY | os.O_DIRECTORY),
            ]
            return JOBS["unpack"]({}, fds, lambda _event: None)

        with pytest.raises(KernelError, match=r"b'big'.*quota.*used up") as caught:
            in_child(job)
        assert caught.value.errno == errno.EDQUOT

    def test_lack_of_inodes_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(KernelError, match="inodes") as caught:
            self.on_tmpfs(tmp_path, "nr_inodes=10", tar(*(file(b"f%d" % index) for index in range(30))))
        assert caught.value.errno == errno.ENOSPC

    def test_few_descriptors_are_enough_for_many_directories(self, tmp_path: Path) -> None:
        entries: list[Any] = [directory(b"d%d" % index) for index in range(100)]
        entries += [file(b"d%d/f" % index) for index in range(100)]
        (tmp_path / "blob").write_bytes(tar(*entries))
        (tmp_path / "layer").mkdir()

        def job() -> dict[str, Any]:
            fds = [
                os.open(tmp_path / "blob", os.O_RDONLY),
                os.open(tmp_path / "layer", os.O_RDONLY | os.O_DIRECTORY),
            ]
            highest = max(map(int, os.listdir("/proc/self/fd")))
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, highest + 20))
            return JOBS["unpack"]({}, fds, lambda _event: None)

        assert in_child(job)["entries"] == 200

    def test_no_descriptor_left_is_said(self, tmp_path: Path) -> None:
        data = tar(directory(b"d"), file(b"d/f"))
        (tmp_path / "layer").mkdir()

        def job() -> object:
            target = os.open(tmp_path / "layer", os.O_RDONLY | os.O_DIRECTORY)
            import io

            applier = Applier(TarReader(FileBlocks(io.BytesIO(data))), target, Limits())
            free = os.dup(target)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, free))
            return applier.run()

        with pytest.raises(KernelError, match="ulimit") as caught:
            in_child(job)
        assert caught.value.errno == errno.EMFILE

    def test_directory_swapped_for_a_link_while_unpacking_stays_inside(self, tmp_path: Path) -> None:
        """A process with the same rights swaps a directory again and again; nothing lands where it points."""
        outside, layer = tmp_path / "outside", tmp_path / "layer"
        outside.mkdir()
        layer.mkdir()
        entries: list[Any] = []
        for index in range(400):
            entries += [
                directory(b"d"),
                directory(b"e%d" % index),
                file(b"d/f%d" % index),
                file(b"d/f%d" % index, b"2"),
            ]
        (tmp_path / "blob").write_bytes(tar(*entries))
        swapper = os.fork()
        if swapper == 0:
            while True:
                try:
                    os.rename(layer / "d", layer / "moved")
                    os.symlink(outside, layer / "d")
                    os.unlink(layer / "d")
                    os.rename(layer / "moved", layer / "d")
                except OSError:
                    pass
        try:
            run_job("unpack", {}, [tmp_path / "blob", layer])
        except (InvalidImage, KernelError):
            pass  # an error is fine, an escape is not
        finally:
            os.kill(swapper, signal.SIGKILL)
            os.waitpid(swapper, 0)
        assert list(outside.iterdir()) == []

    def test_same_layer_can_be_unpacked_twice_at_once(self, tmp_path: Path) -> None:
        (tmp_path / "blob").write_bytes(tar(*(file(b"f%d" % index) for index in range(300))))
        results: list[dict[str, Any]] = []

        def job(name: str) -> None:
            (tmp_path / name).mkdir()
            results.append(run_job("unpack", {}, [tmp_path / "blob", tmp_path / name]))

        threads = [threading.Thread(target=job, args=(name,)) for name in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results[0] == results[1]
        one, two = describe(tmp_path / "one"), describe(tmp_path / "two")
        one.pop(".")
        two.pop(".")
        assert one == two


class TestUserNamespace:
    def unpack(self, tmp_path: Path, data: bytes) -> dict[str, Any]:
        """The job in a user namespace with the ids 0 to 99."""
        (tmp_path / "blob").write_bytes(data)
        (tmp_path / "layer").mkdir()

        def job() -> dict[str, Any]:
            blob = os.open(tmp_path / "blob", os.O_RDONLY)
            target = os.open(tmp_path / "layer", os.O_RDONLY | os.O_DIRECTORY)
            namespaces.leave(namespaces.NEWUSER)
            os.write(left[1], b"x")
            os.read(mapped[0], 1)
            return JOBS["unpack"]({}, [blob, target], lambda _event: None)

        left, mapped = os.pipe(), os.pipe()
        mapper = threading.Thread(target=lambda: self.map_ids(left[0], mapped[1]))
        mapper.start()
        try:
            return in_child(job)
        finally:
            os.write(left[1], b"x")
            mapper.join()
            for fd in (*left, *mapped):
                os.close(fd)

    def map_ids(self, left: int, mapped: int) -> None:
        os.read(left, 1)
        for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            for name in ("uid_map", "gid_map"):
                try:
                    Path(f"/proc/{child}/{name}").write_text("0 0 100")
                except PermissionError:
                    pass  # some other child of this test process
        os.write(mapped, b"x")

    def test_devices_become_empty_files_and_whiteouts_use_user_attributes(self, tmp_path: Path) -> None:
        entries = [Entry(b"dev", "char", 0o640, gid=5, devmajor=1, devminor=3)]
        entries += [Entry(b"hard", "hardlink", linkname=b"dev"), directory(b"d"), Entry(b"d/.wh..wh..opq")]
        data = tar(*entries, Entry(b".wh.gone"), file(b"f", xattrs={b"trusted.x": b"y"}))
        assert self.unpack(tmp_path, data)["stubbed_devices"] == 1
        tree = describe(tmp_path / "layer")
        assert tree["dev"][:3] == ("0o100640", 0, 5)
        assert tree["hard"] == tree["dev"]
        assert tree["d"][5] == {"user.overlay.opaque": b"y"}
        assert tree["gone"][3] == 0
        assert tree["f"][5] == {}

    def test_owner_that_is_not_mapped_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(KernelError, match="ids mapped"):
            self.unpack(tmp_path, tar(file(b"f", uid=5000)))
