"""Images exchanged with docker, podman, skopeo and umoci by registry and by file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer.errors import AuthDenied
from pycontainer.oci import mediatype
from tests.support import peers, rich_image
from tests.support.layers import describe, merged
from tests.support.needs import needs
from tests.support.peers import PASSWORD, USER, Docker, Namespace, Podman, Skopeo

pytestmark = [
    pytest.mark.needs("root", "overlay", "docker-registry", "skopeo", "nsenter"),
    pytest.mark.timeout(180),
]
Tree = dict[str, tuple[Any, ...]]
FORMS = pytest.mark.parametrize(
    ("form", "compression"),
    [("oci", "gzip"), ("v2s2", "gzip"), ("oci", "zstd")],
    ids=["oci gzip", "schema 2 gzip", "oci zstd"],
)


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
        skipped = 4 if entry[0].startswith("0o40") else None
        mine = [fact for index, fact in enumerate(ours[path]) if index != skipped]
        assert mine == [fact for index, fact in enumerate(entry) if index != skipped], path


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
def test_the_image_that_is_compared_has_one_of_everything(by_umoci: Tree) -> None:
    modes = {path: int(entry[0], 8) for path, entry in by_umoci.items()}
    assert modes["bin/su"] == 0o104755
    assert modes["turned"] == 0o42711
    assert by_umoci["usr/sbin/bind"][5] == {"security.capability": rich_image.CAPABILITY}
    assert by_umoci["usr/sbin/noted"][5] == {"user.note": b"kept"}
    assert by_umoci["srv/big-owner"][1:3] == (2_000_000_000, 1)
    assert len({by_umoci[f"srv/{name}"][6] for name in ("one", "two", "three")}) == 1
    assert f"srv/{rich_image.LONG}" in by_umoci
    assert not {"gone", "old/hidden", "old/deep", "var/spool/removed"} & set(by_umoci)
    assert {"old/seen", "var/spool/kept", "turned/inside"} <= set(by_umoci)


@needs("umoci")
class TestPulledByUs:
    """What others pushed to docker-registry has, here, the tree umoci unpacks."""

    @FORMS
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
    @FORMS
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


@pytest.fixture(scope="session")
def seen_by_all(rich: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a container of the rich image prints of its own files, here."""
    with pc.Engine(tmp_path_factory.mktemp("seen") / "store"):
        image = pc.Image.load(rich)[0]
        return pc.run(image, ["sh", "-c", rich_image.LISTING]).check().stdout


@pytest.fixture
def embedded() -> Iterator[pc.Registry]:
    """A registry of ours."""
    with pc.Registry() as made:
        yield made


@pytest.fixture(params=["docker-registry", "pycontainer"])
def registry(request: pytest.FixtureRequest, debian: str, embedded: pc.Registry) -> str:
    """Address of a registry: Debian's, then ours."""
    return debian if request.param == "docker-registry" else embedded.address


def rich_one(_directory: Path, rich: Path) -> pc.Image:
    return pc.Image.load(rich)[0]


