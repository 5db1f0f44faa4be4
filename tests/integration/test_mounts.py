"""The option mounts: what the program, the kernel and the host see of it."""

from __future__ import annotations

from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import errors
from tests.support import images

pytestmark = pytest.mark.needs("root", "overlay")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory of the host with a file in a directory."""
    top = tmp_path / "source"
    (top / "inner").mkdir(parents=True)
    (top / "file").write_text("of the host\n")
    (top / "inner/file").write_text("inner\n")
    return top


def sh(engine: pc.Engine, image: pc.Image, script: str, *mounts: str, **options: object) -> pc.RunResult:
    return pc.run(image, ["sh", "-c", script], mounts=mounts, engine=engine, **options)  # type: ignore[arg-type]


def test_mounts_are_read_and_written_where_they_were_asked_for(
    engine: pc.Engine, busybox: pc.Image, source: Path
) -> None:
    done = sh(
        engine, busybox, "cat /data/file; echo new > /data/new", f"type=bind,source={source},target=/data"
    )
    assert done.check().text == "of the host\n"
    assert (source / "new").read_text() == "new\n"


def test_read_only_mounts_and_flags_are_the_kernel_s(
    engine: pc.Engine, busybox: pc.Image, source: Path
) -> None:
    mount = f"type=bind,src={source},dst=/data,ro,nosuid,nodev,noexec"
    done = sh(engine, busybox, "grep ' /data ' /proc/self/mountinfo; touch /data/new", mount)
    assert set(done.text.split()[5].split(",")) >= {"ro", "nosuid", "nodev", "noexec"}
    assert b"Read-only" in done.stderr
    assert not (source / "new").exists()


def test_a_part_of_a_source_is_mounted_and_no_link_is_followed_there(
    engine: pc.Engine, busybox: pc.Image, source: Path
) -> None:
    (source / "link").symlink_to("/etc")
    mount = f"type=bind,source={source},target=/data,subpath="
    assert sh(engine, busybox, "cat /data/file", f"{mount}inner").check().text == "inner\n"
    with pytest.raises(errors.LaunchError, match="symbolic link"):
        sh(engine, busybox, "true", f"{mount}link")
    with pytest.raises(errors.LaunchError, match="out of the source"):
        sh(engine, busybox, "true", f"{mount}../..")


def test_copies_on_write_stay_with_the_container_and_the_source_as_it_was(
    engine: pc.Engine, busybox: pc.Image, source: Path
) -> None:
    mount = f"type=bind,source={source},target=/data,mode=cow"
    box = pc.Container.create(
        busybox, ["sh", "-c", "echo x >> /data/file; cat /data/file"], mounts=[mount], engine=engine
    )
    try:
        for _ in range(2):
            box.start()
            box.wait(timeout=20)
        first = ["of the host", "x"]
        assert [line.text.strip() for line in box.logs()] == [*first, *first, "x"]
    finally:
        box.remove(force=True)
    assert (source / "file").read_text() == "of the host\n"


@pytest.mark.parametrize("part", ["", ",subpath=inner"])
def test_what_was_written_to_a_copy_is_told(
    engine: pc.Engine, busybox: pc.Image, source: Path, part: str
) -> None:
    script = "cd /data; echo x >> file; mkdir made; touch made/new; [ ! -d inner ] || rm -r inner"
    mount = f"type=bind,source={source},target=/data/,mode=cow{part}"
    box = pc.Container.create(busybox, ["sh", "-c", script], mounts=[mount], engine=engine)
    try:
        assert box.diff("/data") == []
        box.start()
        assert box.wait(timeout=20) == 0
        told = [str(change) for change in box.diff("/data")]
        assert told == ["C /file", *(["D /inner"] if not part else []), "A /made", "A /made/new"]
        with pytest.raises(errors.InvalidInput, match="/srv is no mount with mode=cow"):
            box.diff("/srv")
    finally:
        box.remove(force=True)


def test_the_layers_of_a_mounted_image_outlive_it(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(busybox, ["sh", "-c", "echo x > /only-there"], engine=engine)
    box.start()
    box.wait(timeout=20)
    other = box.commit("other:1")
    box.remove()
    box = pc.Container.create(
        busybox, ["cat", "/other/only-there"], mounts=["type=image,src=other:1,dst=/other"], engine=engine
    )
    try:
        other.remove(force=True)
        engine.store.collect_garbage(stale_ingest_s=0)
        box.start()
        assert box.wait(timeout=20) == 0
    finally:
        box.remove(force=True)


def test_files_stay_the_caller_s_where_ids_are_mapped(
    engine: pc.Engine, busybox: pc.Image, source: Path
) -> None:
    maps = ["0:100000:65536"]
    done = sh(
        engine,
        busybox,
        "stat -c %u /data/file; touch /data/new; stat -c %u /data/new",
        f"type=bind,source={source},target=/data,idmap",
        userns="private",
        uid_map=maps,
        gid_map=maps,
    )
    assert done.check().text.split() == ["0", "0"]
    assert (source / "new").stat().st_uid == 0


@pytest.mark.parametrize("name", ["of several layers", "of one layer"])
def test_an_image_s_owners_are_the_container_s_where_ids_are_mapped(
    engine: pc.Engine, busybox: pc.Image, busybox_rootfs: Path, tmp_path: Path, name: str
) -> None:
    made = busybox
    if name == "of one layer":
        layout = images.oci_layout(tmp_path / "layout", [images.tar_of(busybox_rootfs)])
        made = pc.Image.load(layout, engine=engine)[0]
    assert (len(made.snapshots) > 1) == (name == "of several layers")
    mount = f"type=image,source={made.id},target=/other"
    script = "stat -c %u /other /other/bin/busybox; touch /other/new"
    done = sh(engine, busybox, script, mount, userns="private", uid_map=["0:100000:65536"])
    assert done.text.split() == ["0", "0"]
    assert "Read-only file system" in done.stderr.decode()


def test_a_tmpfs_has_the_size_and_mode_that_it_was_given(engine: pc.Engine, busybox: pc.Image) -> None:
    mount = "type=tmpfs,target=/scratch,tmpfs-size=1m,tmpfs-mode=0700"
    done = sh(engine, busybox, "stat -c %a /scratch; df -k /scratch | tail -1", mount)
    assert done.check().text.split()[0] == "700"
    assert done.text.split()[2] == "1024"


def test_a_mount_below_a_tmpfs_of_the_other_option_is_there(
    engine: pc.Engine, busybox: pc.Image, source: Path
) -> None:
    mount = f"type=bind,source={source},target=/top/below"
    done = sh(engine, busybox, "cat /top/below/file", mount, tmpfs={"/top": "size=1m"})
    assert done.check().text == "of the host\n"


def test_an_image_is_mounted_read_only_and_its_layers_are_kept(engine: pc.Engine, busybox: pc.Image) -> None:
    box = pc.Container.create(
        busybox,
        ["sh", "-c", "cat /other/srv/greeting; touch /other/new"],
        mounts=["type=image,source=busybox,target=/other"],
        engine=engine,
    )
    try:
        record = engine.store.state.containers.find(box.id)
        assert record.mounted_snapshots == set(busybox.snapshots)
        box.start()
        assert box.wait(timeout=20) == 1
        text = [line.text.strip() for line in box.logs()]
        assert text[0] == "hello from the second layer"
        assert "Read-only file system" in text[1]
    finally:
        box.remove(force=True)


def test_a_source_that_is_missing_is_an_error_or_made_if_asked(
    engine: pc.Engine, busybox: pc.Image, tmp_path: Path
) -> None:
    mount = f"type=bind,source={tmp_path}/new,target=/data"
    with pytest.raises(errors.NotFound, match="bind-create-src"):
        sh(engine, busybox, "true", mount)
    assert sh(engine, busybox, "[ -d /data ]", f"{mount},bind-create-src").exit_code == 0
    assert (tmp_path / "new").is_dir()


def test_a_container_that_was_refused_leaves_nothing(engine: pc.Engine, busybox: pc.Image) -> None:
    with pytest.raises(errors.InvalidInput, match="/proc"):
        sh(engine, busybox, "true", "type=bind,source=/srv,target=/data/../proc/sys/kernel")
    assert pc.Container.list(all=True, engine=engine) == []


def test_a_container_that_its_monitor_starts_again_has_the_same_source(
    engine: pc.Engine, busybox: pc.Image, source: Path, tmp_path: Path
) -> None:
    script = "echo run >> /data/runs; [ $(wc -l < /data/runs) -ge 2 ]"
    box = pc.Container.create(
        busybox,
        ["sh", "-c", script],
        mounts=[f"type=bind,source={source},target=/data"],
        restart="on-failure:3",
        engine=engine,
    )
    try:
        box.start()
        assert box.wait(timeout=20) == 0
        assert (source / "runs").read_text() == "run\nrun\n"
    finally:
        box.remove(force=True)


def test_nothing_is_mounted_on_the_host_while_a_container_has_mounts(
    engine: pc.Engine, busybox: pc.Image, source: Path
) -> None:
    mounts = [
        f"type=bind,source={source},target=/a",
        f"type=bind,source={source},target=/b,mode=cow",
        "type=image,source=busybox,target=/c",
        "type=tmpfs,target=/d",
    ]
    with pc.Container(busybox, ["sleep", "100"], mounts=mounts, engine=engine) as box:
        host = Path("/proc/self/mountinfo").read_text()
        assert str(source) not in host
        assert str(engine.root) not in host
        inside = Path(f"/proc/{box.pid}/mountinfo").read_text()
        places = [line.split()[4] for line in inside.splitlines()]
        assert {"/a", "/b", "/c", "/d"} <= set(places)
        assert str(engine.root) not in inside


def test_a_file_is_not_mounted_on_a_directory(engine: pc.Engine, busybox: pc.Image, source: Path) -> None:
    with pytest.raises(errors.LaunchError, match="/etc in the image is a directory, and the source is none"):
        sh(engine, busybox, "true", f"type=bind,source={source}/file,target=/etc")
