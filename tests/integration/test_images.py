"""`Image`: pull, push, make, list, tag, remove, save and load, against the embedded registry."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.registry import Corrupt, Fault

pytestmark = pytest.mark.needs("root", "overlay")


@pytest.fixture
def registry() -> Iterator[pc.Registry]:
    with pc.Registry() as made:
        yield made


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[pc.Engine]:
    """An engine on an empty store."""
    with pc.Engine(tmp_path / "fresh") as made:
        yield made


@pytest.fixture
def pushed(engine: pc.Engine, busybox: pc.Image, registry: pc.Registry) -> str:
    reference = f"{registry.address}/tests/busybox:1"
    busybox.tag(reference).push(reference)
    busybox.remove(reference)
    engine.registries.close()  # its idle connections; the client itself goes on
    return reference


def test_what_is_pushed_can_be_pulled_and_run_elsewhere(
    fresh: pc.Engine, pushed: str, busybox: pc.Image
) -> None:
    image = pc.Image.pull(pushed, engine=fresh)
    assert image.id == busybox.id
    assert image.tags == (pushed,)
    assert pc.run(image, ["cat", "/srv/greeting"], engine=fresh).text == "hello from the second layer\n"


def test_run_pulls_what_is_missing(fresh: pc.Engine, pushed: str) -> None:
    assert pc.run(pushed, ["echo", "hi"], engine=fresh).text == "hi\n"
    assert [image.tags for image in pc.Image.list(engine=fresh)] == [(pushed,)]


def test_pulling_again_transfers_nothing(fresh: pc.Engine, pushed: str, registry: pc.Registry) -> None:
    pc.Image.pull(pushed, engine=fresh)
    before = len(registry.requests)
    pc.Image.pull(pushed, engine=fresh)
    assert not any("/blobs/" in request.path for request in registry.requests[before:])


def test_progress_is_told_as_typed_events(fresh: pc.Engine, pushed: str) -> None:
    seen: list[pc.Progress] = []
    pc.Image.pull(pushed, engine=fresh, on_event=seen.append)
    actions = {event.action for event in seen}
    assert {"downloading", "unpacked", "done"} <= actions


def test_a_digest_pins_the_image(fresh: pc.Engine, pushed: str, busybox: pc.Image) -> None:
    repository = pushed.rsplit(":", 1)[0]
    image = pc.Image.pull(f"{repository}@{busybox.manifest_digest}", engine=fresh)
    assert image.id == busybox.id


@pytest.mark.parametrize("reference", ["Upper/Case", "a b", "", "x@sha256:short", "-x", "a/../b"])
def test_a_bad_name_is_refused_before_anything_is_asked(fresh: pc.Engine, reference: str) -> None:
    with pytest.raises(errors.BadReference):
        pc.Image.pull(reference, engine=fresh)


def test_an_image_the_registry_does_not_have_is_not_found(fresh: pc.Engine, registry: pc.Registry) -> None:
    with pytest.raises(errors.NotFound, match="nothing/here"):
        pc.Image.pull(f"{registry.address}/nothing/here:1", engine=fresh)


def test_get_list_inspect_and_history_tell_the_same_image(fresh: pc.Engine, pushed: str) -> None:
    pulled = pc.Image.pull(pushed, engine=fresh)
    (listed,) = pc.Image.list(engine=fresh)
    assert pc.Image.get(pushed, engine=fresh) == pulled == listed
    document = pulled.inspect()
    assert document["Id"] == pulled.id
    assert document["RepoTags"] == [pushed]
    assert len(document["RootFS"]["Layers"]) == 2
    assert len(pulled.history()) == 2


def test_inspect_tells_the_health_check_and_the_shell(fresh: pc.Engine) -> None:
    text = 'FROM scratch\nCOPY f /f\nHEALTHCHECK --interval=5s --retries=2 CMD ["/f"]\nSHELL ["/sh", "-e"]\n'
    config = pc.Image.build({"f": b""}, dockerfile=text, engine=fresh).inspect()["Config"]
    assert config["Healthcheck"] == {"Test": ["CMD", "/f"], "Interval": 5 * 10**9, "Retries": 2}
    assert config["Shell"] == ["/sh", "-e"]


def test_a_tag_is_another_name_and_the_last_one_takes_the_image_along(fresh: pc.Engine, pushed: str) -> None:
    image = pc.Image.pull(pushed, engine=fresh).tag("alias:2")
    assert set(image.tags) == {pushed, "alias:2"}
    pc.Image.get("alias:2", engine=fresh).remove("alias:2")
    assert pc.Image.get(pushed, engine=fresh).tags == (pushed,)
    pc.Image.get(pushed, engine=fresh).remove()
    assert pc.Image.list(engine=fresh) == []
    assert stored_files(fresh.root) == []


def stored_files(root: Path) -> list[Path]:
    """What the store still holds of blobs and layers."""
    found = [path for path in (root / "content" / "blobs").rglob("*") if path.is_file()]
    found += [path for path in (root / "snapshots").iterdir() if not path.name.startswith((".", "init"))]
    return found


def test_an_image_in_use_is_not_removed_unless_forced(fresh: pc.Engine, pushed: str) -> None:
    image = pc.Image.pull(pushed, engine=fresh)
    box = pc.Container.create(image, ["true"], name="user", engine=fresh)
    with pytest.raises(errors.InUse, match="user"):
        image.remove()
    box.remove()
    image.remove()


def test_prune_takes_images_without_a_name(fresh: pc.Engine, pushed: str) -> None:
    image = pc.Image.pull(pushed, engine=fresh)
    other = pc.Image.from_directory(empty_directory(fresh.root), engine=fresh)
    pruned = pc.Image.prune(engine=fresh)
    assert pruned.images == (other.id,)
    assert [kept.id for kept in pc.Image.list(engine=fresh)] == [image.id]


def empty_directory(root: Path) -> Path:
    made = root.parent / "empty"
    made.mkdir()
    (made / "file").write_text("x")
    return made


def test_an_image_can_be_made_of_a_directory(fresh: pc.Engine, busybox_rootfs: Path) -> None:
    image = pc.Image.from_directory(busybox_rootfs, tags=["made:1"], cmd=["echo", "made"], engine=fresh)
    assert pc.run("made:1", engine=fresh).text == "made\n"
    again = pc.Image.from_directory(busybox_rootfs, tags=["made:2"], cmd=["echo", "made"], engine=fresh)
    assert again.id == image.id


def test_an_image_can_be_made_of_a_tar(fresh: pc.Engine, busybox_rootfs: Path, tmp_path: Path) -> None:
    path = tmp_path / "root.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(busybox_rootfs, ".")
    pc.Image.from_tar(path, tags=["tar:1"], engine=fresh)
    assert pc.run("tar:1", ["echo", "tar"], engine=fresh).text == "tar\n"


def test_an_image_can_be_made_of_the_hosts_programs(fresh: pc.Engine) -> None:
    pc.Image.from_host(["sh", "cat", "id"], tags=["host:1"], engine=fresh)
    result = pc.run("host:1", ["sh", "-c", "id -u; cat /etc/hostname"], hostname="made-here", engine=fresh)
    assert result.text == "0\nmade-here\n"


def test_a_program_the_host_lacks_is_named(fresh: pc.Engine) -> None:
    with pytest.raises(errors.NotFound, match="no-such-program-at-all"):
        pc.Image.from_host(["no-such-program-at-all"], engine=fresh)


@pytest.mark.parametrize("format", ["oci-layout", "oci-archive", "docker-archive"])
def test_saved_images_load_again_with_their_names(
    engine: pc.Engine, busybox: pc.Image, fresh: pc.Engine, tmp_path: Path, format: str
) -> None:
    target = tmp_path / "saved"
    busybox.save(target, format=format)
    (loaded,) = pc.Image.load(target, engine=fresh)
    assert "busybox:latest" in loaded.tags
    assert pc.run(loaded, ["cat", "/srv/greeting"], engine=fresh).text == "hello from the second layer\n"


def test_an_archive_loads_from_a_stream(
    engine: pc.Engine, busybox: pc.Image, fresh: pc.Engine, tmp_path: Path
) -> None:
    busybox.save(tmp_path / "saved.tar", format="docker-archive")
    archive = (tmp_path / "saved.tar").read_bytes()
    assert pc.Image.load(io.BytesIO(archive), engine=fresh)[0].id == busybox.id
    assert pc.Image.load(archive, engine=fresh)[0].id == busybox.id


def test_a_wrong_digest_leaves_nothing_visible(fresh: pc.Engine, pushed: str, registry: pc.Registry) -> None:
    registry.inject(Fault(Corrupt(at=100), method="GET", path=r"/blobs/"))
    with pytest.raises(errors.IntegrityError):
        pc.Image.pull(pushed, engine=fresh)
    registry.clear_faults()
    assert pc.Image.list(engine=fresh) == []
    assert pc.Image.pull(pushed, engine=fresh).tags == (pushed,)


def test_two_engines_on_one_directory_see_each_others_images(fresh: pc.Engine, pushed: str) -> None:
    image = pc.Image.pull(pushed, engine=fresh)
    with pc.Engine(fresh.root) as other:
        assert pc.Image.get(pushed, engine=other).id == image.id


def test_a_store_that_cannot_be_made_says_where_and_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises((errors.KernelError, errors.InvalidInput), match="file"):
        pc.Image.list(engine=pc.Engine(tmp_path / "file" / "store"))


def test_names_of_images_do_not_reach_the_file_system(fresh: pc.Engine, pushed: str) -> None:
    pc.Image.pull(pushed, engine=fresh)
    outside_layers = [files for place, _, files in os.walk(fresh.root) if "/snapshots/" not in place]
    assert not any("busybox" in name or "tests" in name for files in outside_layers for name in files)


def test_layers_lost_in_a_power_cut_are_unpacked_again_from_their_blobs(
    fresh: pc.Engine, pushed: str, registry: pc.Registry
) -> None:
    image = pc.Image.pull(pushed, engine=fresh)
    for key in image.snapshots:
        shutil.rmtree(fresh.root / "snapshots" / key)
    before = len(registry.requests)
    assert pc.run(pushed, ["cat", "/srv/greeting"], engine=fresh).text.startswith("hello")
    assert len(registry.requests) == before
