"""Image layout directories, our own and strangers'."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from pycontainer.errors import AlreadyExists, DeadlineExceeded, DigestMismatch, InvalidImage, NotFound
from pycontainer.image import ImageView, Layout, from_files, validate_image
from pycontainer.oci import Descriptor, Index, Platform, Reference, encode, sha256

parse = Reference.parse


def test_an_image_is_found_by_its_names_after_reopening(layout: Layout, view: ImageView) -> None:
    layout.add(view, [parse("app:1"), parse("quay.io/app:2")])
    again = Layout(layout.root)
    for name in ("app:1", "docker.io/library/app:1", "quay.io/app:2", parse("app:1"), view.descriptor.digest):
        assert again.view(name).id == view.id
    assert again.view().id == view.id
    assert validate_image(again, again.index.manifests[0]) == []


def test_a_name_moves_to_the_newer_image(layout: Layout, view: ImageView) -> None:
    other = from_files(layout, {"a": "b"})
    layout.add(view, [parse("app:1"), parse("app:2")])
    layout.add(other, [parse("app:1")])
    assert layout.view("app:1").id == other.id
    assert layout.view("app:2").id == view.id


def test_an_image_without_name_is_listed_once(layout: Layout, view: ImageView) -> None:
    layout.add(view)
    layout.add(view)
    assert [entry.digest for entry in layout.index.manifests] == [view.descriptor.digest]


def test_what_is_missing_or_ambiguous_is_said_with_the_names_there_are(
    layout: Layout, view: ImageView
) -> None:
    with pytest.raises(NotFound, match="no image at all; there are: none"):
        layout.view()
    layout.add(view, [parse("app:1")])
    layout.add(from_files(layout, {"a": "b"}), [parse("app:2")])
    for name in ("1", "app:1", "library/app:1", "docker.io/library/app:1", view.descriptor.digest):
        assert layout.view(name).id == view.id
    for name in (None, "app:3"):
        with pytest.raises(NotFound, match=r"docker\.io/library/app:1, docker\.io/library/app:2"):
            layout.view(name)


def test_several_platforms_under_one_name_are_chosen_from(layout: Layout) -> None:
    views = {
        name: from_files(layout, {"a": name}, platform=Platform.parse(name))
        for name in ("linux/arm64", "linux/amd64")
    }
    index = Index(manifests=tuple(view.descriptor for view in views.values()))
    (layout.root / "index.json").write_bytes(encode(index))
    for name, view in views.items():
        assert layout.view(platform=Platform.parse(name)).id == view.id


def test_creating_opens_what_is_there_and_refuses_another_directory(tmp_path: Path, layout: Layout) -> None:
    assert Layout.create(layout.root).index == layout.index
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(AlreadyExists, match="not empty"):
        Layout.create(tmp_path / "other")
    with pytest.raises(NotFound, match="oci-layout"):
        Layout(tmp_path / "other")


@pytest.mark.parametrize(
    "mark",
    [b"", b"{}", b"[]", b"x", b'{"imageLayoutVersion":"2.0.0"}', b'{"imageLayoutVersion":1}', b"[" * 9999],
)
def test_another_layout_version_is_refused(layout: Layout, mark: bytes) -> None:
    (layout.root / "oci-layout").write_bytes(mark[:4000])
    with pytest.raises(InvalidImage, match=r"1\.0\.0"):
        Layout(layout.root)


def test_a_blob_that_is_a_link_or_no_file_is_refused(layout: Layout, view: ImageView, tmp_path: Path) -> None:
    path = layout.root / "blobs/sha256" / view.id[7:]
    (tmp_path / "outside").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidImage, match="cannot be read"):
        layout.read(view.manifest.config, 1 << 20)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InvalidImage, match="not a regular file"):
        layout.read(view.manifest.config, 1 << 20)
    path.unlink()
    with pytest.raises(NotFound, match="missing in image layout"):
        layout.read(view.manifest.config, 1 << 20)


def test_reading_verifies_size_and_digest_and_keeps_the_limit(layout: Layout, view: ImageView) -> None:
    config = view.manifest.config
    assert layout.read(config, config.size) == view.config_bytes
    with pytest.raises(InvalidImage, match="above the limit"):
        layout.read(config, config.size - 1)
    path = layout.root / "blobs/sha256" / view.id[7:]
    path.write_bytes(view.config_bytes + b" ")
    with pytest.raises(DigestMismatch, match="bytes"):
        layout.open(config)
    path.write_bytes(view.config_bytes.replace(b"linux", b"minix"))
    with pytest.raises(DigestMismatch, match=view.id):
        layout.read(config, 1 << 20)


def test_an_index_above_the_limit_or_of_another_kind_is_refused(layout: Layout, view: ImageView) -> None:
    (layout.root / "index.json").write_bytes(view.manifest_bytes)
    with pytest.raises(InvalidImage):
        _ = layout.index
    (layout.root / "index.json").write_bytes(b" " * (17 << 20))
    with pytest.raises(InvalidImage, match="above the limit"):
        _ = layout.index


def test_a_wrong_blob_is_dropped_and_leaves_nothing(layout: Layout) -> None:
    wanted = Descriptor.of(b"right", "a/b")
    with layout.ingest(wanted) as ingest:
        assert ingest is not None
        ingest.write(b"wrong")
        with pytest.raises(DigestMismatch):
            ingest.commit()
    assert not layout.has(wanted.digest)
    assert list(layout.root.glob(".ingest-*")) == []


def test_more_bytes_than_promised_are_refused_at_once(layout: Layout) -> None:
    wanted = Descriptor.of(b"right", "a/b")
    with layout.ingest(wanted) as ingest:
        assert ingest is not None
        ingest.write(b"rig")
        with pytest.raises(DigestMismatch):
            ingest.write(b"ht and more")
        assert ingest.offset == 0
        ingest.write(b"right")
        ingest.commit()
    assert layout.has(wanted.digest)


def test_a_partial_blob_longer_than_the_whole_is_begun_anew(layout: Layout) -> None:
    wanted = Descriptor.of(b"right", "a/b")
    (layout.root / f".ingest-{wanted.digest[7:]}").write_bytes(b"much too long")
    with layout.ingest(wanted) as ingest:
        assert ingest is not None
        assert ingest.offset == 0


def test_one_blob_has_one_writer_at_a_time(layout: Layout) -> None:
    wanted = Descriptor.of(b"right", "a/b")
    outcome: list[object] = []

    def second() -> None:
        with layout.ingest(wanted) as ingest:
            outcome.append(ingest)

    with layout.ingest(wanted) as ingest:
        assert ingest is not None
        with pytest.raises(DeadlineExceeded), layout.ingest(wanted, timeout_s=0.05):
            pass
        thread = threading.Thread(target=second)
        thread.start()
        ingest.write(b"right")
        ingest.commit()
    thread.join(10)
    assert outcome == [None]


def test_many_threads_add_images_and_none_is_lost(layout: Layout) -> None:
    views = [from_files(layout, {"a": str(n)}) for n in range(8)]
    threads = [
        threading.Thread(target=layout.add, args=(view, [parse(f"app:{n}")])) for n, view in enumerate(views)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert {layout.view(f"app:{n}").id for n in range(8)} == {view.id for view in views}


def test_a_digest_is_checked_before_it_becomes_a_path(layout: Layout) -> None:
    forged = Descriptor(media_type="a/b", digest="sha256:../../../etc/passwd", size=1)  # type: ignore[arg-type]
    for call in (layout.open, lambda one: layout.ingest(one).__enter__(), lambda one: layout.has(one.digest)):
        with pytest.raises(ValueError, match="digest"):
            call(forged)


def test_documents_are_stored_under_their_digest(layout: Layout) -> None:
    digest = layout.put(b"{}")
    assert digest == sha256(b"{}") == layout.put(b"{}")
    assert json.loads((layout.root / "blobs/sha256" / digest[7:]).read_bytes()) == {}


def test_the_next_writer_sweeps_what_a_killed_one_left_and_nothing_of_a_live_one(
    layout: Layout, view: ImageView
) -> None:
    left = layout.root / f".ingest-{'a' * 64}"
    left.write_bytes(b"half")
    (layout.root / f".ingest-{'b' * 64}").symlink_to("/etc/passwd")
    described = Descriptor.of(b"right", "text/plain")
    with layout.ingest(described) as ingest:
        assert ingest is not None
        ingest.write(b"ri")
        layout.add(view)
        assert not left.exists()
        ingest.write(b"ght")
        ingest.commit()
    assert layout.read(described, 10) == b"right"
