"""Only what is signed is pulled and run, and tags stay what they were pinned to."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.engine import trusting
from pycontainer.oci import ImageConfig, Manifest, Reference, encode, mediatype
from pycontainer.trust import signature_tag
from tests.unit.registry.fakes import MemorySink

pytestmark = pytest.mark.needs("root", "overlay")
KEY, OTHER = pc.SigningKey.generate(), pc.SigningKey.generate()


@pytest.fixture
def registry() -> Iterator[pc.Registry]:
    with pc.Registry() as running:
        yield running


@pytest.fixture
def pushed(engine: pc.Engine, busybox: pc.Image, registry: pc.Registry) -> Iterator[str]:
    """The name of an image that is signed by KEY."""
    name = f"{registry.address}/signed/app:1"
    busybox.push(name)
    pc.sign(name, KEY, engine=engine)
    yield name
    engine.registries.close()


@pytest.fixture
def strict(tmp_path: Path, registry: pc.Registry) -> Iterator[pc.Engine]:
    """An engine that takes what is signed by KEY, from that registry, and nothing else."""
    policy = pc.SignaturePolicy.signed({registry.address: KEY.public_key})
    with pc.Engine(tmp_path / "strict", policy=policy) as made:
        yield made


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def repository(name: str) -> str:
    return name.rpartition(":")[0]


def test_a_signature_is_pushed_once_and_verified(engine: pc.Engine, pushed: str, tmp_path: Path) -> None:
    pc.sign(pushed, KEY, engine=engine)
    pc.sign(pushed, OTHER, notes={"who": "other"}, engine=engine)
    home = f"{repository(pushed)}:{signature_tag(pc.RemoteImage(pushed, engine=engine).digest)}"  # type: ignore[arg-type]
    assert len(pc.RemoteImage(home, engine=engine).manifest["layers"]) == 2
    KEY.save(tmp_path / "cosign", "pw")
    verified = pc.verify(pushed, tmp_path / "cosign.pub", engine=engine)
    assert verified.reference == f"{repository(pushed)}@{verified.digest}"
    assert pc.verify(pushed, [OTHER.public_key], engine=engine).notes == ({"who": "other"},)
    with pytest.raises(errors.UntrustedImage, match="by no key"):
        pc.verify(pushed, pc.SigningKey.generate().public_key, engine=engine)


def test_what_a_further_signature_would_displace_stays(
    engine: pc.Engine, pushed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = f"{repository(pushed)}:{signature_tag(pc.RemoteImage(pushed, engine=engine).digest)}"  # type: ignore[arg-type]
    with monkeypatch.context() as patched:
        patched.setattr(trusting, "MAX_SIGNATURES", 1)
        pc.sign(pushed, KEY, engine=engine)
        with pytest.raises(errors.Conflict, match="so many signatures"):
            pc.sign(pushed, OTHER, engine=engine)
    source = MemorySink()
    config = source.add(encode(ImageConfig(architecture="amd64", os="linux")), mediatype.OCI_CONFIG)
    layers = (source.add(b"of another tool", "application/vnd.example"),)
    top = source.add(encode(Manifest(config=config, layers=layers)), mediatype.OCI_MANIFEST)
    engine.registries.push(Reference.parse(home), source, top)
    with pytest.raises(errors.Conflict, match="no signatures"):
        pc.sign(pushed, OTHER, engine=engine)
    assert len(pc.RemoteImage(home, engine=engine).manifest["layers"]) == 1
    pc.sign(pushed, OTHER, as_referrer=True, engine=engine)


def test_a_signature_can_be_a_referrer(engine: pc.Engine, busybox: pc.Image, registry: pc.Registry) -> None:
    name = f"{registry.address}/referred/app:1"
    busybox.push(name)
    pc.sign(name, KEY, as_referrer=True, engine=engine)
    assert pc.RemoteImage.tags(name, engine=engine) == ["1"]
    pc.verify(name, KEY.public_key, engine=engine)
    engine.registries.close()


def test_a_bundle_is_pushed_once_verified_and_kept_with_the_image(
    engine: pc.Engine, strict: pc.Engine, busybox: pc.Image, registry: pc.Registry
) -> None:
    name = f"{registry.address}/bundled/app:1"
    busybox.push(name)
    provenance = pc.Artifact.attach(
        name,
        {"big": "x" * 100_000},
        artifact_type="application/vnd.dev.sigstore.bundle.v0.3+json",
        engine=engine,
    )
    for _ in range(2):
        pc.sign(name, KEY, as_bundle=True, with_tag=True, notes={"who": "me"}, engine=engine)
    remote = pc.RemoteImage(name, engine=engine)
    [entry] = [entry for entry in remote.referrers() if entry.digest != provenance.digest]
    assert entry.annotations["dev.sigstore.bundle.predicateType"] == "https://sigstore.dev/cosign/sign/v1"
    assert pc.verify(name, KEY.public_key, with_tag=True, engine=engine).notes == ({"who": "me"},)
    with pytest.raises(errors.UntrustedImage, match="by no key"):
        pc.verify(name, OTHER.public_key, nameless=True, engine=engine)
    assert pc.run(name, ["echo", "hi"], engine=strict).text == "hi\n"
    strict.registries.close()
    engine.registries.close()
    registry.close()
    assert pc.run(name, ["true"], engine=strict).exit_code == 0


def test_a_bundle_of_the_manifests_own_bytes_counts_wherever_it_lies(
    busybox_layout: Path, registry: pc.Registry, tmp_path: Path
) -> None:
    name = f"{registry.address}/signed-bytes/app:1"
    policy = pc.SignaturePolicy.signed({"": KEY.public_key}, nameless=True)
    with pc.Engine(tmp_path / "one") as engine, pc.Engine(tmp_path / "two", policy=policy) as strict:
        pc.Image.load(busybox_layout, engine=engine)[0].push(name)
        _, manifest, _ = engine.registries.document(Reference.parse(name))
        message = {
            "messageDigest": {"algorithm": "SHA2_256", "digest": encoded(hashlib.sha256(manifest).digest())},
            "signature": encoded(KEY.sign(manifest)),
        }
        kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
        bundle = {"bundle.json": json.dumps({"messageSignature": message})}
        given = {"artifact_type": kind, "media_types": {"bundle.json": kind}}
        pc.Artifact.attach(name, bundle, **given, engine=engine)  # type: ignore[arg-type]
        assert pc.verify(name, KEY.public_key, nameless=True, engine=engine).digest
        image = pc.Image.pull(name, engine=strict)
        strict.registries.close()
        registry.close()
        with pc.Container.create(image, ["true"], engine=strict) as box:
            assert box.id


def test_more_signatures_than_are_looked_at_do_no_harm(
    strict: pc.Engine, pushed: str, engine: pc.Engine, registry: pc.Registry
) -> None:
    claims = {str(number): f'{{"n": {number}}}' for number in range(70)}
    kinds = dict.fromkeys(claims, "application/vnd.dev.cosign.simplesigning.v1+json")
    kind = "application/vnd.dev.cosign.artifact.sig.v1+json"
    pc.Artifact.attach(pushed, claims, artifact_type=kind, media_types=kinds, engine=engine)
    count = len(registry.requests)
    assert pc.run(pushed, ["true"], engine=strict).exit_code == 0
    assert sum("/blobs/" in each.path for each in registry.requests[count:]) < 80
    strict.registries.close()
    registry.close()
    assert pc.run(pushed, ["true"], engine=strict).exit_code == 0


def test_a_signed_image_is_pulled_and_run_without_its_registry(
    strict: pc.Engine, pushed: str, registry: pc.Registry
) -> None:
    assert pc.run(pushed, ["echo", "hi"], engine=strict).text == "hi\n"
    count = len(registry.requests)
    assert pc.run(pushed, ["true"], engine=strict).exit_code == 0
    assert pc.run(pc.Image.get(pushed, engine=strict), ["true"], engine=strict).exit_code == 0
    assert len(registry.requests) == count
    strict.registries.close()


@pytest.mark.parametrize("attack", ["unsigned", "other key", "other digest", "other repository", "stripped"])
def test_what_is_not_signed_as_it_should_be_is_neither_pulled_nor_unpacked(
    engine: pc.Engine, strict: pc.Engine, busybox: pc.Image, pushed: str, registry: pc.Registry, attack: str
) -> None:
    evil = busybox.env(EVIL="1")
    name = f"{registry.address}/attacked/{attack.replace(' ', '-')}:1"
    evil.push(name)
    digest = pc.RemoteImage(name, engine=engine).digest
    home = f"{repository(name)}:{signature_tag(digest)}"  # type: ignore[arg-type]
    good = f"{repository(pushed)}:{signature_tag(pc.RemoteImage(pushed, engine=engine).digest)}"  # type: ignore[arg-type]
    if attack == "other key":
        pc.sign(name, OTHER, engine=engine)
    elif attack == "other digest":
        pc.copy(good, home, engine=engine)  # a good signature, replayed under the tag of the evil image
    elif attack == "other repository":
        name = f"{registry.address}/attacked/moved:1"
        pc.copy(pushed, name, engine=engine)
        pc.copy(good, f"{repository(name)}:{good.rpartition(':')[2]}", engine=engine)
    elif attack == "stripped":
        pc.sign(name, KEY, engine=engine)
        pc.RemoteImage(home, engine=engine).delete()
    with pytest.raises(errors.UntrustedImage):
        pc.Image.pull(name, engine=strict)
    with pytest.raises(errors.UntrustedImage):
        pc.run(name, ["true"], engine=strict)
    assert pc.Image.list(engine=strict) == []
    assert list((strict.root / "content" / "blobs").rglob("sha256/*")) == []
    strict.registries.close()


def test_an_old_signed_image_under_a_new_tag_is_refused_where_tags_are_signed(
    engine: pc.Engine, busybox: pc.Image, registry: pc.Registry
) -> None:
    name = f"{registry.address}/replayed/app"
    busybox.push(f"{name}:1")
    pc.sign(f"{name}:1", KEY, with_tag=True, engine=engine)
    pc.copy(f"{name}:1", f"{name}:2", engine=engine)
    pc.verify(f"{name}:1", KEY.public_key, with_tag=True, engine=engine)
    pc.verify(f"{name}:2", KEY.public_key, engine=engine)
    with pytest.raises(errors.UntrustedImage, match="matchExact"):
        pc.verify(f"{name}:2", KEY.public_key, with_tag=True, engine=engine)
    engine.registries.close()


def test_images_that_came_another_way_are_not_run_either(
    strict: pc.Engine, pushed: str, busybox: pc.Image, tmp_path: Path
) -> None:
    busybox.env(EVIL="1").save(tmp_path / "evil.tar")
    [loaded] = pc.Image.load(tmp_path / "evil.tar", engine=strict)
    for image in (loaded, loaded.tag("docker.io/library/evil:1"), loaded.tag(pushed), pushed):
        with pytest.raises(errors.UntrustedImage):
            pc.run(image, ["true"], pull="never", engine=strict)
    with pytest.raises(errors.UntrustedImage):
        pc.Container.create(loaded, ["true"], engine=strict)
    strict.registries.close()


def test_an_index_is_signed_as_a_whole(
    engine: pc.Engine, strict: pc.Engine, busybox: pc.Image, registry: pc.Registry
) -> None:
    name = f"{registry.address}/indexed/app:1"
    pc.ImageIndex(engine=engine).add(busybox).push(name)
    pc.sign(name, KEY, engine=engine)
    assert pc.run(name, ["echo", "hi"], engine=strict).text == "hi\n"
    strict.registries.close()
    engine.registries.close()


def test_the_same_image_under_another_digest_and_name_changes_nothing(
    engine: pc.Engine, busybox: pc.Image, pushed: str, registry: pc.Registry, tmp_path: Path
) -> None:
    other = f"{registry.address}/open/app:1"
    busybox.push(other, compression="zstd")
    policy = pc.SignaturePolicy.signed({repository(pushed): KEY.public_key}, default="accept")
    with pc.Engine(tmp_path / "store", policy=policy) as made:
        for name in (pushed, other):
            pc.Image.pull(name, engine=made)
        made.registries.close()
        registry.close()
        for name in (pushed, other):
            assert pc.run(name, ["echo", "hi"], engine=made).text == "hi\n"


class TestLock:
    def test_a_pinned_tag_stays_what_it_was(
        self, engine: pc.Engine, busybox: pc.Image, registry: pc.Registry, tmp_path: Path
    ) -> None:
        name = f"{registry.address}/locked/app:1"
        busybox.push(name)
        lock = pc.LockFile(tmp_path / "containers.lock", engine=engine).add(name)
        pinned = lock.images[name]
        assert lock.verify() == ()
        moved = busybox.env(MOVED="1")
        moved.push(name)
        [difference] = lock.verify()
        assert (difference.name, difference.pinned, difference.found) == (name, pinned, moved.manifest_digest)
        with pc.Engine(tmp_path / "store", lock=lock.path) as locked:
            assert pc.run(name, ["sh", "-c", "echo $MOVED"], engine=locked).text == "\n"
            assert pc.Image.get(name, engine=locked).digest == pinned
            lock.update()
            assert pc.run(name, ["sh", "-c", "echo $MOVED"], engine=locked).text == "1\n"
            with pytest.raises(errors.NotFound, match="is not pinned"):
                pc.Image.pull(f"{registry.address}/locked/app:2", engine=locked)
            locked.registries.close()
        assert lock.add(name).images[name] == moved.manifest_digest
        before = lock.path.read_bytes()
        with pytest.raises(errors.NotFound):
            lock.add(f"{registry.address}/locked/app:9")
        assert lock.path.read_bytes() == before
        assert lock.remove(name).images == {}
        engine.registries.close()

    def test_a_name_with_a_digest_needs_none(self, engine: pc.Engine, tmp_path: Path) -> None:
        with pytest.raises(errors.BadReference, match="leave it out"):
            pc.LockFile(tmp_path / "lock", engine=engine).add(f"a@sha256:{'a' * 64}")
        assert Reference.parse("a").tag == "latest"
