"""Archives and layouts exchanged with skopeo, umoci and podman, both ways."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pycontainer.image import (
    Archive,
    File,
    ImageView,
    Layout,
    Symlink,
    from_files,
    images_in_layout,
    validate_image,
    write_docker_archive,
    write_oci_archive,
)
from pycontainer.oci import ContainerConfig, Reference
from tests.support.needs import needs

parse = Reference.parse
NAMES = (parse("quay.io/team/app:1"), parse("app:2"))


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def skopeo(*arguments: str | Path) -> str:
    return run("skopeo", "--insecure-policy", *arguments)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.create(tmp_path / "layout")


@pytest.fixture
def view(layout: Layout) -> ImageView:
    files = {
        "bin/run": "#!/bin/sh\n",
        "etc/motd": "hello\n",
        "etc/link": Symlink("motd"),
        "srv/" + "long-name-" * 25: "x",
        "srv/ünïcode": "y",
        "srv/big": File(content=bytes(100_000), mode=0o600, uid=3_000_000, gid=1000, mtime_s=1_700_000_000),
    }
    return from_files(layout, files, config=ContainerConfig(cmd=("/bin/run",), labels={"a": "b"}))


@pytest.fixture
def other(layout: Layout) -> ImageView:
    return from_files(layout, {"b": "c"}, compression="plain")


def config_id(inspected: str) -> str:
    """The image id skopeo tells with --raw: the digest of the configuration."""
    return str(json.loads(inspected)["config"]["digest"])


@needs("skopeo")
class TestWhatWeWrite:
    @pytest.mark.parametrize("name", NAMES, ids=str)
    def test_skopeo_reads_each_image_of_an_oci_archive(
        self, tmp_path: Path, view: ImageView, other: ImageView, name: Reference
    ) -> None:
        write_oci_archive(tmp_path / "x.tar", [(view, NAMES), (other, [parse("other")])])
        told = json.loads(skopeo("inspect", f"oci-archive:{tmp_path}/x.tar:{name}"))
        assert told["Digest"] == view.descriptor.digest
        assert told["Labels"] == {"a": "b"}
        assert told["Layers"] == [layer.digest for layer in view.layers]

    @pytest.mark.parametrize("name", NAMES, ids=str)
    def test_skopeo_reads_each_image_of_a_docker_archive(
        self, tmp_path: Path, view: ImageView, other: ImageView, name: Reference
    ) -> None:
        write_docker_archive(tmp_path / "x.tar", [(view, NAMES), (other, [parse("other")])])
        raw = skopeo("inspect", "--raw", f"docker-archive:{tmp_path}/x.tar:{name}")
        assert config_id(raw) == view.id
        # skopeo's copy derives every digest again.
        skopeo("copy", f"docker-archive:{tmp_path}/x.tar:{name}", f"oci:{tmp_path}/copied:it")
        copied = Layout(tmp_path / "copied")
        assert copied.view("it").diff_ids == view.diff_ids

    def test_skopeo_copies_out_of_a_layout_directory(
        self, tmp_path: Path, layout: Layout, view: ImageView
    ) -> None:
        layout.add(view, NAMES)
        skopeo("copy", f"oci:{layout.root}:{NAMES[0]}", f"docker-archive:{tmp_path}/x.tar:x:1")
        with Archive(tmp_path / "x.tar") as archive:
            assert archive.images()[0].view.id == view.id

    @needs("umoci")
    def test_umoci_unpacks_what_we_built(self, tmp_path: Path, layout: Layout, view: ImageView) -> None:
        layout.add(view, [parse("app:1")])
        skopeo("copy", f"oci:{layout.root}:docker.io/library/app:1", f"oci:{tmp_path}/tagged:t")
        run("umoci", "raw", "unpack", "--image", f"{tmp_path}/tagged:t", tmp_path / "rootfs")
        root = tmp_path / "rootfs"
        big = (root / "srv/big").stat()
        assert (big.st_uid, big.st_gid, big.st_mode & 0o7777) == (3_000_000, 1000, 0o600)
        assert (big.st_size, big.st_mtime) == (100_000, 1_700_000_000)
        assert (root / "etc/link").readlink() == Path("motd")
        assert (root / "srv/ünïcode").read_text() == "y"
        assert (root / ("srv/" + "long-name-" * 25)).read_text() == "x"

    @needs("root", "podman")
    @pytest.mark.no_oracle  # podman keeps a lock segment of its own in /dev/shm
    @pytest.mark.parametrize("write", [write_oci_archive, write_docker_archive])
    def test_podman_loads_it_under_its_name(
        self, tmp_path: Path, view: ImageView, write: Callable[..., None]
    ) -> None:
        write(tmp_path / "x.tar", [(view, [parse("quay.io/team/app:1")])])
        root, run_root = tmp_path / "podman", tempfile.mkdtemp(prefix="pm-")  # at most 50 characters
        podman = ["podman", "--root", root, "--runroot", run_root, "--storage-driver", "vfs"]
        try:
            run(*podman, "load", "-q", "-i", tmp_path / "x.tar")
            told = run(*podman, "images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}")
        finally:
            shutil.rmtree(run_root)
        assert told.split() == [view.id, "quay.io/team/app:1"]


@needs("skopeo")
class TestWhatTheyWrite:
    @pytest.mark.parametrize(
        ("target", "options"),
        [
            ("oci-archive:{}:app:1", []),
            ("docker-archive:{}:app:1", []),
            ("oci-archive:{}:app:1", ["--dest-compress-format", "zstd", "--dest-compress"]),
        ],
        ids=["oci", "docker", "oci zstd"],
    )
    def test_an_archive_of_skopeo_is_loaded(
        self, tmp_path: Path, layout: Layout, view: ImageView, target: str, options: Sequence[str]
    ) -> None:
        layout.add(view, [parse("src:1")])
        source = f"oci:{layout.root}:docker.io/library/src:1"
        skopeo("copy", *options, source, target.format(tmp_path / "x.tar"))
        loaded = Layout.create(tmp_path / "loaded")
        with Archive(tmp_path / "x.tar") as archive:
            (image,) = archive.images()
            assert image.names == (parse("app:1"),)
            assert image.view.id == view.id
            assert image.view.diff_ids == view.diff_ids
            image.view.copy_to(loaded)
        assert validate_image(loaded, image.view.descriptor) == []

    def test_several_images_in_one_docker_archive_of_skopeo_are_loaded(
        self, tmp_path: Path, layout: Layout, view: ImageView, other: ImageView
    ) -> None:
        layout.add(view, [parse("src:1")])
        target = f"docker-archive:{tmp_path}/x.tar:app:1"
        tags = ["--additional-tag", "app:2", "--additional-tag", "quay.io/a/b:3"]
        skopeo("copy", *tags, f"oci:{layout.root}:docker.io/library/src:1", target)
        with Archive(tmp_path / "x.tar") as archive:
            (image,) = archive.images()
            assert set(image.names) == {parse("app:1"), parse("app:2"), parse("quay.io/a/b:3")}

    @pytest.mark.parametrize("packer", ["gzip", "zstd", "xz"])
    def test_a_packed_archive_of_skopeo_is_loaded(
        self, tmp_path: Path, layout: Layout, view: ImageView, packer: str
    ) -> None:
        layout.add(view, [parse("src:1")])
        source = f"oci:{layout.root}:docker.io/library/src:1"
        skopeo("copy", source, f"docker-archive:{tmp_path}/x.tar:app:1")
        packed = subprocess.run([packer, "-c", tmp_path / "x.tar"], capture_output=True, check=True).stdout
        (tmp_path / "x.packed").write_bytes(packed)
        with Archive(tmp_path / "x.packed") as archive:
            assert archive.images()[0].view.id == view.id

    def test_a_layout_of_skopeo_is_read(self, tmp_path: Path, layout: Layout, view: ImageView) -> None:
        layout.add(view, [parse("src:1")])
        source = f"oci:{layout.root}:docker.io/library/src:1"
        for name in ("one:1", "two:2"):
            skopeo("copy", source, f"oci:{tmp_path}/theirs:{name}")
        theirs = Layout(tmp_path / "theirs")
        assert theirs.view("one:1").id == view.id
        (image,) = images_in_layout(theirs)
        assert image.names == (parse("one:1"), parse("two:2"))
        assert validate_image(theirs, image.view.descriptor) == []
