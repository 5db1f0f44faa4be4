"""Bad days: full disks, dying registries, hostile images, missing rights and kernel features.

Each time the error names the thing, nothing half-written is visible, and the next attempt works.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer import errors
from pycontainer.image import Progress
from pycontainer.registry import Corrupt, Drop, Fault, Truncate
from tests.support import images, stores
from tests.support.needs import needs

pytestmark = needs("root", "overlay")

BIG = 3_000_000  # bytes of a layer that no compression makes smaller
SOME = 1 << 20  # bytes of records and logs that come and go


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory, busybox_rootfs: Path) -> Path:
    """A registry's content: busybox with a layer that takes several reads and writes to transfer."""
    root = tmp_path_factory.mktemp("faults")
    layers = [
        images.tar_of(busybox_rootfs),
        images.tar_with({"big": os.urandom(BIG), "zeros": bytes(20_000_000)}),
    ]
    with pc.Registry(root / "registry") as registry, pc.Engine(root / "store") as engine:
        (image,) = pc.Image.load(images.oci_layout(root / "layout", layers), engine=engine)
        image.push(f"{registry.address}/faults:1")
    return root / "registry"


@pytest.fixture
def registry(content: Path) -> Iterator[pc.Registry]:
    with pc.Registry(content) as made:
        yield made


