"""Files of volumes without a container: paths, tars, clones, and who tries to lead them out."""

from __future__ import annotations

import io
import os
import pickle
import socket
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import errors

pytestmark = pytest.mark.needs("root", "overlay")


@pytest.fixture(autouse=True)
def none_left(engine: pc.Engine) -> Iterator[None]:
    """Whatever volumes a test leaves are removed, and nothing stays of them."""
    yield
    for container in pc.Container.list(all=True, engine=engine):
        container.remove(force=True, volumes=True)
    for volume in pc.Volume.list(engine=engine):
        volume.remove()
    top = engine.root / "volumes"
    assert not top.exists() or list(top.iterdir()) == []


@pytest.fixture
def data(engine: pc.Engine) -> pc.Volume:
    return pc.Volume.create("data", engine=engine)


def tar_of(*entries: tuple[str, bytes | None, str]) -> bytes:
    """Files with these contents, or links where there is none."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content, target in entries:
            entry = tarfile.TarInfo(name)
            entry.uid, entry.mode = 1234, 0o640
            if content is None:
                entry.type, entry.linkname = tarfile.SYMTYPE, target
            else:
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content or b""))
    return stream.getvalue()


def test_what_a_path_writes_a_container_reads_and_the_other_way(
    data: pc.Volume, engine: pc.Engine, busybox: pc.Image
) -> None:
    place = data.path / "conf" / "app.toml"
    place.parent.mkdir(parents=True)
    place.write_text("debug = true")
    script = ["sh", "-c", "cat /data/conf/app.toml; echo more > /data/conf/more; ln -s more /data/conf/link"]
    assert pc.run(busybox, script, volumes={"data": "/data"}, engine=engine).text == "debug = true"
    assert sorted(path.name for path in (data.path / "conf").iterdir()) == ["app.toml", "link", "more"]
    assert (data.path / "conf" / "link").read_text() == "more\n"
    assert [str(path) for path in data.path.rglob("*.toml")] == ["/conf/app.toml"]
    assert place.volume == data
    assert pickle.loads(pickle.dumps(place)).as_posix() == "/conf/app.toml"
    assert place.stat().st_size == len("debug = true")
    place.unlink()
    assert not place.exists()


def test_no_link_leads_out_of_a_volume(data: pc.Volume, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    for name, target in (("file", str(secret)), ("up", "../" * 30 + str(secret)), ("dir", str(tmp_path))):
        os.symlink(target, data.mountpoint / name)
    for name in ("file", "up", "dir/secret"):
        with pytest.raises(FileNotFoundError):
            (data.path / name).read_text()
    with pytest.raises(OSError):
        (data.path / "dir" / "new").write_text("x")
    with pytest.raises(errors.PycontainerError):
        data.load(tar_of(("dir/secret", b"overwritten", "")))
    assert secret.read_text() == "of the host"
    assert sorted(os.listdir(tmp_path)) == ["secret"]


def test_a_tar_goes_in_and_comes_out_with_owners_modes_and_links(data: pc.Volume, tmp_path: Path) -> None:
    content = tar_of(("a/file", b"hello", ""), ("link", None, "a/file"))
    assert data.load(content).size_bytes == 5
    found = data.mountpoint / "a" / "file"
    assert (found.stat().st_uid, found.stat().st_mode & 0o777) == (1234, 0o640)
    assert (data.path / "link").read_text() == "hello"
    data.export(tmp_path / "data.tar")
    with tarfile.open(tmp_path / "data.tar") as archive:
        assert sorted(archive.getnames()) == ["a", "a/file", "link"]
        assert archive.getmember("a/file").uid == 1234
    stream = io.BytesIO()
    data.export(stream)
    with tarfile.open(fileobj=io.BytesIO(stream.getvalue())) as archive:
        assert "a/file" in archive.getnames()


def test_places_of_the_host_that_are_none_are_named(data: pc.Volume, tmp_path: Path) -> None:
    with pytest.raises(errors.Conflict, match="is a directory"):
        data.export(tmp_path)
    with pytest.raises(errors.NotFound, match=r"nowhere/data\.tar is to be in"):
        data.export(tmp_path / "nowhere/data.tar")
    with pytest.raises(errors.NotFound, match="nowhere"):
        data.load(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_does_not_block_is_written_all_the_same(data: pc.Volume) -> None:
    (data.path / "big").write_bytes(os.urandom(1 << 20))
    reader, writer = socket.socketpair()
    writer.settimeout(30)
    received: list[int] = []

    def drain() -> None:
        while part := reader.recv(1 << 16):
            received.append(len(part))

    drainer = threading.Thread(target=drain)
    drainer.start()
    with reader, writer:
        with writer.makefile("wb") as stream:
            data.export(stream)
        writer.shutdown(socket.SHUT_WR)
        drainer.join()
    assert sum(received) > 1 << 20


def test_what_is_no_tar_is_refused(data: pc.Volume) -> None:
    with pytest.raises(errors.InvalidImage):
        data.load(b"no tar" * 500)
    assert list(data.path.iterdir()) == []


def test_a_clone_is_the_same_and_another(data: pc.Volume, engine: pc.Engine, busybox: pc.Image) -> None:
    script = (
        "cd /data; echo one > file; ln file name; ln -s file link; mkdir -m 0700 sub; mkfifo fifo; "
        "chown 12:34 sub; chmod 0751 .; truncate -s 8M sparse; chown 7 ."
    )
    pc.run(busybox, ["sh", "-c", script], volumes={"data": "/data"}, engine=engine).check()
    twin = data.clone("twin", labels={"of": "data"})
    look = ["sh", "-c", "cd /data; stat -c '%n %F %a %u %g %h' . *; cat file link; du -k sparse"]
    seen = [pc.run(busybox, look, volumes={name: "/data"}, engine=engine).text for name in ("data", "twin")]
    assert seen[0] == seen[1]
    assert "name regular file 644 0 0 2" in seen[0]
    (twin.path / "file").write_text("changed")
    assert (data.path / "file").read_text() == "one\n"
    assert (twin.labels, twin.is_anonymous, twin.driver) == ({"of": "data"}, False, "local")
    assert data.clone().is_anonymous
    with pytest.raises(errors.AlreadyExists, match="twin"):
        data.clone("twin")
    assert (twin.path / "file").read_text() == "changed"


def test_what_is_not_there_or_not_a_directory_of_the_store_is_named(
    engine: pc.Engine, tmp_path: Path
) -> None:
    memory = pc.Volume.create("memory", options={"type": "tmpfs", "device": "tmpfs"}, engine=engine)
    for use in (lambda: list(memory.path.iterdir()), lambda: memory.export(io.BytesIO()), memory.clone):
        with pytest.raises(errors.Unsupported, match="memory has options"):
            use()
    memory.remove()
    for use in (lambda: list(memory.path.iterdir()), lambda: memory.export(tmp_path / "x"), memory.clone):
        with pytest.raises(errors.NotFound, match="memory"):
            use()
    assert os.listdir(tmp_path) == []