def of_a_directory(directory: Path, _rich: Path) -> pc.Image:
    (directory / "made/bin").mkdir(parents=True)
    (directory / "made/bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (directory / "made/bin/busybox").chmod(0o755)
    (directory / "made/bin/sh").symlink_to("busybox")
    return pc.Image.from_directory(directory / "made", cmd=["/bin/sh", "-c", "echo a directory"])


def of_the_host(_directory: Path, _rich: Path) -> pc.Image:
    return pc.Image.from_host(["sh", "echo", "id"], cmd=["sh", "-c", "id -u; echo of the host"])


MADE = pytest.mark.parametrize(
    ("make", "says"),
    [(rich_one, rich_image.SAYS), (of_a_directory, b"a directory\n"), (of_the_host, b"0\nof the host\n")],
    ids=["loaded", "from_directory", "from_host"],
)


class TestPushedByUs:
    """What we push to docker-registry and to our own registry is an image to everybody."""

    @MADE
    @needs("podman", "dockerd", "containerd", "docker")
    def test_podman_and_docker_pull_and_run_it_and_skopeo_reads_it(
        self, registry: str, podman: Podman, docker: Docker, skopeo: Skopeo, rich: Path, engine: pc.Engine,
        tmp_path: Path, make: Callable[[Path, Path], pc.Image], says: bytes,
    ) -> None:  # fmt: skip
        name = f"{registry}/ours/{make.__name__}:1"
        image = make(tmp_path, rich)
        digest = image.push(name)
        told = skopeo.inspect(name)
        assert (told["Digest"], told["Os"], told["RepoTags"]) == (digest, "linux", ["1"])
        assert podman.pull(name) == docker.pull(name) == image.id
        assert podman.run(name) == docker.run(name) == pc.run(image).check().stdout == says

    @needs("podman", "dockerd", "containerd", "docker")
    def test_containers_of_all_three_see_the_same_files(
        self, registry: str, podman: Podman, docker: Docker, rich: Path, engine: pc.Engine,
        seen_by_all: bytes,
    ) -> None:  # fmt: skip
        name = f"{registry}/ours/listed:1"
        pc.Image.load(rich)[0].push(name)
        podman.pull(name)
        docker.pull(name)
        look = ["sh", "-c", rich_image.LISTING]
        assert b"srv/big-owner regular file 600 2000000000 1" in seen_by_all
        assert podman.run(name, *look) == seen_by_all
        assert docker.run(name, *look) == seen_by_all


@needs("ctr", "containerd", "dockerd", "docker", "umoci")
def test_containerd_pulls_what_we_push_and_pushes_it_on(
    registry: str, docker: Docker, rich: Path, by_umoci: Tree, engine: pc.Engine, tmp_path: Path
) -> None:
    name, other = f"{registry}/containerd/ours:1", f"{registry}/containerd/theirs:1"
    digest = pc.Image.load(rich)[0].push(name)
    try:
        docker.containerd("images", "pull", "--plain-http", name)
        docker.containerd("images", "tag", name, other)
        docker.containerd("images", "push", "--plain-http", other)
    finally:
        docker.containerd("images", "remove", "--sync", name, other)
    image = pc.Image.pull(other)
    assert image.digest == digest
    check(image, engine, tmp_path / "look", by_umoci)


class TestOurRegistry:
    """docker, podman and skopeo use the embedded registry unchanged."""

    @needs("dockerd", "containerd", "docker", "umoci")
    def test_docker_pushes_and_pulls(
        self, embedded: pc.Registry, docker: Docker, skopeo: Skopeo, rich: Path, by_umoci: Tree,
        engine: pc.Engine, tmp_path: Path,
    ) -> None:  # fmt: skip
        name = f"{embedded.address}/docker/rich:1"
        skopeo("copy", f"oci:{rich}:latest", f"docker-archive:{tmp_path}/rich.tar:{name}")
        docker.load(tmp_path / "rich.tar")
        docker.push(name)
        pushed = docker.id_of(name)
        docker.forget()
        assert docker.pull(name) == pushed
        assert docker.run(name) == rich_image.SAYS
        docker("tag", name, f"{embedded.address}/docker/mounted:2")
        docker.push(f"{embedded.address}/docker/mounted:2")
        check(pc.Image.pull(f"{embedded.address}/docker/mounted:2"), engine, tmp_path / "look", by_umoci)

    @FORMS
    @needs("podman", "umoci")
    def test_podman_pushes_and_pulls(
        self, embedded: pc.Registry, podman: Podman, skopeo: Skopeo, rich: Path, by_umoci: Tree,
        engine: pc.Engine, tmp_path: Path, form: str, compression: str,
    ) -> None:  # fmt: skip
        name = f"{embedded.address}/podman/{form}-{compression}:1"
        podman("tag", podman.pull(f"oci:{rich}:latest").removeprefix("sha256:"), name)
        podman.push(name, "--format", form, "--compression-format", compression)
        assert compressions(manifest_of(skopeo, name)) == {compression}
        podman.forget()
        podman.pull(name)
        assert podman.run(name) == rich_image.SAYS
        check(pc.Image.pull(name), engine, tmp_path / "look", by_umoci)

    @needs("umoci")
    def test_skopeo_copies_from_docker_registry_to_it_and_back(
        self, debian: str, embedded: pc.Registry, skopeo: Skopeo, rich: Path, by_umoci: Tree,
        engine: pc.Engine, tmp_path: Path,
    ) -> None:  # fmt: skip
        there, here, back = f"{debian}/a/b:1", f"{embedded.address}/c:2", f"{debian}/d/e/f:3"
        skopeo.push(rich, there)
        insecure = ("--src-tls-verify=false", "--dest-tls-verify=false")
        skopeo("copy", *insecure, f"docker://{there}", f"docker://{here}")
        skopeo("copy", *insecure, f"docker://{here}", f"docker://{back}")
        digests = {skopeo.inspect(name)["Digest"] for name in (there, here, back)}
        assert digests == {pc.Image.pull(back).digest}
        check(pc.Image.get(back), engine, tmp_path / "look", by_umoci)


class TestArchives:
    """Files that one engine writes and another reads."""

    @needs("dockerd", "containerd", "docker")
    @MADE
    def test_docker_loads_what_we_save(
        self, docker: Docker, rich: Path, engine: pc.Engine, tmp_path: Path,
        make: Callable[[Path, Path], pc.Image], says: bytes,
    ) -> None:  # fmt: skip
        image = make(tmp_path, rich).tag("saved/by-us:1")
        image.save(tmp_path / "saved.tar", format="docker-archive")
        docker.load(tmp_path / "saved.tar")
        assert docker.id_of("saved/by-us:1") == image.id
        assert docker.run("saved/by-us:1") == says

    @needs("podman")
    @pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
    @MADE
    def test_podman_loads_what_we_save(
        self, podman: Podman, rich: Path, engine: pc.Engine, tmp_path: Path, kind: Any,
        make: Callable[[Path, Path], pc.Image], says: bytes,
    ) -> None:  # fmt: skip
        image = make(tmp_path, rich).tag("example.org/saved/by-us:1")
        image.save(tmp_path / "saved.tar", format=kind)
        podman.load(tmp_path / "saved.tar")
        assert podman.id_of("example.org/saved/by-us:1") == image.id
        assert podman.run("example.org/saved/by-us:1") == says

    @needs("dockerd", "containerd", "docker", "umoci")
    def test_we_load_what_docker_saves(
        self, docker: Docker, skopeo: Skopeo, rich: Path, by_umoci: Tree, engine: pc.Engine, tmp_path: Path
    ) -> None:
        skopeo("copy", f"oci:{rich}:latest", f"docker-archive:{tmp_path}/rich.tar:by/docker:1")
        docker.load(tmp_path / "rich.tar")
        docker("tag", "by/docker:1", "by/docker:2")
        docker("save", "--output", tmp_path / "saved.tar", "by/docker:1", "by/docker:2")
        (image,) = pc.Image.load(tmp_path / "saved.tar")
        assert image.id == docker.id_of("by/docker:1")
        assert image.tags == ("by/docker:1", "by/docker:2")
        check(image, engine, tmp_path / "look", by_umoci)

    @needs("podman", "umoci")
    @pytest.mark.parametrize("kind", ["docker-archive", "oci-archive", "oci-dir"])
    def test_we_load_what_podman_saves(
        self, podman: Podman, rich: Path, by_umoci: Tree, engine: pc.Engine, tmp_path: Path, kind: str
    ) -> None:
        name = "example.org/by/podman:1"
        podman("tag", podman.pull(f"oci:{rich}:latest").removeprefix("sha256:"), name)
        podman("save", "--quiet", "--format", kind, "--output", tmp_path / "saved", name)
        (image,) = pc.Image.load(tmp_path / "saved")
        check(image, engine, tmp_path / "look", by_umoci)

    @needs("umoci")
    @pytest.mark.parametrize("kind", ["docker-archive", "oci-archive", "oci"])
    def test_we_load_what_skopeo_copies(
        self, skopeo: Skopeo, rich: Path, by_umoci: Tree, engine: pc.Engine, tmp_path: Path, kind: str
    ) -> None:
        skopeo("copy", f"oci:{rich}:latest", f"{kind}:{tmp_path}/copied:by/skopeo:1")
        (image,) = pc.Image.load(tmp_path / "copied")
        assert image.tags == ("by/skopeo:1",)
        check(image, engine, tmp_path / "look", by_umoci)

    @needs("umoci")
    def test_skopeo_reads_the_layout_we_save(
        self, skopeo: Skopeo, rich: Path, by_umoci: Tree, engine: pc.Engine, tmp_path: Path
    ) -> None:
        image = rich_one(tmp_path, rich).tag("example.org/laid/out:1")
        image.save(tmp_path / "saved", format="oci-layout")
        skopeo("copy", f"oci:{tmp_path}/saved:example.org/laid/out:1", f"oci:{tmp_path}/copied:1")
        (copied,) = pc.Image.load(tmp_path / "copied")
        assert copied == image


PULL = """
import sys
import pycontainer as pc
with pc.Engine(sys.argv[1]):
    try:
        print(pc.Image.pull(sys.argv[2]).id)
    except pc.errors.AuthDenied as error:
        sys.exit(f"denied: {error}")
"""


class TestAccounts:
    """docker-registry with an htpasswd file."""

    @pytest.fixture
    def private(self, guarded: str, skopeo: Skopeo, rich: Path) -> str:
        name = f"{guarded}/private/rich:1"
        skopeo.push(rich, name, "--dest-creds", f"{USER}:{PASSWORD}")
        return name

    def test_the_account_of_the_configuration_pushes_and_pulls(
        self, guarded: str, private: str, tmp_path: Path
    ) -> None:
        account = pc.Credentials(username=USER, password=PASSWORD)
        with pc.Engine(tmp_path / "store", registry=pc.RegistryConfig(credentials={guarded: account})):
            image = pc.Image.pull(private)
            image.push(f"{guarded}/private/again:1")
            assert pc.run(f"{guarded}/private/again:1").check().stdout == rich_image.SAYS

    @pytest.mark.parametrize("password", [None, "wr0ng-one"], ids=["none", "wrong"])
    def test_without_the_right_password_nothing_is_pulled(
        self, guarded: str, private: str, tmp_path: Path, password: str | None
    ) -> None:
        accounts = {guarded: pc.Credentials(username=USER, password=password)} if password else {}
        config = pc.RegistryConfig(credentials=accounts)
        with pc.Engine(tmp_path / "store", registry=config) as engine:
            with pytest.raises(AuthDenied, match=guarded) as caught:
                pc.Image.pull(private)
            assert password is None or password not in str(caught.value)
            assert pc.Image.list() == []
            assert list(engine.store.content.digests()) == []

    @needs("dockerd", "containerd", "docker")
    def test_the_file_that_docker_login_wrote_is_used(
        self, guarded: str, private: str, docker: Docker, tmp_path: Path
    ) -> None:
        config = tmp_path / "docker"
        config.mkdir()

        def pull() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-c", PULL, str(tmp_path / "store"), private],
                env={"PATH": "/usr/bin:/bin", "DOCKER_CONFIG": str(config), "HOME": str(tmp_path)},
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip

        denied = pull()
        assert denied.returncode == 1
        assert denied.stderr.startswith("denied: ")
        docker("login", "-u", USER, "--password-stdin", guarded, input=PASSWORD.encode(), config=config)
        assert guarded in json.loads((config / "config.json").read_text())["auths"]
        done = pull()
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("sha256:")


@needs("strace")
def test_nothing_but_the_programs_of_containers_is_executed(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    tour = Path(__file__).parents[2] / "examples/quickstart.py"
    command = ["strace", "-f", "-qq", "-s", "200", "-e", "trace=execve,execveat", "-e", "signal=none"]
    done = subprocess.run(
        [*command, "-o", str(trace), sys.executable, str(tour)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # By the first argument: the helper's interpreter is executed by descriptor.
    programs = {Path(word).name for word in re.findall(r'execve(?:at)?\([^[]*\["([^"]*)"', trace.read_text())}
    assert {"sh", "wc", "no-such-program"} <= programs
    # No engine, no network tool, no mount(8), no tar. The dynamic loader lists what from_host takes along.
    asked = {"sh", *re.findall(r'"([a-z-]+)"', tour.read_text())}
    others = {name for name in programs - asked if not name.startswith(("python", "ld-"))}
    assert others == set()
