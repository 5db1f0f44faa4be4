"""Archives made to harm: each is refused with an ordinary error, and nothing of it is ever on disk."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontainer.errors import DigestMismatch, InvalidImage, NotFound, PycontainerError
from pycontainer.image import Archive, ImageView, Layout, write_docker_archive, write_oci_archive
from pycontainer.layers import Limits
from pycontainer.oci import CONFIG_LIMIT, Descriptor, Index, encode, mediatype, sha256

MakeTar = Callable[..., bytes]
DockerMembers = Callable[..., dict[str, bytes]]


def load(data: bytes, limits: Limits | None = None) -> None:
    with Archive(io.BytesIO(data), limits=limits) as archive:
        archive.images()


def header(kind: bytes, linkname: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, linkname
    return info


HOSTILE_MEMBERS = {
    "absolute name": ("/etc/passwd", b"x"),
    "name that leaves": ("../x", b"x"),
    "name that leaves in the middle": ("a/../../x", b"x"),
    "name that is the top": ("a/..", b"x"),
    "overlong name": ("n/" * 600 + "x", b"x"),
    "link that leaves": ("link", header(tarfile.SYMTYPE, "../../etc/passwd")),
    "absolute link": ("link", header(tarfile.SYMTYPE, "/etc/passwd")),
    "hard link that leaves": ("link", header(tarfile.LNKTYPE, "../x")),
    "absolute hard link": ("link", header(tarfile.LNKTYPE, "/etc/shadow")),
    "device": ("null", header(tarfile.CHRTYPE)),
    "block device": ("sda", header(tarfile.BLKTYPE)),
    "fifo": ("pipe", header(tarfile.FIFOTYPE)),
    "member of unknown type": ("odd", header(b"Z")),
}


@pytest.mark.parametrize(("name", "member"), HOSTILE_MEMBERS.values(), ids=HOSTILE_MEMBERS)
def test_a_member_that_no_archive_needs_is_refused(
    make_tar: MakeTar, docker_members: DockerMembers, name: str, member: bytes | tarfile.TarInfo
) -> None:
    members = list(docker_members().items())
    load(make_tar(members))
    with pytest.raises(InvalidImage):
        load(make_tar([*members, (name, member)]))


@pytest.mark.parametrize("second", [b"[]", header(tarfile.SYMTYPE, "layer0/layer.tar")], ids=["file", "link"])
@pytest.mark.parametrize("name", ["manifest.json", "./manifest.json", "x/../manifest.json"])
def test_two_members_of_one_name_are_refused(
    make_tar: MakeTar, docker_members: DockerMembers, name: str, second: bytes | tarfile.TarInfo
) -> None:
    with pytest.raises(InvalidImage, match=r"two members manifest\.json"):
        load(make_tar([*docker_members().items(), (name, second)]))


def test_links_in_a_circle_end(make_tar: MakeTar) -> None:
    members = {"manifest.json": header(tarfile.SYMTYPE, "b"), "b": header(tarfile.SYMTYPE, "manifest.json")}
    with pytest.raises(InvalidImage, match="links in a row"):
        load(make_tar(members))


def test_a_link_to_nothing_is_missing(make_tar: MakeTar) -> None:
    with pytest.raises(NotFound, match="no member gone"):
        load(make_tar({"manifest.json": header(tarfile.SYMTYPE, "gone")}))


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"text" * 500, bytes(10240), gzip.compress(b""), gzip.compress(b"text" * 500)],
    ids=["empty", "byte", "text", "empty tar", "empty gzip", "gzip of text"],
)
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        load(data)


def test_another_tar_is_refused_with_the_remedy(make_tar: MakeTar) -> None:
    with pytest.raises(InvalidImage, match="imported, not loaded"):
        load(make_tar({"etc/passwd": b"root"}))
    with pytest.raises(InvalidImage, match=r"docker 1\.9 or older"):
        load(make_tar({"repositories": b"{}", "abc/layer.tar": b""}))


def changed(members: dict[str, bytes], **changes: object) -> dict[str, bytes]:
    (entry,) = json.loads(members["manifest.json"])
    return {**members, "manifest.json": json.dumps([{**entry, **changes}]).encode()}


BROKEN_LISTS = {
    "no list": b"{}",
    "no json": b"[",
    "entry is text": b'["x"]',
    "no config": b'[{"Layers":[]}]',
    "config is a list": b'[{"Config":[],"Layers":[]}]',
    "layers is text": b'[{"Config":"c","Layers":"l"}]',
    "duplicate keys": b'[{"Config":"c","Config":"d","Layers":[]}]',
    "keys in two cases": b'[{"Config":"c","config":"d","Layers":[]}]',
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "many": b"[" + b'{"Config":"c","Layers":[]},' * 5000 + b"null]",
}


@pytest.mark.parametrize("data", BROKEN_LISTS.values(), ids=BROKEN_LISTS)
def test_a_broken_list_of_images_is_refused(make_tar: MakeTar, data: bytes) -> None:
    with pytest.raises(InvalidImage):
        load(make_tar({"manifest.json": data}))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"Config": "/etc/passwd"}, InvalidImage),
        ({"Config": "../../etc/passwd"}, InvalidImage),
        ({"Config": "gone.json"}, NotFound),
        ({"Config": "layer0/layer.tar"}, InvalidImage),
        ({"Layers": ["/etc/passwd"]}, InvalidImage),
        ({"Layers": ["../x"]}, InvalidImage),
        ({"Layers": ["gone"]}, NotFound),
        ({"Layers": []}, InvalidImage),
        ({"Layers": ["layer0/layer.tar"] * 2}, InvalidImage),
        ({"Layers": ["layer0/layer.tar"] * 5000}, InvalidImage),
        ({"RepoTags": ["../../x:1"]}, InvalidImage),
        ({"RepoTags": ["a:1\r\nb"]}, InvalidImage),
        ({"RepoTags": "a:1"}, InvalidImage),
        ({"RepoTags": ["0" * 64]}, InvalidImage),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_list_that_names_what_is_not_there_is_refused(
    make_tar: MakeTar, docker_members: DockerMembers, changes: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        load(make_tar(changed(docker_members(), **changes)))


def test_a_configuration_under_a_false_digest_is_refused(
    make_tar: MakeTar, docker_members: DockerMembers
) -> None:
    members = docker_members()
    name = next(name for name in members if name.endswith(".json") and name != "manifest.json")
    members[name] = members[name].replace(b"amd64", b"arm64")
    with pytest.raises(DigestMismatch, match=name):
        load(make_tar(members))


def test_a_huge_configuration_is_refused(make_tar: MakeTar, docker_members: DockerMembers) -> None:
    with pytest.raises(InvalidImage, match="above the limit"):
        load(make_tar(docker_members(author="x" * CONFIG_LIMIT)))


def test_a_changed_layer_is_found_when_it_is_copied(
    make_tar: MakeTar, docker_members: DockerMembers, tmp_path: Path
) -> None:
    members = docker_members()
    members["layer0/layer.tar"] = members["layer0/layer.tar"].replace(b"hello", b"hallo")
    target = Layout.create(tmp_path / "x")
    with Archive(io.BytesIO(make_tar(members))) as archive:
        (image,) = archive.images()
        with pytest.raises(DigestMismatch):
            image.view.copy_to(target)
        assert not target.has(image.view.layers[0].digest)


@pytest.mark.parametrize(
    "compress", [gzip.compress, lambda data: gzip.compress(data)[:-9]], ids=["changed", "cut"]
)
def test_a_changed_compressed_layer_is_refused(
    make_tar: MakeTar, docker_members: DockerMembers, compress: Callable[[bytes], bytes]
) -> None:
    members = docker_members()
    members["layer0/layer.tar"] = compress(members["layer0/layer.tar"].replace(b"hello", b"hallo"))
    with pytest.raises((DigestMismatch, InvalidImage)):
        load(make_tar(members))


@pytest.mark.parametrize("magic", [b"\xfd7zXZ\0", b"BZh9"], ids=["xz", "bzip2"])
def test_a_layer_in_a_codec_no_registry_takes_is_refused(
    make_tar: MakeTar, docker_members: DockerMembers, magic: bytes
) -> None:
    with pytest.raises(InvalidImage, match="only gzip and zstd"):
        load(make_tar(docker_members(magic + bytes(600))))


class TestLayouts:
    @pytest.fixture
    def members(self, layout: Layout, view: ImageView) -> dict[str, bytes]:
        layout.add(view)
        return {
            str(path.relative_to(layout.root)): path.read_bytes()
            for path in layout.root.rglob("*")
            if path.is_file()
        }

    def test_a_missing_blob_is_missing(
        self, make_tar: MakeTar, members: dict[str, bytes], view: ImageView
    ) -> None:
        for digest in (view.descriptor.digest, view.id):
            short = {name: body for name, body in members.items() if not name.endswith(digest[7:])}
            with pytest.raises(NotFound, match=digest[7:]):
                load(make_tar(short))

    def test_a_blob_of_another_size_or_content_is_refused(
        self, make_tar: MakeTar, members: dict[str, bytes], view: ImageView
    ) -> None:
        for digest in (view.descriptor.digest, view.id):
            name = f"blobs/sha256/{digest[7:]}"
            for body in (members[name] + b" ", members[name].replace(b"a", b"b", 1)):
                with pytest.raises(DigestMismatch):
                    load(make_tar({**members, name: body}))

    def test_a_layer_of_another_size_is_refused_when_it_is_opened(
        self, make_tar: MakeTar, members: dict[str, bytes], view: ImageView
    ) -> None:
        layer = view.layers[0]
        data = make_tar({**members, f"blobs/sha256/{layer.digest[7:]}": b"short"})
        with Archive(io.BytesIO(data)) as archive, pytest.raises(DigestMismatch, match="5 bytes"):
            archive.images()[0].view.open_blob(layer)

    def test_an_index_that_contains_itself_in_spirit_ends(
        self, make_tar: MakeTar, members: dict[str, bytes], view: ImageView
    ) -> None:
        target = view.descriptor
        for _ in range(6):
            data = encode(Index(manifests=(target,)))
            target = Descriptor.of(data, mediatype.OCI_INDEX)
            members[f"blobs/sha256/{sha256(data)[7:]}"] = data
        members["index.json"] = encode(Index(manifests=(target,)))
        with pytest.raises(InvalidImage, match="nest deeper"):
            load(make_tar(members))

    @pytest.mark.parametrize(
        "index",
        [
            b"",
            b"[]",
            b'{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x","size":1,"mediaType":"a/b"}]}',
            b'{"schemaVersion":2,"manifests":[],"layers":[]}',
            b'{"schemaVersion":2,"manifests":[' + b"{}," * 9000 + b"{}]}",
        ],
        ids=["empty", "list", "digest", "hybrid", "many"],
    )
    def test_a_broken_index_is_refused(
        self, make_tar: MakeTar, members: dict[str, bytes], index: bytes
    ) -> None:
        with pytest.raises(InvalidImage):
            load(make_tar({**members, "index.json": index}))

    def test_a_layout_of_another_version_is_refused(
        self, make_tar: MakeTar, members: dict[str, bytes]
    ) -> None:
        with pytest.raises(InvalidImage, match="image layout version"):
            load(make_tar({**members, "oci-layout": b'{"imageLayoutVersion":"9"}'}))


class TestBombs:
    def test_size_ratio_and_count_are_limited(self, make_tar: MakeTar) -> None:
        bomb = gzip.compress(make_tar({"x": bytes(4 << 20)}))
        with pytest.raises(InvalidImage, match="uncompressed bytes"):
            load(bomb, Limits(bytes=1 << 20))
        with pytest.raises(InvalidImage, match="ratio"):
            load(bomb, Limits(ratio=10, ratio_grace=1 << 20))
        with pytest.raises(InvalidImage, match="more than 5 entries"):
            load(make_tar({str(n): b"" for n in range(6)}), Limits(entries=5))

    def test_a_refused_stream_leaves_no_scratch_file(
        self, make_tar: MakeTar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with pytest.raises(InvalidImage):
            load(gzip.compress(make_tar({"x": bytes(4 << 20)})), Limits(bytes=1 << 20))
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [write_oci_archive, write_docker_archive])
def test_an_archive_cut_or_changed_anywhere_never_gives_another_image(
    write: Callable[..., None], layout: Layout, view: ImageView, tmp_path: Path
) -> None:
    out = io.BytesIO()
    write(out, [(view, [])])
    data = out.getvalue()
    target = Layout.create(tmp_path / "x")
    for at in range(0, len(data), 97):
        flipped = data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :]
        for hostile in (data[:at], flipped):
            try:
                with Archive(io.BytesIO(hostile)) as archive:
                    for image in archive.images():
                        image.view.copy_to(target)
                        assert image.view.id == view.id
            except PycontainerError:
                continue
