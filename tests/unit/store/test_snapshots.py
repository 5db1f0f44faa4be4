"""What every snapshotter guarantees, run against each there is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput, NotFound
from pycontainer.store import SnapshotKey
from pycontainer.store.locks import FileLock
from pycontainer.store.snapshots import OverlaySnapshotter, Snapshotter, direct_key, stacked_key
from pycontainer.store.snapshots.initlayer import make_init_layer
from pycontainer.store.snapshots.writable import make_writable_layer
from tests.unit.store.records import digest, key


class SnapshotterContract:
    """Cases for any snapshotter: subclass, and give a `snapshotter` fixture."""

    def add(self, snapshotter: Snapshotter, name: str) -> SnapshotKey:
        prepared = snapshotter.prepare(key(name))
        (prepared.fs / "name").write_text(name)
        snapshotter.commit(prepared)
        return key(name)

    def test_nothing_is_visible_before_the_commit(self, snapshotter: Snapshotter) -> None:
        prepared = snapshotter.prepare(key("a"))
        (prepared.fs / "file").touch()
        assert not snapshotter.has(key("a"))
        assert list(snapshotter.committed()) == []
        assert [found for found, _ in snapshotter.preparations()] == [key("a")]
        with pytest.raises(NotFound, match="pull the image again"):
            snapshotter.path(key("a"))

    def test_all_is_visible_after_the_commit(self, snapshotter: Snapshotter) -> None:
        self.add(snapshotter, "a")
        assert snapshotter.has(key("a"))
        assert (snapshotter.path(key("a")) / "name").read_text() == "a"
        assert list(snapshotter.committed()) == [key("a")]
        assert list(snapshotter.preparations()) == []

    def test_what_was_abandoned_is_gone(self, snapshotter: Snapshotter) -> None:
        prepared = snapshotter.prepare(key("a"))
        snapshotter.abandon(prepared)
        snapshotter.abandon(prepared)
        assert not snapshotter.has(key("a"))
        assert list(snapshotter.preparations()) == []

    def test_the_first_of_two_commits_stays(self, snapshotter: Snapshotter) -> None:
        first, second = snapshotter.prepare(key("a")), snapshotter.prepare(key("a"))
        (first.fs / "first").touch()
        (second.fs / "second").touch()
        snapshotter.commit(first)
        snapshotter.commit(second)
        assert [path.name for path in snapshotter.path(key("a")).iterdir()] == ["first"]
        assert list(snapshotter.preparations()) == []

    def test_a_used_work_directory_does_not_hinder_the_commit(self, snapshotter: Snapshotter) -> None:
        prepared = snapshotter.prepare(key("a"))
        (prepared.work / "work").mkdir(0)
        snapshotter.commit(prepared)
        assert snapshotter.has(key("a"))

    def test_a_removed_layer_is_gone_and_can_come_again(self, snapshotter: Snapshotter) -> None:
        self.add(snapshotter, "a")
        assert snapshotter.remove(key("a"))
        assert not snapshotter.remove(key("a"))
        assert not snapshotter.has(key("a"))
        self.add(snapshotter, "a")
        assert snapshotter.has(key("a"))

    def test_lower_dirs_are_topmost_first(self, snapshotter: Snapshotter) -> None:
        keys = [self.add(snapshotter, name) for name in "abc"]
        assert snapshotter.lower_dirs(keys) == [snapshotter.path(key(name)) for name in "cba"]
        assert snapshotter.lower_dirs([]) == []

    def test_of_a_repeated_layer_only_the_upper_one_counts(self, snapshotter: Snapshotter) -> None:
        a, b = self.add(snapshotter, "a"), self.add(snapshotter, "b")
        assert snapshotter.lower_dirs([a, b, a]) == [snapshotter.path(a), snapshotter.path(b)]

    def test_lower_dirs_of_a_missing_layer_are_refused(self, snapshotter: Snapshotter) -> None:
        with pytest.raises(NotFound):
            snapshotter.lower_dirs([self.add(snapshotter, "a"), key("b")])

    @pytest.mark.parametrize(
        "text", ["", "..", "../x", "ABC", "chain-", "a" * 63, f"chain-{'a' * 65}", "a" * 64 + "/"]
    )
    def test_a_text_that_is_no_key_never_becomes_a_path(self, snapshotter: Snapshotter, text: str) -> None:
        for attempt in (snapshotter.has, snapshotter.prepare, snapshotter.path, snapshotter.remove):
            with pytest.raises(InvalidInput):
                attempt(SnapshotKey(text))

    def test_direct_and_stacked_layers_do_not_meet(self, snapshotter: Snapshotter) -> None:
        prepared = snapshotter.prepare(stacked_key(digest("a")))
        snapshotter.commit(prepared)
        assert not snapshotter.has(direct_key(digest("a")))
        assert snapshotter.has(stacked_key(digest("a")))


class TestOverlay(SnapshotterContract):
    @pytest.fixture
    def snapshotter(self, tmp_path: Path) -> OverlaySnapshotter:
        return OverlaySnapshotter(tmp_path, lambda path: shutil.rmtree(path, ignore_errors=True))


def test_the_init_layer_holds_the_mount_points(tmp_path: Path) -> None:
    fs = make_init_layer(tmp_path, tmp_path / "lock")
    found = {path.relative_to(fs).as_posix() for path in fs.rglob("*")}
    assert found == {
        ".dockerenv",
        "dev",
        "dev/console",
        "dev/pts",
        "dev/shm",
        "etc",
        "etc/hostname",
        "etc/hosts",
        "etc/mtab",
        "etc/resolv.conf",
        "proc",
        "sys",
    }
    assert (fs / "etc/mtab").readlink() == Path("/proc/mounts")
    assert {path.stat().st_mode & 0o777 for path in (fs, fs / "etc", fs / "dev")} == {0o755}


def test_a_half_made_init_layer_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "init-1.new/fs/etc").mkdir(parents=True)
    fs = make_init_layer(tmp_path, tmp_path / "lock")
    assert (fs / "proc").is_dir()
    before = fs.stat().st_ino
    with FileLock(tmp_path / "lock").held():
        assert make_init_layer(tmp_path, tmp_path / "lock").stat().st_ino == before


def test_the_writable_layer_looks_like_the_images_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o1775)
    make_writable_layer(tmp_path / "c", root)
    assert (tmp_path / "c/upper").stat().st_mode & 0o7777 == 0o1775
    assert (tmp_path / "c").stat().st_mode & 0o7777 == 0o700
