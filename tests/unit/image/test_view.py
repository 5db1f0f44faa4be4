"""The view of one image, wherever its blobs are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pycontainer.errors import DigestMismatch, InvalidImage, NotFound
from pycontainer.image import BlobSink, BlobSource, BlobStore, ImageView, Layout, from_files, validate_image
from pycontainer.oci import (
    Descriptor,
    Index,
    Manifest,
    Platform,
    chain_ids,
    encode,
    mediatype,
    sha256,
)


def put(layout: Layout, document: Manifest | Index) -> Descriptor:
    data = encode(document)
    layout.put(data)
    return Descriptor.of(data, document.media_type)


def test_everything_is_derived_from_the_documents(layout: Layout, view: ImageView) -> None:
    assert view.id == sha256(view.config_bytes) == view.manifest.config.digest
    assert view.descriptor.digest == sha256(view.manifest_bytes)
    assert view.descriptor.platform == view.platform == Platform.host()
    assert view.chain_ids == tuple(chain_ids(view.diff_ids))
    assert view.size_bytes == len(view.manifest_bytes) + len(view.config_bytes) + view.layers[0].size
    assert [blob.digest for blob in view.blobs] == [view.layers[0].digest, view.id]
    with view.open_blob(view.layers[0]) as blob:
        assert sha256(blob.read()) == view.layers[0].digest


def test_a_view_is_loaded_by_its_manifest_and_through_an_index(layout: Layout, view: ImageView) -> None:
    assert ImageView.load(layout, view.descriptor).id == view.id
    other = from_files(layout, {"x": "y"}, platform=Platform.parse("linux/s390x"))
    index = put(layout, Index(manifests=(other.descriptor, view.descriptor)))
    assert ImageView.load(layout, index).id == view.id
    assert ImageView.load(layout, index, Platform.parse("linux/s390x")).id == other.id
    with pytest.raises(NotFound, match="linux/s390x"):
        ImageView.load(layout, index, Platform.parse("linux/riscv64"))


def test_indexes_may_nest_but_not_without_end(layout: Layout, view: ImageView) -> None:
    target = view.descriptor
    for depth in range(5):
        target = put(layout, Index(manifests=(target,)))
        if depth < 3:
            assert ImageView.load(layout, target).id == view.id
    with pytest.raises(InvalidImage, match="nest deeper"):
        ImageView.load(layout, target)


def test_an_artifact_is_not_an_image(layout: Layout) -> None:
    layout.put(b"{}")
    manifest = Manifest(config=Descriptor.of(b"{}", mediatype.OCI_EMPTY), artifact_type="application/x-chart")
    with pytest.raises(InvalidImage, match="application/x-chart, not a container image"):
        ImageView.load(layout, put(layout, manifest))


def test_documents_that_do_not_belong_together_are_refused(layout: Layout, view: ImageView) -> None:
    with pytest.raises(DigestMismatch, match="image config"):
        ImageView(view.manifest_bytes, view.config_bytes + b" ", layout)
    with pytest.raises(InvalidImage, match="got an index"):
        ImageView(encode(Index()), view.config_bytes, layout)
    twice = Manifest(config=view.manifest.config, layers=view.layers * 2)
    with pytest.raises(InvalidImage, match="2 layers, but its config lists 1"):
        ImageView(encode(twice), view.config_bytes, layout)


def test_a_copy_is_complete_and_a_second_one_writes_nothing(
    layout: Layout, view: ImageView, tmp_path: Path
) -> None:
    target = Layout.create(tmp_path / "copy")
    view.copy_to(target)
    assert validate_image(target, view.descriptor) == []
    before = {path: path.stat().st_mtime_ns for path in target.root.rglob("*")}
    view.copy_to(target)
    assert {path: path.stat().st_mtime_ns for path in target.root.rglob("*")} == before


def test_a_copy_verifies_what_it_copies(layout: Layout, view: ImageView, tmp_path: Path) -> None:
    path = layout.root / "blobs/sha256" / view.layers[0].digest[7:]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    target = Layout.create(tmp_path / "copy")
    with pytest.raises(DigestMismatch):
        view.copy_to(target)
    assert not target.has(view.layers[0].digest)
    assert list(target.root.glob(".ingest-*")) == []


def test_a_copy_goes_on_where_an_earlier_one_broke_off(
    layout: Layout, view: ImageView, tmp_path: Path
) -> None:
    target = Layout.create(tmp_path / "copy")
    layer = view.layers[0]
    with layout.open(layer) as blob, target.ingest(layer) as ingest:
        assert ingest is not None
        ingest.write(blob.read(20))
    with target.ingest(layer) as ingest:
        assert ingest is not None
        assert ingest.offset == 20
    view.copy_to(target)
    assert validate_image(target, view.descriptor) == []


def test_a_layout_is_a_source_and_a_sink(layout: Layout) -> None:
    assert isinstance(layout, BlobSource)
    assert isinstance(layout, BlobSink)
    assert isinstance(layout, BlobStore)
