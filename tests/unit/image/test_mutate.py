"""Images made from directories, tars, memory and host programs."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontainer.errors import InvalidImage, InvalidInput, NotFound
from pycontainer.image import (
    File,
    ImageView,
    Layout,
    Symlink,
    from_directory,
    from_files,
    from_host,
    from_tar,
    validate_image,
)
from pycontainer.image.hostfiles import parse_library_list
from pycontainer.image.tree import Tree
from pycontainer.layers import Limits, TarWriter
from pycontainer.oci import ContainerConfig, Hasher, Platform, mediatype, sha256


def entries(view: ImageView) -> dict[str, tarfile.TarInfo]:
    """The members of the only layer by name, in the order of the tar."""
    with view.open_blob(view.layers[0]) as blob, tarfile.open(fileobj=blob, mode="r:gz") as tar:
        return {entry.name: entry for entry in tar.getmembers()}


def content(view: ImageView, name: str) -> bytes:
    with view.open_blob(view.layers[0]) as blob, tarfile.open(fileobj=blob, mode="r:gz") as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


class TestFromFiles:
    def test_text_bytes_files_links_and_directories_become_entries(
        self, layout: Layout, tmp_path: Path
    ) -> None:
        (tmp_path / "host").write_text("from the host")
        (tmp_path / "host").chmod(0o750)
        view = from_files(
            layout,
            {
                "/etc/text": "ä",
                "etc/bytes": b"\0\1",
                "bin/script": "#!/bin/sh\n",
                "bin/program": b"\x7fELF",
                "srv/host": tmp_path / "host",
                "srv/own": File(content=b"x", mode=0o4711, uid=7, gid=8, mtime_s=9),
                "srv/empty": File(is_directory=True, mode=0o700),
                "srv/link": Symlink("../etc/text"),
            },
        )
        found = entries(view)
        assert list(found) == [
            "bin", "bin/program", "bin/script", "etc", "etc/bytes", "etc/text",
            "srv", "srv/empty", "srv/host", "srv/link", "srv/own",
        ]  # fmt: skip
        assert content(view, "etc/text") == "ä".encode()
        assert content(view, "srv/host") == b"from the host"
        modes = {name: entry.mode for name, entry in found.items()}
        assert modes["etc/text"] == 0o644
        assert modes["bin/script"] == modes["bin/program"] == modes["etc"] == 0o755
        assert (modes["srv/host"], modes["srv/empty"], modes["srv/own"]) == (0o750, 0o700, 0o4711)
        own = found["srv/own"]
        assert (own.uid, own.gid, own.mtime) == (7, 8, 9)
        assert (found["srv/host"].uid, found["srv/host"].mtime) == (0, 0)
        assert found["srv/link"].linkname == "../etc/text"

    def test_the_configuration_and_platform_are_those_given(self, layout: Layout) -> None:
        config = ContainerConfig(cmd=("a",), labels={"b": "c"})
        view = from_files(layout, {"a": "b"}, config=config, platform=Platform.parse("linux/arm/v6"))
        assert view.config.config == config
        assert str(view.platform) == "linux/arm/v6"
        assert from_files(layout, {"a": "b"}).platform == Platform.host()

    @pytest.mark.parametrize("compression", ["gzip", "zstd", "plain"])
    def test_every_compression_gives_a_valid_image_of_the_same_content(
        self, layout: Layout, compression: str
    ) -> None:
        view = from_files(layout, {"a": "b" * 10_000}, compression=compression)  # type: ignore[arg-type]
        assert validate_image(layout, view.descriptor) == []
        assert mediatype.compression_of(view.layers[0].media_type) == compression
        assert view.diff_ids == from_files(layout, {"a": "b" * 10_000}).diff_ids

    def test_an_unknown_compression_is_refused(self, layout: Layout) -> None:
        with pytest.raises(InvalidInput, match="'brotli' is not one of plain, gzip, zstd"):
            from_files(layout, {}, compression="brotli")  # type: ignore[arg-type]

    def test_the_order_of_the_files_does_not_matter(self, layout: Layout) -> None:
        files = {"b": "1", "a/c": "2", "a.b": "3", "a/b/c": "4"}
        backwards = dict(reversed(files.items()))
        assert from_files(layout, files).descriptor == from_files(layout, backwards).descriptor

    @pytest.mark.parametrize(
        "name", ["", "/", "..", "../a", "a/../b", "a//b", "./a", "a/.wh.b", ".wh..wh..opq", "a\0b"]
    )
    def test_a_path_that_is_not_plainly_inside_is_refused(self, layout: Layout, name: str) -> None:
        with pytest.raises(InvalidInput):
            from_files(layout, {name: "x"})

    def test_a_file_cannot_be_a_directory_too(self, layout: Layout) -> None:
        with pytest.raises(InvalidInput, match="parent a is not a directory"):
            from_files(layout, {"a": "x", "a/b": "y"})
        with pytest.raises(InvalidInput, match="must be a directory"):
            from_files(layout, {"a/b": "y", "a": "x"})

    def test_files_go_where_links_in_the_tree_lead(self, layout: Layout) -> None:
        view = from_files(layout, {"bin": Symlink("usr/bin"), "usr/bin/x": "1", "bin/y": "2"})
        assert list(entries(view)) == ["bin", "usr", "usr/bin", "usr/bin/x", "usr/bin/y"]
        with pytest.raises(InvalidInput, match="circle"):
            from_files(layout, {"a": Symlink("b"), "b": Symlink("a"), "a/c": "x"})

    def test_a_link_cannot_lead_a_file_out_of_the_image(self, layout: Layout) -> None:
        view = from_files(layout, {"up": Symlink("../../../../etc"), "up/passwd": "x"})
        assert list(entries(view)) == ["etc", "etc/passwd", "up"]


class TestFromDirectory:
    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        root = tmp_path / "root"
        (root / "sub").mkdir(parents=True)
        (root / "sub" / "file").write_bytes(b"content")
        os.link(root / "sub" / "file", root / "a-link")
        (root / "symlink").symlink_to("/absolute/target")
        os.mkfifo(root / "fifo")
        (root / "sub").chmod(0o2750)
        os.utime(root / "sub" / "file", ns=(0, 1_234_567_890_123_456_789))
        return root

    def test_types_modes_times_and_hard_links_are_kept(self, layout: Layout, tree: Path) -> None:
        view = from_directory(layout, tree)
        found = entries(view)
        assert list(found) == ["a-link", "fifo", "sub", "sub/file", "symlink"]
        assert found["sub/file"].islnk()
        assert found["sub/file"].linkname == "a-link"
        assert content(view, "a-link") == b"content"
        assert found["a-link"].pax_headers["mtime"] == "1234567890.123456789"
        assert found["sub"].mode == 0o2750
        assert found["symlink"].linkname == "/absolute/target"
        assert found["fifo"].isfifo()
        assert found["a-link"].uid == tree.stat().st_uid
        assert validate_image(layout, view.descriptor) == []

    def test_the_same_directory_gives_the_same_image(
        self, layout: Layout, tree: Path, tmp_path: Path
    ) -> None:
        first = from_directory(layout, tree)
        subprocess.run(["cp", "-a", tree, tmp_path / "copy"], check=True)
        assert from_directory(layout, tmp_path / "copy").descriptor == first.descriptor

    def test_sockets_are_left_out(self, layout: Layout, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tree)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
        assert "socket" not in entries(from_directory(layout, tree))

    def test_attributes_are_kept_but_for_those_of_the_host(self, layout: Layout, tree: Path) -> None:
        try:
            os.setxattr(tree / "sub", "user.note", b"\0bytes")
            os.setxattr(tree / "sub", "user.overlay.opaque", b"y")
        except OSError:
            pytest.skip("this file system has no user attributes")
        headers = entries(from_directory(layout, tree))["sub"].pax_headers
        assert headers["SCHILY.xattr.user.note"] == "\0bytes"
        assert "SCHILY.xattr.user.overlay.opaque" not in headers

    def test_a_name_that_means_a_whiteout_is_refused(self, layout: Layout, tree: Path) -> None:
        (tree / "sub" / ".wh.gone").touch()
        with pytest.raises(InvalidInput, match="removed files"):
            from_directory(layout, tree)

    def test_names_that_are_no_text_are_kept(self, layout: Layout, tmp_path: Path) -> None:
        root = os.fsencode(tmp_path / "raw")
        os.mkdir(root)
        with open(root + b"/\xff\xfe", "wb"):
            pass
        view = from_directory(layout, os.fsdecode(root))
        with view.open_blob(view.layers[0]) as blob:
            assert b"\xff\xfe" in gzip.decompress(blob.read())

    def test_a_directory_that_becomes_a_link_meanwhile_is_not_followed(
        self, tree: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "secret").mkdir()
        (tmp_path / "secret" / "file").write_bytes(b"content")
        found = Tree()
        found.add_directory(tree)
        shutil.rmtree(tree / "sub")
        (tree / "a-link").unlink()
        (tree / "a-link").symlink_to(tmp_path / "secret" / "file")
        with pytest.raises(InvalidInput, match="became a symbolic link"):
            found.write(TarWriter(io.BytesIO()))

    def test_a_parent_that_becomes_a_link_meanwhile_is_not_followed(self, tmp_path: Path) -> None:
        for top in ("root", "secret"):
            (tmp_path / top / "sub").mkdir(parents=True)
            (tmp_path / top / "sub" / "file").write_bytes(b"content")
        found = Tree()
        found.add_directory(tmp_path / "root")
        shutil.rmtree(tmp_path / "root" / "sub")
        (tmp_path / "root" / "sub").symlink_to(tmp_path / "secret" / "sub")
        with pytest.raises(InvalidInput, match="became a symbolic link"):
            found.write(TarWriter(io.BytesIO()))

    def test_the_directory_itself_may_be_reached_by_links(
        self, layout: Layout, tree: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "way").symlink_to(tree)
        assert from_directory(layout, tmp_path / "way").descriptor == from_directory(layout, tree).descriptor

    def test_very_deep_directories_are_no_problem(self, layout: Layout, tmp_path: Path) -> None:
        deep = tmp_path / "deep"
        subprocess.run(["mkdir", "-p", deep / "/".join(["d"] * 1200)], check=True)
        try:
            assert len(entries(from_directory(layout, deep))) == 1200
        finally:
            subprocess.run(["rm", "-r", deep], check=True)  # pytest's own removal recurses too deep

    def test_a_missing_directory_is_an_os_error(self, layout: Layout, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            from_directory(layout, tmp_path / "missing")


class TestFromTar:
    @pytest.mark.parametrize(
        "compress",
        [lambda data: data, gzip.compress, bz2.compress, lzma.compress],
        ids=["plain", "gzip", "bzip2", "xz"],
    )
    def test_the_bytes_of_the_tar_are_kept_in_any_compression(
        self,
        layout: Layout,
        make_tar: Callable[..., bytes],
        compress: Callable[[bytes], bytes],
        tmp_path: Path,
    ) -> None:
        tar = make_tar({"b": b"1", "a": b"2"}) + bytes(5120)
        (tmp_path / "x.tar").write_bytes(compress(tar))
        for source in (compress(tar), tmp_path / "x.tar", io.BytesIO(compress(tar))):
            view = from_tar(layout, source)
            assert view.diff_ids == (sha256(tar),)
            assert validate_image(layout, view.descriptor) == []

    @pytest.mark.parametrize(
        "broken",
        [
            lambda tar: tar[:700],
            lambda tar: b"x" + tar[1:],
            lambda tar: b"no tar at all, but long enough to be one" * 20,
            lambda tar: gzip.compress(tar)[:-9],
            lambda tar: gzip.compress(tar) + b"junk",
        ],
        ids=["cut off", "checksum", "text", "gzip cut off", "junk after gzip"],
    )
    def test_a_broken_tar_is_refused_and_leaves_nothing(
        self, layout: Layout, make_tar: Callable[..., bytes], broken: Callable[[bytes], bytes]
    ) -> None:
        before = sorted(layout.root.rglob("*"))
        with pytest.raises(InvalidImage):
            from_tar(layout, broken(make_tar({"a": b"1" * 1000})))
        assert sorted(layout.root.rglob("*")) == before

    def test_limits_hold_against_bombs(self, layout: Layout, make_tar: Callable[..., bytes]) -> None:
        bomb = gzip.compress(make_tar({"a": bytes(3 << 20)}))
        with pytest.raises(InvalidImage, match="uncompressed bytes"):
            from_tar(layout, bomb, limits=Limits(bytes=1 << 20))
        with pytest.raises(InvalidImage, match="more than 3 entries"):
            from_tar(layout, make_tar({str(n): b"" for n in range(4)}), limits=Limits(entries=3))


class TestFromHost:
    @pytest.fixture(autouse=True)
    def _needs_programs(self) -> None:
        for program in ("sh", "cat"):
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed")

    def test_programs_come_with_all_they_load(self, layout: Layout) -> None:
        view = from_host(layout, ["sh", "cat"])
        found = entries(view)
        loaded = subprocess.run(
            ["ldd", shutil.which("cat") or ""], capture_output=True, text=True, check=True
        )
        names = {os.path.basename(name) for name in found}
        for line in loaded.stdout.splitlines():
            words = line.replace("=>", " ").split()
            if "/" in line:
                assert os.path.basename(words[0]) in names
        assert {"etc/passwd", "etc/group", "etc/nsswitch.conf", "tmp", "root"} <= set(found)
        assert found["tmp"].mode == 0o1777
        assert content(view, "etc/passwd").startswith(b"root:x:0:0:root:/root:/bin/sh\n")
        assert view.config.config.cmd == ("/bin/sh",)
        assert view.config.config.env[0].startswith("PATH=")
        assert validate_image(layout, view.descriptor) == []

    def test_everything_is_roots_and_of_1970(self, layout: Layout) -> None:
        for entry in entries(from_host(layout, ["cat"])).values():
            assert (entry.uid, entry.gid, entry.mtime) == (0, 0, 0)

    def test_the_same_programs_give_the_same_image(self, layout: Layout) -> None:
        assert from_host(layout, ["sh", "cat"]).descriptor == from_host(layout, ["sh", "cat"]).descriptor
        assert from_host(layout, ["sh", "cat"]).diff_ids == from_host(layout, ["cat", "sh"]).diff_ids

    def test_merged_directories_are_links_as_on_the_host(self, layout: Layout) -> None:
        found = entries(from_host(layout, ["cat"]))
        for top in ("bin", "sbin", "lib"):
            if os.path.islink(f"/{top}"):
                assert found[top].linkname == os.readlink(f"/{top}")

    def test_a_script_brings_its_interpreter(self, layout: Layout, tmp_path: Path) -> None:
        script = tmp_path / "script"
        script.write_text("#!/usr/bin/env -S cat\n")
        script.chmod(0o755)
        found = {os.path.basename(name) for name in entries(from_host(layout, [str(script)]))}
        assert {"script", "env", "cat"} <= found

    def test_further_files_and_directories_are_added(self, layout: Layout, tmp_path: Path) -> None:
        (tmp_path / "data" / "deep").mkdir(parents=True)
        (tmp_path / "data" / "deep" / "file").write_text("x")
        view = from_host(layout, ["cat"], paths=[str(tmp_path / "data")], files={"/bin/hello": "#!/bin/sh\n"})
        found = entries(view)
        assert f"{tmp_path}/data/deep/file"[1:] in found
        assert "usr/bin/hello" in found or "bin/hello" in found

    def test_environment_of_the_image_keeps_what_was_given(self, layout: Layout) -> None:
        config = ContainerConfig(env=("PATH=/x", "A=b"))
        assert from_host(layout, ["cat"], config=config).config.config == config
        without = from_host(layout, ["cat"], config=ContainerConfig(env=("A=b",))).config.config
        assert without.env[-1] == "A=b"
        assert without.env[0].startswith("PATH=")

    def test_a_missing_program_is_named(self, layout: Layout) -> None:
        with pytest.raises(NotFound, match="'no-such-program' in PATH"):
            from_host(layout, ["no-such-program"])

    def test_what_cannot_run_is_refused(self, layout: Layout, tmp_path: Path) -> None:
        for name, text in (
            ("text", b"hello"),
            ("empty", b"#!\n"),
            ("cut", b"\x7fELF"),
            ("odd", b"\x7fELF\2\1" + b"\xff" * 60),
        ):
            path = tmp_path / name
            path.write_bytes(text)
            path.chmod(0o755)
            with pytest.raises(InvalidInput):
                from_host(layout, [str(path)])

    def test_interpreters_in_a_circle_are_refused(self, layout: Layout, tmp_path: Path) -> None:
        names = [tmp_path / f"s{n}" for n in range(8)]
        for name, following in zip(names, names[1:] + names[:1], strict=True):
            name.write_text(f"#!{following}\n")
            name.chmod(0o755)
        with pytest.raises(InvalidInput, match="interpreters nest"):
            from_host(layout, [str(names[0])])

    def test_the_loaders_list_is_read(self) -> None:
        listing = (
            b"\tlinux-vdso.so.1 (0x00007ffc)\n"
            b"\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f00)\n"
            b"\t/lib64/ld-linux-x86-64.so.2 (0x00007f01)\n"
            b"\tlibodd => /opt/my libs/libodd (0x0001)\n"
            b"\tstatically linked\n"
        )
        assert parse_library_list(listing, "p") == [
            b"/lib/x86_64-linux-gnu/libc.so.6",
            b"/lib64/ld-linux-x86-64.so.2",
            b"/opt/my libs/libodd",
        ]
        with pytest.raises(NotFound, match=r"p needs libgone\.so, which is missing"):
            parse_library_list(b"\tlibgone.so => not found\n", "p")


def test_the_layer_is_what_the_descriptor_says(layout: Layout, view: ImageView) -> None:
    hasher = Hasher()
    with view.open_blob(view.layers[0]) as blob:
        hasher.update(blob.read())
    hasher.check(view.layers[0].digest, view.layers[0].size, "layer")
