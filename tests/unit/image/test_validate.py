"""The validator finds everything that is broken, and nothing in a sound image."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest
from attrs import evolve

from pycontainer.image import ImageView, Layout, assemble, from_files, validate_image
from pycontainer.oci import (
    Descriptor,
    History,
    Index,
    Manifest,
    Platform,
    encode,
    mediatype,
    parse_digest,
    sha256,
)


def messages(layout: Layout, target: Descriptor, platform: Platform | None = None) -> list[str]:
    return [str(problem) for problem in validate_image(layout, target, platform)]


def put(layout: Layout, data: bytes, media_type: str) -> Descriptor:
    layout.put(data)
    return Descriptor.of(data, media_type)


def test_a_sound_image_has_no_problems(layout: Layout, view: ImageView) -> None:
    assert messages(layout, view.descriptor) == []
    index = put(layout, encode(Index(manifests=(view.descriptor,))), mediatype.OCI_INDEX)
    assert messages(layout, index) == []
    assert messages(layout, index, Platform.host()) == []


def test_every_broken_blob_is_listed(layout: Layout) -> None:
    parts = [from_files(layout, {"a": str(n) * 100}) for n in range(3)]
    (layout.root / "blobs/sha256" / parts[0].layers[0].digest[7:]).unlink()
    broken = bytearray((layout.root / "blobs/sha256" / parts[1].layers[0].digest[7:]).read_bytes())
    broken[-5] ^= 1
    (layout.root / "blobs/sha256" / parts[1].layers[0].digest[7:]).write_bytes(broken)
    config = evolve(parts[0].config, diff_ids=sum((part.diff_ids for part in parts), ()), history=())
    manifest = Manifest(
        config=put(layout, encode(config), mediatype.OCI_CONFIG),
        layers=sum((part.layers for part in parts), ()),
    )
    found = validate_image(layout, put(layout, encode(manifest), mediatype.OCI_MANIFEST))
    assert [problem.digest for problem in found] == [part.layers[0].digest for part in parts[:2]]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda config: evolve(config, diff_ids=config.diff_ids * 2), "config lists 2 layers, manifest 1"),
        (lambda config: evolve(config, diff_ids=(sha256(b""),)), "uncompressed content is"),
        (lambda config: evolve(config, history=(History(), History())), "history tells of 2 layers"),
    ],
    ids=["count", "diff id", "history"],
)
def test_a_configuration_that_contradicts_the_layers_is_a_problem(
    layout: Layout, view: ImageView, change: Callable[..., object], expected: str
) -> None:
    config = put(layout, encode(change(view.config)), mediatype.OCI_CONFIG)  # type: ignore[arg-type]
    manifest = encode(Manifest(config=config, layers=view.layers))
    found = messages(layout, put(layout, manifest, mediatype.OCI_MANIFEST))
    assert any(expected in message for message in found)


def test_a_media_type_that_lies_is_a_problem(layout: Layout, view: ImageView) -> None:
    layer = evolve(view.layers[0], media_type=mediatype.OCI_LAYER_ZSTD)
    manifest = encode(Manifest(config=view.manifest.config, layers=(layer,)))
    found = messages(layout, put(layout, manifest, mediatype.OCI_MANIFEST))
    assert found == [f"{layer.digest}: media type says zstd, content is gzip"]


def test_a_platform_that_lies_is_a_problem(layout: Layout, view: ImageView) -> None:
    entry = evolve(view.descriptor, platform=Platform.parse("linux/s390x"))
    index = put(layout, encode(Index(manifests=(entry,))), mediatype.OCI_INDEX)
    assert "index says linux/s390x, config says" in messages(layout, index)[0]


def test_a_missing_or_broken_document_is_a_problem(layout: Layout, view: ImageView) -> None:
    missing = Descriptor.of(b"gone", mediatype.OCI_MANIFEST)
    assert "missing" in messages(layout, missing)[0]
    assert "not JSON" in messages(layout, put(layout, b"x", mediatype.OCI_MANIFEST))[0]
    broken_config = put(layout, b"[]", mediatype.OCI_CONFIG)
    manifest = encode(Manifest(config=broken_config, layers=view.layers))
    found = messages(layout, put(layout, manifest, mediatype.OCI_MANIFEST))
    assert len(found) == 1
    assert "expected an object" in found[0]


def test_a_platform_that_is_missing_is_a_problem(layout: Layout, view: ImageView) -> None:
    index = put(layout, encode(Index(manifests=(view.descriptor,))), mediatype.OCI_INDEX)
    assert "no image for platform" in messages(layout, index, Platform.parse("linux/riscv64"))[0]


def test_indexes_without_end_are_a_problem(layout: Layout, view: ImageView) -> None:
    target = view.descriptor
    for _ in range(5):
        target = put(layout, encode(Index(manifests=(target,))), mediatype.OCI_INDEX)
    assert "nest deeper" in messages(layout, target)[0]


def test_bytes_after_the_compressed_data_are_a_problem(layout: Layout, view: ImageView) -> None:
    with view.open_blob(view.layers[0]) as blob:
        padded = put(layout, blob.read() + b"junk", mediatype.OCI_LAYER_GZIP)
    manifest = encode(Manifest(config=view.manifest.config, layers=(padded,)))
    found = messages(layout, put(layout, manifest, mediatype.OCI_MANIFEST))
    assert "follows the gzip data" in found[0]


def test_an_artifact_is_checked_by_its_digests_alone(layout: Layout) -> None:
    layer = put(layout, gzip.compress(b"no tar"), "application/x-thing")
    manifest = Manifest(config=put(layout, b"{}", mediatype.OCI_EMPTY), layers=(layer,), artifact_type="a/b")
    assert messages(layout, put(layout, encode(manifest), mediatype.OCI_MANIFEST)) == []


def test_an_image_without_layers_is_sound(layout: Layout) -> None:
    assert messages(layout, assemble(layout, []).descriptor) == []


def test_digests_of_other_algorithms_are_derived_too(layout: Layout, view: ImageView) -> None:
    import hashlib

    with view.open_blob(view.layers[0]) as blob:
        content = blob.read()
    digest = parse_digest("sha512:" + hashlib.sha512(content).hexdigest())
    layer = evolve(view.layers[0], digest=digest)
    with layout.ingest(layer) as ingest:
        assert ingest is not None
        ingest.write(content)
        ingest.commit()
    manifest = encode(Manifest(config=view.manifest.config, layers=(layer,)))
    assert messages(layout, put(layout, manifest, mediatype.OCI_MANIFEST)) == []
