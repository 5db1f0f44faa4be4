"""Archives of images: written, read back in every packing, and other engines' habits."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import stat
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontainer.errors import DigestMismatch, InvalidImage, NotFound
from pycontainer.image import (
    Archive,
    ImageView,
    Layout,
    from_files,
    images_in_layout,
    validate_image,
    write_docker_archive,
    write_oci_archive,
)
from pycontainer.oci import (
    Descriptor,
    Index,
    Manifest,
    Platform,
    Reference,
    encode,
    mediatype,
    sha256,
)

parse = Reference.parse
Write = Callable[..., None]
MakeTar = Callable[..., bytes]
DockerMembers = Callable[..., dict[str, bytes]]


def zstd(data: bytes) -> bytes:
    module = pytest.importorskip("backports.zstd")
    packed: bytes = module.compress(data)
    return packed


def pack(write: Write, *images: object) -> bytes:
    out = io.BytesIO()
    write(out, images)
    return out.getvalue()


def loaded(data: bytes) -> list[tuple[list[str], str]]:
    with Archive(io.BytesIO(data)) as archive:
        return [([str(name) for name in image.names], image.view.id) for image in archive.images()]


@pytest.fixture
def other(layout: Layout) -> ImageView:
    return from_files(layout, {"b": "c" * 5000}, compression="zstd")


@pytest.mark.parametrize("write", [write_oci_archive, write_docker_archive])
class TestBothFormats:
    @pytest.mark.parametrize(
        "packed",
        [lambda data: data, gzip.compress, zstd, lzma.compress, bz2.compress],
        ids=["plain", "gzip", "zstd", "xz", "bzip2"],
    )
    def test_several_images_and_names_come_back_in_any_packing(
        self,
        write: Write,
        packed: Callable[[bytes], bytes],
        view: ImageView,
        other: ImageView,
        tmp_path: Path,
    ) -> None:
        names = [parse("app:1"), parse("quay.io/app:2")]
        data = packed(pack(write, (view, names), (other, [parse("other")])))
        (tmp_path / "file").write_bytes(data)
        for source in (tmp_path / "file", str(tmp_path / "file"), io.BytesIO(data)):
            with Archive(source) as archive:
                images = archive.images()
                assert [image.names for image in images] == [tuple(names), (parse("other"),)]
                assert [image.view.id for image in images] == [view.id, other.id]
                target = Layout.create(tmp_path / "loaded")
                for image in images:
                    image.view.copy_to(target)
                    assert validate_image(target, image.view.descriptor) == []
                    assert image.view.config_bytes in (view.config_bytes, other.config_bytes)

    def test_an_image_without_names_is_kept(self, write: Write, view: ImageView) -> None:
        assert loaded(pack(write, (view, []))) == [([], view.id)]

    def test_the_same_images_give_the_same_bytes(self, write: Write, view: ImageView) -> None:
        assert pack(write, (view, [parse("a")])) == pack(write, (view, [parse("a")]))

    def test_a_blob_is_written_once(self, write: Write, layout: Layout, view: ImageView) -> None:
        data = pack(write, (view, [parse("a")]), (view, [parse("b")]))
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            names = tar.getnames()
        assert len(names) == len(set(names))
        assert loaded(data) == [(["docker.io/library/a:latest", "docker.io/library/b:latest"], view.id)]

    def test_a_path_appears_only_when_it_is_complete(
        self, write: Write, layout: Layout, view: ImageView, tmp_path: Path
    ) -> None:
        target = tmp_path / "out" / "x.tar"
        target.parent.mkdir()
        blob = layout.root / "blobs/sha256" / view.layers[0].digest[7:]
        intact = blob.read_bytes()
        blob.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
        with pytest.raises((DigestMismatch, InvalidImage)):
            write(target, [(view, [])])
        assert list(target.parent.iterdir()) == []
        blob.write_bytes(intact)
        old_mask = os.umask(0o027)
        try:
            write(target, [(view, [])])
        finally:
            os.umask(old_mask)
        assert stat.S_IMODE(target.stat().st_mode) == 0o640
        with Archive(target) as archive:
            assert archive.images()[0].view.id == view.id

    def test_a_missing_blob_is_an_error(self, write: Write, layout: Layout, view: ImageView) -> None:
        (layout.root / "blobs/sha256" / view.layers[0].digest[7:]).unlink()
        with pytest.raises(NotFound):
            pack(write, (view, []))

    def test_a_pipe_is_read_to_its_end(self, write: Write, view: ImageView) -> None:
        data = pack(write, (view, [parse("a")]))
        read_fd, write_fd = os.pipe()

        def feed() -> None:
            with open(write_fd, "wb") as pipe:
                pipe.write(data)

        thread = threading.Thread(target=feed)
        thread.start()
        with open(read_fd, "rb", buffering=0) as pipe, Archive(pipe) as archive:
            assert archive.images()[0].view.id == view.id
        thread.join(10)

    def test_a_closed_archive_reads_nothing(self, write: Write, view: ImageView) -> None:
        with Archive(io.BytesIO(pack(write, (view, [])))) as archive:
            copy = archive.images()[0].view
            blob = copy.open_blob(copy.layers[0])
        with pytest.raises(ValueError, match="closed"):
            blob.read(1)


def test_an_oci_archive_keeps_every_digest(view: ImageView) -> None:
    with Archive(io.BytesIO(pack(write_oci_archive, (view, [])))) as archive:
        copy = archive.images()[0].view
        assert archive.format == "oci-archive"
        assert copy.manifest_bytes == view.manifest_bytes


def test_a_docker_archive_has_both_descriptions_and_plain_layers(view: ImageView) -> None:
    data = pack(write_docker_archive, (view, [parse("quay.io/app:1"), parse("app")]))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = {name: tar.extractfile(name) for name in tar.getnames()}
        listed = json.loads(members["manifest.json"].read())  # type: ignore[union-attr]
        layer = f"blobs/sha256/{view.diff_ids[0][7:]}"
        assert listed == [
            {
                "Config": f"blobs/sha256/{view.id[7:]}",
                "RepoTags": ["quay.io/app:1", "app:latest"],
                "Layers": [layer],
            }
        ]
        assert sha256(members[layer].read()) == view.diff_ids[0]  # type: ignore[union-attr]
        assert (
            json.loads(members["repositories"].read())
            == {  # type: ignore[union-attr]
                "app": {"latest": view.diff_ids[0][7:]},
                "quay.io/app": {"1": view.diff_ids[0][7:]},
            }
        )
        assert {"oci-layout", "index.json"} <= set(members)


class TestDockersOwn:
    def test_the_classic_form_is_read_and_keeps_the_image_id(
        self, make_tar: MakeTar, docker_members: DockerMembers, tmp_path: Path
    ) -> None:
        members = docker_members(tags=["app:1", "localhost:5000/x/y:2"])
        config_name = next(name for name in members if name.endswith(".json") and name != "manifest.json")
        with Archive(io.BytesIO(make_tar(members))) as archive:
            assert archive.format == "docker-archive"
            (image,) = archive.images()
            assert image.names == (parse("app:1"), parse("localhost:5000/x/y:2"))
            assert image.view.id == f"sha256:{config_name.removesuffix('.json')}"
            assert image.view.config_bytes == members[config_name]
            target = Layout.create(tmp_path / "x")
            image.view.copy_to(target)
            assert validate_image(target, image.view.descriptor) == []

    @pytest.mark.parametrize("compress", [gzip.compress, zstd], ids=["gzip", "zstd"])
    def test_compressed_layers_keep_their_bytes(
        self,
        make_tar: MakeTar,
        docker_members: DockerMembers,
        compress: Callable[[bytes], bytes],
        tmp_path: Path,
    ) -> None:
        members = docker_members()
        members["layer0/layer.tar"] = compress(members["layer0/layer.tar"])
        with Archive(io.BytesIO(make_tar(members))) as archive:
            view = archive.images()[0].view
            assert view.layers[0].digest == sha256(members["layer0/layer.tar"])
            target = Layout.create(tmp_path / "x")
            view.copy_to(target)
            assert validate_image(target, view.descriptor) == []

    def test_links_to_shared_layers_are_followed(
        self, make_tar: MakeTar, docker_members: DockerMembers
    ) -> None:
        layer = make_tar({"a": b"b"})
        members: dict[str, object] = {**docker_members(layer, layer)}
        link = tarfile.TarInfo()
        link.type, link.linkname = tarfile.SYMTYPE, "../layer0/layer.tar"
        members["layer1/layer.tar"] = link
        with Archive(io.BytesIO(make_tar(members))) as archive:
            view = archive.images()[0].view
            assert [layer.digest for layer in view.layers] == [sha256(layer)] * 2
        link.type, link.linkname = tarfile.LNKTYPE, "layer0/layer.tar"
        with Archive(io.BytesIO(make_tar(members))) as archive:
            assert len(archive.images()[0].view.layers) == 2

    def test_images_may_share_a_configuration_and_have_no_names(
        self, make_tar: MakeTar, docker_members: DockerMembers
    ) -> None:
        members = docker_members()
        (entry,) = json.loads(members["manifest.json"])
        again = {**entry, "RepoTags": ["app:2"]}
        unnamed = {**entry, "RepoTags": None}
        members["manifest.json"] = json.dumps([entry, again, unnamed]).encode()
        ((names, _),) = loaded(make_tar(members))
        assert names == ["docker.io/library/app:1", "docker.io/library/app:2"]

    def test_leading_dots_and_directories_in_member_names_are_harmless(
        self, make_tar: MakeTar, docker_members: DockerMembers
    ) -> None:
        members: list[tuple[str, object]] = [(f"./{name}", body) for name, body in docker_members().items()]
        folder = tarfile.TarInfo()
        folder.type = tarfile.DIRTYPE
        assert loaded(make_tar([("./", folder), *members]))

    def test_of_both_descriptions_the_layout_decides_and_names_are_joined(
        self, make_tar: MakeTar, layout: Layout, view: ImageView
    ) -> None:
        members = _layout_members(layout, Index(manifests=(view.descriptor,)))
        listed = [{"Config": f"blobs/sha256/{view.id[7:]}", "RepoTags": ["app:9"], "Layers": []}]
        members["manifest.json"] = json.dumps(listed).encode()
        with Archive(io.BytesIO(make_tar(members))) as archive:
            (image,) = archive.images()
            assert image.view.manifest_bytes == view.manifest_bytes
            assert image.names == (parse("app:9"),)


def _layout_members(layout: Layout, index: Index) -> dict[str, bytes]:
    members = {
        str(path.relative_to(layout.root)): path.read_bytes()
        for path in layout.root.rglob("*")
        if path.is_file()
    }
    members["index.json"] = encode(index)
    return members


class TestIndexes:
    def test_an_index_of_which_only_some_images_are_there_gives_those(
        self, make_tar: MakeTar, layout: Layout
    ) -> None:
        views = {
            name: from_files(layout, {"a": name}, platform=Platform.parse(name))
            for name in ("linux/arm64", "linux/amd64")
        }
        index = encode(Index(manifests=tuple(view.descriptor for view in views.values())))
        layout.put(index)
        members = _layout_members(layout, Index(manifests=(Descriptor.of(index, mediatype.OCI_INDEX),)))
        for name, view in views.items():
            with Archive(io.BytesIO(make_tar(members))) as archive:
                (image,) = archive.images(Platform.parse(name))
                assert image.view.id == view.id
        gone = views["linux/arm64"].descriptor.digest
        del members[f"blobs/sha256/{gone[7:]}"]
        with Archive(io.BytesIO(make_tar(members))) as archive:
            assert archive.images(Platform.parse("linux/amd64"))[0].view.id == views["linux/amd64"].id
            with pytest.raises(NotFound, match="there are: linux/amd64"):
                archive.images(Platform.parse("linux/s390x"))

    def test_attestations_and_artifacts_beside_an_image_are_passed_over(
        self, make_tar: MakeTar, layout: Layout, view: ImageView
    ) -> None:
        layout.put(b"{}")
        artifact = encode(Manifest(config=Descriptor.of(b"{}", mediatype.OCI_EMPTY), artifact_type="a/b"))
        layout.put(artifact)
        entry = Descriptor.of(artifact, mediatype.OCI_MANIFEST)
        members = _layout_members(layout, Index(manifests=(entry, view.descriptor)))
        assert [found for _, found in loaded(make_tar(members))] == [view.id]
        with pytest.raises(InvalidImage, match="no container image"):
            loaded(make_tar(_layout_members(layout, Index(manifests=(entry,)))))
        with pytest.raises(InvalidImage, match="no container image"):
            loaded(make_tar(_layout_members(layout, Index())))

    @pytest.mark.parametrize(
        ("annotations", "expected"),
        [
            ({"org.opencontainers.image.ref.name": "docker.io/library/a:1"}, ["docker.io/library/a:1"]),
            ({"org.opencontainers.image.ref.name": "1"}, []),
            ({"org.opencontainers.image.ref.name": "not a name/"}, []),
            (
                {"io.containerd.image.name": "quay.io/a:2", "org.opencontainers.image.ref.name": "2"},
                ["quay.io/a:2"],
            ),
            (
                {"io.containerd.image.name": "../x", "org.opencontainers.image.ref.name": "a:3"},
                ["docker.io/library/a:3"],
            ),
        ],
        ids=["podman", "bare tag", "no name", "containerd", "second choice"],
    )
    def test_names_are_read_from_the_annotations_engines_write(
        self,
        make_tar: MakeTar,
        layout: Layout,
        view: ImageView,
        annotations: dict[str, str],
        expected: list[str],
    ) -> None:
        plain = view.descriptor
        entry = Descriptor(
            media_type=plain.media_type, digest=plain.digest, size=plain.size, annotations=annotations
        )
        data = make_tar(_layout_members(layout, Index(manifests=(entry,))))
        assert loaded(data) == [(expected, view.id)]

    def test_a_layout_directory_lists_the_same_images_as_its_tar(
        self, layout: Layout, view: ImageView, other: ImageView
    ) -> None:
        layout.add(view, [parse("a:1"), parse("a:2")])
        layout.add(other, [parse("b:1")])
        found = images_in_layout(layout)
        assert [(image.names, image.view.id) for image in found] == [
            ((parse("a:1"), parse("a:2")), view.id),
            ((parse("b:1"),), other.id),
        ]
