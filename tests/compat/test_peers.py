"""Images exchanged with docker, podman, skopeo and umoci through Debian's docker-registry and through ours."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

import pycontainer as pc
from pycontainer.errors import AuthDenied
from pycontainer.oci import mediatype
from tests.support import peers, rich_image
from tests.support.images import tar_of
from tests.support.layers import describe, merged
from tests.support.needs import needs
from tests.support.peers import PASSWORD, USER, Docker, Namespace, Podman, Skopeo

pytestmark = [
    pytest.mark.needs("root", "overlay", "docker-registry", "skopeo", "nsenter"),
    pytest.mark.timeout(180),
]
Tree = dict[str, tuple[Any, ...]]


@pytest.fixture(scope="session")
def space() -> Iterator[Namespace]:
    with peers.namespace() as made:
        yield made


@pytest.fixture(scope="session")
def skopeo(space: Namespace) -> Skopeo:
    return Skopeo(space)


@pytest.fixture(scope="session")
def daemon(space: Namespace) -> Iterator[Docker]:
    with peers.docker(space) as made:
        yield made


@pytest.fixture
def docker(daemon: Docker) -> Iterator[Docker]:
    yield daemon
    daemon.forget()


@pytest.fixture
def podman(space: Namespace) -> Iterator[Podman]:
    home = space.directory / "podman"
    home.mkdir(exist_ok=True)
    made = Podman(space, home)
    yield made
    made.forget()


@pytest.fixture(scope="session")
def debian(space: Namespace) -> Iterator[str]:
    """Address of a docker-registry."""
    with peers.docker_registry(space.directory / "registry") as address:
        yield address


@pytest.fixture(scope="session")
def guarded(space: Namespace) -> Iterator[str]:
    """Address of a docker-registry that asks for a name and a password."""
    folder = space.directory / "guarded"
    with peers.docker_registry(folder, password_file=peers.HTPASSWD) as address:
        yield address


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory, busybox_rootfs: Path) -> Path:
    """An OCI layout of an image with one of everything, "latest"."""
    return rich_image.layout(tmp_path_factory.mktemp("rich") / "layout", busybox_rootfs)


@pytest.fixture(scope="session")
def by_umoci(rich: Path, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """What umoci unpacks of it."""
    bundle = tmp_path_factory.mktemp("umoci") / "bundle"
    command = ["umoci", "unpack", "--image", f"{rich}:latest", str(bundle)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    tree = describe(bundle / "rootfs")
    tree.pop(".")
    return tree


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[pc.Engine]:
    """An engine on an empty store, in the block of the test."""
    with pc.Engine(tmp_path / "store") as made:
        yield made


def tree_of(image: pc.Image, engine: pc.Engine, scratch: Path) -> Tree:
    """What a container of the image sees."""
    return merged(engine.store.lower_dirs(image.snapshots), scratch)


def assert_same(ours: Tree, theirs: Tree) -> None:
    """Entry by entry: type, mode, owner, target or content, times of files, attributes, hard links."""
    assert sorted(ours) == sorted(theirs)
    for path, entry in theirs.items():
        # A directory's time is the layer's where it lists it; else each engine touches it in its own order.
        times = slice(4, 5 if not entry[0].startswith("0o40") else 4)
        assert ours[path][:4] + ours[path][times] + ours[path][5:] == entry[:4] + entry[times] + entry[5:], path


def check(image: pc.Image, engine: pc.Engine, scratch: Path, expected: Tree) -> None:
    """The image is the rich one, in every entry, and runs."""
    assert_same(tree_of(image, engine, scratch), expected)
    assert pc.run(image, engine=engine).check().stdout == rich_image.SAYS


def manifest_of(skopeo: Skopeo, name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}"))
    return told


def compressions(manifest: Mapping[str, Any]) -> set[str]:
    return {str(mediatype.compression_of(layer["mediaType"])) for layer in manifest["layers"]}


@needs("umoci")
class TestPulledByUs:
    """What others pushed to docker-registry has, here, the tree umoci unpacks."""

    @pytest.mark.parametrize(
        ("form", "compression"), [("oci", "gzip"), ("v2s2", "gzip"), ("oci", "zstd")], ids="-".join
    )
    def test_what_skopeo_pushed(
        self, debian: str, skopeo: Skopeo, rich: Path, by_umoci: Tree, engine: pc.Engine, tmp_path: Path,
        form: str, compression: str,
    ) -> None:  # fmt: skip
        name = f"{debian}/skopeo/{form}-{compression}:1"
        skopeo("copy", "--dest-decompress", f"oci:{rich}:latest", f"dir:{tmp_path}/plain")
        skopeo(
            "copy", "--dest-tls-verify=false", f"--format={form}", f"--dest-compress-format={compression}",
            f"dir:{tmp_path}/plain", f"docker://{name}",
        )  # fmt: skip
        manifest = manifest_of(skopeo, name)
        assert compressions(manifest) == {compression}
        kind = mediatype.OCI_MANIFEST if form == "oci" else mediatype.DOCKER_MANIFEST
        assert manifest["mediaType"] == kind
        check(pc.Image.pull(name), engine, tmp_path / "look", by_umoci)

    @needs("podman")
    @pytest.mark.parametrize(
        ("form", "compression"), [("oci", "gzip"), ("v2s2", "gzip"), ("oci", "zstd")], ids="-".join
    )
    def test_what_podman_pushed(
        self, debian: str, podman: Podman, skopeo: Skopeo, rich: Path, by_umoci: Tree, engine: pc.Engine,
        tmp_path: Path, form: str, compression: str,
    ) -> None:  # fmt: skip
        name = f"{debian}/podman/{form}-{compression}:1"
        podman("tag", podman.pull(f"oci:{rich}:latest").removeprefix("sha256:"), name)
        podman.push(name, "--format", form, "--compression-format", compression)
        assert compressions(manifest_of(skopeo, name)) == {compression}
        check(pc.Image.pull(name), engine, tmp_path / "look", by_umoci)

    @needs("dockerd", "containerd", "docker")
    def test_what_docker_pushed(
        self, debian: str, docker: Docker, skopeo: Skopeo, rich: Path, by_umoci: Tree, engine: pc.Engine,
        tmp_path: Path,
    ) -> None:  # fmt: skip
        name = f"{debian}/docker/rich:1"
        skopeo("copy", f"oci:{rich}:latest", f"docker-archive:{tmp_path}/rich.tar:{name}")
        docker.load(tmp_path / "rich.tar")
        docker.push(name)
        image = pc.Image.pull(name)
        assert image.id == docker.id_of(name)
        check(image, engine, tmp_path / "look", by_umoci)
