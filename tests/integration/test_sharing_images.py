"""Images, indexes and artifacts between registries, layouts, archives and the store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.image import Archive, Layout, Target, validate_image
from pycontainer.oci import Descriptor, ImageConfig, Manifest, Platform, Reference, encode, mediatype
from tests.unit.registry.fakes import MemorySink, small_image, small_index

pytestmark = pytest.mark.needs("root", "overlay")


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pc.Engine]:
    """An engine that is up before the leak oracle looks."""
    with pc.Engine(tmp_path_factory.mktemp("sharing") / "store", progress="off") as engine:
        image(engine, "amd64").tag("warm:1")
        engine.helper.start()
        yield engine


@pytest.fixture
def made(warm: pc.Engine) -> Iterator[pc.Engine]:
    """An engine whose images were never unpacked."""
    yield warm
    warm.registries.close()


@pytest.fixture
def registry() -> Iterator[pc.Registry]:
    with pc.Registry() as running:
        yield running


@pytest.fixture
def both(made: pc.Engine, registry: pc.Registry) -> tuple[str, str]:
    """The name of an index for two platforms in the registry, and its digest."""
    name = f"{registry.address}/team/app:1"
    return name, index_of(made).push(name)


def image(engine: pc.Engine, architecture: str) -> pc.Image:
    return pc.Image.scratch(f"linux/{architecture}", engine=engine).add({"arch": architecture}).label(a="b")


def index_of(engine: pc.Engine) -> pc.ImageIndex:
    index = pc.ImageIndex(engine=engine).add(image(engine, "amd64")).add(image(engine, "arm64"))
    return index.annotate({"org.example": "yes"})


def uploads(registry: pc.Registry, count: int) -> list[str]:
    return [
        each.path
        for each in registry.requests[count:]
        if each.method in ("PATCH", "PUT") and "/blobs/" in each.path
    ]


def test_an_index_of_two_platforms_is_looked_at_without_being_pulled(
    made: pc.Engine, both: tuple[str, str], registry: pc.Registry
) -> None:
    count = len(registry.requests)
    remote = pc.RemoteImage(both[0], engine=made)
    assert (remote.digest, remote.platforms) == (both[1], ("linux/amd64", "linux/arm64"))
    assert remote.annotations == {"org.example": "yes"}
    assert remote.config("linux/arm64").architecture == "arm64"
    told = remote.inspect("linux/arm64")
    assert (told["Architecture"], told["Labels"], len(told["Layers"])) == ("arm64", {"a": "b"}, 1)
    assert remote.size_bytes("linux/arm64") > 0
    assert not any(layer in each.path for each in registry.requests[count:] for layer in told["Layers"])
    with pytest.raises(errors.NotFound, match=r"linux/s390x.*linux/amd64, linux/arm64"):
        remote.config("linux/s390x")


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_an_index_goes_out_and_comes_back_with_the_same_digest(
    made: pc.Engine, both: tuple[str, str], registry: pc.Registry, tmp_path: Path, kind: str
) -> None:
    place = f"{kind}:{tmp_path / 'out'}"
    assert pc.copy(both[0], f"{place}:app:1", engine=made) == both[1]
    back = f"{registry.address}/{kind}/app:2"
    assert pc.copy(place, f"docker://{back}", engine=made) == both[1]
    assert pc.RemoteImage(back, engine=made).platforms == ("linux/amd64", "linux/arm64")
    if kind == "oci":
        layout = Layout(tmp_path / "out")
        assert validate_image(layout, layout.index.manifests[0]) == []


def test_one_platform_of_an_index_goes_into_a_docker_archive(
    made: pc.Engine, both: tuple[str, str], tmp_path: Path
) -> None:
    pc.copy(both[0], f"docker-archive:{tmp_path / 'x.tar'}:app:1", platform="linux/arm64", engine=made)
    with Archive(tmp_path / "x.tar") as archive:
        [found] = archive.images()
        assert (str(found.view.platform), [name.familiar for name in found.names]) == (
            "linux/arm64",
            ["app:1"],
        )


def test_the_store_is_a_place_like_others_and_nothing_is_unpacked(
    made: pc.Engine, both: tuple[str, str], tmp_path: Path
) -> None:
    pc.copy(both[0], "store:copied:1", engine=made)
    copied = pc.Image.get("copied:1", engine=made)
    assert copied.snapshots == ()
    pc.copy("store:copied:1", f"oci:{tmp_path / 'layout'}", engine=made)
    assert Layout(tmp_path / "layout").view().id == copied.id
    copied.remove("copied:1")


def test_blobs_are_mounted_from_the_other_repository_and_nothing_is_sent_twice(
    made: pc.Engine, both: tuple[str, str], registry: pc.Registry
) -> None:
    count = len(registry.requests)
    target = f"{registry.address}/other/app:1"
    assert pc.copy(both[0], target, engine=made) == both[1]
    assert uploads(registry, count) == []
    pulled = pc.RemoteImage(target, engine=made)
    assert pulled.platforms == ("linux/amd64", "linux/arm64")


def test_a_pull_of_all_platforms_brings_the_whole_index(
    made: pc.Engine, both: tuple[str, str], registry: pc.Registry, tmp_path: Path
) -> None:
    foreign = f"{registry.address}/foreign/app:1"
    others = pc.ImageIndex(engine=made).add(image(made, "s390x")).add(image(made, "riscv64")).push(foreign)
    with pc.Engine(tmp_path / "store", progress="off") as engine:
        pulled = pc.Image.pull(both[0], platform="all", engine=engine)
        first = pc.Image.pull(foreign, platform="all", engine=engine)
        host = str(Platform.host())  # which the name stands for, or else the first one
        main = host if host in pulled.platforms else "linux/amd64"
        assert (pulled.platform, pulled.digest) == (main, both[1])
        assert (first.platform, first.digest) == ("linux/s390x", others)
        again = pc.Image.pull(both[0], platform="linux/arm64", engine=engine)
        assert again.platforms == pulled.platforms == ("linux/amd64", "linux/arm64")
        engine.registries.close()
        registry.close()
        pc.prune(engine=engine)
        assert pc.Image.get(foreign, platform="linux/riscv64", engine=engine).config.architecture == "riscv64"
        pc.copy(f"store:{both[0]}", f"oci:{tmp_path / 'layout'}:app:1", engine=engine)
    layout = Layout(tmp_path / "layout")
    assert [entry.digest for entry in layout.index.manifests] == [both[1]]
    assert validate_image(layout, layout.index.manifests[0]) == []


def test_nothing_is_pulled_for_another_platform_where_nothing_may_be(
    made: pc.Engine, both: tuple[str, str], registry: pc.Registry, tmp_path: Path
) -> None:
    with pc.Engine(tmp_path / "store", progress="off") as engine:
        pulled = pc.Image.pull(both[0], engine=engine)
        count = len(registry.requests)
        for asked in (both[0], pulled):
            with pytest.raises(errors.NotFound, match="linux/arm64"):
                pc.Container.create(asked, ["true"], platform="linux/arm64", pull="never", engine=engine)
        assert not registry.requests[count:]
        engine.registries.close()
    lock = pc.LockFile(tmp_path / "lock", engine=made).add(both[0])
    image(made, "amd64").env(NEW="1").push(both[0])
    lock.update()
    count = len(registry.requests)
    with pc.Engine(tmp_path / "store", progress="off", lock=lock.path) as locked:
        with pytest.raises(errors.NotFound, match="another digest than"):
            pc.Container.create(both[0], ["true"], pull="never", engine=locked)
    assert not registry.requests[count:]


def test_from_one_registry_to_another_blobs_pass_through(made: pc.Engine, both: tuple[str, str]) -> None:
    with pc.Registry() as second:
        name = f"{second.address}/app:1"
        assert pc.copy(both[0], name, engine=made) == both[1]
        count = len(second.requests)
        pc.copy(both[0], name, engine=made)
        assert uploads(second, count) == []


def test_a_registry_that_lies_about_a_blob_is_found_out(made: pc.Engine, tmp_path: Path) -> None:
    from pycontainer.registry import Corrupt, Fault

    with pc.Registry() as source, pc.Registry() as target:
        name = f"{source.address}/app:1"
        image(made, "amd64").push(name)
        layer = image(made, "amd64").view.layers[0].digest
        for where in (
            f"{target.address}/app:1",
            f"oci:{tmp_path / 'layout'}",
            f"oci-archive:{tmp_path / 'x.tar'}",
        ):
            source.clear_faults()
            source.inject(Fault(Corrupt(), count=None, path=rf".*/blobs/{layer}"))
            with pytest.raises((errors.IntegrityError, errors.RegistryError)):
                pc.copy(name, where, engine=made)
        assert target.repositories() == [] or target.tags("app") == []
        assert not (tmp_path / "x.tar").exists()
        assert Layout(tmp_path / "layout").index.manifests == ()


def test_an_index_is_changed_by_hand(made: pc.Engine, both: tuple[str, str], registry: pc.Registry) -> None:
    index = pc.ImageIndex.get(both[0], engine=made)
    assert index.digest == both[1]
    smaller = index.remove("linux/arm64").annotate_entry("linux/amd64", {"k": "v"})
    assert [str(entry.platform) for entry in smaller.manifests] == ["linux/amd64"]
    again = smaller.add(f"{both[0]}@{index.manifests[1].digest}", platform="linux/arm/v7")
    name = f"{registry.address}/team/app:2"
    assert pc.RemoteImage(name, engine=made).exists is False
    again.push(name)
    assert pc.RemoteImage(name, engine=made).platforms == ("linux/amd64", "linux/arm/v7")
    with pytest.raises(errors.NotFound, match="there are: linux/amd64"):
        smaller.remove("linux/s390x")
    with pytest.raises(errors.InvalidInput, match="one image and no index"):
        pc.ImageIndex.get(f"{both[0]}@{index.manifests[1].digest}", engine=made)


def test_tags_are_listed_and_deleted(made: pc.Engine, registry: pc.Registry) -> None:
    name = f"{registry.address}/deleted/app"
    for tag in ("a", "b"):
        image(made, "amd64").push(f"{name}:{tag}")
    assert pc.RemoteImage.tags(name, engine=made) == ["a", "b"]
    pc.RemoteImage(f"{name}:a", engine=made).delete()
    assert pc.RemoteImage.tags(name, engine=made) == ["b"]
    pc.RemoteImage(f"{name}@{pc.RemoteImage(f'{name}:b', engine=made).digest}", engine=made).delete()
    assert not pc.RemoteImage(f"{name}:b", engine=made).exists


class TestArtifacts:
    def test_files_go_out_and_come_back(self, made: pc.Engine, registry: pc.Registry, tmp_path: Path) -> None:
        (tmp_path / "host").write_bytes(b"\0" * 3_000_000)
        name = f"{registry.address}/artifacts/model:1"
        files = {"weights/a.bin": tmp_path / "host", "readme": "hello"}
        pushed = pc.Artifact.push(
            name, files, artifact_type="application/vnd.example", annotations={"k": "v"},
            media_types={"readme": "text/plain"}, engine=made,
        )  # fmt: skip
        found = pc.Artifact(name, engine=made)
        assert (found.digest, found.artifact_type, found.annotations) == (
            pushed.digest, "application/vnd.example", {"k": "v"},
        )  # fmt: skip
        assert [(file.name, file.media_type, file.size_bytes) for file in found.files] == [
            ("weights/a.bin", "application/octet-stream", 3_000_000),
            ("readme", "text/plain", 5),
        ]
        assert found.read("readme") == b"hello"
        found.extract(tmp_path / "out")
        assert (tmp_path / "out" / "weights" / "a.bin").read_bytes() == bytes(3_000_000)
        assert sorted(os.listdir(tmp_path / "out")) == ["readme", "weights"]
        with pytest.raises(errors.AlreadyExists):
            found.extract(tmp_path / "out")
        assert pc.Artifact.push(name, files, artifact_type="application/vnd.example", engine=made).digest
        with pytest.raises(errors.InvalidImage, match="artifact"):
            pc.RemoteImage(name, engine=made).config()
        copied = f"{registry.address}/artifacts/copy:1"
        assert pc.copy(name, copied, engine=made) == pc.Artifact(copied, engine=made).digest

    def test_what_is_attached_is_a_referrer(self, made: pc.Engine, both: tuple[str, str]) -> None:
        pc.Artifact.attach(both[0], {"sbom.json": "{}"}, artifact_type="application/spdx+json", engine=made)
        remote = pc.RemoteImage(both[0], engine=made)
        [found] = remote.referrers("application/spdx+json")
        repository = both[0].rpartition(":")[0]
        artifact = pc.Artifact(f"{repository}@{found.digest}", engine=made)
        assert (artifact.subject, artifact.read("sbom.json")) == (both[1], b"{}")
        assert remote.referrers("application/other") == ()
        assert "1" in remote.tags(both[0], engine=made)

    @pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../b", "a//b", ".", "link/x"])
    def test_a_hostile_name_writes_nothing_outside(
        self, made: pc.Engine, registry: pc.Registry, tmp_path: Path, name: str
    ) -> None:
        source = MemorySink()
        layer = source.add(b"evil", "text/plain", annotations={"org.opencontainers.image.title": name})
        manifest = Manifest(
            artifact_type="application/vnd.evil",
            config=source.add(b"{}", mediatype.OCI_EMPTY),
            layers=(layer,),
        )
        target = f"{registry.address}/artifacts/evil:1"
        top = source.add(encode(manifest), mediatype.OCI_MANIFEST)
        made.registries.push(Reference.parse(target), source, top)
        (tmp_path / "root" / "secret").mkdir(parents=True)
        (tmp_path / "root" / "in").mkdir()
        (tmp_path / "root" / "in" / "link").symlink_to(tmp_path / "root" / "secret")
        with pytest.raises((errors.InvalidImage, OSError)):
            pc.Artifact(target, engine=made).extract(tmp_path / "root" / "in")
        assert sorted(path.name for path in (tmp_path / "root").rglob("*")) == ["in", "link", "secret"]


def test_a_copy_of_a_target_reads_every_blob_once_verified(made: pc.Engine, both: tuple[str, str]) -> None:
    reference = Reference.parse(both[0])
    target = Target(made.registries.source(reference), made.registries.describe(reference))
    wrong = Descriptor(media_type="x/y", digest=image(made, "amd64").view.layers[0].digest, size=7)
    with pytest.raises(errors.PycontainerError), target.source.open(wrong) as blob:
        blob.read()


def test_attestations_of_an_index_are_read(made: pc.Engine, registry: pc.Registry) -> None:
    source = MemorySink()
    statement = {"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://spdx.dev/Document"}
    app = small_image(source, b"layer")
    attestation = source.add(
        encode(
            Manifest(
                config=source.add(
                    encode(ImageConfig(architecture="unknown", os="unknown")), mediatype.OCI_CONFIG
                ),
                layers=(source.add(json.dumps(statement).encode(), "application/vnd.in-toto+json"),),
            )
        ),
        mediatype.OCI_MANIFEST,
        platform=Platform(os="unknown", architecture="unknown"),
        annotations={
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": app.digest,
        },
    )
    name = f"{registry.address}/attested/app:1"
    made.registries.push(Reference.parse(name), source, small_index(source, app, attestation))
    remote = pc.RemoteImage(name, engine=made)
    assert remote.attestations("linux/amd64") == (statement,)
    assert remote.platforms == ("linux/amd64",)


def test_repositories_are_listed_and_all_tags_pulled(made: pc.Engine, registry: pc.Registry) -> None:
    name = f"{registry.address}/many/app"
    for tag in ("a", "b"):
        image(made, "amd64").env(TAG=tag).push(f"{name}:{tag}")
    image(made, "amd64").push(f"{registry.address}/other:1")
    assert pc.RemoteImage.repositories(registry.address, "many/*", engine=made) == [name]
    pulled = pc.Image.pull_all(name, engine=made)
    assert [each.tags for each in pulled] == [(f"{name}:a",), (f"{name}:b",)]
    for each in pulled:
        each.remove()
    with pytest.raises(errors.BadReference, match="leave tag and digest out"):
        pc.Image.pull_all(f"{name}:a", engine=made)


def test_images_are_listed_by_filters(made: pc.Engine) -> None:
    first = image(made, "amd64").label(kind="test").tag("quay.io/team/first:1.0")
    second = image(made, "amd64").label(kind="other").tag("second:2")
    third = image(made, "amd64").label(kind="none").tag("third:3")
    third.remove("third:3")
    unnamed = image(made, "amd64").env(X="1")
    assert unnamed.created_at

    def names(**filters: object) -> list[str]:
        given = {name.replace("_", "!"): value for name, value in filters.items()}
        return [each.id for each in pc.Image.list(filters=given, engine=made)]

    assert names(reference="quay.io/*/first:1*") == [first.id]
    assert names(reference=["second", "first"]) == [second.id]
    assert names(label="kind=test") == [first.id]
    assert first.id not in names(label_="kind")
    assert unnamed.id in names(dangling=True)
    assert not {first.id, second.id} & set(names(dangling=True))
    assert second.id in names(since="quay.io/team/first:1.0")
    assert first.id in names(before="second:2")
    assert first.id not in names(until="1h")
    with pytest.raises(errors.InvalidInput, match="do you mean 'reference'"):
        names(referense="x")
    for each in (first, second, unnamed):
        each.remove()


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-layout"])
def test_several_images_are_saved_together_and_one_platform_loaded(
    made: pc.Engine, tmp_path: Path, form: Any
) -> None:
    images = [image(made, "arm64").env(N=str(number)).tag(f"saved:{number}") for number in range(2)]
    pc.Image.save_all(images, tmp_path / "out", format=form)
    loaded = pc.Image.load(tmp_path / "out", platform="linux/arm64", engine=made)
    assert [each.id for each in loaded] == [each.id for each in images]
    for each in images:
        each.remove()