@pytest.fixture
def reference(registry: pc.Registry) -> str:
    return f"{registry.address}/faults:1"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[pc.Engine]:
    """An engine on an empty store, which must be empty again in the end."""
    with pc.Engine(tmp_path / "store") as made:
        yield made
        stores.check_whole(made)
        stores.empty(made)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own for a store."""
    path = tmp_path / "disk"
    path.mkdir()
    mount(path, "size=64m,mode=700")
    yield path
    # Lazily: a process that is just ending may hold a file of it, and the leak oracle looks for that.
    subprocess.run(["umount", "--lazy", path], check=True)


def mount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)


def free_bytes(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def works(engine: pc.Engine, reference: str) -> None:
    image = pc.Image.pull(reference, engine=engine)
    assert pc.run(image, ["ls", "/big"], engine=engine).text == "/big\n"


def nothing_is_visible(engine: pc.Engine) -> None:
    assert pc.Image.list(engine=engine) == []
    assert pc.Container.list(all=True, engine=engine) == []
    assert list(engine.store.snapshots.preparations()) == []
    assert os.listdir(engine.root / "locks/leases") == []


@pytest.mark.parametrize("size_mb", [2, 8], ids=["while downloading", "while unpacking"])
def test_a_full_disk_names_the_file_and_a_larger_one_is_enough(
    small_disk: Path, reference: str, size_mb: int
) -> None:
    mount(small_disk, f"remount,size={size_mb}m")
    with pc.Engine(small_disk / "store") as engine:
        with pytest.raises(errors.KernelError, match="No space left") as caught:
            pc.Image.pull(reference, engine=engine)
        assert caught.value.path
        nothing_is_visible(engine)
        mount(small_disk, "remount,size=128m")
        works(engine, reference)
        stores.check_whole(engine)
        stores.empty(engine)


def test_on_a_full_disk_a_run_fails_by_name_and_leaves_nothing(small_disk: Path, reference: str) -> None:
    with pc.Engine(small_disk / "store") as engine:
        works(engine, reference)
        box = pc.Container.create(reference, ["sh", "-c", "cat /dev/zero > /filled"], engine=engine)
        before = free_bytes(small_disk) - SOME
        result = pc.run(reference, ["sh", "-c", "cat /dev/zero > /filled"], engine=engine)
        assert (result.exit_code, b"No space left" in result.stderr) == (1, True)
        assert result.is_complete
        # What a run wrote is removed when its result is already there, and what was mounted holds it longest.
        stores.await_condition(lambda: free_bytes(small_disk) >= before)
        result = pc.run(reference, ["sh", "-c", "cat /dev/zero > /filled; seq 1 200000"], engine=engine)
        assert (result.exit_code, result.is_complete) == (0, False)
        stores.await_condition(lambda: free_bytes(small_disk) >= before)
        box.start()
        assert box.wait(timeout=30) == 1
        with pytest.raises(errors.KernelError, match="No space left"):
            pc.run(reference, ["true"], engine=engine)
        with pytest.raises(errors.KernelError, match="No space left"):
            pc.Container.create(reference, ["true"], engine=engine)
        assert [other.id for other in pc.Container.list(all=True, engine=engine)] == [box.id]
        box.remove()
    with pc.Engine(small_disk / "store") as engine:
        works(engine, reference)
        stores.check_whole(engine)
        stores.empty(engine)


def ranges(registry: pc.Registry) -> list[str]:
    return [request.headers["range"] for request in registry.requests if "range" in request.headers]


def test_a_connection_that_breaks_is_resumed_where_it_broke(
    engine: pc.Engine, registry: pc.Registry, reference: str
) -> None:
    registry.inject(Fault(Drop(after_bytes=BIG // 2), method="GET", path="/blobs/", skip=1, count=2))
    works(engine, reference)
    # A reset loses what was under way, at worst all that this answer brought; then it breaks a second time.
    # Requests are recorded as they end, and one that broke may end after the next has begun.
    starts = [int(asked.removeprefix("bytes=").partition("-")[0]) for asked in ranges(registry)]
    assert 0 < min(starts) <= BIG // 2


def reopened(content: Path, port: int) -> pc.Registry:
    """A registry on the port of the one that has just gone; some other connection may have it meanwhile."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return pc.Registry(content, port=port).__enter__()
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def test_a_registry_that_dies_in_mid_blob_and_comes_back_is_asked_for_the_rest(
    engine: pc.Engine, content: Path
) -> None:
    with pc.Registry(content) as first:
        reference = f"{first.address}/faults:1"
        port = int(first.address.rpartition(":")[2])
        first.inject(Fault(Drop(after_bytes=BIG // 2), method="GET", path="/blobs/", count=None))
        second: list[pc.Registry] = []
        once = threading.Lock()  # events come from several threads

        def on_event(event: Progress) -> None:
            # Some bytes of the large layer have come, and no more will from the one that dies now.
            with once:
                if event.action == "retrying" and not second:
                    first.close()
                    second.append(reopened(content, port))

        try:
            image = pc.Image.pull(reference, engine=engine, on_event=on_event)
            assert len(second) == 1
            (asked,) = ranges(second[0])
            assert 0 < int(asked.removeprefix("bytes=").partition("-")[0]) <= BIG // 2
        finally:
            for registry in second:
                registry.close()
    assert pc.run(image, ["ls", "/big"], engine=engine).text == "/big\n"


KILLED = """
import os, signal, sys
import pycontainer as pc
def on_event(event):
    if event.action == "retrying":
        os.kill(os.getpid(), signal.SIGKILL)
pc.Image.pull(sys.argv[2], engine=pc.Engine(sys.argv[1]), on_event=on_event)
"""


def test_what_a_killed_pull_has_fetched_is_not_fetched_again(
    tmp_path: Path, registry: pc.Registry, reference: str
) -> None:
    root = tmp_path / "store"
    registry.inject(Fault(Drop(after_bytes=BIG // 2), method="GET", path="/blobs/", skip=1, count=None))
    done = subprocess.run([sys.executable, "-c", KILLED, str(root), reference], timeout=60)
    assert done.returncode == -9
    registry.clear_faults()
    partials = [path.stat().st_size for path in (root / "content/ingest").glob("*.partial")]
    assert max(partials) > 0
    with pc.Engine(root) as engine:
        works(engine, reference)
        begun = {text.removeprefix("bytes=").partition("-")[0] for text in ranges(registry)}
        assert begun == {str(size) for size in partials if size}
        stores.empty(engine)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(Corrupt(at=1000), errors.IntegrityError, id="wrong digest"),
        pytest.param(Truncate(after_bytes=1000), errors.RegistryError, id="truncated"),
    ],
)
def test_a_blob_that_is_not_what_it_should_be_is_named(
    engine: pc.Engine, registry: pc.Registry, reference: str, fault: object, error: type[Exception]
) -> None:
    with pc.Engine(engine.root.with_name("other")) as other:
        layer = pc.Image.pull(reference, engine=other).view.layers[1].digest
    registry.inject(Fault(fault, method="GET", path=f"/blobs/{layer}", count=None))  # type: ignore[arg-type]
    with pytest.raises(error, match=layer[7:19]):
        pc.Image.pull(reference, engine=engine)
    nothing_is_visible(engine)
    registry.clear_faults()
    works(engine, reference)


def tar_of(entries: list[tuple[str, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, size in entries:
            entry = tarfile.TarInfo(name)
            entry.size = size
            archive.addfile(entry, io.BytesIO(bytes(size)))
    return buffer.getvalue()


def nested() -> bytes:
    return tar_of([("/".join(["d"] * 300) + "/file", 1)])


def many() -> bytes:
    return tar_of([(f"f{number}", 0) for number in range(3000)])


def inflating() -> bytes:
    return tar_of([("zeros", 30_000_000)])


@pytest.mark.parametrize(
    ("make", "limit", "said"),
    [
        pytest.param(nested, {}, "301 parts", id="nesting"),
        pytest.param(many, {"entries": 2000}, "2000|entries", id="entries"),
        pytest.param(inflating, {"ratio": 100, "ratio_grace": 1 << 20}, "100", id="compression"),
        pytest.param(inflating, {"bytes": 10_000_000}, "10000000|bytes", id="size"),
    ],
)
def test_a_bomb_is_refused_by_the_limit_it_breaks(
    engine: pc.Engine, tmp_path: Path, make: Callable[[], bytes], limit: dict[str, int], said: str
) -> None:
    layout = images.oci_layout(tmp_path / "bomb", [images.tar_with({"fine": b"1"}), make()])
    engine.store._unpacker._limits.update(limit)
    with pytest.raises(errors.InvalidImage, match=said):
        pc.Image.load(layout, engine=engine)
    nothing_is_visible(engine)


def test_a_layer_that_is_no_archive_is_an_invalid_image(engine: pc.Engine, tmp_path: Path) -> None:
    layout = images.oci_layout(tmp_path / "odd", [gzip.compress(b"no tar at all")])
    with pytest.raises(errors.InvalidImage):
        pc.Image.load(layout, engine=engine)
    nothing_is_visible(engine)


RUN = """
import sys, pycontainer as pc
from pycontainer.errors import PycontainerError
with pc.Engine(sys.argv[1]) as engine:
    try:
        print(pc.run("busybox:1", ["echo", "hi"], engine=engine, pull="never").text)
    except PycontainerError as error:
        print(type(error).__name__, error)
"""


def test_a_store_on_a_read_only_file_system_is_refused_by_name(small_disk: Path) -> None:
    with pc.Engine(small_disk / "store") as engine:
        assert pc.Image.list(engine=engine) == []
    mount(small_disk, "remount,ro")
    with pytest.raises(errors.Unsupported, match=f"{small_disk}.*read-only.*PYCONTAINER_ROOT"):
        with pc.Engine(small_disk / "store") as engine:
            pc.Image.list(engine=engine)


def test_a_store_of_another_user_is_refused_by_name(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with pc.Engine(root) as engine:
        assert pc.Image.list(engine=engine) == []
    os.chown(root, 1000, 1000)
    with pytest.raises(errors.InvalidInput, match=f"{root}.*user 1000.*PYCONTAINER_ROOT"):
        with pc.Engine(root) as engine:
            pc.Image.list(engine=engine)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, busybox_layout: Path) -> Path:
    """A store with busybox in it."""
    root = tmp_path_factory.mktemp("loaded") / "store"
    with pc.Engine(root) as engine:
        pc.Image.load(busybox_layout, engine=engine)[0].tag("busybox:1")
    return root


UNPACK = """
import sys, pycontainer as pc
from pycontainer.errors import PycontainerError
with pc.Engine(sys.argv[1]) as engine:
    try:
        print(pc.Image.from_tar(sys.argv[2], engine=engine))
    except PycontainerError as error:
        print(type(error).__name__, error)
"""


def said(command: list[str], root: Path, script: str = RUN, *arguments: str) -> str:
    done = subprocess.run(
        [*command, sys.executable, "-c", script, str(root), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout


def test_a_host_without_cgroups_is_told_the_remedy(loaded: Path) -> None:
    hide = ["unshare", "--mount", "sh", "-c", 'umount -l -R /sys/fs/cgroup && exec "$@"', "sh"]
    text = said(hide, loaded)
    assert text.startswith("Unsupported no cgroup file system is mounted")
    assert "mount -t cgroup2" in text


READ_ONLY = """
for point in $(awk '$5 ~ "^/sys/fs/cgroup" {print $5}' /proc/self/mountinfo | sort -r); do
    mount -o remount,ro,bind "$point" || exit 1
done
exec "$@"
"""


def test_a_host_with_read_only_cgroups_is_told_the_remedy(loaded: Path) -> None:
    text = said(["unshare", "--mount", "sh", "-c", READ_ONLY, "sh"], loaded)
    assert text.startswith("LaunchError cgroup: /sys/fs/cgroup/")
    assert "Read-only file system" in text
    assert "mount -o remount,rw,bind /sys/fs/cgroup" in text


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv: apt-get install util-linux")
@pytest.mark.parametrize("name", ["sys_admin", "sys_chroot", "mknod", "setpcap"])
def test_root_without_a_capability_is_told_its_name_and_the_remedy(loaded: Path, name: str) -> None:
    text = said(["setpriv", "--bounding-set", f"-{name}", "--inh-caps", f"-{name}"], loaded)
    assert text.startswith("LaunchError")
    # Others that the tests themselves are run without may stand there too.
    assert f"CAP_{name.upper()}: " in text.partition("this process lacks ")[2]
    assert "--cap-add" in text


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv: apt-get install util-linux")
def test_root_that_cannot_give_files_away_is_told_so_when_it_unpacks(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "layer.tar", "w") as archive:
        given = tarfile.TarInfo("given")
        given.uid = 1000
        archive.addfile(given)
    without = ["setpriv", "--bounding-set", "-chown", "--inh-caps", "-chown"]
    text = said(without, tmp_path / "store", UNPACK, str(tmp_path / "layer.tar"))
    assert text.startswith("KernelError unpack(")
    assert "given" in text
    assert "CAP_CHOWN" in text
    assert "pycontainer doctor" in text
